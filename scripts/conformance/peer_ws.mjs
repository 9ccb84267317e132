// npm `ws` as the client of the server.
//
// Not here: what Python's `websockets` already asks in the very same way, except where two
// readings of the RFCs are worth more than one.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { at, expect, load, runAll, test } from "./tap.mjs";

const WebSocket = load("ws");
const messageBytesMax = 1 << 20;

// A socket whose messages can be awaited one by one.
async function open(url, options = {}, protocols = []) {
  const settings = { perMessageDeflate: false, maxPayload: 0, ...options };
  const socket = new WebSocket(url, protocols, settings);
  const waiting = [];
  const arrived = [];
  const put = (item) => (waiting.length ? waiting.shift()(item) : arrived.push(item));
  socket.on("message", (data, isBinary) => put({ message: isBinary ? data : data.toString() }));
  socket.on("close", (code, reason) => put({ code, reason: reason.toString() }));
  socket.on("error", (error) => put({ error }));
  socket.next = () =>
    arrived.length ? Promise.resolve(arrived.shift()) : new Promise((done) => waiting.push(done));
  await new Promise((done, fail) => {
    socket.on("open", done);
    socket.on("error", fail);
  });
  const wanted = options.perMessageDeflate ? "permessage-deflate" : "";
  expect("extension", socket.extensions.split(";")[0], wanted);
  return socket;
}

async function receive(socket, wanted, what = "echo") {
  const found = await socket.next();
  if (found.message === undefined) {
    throw new Error(`${what}: ${JSON.stringify({ ...found, error: String(found.error) })}`);
  }
  const same = Buffer.isBuffer(wanted)
    ? Buffer.isBuffer(found.message) && wanted.equals(found.message)
    : wanted === found.message;
  if (!same) {
    throw new Error(`${what}: not the same (${found.message.length} long)`);
  }
}

async function say(socket, message, options = {}) {
  socket.send(message, options);
  await receive(socket, message);
}

async function closed(socket) {
  for (;;) {
    const found = await socket.next();
    if (found.code !== undefined) {
      return found;
    }
  }
}

function hangUp(...sockets) {
  sockets.forEach((socket) => socket.terminate());
}

test("text, binary and empty messages come back", async () => {
  const socket = await open(`${at.ws}/echo`);
  for (const message of ["a", "", Buffer.alloc(0), "\u00e9\u{1f600}".repeat(1000),
    randomBytes(70_000)]) {
    await say(socket, message);
  }
  hangUp(socket);
});

test("a message of the limit comes back, one more byte is closed with 1009", async () => {
  const socket = await open(`${at.ws}/echo`);
  await say(socket, randomBytes(messageBytesMax));
  socket.send(randomBytes(messageBytesMax + 1));
  expect("close code", (await closed(socket)).code, 1009);
});

test("a thousand messages come back in order", async () => {
  const socket = await open(`${at.ws}/echo`);
  for (let number = 0; number < 1000; number += 1) {
    socket.send(String(number));
  }
  for (let number = 0; number < 1000; number += 1) {
    await receive(socket, String(number));
  }
  hangUp(socket);
});

test("a fragmented message comes back whole, with a ping amid", async () => {
  const socket = await open(`${at.ws}/echo`);
  const pong = new Promise((done) => socket.on("pong", done));
  socket.send("one ", { fin: false });
  socket.ping("amid");
  expect("pong", (await pong).toString(), "amid");
  socket.send("", { fin: false });
  socket.send("two", { fin: true });
  await receive(socket, "one two");
  hangUp(socket);
});

test("20,000 fragments of one message come back whole", async () => {
  const socket = await open(`${at.ws}/echo`);
  for (let number = 0; number < 20_000; number += 1) {
    socket.send("0123456789", { fin: number === 19_999 });
  }
  await receive(socket, "0123456789".repeat(20_000));
  hangUp(socket);
});

test("close codes and reasons are answered", async () => {
  for (const code of [1000, 1001, 1003, 1007, 1011, 3000, 3999, 4000, 4999]) {
    const socket = await open(`${at.ws}/echo`);
    socket.close(code, "done \u00e9");
    expect("close code", (await closed(socket)).code, code);
  }
  const socket = await open(`${at.ws}/echo`);
  socket.close();
  expect("a Close without a code", (await closed(socket)).code, 1005);
});

test("the subprotocol is the server's choice", async () => {
  const chosen = await open(`${at.ws}/echo`, {}, ["second", "first"]);
  expect("subprotocol", chosen.protocol, "first");
  hangUp(chosen);
});

// Messages that compress, that do not, and that repeat the one before.
async function sayMuch(socket) {
  for (const message of ["hello ".repeat(20_000), "hello ".repeat(20_000), "", "x",
    randomBytes(5000), Buffer.alloc(100_000)]) {
    await say(socket, message);
  }
}

const parameterSets = {
  "as offered by default": {},
  "without context takeover": { serverNoContextTakeover: true, clientNoContextTakeover: true },
  "the server without context takeover": { serverNoContextTakeover: true },
  "the client without context takeover": { clientNoContextTakeover: true },
  "windows of 9 bits": { serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
  "windows of 15 bits": { serverMaxWindowBits: 15, clientMaxWindowBits: 15 },
  "a window of 12 bits for the client": { clientMaxWindowBits: 12 },
  "a window of 8 bits for the client": { clientMaxWindowBits: 8 },
};

for (const [name, parameters] of Object.entries(parameterSets)) {
  test(`compression, ${name}`, async () => {
    const perMessageDeflate = { threshold: 0, ...parameters };
    const socket = await open(`${at.ws}/echo`, { perMessageDeflate });
    await sayMuch(socket);
    hangUp(socket);
  });
}

test("compressed and plain messages take turns", async () => {
  const socket = await open(`${at.ws}/echo`, { perMessageDeflate: { threshold: 0 } });
  for (let number = 0; number < 40; number += 1) {
    await say(socket, `turn ${number} `.repeat(100), { compress: number % 3 !== 0 });
  }
  hangUp(socket);
});

test("a compressed message in fragments comes back whole", async () => {
  const socket = await open(`${at.ws}/echo`, { perMessageDeflate: { threshold: 0 } });
  for (let number = 0; number < 100; number += 1) {
    socket.send(`part ${number} `, { fin: number === 99, compress: true });
  }
  const whole = Array.from({ length: 100 }, (_, number) => `part ${number} `).join("");
  await receive(socket, whole);
  hangUp(socket);
});

test("a bomb is closed with 1009", async () => {
  const socket = await open(`${at.ws}/echo`, { perMessageDeflate: { threshold: 0 } });
  socket.send(Buffer.alloc(64 * messageBytesMax));
  expect("close code", (await closed(socket)).code, 1009);
});

async function publish(channel, body) {
  const type = { "Content-Type": "text/plain" };
  const answer = await fetch(`${at.http}${channel}`, { method: "POST", body, headers: type });
  expect("status", answer.status, 200);
  return answer.json();
}

test("what is posted reaches subscribers, compressed or not", async () => {
  const channel = `/channels/ws-${randomBytes(6).toString("hex")}`;
  const kinds = [false, { threshold: 0 }, { threshold: 0, serverMaxWindowBits: 9 },
    { threshold: 0, serverNoContextTakeover: true }];
  const sockets = await Promise.all(
    kinds.map((perMessageDeflate) => open(`${at.ws}${channel}`, { perMessageDeflate })),
  );
  for (let number = 0; number < 30; number += 1) {
    const body = `publication ${number} `.repeat(1 + number * 20);
    if (number % 2) {
      await publish(channel, body);
    } else {
      sockets[number % sockets.length].send(body);
    }
    for (const socket of sockets) {
      await receive(socket, body, "publication");
    }
  }
  hangUp(...sockets);
});

test("ringwire.json.1 tells position and offset", async () => {
  const channel = `/channels/json-${randomBytes(6).toString("hex")}`;
  const socket = await open(`${at.ws}${channel}`, {}, ["ringwire.json.1"]);
  expect("subprotocol", socket.protocol, "ringwire.json.1");
  const first = JSON.parse((await socket.next()).message);
  const posted = await publish(channel, "hello");
  expect("epoch", first.epoch, posted.epoch);
  const publication = JSON.parse((await socket.next()).message);
  expect("publication", publication, { offset: posted.offset, data: "hello" });
  hangUp(socket);
});

test("an origin that is not allowed is refused with 403", async () => {
  const socket = new WebSocket(`${at.ws}/echo`, { origin: "https://evil.example" });
  const status = await new Promise((done, fail) => {
    socket.on("unexpected-response", (_, response) => done(response.statusCode));
    socket.on("open", () => fail(new Error("was let in")));
    socket.on("error", () => {});
  });
  expect("status", status, 403);
});

test("wss: echo, compressed and plain, and a channel", async () => {
  const ca = readFileSync(at.authority);
  for (const perMessageDeflate of [false, { threshold: 0 }]) {
    const socket = await open(`${at.wss}/echo`, { ca, perMessageDeflate });
    await sayMuch(socket);
    await say(socket, randomBytes(messageBytesMax));
    hangUp(socket);
  }
  const channel = await open(`${at.wss}/channels/wss`, { ca, perMessageDeflate: {} });
  await say(channel, "comes back ".repeat(500));
  hangUp(channel);
});

test("wss: a session is resumed", async () => {
  const ca = readFileSync(at.authority);
  const { connect } = await import("node:tls");
  const { hostname: host, port } = new URL(at.wss);
  const visit = (session) =>
    new Promise((done, fail) => {
      const socket = connect({ host, port, ca, session, ALPNProtocols: ["http/1.1"] }, () => {
        const resumed = socket.isSessionReused();
        expect("protocol agreed", socket.alpnProtocol, "http/1.1");
        socket.on("session", (ticket) => {
          socket.destroy();
          done({ ticket, resumed });
        });
        socket.write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      });
      socket.on("data", () => {});
      socket.on("error", fail);
    });
  const first = await visit();
  expect("first is new", first.resumed, false);
  expect("second is resumed", (await visit(first.ticket)).resumed, true);
});

test("a unix socket", async () => {
  const socket = await open(`ws+unix:${at.unix}:/echo`, { perMessageDeflate: { threshold: 0 } });
  await sayMuch(socket);
  hangUp(socket);
});

process.exit(await runAll());
