//! What a browser is told: which pages may read an answer, and what it may ask before it asks.
//!
//! Not here: which origins are allowed (`protocol::http::origin`).

use ringwire_ring::sim::RawPeer;

use super::wire::{position_of, post, stream, upgrade};
use super::world::{Plan, World, is_whole};

const PAGE: &str = "https://app.example";

fn world(flags: &[&'static str]) -> World {
    let flags = [&["--allowed-origin", PAGE], flags].concat();
    World::new(&Plan { workers: 2, flags, ..Plan::new(1) })
}

/// The request with a line more, and its answer's head in small letters.
fn head_with(world: &World, request: &str, line: &str) -> String {
    let request = request.replacen("Host: h\r\n", &format!("Host: h\r\n{line}\r\n"), 1);
    let peer = world.connect();
    let answer = world.exchange(&peer, &request);
    peer.fin();
    let head = answer.split("\r\n\r\n").next().expect("a head");
    head.to_lowercase() + "\r\n"
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn an_allowed_page_may_read_every_answer_refusals_too() {
    let world = world(&[]);
    for (request, status) in [
        (get("/"), 200),
        (get("/channels/a"), 200),
        (get("/channels/a?since=0000000000000000:0&wait=5"), 200),
        (get("/channels/a?wait=1"), 200),
        (post("a", "text"), 200),
        (stream("a", ""), 200),
        ("HEAD /channels/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 200),
        ("OPTIONS /channels/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 200),
        (get("/nowhere"), 404),
        (get("/channels/a?wait=x"), 400),
        (get("/echo"), 426),
        ("DELETE /channels/a HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 405),
        ("POST /channels/a HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n".to_owned(), 413),
        ("POST /channels/a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n".to_owned(), 408),
        (upgrade("a", "").replace("Version: 13", "Version: 12"), 426),
        (upgrade("a", "").replace("/channels/a", "/nowhere"), 404),
    ] {
        let head = head_with(&world, &request, &format!("Origin: {PAGE}"));
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{request}: {head}");
        let allow = format!("\r\naccess-control-allow-origin: {PAGE}\r\n");
        assert_eq!(head.matches(&allow).count(), 1, "{request}: {head}");
        assert_eq!(head.matches("\r\nvary: origin\r\n").count(), 1, "{request}: {head}");
        assert!(!head.contains("credentials"), "{request}: {head}");
        // Nobody else is told anything of the kind.
        let head = head_with(&world, &request, "X: y");
        assert!(!head.contains("access-control"), "{request}: {head}");
    }
    world.pass(60);
    world.run_empty();
}

#[test]
fn a_page_that_waited_may_read_its_answer() {
    let world = world(&[]);
    let [page, script] = [format!("Origin: {PAGE}\r\n"), String::new()].map(|line| {
        let (peer, at) = (world.connect(), get("/channels/a"));
        let position = position_of(&world.exchange(&peer, &at));
        let target = format!("/channels/a?since={position}&wait=20");
        peer.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{line}\r\n").as_bytes());
        world.pass_ms(10);
        peer
    });
    let publisher = world.connect();
    world.exchange(&publisher, &post("a", "news"));
    world.run_until(|| is_whole(&page.received()) && is_whole(&script.received()));
    let told = format!("\r\nAccess-Control-Allow-Origin: {PAGE}\r\n");
    for (peer, count) in [(&page, 1), (&script, 0)] {
        let answer = String::from_utf8(peer.take_received()).expect("an answer in ASCII");
        assert!(answer.contains("\"data\":\"news\""), "{answer}");
        assert_eq!(answer.matches(&told).count(), count, "{answer}");
    }
    // The connection stays, and nothing of the page is remembered for the next request.
    let answer = world.exchange(&page, &get("/"));
    assert!(!answer.contains("Access-Control"), "{answer}");
    assert_eq!(world.held_bytes(), 0);
    [page, script, publisher].iter().for_each(RawPeer::fin);
    world.run_empty();
}

#[test]
fn the_page_of_one_request_is_not_the_page_of_the_next() {
    let world = world(&[]);
    let peer = world.connect();
    let from = |page: &str| format!("GET /channels/a HTTP/1.1\r\nHost: h\r\n{page}\r\n");
    let line = |page: &str| format!("Origin: {page}\r\n");
    for (request, told) in [
        (from(&line(PAGE)), Some(PAGE)),
        (from(""), None),
        (from(&line("http://h")), Some("http://h")),
        (from(&line(PAGE)), Some(PAGE)),
    ] {
        let answer = world.exchange(&peer, &request);
        let mut lines = answer.lines();
        let found = lines.find_map(|line| line.strip_prefix("Access-Control-Allow-Origin: "));
        assert_eq!(found, told, "{answer}");
    }
    assert_eq!(world.held_bytes(), 0);
    peer.fin();
    world.run_empty();
}

#[test]
fn a_page_elsewhere_is_told_nothing() {
    let world = world(&[]);
    for page in ["https://evil.example", "null", "https://app.example.evil.example"] {
        for request in [get("/"), post("a", "text"), stream("a", ""), upgrade("a", "")] {
            let head = head_with(&world, &request, &format!("Origin: {page}"));
            assert!(head.starts_with("http/1.1 403 "), "{head}");
            assert!(!head.contains("access-control"), "{head}");
        }
    }
    world.run_empty();
}

#[test]
fn a_browser_may_ask_before_it_asks() {
    let world = world(&[]);
    let ask = |path: &str, origin: &str| {
        let request = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
        );
        head_with(&world, &request, "X: y")
    };
    let head = ask("/channels/a", PAGE);
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    for line in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-methods: get, head, post, options",
        "access-control-allow-headers: last-event-id, content-type, authorization",
        "access-control-max-age: 7200",
        "vary: origin",
        "content-length: 0",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(ask("/echo", PAGE).contains("allow-methods: get, options\r\n"));
    assert!(ask("/", PAGE).contains("allow-methods: get, head, options\r\n"));
    assert!(ask("/channels/a", "https://evil.example").starts_with("http/1.1 403 "));
    assert!(ask("/nowhere", PAGE).starts_with("http/1.1 404 "));
    // Asking is not using: nothing was made.
    assert_eq!(world.metrics.iter().map(|metrics| metrics.channels.value()).sum::<u64>(), 0);
    world.pass(60);
    world.run_empty();
}

#[test]
fn every_page_may_where_every_page_is_allowed_but_is_named() {
    let flags = vec!["--allowed-origin", "*"];
    let world = World::new(&Plan { flags, ..Plan::new(1) });
    let head = head_with(&world, &get("/channels/a"), "Origin: http://any.example:81");
    assert!(head.contains("\r\naccess-control-allow-origin: http://any.example:81\r\n"), "{head}");
    let head = head_with(&world, &get("/channels/a"), "Origin: null");
    assert!(head.starts_with("http/1.1 403 "), "{head}");
}
