//! One channel over all transports: one order for all, whatever is published, wherever its
//! readers are.
//!
//! Not here: joining where one left off (`resume`), readers that do not keep up (`slow`).

use std::thread;

use ringwire::metrics::{State, Transport};
use ringwire_protocol::Position;
use ringwire_protocol::poll::{parse_item, parse_position};
use ringwire_protocol::ws::Opcode;

use crate::client::{Client, Polled, get, post};
use crate::harness::{Engine, Running, eventually};
use crate::peers::{EventStream, Said, WebSocket};

on_both_engines!(
    all_transports_bring_one_order_across_workers,
    a_payload_arrives_as_it_was_published,
    a_publisher_hears_itself,
    a_long_poll_waits_for_news_or_its_time,
    channels_keep_apart,
);

const PUBLISHERS: usize = 3;
const EACH: usize = 40;
const JSON: &[&str] = &["ringwire.json.1"];

/// Connects until each worker has a client of this test, so that the channel is really shared.
fn on_each_worker<T>(server: &Running, mut connect: impl FnMut() -> T) -> Vec<T> {
    let before = server.each(|metrics| metrics.accepted.value());
    let mut clients = Vec::new();
    loop {
        clients.push(connect());
        let now = server.each(|metrics| metrics.accepted.value());
        if before.iter().zip(&now).all(|(before, now)| now > before) {
            return clients;
        }
        assert!(clients.len() < 500, "a worker gets no client: {now:?}");
    }
}

/// Publishes `EACH` messages, by POST or on a WebSocket.
fn publish(server: &Running, publisher: usize) {
    let payload = |number: usize| format!("{publisher} {number}");
    if publisher == 0 {
        let mut socket = WebSocket::open(server.address, "/channels/room");
        for number in 0..EACH {
            socket.text(&payload(number));
        }
        // It hears its own, and so knows that they were published.
        let mut own = 0;
        while own < EACH {
            own += usize::from(socket.hear_text().starts_with("0 "));
        }
        return;
    }
    let mut client = Client::connect(server.address);
    let mut last = 0;
    for number in 0..EACH {
        let position = client.ask(post("room", "", payload(number).as_bytes())).published();
        assert!(position.offset > last, "{position} after {last}");
        last = position.offset;
    }
}

/// Polls in either way until all payloads were read.
fn poll_all(server: &Running, since: Position, wait: &str) -> Vec<String> {
    let mut client = Client::connect(server.address);
    let (mut since, mut texts) = (since, Vec::new());
    while texts.len() < PUBLISHERS * EACH {
        let path = format!("/channels/room?since={since}{wait}");
        let Polled { position, recovered, items } = client.ask(get(&path, "")).polled();
        assert!(recovered);
        since = position;
        for (offset, payload) in items {
            texts.push(String::from_utf8(payload).unwrap());
            assert_eq!(offset, texts.len() as u64);
        }
    }
    texts
}

fn all_transports_bring_one_order_across_workers(engine: Engine) {
    let server = Running::start(engine, 3, &["--history-size", "1000"]);
    let address = server.address;
    let mut plain = on_each_worker(&server, || WebSocket::open(address, "/channels/room"));
    let mut json = on_each_worker(&server, || WebSocket::open_as(address, "/channels/room", JSON));
    let mut streams = on_each_worker(&server, || EventStream::open(address, "/channels/room"));
    let begin = plain[0].position.unwrap();
    let mut orders: Vec<Vec<String>> = thread::scope(|scope| {
        let server = &server;
        let polls: Vec<_> = ["&wait=30", "&wait=30", "&wait=30", ""]
            .map(|wait| scope.spawn(move || poll_all(server, begin, wait)))
            .into();
        let publishers: Vec<_> =
            (0..PUBLISHERS).map(|number| scope.spawn(move || publish(server, number))).collect();
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        polls.into_iter().map(|poll| poll.join().unwrap()).collect()
    });
    let count = PUBLISHERS * EACH;
    orders.extend(plain.iter_mut().map(|socket| {
        assert_eq!(socket.position, Some(begin));
        (0..count).map(|_| socket.hear_text()).collect()
    }));
    orders.extend(json.iter_mut().map(|socket| {
        assert_eq!(parse_position(socket.hear_text().as_bytes()).unwrap(), (begin, true));
        let item = |number: usize| {
            let text = socket.hear_text();
            let item = parse_item(text.as_bytes()).unwrap();
            assert_eq!(item.offset, number as u64);
            String::from_utf8(item.payload.into_owned()).unwrap()
        };
        (1..=count).map(item).collect()
    }));
    orders.extend(streams.iter_mut().map(|stream| {
        let event = |number: usize| {
            let event = stream.hear();
            let expected = Position { epoch: begin.epoch, offset: number as u64 };
            assert_eq!((event.position, event.name.as_str()), (Some(expected), ""));
            event.data
        };
        (1..=count).map(event).collect()
    }));
    for (reader, order) in orders.iter().enumerate() {
        assert_eq!(order, &orders[0], "reader {reader}");
    }
    for publisher in 0..PUBLISHERS {
        let prefix = format!("{publisher} ");
        let own: Vec<_> = orders[0].iter().filter(|text| text.starts_with(&prefix)).collect();
        let expected: Vec<_> = (0..EACH).map(|number| format!("{publisher} {number}")).collect();
        assert_eq!(own, expected.iter().collect::<Vec<_>>());
    }
}

/// How a payload is published, and whether that makes it text.
const PAYLOADS: &[(&str, &[u8], bool)] = &[
    ("", b"plain", true),
    ("", b"", true),
    ("", b" two\nlines, \"quoted\" \\ \t", true),
    ("Content-Type: text/plain; charset=utf-8\r\n", "caf\u{e9}".as_bytes(), true),
    ("", b"id: x\n\nevent: y", true),
    ("", b"a CR\r\nhere", true),
    ("", b"\xff\xfe", false),
    ("Content-Type: application/octet-stream\r\n", b"octets", false),
    ("Content-Type: Application/Octet-Stream; x=y\r\n", b"octets", false),
];

fn a_payload_arrives_as_it_was_published(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    let address = server.address;
    let mut plain = WebSocket::open(address, "/channels/a");
    let mut json = WebSocket::open_as(address, "/channels/a", JSON);
    let mut stream = EventStream::open(address, "/channels/a");
    json.hear_text();
    let mut since = plain.position.unwrap();
    let mut client = Client::connect(address);
    for &(headers, payload, is_text) in PAYLOADS {
        let position = client.ask(post("a", headers, payload)).published();
        assert_eq!(position.offset, since.offset + 1);
        let text = || String::from_utf8(payload.to_vec()).unwrap();
        let expected = if is_text { Said::Text(text()) } else { Said::Binary(payload.to_vec()) };
        assert_eq!(plain.hear(), expected);
        let message = json.hear_text();
        let item = parse_item(message.as_bytes()).unwrap();
        assert_eq!((item.offset, &item.payload[..]), (position.offset, payload));
        assert_eq!((item.is_text, message.contains("data_base64")), (is_text, !is_text));
        let event = stream.hear();
        assert_eq!(event.position, Some(position));
        if is_text && !payload.contains(&b'\r') {
            assert_eq!((event.name.as_str(), event.data), ("", text()));
        } else {
            assert_eq!(event.name, "binary");
            assert_eq!(event.binary.as_deref(), Some(payload), "{}", event.data);
        }
        let answer = client.ask(get(&format!("/channels/a?since={since}"), ""));
        assert_eq!(answer.text().contains("data_base64"), !is_text);
        let items = vec![(position.offset, payload.to_vec())];
        assert_eq!(answer.polled(), Polled { position, recovered: true, items });
        since = position;
    }
}

fn a_publisher_hears_itself(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    let mut sockets =
        on_each_worker(&server, || WebSocket::open(server.address, "/channels/a%2Fb"));
    let count = sockets.len();
    for speaker in 0..count {
        sockets[speaker].text(&format!("from {speaker}"));
        sockets[speaker].send(Opcode::Binary, &[speaker.try_into().unwrap()]);
        for socket in &mut sockets {
            assert_eq!(socket.hear_text(), format!("from {speaker}"));
            assert_eq!(socket.hear(), Said::Binary(vec![speaker.try_into().unwrap()]));
        }
    }
    // The name is the decoded one, however it is written.
    let mut client = Client::connect(server.address);
    let polled = client.ask(get("/channels/a/b", "")).polled();
    assert_eq!(polled.position.offset, 2 * count as u64);
    sockets.into_iter().for_each(WebSocket::leave);
}

fn a_long_poll_waits_for_news_or_its_time(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    let mut publisher = Client::connect(server.address);
    let mut reader = Client::connect(server.address);
    let begin = reader.ask(get("/channels/a", "")).polled();
    assert_eq!((begin.recovered, begin.items), (true, Vec::new()));
    // Nothing: empty, after its second, at the position it had.
    let path = format!("/channels/a?since={}&wait=1", begin.position);
    let empty = reader.ask(get(&path, "")).polled();
    assert_eq!((empty.position, empty.recovered, empty.items), (begin.position, true, Vec::new()));
    let is_waiting = || server.connections(Transport::LongPoll, State::Open) == 1;
    reader.send(get("/channels/a?wait=30", ""));
    eventually(is_waiting, || "the long poll does not wait".to_owned());
    // The next request waits behind it, and is not lost.
    reader.send(get("/", ""));
    publisher.ask(post("a", "", b"news")).published();
    let news = reader.answer().polled();
    assert_eq!((news.recovered, news.items), (true, vec![(1, b"news".to_vec())]));
    assert!(reader.answer().text().starts_with("ringwire "));
    publisher.ask(post("a", "", b"more")).published();
    // There is news already: at once.
    let news = reader.ask(get(&path, "")).polled();
    assert_eq!(news.items, [(1, b"news".to_vec()), (2, b"more".to_vec())]);
    // Who goes while it waits leaves nothing behind.
    reader.send(get("/channels/a?wait=30", ""));
    eventually(is_waiting, || "the long poll does not wait".to_owned());
    drop(reader);
    eventually(|| server.live() == 1, || format!("{} are left", server.live()));
}

fn channels_keep_apart(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    let names: Vec<String> = (0..30).map(|number| format!("channel-{number}")).collect();
    let open = |name: &String| WebSocket::open(server.address, &format!("/channels/{name}"));
    let mut sockets: Vec<_> = names.iter().map(open).collect();
    let mut client = Client::connect(server.address);
    for name in &names {
        assert_eq!(client.ask(post(name, "", name.as_bytes())).published().offset, 1);
    }
    for (name, socket) in names.iter().zip(&mut sockets) {
        socket.text("second");
        assert_eq!(&socket.hear_text(), name);
        assert_eq!(socket.hear_text(), "second");
    }
    assert_eq!(server.sum(|metrics| metrics.channels.value()), 30);
}
