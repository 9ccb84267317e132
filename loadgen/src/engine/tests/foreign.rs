//! Whole runs in virtual time against servers that speak in their own way.
//!
//! Each server notes what it does wrong, and the engine's counts are compared with its notes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringwire_ring::sim::{Faults, Sim, SimOptions, each_seed};

use super::sim::{EchoServer, Run, Speak, scenario, simulate_against};
use crate::engine::ledger::Ledger;
use crate::scenario::Scenario;
use crate::speech::Speech;

/// Runs `speech` against a server that says `speak`.
fn run(seed: u64, speech: Speech, speak: Speak) -> Ledger {
    let options = SimOptions { faults: Faults::none(), ..SimOptions::default() };
    let sim = Sim::new(seed, options);
    let server = RefCell::new(EchoServer::speaking(&sim, speak));
    let scenario = Scenario { speech, ..scenario() };
    scenario.check().unwrap();
    let Run { ledger, .. } =
        simulate_against(&sim, &mut || server.borrow_mut().turn(), &scenario).unwrap();
    ledger
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn below(number: u64, bound: usize) -> usize {
    usize::try_from(number).unwrap() % bound
}

const SOCKET: &str = r#"42["message",{"n":{sequence},"c":{connection},"s":"{stamp}"}]"#;

fn socket() -> Speech {
    Speech {
        message: Some(SOCKET.to_owned()),
        first: vec!["40".to_owned()],
        ready: Some("40{".to_owned()),
        reply_to: vec![("2".to_owned(), "3".to_owned()), ("6".to_owned(), String::new())],
        ..Speech::default()
    }
}

#[test]
fn a_server_that_frames_acknowledges_and_pings_is_understood() {
    each_seed(2, |seed| {
        let (pings, pongs, acks) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Cell::new(0));
        let counts = (Rc::clone(&pings), Rc::clone(&pongs));
        let others = Rc::new(Cell::new(0));
        let noted = Rc::clone(&others);
        let speak = move |number: u64, message: &[u8]| {
            let _ = &acks;
            let text = String::from_utf8_lossy(message).into_owned();
            let said = match text.as_str() {
                _ if number == 0 => texts(&[r#"0{"sid":"a~b-0123456789abcdefghijklmnop"}"#]),
                "40" => texts(&[r#"40{"sid":"~x"}"#, "6"]),
                "3" => {
                    counts.1.set(counts.1.get() + 1);
                    vec![]
                }
                _ => {
                    // The object comes back quoted, as JSON in JSON.
                    let quoted = text.replace('"', "\\\"");
                    let mut said = texts(&[r#"43["ok"]"#]);
                    said.push(format!("42[\"echo\",\"{quoted}\"]").into_bytes());
                    if number.is_multiple_of(4) {
                        counts.0.set(counts.0.get() + 1);
                        said.push(b"2".to_vec());
                    }
                    said
                }
            };
            let is_echo = |said: &Vec<u8>| said.starts_with(b"42");
            noted.set(noted.get() + said.iter().filter(|said| !is_echo(said)).count());
            said
        };
        let ledger = run(seed, socket(), Rc::new(speak));
        assert_eq!((ledger.sent_total, ledger.received_total), (180, 180));
        assert_eq!((ledger.sent_of_window, ledger.received_of_window), (150, 150));
        assert_eq!((ledger.duplicates, ledger.reordered, ledger.corrupted), (0, 0, 0));
        assert_eq!((ledger.impossible, ledger.errors_total), (0, 0), "{:?}", ledger.errors);
        assert_eq!(pings.get(), pongs.get());
        assert!(pings.get() > 20);
        // What comes before the schedule is set is nobody's to count, but for what is answered.
        assert!(ledger.other <= others.get() as u64 && ledger.other > 200, "{}", ledger.other);
        assert!(ledger.intended.histogram().max() < 2_000_000);
    });
}

/// What a server did wrong.
#[derive(Default)]
struct Notes {
    lost: Cell<u64>,
    twice: Cell<u64>,
    damaged: Cell<u64>,
}

#[test]
fn what_is_lost_repeated_and_damaged_inside_json_is_counted_exactly() {
    each_seed(2, |seed| {
        let notes = Rc::new(Notes::default());
        let own = Rc::clone(&notes);
        let note = |count: &Cell<u64>| count.set(count.get() + 1);
        let speak = move |number: u64, message: &[u8]| {
            let mut text = message.to_vec();
            match number {
                0 => vec![],
                1 => texts(&["40{}"]),
                _ if number.is_multiple_of(7) => {
                    note(&own.lost);
                    vec![]
                }
                _ if number.is_multiple_of(5) => {
                    note(&own.twice);
                    [text.clone(), text].to_vec()
                }
                _ if number.is_multiple_of(11) => {
                    note(&own.damaged);
                    let at = text.windows(5).position(|five| five == b"\"s\":\"").unwrap();
                    let changed = at + 9 + below(number, 24);
                    text[changed] = if text[changed] == b'A' { b'B' } else { b'A' };
                    vec![text]
                }
                _ => vec![text],
            }
        };
        let ledger = run(seed, socket(), Rc::new(speak));
        let Notes { lost, twice, damaged } = &*notes;
        assert!(lost.get() > 10 && twice.get() > 10 && damaged.get() > 5);
        assert_eq!(ledger.sent_total, 180);
        assert_eq!(ledger.sent_total - ledger.received_total, lost.get() + damaged.get());
        assert_eq!(ledger.corrupted, damaged.get());
        assert!(ledger.duplicates <= twice.get() && ledger.duplicates >= twice.get() / 2);
        // The word that each of seven connections waited for is nobody's reply.
        assert_eq!((ledger.reordered, ledger.impossible, ledger.other), (0, 0, 7));
    });
}

#[test]
fn replies_are_counted_each_and_a_message_is_answered_with_the_last() {
    let speech = |text: &str| Speech {
        message: Some(text.to_owned()),
        replies: 3,
        expect: Some("#{sequence}#".to_owned()),
        ..Speech::default()
    };
    for text in [r#"{"s":"{stamp}"}"#, "hello {random:4}"] {
        each_seed(2, |seed| {
            let wrong = Rc::new(Cell::new(0));
            let own = Rc::clone(&wrong);
            let speak = move |number: u64, message: &[u8]| {
                let text = String::from_utf8_lossy(message);
                let reply = |part: u64| {
                    let is_wrong = part == 1 && number.is_multiple_of(6);
                    own.set(own.get() + u64::from(is_wrong));
                    let sequence = if is_wrong { 0 } else { number };
                    format!("{part} #{sequence}# {text}").into_bytes()
                };
                if number == 0 { vec![] } else { (0..3).map(reply).collect() }
            };
            let ledger = run(seed, speech(text), Rc::new(speak));
            assert_eq!((ledger.sent_total, ledger.received_total), (180, 540), "{text}");
            assert_eq!((ledger.duplicates, ledger.reordered, ledger.corrupted), (0, 0, 0));
            assert_eq!((ledger.impossible, ledger.other), (0, 0));
            let codes: Vec<_> = ledger.errors.keys().map(ToString::to_string).collect();
            assert_eq!(codes, ["app.unexpected"], "{text}");
            assert_eq!(ledger.errors_total, wrong.get());
            assert!(wrong.get() > 20);
        });
    }
}

#[test]
fn a_fourth_reply_to_three_is_a_duplicate_and_a_missing_third_leaves_it_unanswered() {
    let speech = Speech { message: Some("{stamp}".to_owned()), replies: 3, ..Speech::default() };
    let extra =
        Rc::new(|number: u64, message: &[u8]| vec![message.to_vec(); below(number.min(1), 2) * 4]);
    let ledger = run(3, speech.clone(), extra);
    assert_eq!((ledger.received_total, ledger.received_of_window), (540, 450));
    assert_eq!((ledger.duplicates, ledger.errors_total), (150, 0));
    let short =
        Rc::new(|number: u64, message: &[u8]| vec![message.to_vec(); below(number.min(1), 2) * 2]);
    let ledger = run(3, speech, short);
    assert_eq!((ledger.received_total, ledger.duplicates), (360, 0));
    assert_eq!(ledger.errors_total, 180, "{:?}", ledger.errors);
}

#[test]
fn stamps_of_others_and_of_other_runs_are_other_messages() {
    let speech = |run| Speech { message: Some("{stamp}".to_owned()), run, ..Speech::default() };
    // Everything comes back as it is, behind what an earlier run said and what is nobody's.
    let early = Rc::new(RefCell::new(Vec::new()));
    let own = Rc::clone(&early);
    let remember = move |number: u64, message: &[u8]| {
        own.borrow_mut().push(message.to_vec());
        if number == 0 { vec![] } else { vec![message.to_vec()] }
    };
    let first = run(5, speech(1), Rc::new(remember));
    assert_eq!(first.received_total, 180);
    let replay = move |number: u64, message: &[u8]| {
        let all = early.borrow();
        let earlier = all[below(number, all.len())].clone();
        let noise = b"~000 ~ ~~~ 0123456789012345678901234567~".to_vec();
        if number == 0 { vec![] } else { vec![noise, earlier, message.to_vec()] }
    };
    let second = run(5, speech(2), Rc::new(replay));
    assert_eq!((second.received_total, second.other), (180, 360));
    assert_eq!((second.corrupted, second.duplicates, second.impossible), (0, 0, 0));
    assert_eq!(second.errors_total, 0);
}

#[test]
fn what_cannot_be_said_or_understood_is_refused() {
    let feed = |rows| {
        let text = format!("a\n{}", "x y\n".repeat(rows));
        Some(std::sync::Arc::new(crate::speech::feed::Feed::of_csv(text.as_bytes()).unwrap()))
    };
    let unique = crate::speech::feed::FeedOrder::Unique;
    let message = |text: &str| Speech { message: Some(text.to_owned()), ..Speech::default() };
    let table = [
        (message("{stam}"), "--message, column 1: `{stam}` is no placeholder"),
        (Speech { first: vec!["a{b}".into()], ..Speech::default() }, "--first-message, column 2"),
        (Speech { expect: Some("{stamp}".into()), ..Speech::default() }, "--expect cannot hold"),
        (Speech { replies: 65, ..Speech::default() }, "--replies must be"),
        (Speech { ready: Some(String::new()), ..Speech::default() }, "--ready must not"),
        (message("{feed.a}"), "needs --feed"),
        (
            Speech { feed: feed(6), feed_order: unique, ..message("{feed.a}") },
            "needs a row for each of 7 connections; the feed has 6",
        ),
    ];
    for (speech, expected) in table {
        let failure = Scenario { speech, ..scenario() }.check().unwrap_err();
        assert_eq!(failure.code, 104);
        assert!(failure.line.contains(expected), "{}", failure.line);
    }
    let mut fed = Scenario { speech: Speech { feed: feed(9), ..message("x") }, ..scenario() };
    assert!(fed.check().is_ok());
    fed.target.path = "/{feed.a}".to_owned();
    let line = fed.check().unwrap_err().line;
    assert!(line.contains("the URL: column `a` of the feed, row 1"), "{line}");
    fed.target.path = "/{connection}/{run}".to_owned();
    assert!(fed.check().is_ok());
}
