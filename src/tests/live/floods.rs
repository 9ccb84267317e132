//! Each limit of a peer is reached by many peers at once, and the server's resident memory stays
//! within what the limit says: the memory itself, not what is counted of it.
//!
//! Not here: what each limit answers in detail (`../peers.rs`, `../rates.rs`, on *sim*). Invariant:
//! every bound is the sum of what may be held, times three, and of [`SLACK_BYTES`], which does not
//! grow with the peers. Buffers grow by doubling, and the allocator keeps for a while the smaller
//! ones that they grew out of, which together are as much again.

use ringwire_protocol::ws::Opcode;

use crate::client::{Client, get};
use crate::harness::{Engine, eventually};
use crate::peers::{Said, WebSocket, frame};
use crate::process::Process;

on_both_engines!(
    heads_without_an_end,
    bodies_that_never_come_whole,
    chunks_without_an_end,
    frames_that_never_come_whole,
    messages_in_fragments_without_an_end,
    a_million_fragments_of_a_byte,
    empty_fragments,
    pings_of_peers_that_do_not_read,
    messages_faster_than_they_may,
    pings_faster_than_they_may,
    connections_of_one_address,
    connections_faster_than_they_may,
);

/// Peers at once.
const PEERS: usize = 250;

/// Receive buffers, arena, allocator, and pages that the first peers touch.
const SLACK_BYTES: u64 = 8 << 20;

/// A server whose memory is watched.
struct Watched {
    server: Process,
    before_bytes: u64,
}

impl Watched {
    fn start(engine: Engine, flags: &[&str]) -> Self {
        let flags = [&["--receive-buffers", "8x16k", "--send-buffer", "16k"], flags].concat();
        let server = Process::start(engine, 1, &flags);
        // Tables are touched as they are first used.
        let mut peers: Vec<_> = (0..20).map(|_| Client::connect(server.address)).collect();
        for peer in &mut peers {
            assert_eq!(peer.ask(get("/", "")).status, 200);
        }
        drop(peers);
        server.await_metric("ringwire_connections", &[], 0);
        let before_bytes = server.resident_bytes();
        Self { server, before_bytes }
    }

    fn connect(&self, peers: usize) -> Vec<Client> {
        (0..peers).map(|_| Client::connect(self.server.address)).collect()
    }

    fn open(&self, peers: usize) -> Vec<WebSocket> {
        (0..peers).map(|_| WebSocket::open(self.server.address, "/echo")).collect()
    }

    /// Waits until so many bytes are held in all.
    fn await_held(&self, bytes: usize) {
        self.server.await_metric("ringwire_held_bytes", &[], bytes as u64);
    }

    /// The memory that `peers` peers cost is no more than what each may make the server hold.
    fn assert_bounded(&self, peers: usize, held_bytes: usize) {
        let grown = self.server.resident_bytes().saturating_sub(self.before_bytes);
        let bound = (peers * (3 * held_bytes + 1024)) as u64 + SLACK_BYTES;
        assert!(grown <= bound, "{grown} bytes more for {peers} peers, {bound} may be");
    }

    fn drops(&self, reason: &str) -> u64 {
        let label = format!("reason=\"{reason}\"");
        self.server.metric("ringwire_connections_dropped_total", &[&label])
    }

    /// Nothing is held for peers that are gone, and the memory is used again.
    fn end<P>(self, peers: Vec<P>) {
        drop(peers);
        self.await_held(0);
        self.server.await_metric("ringwire_connections", &[], 0);
    }
}

fn refuse_all(peers: &mut [Client], last: &[u8], status: u16) {
    for peer in peers {
        peer.try_send(last);
        let answer = peer.answer();
        assert_eq!(answer.status, status, "{answer:?}");
        peer.expect_end();
    }
}

fn heads_without_an_end(engine: Engine) {
    const HEAD_BYTES: usize = 16 * 1024;
    let watched = Watched::start(engine, &[]);
    let mut peers = watched.connect(PEERS);
    let mut head = b"GET / HTTP/1.1\r\nHost: h\r\nX: ".to_vec();
    head.resize(HEAD_BYTES - 1, b'x');
    for part in head.chunks(1500) {
        peers.iter_mut().for_each(|peer| peer.send(part));
    }
    watched.await_held(PEERS * head.len());
    watched.assert_bounded(PEERS, HEAD_BYTES);
    refuse_all(&mut peers, b"x", 431);
    watched.assert_bounded(PEERS, HEAD_BYTES);
    watched.end(peers);
}

fn bodies_that_never_come_whole(engine: Engine) {
    const BODY_BYTES: usize = 48 * 1024;
    let watched = Watched::start(engine, &["--max-request-body-size", "48k"]);
    let mut peers = watched.connect(PEERS);
    let mut request =
        format!("POST /channels/a HTTP/1.1\r\nHost: h\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    request.extend(std::iter::repeat_n('x', BODY_BYTES - 1));
    peers.iter_mut().for_each(|peer| peer.send(&request));
    watched.await_held(PEERS * request.len());
    watched.assert_bounded(PEERS, BODY_BYTES);
    watched.end(peers);
}

fn chunks_without_an_end(engine: Engine) {
    const BODY_BYTES: usize = 16 * 1024;
    let watched = Watched::start(engine, &["--max-request-body-size", "16k"]);
    let mut peers = watched.connect(PEERS);
    let head = "POST /channels/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    peers.iter_mut().for_each(|peer| peer.send(head));
    // Six bytes on the wire for each that is held.
    let chunks = "1\r\nx\r\n".repeat(BODY_BYTES);
    peers.iter_mut().for_each(|peer| peer.send(&chunks));
    watched.await_held(PEERS * (head.len() + BODY_BYTES));
    watched.assert_bounded(PEERS, head.len() + BODY_BYTES);
    refuse_all(&mut peers, b"1\r\nx\r\n", 413);
    watched.end(peers);
}

fn frames_that_never_come_whole(engine: Engine) {
    const MESSAGE_BYTES: usize = 48 * 1024;
    let watched = Watched::start(engine, &["--max-message-size", "48k"]);
    let mut peers = watched.open(PEERS);
    let whole = frame(Opcode::Binary, &[7; MESSAGE_BYTES]);
    let but_one = &whole[..whole.len() - 1];
    peers.iter_mut().for_each(|peer| peer.client.send(but_one));
    let received = (PEERS * but_one.len()) as u64;
    let all_came = || watched.server.metric("ringwire_received_bytes_total", &[]) >= received;
    eventually(all_came, || "not all has been received".to_owned());
    watched.assert_bounded(PEERS, MESSAGE_BYTES);
    // A frame that says it is longer is not waited for.
    let mut more = watched.open(1);
    more[0].client.send(&frame(Opcode::Binary, &[7; MESSAGE_BYTES + 1])[..14]);
    more[0].expect_close(1009);
    drop(more);
    watched.end(peers);
}

/// A fragment that does not end its message.
fn fragment(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(opcode, payload);
    bytes[0] &= 0x7f;
    bytes
}

fn messages_in_fragments_without_an_end(engine: Engine) {
    const FRAGMENTS: usize = 4096;
    let watched = Watched::start(engine, &["--max-message-size", "4k"]);
    let mut peers = watched.open(PEERS);
    let mut bytes = fragment(Opcode::Text, b"x");
    bytes.extend(fragment(Opcode::Continuation, b"x").repeat(FRAGMENTS - 1));
    peers.iter_mut().for_each(|peer| peer.client.send(&bytes));
    let received = (PEERS * bytes.len()) as u64;
    let all_came = || watched.server.metric("ringwire_received_bytes_total", &[]) >= received;
    eventually(all_came, || "not all has been received".to_owned());
    // A byte is held for each byte of payload, not a fragment's worth of anything.
    watched.assert_bounded(PEERS, FRAGMENTS);
    for peer in &mut peers {
        peer.client.send(fragment(Opcode::Continuation, b"x"));
        peer.expect_close(1009);
    }
    watched.end(peers);
}

fn a_million_fragments_of_a_byte(engine: Engine) {
    const FRAGMENTS: usize = 1_000_000;
    let watched = Watched::start(engine, &["--max-message-size", "1m"]);
    let mut peers = watched.open(1);
    let mut bytes = fragment(Opcode::Binary, b"x");
    bytes.extend(fragment(Opcode::Continuation, b"x").repeat(FRAGMENTS - 1));
    peers[0].client.send(&bytes);
    peers[0].client.send(frame(Opcode::Ping, b"all came"));
    assert_eq!(peers[0].hear(), Said::Pong(b"all came".to_vec()));
    watched.assert_bounded(1, FRAGMENTS);
    peers[0].client.send(frame(Opcode::Continuation, b"x"));
    assert_eq!(peers[0].hear(), Said::Binary(vec![b'x'; FRAGMENTS + 1]));
    watched.end(peers);
}

fn empty_fragments(engine: Engine) {
    let watched = Watched::start(engine, &["--max-empty-fragments", "100"]);
    let mut peers = watched.open(PEERS);
    let mut bytes = fragment(Opcode::Text, b"");
    bytes.extend(fragment(Opcode::Continuation, b"").repeat(99));
    peers.iter_mut().for_each(|peer| peer.client.send(&bytes));
    watched.assert_bounded(PEERS, 1024);
    for peer in &mut peers {
        peer.client.send(fragment(Opcode::Continuation, b""));
        peer.expect_close(1008);
    }
    assert_eq!(watched.drops("policy"), PEERS as u64);
    watched.end(peers);
}

fn pings_of_peers_that_do_not_read(engine: Engine) {
    const PINGS: usize = 2000;
    let watched = Watched::start(engine, &[]);
    let mut peers = watched.open(PEERS);
    let pings = frame(Opcode::Ping, &[b'p'; 125]).repeat(PINGS);
    peers.iter_mut().for_each(|peer| peer.client.send(&pings));
    let received = (PEERS * pings.len()) as u64;
    let all_came = || watched.server.metric("ringwire_received_bytes_total", &[]) >= received;
    eventually(all_came, || "pings are not read".to_owned());
    // What one receive asked for may wait in the outbox, which is a quarter of the buffers, and
    // the latest pong behind it. All that was asked for would be a quarter of a megabyte each.
    watched.assert_bounded(PEERS, 32 * 1024);
    // The last ping is answered all the same.
    let last = &mut peers[PEERS / 2];
    last.client.send(frame(Opcode::Ping, b"the last"));
    while last.hear() != Said::Pong(b"the last".to_vec()) {}
    watched.end(peers);
}

/// Floods the server until each peer is told that it is too much.
fn flood(watched: Watched, bytes: &[u8], reason: &str) {
    let mut peers = watched.open(PEERS);
    for peer in &mut peers {
        peer.client.try_send(bytes);
    }
    for peer in &mut peers {
        let code = loop {
            match peer.hear() {
                Said::Close(Some((code, _))) => break code,
                Said::Close(None) => panic!("a Close without a code"),
                _ => {}
            }
        };
        assert_eq!(code, 1008);
    }
    watched.assert_bounded(PEERS, 1024);
    assert_eq!(watched.drops(reason), PEERS as u64);
    watched.end(peers);
}

fn messages_faster_than_they_may(engine: Engine) {
    let watched = Watched::start(engine, &["--message-rate-limit", "10"]);
    flood(watched, &frame(Opcode::Text, b"flood").repeat(4000), "message_rate");
}

fn pings_faster_than_they_may(engine: Engine) {
    let watched = Watched::start(engine, &["--control-frame-rate", "10"]);
    flood(watched, &frame(Opcode::Ping, b"flood").repeat(4000), "control_rate");
}

fn connections_of_one_address(engine: Engine) {
    const MOST: usize = 30;
    let most = MOST.to_string();
    let flags = ["--max-connections-per-ip", &most];
    let server = Process::start(engine, 2, &flags);
    let mut peers: Vec<_> = (0..MOST).map(|_| Client::connect(server.address)).collect();
    for peer in &mut peers {
        assert_eq!(peer.ask(get("/", "")).status, 200);
    }
    let before_bytes = server.resident_bytes();
    for _ in 0..PEERS {
        let mut excess = Client::connect(server.address);
        let answer = excess.answer();
        assert_eq!(answer.status, 429, "{answer:?}");
        excess.expect_end();
    }
    let grown = server.resident_bytes().saturating_sub(before_bytes);
    assert!(grown <= SLACK_BYTES, "{grown} bytes more");
    // The others are served on, and who leaves makes room.
    peers.truncate(MOST / 2);
    for peer in &mut peers {
        assert_eq!(peer.ask(get("/", "")).status, 200);
    }
    server.await_metric("ringwire_connections", &[], (MOST / 2) as u64);
    assert_eq!(Client::connect(server.address).ask(get("/", "")).status, 200);

    // Behind a proxy that is trusted each client has its own room.
    let flags = ["--max-connections-per-ip", "2", "--trusted-proxy", "127.0.0.0/8"];
    let server = Process::start(engine, 2, &flags);
    let mut kept = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2"] {
        for expected in [200, 200, 429] {
            let mut peer = Client::connect(server.address);
            peer.send(format!("PROXY TCP4 {client} 127.0.0.1 4000 80\r\n"));
            assert_eq!(peer.ask(get("/", "")).status, expected, "{client}");
            kept.push(peer);
        }
    }
    for expected in [200, 200, 429] {
        let mut peer = Client::connect(server.address);
        let header = "X-Forwarded-For: 192.0.2.1, 192.0.2.3\r\n";
        assert_eq!(peer.ask(get("/", header)).status, expected);
        kept.push(peer);
    }
}

fn connections_faster_than_they_may(engine: Engine) {
    let server = Process::start(engine, 2, &["--connection-rate-limit", "50"]);
    let turns = || server.metric("ringwire_engine_turns_total", &[]);
    let mut peers: Vec<_> = (0..100).map(|_| Client::connect(server.address)).collect();
    let before = turns();
    for peer in &mut peers {
        peer.send(get("/", ""));
    }
    for peer in &mut peers {
        assert_eq!(peer.answer().status, 200, "somebody was lost");
    }
    assert!(server.metric("ringwire_accept_pauses_total", &[]) > 0, "nobody had to wait");
    // It sleeps while nobody is let in: a few turns for each client, not millions.
    let turns = turns() - before;
    assert!(turns < 5000, "{turns} turns for 100 clients");
}
