//! Decisions at the upgrade, at once or later, by which time the client may be gone.
//!
//! Not here: what follows the 101 (`application`).

use ringwire_protocol::ws::Opcode;
use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::puppet::{Theatre, answer_of, request, say, text};
use super::wire::{Heard, close_payload, frame, heard};
use super::world::{Plan, is_whole};

#[test]
fn a_late_yes_opens_and_what_was_sent_meanwhile_is_heard() {
    each_seed(6, |seed| {
        let faults = if seed == 0 { Faults::none() } else { Faults::lossless() };
        let theatre = Theatre::new(&Plan { workers: 2, faults, ..Plan::new(seed) });
        let peer = theatre.ask("/later");
        say(&peer, "one");
        theatre.world.pass(2);
        say(&peer, "two");
        theatre.world.pass(2);
        assert_eq!(peer.received(), b"", "nothing is decided");
        theatre.decide().accept(Box::new(77), Some("talk".to_owned()));
        theatre.world.run_until(|| is_whole(&peer.received()));
        let answer = answer_of(&peer);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Protocol: talk\r\n"), "{answer}");
        say(&peer, "three");
        let all = ["one", "two", "three"];
        theatre.world.run_until(|| heard(&peer.received()) == all.map(text));
        assert_eq!(theatre.messages(), all);
        assert_eq!(theatre.story.borrow().opened, [77]);
        theatre.end(&[&peer]);
    });
}

#[test]
fn a_subprotocol_that_was_not_offered_is_not_answered() {
    let theatre = Theatre::new(&Plan::new(1));
    let peer = theatre.ask("/later");
    theatre.decide().accept(Box::new(1), Some("other".to_owned()));
    theatre.world.run_until(|| is_whole(&peer.received()));
    assert!(!answer_of(&peer).contains("Sec-WebSocket-Protocol"), "{}", answer_of(&peer));
    let peer = theatre.open();
    assert!(answer_of(&peer).contains("Sec-WebSocket-Protocol: chat\r\n"), "{}", answer_of(&peer));
}

#[test]
fn a_refusal_now_or_later_and_no_answer_at_all_are_told() {
    let theatre = Theatre::new(&Plan { workers: 2, ..Plan::new(1) });
    let (no, none) = (theatre.ask("/later"), theatre.ask("/later"));
    let now = theatre.world.connect();
    now.send(request("/refuse").as_bytes());
    theatre.decide().refuse(403, "not\r\nyou");
    drop(theatre.decide());
    theatre.world.run_until(|| [&no, &none, &now].iter().all(|peer| peer.is_ended()));
    for (peer, status, reason) in [
        (&no, "HTTP/1.1 403 ", "\r\n\r\nnotyou\n"),
        (&none, "HTTP/1.1 503 ", "\r\n\r\nthe application gave no answer; try again\n"),
        (&now, "HTTP/1.1 402 ", "\r\n\r\npay first\n"),
    ] {
        let answer = answer_of(peer);
        assert!(answer.starts_with(status), "{answer}");
        assert!(answer.ends_with(reason), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        assert_eq!(peer.ending(), Some(Ok(())));
    }
    theatre.end(&[&no, &none, &now]);
    assert_eq!(theatre.story.borrow().opened, [0; 0]);
}

#[test]
fn nobody_decides_in_time() {
    let theatre = Theatre::new(&Plan::new(1));
    let peer = theatre.ask("/later");
    theatre.world.pass_ms(9_900);
    assert_eq!(peer.received(), b"");
    theatre.world.pass_ms(300);
    assert!(answer_of(&peer).starts_with("HTTP/1.1 503 "), "{}", answer_of(&peer));
    theatre.decide().accept(Box::new(5), None);
    theatre.world.pass_ms(100);
    assert!(!answer_of(&peer).contains("101"), "an answer after the answer");
    theatre.end(&[&peer]);
    assert_eq!(theatre.story.borrow().opened, [0; 0]);
}

#[test]
fn a_client_that_has_gone_is_not_opened_and_nobody_in_its_place_either() {
    for gone in [RawPeer::fin, RawPeer::reset] {
        let theatre = Theatre::new(&Plan { slots_max: 1, ..Plan::new(1) });
        let first = theatre.ask("/later");
        gone(&first);
        theatre.world.run_empty();
        assert!(theatre.world.sim.now_ns() < 2_000_000_000, "nobody waits for the dead");
        // The only slot has another tenant now, who waits for another decision.
        let second = theatre.ask("/later");
        theatre.decide().accept(Box::new(1), None);
        theatre.world.pass_ms(100);
        assert_eq!(theatre.story.borrow().opened, [0; 0]);
        assert_eq!((first.received(), second.received()), (Vec::new(), Vec::new()));
        theatre.decide().accept(Box::new(2), None);
        theatre.world.run_until(|| is_whole(&second.received()));
        theatre.end(&[&second]);
        assert_eq!(theatre.story.borrow().closed, [2]);
    }
}

#[test]
fn a_drain_does_not_forget_who_waits_for_a_decision() {
    let theatre = Theatre::new(&Plan { workers: 2, ..Plan::new(1) });
    let (yes, no, never) = (theatre.ask("/later"), theatre.ask("/later"), theatre.ask("/later"));
    theatre.world.drain();
    theatre.world.pass_ms(10);
    theatre.decide().accept(Box::new(1), None);
    theatre.decide().refuse(401, "no");
    theatre.world.pass_ms(10);
    let told = heard(&yes.received());
    assert!(matches!(told[..], [Heard::Close(1001, _)]), "{told:?}");
    yes.send(&frame(Opcode::Close, &close_payload(1001)));
    assert!(answer_of(&no).starts_with("HTTP/1.1 401 "), "{}", answer_of(&no));
    let all = [&yes, &no, &never];
    theatre.world.run_until(|| {
        all.iter().filter(|peer| peer.is_ended()).for_each(|peer| peer.fin());
        theatre.world.is_done()
    });
    assert!(answer_of(&never).starts_with("HTTP/1.1 503 "), "{}", answer_of(&never));
    assert_eq!((theatre.world.live(), theatre.world.held_bytes()), (0, 0));
    theatre.assert_each_closed_once();
}
