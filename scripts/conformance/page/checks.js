// What the page asks of the server, from another origin than the server's.
//
// Not here: who judges (peer_browser.mjs calls `check(name)` and reads what is thrown). Each check
// says what it has seen, which stands in the table.

let at;
const checks = {};

function begin(endpoints) {
  at = endpoints;
  const where = `Page from ${location.origin}, server at ${at.ws}, ${navigator.userAgent}`;
  document.getElementById("where").textContent = where;
}

async function check(name, title) {
  let verdict = "ok";
  let seen;
  try {
    seen = await checks[name]();
    return seen;
  } catch (error) {
    verdict = "failed";
    seen = String(error?.message ?? error);
    throw error;
  } finally {
    const row = document.getElementById("rows").insertRow();
    for (const [text, style] of [[verdict, verdict], [title, ""], [seen, "seen"]]) {
      const cell = row.insertCell();
      cell.textContent = text;
      cell.className = style;
    }
  }
}

function expect(what, found, wanted) {
  const [a, b] = [found, wanted].map((value) => JSON.stringify(value) ?? String(value));
  if (a !== b) {
    throw new Error(`${what}: ${a.slice(0, 100)} instead of ${b.slice(0, 100)}`);
  }
}

function freshChannel(kind) {
  return `/channels/browser-${kind}-${crypto.randomUUID()}`;
}

// A WebSocket whose messages can be awaited one by one; `closing` comes when it is over.
async function open(url, protocols = []) {
  const socket = new WebSocket(url, protocols);
  socket.binaryType = "arraybuffer";
  const arrived = [];
  const waiting = [];
  socket.onmessage = ({ data }) => (waiting.length ? waiting.shift()(data) : arrived.push(data));
  socket.next = () =>
    arrived.length ? arrived.shift() : new Promise((done) => waiting.push(done));
  socket.closing = new Promise((done) => (socket.onclose = done));
  await new Promise((done, fail) => {
    socket.onopen = done;
    socket.onerror = () => fail(new Error(`no WebSocket to ${url}`));
  });
  return socket;
}

async function speak(url) {
  const socket = await open(url, ["second", "first"]);
  expect("subprotocol", socket.protocol, "first");
  expect("extension", socket.extensions.split(";")[0], "permessage-deflate");
  const text = "said in a browser \u00e9\u{1f600} ".repeat(500);
  for (const message of [text, "", text]) {
    socket.send(message);
    expect("text", await socket.next(), message);
  }
  const noise = crypto.getRandomValues(new Uint8Array(65_536));
  const binary = new Uint8Array(70_000);
  binary.set(noise);
  socket.send(binary);
  const back = new Uint8Array(await socket.next());
  expect("length", back.length, binary.length);
  expect("bytes", back.every((byte, index) => byte === binary[index]), true);
  socket.close(3001, "that is all");
  const { code, wasClean } = await socket.closing;
  expect("close code", code, 3001);
  expect("clean", wasClean, true);
  return `${socket.extensions}, protocol ${socket.protocol}, ${text.length} characters and ` +
    `${back.length} bytes back, closed ${code}`;
}

checks.websocket = () => speak(`${at.ws}/echo`);
checks.wss = () => speak(`${at.wss}/echo`);

async function publish(channel, body, type = "text/plain", base = at.http) {
  const headers = { "Content-Type": type };
  const answer = await fetch(`${base}${channel}`, { method: "POST", body, headers });
  expect("status", answer.status, 200);
  return answer.json();
}

checks.channel = async () => {
  const channel = freshChannel("websocket");
  const [one, two] = [await open(`${at.ws}${channel}`), await open(`${at.ws}${channel}`)];
  for (let number = 0; number < 40; number += 1) {
    const body = `publication ${number} `.repeat(1 + number * 10);
    await (number % 2 ? publish(channel, body) : one.send(body));
    for (const socket of [one, two]) {
      expect("publication", await socket.next(), body);
    }
  }
  one.close();
  two.close();
  return "40 publications, each by both subscribers";
};

// Events of a stream one by one, as [type, id, data].
function listen(url) {
  const source = new EventSource(url);
  const arrived = [];
  const waiting = [];
  const put = ({ type, lastEventId, data }) => {
    const event = [type, lastEventId, data];
    return waiting.length ? waiting.shift()(event) : arrived.push(event);
  };
  for (const type of ["message", "binary", "reset"]) {
    source.addEventListener(type, put);
  }
  source.next = () =>
    arrived.length ? arrived.shift() : new Promise((done) => waiting.push(done));
  source.opening = new Promise((done) => (source.onopen = done));
  source.stumbling = new Promise((done) => (source.onerror = done));
  return source;
}

checks.events = async () => {
  const channel = freshChannel("events");
  const source = listen(`${at.http}${channel}`);
  await source.opening;
  for (const body of ["one", "two\nlines", "", " led by a space", "\u00e9\u{1f600}"]) {
    const { epoch, offset } = await publish(channel, body);
    expect("event", await source.next(), ["message", `${epoch}:${offset}`, body]);
  }
  const bytes = new Uint8Array([0, 13, 10, 255]);
  await publish(channel, bytes, "application/octet-stream");
  const [type, , data] = await source.next();
  expect("binary", [type, atob(data).length], ["binary", 4]);
  source.close();
  return "5 texts, with their ids, and 4 bytes as base64";
};

checks.reconnect = async () => {
  const channel = freshChannel("cut");
  const source = listen(`${at.cuttable}${channel}`);
  await source.opening;
  await publish(channel, "before the cut");
  const [, last, before] = await source.next();
  expect("before", before, "before the cut");
  await window.cutAndPublish(`${at.http}${channel}`, ["missed 1", "missed 2", "missed 3"]);
  await source.stumbling;
  const seen = [];
  while (seen.length < 3) {
    seen.push((await source.next())[2]);
  }
  expect("what was missed", seen, ["missed 1", "missed 2", "missed 3"]);
  await publish(channel, "live again");
  expect("then", (await source.next())[2], "live again");
  source.close();
  const returned = await window.lastEventIdReceived();
  expect("Last-Event-ID", returned, last);
  return `cut after ${last}, which came back as Last-Event-ID: 3 replayed, then live`;
};

checks.reset = async () => {
  const source = listen(`${at.http}${freshChannel("reset")}?since=0123456789abcdef:7`);
  const [type, id] = await source.next();
  expect("event", type, "reset");
  source.close();
  return `an epoch that is gone: event reset, now at ${id}`;
};

async function pollLong(base) {
  const channel = freshChannel("poll");
  const ask = async (question = "") => {
    const answer = await fetch(`${base}${channel}${question}`);
    expect("status", answer.status, 200);
    return answer.json();
  };
  let { epoch, offset } = await ask();
  let asked = 0;
  for (let number = 0; number < 5; number += 1) {
    const asking = ask(`?since=${epoch}:${offset}&wait=10`);
    await publish(channel, `news ${number}`, "text/plain", base);
    const answer = await asking;
    expect("items", answer.items.map(({ data }) => data), [`news ${number}`]);
    expect("recovered", answer.recovered, true);
    ({ epoch, offset } = answer);
    asked += 1;
  }
  return `${asked} questions, ${asked} answers with news, at ${epoch}:${offset}`;
}

checks.poll = () => pollLong(at.http);
checks.https = () => pollLong(at.https);

checks.refused = async () => {
  const socket = new WebSocket(`${at.ws}/echo`);
  const { code } = await new Promise((done) => (socket.onclose = done));
  expect("WebSocket", code, 1006);
  const channel = freshChannel("refused");
  const answer = await fetch(`${at.http}${channel}`).then(() => "read", () => "refused");
  expect("fetch", answer, "refused");
  const post = await publish(channel, "x").then(() => "published", () => "refused");
  expect("POST", post, "refused");
  const source = listen(`${at.http}${channel}`);
  await source.stumbling;
  expect("EventSource", source.readyState, EventSource.CLOSED);
  return "WebSocket, fetch, POST and EventSource from an origin that is not allowed";
};
