//! The admin listener's pages: what they count is what happened.

use ringwire_protocol::ws::Opcode;

use crate::client::{Client, get, post};
use crate::harness::Engine;
use crate::peers::{EventStream, Said, WebSocket, frame};
use crate::process::Process;

on_both_engines!(metrics_count_what_happened);

/// What the clients of a test did and saw.
#[derive(Default)]
struct Traffic {
    connections: u64,
    sent: u64,
    received: u64,
}

impl Traffic {
    fn add(&mut self, client: &Client) {
        self.connections += 1;
        self.sent += client.bytes_sent;
        self.received += client.bytes_received;
    }
}

fn metrics_count_what_happened(engine: Engine) {
    let process = Process::start(engine, 3, &[]);
    let address = process.address;
    let mut traffic = Traffic::default();

    let mut plain = Client::connect(address);
    for _ in 0..5 {
        assert_eq!(plain.ask(get("/", "")).status, 200);
    }
    for _ in 0..3 {
        let mut lost = Client::connect(address);
        assert_eq!(lost.ask(get("/nowhere", "")).status, 404);
        lost.expect_end();
        traffic.add(&lost);
    }
    let mut echo = WebSocket::open(address, "/echo");
    for number in 0..7 {
        echo.text(&number.to_string());
        assert_eq!(echo.hear_text(), number.to_string());
    }
    let mut broken = WebSocket::open(address, "/echo");
    broken.client.send([&frame(Opcode::Text, b"said")[..], b"\xff"].concat());
    assert_eq!(broken.hear_text(), "said");
    assert!(matches!(broken.hear(), Said::Close(Some((1002, _)))));
    assert_eq!(broken.hear_or_end(), None);

    let mut sockets = [0; 2].map(|_| WebSocket::open(address, "/channels/a"));
    let mut stream = EventStream::open(address, "/channels/a");
    let begin = sockets[0].position.unwrap();
    for number in 1..=4 {
        assert_eq!(plain.ask(post("a", "", b"news")).published().offset, number);
        sockets.iter_mut().for_each(|socket| assert_eq!(socket.hear_text(), "news"));
        assert_eq!(stream.hear().data, "news");
    }
    for wait in ["", "&wait=30"] {
        let polled = plain.ask(get(&format!("/channels/a?since={begin}{wait}"), "")).polled();
        assert_eq!(polled.items.len(), 4);
    }
    traffic.add(&broken.client);
    for client in [&plain, &echo.client, &sockets[0].client, &sockets[1].client, &stream.client] {
        traffic.add(client);
    }
    drop(broken);
    check(&process, &traffic);
    drop((plain, echo, sockets, stream));
    process.await_metric("ringwire_connections", &[], 0);
    process.await_metric("ringwire_connections_closed_total", &[], traffic.connections);
    process.await_metric("ringwire_subscriptions", &[], 0);
    process.await_metric("ringwire_held_bytes", &[], 0);
}

fn check(process: &Process, traffic: &Traffic) {
    let labelled: [(&str, &[&str], u64); 22] = [
        ("ringwire_connections_accepted_total", &[], traffic.connections),
        ("ringwire_connections", &["\"http\"", "\"open\""], 1),
        ("ringwire_connections", &["\"websocket\"", "\"open\""], 3),
        ("ringwire_connections", &["\"sse\"", "\"open\""], 1),
        ("ringwire_connections", &[], 5),
        ("ringwire_connections_dropped_total", &["\"protocol\""], 1),
        ("ringwire_connections_dropped_total", &[], 1),
        ("ringwire_requests_total", &["kind=\"index\""], 5),
        ("ringwire_requests_total", &["kind=\"echo\""], 2),
        ("ringwire_requests_total", &["kind=\"websocket\""], 2),
        ("ringwire_requests_total", &["kind=\"sse\""], 1),
        ("ringwire_requests_total", &["kind=\"publish\""], 4),
        ("ringwire_requests_total", &["kind=\"poll\""], 1),
        ("ringwire_requests_total", &["kind=\"longpoll\""], 1),
        ("ringwire_requests_refused_total", &["status=\"404\""], 3),
        ("ringwire_requests_refused_total", &[], 3),
        ("ringwire_messages_received_total", &[], 8),
        ("ringwire_messages_sent_total", &[], 8 + 2 * 4),
        ("ringwire_publications_total", &[], 4),
        ("ringwire_channels", &[], 1),
        ("ringwire_subscriptions", &[], 3),
        ("ringwire_pings_sent_total", &[], 0),
    ];
    for (name, labels, value) in labelled {
        process.await_metric(name, labels, value);
    }
    for (transport, value) in [("websocket", 8), ("sse", 4), ("longpoll", 4), ("http", 4)] {
        let label = format!("transport=\"{transport}\"");
        process.await_metric("ringwire_deliveries_total", &[&label], value);
    }
    process.await_metric("ringwire_received_bytes_total", &[], traffic.sent);
    process.await_metric("ringwire_sent_bytes_total", &[], traffic.received);
    let (status, page) = process.page("/metrics");
    assert_eq!(status, 200);
    assert!(page.contains("\nringwire_build_info{version=\""), "{page}");
    assert!(page.contains("\nprocess_cpu_seconds_total "), "{page}");
}
