//! What an application is promised once a connection is open: pausing, its own closes, its
//! channels, and one end for each beginning.
//!
//! Not here: the decision at the upgrade (`later`), the application of the binary (`echo`,
//! `channels`).

use ringwire_protocol::ws::Opcode;
use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::puppet::{Theatre, say, text};
use super::wire::{Heard, close_payload, frame, heard, post};
use super::world::Plan;

#[test]
fn what_comes_while_reading_is_paused_is_handed_over_in_order_afterwards() {
    each_seed(10, |seed| {
        let faults = if seed % 2 == 0 { Faults::none() } else { Faults::lossless() };
        let flags = vec!["--ping-interval", "1h"];
        let plan = Plan { workers: 1, socket_bytes: 2048, faults, flags, ..Plan::new(seed) };
        let theatre = Theatre::new(&plan);
        let peer = theatre.open();
        peer.stop_reading();
        say(&peer, "zero");
        say(&peer, "wait 8000");
        let numbers: Vec<_> = (1..60).map(|number| format!("message {number}")).collect();
        numbers.iter().for_each(|number| say(&peer, number));
        theatre.world.pass(3);
        assert_eq!(theatre.messages(), ["zero"], "paused");
        let held = theatre.world.held_bytes();
        assert!((5_000..20_000).contains(&held), "{held} bytes held");
        peer.start_reading();
        theatre.world.run_until(|| theatre.story.borrow().messages.len() == 60);
        assert_eq!(theatre.messages()[1..], numbers);
        theatre.world.run_until(|| peer.received().ends_with(b"message 59"));
        let echoes: Vec<_> = numbers.iter().map(|number| text(number)).collect();
        assert!(heard(&peer.received()).ends_with(&echoes));
        theatre.end(&[&peer]);
    });
}

#[test]
fn a_pause_that_is_over_at_once_loses_nothing() {
    let theatre = Theatre::new(&Plan::new(1));
    let peer = theatre.open();
    for message in ["one", "blink", "two", "blink", "blink", "three"] {
        say(&peer, message);
    }
    let all = ["one", "two", "three"].map(text);
    theatre.world.run_until(|| heard(&peer.received()) == all);
    say(&peer, "blink");
    say(&peer, "four");
    theatre.world.run_until(|| heard(&peer.received()).last() == Some(&text("four")));
    theatre.end(&[&peer]);
}

#[test]
fn after_its_own_close_an_application_hears_nothing_more() {
    let theatre = Theatre::new(&Plan::new(1));
    let peer = theatre.open();
    say(&peer, "before");
    say(&peer, "close 4321 bye");
    say(&peer, "behind");
    let told = [text("before"), Heard::Close(4321, "bye".to_owned())];
    theatre.world.run_until(|| heard(&peer.received()) == told);
    say(&peer, "after");
    theatre.world.pass_ms(100);
    assert_eq!(theatre.messages(), ["before"]);
    assert!(!peer.is_ended(), "the peer's Close is awaited");
    peer.send(&frame(Opcode::Close, &close_payload(4321)));
    theatre.world.run_until(|| peer.is_ended());
    assert_eq!(heard(&peer.received()), told, "nothing follows a Close");
    theatre.end(&[&peer]);
}

#[test]
fn a_close_that_no_frame_can_carry_is_made_one_that_can() {
    let theatre = Theatre::new(&Plan::new(1));
    let long = "\u{20ac}".repeat(100);
    for (wish, told) in [
        ("close 1005 none".to_owned(), Heard::Close(0, String::new())),
        ("close 99 few".to_owned(), Heard::Close(0, String::new())),
        (format!("close 4000 {long}"), Heard::Close(4000, "\u{20ac}".repeat(41))),
    ] {
        let peer = theatre.open();
        say(&peer, &wish);
        theatre.world.run_until(|| heard(&peer.received()) == [told.clone()]);
        theatre.end(&[&peer]);
    }
}

#[test]
fn one_connection_hears_several_channels_until_it_leaves_them() {
    each_seed(8, |seed| {
        let faults = if seed == 0 { Faults::none() } else { Faults::lossless() };
        let flags = vec!["--ping-interval", "1h"];
        let plan = Plan { workers: 3, faults, flags, mesh_capacity: 2, ..Plan::new(seed) };
        let theatre = Theatre::new(&plan);
        let (peer, other) = (theatre.open(), theatre.world.connect());
        let publish = |channel: &str, body: &str| {
            let answer = theatre.world.exchange(&other, &post(channel, body));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        };
        let wait_for = |subscriptions: u64| {
            let count =
                || theatre.world.metrics.iter().map(|m| m.subscriptions.value()).sum::<u64>();
            theatre.world.run_until(|| subscriptions == count());
        };
        // Two of them twice, one left again at once, one left and joined again.
        for wish in [
            "subscribe a",
            "subscribe b",
            "subscribe c",
            "subscribe a",
            "subscribe gone",
            "unsubscribe gone",
            "unsubscribe b",
            "subscribe b",
            "unsubscribe never",
        ] {
            say(&peer, wish);
        }
        say(&peer, "done");
        theatre.world.run_until(|| theatre.messages() == ["done"]);
        wait_for(3);
        for channel in ["a", "b", "c", "gone"] {
            publish(channel, &format!("{channel}1"));
        }
        say(&peer, "publish a a2");
        let sorted = |count: usize| {
            let mut all = Vec::new();
            theatre.world.run_until(|| {
                all = heard(&peer.received());
                all.len() >= count
            });
            theatre.world.pass_ms(200);
            all = heard(&peer.received());
            let texts = all.into_iter().map(|heard| match heard {
                Heard::Text(text) => text,
                other => panic!("{other:?}"),
            });
            let mut texts: Vec<_> = texts.collect();
            texts.sort();
            texts
        };
        assert_eq!(sorted(5), ["a1", "a2", "b1", "c1", "done"]);
        say(&peer, "unsubscribe b");
        wait_for(2);
        for channel in ["a", "b", "c"] {
            publish(channel, &format!("{channel}3"));
        }
        assert_eq!(sorted(7), ["a1", "a2", "a3", "b1", "c1", "c3", "done"]);
        theatre.end(&[&peer, &other]);
    });
}

#[test]
fn an_application_learns_that_what_waited_is_out_and_only_then() {
    let theatre = Theatre::new(&Plan { socket_bytes: 4096, ..Plan::new(1) });
    let peer = theatre.open();
    say(&peer, "send 1000");
    theatre.world.run_until(|| heard(&peer.received()).len() == 1);
    theatre.world.pass_ms(10);
    assert_eq!(theatre.story.borrow().drained, [0; 0], "nothing had to wait");
    peer.stop_reading();
    say(&peer, "send 3000");
    say(&peer, "send 3000");
    theatre.world.pass_ms(10);
    assert!(theatre.world.held_bytes() > 0);
    assert_eq!(theatre.story.borrow().drained, [0; 0], "it still waits");
    peer.start_reading();
    theatre.world.run_until(|| heard(&peer.received()).len() == 3);
    theatre.world.pass_ms(10);
    assert_eq!(theatre.story.borrow().drained, [1]);
    theatre.end(&[&peer]);
}

/// Makes a connection end.
type End = fn(&Theatre, &RawPeer);

/// Ways in which a connection ends.
const ENDS: &[(&str, End)] = &[
    ("the peer's FIN", |_, peer| peer.fin()),
    ("the peer's RST", |_, peer| peer.reset()),
    ("the peer's Close", |_, peer| peer.send(&frame(Opcode::Close, &close_payload(1000)))),
    ("a Close and FIN at once", |_, peer| {
        peer.send(&frame(Opcode::Close, &close_payload(1000)));
        peer.fin();
    }),
    ("a Close and RST at once", |theatre, peer| {
        peer.send(&frame(Opcode::Close, &close_payload(1000)));
        theatre.world.pass_ms(1);
        peer.reset();
    }),
    ("a violation", |_, peer| peer.send(b"\x81\x01x")),
    ("half a frame and FIN", |_, peer| {
        peer.send(b"\x81\x85abcdx");
        peer.fin();
    }),
    ("the application's close, answered", |theatre, peer| {
        say(peer, "close 1000 done");
        theatre.world.run_until(|| !heard(&peer.received()).is_empty());
        peer.send(&frame(Opcode::Close, &close_payload(1000)));
    }),
    ("the application's close, not answered", |_, peer| say(peer, "close 1000 done")),
    ("the application's close, answered by FIN", |theatre, peer| {
        say(peer, "close 1000 done");
        theatre.world.run_until(|| !heard(&peer.received()).is_empty());
        peer.fin();
    }),
    ("silence", |theatre, _| theatre.world.pass(40)),
    ("a reader that is too slow", |theatre, peer| {
        peer.stop_reading();
        say(peer, "flood");
        theatre.world.pass_ms(10);
        assert_eq!(theatre.story.borrow().overruns, 1);
    }),
    ("a pause without end, and FIN", |theatre, peer| {
        peer.stop_reading();
        say(peer, "wait 50000");
        theatre.world.pass_ms(10);
        peer.fin();
    }),
    ("a lost position", |_, peer| say(peer, "resume a 0123456789abcdef:7")),
    ("a drain", |theatre, _| theatre.world.drain()),
];

#[test]
fn every_session_that_began_ends_once_however_it_ends() {
    for (name, end) in ENDS {
        for subscribed in [false, true] {
            let flags = vec!["--max-backpressure", "32k"];
            let plan = Plan { workers: 2, socket_bytes: 2048, flags, ..Plan::new(1) };
            let theatre = Theatre::new(&plan);
            let peers: Vec<_> = (0..4).map(|_| theatre.open()).collect();
            if subscribed {
                peers.iter().for_each(|peer| say(peer, "subscribe a"));
                theatre.world.pass_ms(10);
            }
            end(&theatre, &peers[0]);
            // Long enough for every deadline; who is left then is told to go.
            for _ in 0..200 {
                theatre.world.pass_ms(200);
                peers[1..].iter().for_each(|peer| peer.send(&frame(Opcode::Pong, b"")));
            }
            let closed = theatre.story.borrow().closed.len();
            assert!(closed >= 1, "{name}: the session does not end");
            peers[1..].iter().for_each(RawPeer::fin);
            theatre.world.run_until(|| theatre.world.live() == 0);
            assert_eq!(theatre.world.held_bytes(), 0, "{name}");
            assert_eq!(theatre.story.borrow().opened.len(), 4);
            theatre.assert_each_closed_once();
        }
    }
}
