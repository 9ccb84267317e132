//! Many clients, more than are allowed, and those that go in the middle of a word.

use std::thread;

use ringwire_protocol::ws::Opcode;
use ringwire_ring::descriptors_max;

use crate::client::{Client, get};
use crate::harness::{Engine, Running, eventually};
use crate::peers::{WebSocket, frame, upgrade};
use crate::process::Process;

on_both_engines!(
    a_full_server_lets_the_others_wait_and_in_when_one_leaves,
    two_thousand_idle_websockets_all_answer,
    a_storm_of_connects_is_served_whole,
    a_reset_at_any_byte_leaves_nothing_behind,
    an_end_at_any_byte_leaves_nothing_behind,
);

fn a_full_server_lets_the_others_wait_and_in_when_one_leaves(engine: Engine) {
    const MOST: usize = 24;
    // Few enough for the listeners' queues.
    const WAITING: usize = 6;
    for workers in [1, 3] {
        let most = MOST.to_string();
        let server = Running::start(engine, workers, &["--max-connections", &most]);
        let mut served: Vec<_> = (0..MOST).map(|_| Client::connect(server.address)).collect();
        for client in &mut served {
            assert_eq!(client.ask(get("/", "")).status, 200);
        }
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Client::connect(server.address)).collect();
        waiting.iter_mut().for_each(|client| client.send(get("/", "")));
        // The full house is served on, and nobody else is.
        for client in &mut served {
            assert_eq!(client.ask(get("/", "")).status, 200);
        }
        assert!(waiting.iter().all(|client| !client.is_readable()), "{workers} workers");
        assert_eq!(server.live(), MOST as u64);
        // One leaves, one gets in: whichever was next.
        while !waiting.is_empty() {
            drop(served.remove(0));
            let mut next = None;
            eventually(
                || {
                    next = waiting.iter().position(Client::is_readable);
                    next.is_some()
                },
                || format!("{} wait though one left; {workers} workers", waiting.len()),
            );
            let mut client = waiting.remove(next.unwrap());
            assert_eq!(client.answer().status, 200);
            served.push(client);
            assert!(server.live() <= MOST as u64);
        }
        for client in &mut served {
            assert_eq!(client.ask(get("/", "")).status, 200);
        }
    }
}

fn two_thousand_idle_websockets_all_answer(engine: Engine) {
    const SOCKETS: usize = 2000;
    assert!(descriptors_max() > 2 * SOCKETS as u64, "raise the limit: ulimit -n 8192");
    let process = Process::start(engine, 2, &[]);
    let mut sockets = Vec::with_capacity(SOCKETS);
    while sockets.len() < SOCKETS {
        let mut clients: Vec<_> = (0..100).map(|_| Client::connect(process.address)).collect();
        clients.iter_mut().for_each(|client| client.send(upgrade("/echo", &[])));
        sockets.extend(clients.into_iter().map(|client| WebSocket::after_upgrade(client, &[])));
    }
    process.await_metric("ringwire_connections", &["websocket", "open"], SOCKETS as u64);
    // Whoever is idle costs no memory for bytes.
    process.await_metric("ringwire_held_bytes", &[], 0);
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.text(&number.to_string());
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(socket.hear_text(), number.to_string());
    }
    drop(sockets);
    process.await_metric("ringwire_connections", &[], 0);
}

fn a_storm_of_connects_is_served_whole(engine: Engine) {
    const THREADS: usize = 20;
    const EACH: usize = 25;
    let server = Running::start(engine, 8, &[]);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // All of a thread's are open at once.
                let connect = |_| Client::connect(server.address);
                let mut clients: Vec<_> = (0..EACH).map(connect).collect();
                for client in &mut clients {
                    client.send([&upgrade("/echo", &[])[..], &frame(Opcode::Text, b"x")].concat());
                }
                for client in clients {
                    let mut socket = WebSocket::after_upgrade(client, &[]);
                    assert_eq!(socket.hear_text(), "x");
                    socket.leave();
                }
            });
        }
    });
    assert_eq!(server.sum(|metrics| metrics.accepted.value()), (THREADS * EACH) as u64);
    server.await_empty();
    // A slot comes back a little after its connection has left the gauges.
    let closed = || server.sum(|metrics| metrics.closed.value());
    eventually(|| closed() == (THREADS * EACH) as u64, || format!("{} closed", closed()));
}

/// An upgrade to a channel and a publication on it, cut after each byte.
fn cuts() -> impl Iterator<Item = Vec<u8>> {
    let mut bytes = upgrade("/channels/a", &[]);
    bytes.extend(frame(Opcode::Text, b"a publication"));
    (0..=bytes.len()).map(move |cut| bytes[..cut].to_vec())
}

fn a_reset_at_any_byte_leaves_nothing_behind(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    for cut in cuts() {
        let mut client = Client::connect(server.address);
        client.send(get("/", ""));
        // With an answer unread, dropping the socket is a reset.
        client.await_unread();
        client.send(cut);
    }
    server.await_empty();
    assert!(Client::connect(server.address).ask(get("/channels/a", "")).polled().recovered);
}

fn an_end_at_any_byte_leaves_nothing_behind(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    for cut in cuts() {
        let mut client = Client::connect(server.address);
        client.send(cut);
        client.finish();
        // Without a reset, and with whatever was to be said.
        client.rest();
    }
    server.await_empty();
    assert!(Client::connect(server.address).ask(get("/channels/a", "")).polled().recovered);
}
