//! TLS on the running kernel: what is served, to whom, with which certificate, and what a peer can
//! cost that never finishes.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use ringwire_protocol::ws::{Opcode, encode_frame};

use crate::client::{Client, get, post};
use crate::harness::{Engine, LIMIT, eventually};
use crate::peers::{WebSocket, frame, upgrade};
use crate::process::{Process, refusal, ringwire};
use crate::secure_client::{Folder, Pair, SecureClient, speaking, trusting};

on_both_engines!(
    everything_is_served_over_tls,
    the_name_chooses_the_certificate,
    sessions_are_resumed_and_other_protocols_refused,
    certificates_are_replaced_while_serving,
    what_is_not_tls_is_told_and_ended,
    handshakes_that_never_end_cost_little_and_end,
);

/// A server with TLS beside its plain address.
fn start(engine: Engine, pairs: &[&Pair], given: &[&str]) -> Process {
    let mut flags = vec!["--tls-listen", "127.0.0.1:0"];
    flags.extend(pairs.iter().flat_map(|pair| pair.flags()));
    flags.extend_from_slice(given);
    Process::start(engine, 2, &flags)
}

/// Where it speaks TLS.
fn secure_address(process: &Process) -> SocketAddr {
    process.listening[1].strip_suffix(" (tls)").unwrap().parse().unwrap()
}

fn sent(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, opcode, payload, None);
    out
}

fn everything_is_served_over_tls(engine: Engine) {
    let folder = Folder::new(&format!("served-{}", engine.name()));
    let pair = folder.pair("pair", "localhost");
    let process = start(engine, &[&pair], &[]);
    let address = secure_address(&process);
    let config = Arc::new(trusting(&[&pair]));
    let connect = || SecureClient::connect(address, "localhost", &config);

    let mut client = connect();
    for _ in 0..3 {
        let (head, body) = client.ask(get("/", ""));
        assert!(head.starts_with("HTTP/1.1 200 ") && body.starts_with(b"ringwire "), "{head}");
    }
    let mut echo = connect();
    echo.send(upgrade("/echo", &[]));
    assert!(echo.head().starts_with("HTTP/1.1 101 "));
    for len in [0, 1, 125, 126, 16_384, 65_536] {
        let payload = vec![b'x'; len];
        echo.send(frame(Opcode::Text, &payload));
        let expected = sent(Opcode::Text, &payload);
        assert!(echo.take(expected.len()) == expected, "{len} bytes");
    }
    // The same publication for both kinds of subscriber.
    let mut plain = WebSocket::open(process.address, "/channels/a");
    let mut sealed: Vec<_> = (0..10).map(|_| connect()).collect();
    for subscriber in &mut sealed {
        subscriber.send(upgrade("/channels/a", &[]));
        assert!(subscriber.head().starts_with("HTTP/1.1 101 "));
    }
    for number in 0..20 {
        let news = format!("{number} {}", "x".repeat(1000));
        assert!(client.ask(post("a", "", news.as_bytes())).0.starts_with("HTTP/1.1 200 "));
        assert_eq!(plain.hear_text(), news);
        let expected = sent(Opcode::Text, news.as_bytes());
        for subscriber in &mut sealed {
            assert!(subscriber.take(expected.len()) == expected);
        }
    }
    let (_, polled) = client.ask(get("/channels/a?since=0", ""));
    assert!(!polled.is_empty());
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(client.rest().starts_with(b"HTTP/1.1 200 "), "and the end is announced");
    process.await_metric("ringwire_tls_handshakes_total", &[], 12);
    drop((echo, sealed, plain, client));
    process.await_metric("ringwire_connections", &[], 0);
    process.await_metric("ringwire_held_bytes", &[], 0);
}

fn the_name_chooses_the_certificate(engine: Engine) {
    let folder = Folder::new(&format!("names-{}", engine.name()));
    let [one, two] = ["one", "two"].map(|name| folder.pair(name, &format!("{name}.example")));
    let process = start(engine, &[&one, &two], &[]);
    let address = secure_address(&process);
    let config = Arc::new(trusting(&[&one, &two]));
    for pair in [("one.example", &one), ("two.example", &two)] {
        let client = SecureClient::connect(address, pair.0, &config);
        assert_eq!(client.certificate(), pair.1.der(), "{}", pair.0);
    }
    // Another name gets the first, which its client does not believe.
    let other = SecureClient::try_connect(address, "three.example", &config);
    assert!(other.is_err_and(|error| error.to_string().contains("not valid for name")));
    let failures = "ringwire_tls_handshake_failures_total";
    process.await_metric(failures, &["reason=\"peer_alert\""], 1);
}

fn sessions_are_resumed_and_other_protocols_refused(engine: Engine) {
    let folder = Folder::new(&format!("resumed-{}", engine.name()));
    let pair = folder.pair("pair", "localhost");
    let process = start(engine, &[&pair], &[]);
    let address = secure_address(&process);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut config = speaking(&[&pair], &[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        for is_again in [false, true, true] {
            let mut client = SecureClient::connect(address, "localhost", &config);
            assert_eq!(client.is_resumed(), is_again, "{version:?}");
            // Tickets come with the first answer.
            assert!(client.ask(get("/", "")).0.starts_with("HTTP/1.1 200 "));
        }
        let mut config = speaking(&[&pair], &[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let refused = SecureClient::try_connect(address, "localhost", &Arc::new(config));
        assert!(refused.is_err_and(|error| error.to_string().contains("NoApplicationProtocol")));
    }
    process.await_metric("ringwire_tls_handshakes_total", &["kind=\"full\""], 2);
    process.await_metric("ringwire_tls_handshakes_total", &["kind=\"resumed\""], 4);
    let failures = "ringwire_tls_handshake_failures_total";
    process.await_metric(failures, &["reason=\"application_protocol\""], 2);
}

fn certificates_are_replaced_while_serving(engine: Engine) {
    let folder = Folder::new(&format!("replaced-{}", engine.name()));
    let pair = folder.pair("pair", "localhost");
    let mut process = start(engine, &[&pair], &[]);
    let address = secure_address(&process);
    // Who trusts nothing but the certificate in the files at that moment.
    let connect = || SecureClient::connect(address, "localhost", &Arc::new(trusting(&[&pair])));
    let reloads = |process: &Process, outcome: &str| {
        process.metric("ringwire_tls_certificate_reloads_total", &[outcome])
    };
    let [replaced, refused] = ["outcome=\"replaced\"", "outcome=\"refused\""];
    let mut first = connect();
    assert!(first.ask(get("/", "")).0.starts_with("HTTP/1.1 200 "));
    let not_after = process.metric("ringwire_tls_certificate_not_after_seconds", &[]);
    assert_eq!(not_after, 67_090_118_400, "rcgen's default");

    // Seen by itself.
    let before = Arc::new(trusting(&[&pair]));
    folder.pair("next", "localhost").replace(&pair);
    eventually(|| reloads(&process, replaced) == 1, || format!("{:?}", reloads(&process, refused)));
    assert_eq!(connect().certificate(), pair.der());
    assert!(SecureClient::try_connect(address, "localhost", &before).is_err());

    // A bad one is refused and said, whether it is seen or asked for, and the one before stays.
    let good = (fs::read(&pair.certificate).unwrap(), Arc::new(trusting(&[&pair])));
    let told = reloads(&process, refused);
    fs::copy(&folder.pair("other", "localhost").certificate, &pair.certificate).unwrap();
    eventually(|| reloads(&process, refused) > told, || "it was not looked at".to_owned());
    process.await_line("the pair before stays in use");
    process.signal("HUP");
    eventually(|| reloads(&process, refused) > told + 1, || "SIGHUP did nothing".to_owned());
    drop(SecureClient::connect(address, "localhost", &good.1));

    // Asked for: what the files hold is taken, and whoever was there is still served.
    fs::write(&pair.certificate, &good.0).unwrap();
    let taken = reloads(&process, replaced);
    process.signal("HUP");
    eventually(|| reloads(&process, replaced) > taken, || "SIGHUP did nothing".to_owned());
    assert_eq!(connect().certificate(), pair.der());
    assert!(first.ask(get("/", "")).0.starts_with("HTTP/1.1 200 "));
    process.signal("TERM");
    drop(first);
    assert_eq!(process.exit().code(), Some(0));
}

fn what_is_not_tls_is_told_and_ended(engine: Engine) {
    let folder = Folder::new(&format!("plain-{}", engine.name()));
    let pair = folder.pair("pair", "localhost");
    let process = start(engine, &[&pair], &[]);
    let mut client = Client::connect(secure_address(&process));
    client.send(get("/", ""));
    let alert = client.rest();
    assert_eq!((alert.len(), alert[0]), (7, 21), "{alert:?}");
    let labels = ["reason=\"not_tls\""];
    process.await_metric("ringwire_tls_handshake_failures_total", &labels, 1);
    // The other way round the request cannot be read.
    let mut plain = Client::connect(process.address);
    plain.send([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 13, 10, 13, 10]);
    assert!(plain.rest().starts_with(b"HTTP/1.1 400 "));
}

/// Handshakes that were begun and are never ended, some with as much as is taken of a message.
fn handshakes_that_never_end_cost_little_and_end(engine: Engine) {
    const STUCK: usize = 200;
    let folder = Folder::new(&format!("stuck-{}", engine.name()));
    let pair = folder.pair("pair", "localhost");
    let process = start(engine, &[&pair], &["--tls-handshake-timeout", "3s"]);
    let address = secure_address(&process);
    let before = process.resident_bytes();
    let mut stuck = Vec::new();
    for number in 0..STUCK {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        // A handshake message of 64 KiB, in records of one byte or of 1 KiB: the first is more
        // than is kept, and cut off.
        socket.write_all(&[22, 3, 1, 0, 4, 1, 0, 0xff, 0xff]).unwrap();
        let record = if number % 2 == 0 { vec![22, 3, 1, 0, 1, 0] } else { kibibyte() };
        for _ in 0..60_000 / record.len() {
            // Whoever was cut off already need not be told more.
            if socket.write_all(&record).is_err() {
                break;
            }
        }
        stuck.push(socket);
    }
    process.await_metric("ringwire_connections_accepted_total", &[], STUCK as u64);
    let grown = process.resident_bytes().saturating_sub(before);
    // 64 KiB each in a buffer that grew by doubling, as much again for the smaller ones that it
    // grew out of, and the workers' own buffers.
    let most = STUCK as u64 * 3 * 64 * 1024 + (16 << 20);
    assert!(grown < most, "{grown} bytes more for {STUCK} handshakes, {most} allowed");
    // Meanwhile others are served, and in the end all are gone.
    let config = Arc::new(trusting(&[&pair]));
    let mut client = SecureClient::connect(address, "localhost", &config);
    assert!(client.ask(get("/", "")).0.starts_with("HTTP/1.1 200 "));
    for socket in &mut stuck {
        // A reset is an end too: something was on its way.
        drop(socket.read_to_end(&mut Vec::new()));
    }
    drop(client);
    process.await_metric("ringwire_connections", &[], 0);
    process.await_metric("ringwire_held_bytes", &[], 0);
}

/// A record of the handshake with a kibibyte of a message.
fn kibibyte() -> Vec<u8> {
    let mut record = vec![22, 3, 1, 4, 0];
    record.extend([0; 1024]);
    record
}

#[test]
fn certificates_that_cannot_be_used_stop_the_start() {
    let folder = Folder::new("unusable");
    let (one, other) = (folder.pair("one", "a"), folder.pair("other", "a"));
    let line = |certificate: &str, key: &str| {
        let flags = ["--tls-listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key];
        refusal(&mut ringwire(&flags.map(str::to_owned)))
    };
    assert!(line(&one.certificate, &other.key).contains("it is not the key of"));
    assert!(line(&one.key, &one.key).contains("no CERTIFICATE in it"));
    assert!(line(&one.certificate, "/nowhere/a.key").contains("cannot be read"));
    let flags = ["--tls-listen", "127.0.0.1:0"].map(str::to_owned);
    assert!(refusal(&mut ringwire(&flags)).contains("has no certificate"));
}
