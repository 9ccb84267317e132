//! Intervals against exact probabilities, and against how often they hold the truth.

use super::*;

/// Standard normal, by Box and Muller.
fn normal(random: &mut Random) -> f64 {
    let mut uniform = || (to_f64(random.below(1 << 30)) + 0.5) / to_f64(1 << 30);
    let (one, two) = (uniform(), uniform());
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
}

fn close(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-9, "{one} {other}");
}

#[test]
fn a_median_s_bounds_are_those_of_the_tables() {
    // Which order statistics hold the median with 95 %: the tables of the sign test.
    for (count, rank) in [(5, 1), (6, 1), (8, 1), (9, 2), (12, 3), (15, 4), (20, 6), (30, 10)] {
        let values: Vec<f64> = (1..=count).map(to_f64).collect();
        let interval = median(&values).unwrap();
        close(interval.low, to_f64(rank));
        close(interval.high, to_f64(count + 1 - rank));
        close(interval.value, to_f64(count + 1) / 2.0);
    }
    assert_eq!(median(&[1.0; 4]), None);
    assert_eq!(median(&[1.0, 2.0, 3.0, 4.0, f64::NAN]), None);
}

#[test]
fn mann_whitney_s_ways_are_the_binomial_coefficient_and_its_table() {
    // Ways of U for samples of 2 and 3: 1 1 2 2 2 1 1.
    assert_eq!(mann_whitney_ways(2, 3), [1.0, 1.0, 2.0, 2.0, 2.0, 1.0, 1.0]);
    close(mann_whitney_ways(5, 5).iter().sum(), 252.0);
    close(mann_whitney_ways(10, 10).iter().sum(), 184_756.0);
    // Critical values of U, two-sided, 5 %: 2 for 5 and 5, 3 for 5 and 6, 23 for 10 and 10; the
    // bound is the next difference.
    assert_eq!(mann_whitney_rank(5, 5), 3);
    assert_eq!(mann_whitney_rank(5, 6), 4);
    assert_eq!(mann_whitney_rank(10, 10), 24);
    // Beyond counting, 20 and 20 (127) shows that the approximation is the same.
    assert_eq!(mann_whitney_rank(20, 20), 128);
    let pairs: f64 = 20.0 * 21.0;
    let deviation = (pairs * 42.0 / 12.0).sqrt();
    close(to_f64(mann_whitney_rank(20, 21)), (pairs / 2.0 - NORMAL * deviation).floor());
}

#[test]
fn a_ratio_is_that_of_every_pair_and_its_interval_of_order_statistics() {
    let old = [1.0, 1.0, 1.0, 1.0, 1.0];
    let new = [2.0, 2.0, 2.0, 2.0, 2.0];
    let interval = ratio(&old, &new).unwrap();
    close(interval.value, 2.0);
    close(interval.low, 2.0);
    assert_eq!(ratio(&old[..4], &new), None);
    assert_eq!(ratio(&[0.0; 5], &new), None);
    let (old, new) = ([10.0, 11.0, 12.0, 13.0, 14.0], [9.0, 10.0, 11.0, 12.0, 20.0]);
    let mut all: Vec<f64> =
        old.iter().flat_map(|old| new.iter().map(move |new| new / old)).collect();
    all.sort_by(f64::total_cmp);
    let interval = ratio(&old, &new).unwrap();
    close(interval.value, all[12]);
    close(interval.low, all[2]);
    close(interval.high, all[22]);
}

/// How often of `trials` an interval holds `truth`.
fn coverage(trials: usize, mut interval: impl FnMut() -> Option<(f64, f64)>, truth: f64) -> f64 {
    let hits = (0..trials).filter(|_| {
        let (low, high) = interval().unwrap();
        low <= truth && truth <= high
    });
    to_f64(hits.count()) / to_f64(trials)
}

#[test]
fn intervals_over_runs_hold_the_truth_as_often_as_they_say() {
    let mut random = Random(7);
    for count in [5, 6, 10] {
        let draw = |random: &mut Random, scale: f64| -> Vec<f64> {
            // Skewed, as latencies are.
            (0..count).map(|_| scale * (0.3 * normal(random)).exp()).collect()
        };
        let least = if count == 5 { 0.9375 } else { 0.95 };
        let of_median =
            coverage(4_000, || median(&draw(&mut random, 3.0)).map(|all| (all.low, all.high)), 3.0);
        // Four standard deviations of 4,000 trials are 1.4 %.
        assert!(of_median > least - 0.015, "{count}: {of_median}");
        let of_ratio = coverage(
            4_000,
            || {
                let (old, new) = (draw(&mut random, 1.0), draw(&mut random, 1.2));
                ratio(&old, &new).map(|all| (all.low, all.high))
            },
            1.2,
        );
        assert!((0.935..0.985).contains(&of_ratio), "{count}: {of_ratio}");
    }
}

/// Sixty seconds of twenty latencies, whose level moves slowly: neighbours are alike.
fn run(random: &mut Random, scale: f64) -> Vec<Vec<(u64, u64)>> {
    let mut level = 0.0;
    let second = |_| {
        level = 0.5 * level + 0.05 * normal(random);
        let one = |_| {
            let value = 1e6 * scale * (level + 0.3 * normal(random)).exp();
            (crate::result::rounded(value).unsigned_abs(), 1)
        };
        (0..20).map(one).collect()
    };
    (0..60).map(second).collect()
}

#[test]
fn a_block_bootstrap_holds_the_ratio_within_a_run_about_as_often_as_it_says() {
    let mut random = Random(11);
    let of_ratio = coverage(
        100,
        || {
            let (old, new) = (run(&mut random, 1.0), run(&mut random, 1.2));
            bootstrap(&Blocks::gather(&old), &Blocks::gather(&new), &[0.5], 1)[0]
        },
        1.2,
    );
    println!("held {of_ratio}");
    // Three standard deviations of 100 trials are 7 %.
    assert!(of_ratio > 0.88, "{of_ratio}");
}

#[test]
fn a_bootstrap_says_the_same_each_time_and_needs_ten_intervals() {
    let mut random = Random(3);
    let (old, new) = (run(&mut random, 1.0), run(&mut random, 1.0));
    let (old, new) = (Blocks::gather(&old), Blocks::gather(&new));
    assert_eq!(bootstrap(&old, &new, &[0.5, 0.9], 1), bootstrap(&old, &new, &[0.5, 0.9], 1));
    let empty = vec![loadgen::recorder::empty_histogram(); INTERVALS_MIN];
    assert!(Blocks::of(&empty[1..]).is_none());
    let empty = Blocks::of(&empty).unwrap();
    assert_eq!(bootstrap(&empty, &new, &[0.5], 1), [None]);
}
