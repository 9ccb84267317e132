//! Runs over TLS, against rustls' own buffered connection before the test's server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::front::{Flaw, Front};
use super::live::{ENGINES, assert_whole, measure, scenario};
use super::server::{DEFLATE_TERMS, Mischief, Server};
use crate::engine::run;
use crate::outcome::Failure;
use crate::scenario::{Compression, EngineChoice, Mode, Scenario, Target, Transport};
use crate::secure::{Secure, Trust};

const TRANSPORTS: [Transport; 4] =
    [Transport::Ws, Transport::Sse, Transport::LongPoll, Transport::Poll];

/// TLS that trusts `front` alone, as an agent gets it: without the file.
fn secure(front: &Front, resumption: bool) -> Option<Secure> {
    let path = front.write_pem(std::env::temp_dir());
    let secure = Secure::new("127.0.0.1", &Trust::File(path.clone()), resumption);
    std::fs::remove_file(path).unwrap();
    let sent = serde_json::to_string(&secure.unwrap()).unwrap();
    Some(serde_json::from_str(&sent).unwrap())
}

/// `plain` by way of `address`.
fn over(address: SocketAddr, plain: Scenario, secure: Option<Secure>) -> Scenario {
    let target = Target { address: address.into(), host: address.to_string(), ..plain.target };
    Scenario { target, secure, ..plain }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If /secure/ is true, the client MUST perform a TLS handshake over the connection after
//# opening the connection and before sending the handshake data [RFC2818].
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# Otherwise, all further communication on this channel MUST run through the encrypted tunnel
//# [RFC5246].
#[test]
fn every_transport_and_its_publishers_work_over_tls() {
    for (engine, resumption) in ENGINES.into_iter().zip([true, false]) {
        for transport in TRANSPORTS {
            let server = Server::start(Mischief::None);
            let front = Front::start(server.address, Flaw::None);
            let plain = scenario(&server, engine, Mode::Fanout, transport);
            let outcome = measure(&over(front.address, plain, secure(&front, resumption)));
            let what = format!("{transport} {engine:?}");
            assert_whole(&outcome, &what);
            let tls = outcome.tls.expect("it was TLS");
            assert!(tls.time.len() >= 8, "five subscribers, three publishers: {what}");
            assert!(resumption || tls.resumed == 0, "{what}");
            // A record around each: what is counted is what was on the wire.
            assert!(outcome.setup_bytes_received > 5 * 500, "certificates: {what}");
        }
    }
}

#[test]
fn echoes_of_every_size_go_over_tls_compressed_or_not() {
    for engine in ENGINES {
        let server = Server::start(Mischief::Deflate(DEFLATE_TERMS));
        let front = Front::start(server.address, Flaw::None);
        let on = Some(Compression { threshold_bytes: 64 });
        let table = [(20, 1, None), (300, 16, None), (300, 4, on), (200_000, 2, None)];
        for (size_bytes, in_flight, compression) in table {
            let scenario = Scenario {
                rate_per_s: None,
                in_flight: Some(in_flight),
                size_bytes,
                compression,
                ..scenario(&server, engine, Mode::Echo, Transport::Ws)
            };
            let outcome = measure(&over(front.address, scenario, secure(&front, true)));
            assert_whole(&outcome, &format!("{engine:?} {size_bytes} {compression:?}"));
            let compressed = outcome.compression.map_or(0, |told| told.messages_sent);
            assert_eq!(compressed > 0, compression.is_some());
        }
        assert_eq!(server.closes(), 4 * 5, "every WebSocket is closed by Close");
    }
}

#[test]
fn connections_opened_again_take_up_their_sessions_unless_told_otherwise() {
    for resumption in [true, false] {
        let server = Server::start(Mischief::NoKeepAlive);
        let front = Front::start(server.address, Flaw::None);
        let plain = scenario(&server, EngineChoice::Auto, Mode::Fanout, Transport::Poll);
        let outcome = measure(&over(front.address, plain, secure(&front, resumption)));
        assert!(outcome.reconnects > 10);
        assert_eq!(outcome.corrupted, 0);
        let tls = outcome.tls.expect("it was TLS");
        assert!(tls.time.len() > 10);
        assert_eq!(tls.resumed > 0, resumption, "{} of {}", tls.resumed, tls.time.len());
    }
}

fn refused(address: SocketAddr, server: &Server, trust: &Trust) -> Failure {
    let secure = Secure::new("127.0.0.1", trust, true).unwrap();
    let plain = scenario(server, EngineChoice::Auto, Mode::Echo, Transport::Ws);
    let scenario = over(address, plain, Some(secure));
    run(&scenario, &(), &AtomicBool::new(false)).unwrap_err()
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# If this fails (e.g., the server's certificate could not be verified), then the client MUST
//# _Fail the WebSocket Connection_ and abort the connection.
#[test]
fn a_server_that_cannot_be_trusted_is_refused_with_the_reason_and_the_cure() {
    let server = Server::start(Mischief::None);
    let good = Front::start(server.address, Flaw::None);
    let named = Front::start(server.address, Flaw::OtherName);
    let old = Front::start(server.address, Flaw::Expired);
    let [named_pem, old_pem] = [&named, &old].map(|f| f.write_pem(std::env::temp_dir()));
    let table = [
        (&good, &named_pem, "tls.certificate_unknown", "--cacert"),
        (&named, &named_pem, "tls.name_mismatch", "use that name"),
        (&old, &old_pem, "tls.expired", "clock"),
    ];
    for (front, pem, code, cure) in table {
        let failure = refused(front.address, &server, &Trust::File(pem.clone()));
        assert_eq!(failure.code, 107);
        assert!(failure.line.contains(code) && failure.line.contains(cure), "{failure}");
        let plain = scenario(&server, EngineChoice::Auto, Mode::Echo, Transport::Ws);
        let anyone = Secure::new("127.0.0.1", &Trust::Anyone, true).unwrap();
        assert_whole(&measure(&over(front.address, plain, Some(anyone))), code);
    }
    for pem in [named_pem, old_pem] {
        std::fs::remove_file(pem).unwrap();
    }
}

#[test]
fn what_is_no_tls_server_is_told_apart_from_a_bad_one() {
    let server = Server::start(Mischief::None);
    let plain_http = "HTTP/1.1 400 Bad Request\r\n\r\n";
    for (says, code) in [("", "tls.ended"), (plain_http, "tls.handshake")] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().unwrap();
        let speaker = std::thread::spawn(move || {
            for mut stream in listener.incoming().take(5).flatten() {
                let hello = stream.read(&mut [0; 4096]).unwrap();
                assert!(hello > 0);
                stream.write_all(says.as_bytes()).unwrap();
            }
        });
        let failure = refused(address, &server, &Trust::Anyone);
        speaker.join().unwrap();
        assert_eq!(failure.code, 107);
        assert!(failure.line.contains(code), "{failure}");
        assert!(failure.line.contains("ws:// or http://"), "{failure}");
    }
}

#[test]
fn files_that_hold_no_certificate_are_refused_before_anything_is_opened() {
    let missing = PathBuf::from("/nowhere/at.pem");
    let failure = Secure::new("h", &Trust::File(missing), true).unwrap_err();
    assert_eq!(failure.code, 104);
    let failure = Secure::new("h", &Trust::File(PathBuf::from("/dev/null")), true).unwrap_err();
    assert!(failure.line.contains("no certificate in it"), "{failure}");
    assert!(Secure::new("a b", &Trust::Anyone, true).is_err());
    assert!(Secure::new("::1", &Trust::Anyone, true).is_ok());
    let named = r#"{"host": "h", "trust": {"File": "/etc/passwd"}, "resumption": true}"#;
    let refusal = serde_json::from_str::<Secure>(named).unwrap_err().to_string();
    assert!(refusal.contains("is a file of another machine"), "{refusal}");
    let empty = r#"{"host": "h", "trust": {"Pem": "none"}, "resumption": true}"#;
    assert!(serde_json::from_str::<Secure>(empty).is_err());
}
