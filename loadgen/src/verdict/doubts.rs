//! What makes a run suspect: it was not steady, the machine was not its own, or figures that
//! belong together do not agree.
//!
//! Pure. Invariant: a server that is full is no doubt about the run; what it does to the figures
//! is said by the findings instead.

use super::steady::Course;
use super::{Bench, Evidence, State, percent, shown};

/// A median that moves by less between the halves is steady enough.
const P50_SHARE_ALLOWED: f64 = 0.25;
/// And one that moves by less than this, whatever its share.
const P50_NS_ALLOWED: f64 = 200_000.0;
const RATE_SHARE_ALLOWED: f64 = 0.05;
/// Fewer latencies have no p99.
const SAMPLES_MIN: u64 = 1_000;
/// Connections that must stay open.
const HELD_SHARE_MIN: f64 = 0.99;
/// Processor time that others may take.
const STEAL_SHARE_MAX: f64 = 0.02;
/// How far the processors' clock may move.
const FREQUENCY_SHARE_MAX: f64 = 0.10;
/// How far Little's law may be off, and from how many messages in flight on it is asked.
const LITTLE_SHARE_MAX: f64 = 0.20;
const LITTLE_IN_FLIGHT_MIN: f64 = 10.0;

/// Looks at everything that may make a run suspect.
pub(super) fn examine(evidence: &Evidence, bench: &mut Bench) {
    samples(evidence, bench);
    steadiness(evidence, bench);
    connections(evidence, bench);
    little(evidence, bench);
    processors(evidence, bench);
}

fn suspect_if(is_bad: bool) -> State {
    if is_bad { State::Suspect } else { State::Valid }
}

fn samples(evidence: &Evidence, bench: &mut Bench) {
    let Some(samples) = evidence.samples else { return };
    let state = suspect_if(samples < SAMPLES_MIN);
    let limit = format!("at least {SAMPLES_MIN}, for a p99");
    bench.rule("Latencies measured", samples.to_string(), limit, state, || {
        format!("only {samples} latencies, too few for a p99; measure longer or send more")
    });
}

fn steadiness(evidence: &Evidence, bench: &mut Bench) {
    const UNTOLD: &str = "too few intervals to tell";
    let is_full = evidence.is_server_full();
    let limit = "no trend above 25 %".to_owned();
    match Course::of(&evidence.p50_ns) {
        None => bench.rule("Steady median", UNTOLD.to_owned(), limit, State::Valid, String::new),
        Some(course) => {
            let is_apart = (course.second - course.first).abs() > P50_NS_ALLOWED;
            let rises = is_apart && course.rises_by(P50_SHARE_ALLOWED);
            let falls = is_apart && course.falls_by(P50_SHARE_ALLOWED);
            let (first, second) = (shown(course.first), shown(course.second));
            let told = match is_full && rises {
                true => format!("{first}, then {second}: the server was full"),
                false => format!("{first}, then {second}"),
            };
            let state = suspect_if(falls || (rises && !is_full));
            bench.rule("Steady median", told, limit, state, || {
                let side = match rises {
                    true => "the server had not settled, or slows down; see it, or use --warmup",
                    false => "the server was still warming up; use a longer --warmup",
                };
                format!("the median moved from {first} to {second} in the window: {side}")
            });
        }
    }
    let limit = "no trend above 5 %".to_owned();
    let Some(course) = Course::of(&evidence.received_per_s) else {
        bench.rule("Steady rate", UNTOLD.to_owned(), limit, State::Valid, String::new);
        return;
    };
    let is_moving = course.rises_by(RATE_SHARE_ALLOWED) || course.falls_by(RATE_SHARE_ALLOWED);
    let told = format!("{:.0}/s, then {:.0}/s", course.first, course.second);
    bench.rule("Steady rate", told, limit, suspect_if(is_moving && !is_full), || {
        let (first, second) = (course.first, course.second);
        format!(
            "the rate of messages received moved from {first:.0}/s to {second:.0}/s in the \
             window; use a longer --warmup, or see what the server does"
        )
    });
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn connections(evidence: &Evidence, bench: &mut Bench) {
    let Some((begun, least)) = evidence.connections.filter(|(begun, _)| *begun > 0) else { return };
    let share = least as f64 / begun as f64;
    let told = format!("{least} of {begun} at least");
    let state = suspect_if(share < HELD_SHARE_MIN);
    bench.rule("Connections held", told, "99 %".to_owned(), state, || {
        format!(
            "only {least} of {begun} connections were held: the load was less than planned; see \
             the errors for which side closed"
        )
    });
}

/// Little's law: as many are in flight as arrive in the time that one takes.
fn little(evidence: &Evidence, bench: &mut Bench) {
    let Some((seen, expected)) = evidence.in_flight else { return };
    let limit = "within 20 %".to_owned();
    if expected < LITTLE_IN_FLIGHT_MIN {
        let told = format!("{expected:.1} in flight: too few to tell");
        bench.rule("Little's law", told, limit, State::Valid, String::new);
        return;
    }
    let is_broken = (seen - expected).abs() > expected * LITTLE_SHARE_MAX;
    let told = format!("{seen:.0} in flight, rate times latency {expected:.0}");
    bench.rule("Little's law", told, limit, suspect_if(is_broken), || {
        format!(
            "{seen:.0} messages were in flight, but rate times latency is {expected:.0}: one of \
             the three is wrong, or the load was in bursts"
        )
    });
}

fn processors(evidence: &Evidence, bench: &mut Bench) {
    const UNTOLD: &str = "not measured";
    let around = &evidence.surroundings;
    let steal = around.steal_share;
    let told = steal.map_or_else(|| UNTOLD.to_owned(), percent);
    let state = suspect_if(steal.is_some_and(|share| share > STEAL_SHARE_MAX));
    bench.rule("CPU steal", told.clone(), "2 %".to_owned(), state, || {
        format!("{told} of the processors' time went to other virtual machines; use a quieter host")
    });
    let told = around.throttles.map_or_else(|| UNTOLD.to_owned(), |count| format!("{count} times"));
    let state = suspect_if(around.throttles.is_some_and(|count| count > 0));
    bench.rule("Thermal throttling", told.clone(), "none".to_owned(), state, || {
        format!("processors were slowed down for heat {told}; cool them, or load them less")
    });
    let ratio = around.frequency_ratio;
    let told = ratio.map_or_else(|| UNTOLD.to_owned(), |ratio| format!("x{ratio:.2}"));
    let is_moved = ratio.is_some_and(|ratio| (ratio - 1.0).abs() > FREQUENCY_SHARE_MAX);
    let limit = "within 10 %".to_owned();
    bench.rule("Clock frequency", told.clone(), limit, suspect_if(is_moved), || {
        format!("the processors' clock ended at {told} of its begin; set the governor performance")
    });
}

#[cfg(test)]
mod tests {
    use super::super::examine;
    use super::*;
    use loadgen::outcome::Surroundings;

    /// The state of the rule `name`, and of the whole.
    fn state(evidence: &Evidence, name: &str) -> State {
        let (verdict, checks) = examine(evidence);
        let check = checks.iter().find(|check| check.name == name).expect("it is looked at");
        assert_eq!(verdict.state, check.state, "{name}: {:?}", verdict.reasons);
        check.state
    }

    fn with_p50(p50_ns: Vec<f64>) -> Evidence {
        Evidence { p50_ns, is_open_loop: true, ..Evidence::default() }
    }

    fn slope(from: f64, to: f64) -> Vec<f64> {
        (0..20).map(|n| from + (to - from) * f64::from(n) / 19.0).collect()
    }

    #[test]
    fn a_median_that_moves_is_suspect_unless_it_is_small_or_the_server_is_full() {
        let table = [
            (slope(1e6, 1.2e6), State::Valid),
            (slope(1e6, 3e6), State::Suspect),
            (slope(3e6, 1e6), State::Suspect),
            (slope(1e4, 9e4), State::Valid),
            (slope(1e6, 3e6)[..9].to_vec(), State::Valid),
        ];
        for (p50_ns, expected) in table {
            assert_eq!(state(&with_p50(p50_ns.clone()), "Steady median"), expected, "{p50_ns:?}");
        }
        let behind = Some((900, 1_000));
        let full = Evidence { answered: behind, ..with_p50(slope(1e6, 9e8)) };
        assert_eq!(state(&full, "Steady median"), State::Valid);
        let falling = Evidence { answered: behind, ..with_p50(slope(9e8, 1e6)) };
        assert_eq!(state(&falling, "Steady median"), State::Suspect);
    }

    #[test]
    fn a_rate_that_moves_by_more_than_a_twentieth_is_suspect() {
        let with = |received_per_s| Evidence { received_per_s, ..Evidence::default() };
        assert_eq!(state(&with(slope(1_000.0, 1_050.0)), "Steady rate"), State::Valid);
        assert_eq!(state(&with(slope(1_000.0, 1_300.0)), "Steady rate"), State::Suspect);
        assert_eq!(state(&with(slope(1_300.0, 1_000.0)), "Steady rate"), State::Suspect);
        assert_eq!(state(&with(vec![1_000.0; 60]), "Steady rate"), State::Valid);
    }

    #[test]
    fn samples_connections_and_littles_law_have_their_limits() {
        let of = |samples| Evidence { samples: Some(samples), ..Evidence::default() };
        assert_eq!(state(&of(999), "Latencies measured"), State::Suspect);
        assert_eq!(state(&of(1_000), "Latencies measured"), State::Valid);
        let of = |least| Evidence { connections: Some((1_000, least)), ..Evidence::default() };
        assert_eq!(state(&of(990), "Connections held"), State::Valid);
        assert_eq!(state(&of(989), "Connections held"), State::Suspect);
        let of = |seen, law| Evidence { in_flight: Some((seen, law)), ..Evidence::default() };
        assert_eq!(state(&of(119.0, 100.0), "Little's law"), State::Valid);
        assert_eq!(state(&of(121.0, 100.0), "Little's law"), State::Suspect);
        assert_eq!(state(&of(79.0, 100.0), "Little's law"), State::Suspect);
        assert_eq!(state(&of(1.0, 9.0), "Little's law"), State::Valid);
    }

    #[test]
    fn a_machine_that_is_not_its_own_is_suspect_and_one_that_does_not_tell_is_not() {
        let of = |surroundings| Evidence { surroundings, ..Evidence::default() };
        let (none, steal) = (Surroundings::default(), "CPU steal");
        assert_eq!(state(&of(none), steal), State::Valid);
        assert_eq!(
            state(&of(Surroundings { steal_share: Some(0.02), ..none }), steal),
            State::Valid
        );
        let stolen = Surroundings { steal_share: Some(0.021), ..none };
        assert_eq!(state(&of(stolen), steal), State::Suspect);
        let hot = Surroundings { throttles: Some(1), ..none };
        assert_eq!(state(&of(hot), "Thermal throttling"), State::Suspect);
        for (ratio, expected) in
            [(0.95, State::Valid), (0.85, State::Suspect), (1.2, State::Suspect)]
        {
            let moved = Surroundings { frequency_ratio: Some(ratio), ..none };
            assert_eq!(state(&of(moved), "Clock frequency"), expected);
        }
    }
}
