//! What a connection that is open and quiet holds of this program's memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringwire_ring::counting::thread_bytes_live;
use ringwire_ring::epoll::Epoll;
use ringwire_ring::{Bells, EngineOptions, Permits};

use super::live::scenario;
use super::server::{Mischief, Server};
use crate::engine::client::Client;
use crate::engine::control::Control;
use crate::engine::plan::Plan;
use crate::engine::{Crew, Engine, SLOTS_SPARE};
use crate::scenario::{EngineChoice, Mode, Scenario, Transport};

/// Bytes of one thread with `connections` open, driver and all.
fn bytes_with(connections: u32, transport: Transport) -> u64 {
    let server = Server::start(Mischief::None);
    let base = scenario(&server, EngineChoice::Epoll, Mode::Idle, transport);
    // One after the other, as what a turn needs for many at once is no connection's.
    let connect_rate_per_s = Some(2_000);
    let mut scenario =
        Scenario { threads: 1, rate_per_s: None, connections, connect_rate_per_s, ..base };
    if transport == Transport::Ws {
        scenario.target.path = "/echo".into();
    }
    let before = thread_bytes_live();
    let plan = Arc::new(Plan::new(&scenario));
    let control = Arc::new(Control::new(1, 1, None));
    let bells = Arc::new(Bells::new(2).unwrap());
    let (crew_plan, crew_control) = (Arc::clone(&plan), Arc::clone(&control));
    let crew = Crew { engine: Engine::Epoll, bells, plan: crew_plan, control: crew_control };
    let permits = Arc::new(Permits::new(connections));
    let slots_max = connections + SLOTS_SPARE;
    let options = EngineOptions { permits, slots_max, ..crew.options(0) };
    let mut client = Client::new(Epoll::new(options).unwrap(), plan, Arc::clone(&control), 0);
    while !control.reports[0].is_settled.load(Ordering::Acquire) {
        assert!(!client.turn().unwrap());
    }
    assert_eq!(control.reports[0].subscribers.load(Ordering::Acquire), connections);
    thread_bytes_live() - before
}

#[test]
fn an_idle_connection_holds_few_bytes() {
    for (transport, bytes_max) in
        // An event stream has a parser with its buffers.
        [(Transport::Ws, 256), (Transport::Sse, 440), (Transport::LongPoll, 272)]
    {
        // Powers of two, as tables grow in these.
        // The least of three, as a machine that stalls makes many of them arrive at once.
        let least = |count| (0..3).map(|_| bytes_with(count, transport)).min().unwrap();
        let (few, many) = (least(128), least(512));
        let each = (many - few).div_ceil(512 - 128);
        assert!(each <= bytes_max, "{transport}: {each} bytes");
    }
}
