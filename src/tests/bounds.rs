//! What is kept for a peer is bounded whatever it does, and a full house turns nobody out.
//!
//! Not here: the limit of a subscriber's outbox (`channels`).

use ringwire_protocol::ws::{Opcode, encode_frame};
use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::echo::UPGRADE;
use super::wire::{Heard, body, frame, heard, position_of, post};
use super::world::{Plan, World, is_whole};

/// Bytes of one receive buffer of *sim*.
const LEASE_BYTES: usize = 16 * 1024;

#[test]
fn a_flood_of_pings_from_a_peer_that_does_not_read_keeps_one_pong() {
    each_seed(6, |seed| {
        let faults = if seed == 0 { Faults::none() } else { Faults::lossless() };
        // Nothing of a pong reaches a peer that does not read, so it would be given up.
        let flags = vec!["--ping-interval", "1h"];
        let plan = Plan { socket_bytes: 4096, faults, flags, ..Plan::new(seed) };
        let world = World::new(&plan);
        let peer = world.open(UPGRADE);
        peer.stop_reading();
        let pings: u32 = 600;
        let mut most = 0;
        for number in 0..pings {
            peer.send(&frame(Opcode::Ping, format!("{number:0>100}").as_bytes()));
        }
        world.run_until(|| {
            most = most.max(world.held_bytes());
            peer.unsent_bytes() == 0
        });
        world.pass(1);
        // What one receive asked for may wait, and one more; not what all asked for.
        assert!(most <= LEASE_BYTES + 200, "{most} bytes held");
        peer.send(&frame(Opcode::Text, b"still here?"));
        peer.start_reading();
        // The latest ping is answered in any case: RFC 6455 section 5.5.3.
        let latest = format!("{:0>100}", pings - 1);
        world.run_until(|| {
            let received = peer.received();
            let has = |text: &[u8]| received.windows(text.len()).any(|window| window == text);
            has(b"still here?") && has(latest.as_bytes())
        });
        let mut all = heard(&peer.received());
        let echo = Heard::Text("still here?".to_owned());
        let at = all.iter().position(|heard| *heard == echo).expect("an echo");
        all.remove(at);
        let numbers: Vec<u32> = all
            .iter()
            .map(|pong| match pong {
                Heard::Pong(payload) => {
                    let text = String::from_utf8(payload.clone()).expect("digits");
                    text.parse().expect("a number")
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(numbers.is_sorted(), "pongs out of order");
        assert!(!numbers.is_empty() && numbers.len() < 250, "{} pongs", numbers.len());
        // And who reads is answered each time.
        for number in 0..3 {
            peer.send(&frame(Opcode::Ping, &[number]));
            world.run_until(|| peer.received().ends_with(&[0x8a, 1, number]));
        }
    });
}

#[test]
fn who_does_not_read_its_echoes_is_not_read_from_until_it_does() {
    each_seed(6, |seed| {
        let faults = match seed {
            0 => Faults::none(),
            // A byte at a time the script would take too long.
            _ => Faults { small_buffers: 0.0, ..Faults::lossless() },
        };
        let flags = vec!["--ping-interval", "1h"];
        let plan = Plan { socket_bytes: 4096, faults, flags, ..Plan::new(seed) };
        let world = World::new(&plan);
        let peer = world.open(UPGRADE);
        peer.stop_reading();
        let (mut asked, mut echoed) = (Vec::new(), Vec::new());
        for number in 0..40_u8 {
            let len = [10, 500, 1, 3000, 126][usize::from(number) % 5];
            let payload: Vec<u8> = (number..=255).cycle().step_by(7).take(len).collect();
            let key = [number, 1, 2, 3];
            encode_frame(&mut asked, Opcode::Binary, &payload, Some(key));
            encode_frame(&mut echoed, Opcode::Binary, &payload, None);
        }
        peer.send(&asked);
        let mut most = 0;
        for _ in 0..20 {
            world.pass_ms(200);
            most = most.max(world.held_bytes());
        }
        let unsent = peer.unsent_bytes();
        assert!(unsent > asked.len() / 4, "{unsent} of {} bytes are not taken", asked.len());
        // An echo that waits, what came with it in one receive, and a straggler.
        assert!((1..3 * LEASE_BYTES).contains(&most), "{most} bytes held");
        peer.start_reading();
        let mut received = Vec::new();
        world.run_until(|| {
            received.extend(peer.take_received());
            peer.unsent_bytes() == 0 && body(&received).len() >= echoed.len()
        });
        assert!(body(&received) == echoed, "the echoes are not what was said");
        peer.fin();
        world.run_empty();
    });
}

#[test]
fn a_full_table_drops_nobody_whom_it_has_accepted() {
    each_seed(8, |seed| {
        let faults = if seed == 0 { Faults::none() } else { Faults::lossless() };
        let flags = vec!["--ping-interval", "1h"];
        let plan = Plan { workers: 2, slots_max: 4, faults, flags, ..Plan::new(seed) };
        let world = World::new(&plan);
        let peers: Vec<_> = (0..24).map(|_| world.connect()).collect();
        peers.iter().for_each(|peer| peer.send(UPGRADE.as_bytes()));
        let is_served = |peer: &&RawPeer| is_whole(&peer.received());
        world.run_until(|| peers.iter().filter(is_served).count() == 8);
        world.pass(1);
        assert_eq!(peers.iter().filter(is_served).count(), 8, "more than there are slots");
        // Who is served says something and goes, and makes room for one who waits.
        let mut left = vec![false; peers.len()];
        world.run_until(|| {
            assert!(world.live() <= 8);
            for (peer, left) in peers.iter().zip(&mut left) {
                if !*left && is_served(&peer) {
                    *left = true;
                    peer.send(&frame(Opcode::Text, b"x"));
                    peer.fin();
                }
            }
            left.iter().all(|left| *left)
        });
        world.run_until(|| peers.iter().all(RawPeer::is_ended));
        for peer in &peers {
            assert_eq!(peer.ending(), Some(Ok(())), "an accepted client was dropped");
            assert_eq!(heard(&peer.received())[0], Heard::Text("x".to_owned()));
        }
        world.run_empty();
    });
}

#[test]
fn who_ends_its_direction_after_a_request_still_gets_the_answer() {
    each_seed(10, |seed| {
        let faults = if seed == 0 { Faults::none() } else { Faults::lossless() };
        let world = World::new(&Plan { workers: 3, faults, ..Plan::new(seed) });
        // Some of these channels live on the worker of the connection, some do not.
        let requests: Vec<_> = (0..6)
            .flat_map(|number| {
                let poll = format!("GET /channels/c{number} HTTP/1.1\r\nHost: h\r\n\r\n");
                [post(&format!("c{number}"), "text"), poll]
            })
            .chain(["GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()])
            .collect();
        let peers: Vec<_> = requests.iter().map(|_| world.connect()).collect();
        for (peer, request) in peers.iter().zip(&requests) {
            peer.send(request.as_bytes());
            peer.fin();
        }
        world.run_until(|| peers.iter().all(RawPeer::is_ended));
        for (peer, request) in peers.iter().zip(&requests) {
            let received = peer.received();
            let answer = String::from_utf8_lossy(&received);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
            assert!(is_whole(&received), "{request}: {answer}");
            assert_eq!(peer.ending(), Some(Ok(())), "{request}");
        }
        world.run_empty();
    });
}

/// The last answer does not fit into the sockets when the client's FIN comes.
#[test]
fn who_ends_its_direction_after_its_last_request_gets_the_whole_answer() {
    let world = World::new(&Plan { socket_bytes: 8192, ..Plan::new(2) });
    let publisher = world.connect();
    for _ in 0..4 {
        let answer = world.exchange(&publisher, &post("a", &"x".repeat(60_000)));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let begin = world.exchange(&publisher, "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n");
    let epoch = position_of(&begin).epoch;
    let peer = world.connect();
    peer.stop_reading();
    let request =
        format!("GET /channels/a?since={epoch}:0 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    peer.send(request.as_bytes());
    world.pass(1);
    peer.fin();
    world.pass(1);
    peer.start_reading();
    world.run_until(|| peer.is_ended());
    assert!(is_whole(&peer.received()), "{} bytes", peer.received().len());
    assert!(peer.received().len() > 240_000, "{} bytes", peer.received().len());
}

#[test]
fn who_ends_its_direction_while_it_only_listens_has_gone() {
    let world = World::new(&Plan { workers: 2, ..Plan::new(1) });
    let listeners = [
        "GET /channels/a?wait=30 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        super::wire::stream("a", ""),
        super::wire::upgrade("a", ""),
        UPGRADE.to_owned(),
    ];
    for request in listeners {
        for wait_ms in [0, 20] {
            let peer = world.connect();
            peer.send(request.as_bytes());
            world.pass_ms(wait_ms);
            peer.fin();
            let begun_ns = world.sim.now_ns();
            world.run_until(|| peer.is_ended());
            world.run_empty();
            let took_ns = world.sim.now_ns() - begun_ns;
            assert!(took_ns < 1_000_000_000, "kept for {took_ns} ns: {request}");
        }
    }
}

#[test]
fn requests_wait_while_their_sender_does_not_read_its_answers() {
    let flags = vec!["--keepalive-timeout", "1h"];
    let world = World::new(&Plan { socket_bytes: 4096, flags, ..Plan::new(1) });
    let publisher = world.connect();
    let begin =
        position_of(&world.exchange(&publisher, "GET /channels/a HTTP/1.1\r\nHost: h\r\n\r\n"));
    for _ in 0..20 {
        world.exchange(&publisher, &post("a", &"x".repeat(1000)));
    }
    let poll = format!("GET /channels/a?since={begin} HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer_bytes = world.exchange(&publisher, &poll).len();
    let peer = world.connect();
    peer.stop_reading();
    peer.send(poll.repeat(300).as_bytes());
    let mut most = 0;
    for _ in 0..20 {
        world.pass(1);
        most = most.max(world.held_bytes());
    }
    // One answer, and what was asked meanwhile: not 300 answers.
    assert!(most <= answer_bytes + 3 * LEASE_BYTES, "{most} bytes held");
    peer.start_reading();
    let mut received = 0;
    world.run_until(|| {
        received += peer.take_received().len();
        received >= 300 * answer_bytes
    });
    assert_eq!(received, 300 * answer_bytes);
}

#[test]
fn what_follows_a_violation_is_not_kept() {
    let world = World::new(&Plan::new(2));
    let peer = world.open(UPGRADE);
    // Unmasked frames, 4 KiB of them in one receive.
    peer.send(&b"\x82\x06nomask".repeat(512));
    world.run_until(|| peer.received().windows(2).any(|window| window == [0x03, 0xea]));
    assert_eq!(world.held_bytes(), 0);
}

#[test]
fn a_refusal_to_head_has_no_body() {
    let world = World::new(&Plan::new(3));
    for path in ["/nowhere", "/echo"] {
        let peer = world.connect();
        peer.send(format!("HEAD {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        world.run_until(|| peer.is_ended());
        let answer = String::from_utf8(peer.take_received()).expect("ASCII");
        assert!(answer.starts_with("HTTP/1.1 4") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}
