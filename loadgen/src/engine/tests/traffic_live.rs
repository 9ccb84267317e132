//! How load arrives, over real sockets, on both engines: churn, pings, storms, slow readers,
//! connections that are not kept, source addresses.

use std::time::Duration;

use super::live::{ENGINES, measure, scenario};
use super::server::{Mischief, Server};
use crate::engine::run;
use crate::outcome::Ended;
use crate::scenario::{
    AddressRange, Mode, Rate, Scenario, SlowReaders, Sources, Traffic, Transport,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn churn_opens_and_closes_over_every_transport() {
    for engine in ENGINES {
        for transport in [Transport::Ws, Transport::Sse, Transport::LongPoll, Transport::Poll] {
            for (rate_per_s, count) in [(Rate::per_second(100), None), (None, Some(20))] {
                let server = Server::start(Mischief::None);
                let is_churn_echo = transport == Transport::Ws;
                let traffic = Traffic { is_churn_echo, count, ..Traffic::default() };
                // What a count ends is not to be ended by a slow machine.
                let duration = if count.is_some() { ms(60_000) } else { ms(300) };
                let scenario = Scenario {
                    rate_per_s,
                    traffic,
                    duration,
                    ..scenario(&server, engine, Mode::Churn, transport)
                };
                // Over WebSocket each says something and hears it.
                let mut scenario = scenario;
                if is_churn_echo {
                    scenario.target.path = "/echo".into();
                }
                let outcome = measure(&scenario);
                let what = format!("{engine:?} {transport} {:?}", outcome.errors);
                assert_eq!(outcome.ended, Ended::Completed, "{what}");
                assert!(outcome.errors.is_empty(), "{what}");
                assert!(outcome.messages_sent > 0, "{what}");
                assert_eq!(outcome.messages_received, outcome.messages_sent, "{what}");
                assert!(count.is_none_or(|count| outcome.messages_sent == count), "{what}");
                assert!(outcome.connect.len() > outcome.messages_sent, "{what}");
                assert_eq!(outcome.corrupted, 0, "{what}");
            }
        }
    }
}

#[test]
fn pings_of_idle_connections_are_measured() {
    for engine in ENGINES {
        let server = Server::start(Mischief::None);
        let rate_per_s = Rate::per_second(100);
        let scenario =
            Scenario { rate_per_s, ..scenario(&server, engine, Mode::Idle, Transport::Ws) };
        let outcome = measure(&scenario);
        assert!(outcome.errors.is_empty(), "{engine:?} {:?}", outcome.errors);
        assert!(outcome.messages_sent > 0);
        assert_eq!(outcome.messages_received, outcome.messages_sent);
        assert_eq!(outcome.intended.len(), outcome.messages_sent);
    }
}

#[test]
fn after_a_storm_everybody_is_back_and_polls_miss_nothing() {
    for engine in ENGINES {
        for transport in [Transport::Ws, Transport::Sse, Transport::LongPoll, Transport::Poll] {
            let server = Server::start(Mischief::None);
            let traffic = Traffic { storms: vec![ms(100)], ..Traffic::default() };
            let duration = ms(1_000);
            let scenario = Scenario {
                traffic,
                duration,
                ..scenario(&server, engine, Mode::Fanout, transport)
            };
            let outcome = measure(&scenario);
            let what = format!("{engine:?} {transport} {:?}", outcome.errors);
            let [storm] = &outcome.storms[..] else { panic!("{what}") };
            assert_eq!((storm.dropped, storm.reopened), (5, 5), "{what}");
            assert_eq!((storm.reopen.len(), outcome.connections_lost), (5, 0), "{what}");
            assert_eq!((outcome.duplicates, outcome.corrupted), (0, 0), "{what}");
            if transport != Transport::Ws {
                // They ask from where they were: by position, or by the last event's id.
                assert_eq!(outcome.gaps, 0, "{what}");
            }
            assert_eq!(
                outcome.messages_received + outcome.gaps,
                outcome.messages_expected,
                "{what}"
            );
        }
    }
}

#[test]
fn slow_readers_are_counted_apart() {
    for engine in ENGINES {
        for (transport, bytes_per_s) in [(Transport::Ws, 0), (Transport::Sse, 100)] {
            let server = Server::start(Mischief::None);
            let slow = Some(SlowReaders { share_ppm: 400_000, bytes_per_s });
            let traffic = Traffic { slow, ..Traffic::default() };
            let scenario =
                Scenario { traffic, ..scenario(&server, engine, Mode::Fanout, transport) };
            let outcome = measure(&scenario);
            let what = format!("{engine:?} {transport} {:?}", outcome.errors);
            assert_eq!((outcome.slow_open, outcome.slow_closed), (2, 0), "{what}");
            // Three of five are measured.
            assert_eq!(outcome.messages_expected, outcome.messages_sent * 3, "{what}");
            assert_eq!(outcome.messages_received, outcome.messages_expected, "{what}");
            assert!(outcome.errors.is_empty(), "{what}");
        }
    }
}

#[test]
fn polling_without_keep_alive_opens_a_connection_per_request() {
    for engine in ENGINES {
        for transport in [Transport::LongPoll, Transport::Poll] {
            let server = Server::start(Mischief::None);
            let traffic = Traffic { is_keep_alive: false, ..Traffic::default() };
            let scenario =
                Scenario { traffic, ..scenario(&server, engine, Mode::Fanout, transport) };
            let outcome = measure(&scenario);
            let what = format!("{engine:?} {transport} {:?}", outcome.errors);
            assert_eq!((outcome.gaps, outcome.duplicates), (0, 0), "{what}");
            assert_eq!((outcome.reconnects, outcome.connections_lost), (0, 0), "{what}");
            assert!(outcome.requests > 0, "{what}");
        }
    }
}

#[test]
fn connections_come_from_the_addresses_given() {
    for engine in ENGINES {
        let server = Server::start(Mischief::None);
        let first = [127, 0, 7, 1].into();
        let sources = Sources { ranges: vec![AddressRange { first, count: 3 }] };
        let traffic = Traffic { sources, ..Traffic::default() };
        let from = Scenario { traffic, ..scenario(&server, engine, Mode::Echo, Transport::Ws) };
        let outcome = measure(&from);
        assert!(outcome.errors.is_empty(), "{engine:?} {:?}", outcome.errors);
        let told: Vec<_> = server.peers().iter().map(|peer| peer.to_string()).collect();
        assert_eq!(told, ["127.0.7.1", "127.0.7.2", "127.0.7.3"]);
        // An address that is not ours is a matter of this machine.
        let first = [192, 0, 2, 1].into();
        let sources = Sources { ranges: vec![AddressRange { first, count: 1 }] };
        let traffic = Traffic { sources, ..Traffic::default() };
        let failure = run(&Scenario { traffic, ..from }, &(), &false.into()).unwrap_err();
        assert!(failure.line.contains("local.ports"), "{failure}");
    }
}
