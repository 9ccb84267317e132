//! Request and response heads: what they mean, what is refused, and how little cuts matter.
#![expect(clippy::tests_outside_test_module, reason = "the whole file is a test")]

mod random;

use random::Random;
use ringwire_protocol::http::{
    Body, HeadLimits, HeadScanner, Method, Refusal, Request, encode_continue, encode_refusal,
    encode_request, encode_response, encode_response_head, parse_request, parse_response,
};

fn limits() -> HeadLimits {
    HeadLimits::default()
}

/// The head found and parsed when the bytes arrive in these pieces: its answer as text.
fn arrive(bytes: &[u8], cuts: &[usize]) -> Result<String, Refusal> {
    let mut scanner = HeadScanner::new();
    for &arrived in cuts.iter().chain([&bytes.len()]) {
        if let Some(end) = scanner.find_end(&bytes[..arrived], &limits())? {
            return parse_request(&bytes[..end], &limits()).map(|request| format!("{request:?}"));
        }
    }
    Ok("incomplete".to_string())
}

/// Every single cut, one byte at a time, and random cuts give what the whole gives.
fn arrive_however(bytes: &[u8], random: &mut Random) -> Result<String, Refusal> {
    let whole = arrive(bytes, &[]);
    for cut in 0..=bytes.len() {
        assert_eq!(arrive(bytes, &[cut]), whole, "cut at {cut}");
    }
    let each: Vec<usize> = (0..=bytes.len()).collect();
    assert_eq!(arrive(bytes, &each), whole, "byte by byte");
    for _ in 0..4 {
        let mut cuts: Vec<usize> = (0..5).map(|_| random.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        assert_eq!(arrive(bytes, &cuts), whole, "cut at {cuts:?}");
    }
    whole
}

fn parse(head: &str) -> Result<Request<'_>, Refusal> {
    parse_request(head.as_bytes(), &limits())
}

#[test]
fn heads_mean_the_same_however_they_are_cut() {
    let mut random = Random::seeded();
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET /x?y=%20 HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\n\r\nGET / HTTP/1.1\r\n",
        "POST /channels/x HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\n: a\r\n\r\n",
        "nonsense",
        "nonsense\r\n\r\n",
    ] {
        let _ = arrive_however(head.as_bytes(), &mut random);
    }
    for _ in 0..40 {
        let mut noise = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n".to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(noise.len());
            noise[at] = random.pick(b"\r\n\0 \t:aZ9/?\x7F\xC3");
        }
        let _ = arrive_however(&noise, &mut random);
        let len = random.below(30);
        let _ = arrive_however(&random.bytes(len), &mut random);
    }
}

#[test]
fn a_request_is_read() {
    let request = parse(
        "\r\n\r\nPOST /channels/a%20b?since=x&y HTTP/1.1\r\nHost: Example.com:8080\r\n\
         content-LENGTH: 007\r\nX-One:   two words \t\r\nX-One: second\r\nX-Empty:\r\n\
         Origin: http://example.com\r\nConnection: keep-alive, Close\r\nExpect: 100-Continue\r\n\
         Accept: text/html;q=0.5, Text/Event-Stream ; q=0.1\r\n\r\n",
    )
    .unwrap();
    assert_eq!(request.method, Method::Post);
    assert_eq!(request.path, "/channels/a%20b");
    assert_eq!(request.query, Some("since=x&y"));
    assert_eq!(request.host(), "Example.com:8080");
    assert_eq!(request.origin(), Some("http://example.com"));
    assert_eq!(request.body, Body::Length(7));
    assert_eq!(request.header("x-one"), Some(&b"two words"[..]));
    assert_eq!(request.headers.all("X-ONE").count(), 2);
    assert_eq!(request.header("x-empty"), Some(&b""[..]));
    assert_eq!(request.header("x-on"), None);
    assert_eq!(request.headers.iter().count(), 9);
    assert!(!request.keep_alive);
    assert!(request.expects_continue);
    assert!(request.accepts_event_stream());
    assert!(!request.wants_upgrade());
}

#[test]
fn what_is_absent_is_absent() {
    let request = parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((request.method, request.path, request.query), (Method::Get, "/", None));
    assert_eq!((request.body, request.origin()), (Body::None, None));
    assert!(request.keep_alive && !request.expects_continue && !request.accepts_event_stream());
    for accept in ["*/*", "text/*", "text/event-stream;q=0", "text/event-stream; q=0.000", "x"] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
        assert!(!parse(&head).unwrap().accepts_event_stream(), "{accept}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-3
//= type=test
//# Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be used
//# on these URIs.
//= https://www.rfc-editor.org/rfc/rfc6455#section-3
//= type=test
//# As with any URI scheme, the character "#", when not indicating the start of a fragment, MUST
//# be escaped as %23.
#[test]
fn targets() {
    let target = |method: &str, target: &str| {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: own\r\n\r\n");
        let read = parse(&head).map(|request| {
            let query = request.query.map(str::to_string);
            (request.path.to_string(), query, request.host().to_string())
        });
        read.map_err(|refusal| refusal.status)
    };
    let read = |path: &str, query: Option<&str>, host: &str| {
        Ok((path.to_string(), query.map(str::to_string), host.to_string()))
    };
    assert_eq!(target("GET", "/"), read("/", None, "own"));
    assert_eq!(target("GET", "/?"), read("/", Some(""), "own"));
    assert_eq!(target("GET", "//x//y"), read("//x//y", None, "own"));
    assert_eq!(target("GET", "/a?b?c"), read("/a", Some("b?c"), "own"));
    assert_eq!(target("GET", "/a://b"), read("/a://b", None, "own"));
    assert_eq!(target("GET", "http://other:81/a?b"), read("/a", Some("b"), "other:81"));
    assert_eq!(target("GET", "HTTPS://other"), read("/", None, "other"));
    assert_eq!(target("GET", "http://other?b"), read("/", Some("b"), "other"));
    assert_eq!(target("OPTIONS", "*"), read("*", None, "own"));
    for bad in [
        "*",
        "a",
        "a:80",
        "http://",
        "http:///x",
        "http://a@b/",
        "ftp://a/",
        "/a#b",
        "/\u{E9}",
        "?a",
        "http://a:b/",
        "http:/a",
        "ws:",
    ] {
        assert_eq!(target("GET", bad), Err(400), "{bad}");
    }
    assert_eq!(target("CONNECT", "example.com:80"), Err(400));
    assert_eq!(target("OPTIONS", "a"), Err(400));
}

//= https://www.rfc-editor.org/rfc/rfc9112#section-3.2
//= type=test
//# A server MUST respond with a 400 (Bad Request) status code to any
//# HTTP/1.1 request message that lacks a Host header field and to any
//# request message that contains more than one Host header field line
//# or a Host header field with an invalid field value.
#[test]
fn hosts() {
    let host = |lines: &str| {
        let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        parse(&head).map(|request| request.host().to_string()).map_err(|refusal| refusal.status)
    };
    for good in ["a", "a.b-c_d~", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:1", "a:"] {
        assert_eq!(host(&format!("Host: {good}\r\n")), Ok(good.to_string()));
    }
    assert_eq!(host(""), Err(400));
    assert_eq!(host("Host: a\r\nHost: a\r\n"), Err(400));
    assert_eq!(host("Host: a\r\nhost: b\r\n"), Err(400));
    for bad in [
        "",
        " ",
        ":80",
        "a b",
        "a,b",
        "a, b",
        "a@b",
        "a/b",
        "a?b",
        "a#b",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:123456",
        "[]",
        "[::1",
        "::1",
        "[::1]x",
        "[g]",
        "[::1%25eth0]",
        "a%20b",
        "\u{E9}",
        "a\\b",
        "<a>",
    ] {
        assert_eq!(host(&format!("Host: {bad}\r\n")), Err(400), "{bad:?}");
    }
}

#[test]
fn refusals_by_line() {
    let long_value = "x".repeat(20_000);
    let many: String = (0..101).map(|index| format!("X-{index}: y\r\n")).collect();
    let hundred: String = (0..99).map(|index| format!("X-{index}: y\r\n")).collect();
    for (lines, status) in [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: +1\r\n", 400),
        ("Content-Length: 1x\r\n", 400),
        ("Content-Length: 0x1\r\n", 400),
        ("Content-Length: 1 1\r\n", 400),
        ("Content-Length: 1.0\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: \u{661}\r\n", 400),
        ("Content-Length: 18446744073709551616\r\n", 413),
        ("Transfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding:\r\n", 400),
        ("Transfer-Encoding: ,chunked\r\n", 501),
        ("Transfer-Encoding: chunked,\r\n", 400),
        ("Transfer-Encoding: gzip\r\n", 400),
        ("Transfer-Encoding: chunked, gzip\r\n", 400),
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: chunked;q=1\r\n", 400),
        ("Transfer-Encoding: \"chunked\"\r\n", 400),
        ("Transfer-Encoding: \x0Bchunked\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\ntransfer-encoding: chunked\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("X : y\r\n", 400),
        ("X\t: y\r\n", 400),
        (": y\r\n", 400),
        ("X\r\n", 400),
        ("X y: z\r\n", 400),
        ("X(: z\r\n", 400),
        ("\u{E9}: z\r\n", 400),
        ("X: a\r\n b\r\n", 400),
        (" X: a\r\n", 400),
        ("X: a\rb\r\n", 400),
        ("X: a\nb: c\r\n", 400),
        ("X: a\0b\r\n", 400),
        ("X\0: b\r\n", 400),
        ("X: a\x01b\r\n", 400),
        ("X: a\x7Fb\r\n", 400),
        ("Origin: http://a\r\nOrigin: http://a\r\n", 400),
        ("Origin: http://\u{E9}\r\n", 400),
        ("Expect: 200-ok\r\n", 417),
        (&format!("X: {long_value}\r\n"), 431),
        (&format!("{long_value}: y\r\n"), 431),
        (&many, 431),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let refused = parse(&head).expect_err(lines);
        assert_eq!(refused.status, status, "{lines:?}");
        assert!(!refused.reason.is_empty() && !refused.reason.contains(['\r', '\n']));
    }
    assert!(parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{hundred}\r\n")).is_ok());
    for chunked in ["Transfer-Encoding: chunked", "transfer-encoding:\tCHUNKED "] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{chunked}\r\n\r\n");
        assert_eq!(parse(&head).unwrap().body, Body::Chunked, "{chunked:?}");
    }
    let largest = u64::MAX;
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {largest}\r\n\r\n");
    assert_eq!(parse(&head).unwrap().body, Body::Length(largest));
}

#[test]
fn refusals_by_request_line() {
    let long = format!("GET /{} HTTP/1.1", "x".repeat(8192));
    for (line, status) in [
        ("GET / HTTP/1.0", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/0.9", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET /", 400),
        ("GET / HTPT/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/x", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET\t/\tHTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("G(T / HTTP/1.1", 400),
        ("/ HTTP/1.1", 400),
        ("GET", 400),
        (&long, 414),
    ] {
        let refused = parse(&format!("{line}\r\nHost: a\r\n\r\n")).expect_err(line);
        assert_eq!(refused.status, status, "{line:?}");
    }
    let fits = format!("GET /{} HTTP/1.1", "x".repeat(8192 - 14));
    assert!(parse(&format!("{fits}\r\nHost: a\r\n\r\n")).is_ok());
    let other = parse("PATCH / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(other.method, Method::Other("PATCH"));
    let lower = parse("get / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(lower.method, Method::Other("get"), "methods are case-sensitive");
}

#[test]
fn what_is_not_one_head_is_refused() {
    for bytes in
        ["", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n"]
    {
        assert_eq!(parse(bytes).expect_err(bytes).status, 400, "{bytes:?}");
    }
}

#[test]
fn the_two_roles_understand_each_other() {
    let mut out = Vec::new();
    let headers = [("Content-Type", "text/plain"), ("X", "evil\r\nY: z")];
    encode_request(&mut out, "POST", "a:1", "/channels/x", &headers, b"hello");
    let end = HeadScanner::new().find_end(&out, &limits()).unwrap().unwrap();
    let request = parse_request(&out[..end], &limits()).unwrap();
    assert_eq!((request.method, request.body), (Method::Post, Body::Length(5)));
    assert_eq!(request.header("y"), None);
    assert_eq!(&out[end..], b"hello");

    let mut out = Vec::new();
    encode_response(&mut out, 200, &[("X", "y")], b"body", true);
    let end = HeadScanner::new().find_end(&out, &limits()).unwrap().unwrap();
    let response = parse_response(&out[..end]).unwrap();
    assert_eq!((response.status, response.content_length), (200, Some(4)));
    assert!(response.keep_alive && !response.is_chunked);
    assert_eq!(response.header("x"), Some(&b"y"[..]));
    assert_eq!(&out[end..], b"body");

    let mut out = Vec::new();
    encode_response_head(&mut out, 200, &[("Content-Type", "text/event-stream")], None, false);
    let response = parse_response(&out).unwrap();
    assert_eq!((response.content_length, response.keep_alive), (None, false));

    let mut out = Vec::new();
    encode_refusal(&mut out, &Refusal::new(431, "smaller"), &[]);
    let end = HeadScanner::new().find_end(&out, &limits()).unwrap().unwrap();
    let response = parse_response(&out[..end]).unwrap();
    assert_eq!((response.status, response.keep_alive), (431, false));
    assert_eq!(response.content_length, Some(8));

    let mut out = Vec::new();
    encode_continue(&mut out);
    let response = parse_response(&out).unwrap();
    assert_eq!((response.status, response.content_length), (100, Some(0)));
}

#[test]
fn foreign_responses() {
    let read = |head: &'static str| {
        parse_response(head.as_bytes()).map(|r| (r.content_length, r.is_chunked, r.keep_alive))
    };
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (Some(0), false, true)),
        ("HTTP/1.1 200\r\nContent-Length: 3, 3\r\n\r\n", (Some(3), false, true)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (None, true, true)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", (None, true, true)),
        ("HTTP/1.1 200 OK\r\n\r\n", (None, false, false)),
        ("HTTP/1.1 204 No Content\r\n\r\n", (Some(0), false, true)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", (Some(1), false, false)),
        (
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n",
            (Some(1), false, true),
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
            (Some(1), false, false),
        ),
    ] {
        assert_eq!(read(head), Ok(expected), "{head:?}");
    }
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\n\n",
        "",
    ] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
}
