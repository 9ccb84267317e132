//! Random worlds: whatever the order of events, nobody misses anything in silence.

use super::random::{Replay, seeds};
use super::world::World;

const STEPS: usize = 600;

#[test]
fn nobody_misses_anything_in_silence() {
    let seeds = seeds(400);
    let mut worlds = Vec::new();
    for &seed in &seeds {
        let _replay = Replay(seed);
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        let counters = world.counters();
        assert!(world.encodings_seen() <= counters.encodings, "encoded outside the home");
        world.end();
        worlds.push((world.seen, counters));
    }
    if seeds.len() == 1 {
        return;
    }
    // Each of these is a path through the logic: none may stay untested.
    let sum = |field: fn(&super::world::Seen) -> u64| -> u64 {
        worlds.iter().map(|(seen, _)| field(seen)).sum()
    };
    assert!(sum(|seen| seen.deliveries) > 10_000);
    assert!(sum(|seen| seen.gaps) > 100);
    assert!(sum(|seen| seen.lost) > 100);
    assert!(sum(|seen| seen.replayed) > 1_000);
    assert!(sum(|seen| seen.sliced) > 1_000);
    assert!(sum(|seen| seen.refused_offers) > 1_000);
    assert!(sum(|seen| seen.refused_replies) > 1_000);
    assert!(sum(|seen| seen.busy) > 100);
    assert!(sum(|seen| seen.gone) > 100);
    assert!(sum(|seen| seen.left_in_fanout) > 100);
    assert!(worlds.iter().map(|(_, counters)| counters.evictions).sum::<u64>() > 100);
    assert!(worlds.iter().map(|(_, counters)| counters.expiries).sum::<u64>() > 100);
    assert!(worlds.iter().map(|(_, counters)| counters.refusals).sum::<u64>() > 100);
}

#[test]
fn a_seed_replays_a_run() {
    let run = |seed| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        (format!("{:?} {:?}", world.seen, world.counters()), world.random.next())
    };
    for seed in seeds(10) {
        let _replay = Replay(seed);
        assert_eq!(run(seed), run(seed));
    }
}
