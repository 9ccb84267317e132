//! Waiting sends.

use std::io::Read;

use bytes::Bytes;
use ringwire_ring::{Features, Shutdown};

use crate::harness::{Engine, Options, Worker, pattern};

crate::on_both_engines!(
    sixteen_mebibytes_arrive_by_one_send,
    a_shutdown_waits_for_the_send,
    a_send_to_nobody_fails,
);

fn sixteen_mebibytes_arrive_by_one_send<E: Engine>(features: Features) {
    const LEN: usize = 16 << 20;
    let (mut worker, mut stream, slot) = Worker::<E>::with_client(Options::new(features));
    let sent = Bytes::from(pattern(1, LEN));
    worker.driver.send(slot, sent.clone());
    worker.driver.send_twice_panics(slot);
    let read = worker.serve("the reader", || {
        let mut read = vec![0; LEN];
        stream.read_exact(&mut read).unwrap();
        read
    });
    assert!(read == sent);
    worker.until("the send", |worker| worker.seen[&slot].sent == [Ok(())]);
    // An empty one is over as well.
    worker.driver.send(slot, Bytes::new());
    worker.until("the empty send", |worker| worker.seen[&slot].sent == [Ok(()), Ok(())]);
    // And the buffer is free: ours is the only reference.
    assert!(sent.is_unique());
}

trait SendTwice {
    fn send_twice_panics(&mut self, slot: ringwire_ring::Slot);
}

impl<E: Engine> SendTwice for E {
    fn send_twice_panics(&mut self, slot: ringwire_ring::Slot) {
        let twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.send(slot, Bytes::from_static(b"too early"));
        }));
        assert!(twice.is_err(), "a second send was taken");
    }
}

fn a_shutdown_waits_for_the_send<E: Engine>(features: Features) {
    const LEN: usize = 8 << 20;
    let (mut worker, mut stream, slot) = Worker::<E>::with_client(Options::new(features));
    let sent = Bytes::from(pattern(2, LEN));
    worker.driver.send(slot, sent.clone());
    worker.driver.shutdown(slot, Shutdown::Write);
    let mut read = Vec::new();
    worker.serve("the reader", || stream.read_to_end(&mut read).unwrap());
    assert!(read == sent);
    worker.until("the send", |worker| worker.seen[&slot].sent == [Ok(())]);
    std::io::Write::write_all(&mut stream, b"all here").unwrap();
    worker.until("the thanks", |worker| worker.received(slot) == b"all here");
    // A send after that is refused, not lost in silence.
    worker.driver.send(slot, Bytes::from_static(b"more"));
    worker.until("a refusal", |worker| worker.seen[&slot].sent.len() == 2);
    assert_eq!(worker.seen[&slot].sent[1].unwrap_err().0, 32);
}

fn a_send_to_nobody_fails<E: Engine>(features: Features) {
    let (mut worker, stream, slot) = Worker::<E>::with_client(Options::new(features));
    worker.driver.send(slot, Bytes::from(vec![7; 32 << 20]));
    worker.turn();
    drop(stream);
    worker.until("a failure", |worker| worker.seen[&slot].sent.len() == 1);
    let error = worker.seen[&slot].sent[0].unwrap_err();
    assert!([32, 104].contains(&error.0), "{error}");
    worker.close_and_wait(slot);
}
