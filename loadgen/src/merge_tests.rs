//! Parts add up to what one would have measured, and what does not belong together is refused.

use super::*;
use crate::bundle::decode_histogram;
use crate::cli::plan::tests::scenario;
use crate::random::Random;
use crate::result::Source;
use crate::samples;
use crate::verdict::State;
use loadgen::outcome::{Interval as EngineInterval, Outcome};
use loadgen::recorder::Recorder;
use loadgen::scenario::{Rate, Scenario};

fn planned() -> Scenario {
    Scenario { connections: 200, rate_per_s: Rate::per_second(20), ..scenario() }
}

fn document(outcome: &Outcome) -> Document {
    Document { runs: vec![crate::summary::run(&planned(), outcome)], ..samples::document() }
}

/// Outcomes of two parts and of the same latencies in one.
fn split() -> ([Outcome; 2], Outcome) {
    let mut random = Random::seeded();
    let recorders = || (Recorder::new(), [Recorder::new(), Recorder::new(), Recorder::new()]);
    let (mut parts, mut whole) = ([recorders(), recorders()], recorders());
    for _ in 0..20_000 {
        let value = (random.next() >> (24 + random.below(30))).max(1);
        let (part, second) = (random.below(2), random.below(3));
        let of_part = &mut parts[usize::try_from(part).unwrap()];
        for (all, seconds) in [of_part, &mut whole] {
            all.record(value);
            seconds[usize::try_from(second).unwrap()].record(value);
        }
    }
    let outcome = |(all, seconds): (Recorder, [Recorder; 3])| {
        let interval = |(second, recorder): (u64, Recorder)| {
            let latencies = recorder.sparse();
            EngineInterval {
                sent: 1,
                received: latencies.count(),
                ..samples::interval(second, latencies)
            }
        };
        Outcome {
            intended: all.histogram(),
            messages_received: all.histogram().len(),
            deliveries_in_window: all.histogram().len(),
            intervals: (0..).zip(seconds).map(interval).collect(),
            server: None,
            ..samples::outcome()
        }
    };
    (parts.map(&outcome), outcome(whole))
}

#[test]
fn parts_have_the_percentiles_of_the_whole() {
    let ([one, two], whole) = split();
    let merged = merge(vec![document(&one), document(&two)]).unwrap();
    let (merged, whole) = (&merged.runs[0], &document(&whole).runs[0]);
    assert_eq!(merged.latency_from_intended_ns, whole.latency_from_intended_ns);
    assert_eq!(merged.messages_received, whole.messages_received);
    let histogram = |run: &Run| decode_histogram(&run.histograms.as_ref().unwrap().intended);
    assert_eq!(histogram(merged).unwrap(), histogram(whole).unwrap());
    assert_eq!(merged.intervals.len(), 3);
    for (merged, whole) in merged.intervals.iter().zip(&whole.intervals) {
        assert_eq!(merged.latency_p50_ns, whole.latency_p50_ns);
        assert_eq!(merged.latency_p99_ns, whole.latency_p99_ns);
        assert_eq!(merged.histogram, whole.histogram);
        assert_eq!((merged.start_ns, merged.messages_sent), (whole.start_ns, 2));
    }
    assert_eq!(merged.agents.len(), 2);
    assert_eq!(merged.agents[1].name, "part 2");
    assert_eq!(merged.agents[0].latency_from_intended_ns, Latency::of(&one.intended));
}

#[test]
fn counts_rates_and_costs_add_up() {
    let mut dearer = samples::outcome();
    dearer.server = None;
    (dearer.wire_bytes_received, dearer.generator.cpu_ns) = (2 * 1_056_000, 96_000_000);
    dearer.errors.insert("close.1006".to_owned(), 2);
    let [one, two] = [samples::outcome(), dearer].map(|outcome| document(&outcome));
    let merged = &merge(vec![one.clone(), two]).unwrap().runs[0];
    assert_eq!((merged.connections, merged.connection_counts.open), (400, 400));
    assert_eq!((merged.offered_per_s, merged.achieved_per_s), (Some(8_000.0), Some(8_000.0)));
    assert_eq!(merged.measured_ns, 4_000_000_000);
    assert_eq!(merged.errors["close.1006"], 2);
    // The two means weigh as many messages each.
    assert_eq!(merged.wire_bytes_per_message, Some(99.0));
    assert_eq!(merged.loadgen.cpu_ns_per_message, Some(4_000));
    assert_eq!(merged.loadgen.rss_bytes, Some(16 << 20));
    // One part looked at the server, which served both.
    let server = merged.server.unwrap();
    assert_eq!((server.cpu_ns_per_message, server.source), (Some(2_500), Source::Pid));
    // Both did: one server or two, who knows.
    assert_eq!(merge(vec![one.clone(), one]).unwrap().runs[0].server, None);
}

#[test]
fn a_finer_division_follows_the_coarser() {
    let [mut fine, mut coarse] = [samples::outcome(), samples::outcome()].map(|o| document(&o));
    fine.runs[0].interval_ns = Some(1_000_000_000);
    fine.runs[0].intervals[1].connections_open = Some(7);
    let run = &mut coarse.runs[0];
    run.interval_ns = Some(2_000_000_000);
    run.intervals.truncate(2);
    run.intervals[1].start_ns = 2_000_000_000;
    run.intervals[1].connections_open = None;
    run.intervals[0].connections_open = Some(5);
    let merged = &merge(vec![fine, coarse]).unwrap().runs[0];
    let starts: Vec<u64> = merged.intervals.iter().map(|interval| interval.start_ns).collect();
    assert_eq!((starts, merged.interval_ns), (vec![0, 2_000_000_000], Some(2_000_000_000)));
    let [first, second] = &merged.intervals[..] else { panic!("two") };
    assert_eq!((first.messages_received, first.connections_open), (12_000, Some(12)));
    assert_eq!((second.messages_received, second.connections_open), (12_000, None));
    let histogram = decode_histogram(first.histogram.as_ref().unwrap()).unwrap();
    assert_eq!(histogram.len(), 12_000);
}

#[test]
fn jains_index_is_that_of_all_connections() {
    // Shares 1 and 3: 16 / (2 * 10) = 0.8; shares 2 and 2: 1. Together: 64 / (4 * 18).
    let part = |index: f64| {
        let mut document = document(&samples::outcome());
        let run = &mut document.runs[0];
        (run.messages_received, run.connection_counts.open) = (4, 2);
        run.fairness = Some(Fairness { jain_index: Some(index), ..Fairness::default() });
        document
    };
    let merged = merge(vec![part(0.8), part(1.0)]).unwrap();
    let index = merged.runs[0].fairness.unwrap().jain_index.unwrap();
    assert!((index - 64.0 / 72.0).abs() < 1e-12, "{index}");
}

#[test]
fn what_is_known_without_histograms_is_count_and_extremes() {
    let latency_of = |min, max| Latency {
        count: 10,
        min: Some(min),
        p50: Some(5),
        max: Some(max),
        ..Latency::default()
    };
    let sum = latency(latency_of(3, 9), latency_of(2, 7));
    assert_eq!((sum.count, sum.min, sum.max, sum.p50), (20, Some(2), Some(9), None));
    assert_eq!(latency(latency_of(3, 9), Latency::default()), latency_of(3, 9));
}

#[test]
fn the_worst_verdict_and_end_are_the_whole_s() {
    let one = document(&samples::outcome());
    let reasons = vec!["late".to_owned()];
    let verdict = Verdict { state: State::Invalid, reasons };
    let two = Document { verdict, ended: Ended::Interrupted, ..one.clone() };
    let merged = merge(vec![one.clone(), two, one]).unwrap();
    assert_eq!((merged.verdict.state, merged.ended), (State::Invalid, Ended::Interrupted));
    assert_eq!(merged.verdict.reasons, ["part 2: late"]);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let whole = document(&samples::outcome());
    let changed = |change: fn(&mut Document)| {
        let mut other = whole.clone();
        change(&mut other);
        let failure = merge(vec![whole.clone(), other]).unwrap_err();
        assert_eq!(failure.code, 104);
        failure.line
    };
    assert!(changed(|other| other.runs[0].size_bytes = 65).contains("size_bytes is 65"));
    assert!(changed(|other| other.runs[0].mode = "echo".into()).contains("its mode is echo"));
    let poisson = changed(|other| other.runs[0].arrival = Some("poisson".into()));
    assert!(poisson.contains("its arrival is poisson, the first's constant"), "{poisson}");
    let stages = changed(|other| {
        other.runs[0].stages = vec![Stage { lasts_ns: 10, rate_per_s: 100.0 }];
    });
    assert!(stages.contains("its stages is 10 ns to 100/s, the first's none"), "{stages}");
    let slow = Slow { connections: 1, bytes_per_s: 7, closed_by_server: 0 };
    let mut other = whole.clone();
    other.runs[0].slow = Some(slow);
    let failure = merge(vec![whole.clone(), other]).unwrap_err();
    assert!(failure.line.contains("its slow.bytes_per_s is 7, the first's none"), "{failure:?}");
    let at = |at_ns| {
        let mut stormy = whole.clone();
        stormy.runs[0].storms = vec![Storm { at_ns, ..Storm::default() }];
        stormy
    };
    let failure = merge(vec![at(5), at(6)]).unwrap_err();
    assert!(failure.line.contains("a storm at 6 ns, the first at 5 ns"), "{failure:?}");
    assert!(changed(|other| other.runs.clear()).contains("another number of rows"));
    assert!(changed(|other| other.runs[0].histograms = None).contains("--out bundle=PATH"));
    let damaged = changed(|other| {
        other.runs[0].histograms.as_mut().unwrap().intended = "AAAA".to_owned();
    });
    assert!(damaged.contains("histogram"), "{damaged}");
    assert!(merge(Vec::new()).is_err());
    assert_eq!(merge(vec![whole.clone()]).unwrap(), whole);
}
