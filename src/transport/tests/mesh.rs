//! The queues between workers: order, bounds and wake-ups, on one thread and on several.

#![cfg(not(loom))]

mod random;

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use ringwire_transport::{Endpoint, RECEIVE_ITEMS_MAX, mesh};

    use crate::random::{Random, each_seed};

    fn received(endpoint: &mut Endpoint<u64>) -> Vec<(usize, u64)> {
        let mut items = Vec::new();
        endpoint.receive(|from, item| items.push((from, item)));
        items
    }

    #[test]
    fn an_item_is_seen_after_the_flush_and_a_sleeper_is_woken_once() {
        let mut ends = mesh::<u64>(3, 4, 0);
        assert!(ends[2].prepare_to_sleep());
        ends[0].push(2, 7, 0).unwrap();
        ends[0].push(2, 8, 0).unwrap();
        assert_eq!(received(&mut ends[2]), []);
        let mut woken = Vec::new();
        ends[0].flush(|worker| woken.push(worker));
        ends[1].push(2, 9, 0).unwrap();
        ends[1].flush(|worker| woken.push(worker));
        assert_eq!(woken, [2], "one ring is enough until it sleeps again");
        assert!(!ends[2].prepare_to_sleep(), "the second look finds the news");
        assert_eq!(received(&mut ends[2]), [(0, 7), (0, 8), (1, 9)]);
        assert!(ends[2].prepare_to_sleep());
        ends[2].awake();
        ends[0].push(2, 1, 0).unwrap();
        ends[0].flush(|_| panic!("nobody sleeps"));
    }

    #[test]
    fn overflow_keeps_order_is_bounded_and_its_owner_hears_of_room() {
        let mut ends = mesh::<u64>(2, 2, 100);
        let mut accepted = 0;
        while ends[0].push(1, accepted, 40).is_ok() {
            accepted += 1;
        }
        assert!(accepted >= 4 && ends[0].overflowed() && ends[0].overflow_bytes(1) >= 100);
        assert_eq!(ends[0].push(1, 99, 0), Err(99));
        ends[0].flush(|_| {});
        assert!(ends[0].prepare_to_sleep());
        let mut items = received(&mut ends[1]);
        assert_eq!(items.len(), 2, "no more than the queue holds");
        let mut woken = Vec::new();
        ends[1].flush(|worker| woken.push(worker));
        assert_eq!(woken, [0], "the producer with overflow is told of room");
        while ends[0].overflowed() {
            assert_eq!(received(&mut ends[0]), []);
            ends[0].flush(|_| {});
            items.extend(received(&mut ends[1]));
            ends[1].flush(|_| {});
        }
        items.extend(received(&mut ends[1]));
        assert_eq!(items, (0..accepted).map(|item| (0, item)).collect::<Vec<_>>());
        assert_eq!(ends[0].overflow_bytes(1), 0);
    }

    #[test]
    fn a_turn_takes_a_bounded_number_and_serves_the_senders_in_turn() {
        let full = RECEIVE_ITEMS_MAX as u64;
        let mut ends = mesh::<u64>(3, RECEIVE_ITEMS_MAX, 0);
        for end in &mut ends[..2] {
            for item in 0..full {
                end.push(2, item, 0).unwrap();
            }
            end.flush(|_| {});
        }
        let first = received(&mut ends[2]);
        assert_eq!(first.len(), RECEIVE_ITEMS_MAX);
        assert!(!ends[2].prepare_to_sleep(), "what is left is news");
        let second = received(&mut ends[2]);
        assert_eq!(second.len(), RECEIVE_ITEMS_MAX);
        assert_ne!(first[0].0, second[0].0, "the other sender's turn");
        assert!(ends[2].prepare_to_sleep());
    }

    #[test]
    fn random_traffic_on_one_thread_keeps_every_order_and_never_strands_anyone() {
        each_seed(100, |seed| {
            let mut random = Random::new(seed);
            let workers = 2 + usize::try_from(random.below(4)).unwrap();
            let capacity = 1 + usize::try_from(random.below(6)).unwrap();
            let mut ends = mesh::<u64>(workers, capacity, 200);
            let mut rung = vec![false; workers];
            let mut asleep = vec![false; workers];
            let mut sent = vec![vec![0_u64; workers]; workers];
            let mut seen = vec![vec![0_u64; workers]; workers];
            let mut pushes_left = 2000;
            while pushes_left > 0 || asleep.contains(&false) || rung.contains(&true) {
                let me = usize::try_from(random.below(workers as u64)).unwrap();
                // A sleeper turns when it was rung, or sometimes for a reason of its own.
                if asleep[me] && !rung[me] && (pushes_left == 0 || random.below(8) > 0) {
                    continue;
                }
                (asleep[me], rung[me]) = (false, false);
                ends[me].awake();
                let mut expected = std::mem::take(&mut seen[me]);
                ends[me].receive(|from, item| {
                    assert_eq!(item, expected[from], "from {from} to {me}");
                    expected[from] += 1;
                });
                seen[me] = expected;
                for _ in 0..random.below(5).min(pushes_left) {
                    let to = usize::try_from(random.below(workers as u64)).unwrap();
                    pushes_left -= 1;
                    if to != me && ends[me].push(to, sent[me][to], 10).is_ok() {
                        sent[me][to] += 1;
                    }
                }
                ends[me].flush(|worker| rung[worker] = true);
                asleep[me] = ends[me].prepare_to_sleep();
            }
            for (from, row) in sent.iter().enumerate() {
                for (to, &count) in row.iter().enumerate() {
                    assert_eq!(seen[to][from], count, "from {from} to {to}");
                }
            }
        });
    }

    #[derive(Default)]
    struct Ring {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Ring {
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

    /// One worker's thread: sends `items` to each other worker and receives as many from each.
    fn exchange(mut end: Endpoint<u64>, rings: &[Ring], items: u64) {
        let (me, workers) = (end.worker(), end.workers());
        let mut sent = vec![0; workers];
        let mut seen = vec![0; workers];
        (sent[me], seen[me]) = (items, items);
        while sent.iter().chain(&seen).any(|&count| count < items) || end.overflowed() {
            end.receive(|from, item| {
                assert_eq!(item, seen[from], "from {from} to {me}");
                seen[from] += 1;
            });
            for (to, next) in sent.iter_mut().enumerate() {
                for _ in 0..7 {
                    if *next < items && end.push(to, *next, 0).is_ok() {
                        *next += 1;
                    }
                }
            }
            end.flush(|worker| rings[worker].ring());
            // With more to send and room for it, or with all of it done, there is no wait.
            let sending = sent.iter().any(|&count| count < items);
            let receiving = seen.iter().any(|&count| count < items);
            if (end.overflowed() || receiving && !sending) && end.prepare_to_sleep() {
                rings[me].wait();
                end.awake();
            }
        }
        end.flush(|worker| rings[worker].ring());
    }

    #[test]
    fn threads_lose_and_reorder_nothing_and_no_wake_up_is_missed() {
        const WORKERS: usize = 4;
        for capacity in [1, 3, 64] {
            let rings: [Ring; WORKERS] = std::array::from_fn(|_| Ring::default());
            std::thread::scope(|scope| {
                for end in mesh::<u64>(WORKERS, capacity, 300) {
                    let rings = &rings;
                    scope.spawn(move || exchange(end, rings, 5_000));
                }
            });
        }
    }
}
