// npm `ws` as the server of the load generator: an echo.
//
//     server_ws.mjs MODULES {"compression": true, "subprotocol": NAME, "certificate": FILE}
//
// Prints `listening on ADDRESS` and runs until it is ended.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { at as flags, load } from "./tap.mjs";

const { WebSocketServer } = load("ws");
const pem = flags.certificate && readFileSync(flags.certificate);
const server = pem ? createSecureServer({ cert: pem, key: pem }) : createServer();
const perMessageDeflate = flags.compression ? { threshold: 0 } : false;
const handleProtocols = (offered) => offered.has(flags.subprotocol) && flags.subprotocol;
const sockets = new WebSocketServer({
  server, perMessageDeflate, maxPayload: 0, ...(flags.subprotocol && { handleProtocols }),
});

sockets.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen(0, "127.0.0.1", () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
