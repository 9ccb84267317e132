//! Joining where one left off: replay and live without a hole, and every loss announced.

use ringwire::metrics::DropReason;
use ringwire_protocol::poll::{parse_item, parse_position};
use ringwire_protocol::{Epoch, Position};

use crate::client::{Client, Polled, get, post};
use crate::harness::{Engine, Running};
use crate::peers::{EventStream, Said, WebSocket};

on_both_engines!(
    every_transport_resumes_where_it_left_off,
    every_transport_announces_a_lost_position,
    a_joiner_has_no_hole_while_others_publish,
);

const JSON: &[&str] = &["ringwire.json.1"];

fn publish(client: &mut Client, offsets: std::ops::RangeInclusive<u64>) -> Position {
    let mut last = None;
    for offset in offsets {
        let position = client.ask(post("a", "", format!("p{offset}").as_bytes())).published();
        assert_eq!(position.offset, offset);
        last = Some(position);
    }
    last.unwrap()
}

fn items(offsets: std::ops::RangeInclusive<u64>) -> Vec<(u64, Vec<u8>)> {
    offsets.map(|offset| (offset, format!("p{offset}").into_bytes())).collect()
}

fn every_transport_resumes_where_it_left_off(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    let address = server.address;
    let mut client = Client::connect(address);
    let Position { epoch, .. } = publish(&mut client, 1..=5);
    let at = |offset| Position { epoch, offset };
    let target = format!("/channels/a?since={}", at(2));
    let mut plain = WebSocket::open(address, &target);
    assert_eq!(plain.position, Some(at(2)));
    let mut json = WebSocket::open_as(address, &target, JSON);
    assert_eq!(parse_position(json.hear_text().as_bytes()).unwrap(), (at(2), true));
    let last_id = format!("Last-Event-ID: {}\r\n", at(2));
    // The header is newer than the address a browser connects to again.
    let old = format!("/channels/a?since={}", at(0));
    let mut streams = [
        EventStream::open(address, &target),
        EventStream::open_with(address, "/channels/a", &last_id),
        EventStream::open_with(address, &old, &last_id),
    ];
    let mut poller = Client::connect(address);
    for wait in ["", "&wait=30"] {
        let polled = poller.ask(get(&format!("{target}{wait}"), "")).polled();
        assert_eq!(polled, Polled { position: at(5), recovered: true, items: items(3..=5) });
    }
    let rest = format!("/channels/a?since={}", at(5));
    let polled = poller.ask(get(&rest, "")).polled();
    assert_eq!(polled, Polled { position: at(5), recovered: true, items: Vec::new() });
    publish(&mut client, 6..=8);
    for (offset, payload) in items(3..=8) {
        let text = String::from_utf8(payload).unwrap();
        assert_eq!(plain.hear_text(), text);
        let item = json.hear_text();
        assert_eq!(parse_item(item.as_bytes()).unwrap().offset, offset);
        for stream in &mut streams {
            let event = stream.hear();
            assert_eq!((event.position, &event.data), (Some(at(offset)), &text));
        }
    }
    // A stream that brought nothing still says where to resume.
    let mut idle = EventStream::open(address, "/channels/a");
    publish(&mut client, 9..=9);
    assert_eq!(idle.hear().position, Some(at(9)));
    assert_eq!(idle.resumption().0, at(9).to_string());
}

fn every_transport_announces_a_lost_position(engine: Engine) {
    let server = Running::start(engine, 3, &["--history-size", "3"]);
    let address = server.address;
    let mut client = Client::connect(address);
    let now = publish(&mut client, 1..=10);
    let old = Position { offset: 2, ..now }.to_string();
    let future = Position { offset: 11, ..now }.to_string();
    let unknown = Position { epoch: Epoch(!now.epoch.0), offset: 9 }.to_string();
    for since in [old.as_str(), &future, &unknown, "nonsense", ""] {
        let target = format!("/channels/a?since={since}");
        for wait in ["", "&wait=30"] {
            let polled = client.ask(get(&format!("{target}{wait}"), "")).polled();
            let expected = Polled { position: now, recovered: false, items: Vec::new() };
            assert_eq!(polled, expected, "{target}{wait}");
        }
        let mut socket = WebSocket::open(address, &target);
        assert_eq!(socket.expect_close(3010), now.to_string(), "{target}");
        let mut json = WebSocket::open_as(address, &target, JSON);
        let first = json.hear_text();
        assert_eq!(parse_position(first.as_bytes()).unwrap(), (now, false), "{target}");
        let mut stream = EventStream::open(address, &target);
        let reset = stream.hear();
        assert_eq!((reset.name.as_str(), reset.position), ("reset", Some(now)), "{target}");
        let data = format!("{{\"epoch\":\"{}\",\"offset\":{}}}", now.epoch, now.offset);
        assert_eq!(reset.data, data);
    }
    // What is still there is not lost: all of the history, and nothing.
    for offset in 7..=10 {
        let target = format!("/channels/a?since={}", Position { offset, ..now });
        let polled = client.ask(get(&target, "")).polled();
        assert_eq!(polled.items, items(offset + 1..=10));
        assert!(polled.recovered);
    }
    // Announced, the stream goes on live.
    let target = format!("/channels/a?since={unknown}");
    let mut stream = EventStream::open(address, &target);
    let mut json = WebSocket::open_as(address, &target, JSON);
    assert_eq!(stream.hear().name, "reset");
    json.hear_text();
    publish(&mut client, 11..=11);
    assert_eq!(stream.hear().data, "p11");
    assert_eq!(parse_item(json.hear_text().as_bytes()).unwrap().offset, 11);
    assert!(server.sum(|metrics| metrics.drops(DropReason::PositionLost)) > 0);
}

fn a_joiner_has_no_hole_while_others_publish(engine: Engine) {
    const COUNT: u64 = 200;
    let server = Running::start(engine, 3, &["--history-size", "1000"]);
    let address = server.address;
    let begin = Client::connect(address).ask(get("/channels/a", "")).polled().position;
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| publish(&mut Client::connect(address), 1..=COUNT));
        // Each joins somewhere in the middle, at the begin or from now on.
        for joiner in 0..24 {
            let since = if joiner % 2 == 0 { format!("?since={begin}") } else { String::new() };
            let mut socket = WebSocket::open(address, &format!("/channels/a{since}"));
            let first = socket.position.unwrap().offset + 1;
            for offset in first..=COUNT.min(first + 20) {
                assert_eq!(socket.hear(), Said::Text(format!("p{offset}")), "joiner {joiner}");
            }
        }
        publishing.join().unwrap();
    });
}
