//! Limits that concern one peer: how many connections an address has, for whom a proxy speaks, how
//! fast clients come.
//!
//! Not here: how often one speaks (`rates`), and memory on a real machine (`live/floods`).

use std::net::SocketAddr;

use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::echo::UPGRADE;
use super::secure_peer::{SecurePeer, Terms};
use super::wire::stream;
use super::world::{Plan, World, is_whole};
use crate::metrics::DropReason;

const INDEX: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn world(workers: usize, flags: &[&'static str]) -> World {
    let flags = [&["--keepalive-timeout", "1h"], flags].concat();
    World::new(&Plan { workers, flags, ..Plan::new(1) })
}

/// The status that a peer was answered; 0 without an answer.
fn status(peer: &RawPeer) -> u16 {
    let received = peer.received();
    let line = String::from_utf8_lossy(&received).lines().next().unwrap_or_default().to_owned();
    line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}

/// The statuses of clients that have all asked, however that ended.
fn statuses(world: &World, peers: &[RawPeer]) -> Vec<u16> {
    world.run_until(|| peers.iter().all(|peer| is_whole(&peer.received()) || peer.is_ended()));
    peers.iter().map(status).collect()
}

fn ask(world: &World, source: &str, bytes: &str) -> RawPeer {
    let peer = world.connect_from(source);
    peer.send(bytes.as_bytes());
    world.run_until(|| is_whole(&peer.received()) || peer.is_ended());
    peer
}

fn leave(world: &World, peers: &[RawPeer]) {
    peers.iter().for_each(RawPeer::fin);
    world.run_empty();
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    each_seed(6, |seed| {
        let faults = if seed == 0 { Faults::none() } else { Faults::lossless() };
        let flags = vec!["--max-connections-per-ip", "3", "--keepalive-timeout", "1h"];
        let world = World::new(&Plan { workers: 3, faults, flags, ..Plan::new(seed) });
        let others: Vec<_> = (0..3).map(|_| world.connect_from("192.0.2.2")).collect();
        others.iter().for_each(|peer| peer.send(INDEX.as_bytes()));
        assert_eq!(statuses(&world, &others), [200; 3]);
        let peers: Vec<_> = (0..9).map(|_| world.connect_from("192.0.2.1")).collect();
        peers.iter().for_each(|peer| peer.send(UPGRADE.as_bytes()));
        let found = statuses(&world, &peers);
        let count = |status: u16| found.iter().filter(|found| **found == status).count();
        assert_eq!(count(101), 3, "{found:?}");
        // As many are told as may be; whoever is beyond even that is just ended.
        assert_eq!(count(429) + count(0), 6, "{found:?}");
        assert!((1..=3 + 3).contains(&count(429)), "{found:?}");
        assert_eq!(world.drops(DropReason::PerAddress), 6);
        // Who leaves makes room, and only for its own address.
        let stayed: Vec<_> = peers.iter().filter(|peer| status(peer) == 101).cloned().collect();
        world.run_until(|| peers.iter().filter(|peer| !peer.is_ended()).count() == 3);
        stayed[0].fin();
        world.run_until(|| stayed[0].is_ended());
        world.run_until(|| world.live() == 5);
        let late: Vec<_> = (0..2).map(|_| ask(&world, "192.0.2.1", INDEX)).collect();
        assert_eq!([status(&late[0]), status(&late[1])], [200, 429]);
        leave(&world, &[&others[..], &stayed[..], &late[..]].concat());
    });
}

#[test]
fn without_a_limit_nobody_is_counted() {
    let world = world(2, &[]);
    let peers: Vec<_> = (0..50).map(|_| ask(&world, "192.0.2.1", INDEX)).collect();
    assert_eq!(statuses(&world, &peers), [200; 50]);
    leave(&world, &peers);
}

#[test]
fn what_comes_behind_a_proxy_header_counts_as_received_once() {
    let world = world(1, &["--trusted-proxy", "10.0.0.0/8"]);
    let bytes = format!("PROXY TCP4 192.0.2.1 10.0.0.2 4660 80\r\n{INDEX}");
    let peer = ask(&world, "10.0.0.1", &bytes);
    assert_eq!(status(&peer), 200);
    assert_eq!(world.metrics[0].bytes_received.value(), bytes.len() as u64);
    leave(&world, &[peer]);
}

#[test]
fn a_proxy_that_is_too_late_with_its_header_is_refused_once() {
    let world = world(1, &["--trusted-proxy", "10.0.0.0/8"]);
    let slow = world.connect_from("10.0.0.1");
    slow.send(b"PROXY TCP4 192.0.2.1");
    world.run_until(|| is_whole(&slow.received()));
    assert_eq!(status(&slow), 408);
    slow.send(b" x\r\n");
    world.run_until(|| slow.is_ended());
    world.pass_ms(10);
    slow.fin();
    world.run_empty();
    assert_eq!(String::from_utf8_lossy(&slow.received()).matches("HTTP/1.1 ").count(), 1);
    assert_eq!(world.drops(DropReason::Reset), 0);
}

/// A request that claims to come from somebody.
fn forwarded(request: &str, chain: &str) -> String {
    request.replacen("Host: h\r\n", &format!("Host: h\r\nX-Forwarded-For: {chain}\r\n"), 1)
}

#[test]
fn what_an_untrusted_client_says_of_itself_is_not_believed() {
    let flags = ["--max-connections-per-ip", "2", "--trusted-proxy", "10.0.0.0/8"];
    let world = world(2, &flags);
    let claims = ["203.0.113.1", "203.0.113.2", "203.0.113.3, 10.0.0.1"];
    let peers: Vec<_> =
        claims.iter().map(|claim| ask(&world, "192.0.2.1", &forwarded(INDEX, claim))).collect();
    assert_eq!(statuses(&world, &peers), [200, 200, 429]);
    // Nor is a PROXY line, which is no request.
    let liar = ask(&world, "192.0.2.9", "PROXY TCP4 203.0.113.1 192.0.2.2 5 80\r\n\r\n");
    assert_eq!(status(&liar), 400);
    leave(&world, &peers);
}

#[test]
fn a_trusted_proxy_says_for_whom_each_request_is() {
    let flags = ["--max-connections-per-ip", "2", "--trusted-proxy", "10.0.0.0/8,fd00::/8"];
    let world = world(2, &flags);
    let from = |client: &str| ask(&world, "10.1.1.1", &forwarded(UPGRADE, client));
    let one: Vec<_> = (0..3).map(|_| from("198.51.100.5, 192.0.2.1, 10.9.9.9")).collect();
    assert_eq!(statuses(&world, &one), [101, 101, 429]);
    let other: Vec<_> = (0..3).map(|_| from("192.0.2.1, 198.51.100.5")).collect();
    assert_eq!(statuses(&world, &other), [101, 101, 429]);
    let v6: Vec<_> = (0..3)
        .map(|host| ask(&world, "fd00::1", &forwarded(UPGRADE, &format!("2001:db8::{host}"))))
        .collect();
    assert_eq!(statuses(&world, &v6), [101, 101, 429]);
    // A proxy that says nothing is not counted itself: everybody would be behind it.
    let silent: Vec<_> = (0..5).map(|_| ask(&world, "10.1.1.1", INDEX)).collect();
    assert_eq!(statuses(&world, &silent), [200; 5]);
    leave(&world, &[one, other, v6, silent].concat());
}

#[test]
fn a_connection_of_a_proxy_counts_for_whom_its_last_request_was() {
    let flags = ["--max-connections-per-ip", "1", "--trusted-proxy", "10.0.0.1"];
    let world = world(1, &flags);
    let proxy = world.connect_from("10.0.0.1");
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1"] {
        let answer = world.exchange(&proxy, &forwarded(INDEX, client));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{client}: {answer}");
    }
    // The second client is free again, the first is not.
    assert_eq!(status(&ask(&world, "192.0.2.1", INDEX)), 429);
    let second = ask(&world, "192.0.2.2", INDEX);
    assert_eq!(status(&second), 200);
    let answer = world.exchange(&proxy, &forwarded(INDEX, "192.0.2.2"));
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    leave(&world, &[proxy, second]);
}

/// The binary header for an IPv4 client.
fn binary_header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([10, 0, 0, 2, 0x12, 0x34, 0, 80]);
    header
}

#[test]
fn a_proxy_header_counts_however_it_is_cut() {
    let line = b"PROXY TCP4 192.0.2.1 10.0.0.2 4660 80\r\n".to_vec();
    for header in [line, binary_header([192, 0, 2, 1])] {
        let flags = ["--max-connections-per-ip", "120", "--trusted-proxy", "10.0.0.1"];
        let world = world(1, &flags);
        let bytes = [&header[..], INDEX.as_bytes()].concat();
        let mut peers = Vec::new();
        for cut in 0..bytes.len() {
            let peer = world.connect_from("10.0.0.1");
            peer.send(&bytes[..cut]);
            world.pass_ms(1);
            peer.send(&bytes[cut..]);
            peers.push(peer);
        }
        let slow = world.connect_from("10.0.0.1");
        for byte in &bytes {
            slow.send(&[*byte]);
            world.pass_ms(1);
        }
        peers.push(slow);
        assert_eq!(statuses(&world, &peers), vec![200; bytes.len() + 1]);
        // All of them count for the client, who therefore has no room for as many again.
        let more: Vec<_> = (0..=120 - peers.len())
            .map(|_| {
                let peer = world.connect_from("10.0.0.1");
                peer.send(&bytes);
                peer
            })
            .collect();
        let found = statuses(&world, &more);
        assert_eq!(found.iter().filter(|status| **status == 429).count(), 1, "{found:?}");
        leave(&world, &[peers, more].concat());
    }
}

#[test]
fn a_proxy_need_not_say_anything_and_a_broken_header_is_refused() {
    let flags = ["--trusted-proxy", "10.0.0.1"];
    let world = world(1, &flags);
    let good = [
        INDEX.to_owned(),
        format!("PROXY UNKNOWN\r\n{INDEX}"),
        format!("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0{INDEX}"),
        format!("\r\n\r\n{INDEX}"),
    ];
    let peers: Vec<_> = good.iter().map(|bytes| ask(&world, "10.0.0.1", bytes)).collect();
    assert_eq!(statuses(&world, &peers), [200; 4]);
    for bad in ["PROXY TCP4 x y z\r\n", "PROXY \r\n", "\r\n\r\n\0\r\nQUIT\n\x31\0\0\0"] {
        let peer = ask(&world, "10.0.0.1", bad);
        assert_eq!(status(&peer), 400, "{bad:?}");
        world.run_until(|| peer.is_ended());
    }
    // One header is enough.
    let twice = format!("PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n{INDEX}");
    assert_eq!(status(&ask(&world, "10.0.0.1", &twice)), 400);
    // A header without an end is a request that takes too long, or too much.
    let slow = world.connect_from("10.0.0.1");
    slow.send(b"PROXY TCP4 192.0.2.1");
    let endless = ask(&world, "10.0.0.1", &format!("PROXY UNKNOWN {}", "x".repeat(200)));
    assert_eq!(status(&endless), 400);
    world.pass(12);
    assert_eq!(status(&slow), 408);
    leave(&world, &peers);
}

#[test]
fn what_a_client_says_behind_a_proxy_header_is_not_believed() {
    let flags = ["--max-connections-per-ip", "1", "--trusted-proxy", "10.0.0.0/8"];
    let world = world(1, &flags);
    let bytes = |claim: &str| {
        let request = forwarded(INDEX, claim);
        format!("PROXY TCP4 192.0.2.1 10.0.0.2 4660 80\r\n{request}")
    };
    let first = ask(&world, "10.0.0.1", &bytes("203.0.113.1"));
    let second = ask(&world, "10.0.0.1", &bytes("203.0.113.2"));
    assert_eq!([status(&first), status(&second)], [200, 429]);
    leave(&world, &[first]);
}

#[test]
fn clients_come_no_faster_than_they_may_and_nobody_is_lost() {
    each_seed(4, |seed| {
        let faults = if seed == 0 { Faults::none() } else { Faults::lossless() };
        let flags = vec!["--connection-rate-limit", "20", "--keepalive-timeout", "1h"];
        let world = World::new(&Plan { workers: 2, faults, flags, ..Plan::new(seed) });
        let begun_ns = world.sim.now_ns();
        let peers: Vec<_> = (0..120).map(|_| world.connect()).collect();
        peers.iter().for_each(|peer| peer.send(stream("a", "").as_bytes()));
        let accepted = || [0, 1].map(|worker| world.metrics[worker].accepted.value());
        while accepted().iter().sum::<u64>() < 120 {
            let before = accepted();
            world.pass_ms(10);
            let passed_ms = (world.sim.now_ns() - begun_ns) / 1_000_000;
            // What one turn brings to a worker is let in at once, and waited for before the next
            // comes. Half a bucket may be ahead.
            for (before, now) in before.into_iter().zip(accepted()) {
                let is_due = before <= passed_ms * 10 / 1000 + 1;
                assert!(now == before || is_due, "{before}, then {now}, after {passed_ms} ms");
            }
        }
        world.run_until(|| peers.iter().all(|peer| peer.received().ends_with(b"\n\n")));
        let pauses: u64 = world.metrics.iter().map(|m| m.accept_pauses.value()).sum();
        assert!((1..=120).contains(&pauses), "{pauses} pauses");
        leave(&world, &peers);
    });
}

#[test]
fn a_drain_answers_those_who_wait_to_be_let_in() {
    let flags = vec!["--connection-rate-limit", "1"];
    let world = World::new(&Plan { flags, ..Plan::new(3) });
    let peers: Vec<_> = (0..5).map(|_| world.connect()).collect();
    peers.iter().for_each(|peer| peer.send(INDEX.as_bytes()));
    world.pass_ms(100);
    world.drain();
    world.run_until(|| peers.iter().all(RawPeer::is_ended));
    let found: Vec<_> = peers.iter().map(status).collect();
    assert!(found.iter().all(|status| matches!(status, 200 | 503)), "{found:?}");
}

#[test]
fn limits_and_proxy_headers_come_before_a_handshake() {
    let terms = Terms::new();
    let flags = vec!["--max-connections-per-ip", "1", "--trusted-proxy", "10.0.0.1"];
    let world = World::new(&Plan { tls: Some(terms.server.clone()), flags, ..Plan::new(1) });
    let connect = |source: &str| {
        let source = SocketAddr::new(source.parse().expect("an address"), 0);
        world.sim.connect_from(world.secure_address, source)
    };
    let index_over = |raw: RawPeer| {
        let peer = SecurePeer::new(raw.clone(), &terms);
        world.run_until(|| peer.is_established() || raw.is_ended());
        peer.is_established() && world.exchange_secure(&peer, INDEX).starts_with("HTTP/1.1 200 ")
    };
    // Nothing can be said to who is one too many.
    assert!(index_over(connect("192.0.2.1")));
    let second = connect("192.0.2.1");
    world.run_until(|| second.is_ended());
    assert!(second.received().is_empty());
    // A proxy says in plain text for whom it speaks, and hands the handshake on.
    for (client, expected) in [("192.0.2.2", true), ("192.0.2.2", false)] {
        let proxy = connect("10.0.0.1");
        proxy.send(format!("PROXY TCP4 {client} 10.0.0.2 4660 443\r\n").as_bytes());
        assert_eq!(index_over(proxy.clone()), expected);
        assert_eq!(proxy.is_ended(), !expected);
    }
}

#[test]
fn the_limits_of_a_request_are_what_they_were_set_to() {
    let world = world(
        1,
        &[
            "--max-request-header-bytes",
            "600",
            "--max-request-headers",
            "4",
            "--max-request-line",
            "64",
            "--max-request-body-size",
            "10",
        ],
    );
    let get = |path: &str, lines: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let post = |body: &str| super::wire::post("a", body);
    let chunks = |body: &str| {
        let head = "POST /channels/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    let path = |length: usize| format!("/channels/{}", "x".repeat(length));
    let ten = "0123456789";
    let mut kept = Vec::new();
    for (request, expected) in [
        (get("/", &"X: y\r\n".repeat(3)), 200),
        (get("/", &"X: y\r\n".repeat(4)), 431),
        (get("/", &format!("X: {}\r\n", "y".repeat(560))), 200),
        (get("/", &format!("X: {}\r\n", "y".repeat(600))), 431),
        (get(&path(40), ""), 200),
        (get(&path(60), ""), 414),
        (post(ten), 200),
        (post("01234567890"), 413),
        (chunks(ten), 200),
        (chunks("01234567890"), 413),
    ] {
        let peer = ask(&world, "192.0.2.1", &request);
        assert_eq!(status(&peer), expected, "{request}");
        kept.push(peer);
    }
    leave(&world, &kept);
}
