//! Mistakes of a worker that a real kernel punishes silently: here they panic, or do nothing.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::sim::{DriverOptions, Sim, SimDriver, SimOptions};
use crate::{Accepting, Batch, Completion, Driver, Shutdown, Slot};

/// A driver with one accepted connection whose peer does not read.
fn connected() -> (Sim, SimDriver, Slot) {
    let sim = Sim::new(0, SimOptions { socket_bytes: 10, ..SimOptions::default() });
    let mut driver = sim.driver(DriverOptions::default());
    let listener = sim.listener("10.0.0.1:80".parse::<SocketAddr>().unwrap());
    let peer = sim.connect(listener.address().clone());
    peer.stop_reading();
    driver.listen(listener).unwrap();
    driver.accept(Accepting::On);
    let mut completions = Vec::new();
    while completions.is_empty() {
        sim.advance(100_000);
        driver.turn(u64::MAX, &mut completions).unwrap();
    }
    let Completion::Accepted { slot, .. } = completions[0] else { panic!("not accepted") };
    // The first for the handshake, the second for the bytes.
    peer.send(b"hello");
    sim.advance(1_000_000);
    sim.advance(1_000_000);
    (sim, driver, slot)
}

fn batch_of(sends: &[Slot]) -> Batch {
    let mut batch = Batch::new();
    for &slot in sends {
        let shared = batch.share(Bytes::from_static(b"twenty bytes or so.."));
        batch.push_shared(slot, shared);
    }
    batch
}

#[test]
#[should_panic(expected = "two sends for")]
fn two_sends_for_one_slot_in_a_batch() {
    let (_sim, mut driver, slot) = connected();
    driver.batch(&mut batch_of(&[slot, slot]));
}

#[test]
#[should_panic(expected = "could overtake")]
fn a_batch_beside_a_pending_send() {
    let (_sim, mut driver, slot) = connected();
    driver.send(slot, Bytes::from(vec![0; 100]));
    driver.batch(&mut batch_of(&[slot]));
}

#[test]
#[should_panic(expected = "has a send pending already")]
fn a_send_while_one_is_pending() {
    let (_sim, mut driver, slot) = connected();
    driver.send(slot, Bytes::from(vec![0; 100]));
    driver.send(slot, Bytes::from(vec![0; 100]));
}

#[test]
#[should_panic(expected = "shut down for writing")]
fn a_send_after_fin() {
    let (_sim, mut driver, slot) = connected();
    driver.shutdown(slot, Shutdown::Write);
    driver.send(slot, Bytes::from_static(b"x"));
}

#[test]
#[should_panic(expected = "leases of the last turn")]
fn a_lease_kept_for_the_next_turn() {
    let (_sim, mut driver, slot) = connected();
    driver.receive(slot, true);
    let mut completions = Vec::new();
    driver.turn(u64::MAX, &mut completions).unwrap();
    assert!(matches!(completions[..], [Completion::Received { .. }]));
    driver.turn(u64::MAX, &mut completions).unwrap();
}

#[test]
fn a_full_socket_gives_back_what_it_did_not_take() {
    let (_sim, mut driver, slot) = connected();
    let mut batch = batch_of(&[slot]);
    driver.batch(&mut batch);
    let failures = batch.take_failures();
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (&failures[0].unsent[..], failures[0].error),
        (&b"twenty bytes or so.."[10..], None)
    );
}

#[test]
fn calls_for_a_slot_that_was_closed_do_nothing() {
    let (sim, mut driver, slot) = connected();
    driver.close(slot);
    for _ in 0..2 {
        driver.send(slot, Bytes::from_static(b"x"));
        driver.batch(&mut batch_of(&[slot]));
        driver.receive(slot, true);
        driver.shutdown(slot, Shutdown::Both);
        driver.close(slot);
        sim.advance(1_000_000);
        let mut completions = Vec::new();
        driver.turn(u64::MAX, &mut completions).unwrap();
        assert!(completions.iter().all(|done| matches!(done, Completion::Closed { .. })));
    }
    assert_eq!(driver.slots_live(), 0);
    let other = sim.connect("10.0.0.1:80".parse::<SocketAddr>().unwrap());
    let mut completions = Vec::new();
    while completions.is_empty() {
        sim.advance(1_000_000);
        driver.turn(u64::MAX, &mut completions).unwrap();
    }
    let Completion::Accepted { slot: next, .. } = completions[0] else { panic!("not accepted") };
    assert_eq!(next, slot.successor());
    // The old name does not reach the new tenant.
    driver.close(slot);
    driver.send(slot, Bytes::from_static(b"for the one before"));
    sim.advance(1_000_000);
    assert!(driver.turn(u64::MAX, &mut completions).is_ok());
    assert!(other.is_connected() && other.received().is_empty() && !other.is_ended());
}
