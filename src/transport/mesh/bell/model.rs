//! The flag protocol under `loom`: every interleaving and every allowed reordering of it.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p ringwire-transport --release loom`. A lost
//! wake-up shows as a deadlock: the sleeper waits and nobody is left to ring. The queues are
//! stood in for by one relaxed word each, so that only the protocol orders them.

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::{Bell, settle};

/// The doorbell: reliable, remembers one ring.
struct Ring {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Ring {
    fn new() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new() }
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct Worker {
    bell: Bell,
    ring: Ring,
}

impl Worker {
    fn new() -> Self {
        Self { bell: Bell::new(), ring: Ring::new() }
    }

    fn tell(&self, producer: u64) {
        self.bell.post(producer);
        settle();
        if self.bell.must_wake() {
            self.ring.ring();
        }
    }

    fn sleep(&self) {
        if self.bell.prepare_to_sleep() {
            self.ring.wait();
            self.bell.awake();
        }
    }
}

/// `producers` threads put `items` each; the worker sleeps until it has seen them all.
fn news_arrives(producers: usize, items: usize) {
    let worker = Arc::new(Worker::new());
    let queues: Arc<Vec<_>> = Arc::new((0..producers).map(|_| AtomicUsize::new(0)).collect());
    let threads: Vec<_> = (0..producers)
        .map(|me| {
            let (worker, queues) = (Arc::clone(&worker), Arc::clone(&queues));
            thread::spawn(move || {
                for _ in 0..items {
                    let count = queues[me].load(Ordering::Relaxed);
                    queues[me].store(count + 1, Ordering::Relaxed);
                    worker.tell(1 << me);
                }
            })
        })
        .collect();
    let mut seen = vec![0; producers];
    while seen.iter().any(|&count| count < items) {
        let news = worker.bell.take_news();
        for (me, count) in seen.iter_mut().enumerate() {
            if news & 1 << me != 0 {
                let now = queues[me].load(Ordering::Relaxed);
                assert!(now > 0, "a bit shows before what it announces");
                *count = now;
            }
        }
        if seen.iter().any(|&count| count < items) {
            worker.sleep();
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Explores with at most three preemptions: enough for every pair of steps to cross, and done in
/// seconds.
fn check(scenario: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(scenario);
}

#[test]
fn loom_no_wake_up_is_lost_with_one_producer() {
    check(|| news_arrives(1, 2));
}

#[test]
fn loom_no_wake_up_is_lost_with_two_producers() {
    check(|| news_arrives(2, 1));
}

#[test]
fn loom_a_producer_without_room_hears_of_it() {
    loom::model(|| {
        let (producer, consumer) = (Arc::new(Worker::new()), Arc::new(Worker::new()));
        let full = Arc::new(AtomicBool::new(true));
        let taker = {
            let (producer, consumer) = (Arc::clone(&producer), Arc::clone(&consumer));
            let full = Arc::clone(&full);
            thread::spawn(move || {
                full.store(false, Ordering::Release);
                settle();
                if consumer.bell.take_starved(1) != 0 {
                    producer.tell(1);
                }
            })
        };
        while full.load(Ordering::Acquire) {
            consumer.bell.starve(1);
            settle();
            if !full.load(Ordering::Acquire) {
                break;
            }
            producer.sleep();
            producer.bell.take_news();
        }
        taker.join().unwrap();
    });
}
