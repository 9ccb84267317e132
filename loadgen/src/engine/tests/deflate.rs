//! Runs whose WebSockets are compressed, over real sockets on both engines.

use std::time::Duration;

use ringwire_protocol::ws::DeflateTerms;

use super::live::{ENGINES, assert_whole, measure, scenario};
use super::server::{DEFLATE_TERMS, Mischief, Server};
use crate::scenario::{Compression, EngineChoice, Mode, Rate, Scenario, Transport};

const ON: Option<Compression> = Some(Compression { threshold_bytes: 64 });
const ANEW: DeflateTerms = DeflateTerms { window_bits_max: 9, context_takeover: false };

#[test]
fn compressed_echoes_and_deliveries_are_all_ours_and_shorter_on_the_wire() {
    for engine in ENGINES {
        for (terms, mode) in [
            (DEFLATE_TERMS, Mode::Echo),
            (ANEW, Mode::Echo),
            (DEFLATE_TERMS, Mode::Fanout),
            (ANEW, Mode::Fanout),
        ] {
            let server = Server::start(Mischief::Deflate(terms));
            let plain = scenario(&server, engine, mode, Transport::Ws);
            // Few: compressing is slow where nothing is optimised.
            let rate_per_s = Rate::per_second(100);
            let scenario = Scenario { compression: ON, size_bytes: 2_000, rate_per_s, ..plain };
            let outcome = measure(&scenario);
            let what = format!("{engine:?} {mode} {terms:?}");
            assert_whole(&outcome, &what);
            let told = outcome.compression.expect("it was offered");
            assert_eq!(told.connections, 5, "{what}");
            let agreed = told.agreed.expect("it was accepted");
            assert_eq!(agreed.server_window_bits, terms.window_bits_max, "{what}");
            assert_eq!(agreed.client_no_context_takeover, !terms.context_takeover, "{what}");
            let is_echo = mode == Mode::Echo;
            assert_eq!(told.messages_sent > 0, is_echo, "{what}");
            assert!(told.messages_received >= outcome.messages_received, "{what}");
            // 2,000 random digits of base 64 are 1,500 bytes, and the same again next time.
            let per_message = outcome.wire_bytes_received / outcome.deliveries_in_window;
            let most = if terms.context_takeover { 1_000 } else { 1_650 };
            assert!((10..most).contains(&per_message), "{what}: {per_message}");
        }
    }
}

#[test]
fn small_messages_go_as_they_are() {
    let server = Server::start(Mischief::Deflate(DEFLATE_TERMS));
    let plain = scenario(&server, EngineChoice::Auto, Mode::Echo, Transport::Ws);
    let outcome = measure(&Scenario { compression: ON, size_bytes: 63, ..plain });
    assert_whole(&outcome, "below the threshold");
    let told = outcome.compression.expect("it was offered");
    assert_eq!((told.connections, told.messages_sent, told.messages_received), (5, 0, 0));
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-9.1
//= type=test
//# Note that the client is only offering to use any advertised extensions and MUST NOT use them
//# unless the server indicates that it wishes to use the extension.
#[test]
fn a_server_that_declines_is_spoken_to_plainly() {
    let server = Server::start(Mischief::None);
    let plain = scenario(&server, EngineChoice::Auto, Mode::Echo, Transport::Ws);
    let outcome = measure(&Scenario { compression: ON, ..plain });
    assert_whole(&outcome, "declined");
    let told = outcome.compression.expect("it was offered");
    assert_eq!((told.connections, told.agreed, told.messages_sent), (0, None, 0));
}

#[test]
fn what_does_not_inflate_ends_its_connection_and_is_counted() {
    let server = Server::start(Mischief::DeflateDamaged);
    let plain = scenario(&server, EngineChoice::Auto, Mode::Echo, Transport::Ws);
    let scenario =
        Scenario { compression: ON, rate_per_s: None, duration: Duration::from_secs(20), ..plain };
    let outcome = measure(&scenario);
    let violations: u64 = outcome
        .errors
        .iter()
        .filter(|(code, _)| code.starts_with("ws.violation."))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(violations, 5, "{:?}", outcome.errors);
}
