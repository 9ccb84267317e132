// An echo at /echo, everybody hears everybody at /room, and Engine.IO's words at /socket, by npm
// ws. Counts what it heard and says so when it is told to stop.
import { WebSocketServer, WebSocket } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
let heard = 0;

server.on("connection", (socket, request) => {
  const path = new URL(request.url, "http://h").pathname;
  if (path === "/socket") {
    socket.send('0{"sid":"x","pingInterval":25000}');
  }
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => {
    const text = data.toString();
    if (path === "/room") {
      heard += 1;
      for (const other of server.clients) {
        if (other.readyState === WebSocket.OPEN) other.send(data, { binary: isBinary });
      }
    } else if (path === "/socket" && text === "40") {
      socket.send('40{"sid":"y"}');
    } else if (path === "/socket" && text.startsWith("42")) {
      heard += 1;
      socket.send(`42["echo",${JSON.stringify(text)}]`);
      if (heard % 10 === 0) socket.send("2");
    } else if (path === "/echo") {
      heard += 1;
      socket.send(data, { binary: isBinary });
    }
  });
});
server.on("listening", () => console.log(`listening on 127.0.0.1:${server.address().port}`));
process.on("SIGTERM", () => {
  console.log(`heard ${heard}`);
  process.exit(0);
});
