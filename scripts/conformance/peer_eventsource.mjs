// npm `eventsource` as the reader of the server's event streams.
//
// Not here: a browser's EventSource (peer_browser.mjs), which asks the same of another parser.

import { randomBytes } from "node:crypto";
import { createServer, connect } from "node:net";
import { at, expect, load, runAll, test } from "./tap.mjs";

const { EventSource } = load("eventsource");

function freshChannel() {
  return `/channels/eventsource-${randomBytes(6).toString("hex")}`;
}

// Events one by one, as [type, id, data].
function listen(url) {
  const source = new EventSource(url);
  const arrived = [];
  const waiting = [];
  const put = ({ type, lastEventId, data }) => {
    const event = [type, lastEventId, data];
    return waiting.length ? waiting.shift()(event) : arrived.push(event);
  };
  ["message", "binary", "reset"].forEach((type) => source.addEventListener(type, put));
  source.next = () =>
    arrived.length ? Promise.resolve(arrived.shift()) : new Promise((done) => waiting.push(done));
  source.opening = new Promise((done) => source.addEventListener("open", done));
  return source;
}

async function publish(channel, body, type = "text/plain") {
  const headers = { "Content-Type": type };
  const answer = await fetch(`${at.http}${channel}`, { method: "POST", body, headers });
  expect("status", answer.status, 200);
  return answer.json();
}

async function hearAll(source, channel) {
  await source.opening;
  for (const body of ["one", "two\nlines", "\n", "", " led by a space", ": a colon", "id: 7",
    "\u00e9\u{1f600}".repeat(2000), "\ufeffmark", "nul \0 inside"]) {
    const { epoch, offset } = await publish(channel, body);
    expect("event", await source.next(), ["message", `${epoch}:${offset}`, body]);
  }
  source.close();
}

test("texts of every kind arrive whole, with their ids", async () => {
  const channel = freshChannel();
  await hearAll(listen(`${at.http}${channel}`), channel);
});

test("bytes, and text with a CR, arrive as base64", async () => {
  const channel = freshChannel();
  const source = listen(`${at.http}${channel}`);
  await source.opening;
  for (const [body, type] of [[randomBytes(300), "application/octet-stream"],
    [Buffer.from("a\rb\r\nc"), "text/plain"]]) {
    const { epoch, offset } = await publish(channel, body, type);
    expect("event", await source.next(), ["binary", `${epoch}:${offset}`,
      body.toString("base64")]);
  }
  source.close();
});

test("a thousand events arrive in order", async () => {
  const channel = freshChannel();
  const source = listen(`${at.http}${channel}`);
  await source.opening;
  for (let number = 0; number < 1000; number += 50) {
    await Promise.all(Array.from({ length: 50 }, () => publish(channel, "event")));
  }
  let last = 0;
  for (let number = 0; number < 1000; number += 1) {
    const [, id] = await source.next();
    const offset = Number(id.split(":")[1]);
    expect("rises", offset > last, true);
    last = offset;
  }
  source.close();
});

test("a stream that is cut goes on where it was", async () => {
  const channel = freshChannel();
  const lines = [];
  const server = new URL(at.http);
  const forwarder = createServer((client) => {
    const there = connect(Number(server.port), server.hostname);
    client.pipe(there).pipe(client);
    [client, there].forEach((socket) => socket.on("error", () => {}));
    client.on("close", () => there.destroy());
    lines.push(client);
  });
  await new Promise((done) => forwarder.listen(0, "127.0.0.1", done));
  const source = listen(`http://127.0.0.1:${forwarder.address().port}${channel}`);
  await source.opening;
  for (let round = 0; round < 2; round += 1) {
    await publish(channel, `heard ${round}`);
    expect("event", (await source.next())[2], `heard ${round}`);
    lines.splice(0).forEach((line) => line.destroy());
    await publish(channel, `missed ${round}`);
    expect("event", (await source.next())[2], `missed ${round}`);
  }
  source.close();
  forwarder.close();
});

test("a position that is gone is told as a reset", async () => {
  const source = listen(`${at.http}${freshChannel()}?since=0123456789abcdef:7`);
  expect("event", (await source.next())[0], "reset");
  source.close();
});

test("over TLS", async () => {
  const channel = freshChannel();
  await hearAll(listen(`${at.https}${channel}`), channel);
});

process.exit(await runAll());
