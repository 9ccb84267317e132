//! Batches: what went, what did not, and in which order it arrives.

use std::io::Read;
use std::net::TcpStream;

use bytes::Bytes;
use ringwire_ring::{Accepting, Batch, Features, ListenOptions, Slot, bind};

use crate::harness::{Engine, Options, Worker, client, pattern};

crate::on_both_engines!(
    a_stalled_reader_gets_every_byte_in_order,
    old_slots_and_busy_slots_are_told_apart,
    two_sends_of_one_slot_keep_their_order,
    many_full_sockets_at_once_are_all_reported,
    an_ended_direction_takes_nothing,
);

const FRAME: usize = 60_000;

/// Batches frames to `slot` until the socket takes no more; returns what was taken or is left over,
/// in order, and the rest that was not taken.
fn fill<E: Engine>(worker: &mut Worker<E>, slot: Slot) -> (Vec<u8>, Bytes) {
    let mut whole = Vec::new();
    for seed in 0.. {
        assert!(seed < 1000, "a socket without bounds");
        let frame = pattern(seed, FRAME);
        whole.extend_from_slice(&frame);
        worker.batch.arena()[..FRAME].copy_from_slice(&frame);
        worker.batch.push(slot, FRAME);
        worker.driver.batch(&mut worker.batch);
        let mut failures = worker.batch.take_failures();
        worker.batch.clear();
        if let Some(failure) = failures.pop() {
            assert!(failures.is_empty());
            assert_eq!((failure.slot, failure.error), (slot, None));
            assert!(frame.ends_with(&failure.unsent));
            return (whole, failure.unsent);
        }
    }
    unreachable!()
}

fn read_all(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn a_stalled_reader_gets_every_byte_in_order<E: Engine>(features: Features) {
    let (mut worker, mut stream, slot) = Worker::<E>::with_client(Options::new(features));
    let (mut whole, unsent) = fill(&mut worker, slot);
    worker.driver.send(slot, unsent);
    // Nothing overtakes the waiting send: a batch is given back untouched meanwhile.
    worker.turn();
    assert!(worker.seen[&slot].sent.is_empty(), "the reader stalls, so the send waits");
    let late = pattern(7, 100);
    worker.batch.arena()[..100].copy_from_slice(&late);
    worker.batch.push(slot, 100);
    worker.driver.batch(&mut worker.batch);
    let failures = worker.batch.take_failures();
    worker.batch.clear();
    assert_eq!(failures.len(), 1);
    assert_eq!((failures[0].error, &failures[0].unsent[..]), (None, &late[..]));
    let len = whole.len();
    let mut read = worker.serve("the reader", || read_all(&mut stream, len));
    worker.until("the send", |worker| worker.seen[&slot].sent == [Ok(())]);
    // And now the socket takes batches again.
    worker.batch.arena()[..100].copy_from_slice(&late);
    worker.batch.push(slot, 100);
    worker.send_batch();
    read.extend(read_all(&mut stream, 100));
    whole.extend_from_slice(&late);
    assert!(read == whole, "bytes lost or out of order");
}

fn old_slots_and_busy_slots_are_told_apart<E: Engine>(features: Features) {
    let (mut worker, _stream, slot) = Worker::<E>::with_client(Options::new(features));
    let never = Slot::new(200, 5);
    let outside = Slot::new(1 << 30, 0);
    let old = Slot::new(slot.number(), slot.generation() + 1);
    worker.close(slot);
    let mut batch = Batch::new();
    for slot in [never, outside, old, slot] {
        let frame = batch.share(Bytes::from_static(b"for nobody"));
        batch.push_shared(slot, frame);
        worker.driver.receive(slot, true);
        worker.driver.send(slot, Bytes::from_static(b"for nobody"));
        worker.driver.shutdown(slot, ringwire_ring::Shutdown::Both);
        worker.driver.close(slot);
    }
    worker.driver.batch(&mut batch);
    let failures = batch.take_failures();
    assert_eq!(failures.len(), 4);
    assert!(failures.iter().all(|failure| failure.error.is_some_and(|error| error.0 == 125)));
    worker.until("the close", |worker| worker.closed == [slot]);
    for _ in 0..3 {
        worker.turn();
    }
    assert_eq!(worker.closed, [slot]);
    assert!(worker.seen[&slot].sent.is_empty());
}

fn two_sends_of_one_slot_keep_their_order<E: Engine>(features: Features) {
    let (mut worker, mut one, slot_one) = Worker::<E>::with_client(Options::new(features));
    let (mut other_worker, mut two, slot_two) = Worker::<E>::with_client(Options::new(features));
    // Each frame of a batch goes to the one slot, with a shared frame in between.
    for (worker, stream, slot) in
        [(&mut worker, &mut one, slot_one), (&mut other_worker, &mut two, slot_two)]
    {
        let shared = pattern(3, 5000);
        let mut wanted = Vec::new();
        for seed in 0..20 {
            let frame = pattern(seed, 777);
            worker.batch.arena()[..777].copy_from_slice(&frame);
            worker.batch.push(slot, 777);
            let handle = worker.batch.share(Bytes::from(shared.clone()));
            worker.batch.push_shared(slot, handle);
            wanted.extend_from_slice(&frame);
            wanted.extend_from_slice(&shared);
        }
        let len = wanted.len();
        worker.send_batch();
        assert!(read_all(stream, len) == wanted);
        // The second of two sends to a full socket is given back whole, after the first.
        let (_, unsent) = fill(worker, slot);
        assert!(!unsent.is_empty());
        let frames = [1, 2].map(|byte| Bytes::from(vec![byte; 16 << 20]));
        for frame in &frames {
            let handle = worker.batch.share(frame.clone());
            worker.batch.push_shared(slot, handle);
        }
        worker.driver.batch(&mut worker.batch);
        let failures = worker.batch.take_failures();
        worker.batch.clear();
        assert_eq!(failures.len(), 2);
        assert!(frames[0].ends_with(&failures[0].unsent));
        assert!(frames[1] == failures[1].unsent, "the second overtook the first");
    }
}

fn many_full_sockets_at_once_are_all_reported<E: Engine>(features: Features) {
    const CLIENTS: usize = 60;
    // Send buffers of fixed size.
    let listen = ListenOptions { send_buffer_bytes: Some(16 * 1024), ..Default::default() };
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, mut listeners) = bind(any, 1, &listen).unwrap();
    let mut worker = Worker::<E>::new(Options::new(features));
    worker.driver.listen(listeners.remove(0)).unwrap();
    worker.driver.accept(Accepting::On);
    let mut streams: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
    worker.until("the clients", |worker| worker.accepted.len() == CLIENTS);
    let slots = worker.accepted.clone();
    let mut left = Vec::new();
    for slot in &slots {
        let (mut taken, unsent) = fill(&mut worker, *slot);
        taken.truncate(taken.len() - unsent.len());
        left.push(taken);
    }
    // More failures in one batch than a tiny completion queue holds, among other completions.
    for stream in &mut streams {
        std::io::Write::write_all(stream, b"news").unwrap();
    }
    let shared = Bytes::from(pattern(9, 200_000));
    let handle = worker.batch.share(shared.clone());
    for slot in &slots {
        worker.batch.push_shared(*slot, handle);
    }
    worker.driver.batch(&mut worker.batch);
    let failures = worker.batch.take_failures();
    worker.batch.clear();
    // A socket may have found a little room since, but not for so much.
    assert_eq!(failures.len(), CLIENTS);
    for (slot, wanted) in slots.iter().zip(&mut left) {
        wanted.extend_from_slice(&shared);
        if let Some(failure) = failures.iter().find(|failure| failure.slot == *slot) {
            assert_eq!(failure.error, None);
            assert!(shared.ends_with(&failure.unsent));
            worker.driver.send(*slot, failure.unsent.clone());
        }
    }
    worker.serve("the readers", || {
        for (stream, wanted) in streams.iter_mut().zip(&left) {
            assert!(read_all(stream, wanted.len()) == *wanted);
        }
    });
    worker.until("all news", |worker| {
        slots.iter().all(|slot| {
            let seen = &worker.seen[slot];
            seen.received == b"news" && seen.sent.iter().all(|sent| *sent == Ok(()))
        }) && slots.iter().map(|slot| worker.seen[slot].sent.len()).sum::<usize>() == failures.len()
    });
}

fn an_ended_direction_takes_nothing<E: Engine>(features: Features) {
    let (mut worker, mut stream, slot) = Worker::<E>::with_client(Options::new(features));
    worker.batch.arena()[..4].copy_from_slice(b"last");
    worker.batch.push(slot, 4);
    worker.send_batch();
    worker.driver.shutdown(slot, ringwire_ring::Shutdown::Write);
    worker.batch.push(slot, 4);
    worker.driver.batch(&mut worker.batch);
    let failures = worker.batch.take_failures();
    worker.batch.clear();
    assert_eq!(failures[0].error.map(|error| error.0), Some(32));
    let mut read = Vec::new();
    worker.serve("the end", || stream.read_to_end(&mut read).unwrap());
    assert_eq!(read, b"last");
    // The other direction goes on.
    std::io::Write::write_all(&mut stream, b"thanks").unwrap();
    worker.until("thanks", |worker| worker.received(slot) == b"thanks");
    worker.close_and_wait(slot);
}
