// An echo at /echo, and everybody hears everybody at /room, by Bun.
let heard = 0;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    return server.upgrade(request, { data: { path } }) ? undefined : new Response("no", { status: 400 });
  },
  websocket: {
    open(socket) {
      if (socket.data.path === "/room") socket.subscribe("room");
    },
    message(socket, message) {
      heard += 1;
      if (socket.data.path === "/room") server.publish("room", message);
      else socket.send(message);
    },
  },
});
console.log(`listening on 127.0.0.1:${server.port}`);
process.on("SIGTERM", () => {
  console.log(`heard ${heard}`);
  process.exit(0);
});
