// A page in headless Chromium as the client of the server: WebSocket, EventSource, long polling,
// from another origin than the server's.
//
// Not here: what the page asks (page/checks.js). Here is what a page cannot do itself: cut a
// connection, and look at the request that comes after.
//
//     peer_browser.mjs MODULES {..endpoints, "page": URL, "screenshot": FILE, "profile": DIR}

import { createServer, connect } from "node:net";
import { at, expect, load, runAll, test } from "./tap.mjs";

const { chromium } = load("playwright-core");

// A forwarder to the server's plain address that can be cut. It reads no byte but the first
// piece of each connection, which holds the request's head.
const server = new URL(at.http);
const heads = [];
let lines = [];
let isCut = false;
const forwarder = createServer((client) => {
  if (isCut) {
    client.destroy();
    return;
  }
  const there = connect(Number(server.port), server.hostname);
  client.once("data", (head) => heads.push(head.toString()));
  client.pipe(there).pipe(client);
  for (const [socket, other] of [[client, there], [there, client]]) {
    socket.on("error", () => {});
    socket.on("close", () => other.destroy());
  }
  lines.push(client);
});
await new Promise((done) => forwarder.listen(0, "127.0.0.1", done));
at.cuttable = `http://127.0.0.1:${forwarder.address().port}`;

async function cutAndPublish(url, bodies) {
  isCut = true;
  lines.forEach((line) => line.destroy());
  lines = [];
  for (const body of bodies) {
    const headers = { "Content-Type": "text/plain" };
    const answer = await fetch(url, { method: "POST", body, headers });
    expect("status", answer.status, 200);
  }
  isCut = false;
}

function lastEventIdReceived() {
  const ids = heads.map((head) => /^last-event-id: *(\S+)/im.exec(head)?.[1]).filter(Boolean);
  return ids.at(-1) ?? null;
}

const browser = await chromium.launchPersistentContext(at.profile, {
  executablePath: at.chromium,
  headless: true,
  ignoreHTTPSErrors: true,
  viewport: { width: 1100, height: 760 },
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});
const page = browser.pages()[0] ?? (await browser.newPage());
let frames = 0;
page.on("websocket", (socket) => socket.on("framereceived", () => (frames += 1)));
await page.exposeFunction("cutAndPublish", cutAndPublish);
await page.exposeFunction("lastEventIdReceived", lastEventIdReceived);

async function visit(url) {
  await page.goto(url);
  await page.evaluate((endpoints) => begin(endpoints), at);
}

function inPage(name, title) {
  test(title, () => page.evaluate(([name, title]) => check(name, title), [name, title]));
}

await visit(at.page);
inPage("websocket", "WebSocket with compression and a subprotocol");
inPage("wss", "the same WebSocket over TLS");
inPage("channel", "two subscribers over WebSocket");
inPage("events", "EventSource receives texts and bytes");
inPage("reconnect", "EventSource is cut and comes back");
inPage("reset", "EventSource is told that its position is gone");
inPage("poll", "long polling by fetch, publishing by POST");
inPage("https", "long polling and publishing over TLS");
test("the browser's own count of frames", async () => {
  expect("at least 80", frames >= 80, true);
  await page.screenshot({ path: at.screenshot, fullPage: true });
});
test("a page from an origin that is not allowed", async () => {
  const other = new URL(at.page);
  other.hostname = "localhost";
  await visit(other.href);
  await page.evaluate(() => check("refused", "refused"));
});

process.exitCode = 1;
try {
  process.exitCode = await runAll();
} finally {
  await browser.close();
  forwarder.close();
}
process.exit();
