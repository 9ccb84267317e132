//! Ports, closing, resets, bells and time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;

use crate::sim::{DriverOptions, Faults, RawPeer, Sim, SimDriver, SimOptions, Stuck};
use crate::{Accepting, Address, Completion, Driver, Errno, Shutdown, Slot};

const ADDRESS: &str = "10.0.0.1:80";

fn quiet() -> Sim {
    Sim::new(3, SimOptions::default())
}

fn listening(sim: &Sim, options: DriverOptions) -> SimDriver {
    let mut driver = sim.driver(options);
    driver.listen(sim.listener(ADDRESS.parse::<SocketAddr>().unwrap())).unwrap();
    driver.accept(Accepting::On);
    driver
}

/// Turns of `driver`, with all the time they need, until nothing more can happen.
fn drain(sim: &Sim, driver: &mut SimDriver) -> Vec<Completion> {
    let mut completions = Vec::new();
    loop {
        driver.turn(u64::MAX, &mut completions).unwrap();
        // Leases end with their turn.
        completions.retain(|done| !matches!(done, Completion::Received { .. }));
        if !sim.advance_to_next() {
            return completions;
        }
    }
}

fn accepted(sim: &Sim, driver: &mut SimDriver) -> (RawPeer, Slot) {
    let peer = sim.connect(ADDRESS.parse::<SocketAddr>().unwrap());
    match drain(sim, driver)[..] {
        [Completion::Accepted { slot, .. }] => (peer, slot),
        ref other => panic!("not one accepted client but {other:?}"),
    }
}

#[test]
fn nobody_listening_refuses() {
    let sim = quiet();
    let mut driver = sim.driver(DriverOptions::default());
    let slot = driver.connect(&ADDRESS.parse::<SocketAddr>().unwrap().into(), None).unwrap();
    let peer = sim.connect(ADDRESS.parse::<SocketAddr>().unwrap());
    let completions = drain(&sim, &mut driver);
    let refused = Err(Errno(libc::ECONNREFUSED));
    assert!(matches!(completions[..], [Completion::Connected { result, .. }] if result == refused));
    assert_eq!(peer.ending(), Some(refused));
    driver.close(slot);
    assert!(matches!(drain(&sim, &mut driver)[..], [Completion::Closed { .. }]));
}

#[test]
fn a_paused_listener_leaves_the_group_and_an_ended_one_answers_its_queue() {
    let sim = quiet();
    let (mut first, mut second) = (
        listening(&sim, DriverOptions { worker: 0, ..DriverOptions::default() }),
        listening(&sim, DriverOptions { worker: 1, ..DriverOptions::default() }),
    );
    first.accept(Accepting::Paused);
    let _peers: Vec<_> =
        (0..10).map(|_| sim.connect(ADDRESS.parse::<SocketAddr>().unwrap())).collect();
    sim.advance(1_000_000);
    first.accept(Accepting::Ended);
    second.accept(Accepting::Ended);
    assert!(matches!(drain(&sim, &mut first)[..], [Completion::AcceptEnded]));
    let completions = drain(&sim, &mut second);
    assert_eq!(completions.len(), 11);
    assert!(matches!(completions[10], Completion::AcceptEnded));
    let late = sim.connect(ADDRESS.parse::<SocketAddr>().unwrap());
    drain(&sim, &mut second);
    assert_eq!(late.ending(), Some(Err(Errno(libc::ECONNREFUSED))));
}

#[test]
fn a_full_table_drops_nobody() {
    let sim = quiet();
    let mut driver = listening(&sim, DriverOptions { slots_max: 2, ..DriverOptions::default() });
    let peers: Vec<_> =
        (0..5).map(|_| sim.connect(ADDRESS.parse::<SocketAddr>().unwrap())).collect();
    let mut open: Vec<Slot> = Vec::new();
    let mut served = 0;
    while served < 5 {
        for completion in drain(&sim, &mut driver) {
            if let Completion::Accepted { slot, .. } = completion {
                open.push(slot);
                served += 1;
            }
        }
        assert!(open.len() <= 2 && !open.is_empty());
        assert_eq!(peers.iter().filter(|peer| peer.is_ended()).count(), served - open.len());
        open.drain(..).for_each(|slot| driver.close(slot));
    }
    drain(&sim, &mut driver);
    assert!(peers.iter().all(|peer| peer.ending() == Some(Ok(()))));
}

#[test]
fn a_full_queue_makes_clients_wait_and_loses_none() {
    let sim = Sim::new(5, SimOptions { backlog: 2, ..SimOptions::default() });
    let mut driver = listening(&sim, DriverOptions::default());
    let peers: Vec<_> =
        (0..6).map(|_| sim.connect(ADDRESS.parse::<SocketAddr>().unwrap())).collect();
    sim.advance(10_000_000);
    sim.advance(10_000_000);
    assert_eq!(peers.iter().filter(|peer| peer.is_connected()).count(), 2);
    assert_eq!(drain(&sim, &mut driver).len(), 6);
    assert!(peers.iter().all(RawPeer::is_connected));
}

#[test]
fn closing_with_unread_bytes_resets_and_lingering_does_not() {
    let sim = quiet();
    let mut driver = listening(&sim, DriverOptions::default());
    let (rude, slot) = accepted(&sim, &mut driver);
    rude.send(b"unread");
    drain(&sim, &mut driver);
    driver.close(slot);
    drain(&sim, &mut driver);
    assert_eq!(rude.ending(), Some(Err(Errno(libc::ECONNRESET))));

    let (polite, slot) = accepted(&sim, &mut driver);
    driver.send(slot, Bytes::from_static(b"answer"));
    driver.shutdown(slot, Shutdown::Write);
    driver.receive(slot, true);
    polite.send(b"read and discarded");
    drain(&sim, &mut driver);
    polite.fin();
    drain(&sim, &mut driver);
    driver.close(slot);
    drain(&sim, &mut driver);
    assert_eq!((polite.take_received(), polite.ending()), (b"answer".to_vec(), Some(Ok(()))));
    assert_eq!(sim.slots_live(), 0);
}

#[test]
fn a_reset_peer_shows_when_receiving_and_when_sending() {
    let sim = quiet();
    let mut driver = listening(&sim, DriverOptions::default());
    let (peer, slot) = accepted(&sim, &mut driver);
    driver.receive(slot, true);
    peer.reset();
    let reset = Err(Errno(libc::ECONNRESET));
    let completions = drain(&sim, &mut driver);
    assert!(matches!(completions[..], [Completion::Ended { result, .. }] if result == reset));
    driver.send(slot, Bytes::from_static(b"late"));
    let broken = Err(Errno(libc::EPIPE));
    let completions = drain(&sim, &mut driver);
    assert!(matches!(completions[..], [Completion::Sent { result, .. }] if result == broken));
}

#[test]
fn shutting_both_ways_ends_receiving_and_breaks_a_pending_send() {
    let sim = quiet();
    let mut driver = listening(&sim, DriverOptions::default());
    let (peer, slot) = accepted(&sim, &mut driver);
    peer.stop_reading();
    driver.receive(slot, true);
    driver.send(slot, Bytes::from(vec![1; 1_000_000]));
    assert!(drain(&sim, &mut driver).is_empty());
    driver.shutdown(slot, Shutdown::Both);
    let completions = drain(&sim, &mut driver);
    let ended = |c: &Completion| matches!(c, Completion::Ended { result: Ok(()), .. });
    let broken = |c: &Completion| matches!(c, Completion::Sent { result: Err(_), .. });
    assert_eq!(completions.len(), 2);
    assert!(completions.iter().any(ended) && completions.iter().any(broken));
}

#[test]
fn a_bell_is_heard_by_the_worker_of_the_same_process_only() {
    let sim = quiet();
    let mut drivers: Vec<_> = [(0, 0), (0, 1), (1, 1)]
        .map(|(process, worker)| {
            sim.driver(DriverOptions { process, worker, ..Default::default() })
        })
        .into();
    drivers[0].wake(1);
    drivers[0].wake(1);
    let woken: Vec<_> = drivers.iter_mut().map(|driver| drain(&sim, driver).len()).collect();
    assert_eq!(woken, [0, 1, 0]);
    drivers[2].doorbell().ring();
    assert!(matches!(drain(&sim, &mut drivers[2])[..], [Completion::Woken]));
}

#[test]
fn time_jumps_to_a_deadline_when_everybody_waits() {
    let sim = quiet();
    let driver = RefCell::new(sim.driver(DriverOptions::default()));
    let deadline_ns = sim.now_ns() + 3_600_000_000_000;
    let mut worker = || {
        let mut completions = Vec::new();
        let mut driver = driver.borrow_mut();
        let wanted = if driver.now_ns() < deadline_ns { deadline_ns } else { u64::MAX };
        driver.turn(wanted, &mut completions).unwrap();
    };
    let steps = sim.run_until(|| sim.now_ns() >= deadline_ns, &mut [&mut worker], 100);
    assert!(steps < 10, "{steps} steps to let an hour pass");
    let stuck = sim.try_run_until(|| false, &mut [&mut worker], 1_000);
    assert_eq!(stuck, Err(Stuck::Still));
}

#[test]
fn after_healing_every_delay_ends_and_no_fault_follows() {
    let faults = Faults { spurious_wakes: 1.0, ..Faults::none() };
    let sim = Sim::new(1, SimOptions { faults, ..SimOptions::default() });
    let driver = RefCell::new(listening(&sim, DriverOptions::default()));
    let peer = sim.connect(ADDRESS.parse::<SocketAddr>().unwrap());
    let served = Cell::new(false);
    let mut worker = || {
        let mut completions = Vec::new();
        driver.borrow_mut().turn(u64::MAX, &mut completions).unwrap();
        served.set(served.get() || !completions.is_empty());
    };
    assert!(sim.try_run_until(|| served.get(), &mut [&mut worker], 500).is_err());
    sim.heal();
    sim.run_until(|| served.get() && peer.is_connected(), &mut [&mut worker], 100);
}

#[test]
fn a_driver_that_goes_away_ends_its_connections() {
    let sim = quiet();
    let mut driver = listening(&sim, DriverOptions::default());
    let (peer, _) = accepted(&sim, &mut driver);
    drop(driver);
    while sim.advance_to_next() {}
    assert_eq!(peer.ending(), Some(Ok(())));
}

#[test]
fn no_ring_between_workers_is_lost_however_late_it_is() {
    crate::sim::each_seed(20, |seed| {
        let options = SimOptions { faults: Faults::all(), ..SimOptions::default() };
        let sim = Sim::new(seed, options);
        let drivers = [0, 1].map(|worker| {
            RefCell::new(sim.driver(DriverOptions { worker, ..DriverOptions::default() }))
        });
        // Each worker passes the number on when it is rung, one higher.
        let number = Cell::new(0);
        let step = |me: usize| {
            let mut completions = Vec::new();
            let mut driver = drivers[me].borrow_mut();
            driver.turn(u64::MAX, &mut completions).unwrap();
            if !completions.is_empty() || number.get() == 0 {
                number.set(number.get() + 1);
                driver.wake(1 - me);
            }
        };
        let mut steps: [&mut dyn FnMut(); 2] = [&mut || step(0), &mut || step(1)];
        sim.run_until(|| number.get() >= 200, &mut steps, 20_000);
    });
}

#[test]
fn a_driver_has_several_listeners_and_ends_them_together() {
    for seed in 0..20 {
        let sim =
            Sim::new(seed, SimOptions { faults: Faults::lossless(), ..SimOptions::default() });
        let addresses = ["10.0.0.1:80", "10.0.0.1:81"]
            .map(|text| Address::from(text.parse::<SocketAddr>().unwrap()));
        let addresses = [&addresses[..], &[Address::from(PathBuf::from("/run/s"))]].concat();
        let options =
            DriverOptions { reports_peer: true, slots_max: 5, ..DriverOptions::default() };
        let mut driver = sim.driver(options);
        for address in &addresses {
            driver.listen(sim.listener(address.clone())).unwrap();
        }
        driver.accept(Accepting::On);
        let source: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let peers: Vec<_> =
            (0..9).map(|count| sim.connect_from(addresses[count % 3].clone(), source)).collect();
        let (mut came_to, mut open, ended) = ([0; 3], Vec::new(), Cell::new(false));
        let mut step = || {
            let mut completions = Vec::new();
            driver.turn(u64::MAX, &mut completions).unwrap();
            for completion in completions {
                match completion {
                    Completion::Accepted { slot, listener, peer } => {
                        assert!(!ended.get(), "accepted after the end");
                        assert_eq!(peer, (listener < 2).then_some(source));
                        came_to[usize::from(listener)] += 1;
                        open.push(slot);
                    }
                    Completion::AcceptEnded => assert!(!ended.replace(true), "ended twice"),
                    _ => {}
                }
            }
            if came_to.iter().sum::<u32>() >= 4 {
                driver.accept(Accepting::Ended);
            }
            for slot in open.drain(..) {
                driver.close(slot);
            }
        };
        let is_over = || ended.get() && peers.iter().all(RawPeer::is_ended);
        sim.run_until(is_over, &mut [&mut step], 100_000);
        // Nobody who was queued is forgotten; whoever comes later is turned away.
        let refused = peers.iter().filter(|peer| !peer.is_connected() && peer.is_ended()).count();
        assert_eq!(came_to.iter().sum::<u32>() as usize + refused, 9, "seed {seed}");
        assert!(came_to.iter().all(|count| *count <= 3), "seed {seed}: {came_to:?}");
        let late = sim.connect(addresses[1].clone());
        sim.run_until(|| late.is_ended(), &mut [], 100_000);
        assert!(!late.is_connected());
    }
}
