//! Bells between workers and from other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ringwire_ring::{Bells, Features};

use crate::harness::{Engine, Options, Worker};

crate::on_both_engines!(
    workers_wake_each_other,
    any_thread_can_ring_and_no_ring_is_lost,
    a_turn_ends_at_its_deadline,
);

/// Two workers on two threads hand a counter to each other by bells alone.
fn workers_wake_each_other<E: Engine>(features: Features) {
    const ROUNDS: u32 = 200;
    let bells = Arc::new(Bells::new(2).unwrap());
    let turn_of = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for number in 0..2_u32 {
            let (bells, turn_of) = (Arc::clone(&bells), &turn_of);
            scope.spawn(move || {
                let options = Options { bells, worker: number as usize, ..Options::new(features) };
                let mut worker = Worker::<E>::new(options);
                worker.until("the counter", |worker| {
                    let now = turn_of.load(Ordering::SeqCst);
                    if now % 2 == number && now < ROUNDS {
                        turn_of.store(now + 1, Ordering::SeqCst);
                        worker.driver.wake(1 - number as usize);
                    }
                    now >= ROUNDS
                });
                // The last ring is queued; a turn hands it over.
                worker.turn();
            });
        }
    });
}

fn any_thread_can_ring_and_no_ring_is_lost<E: Engine>(features: Features) {
    let mut worker = Worker::<E>::new(Options::new(features));
    let bell = worker.driver.doorbell();
    for round in 0..20 {
        worker.serve("a ring", || {
            for _ in 0..50 {
                bell.ring();
            }
        });
        worker.until("to be woken", |worker| worker.woken > 0);
        // All rings are over, so after at most one more the bell is still.
        worker.turn();
        worker.woken = 0;
        worker.turn();
        assert_eq!(worker.woken, 0, "round {round}: a bell rang that nobody pressed");
    }
    // Ringing oneself works as well.
    worker.driver.wake(0);
    worker.until("to be woken", |worker| worker.woken == 1);
}

fn a_turn_ends_at_its_deadline<E: Engine>(features: Features) {
    let mut worker = Worker::<E>::new(Options::new(features));
    let mut completions = Vec::new();
    for wait_ns in [0, 1, 1000, 3_000_000] {
        let deadline_ns = worker.driver.clock_ns() + wait_ns;
        worker.driver.turn(deadline_ns, &mut completions).unwrap();
        assert!(completions.is_empty());
        assert!(worker.driver.now_ns() >= deadline_ns, "back before its time");
    }
    worker.driver.turn(0, &mut completions).unwrap();
    assert_eq!(worker.driver.figures().turns, 5);
}
