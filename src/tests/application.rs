//! What an application is promised: late decisions, pausing, its own closes, its channels, and one
//! end for each beginning.
//!
//! Not here: the application of the binary (`echo`, `channels`).

use std::cell::RefCell;
use std::rc::Rc;

use ringwire_protocol::ws::{Kind, Opcode};
use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::wire::{Heard, close_payload, frame, heard, post};
use super::world::{Plan, World, is_whole};
use crate::app::{Access, Application, Context, Decision, Later, Message, UpgradeRequest};
use crate::channels::Name;

/// What happened to the sessions of all workers, by the sessions' numbers.
#[derive(Default)]
struct Story {
    undecided: Vec<Later<Box<u32>>>,
    sessions: u32,
    opened: Vec<u32>,
    closed: Vec<u32>,
    drained: Vec<u32>,
    messages: Vec<String>,
    overruns: u32,
}

/// Does what its clients tell it to.
struct Puppet {
    story: Rc<RefCell<Story>>,
}

impl Application for Puppet {
    type Session = Box<u32>;

    fn serves(&self, _channel: &Name, _access: Access) -> bool {
        true
    }

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_, Box<u32>>) -> Decision<Box<u32>> {
        let mut story = self.story.borrow_mut();
        match request.path() {
            "/later" => {
                story.undecided.push(request.later());
                Decision::Later
            }
            "/refuse" => Decision::Refuse { status: 402, reason: "pay first".to_owned() },
            _ => {
                story.sessions += 1;
                let subprotocol = request.choose_subprotocol(&["chat".to_owned()]);
                Decision::Accept { session: Box::new(story.sessions), subprotocol }
            }
        }
    }

    fn on_open(&mut self, session: &mut Box<u32>, _context: &mut Context<'_>) {
        self.story.borrow_mut().opened.push(**session);
    }

    fn on_message(
        &mut self,
        _session: &mut Box<u32>,
        message: Message<'_>,
        context: &mut Context<'_>,
    ) {
        let text = String::from_utf8_lossy(message.payload).into_owned();
        let words: Vec<_> = text.split(' ').collect();
        match words[..] {
            ["close", code, reason] => context.close(code.parse().expect("a code"), reason),
            ["subscribe", name] => context.subscribe(&Name::new(name), None),
            ["resume", name, since] => {
                context.subscribe(&Name::new(name), Some(since.parse().expect("a position")));
            }
            ["unsubscribe", name] => context.unsubscribe(&Name::new(name)),
            ["publish", name, text] => {
                context.publish(&Name::new(name), Kind::Text, text.as_bytes());
            }
            ["send", bytes] => {
                let payload = vec![b'x'; bytes.parse().expect("a number")];
                let _ = context.send(Kind::Binary, &payload);
            }
            ["wait", bytes] => {
                let payload = vec![b'x'; bytes.parse().expect("a number")];
                context.send(Kind::Binary, &payload).expect("an empty outbox");
                context.pause();
            }
            ["blink"] => {
                context.pause();
                context.resume();
            }
            ["flood"] => {
                while context.send(Kind::Binary, &[b'x'; 1000]).is_ok() {}
                assert!(context.send(Kind::Text, b"more").is_err());
                self.story.borrow_mut().overruns += 1;
            }
            _ => {
                let _ = context.send(message.kind, message.payload);
                self.story.borrow_mut().messages.push(text);
            }
        }
    }

    fn on_drain(&mut self, session: &mut Box<u32>, context: &mut Context<'_>) {
        self.story.borrow_mut().drained.push(**session);
        context.resume();
    }

    fn on_close(&mut self, session: Box<u32>) {
        self.story.borrow_mut().closed.push(*session);
    }
}

/// A world of puppets, and what happens to them.
struct Theatre {
    world: World<Puppet>,
    story: Rc<RefCell<Story>>,
}

impl Theatre {
    fn new(plan: &Plan) -> Self {
        let story = Rc::<RefCell<Story>>::default();
        let world = World::of(plan, |_| Puppet { story: Rc::clone(&story) });
        Self { world, story }
    }

    /// A client that asked for `path` and waits.
    fn ask(&self, path: &str) -> RawPeer {
        let peer = self.world.connect();
        peer.send(request(path).as_bytes());
        let undecided = self.story.borrow().undecided.len();
        self.world.run_until(|| self.story.borrow().undecided.len() > undecided);
        peer
    }

    fn open(&self) -> RawPeer {
        self.world.open(&request("/"))
    }

    fn decide(&self) -> Later<Box<u32>> {
        self.story.borrow_mut().undecided.remove(0)
    }

    fn messages(&self) -> Vec<String> {
        self.story.borrow().messages.clone()
    }

    /// Every session that was opened has been closed once, and no other.
    fn assert_each_closed_once(&self) {
        let story = self.story.borrow();
        let (mut opened, mut closed) = (story.opened.clone(), story.closed.clone());
        opened.sort_unstable();
        closed.sort_unstable();
        assert_eq!(opened, closed);
    }

    /// Lets the clients go and the server forget them.
    fn end(&self, peers: &[&RawPeer]) {
        peers.iter().for_each(|peer| peer.fin());
        self.world.run_empty();
        self.assert_each_closed_once();
    }
}

fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Protocol: talk, chat\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn say(peer: &RawPeer, text: &str) {
    peer.send(&frame(Opcode::Text, text.as_bytes()));
}

fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

fn answer_of(peer: &RawPeer) -> String {
    String::from_utf8_lossy(&peer.received()).into_owned()
}

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

/// Ways in which a connection ends.
const ENDS: &[(&str, fn(&Theatre, &RawPeer))] = &[
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
