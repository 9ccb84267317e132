//! Requests that are refused: the status, a reason, the headers the status demands, and the end
//! of the connection, all readable though the client was still sending.

use crate::client::{Answer, Client, get, post};
use crate::harness::{Engine, Running};
use crate::peers::upgrade;

on_both_engines!(
    requests_that_break_a_rule_are_refused,
    upgrades_that_break_a_rule_are_refused,
    what_is_too_large_is_refused,
    a_413_is_readable_by_a_client_that_is_still_sending,
);

/// Checks a refusal: one line of reason, and the end.
fn expect_refusal(client: &mut Client, status: u16, what: &str) -> Answer {
    let answer = client.answer();
    assert_eq!(answer.status, status, "{what:?} got {answer:?}");
    assert_eq!(answer.header("connection").as_deref(), Some("close"), "{what:?}");
    assert_eq!(answer.header("content-type").as_deref(), Some("text/plain; charset=utf-8"));
    let reason = answer.text().strip_suffix('\n').unwrap();
    assert!(reason.len() > 10 && !reason.contains('\n'), "{what:?} got {answer:?}");
    client.expect_end();
    answer
}

fn refused(server: &Running, request: &str, status: u16) -> Answer {
    let mut client = Client::connect(server.address);
    client.send(request);
    expect_refusal(&mut client, status, &request[..request.len().min(200)])
}

fn requests_that_break_a_rule_are_refused(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    let published =
        |headers: &str| format!("POST /channels/a HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01\x02\0\x01\0\x01".to_owned(), 400),
        (published("Content-Length: -1\r\n"), 400),
        (published("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (published("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400),
        (published("Transfer-Encoding: gzip, chunked\r\n"), 501),
        (published("Content-Length: 65537\r\n"), 413),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        (get("/nowhere", ""), 404),
        (get("/channels", ""), 404),
        (get("/metrics", ""), 404),
        (get("/channels/", ""), 400),
        (get("/channels/a%20b", ""), 400),
        (get("/channels/%zz", ""), 400),
        (get(&format!("/channels/{}", "x".repeat(256)), ""), 400),
        (get("/channels/a?wait=soon", ""), 400),
    ] {
        refused(&server, &request, status);
    }
    for (request, allow) in [
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "GET, HEAD, OPTIONS"),
        ("DELETE /channels/a HTTP/1.1\r\nHost: h\r\n\r\n", "GET, HEAD, POST, OPTIONS"),
    ] {
        let answer = refused(&server, request, 405);
        assert_eq!(answer.header("allow").as_deref(), Some(allow), "{request:?}");
    }
    // 255 bytes are a name.
    let mut client = Client::connect(server.address);
    let longest = get(&format!("/channels/{}", "x".repeat(255)), "");
    assert!(client.ask(longest).polled().recovered);
}

fn upgrades_that_break_a_rule_are_refused(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    let good = String::from_utf8(upgrade("/echo", &[])).unwrap();
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from:?} in {good:?}");
        good.replace(from, to)
    };
    for (request, status) in [
        (with("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: x"), 400),
        (with("Sec-WebSocket-Key: ", "X: "), 400),
        (with("Connection: Upgrade\r\n", ""), 400),
        (with("Host: h\r\n", "Host: h\r\nContent-Length: 3\r\n"), 400),
        (with("GET /echo", "POST /echo"), 405),
        (with("/echo", "/nowhere"), 404),
        (with("/echo", "/"), 404),
        (with("/echo", "/channels/a%20b"), 400),
    ] {
        refused(&server, &request, status);
    }
    for request in [
        with("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        with("Sec-WebSocket-Version: 13\r\n", ""),
        get("/echo", ""),
    ] {
        let answer = refused(&server, &request, 426);
        assert_eq!(answer.header("upgrade").as_deref(), Some("websocket"));
        assert_eq!(answer.header("sec-websocket-version").as_deref(), Some("13"));
    }
}

fn what_is_too_large_is_refused(engine: Engine) {
    let server = Running::start(engine, 1, &[]);
    refused(&server, &get(&format!("/{}", "x".repeat(9000)), ""), 414);
    refused(&server, &get("/", &format!("X: {}\r\n", "x".repeat(20_000))), 431);
    refused(&server, &get("/", &"X: y\r\n".repeat(120)), 431);
    // A head that never ends is refused while it grows.
    let endless = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(40_000));
    refused(&server, &endless, 431);
}

fn a_413_is_readable_by_a_client_that_is_still_sending(engine: Engine) {
    // Under the 1 MiB that a server keeps reading after its last word.
    let server = Running::start(engine, 1, &[]);
    let mut client = Client::connect(server.address);
    client.send(post("a", "", &vec![b'x'; 900_000]));
    expect_refusal(&mut client, 413, "a large body");
    // At the limit it is taken.
    let mut client = Client::connect(server.address);
    assert_eq!(client.ask(post("a", "", &vec![b'x'; 65_536])).published().offset, 1);
}
