//! Which pages may speak to the server: the Origin rule, on every kind of request.

use crate::client::{Client, get};
use crate::harness::{Engine, Running};

on_both_engines!(an_origin_must_be_the_host_or_allowed, every_kind_of_request_is_checked,);

fn status_of(server: &Running, host: &str, origin: &str) -> u16 {
    let mut client = Client::connect(server.address);
    let request =
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n");
    let answer = client.ask(request);
    client.expect_end();
    answer.status
}

fn an_origin_must_be_the_host_or_allowed(engine: Engine) {
    let plain = Running::start(engine, 1, &[]);
    let allowing = Running::start(engine, 1, &["--allowed-origin", "https://app.example:8443"]);
    for (host, origin, expected) in [
        ("h.example", "http://h.example", 200),
        ("h.example", "https://h.example", 200),
        ("h.example:80", "http://h.example", 200),
        ("h.example:443", "https://h.example:443", 200),
        ("h.example:8080", "http://h.example:8080", 200),
        ("H.EXAMPLE", "http://h.example", 200),
        ("[::1]:8080", "http://[::1]:8080", 200),
        ("h.example:8080", "http://h.example", 403),
        ("h.example", "http://h.example:8080", 403),
        ("h.example", "http://evil.example", 403),
        ("h.example", "http://h.example.evil.example", 403),
        ("h.example", "http://evil.example/h.example", 403),
        ("h.example", "null", 403),
    ] {
        assert_eq!(status_of(&plain, host, origin), expected, "{host} {origin}");
        assert_eq!(status_of(&allowing, host, origin), expected, "{host} {origin}, one allowed");
    }
    assert_eq!(status_of(&plain, "h.example", "https://app.example:8443"), 403);
    assert_eq!(status_of(&allowing, "h.example", "https://app.example:8443"), 200);
    assert_eq!(status_of(&allowing, "h.example", "http://app.example:8443"), 403);
    assert_eq!(status_of(&allowing, "h.example", "https://app.example"), 403);
}

fn every_kind_of_request_is_checked(engine: Engine) {
    let server = Running::start(engine, 3, &[]);
    let evil = "Origin: http://evil.example\r\n";
    let socket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let publication = "POST /channels/a HTTP/1.1\r\nHost: h\r\nOrigin: http://evil.example\r\n\
                       Content-Length: 4\r\n\r\nevil";
    for request in [
        get("/", evil),
        get("/channels/a", evil),
        get("/channels/a?wait=5", evil),
        get("/channels/a", &format!("{evil}Accept: text/event-stream\r\n")),
        get("/echo", &format!("{evil}{socket}")),
        get("/channels/a", &format!("{evil}{socket}")),
        publication.to_owned(),
    ] {
        let mut client = Client::connect(server.address);
        let answer = client.ask(&request);
        assert_eq!(answer.status, 403, "{request:?} got {answer:?}");
        client.expect_end();
    }
    let mut client = Client::connect(server.address);
    let polled = client.ask(get("/channels/a", "")).polled();
    assert_eq!(polled.position.offset, 0, "a refused publication was published");
}
