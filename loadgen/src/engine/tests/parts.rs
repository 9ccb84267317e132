//! Runs that are divided over several engines, against one server.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::live::scenario;
use super::server::{Mischief, Server};
use crate::engine::run_part;
use crate::outcome::{Failure, Progress, Snapshot, Tick};
use crate::part::{Account, Meeting, Part, Ready, Start};
use crate::scenario::{
    AddressRange, EngineChoice, Mode, Rate, Scenario, Sources, Traffic, Transport,
};

/// Where the parts of one process meet.
#[derive(Debug)]
struct Table {
    seats: Mutex<Vec<Option<Ready>>>,
}

#[derive(Debug)]
struct Seat {
    table: Arc<Table>,
    index: usize,
    origin_ns: u64,
}

impl Meeting for Seat {
    fn ready(&self, ready: Ready) {
        self.table.seats.lock().unwrap()[self.index] = Some(ready);
    }

    fn start(&self) -> Option<Start> {
        let all: Option<Vec<Ready>> = self.table.seats.lock().unwrap().iter().cloned().collect();
        all.map(|all| Start::of(&all, self.index, self.origin_ns))
    }
}

/// All parts of `scenario`, each with the threads it says.
fn measure(scenario: &Scenario, threads: &[usize]) -> Vec<Result<Account, Failure>> {
    let table = Arc::new(Table { seats: Mutex::new(vec![None; threads.len()]) });
    let origin_ns = ringwire_ring::monotonic_ns() + 1_000_000_000;
    std::thread::scope(|scope| {
        let part = |(index, &threads): (usize, &usize)| {
            let (table, own) = (Arc::clone(&table), Scenario { threads, ..scenario.clone() });
            let of = u32::try_from(table.seats.lock().unwrap().len()).unwrap();
            let part = Part { index: u32::try_from(index).unwrap(), of, clock_slack_ns: 0 };
            let seat = Arc::new(Seat { table, index, origin_ns });
            scope.spawn(move || run_part(&own, part, seat, &(), &AtomicBool::new(false)))
        };
        let parts: Vec<_> = threads.iter().enumerate().map(part).collect();
        parts.into_iter().map(|part| part.join().unwrap()).collect()
    })
}

fn sum(accounts: &[Account], figure: impl Fn(&Account) -> u64) -> u64 {
    accounts.iter().map(figure).sum()
}

#[test]
fn parts_of_an_echo_send_the_one_schedule_and_hear_all_of_it() {
    let server = Server::start(Mischief::None);
    let scenario = Scenario {
        rate_per_s: Rate::new(401, 1_000_000_000),
        ..scenario(&server, EngineChoice::Epoll, Mode::Echo, Transport::Ws)
    };
    let accounts: Vec<_> =
        measure(&scenario, &[2, 1]).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(sum(&accounts, |account| account.outcome.connections_open.into()), 5);
    // Event 20 is the last before 50 ms, event 140 the last before 350 ms.
    assert_eq!(sum(&accounts, |account| account.outcome.offered_count), 120);
    assert!(accounts.iter().all(|account| account.outcome.offered_count > 0));
    for Account { outcome, .. } in &accounts {
        assert_eq!(outcome.messages_received, outcome.picked_up_count);
        assert_eq!((outcome.gaps, outcome.duplicates, outcome.impossible), (0, 0, 0));
        assert_eq!((outcome.corrupted, outcome.errors.len()), (0, 0), "{:?}", outcome.errors);
    }
}

#[test]
fn what_one_part_publishes_the_subscribers_of_all_receive() {
    let server = Server::start(Mischief::None);
    for (publishers, channels) in [(3, 1), (1, 2), (4, 3)] {
        let scenario = Scenario {
            publishers,
            channels,
            duration: Duration::from_millis(200),
            ..scenario(&server, EngineChoice::Epoll, Mode::Fanout, Transport::Ws)
        };
        let accounts: Vec<_> =
            measure(&scenario, &[1, 2, 1]).into_iter().collect::<Result<_, _>>().unwrap();
        let expected: u64 = (0..channels as usize)
            .map(|channel| {
                let subscribed = sum(&accounts, |account| account.subscribed[channel].into());
                sum(&accounts, |account| account.accepted[channel]) * subscribed
            })
            .sum();
        assert!(expected > 0);
        let received = sum(&accounts, |account| account.outcome.messages_received);
        assert_eq!(received, expected, "{publishers} publishers, {channels} channels");
        let accepted = sum(&accounts, |account| account.accepted.iter().sum());
        assert_eq!(sum(&accounts, |account| account.outcome.messages_sent), accepted);
        assert_eq!(sum(&accounts, |account| account.outcome.offered_count), 80);
        for Account { outcome, .. } in &accounts {
            let wrong = (outcome.duplicates, outcome.reordered, outcome.corrupted);
            assert_eq!((wrong, outcome.impossible), ((0, 0, 0), 0));
        }
    }
}

#[test]
fn a_part_that_nobody_let_in_says_why_and_leaves_it_to_the_others() {
    let server = Server::start(Mischief::NotFound);
    let scenario = scenario(&server, EngineChoice::Epoll, Mode::Echo, Transport::Ws);
    let table = Arc::new(Table { seats: Mutex::new(vec![None, None]) });
    let seat = Arc::new(Seat { table: Arc::clone(&table), index: 0, origin_ns: 0 });
    let part = Part { index: 0, of: 2, clock_slack_ns: 0 };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let account = scope.spawn(|| run_part(&scenario, part, seat, &(), &stop));
        while table.seats.lock().unwrap()[0].is_none() {
            std::thread::yield_now();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(account.join().unwrap().unwrap().outcome.connections_refused, 3);
    });
    let ready = table.seats.lock().unwrap()[0].clone().unwrap();
    assert_eq!(ready.subscribers.iter().sum::<u32>(), 0);
    let refusal = ready.refusal.unwrap();
    assert!(refusal.starts_with("no connection to 127.0.0.1:"), "{refusal}");
}

#[test]
fn parts_of_churn_share_the_schedule_and_the_count() {
    let server = Server::start(Mischief::None);
    for count in [None, Some(61)] {
        let traffic = Traffic { count, ..Traffic::default() };
        let rate_per_s = if count.is_some() { None } else { Rate::per_second(100) };
        let duration = Duration::from_millis(if count.is_some() { 60_000 } else { 300 });
        let base = scenario(&server, EngineChoice::Epoll, Mode::Churn, Transport::Ws);
        let mut scenario = Scenario { traffic, rate_per_s, duration, ..base };
        scenario.target.path = "/echo".into();
        let accounts: Vec<_> =
            measure(&scenario, &[2, 1]).into_iter().collect::<Result<_, _>>().unwrap();
        let sent = sum(&accounts, |account| account.outcome.messages_sent);
        assert_eq!(sent, count.unwrap_or(30));
        assert_eq!(sum(&accounts, |account| account.outcome.messages_received), sent);
        assert!(accounts.iter().all(|account| account.outcome.errors.is_empty()));
    }
}

#[test]
fn a_storm_drops_the_connections_of_all_parts() {
    let server = Server::start(Mischief::None);
    let traffic = Traffic { storms: vec![Duration::from_millis(100)], ..Traffic::default() };
    let base = scenario(&server, EngineChoice::Epoll, Mode::Fanout, Transport::LongPoll);
    let scenario = Scenario { traffic, duration: Duration::from_millis(1_000), ..base };
    let accounts: Vec<_> =
        measure(&scenario, &[1, 2]).into_iter().collect::<Result<_, _>>().unwrap();
    let storms = |figure: fn(&Account) -> u64| sum(&accounts, figure);
    assert_eq!(storms(|account| account.outcome.storms[0].dropped), 5);
    assert_eq!(storms(|account| account.outcome.storms[0].reopened), 5);
    // Polls ask from where they were, whichever part published.
    let accepted = sum(&accounts, |account| account.accepted[0]);
    assert_eq!(sum(&accounts, |account| account.outcome.messages_received), accepted * 5);
}

/// Keeps how many connections the last snapshot spoke of.
#[derive(Default)]
struct Seen(Mutex<Option<u32>>);

impl Progress for Seen {
    fn tick(&self, _: &Tick) {}

    fn is_live(&self) -> bool {
        true
    }

    fn snapshot(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap() = Some(snapshot.connections);
    }
}

#[test]
fn a_part_takes_all_addresses_in_turn_and_shows_its_own_connections() {
    let server = Server::start(Mischief::None);
    let first = [127, 0, 9, 1].into();
    let sources = Sources { ranges: vec![AddressRange { first, count: 2 }] };
    let traffic = Traffic { sources, ..Traffic::default() };
    let base = scenario(&server, EngineChoice::Epoll, Mode::Echo, Transport::Ws);
    let scenario = Scenario { traffic, connections: 6, ..base };
    let table = Arc::new(Table { seats: Mutex::new(vec![None]) });
    let origin_ns = ringwire_ring::monotonic_ns() + 500_000_000;
    let seat = Arc::new(Seat { table, index: 0, origin_ns });
    let (part, seen) = (Part { index: 1, of: 2, clock_slack_ns: 0 }, Seen::default());
    run_part(&scenario, part, seat, &seen, &AtomicBool::new(false)).unwrap();
    let told: Vec<_> = server.peers().iter().map(|peer| peer.to_string()).collect();
    assert_eq!(told, ["127.0.9.1", "127.0.9.2"]);
    assert_eq!(*seen.0.lock().unwrap(), Some(3));
}
