//! Closing: what the peer sees, what is reported, and what the next tenant inherits (nothing).

use std::io::{Read, Write};

use bytes::Bytes;
use ringwire_ring::{Features, Shutdown};

use crate::harness::{Engine, Options, Worker, client, exchange, pattern, reads_end};

crate::on_both_engines!(
    the_peer_sees_the_end_and_the_next_tenant_is_another,
    closing_gives_up_whatever_is_under_way,
    what_was_sent_before_still_arrives,
    thousands_come_and_go,
    dropping_an_engine_ends_what_is_under_way,
);

fn the_peer_sees_the_end_and_the_next_tenant_is_another<E: Engine>(features: Features) {
    let options = Options { slots_max: 1, ..Options::new(features) };
    let (mut worker, address) = Worker::<E>::listening(options);
    let mut before = None;
    for round in 0..5 {
        let mut stream = client(address);
        worker.until("a client", |worker| worker.accepted.len() == round + 1);
        let slot = worker.accepted[round];
        if let Some(before) = before {
            let successor: ringwire_ring::Slot = before;
            assert_eq!(slot, successor.successor());
            // The old name does nothing to the new tenant.
            worker.driver.shutdown(before, Shutdown::Both);
            worker.driver.close(before);
            worker.driver.receive(before, false);
        }
        stream.write_all(b"hello").unwrap();
        worker.until("hello", |worker| worker.received(slot) == b"hello");
        worker.close_and_wait(slot);
        assert!(reads_end(&mut stream));
        before = Some(slot);
    }
}

fn closing_gives_up_whatever_is_under_way<E: Engine>(features: Features) {
    let (mut worker, address) = Worker::<E>::listening(Options::new(features));
    for round in 0..6_usize {
        let stream = client(address);
        worker.until("a client", |worker| worker.accepted.len() == round + 1);
        let slot = worker.accepted[round];
        let bytes = Bytes::from(vec![3; 32 << 20]);
        worker.driver.send(slot, bytes.clone());
        if round % 2 == 0 {
            worker.turn();
        }
        match round % 3 {
            0 => worker.driver.shutdown(slot, Shutdown::Write),
            1 => worker.driver.receive(slot, false),
            _ => worker.driver.shutdown(slot, Shutdown::Both),
        }
        worker.close_and_wait(slot);
        assert!(bytes.is_unique(), "the engine kept a buffer");
        drop(stream);
    }
}

fn what_was_sent_before_still_arrives<E: Engine>(features: Features) {
    let (mut worker, mut stream, slot) = Worker::<E>::with_client(Options::new(features));
    let sent = pattern(4, 100_000);
    worker.batch.arena()[..sent.len()].copy_from_slice(&sent);
    worker.batch.push(slot, sent.len());
    worker.send_batch();
    worker.close_and_wait(slot);
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert!(read == sent);
}

fn thousands_come_and_go<E: Engine>(features: Features) {
    const ROUNDS: usize = 300;
    let options = Options { slots_max: 16, ..Options::new(features) };
    let permits = std::sync::Arc::clone(&options.permits);
    let (mut worker, address) = Worker::<E>::listening(options);
    (worker.echoes, worker.closes) = (true, true);
    worker.serve("all of them", || {
        std::thread::scope(|scope| {
            for thread in 0..3_usize {
                scope.spawn(move || {
                    for round in 0..ROUNDS / 3 {
                        let mut stream = client(address);
                        exchange(&mut stream, &pattern((thread * 1000 + round) as u64, 40));
                        if round % 2 == 0 {
                            stream.shutdown(std::net::Shutdown::Write).unwrap();
                            assert!(reads_end(&mut stream));
                        }
                    }
                });
            }
        });
    });
    worker.until("all closed", |worker| worker.closed.len() == ROUNDS);
    assert_eq!(worker.accepted.len(), ROUNDS);
    drop(worker);
    assert_eq!(permits.available(), permits.connections_max());
}

fn dropping_an_engine_ends_what_is_under_way<E: Engine>(features: Features) {
    let options = Options::new(features);
    let (mut worker, address) = Worker::<E>::listening(options.clone());
    let mut streams: Vec<_> = (0..10).map(|_| client(address)).collect();
    worker.until("the clients", |worker| worker.accepted.len() == 10);
    let bytes = Bytes::from(vec![3; 16 << 20]);
    for slot in worker.accepted.clone() {
        worker.driver.send(slot, bytes.clone());
    }
    worker.turn();
    for stream in &mut streams {
        stream.write_all(b"on its way").unwrap();
    }
    worker.close(worker.accepted[0]);
    let (permits, bells) = (options.permits, options.bells);
    drop(worker);
    assert!(bytes.is_unique(), "the engine kept a buffer");
    assert_eq!(permits.available(), permits.connections_max());
    for stream in &mut streams {
        // Unread bytes make it a reset; either way it is over.
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read);
        assert!(read.len() < bytes.len());
    }
    // The bells outlive their engine, and another can be made for them.
    bells.bell(0).ring();
    let mut worker = Worker::<E>::new(Options { bells, permits, ..Options::new(features) });
    worker.until("the old ring", |worker| worker.woken == 1);
}
