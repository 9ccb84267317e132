//! A message in and out allocates nothing, and a slot costs a few bytes.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is a test"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use ringwire_ring::counting::{CountingAllocator, thread_allocations};
use ringwire_ring::epoll::{self, Epoll};
use ringwire_ring::uring::{self, Uring};
use ringwire_ring::{
    Accepting, Batch, Bells, Completion, Driver, EngineOptions, Features, ListenOptions, Listener,
    Permits, Role, bind, probe,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn options(features: Features) -> EngineOptions {
    EngineOptions {
        worker: 0,
        bells: Arc::new(Bells::new(1).unwrap()),
        slots_max: 1000,
        permits: Arc::new(Permits::new(1000)),
        receive_buffers: None,
        features,
        role: Role::Accepts,
        peers: false,
    }
}

/// One turn of an echo; says how many pieces were answered.
fn turn<D: Driver>(driver: &mut D, batch: &mut Batch, completions: &mut Vec<Completion>) -> usize {
    let deadline_ns = driver.clock_ns() + 10_000_000;
    driver.turn(deadline_ns, completions).unwrap();
    let mut answered = 0;
    for completion in completions.drain(..) {
        match completion {
            Completion::Accepted { slot, .. } => driver.receive(slot, true),
            Completion::Received { slot, lease } => {
                batch.arena()[..lease.len()].copy_from_slice(&lease);
                batch.push(slot, lease.len());
                answered += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    driver.batch(batch);
    let failures = batch.take_failures();
    assert!(failures.is_empty());
    batch.reuse_failures(failures);
    batch.clear();
    answered
}

fn echoes_without_allocating(mut driver: impl Driver<Listener = Listener>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, mut listeners) = bind(any, 1, &ListenOptions::default()).unwrap();
    driver.listen(listeners.remove(0)).unwrap();
    driver.accept(Accepting::On);
    let mut clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let (mut batch, mut completions) = (Batch::new(), Vec::with_capacity(100));
    let mut rounds = |count: usize| {
        for _ in 0..count {
            for client in &mut clients {
                client.write_all(b"twenty bytes of text").unwrap();
            }
            let mut answered = 0;
            while answered < 20 {
                answered += turn(&mut driver, &mut batch, &mut completions);
            }
            for client in &mut clients {
                client.read_exact(&mut [0; 20]).unwrap();
            }
        }
    };
    rounds(50);
    let before = thread_allocations();
    assert!(before > 0, "nothing is counted");
    rounds(500);
    assert_eq!(thread_allocations() - before, 0, "allocations in 10,000 messages");
}

#[test]
fn uring_echoes_without_allocating() {
    let features = probe().unwrap();
    echoes_without_allocating(Uring::new(options(features)).unwrap());
    echoes_without_allocating(Uring::new(options(Features::default())).unwrap());
}

#[test]
fn epoll_echoes_without_allocating() {
    echoes_without_allocating(Epoll::new(options(Features::default())).unwrap());
}

#[test]
fn a_slot_costs_a_few_bytes() {
    assert_eq!(uring::SLOT_BYTES, 16);
    assert_eq!(epoll::SLOT_BYTES, 20);
}
