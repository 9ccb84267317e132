//! Plain requests and their answers: the index, keep-alive, pipelining, cuts, slow requests.
//!
//! Not here: refusals for what a request says (`refusals`, `origin`), channels (`channels`).

use ringwire::metrics::DropReason;

use crate::client::{Client, get, post};
use crate::harness::{Engine, Running};

on_both_engines!(
    the_index_names_the_routes_and_head_has_its_length,
    pipelined_requests_are_answered_in_order,
    a_connection_serves_many_requests_however_they_are_cut,
    a_client_that_asks_first_is_told_to_continue,
    slow_requests_get_408,
    an_idle_connection_ends_after_its_time,
    a_client_that_has_closed_its_direction_gets_its_answers,
);

fn the_index_names_the_routes_and_head_has_its_length(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    let mut client = Client::connect(server.address);
    let index = client.ask(get("/", ""));
    assert_eq!(index.status, 200);
    assert_eq!(index.header("content-type").as_deref(), Some("text/plain; charset=utf-8"));
    for words in [concat!("ringwire ", env!("CARGO_PKG_VERSION")), "/echo", "/channels/NAME"] {
        assert!(index.text().contains(words), "{words:?} in {index:?}");
    }
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), Some(index.body.len().to_string()));
    // Had the answer to HEAD a body, it would be in the way of the next answer.
    let last = client.ask(get("/", "Connection: close\r\n"));
    assert_eq!((last.status, last.header("connection").as_deref()), (200, Some("close")));
    assert_eq!(last.body, index.body);
    client.expect_end();
}

fn pipelined_requests_are_answered_in_order(engine: Engine) {
    const ROUNDS: u64 = 50;
    let server = Running::start(engine, 3, &[]);
    let mut client = Client::connect(server.address);
    let mut requests = Vec::new();
    for round in 1..=ROUNDS {
        requests.extend(post("a", "", round.to_string().as_bytes()));
        requests.extend(get("/channels/a", "").into_bytes());
        requests.extend(get("/", "").into_bytes());
    }
    requests.extend(get("/", "Connection: close\r\n").into_bytes());
    // What follows the last request is not answered.
    requests.extend(get("/", "").into_bytes());
    client.send(requests);
    for round in 1..=ROUNDS {
        assert_eq!(client.answer().published().offset, round);
        let polled = client.answer().polled();
        assert_eq!((polled.position.offset, polled.recovered), (round, true));
        assert!(client.answer().text().starts_with("ringwire "));
    }
    assert!(client.answer().text().starts_with("ringwire "));
    client.expect_end();
}

fn a_connection_serves_many_requests_however_they_are_cut(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    let request = post("cut", "", b"the body of a publication");
    let mut client = Client::connect(server.address);
    for cut in 1..request.len() {
        client.send(&request[..cut]);
        client.send(&request[cut..]);
        assert_eq!(client.answer().published().offset, cut as u64);
    }
    for byte in &request {
        client.send([*byte]);
    }
    assert_eq!(client.answer().published().offset, request.len() as u64);
}

fn a_client_that_asks_first_is_told_to_continue(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    let request = post("a", "Expect: 100-continue\r\n", b"the body");
    let head = request.len() - b"the body".len();
    let mut client = Client::connect(server.address);
    for offset in 1..=3 {
        client.send(&request[..head]);
        assert_eq!(client.head().status, 100);
        client.send(&request[head..]);
        assert_eq!(client.answer().published().offset, offset);
    }
    // The body is too large: told before it is sent.
    let refused = post("a", "Expect: 100-continue\r\n", &[b'x'; 70_000]);
    client.send(&refused[..refused.len() - 70_000]);
    assert_eq!(client.answer().status, 413);
    client.expect_end();
}

fn slow_requests_get_408(engine: Engine) {
    let server = Running::start(engine, 1, &["--header-timeout", "1s"]);
    let begun = [
        String::new(),
        "GET / HT".to_owned(),
        "GET / HTTP/1.1\r\nHost: h\r\n".to_owned(),
        "POST /channels/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcd".to_owned(),
    ];
    let mut clients = Vec::new();
    for begin in &begun {
        let mut client = Client::connect(server.address);
        client.send(begin);
        clients.push(client);
    }
    // One that was served before: its next request is as slow.
    let mut served = Client::connect(server.address);
    assert_eq!(served.ask(get("/", "") + "G").status, 200);
    clients.push(served);
    for mut client in clients {
        let answer = client.answer();
        assert_eq!(answer.status, 408, "{answer:?}");
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        client.expect_end();
    }
    assert_eq!(server.sum(|m| m.drops(DropReason::HeaderTimeout)), 5);
}

fn an_idle_connection_ends_after_its_time(engine: Engine) {
    let server = Running::start(engine, 1, &["--keepalive-timeout", "200ms"]);
    let mut client = Client::connect(server.address);
    assert_eq!(client.ask(get("/", "")).status, 200);
    client.expect_end();
    assert_eq!(server.sum(|m| m.drops(DropReason::KeepaliveTimeout)), 1);
}

fn a_client_that_has_closed_its_direction_gets_its_answers(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    for request in [get("/", "").into_bytes(), post("a", "", b"x"), get("/channels/a", "").into()] {
        for count in [1, 20] {
            let mut client = Client::connect(server.address);
            client.send(request.repeat(count));
            client.finish();
            for number in 1..=count {
                let asked = String::from_utf8_lossy(&request);
                assert_eq!(client.answer().status, 200, "{asked}, {number} of {count}");
            }
            client.expect_end();
        }
    }
}
