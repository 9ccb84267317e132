//! A rate that changes over time, as exact integers: how much is due until a time, and when
//! message `k` is.
//!
//! Not here: clocks, or who sends. Invariants: nothing is rounded but the result, down to a
//! nanosecond, so nothing gathers; the due times never go back.

use std::time::Duration;

use crate::engine::conductor::ns;
use crate::scenario::{Rate, Stage};

/// Sums must stay below this, so that no step of a calculation leaves 128 bits.
const SUM_MAX: u128 = 1 << 125;

/// The most events of a second.
const RATE_MAX: u64 = 100_000_000;

/// A part in which the rate goes linearly from one value to another.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start_ns: u64,
    /// 0 for the last, which never ends.
    lasts_ns: u64,
    /// Events per period, at its begin and its end.
    from: u64,
    to: u64,
    /// What is due before it, in events times two periods.
    before: u128,
}

impl Piece {
    /// `lasts_ns` times what is due in its first `t` ns, in events times two periods.
    fn area(&self, t: u64) -> u128 {
        let (t, lasts) = (u128::from(t), u128::from(self.lasts_ns));
        let constant = 2 * u128::from(self.from) * lasts * t;
        let slope = u128::from(self.from.abs_diff(self.to)) * t * t;
        if self.to >= self.from { constant + slope } else { constant - slope }
    }

    /// The last time in it at which no more than `due` is due.
    fn time_of(&self, due: u128) -> u64 {
        let goal = due * u128::from(self.lasts_ns);
        let is_early = |t: u64| self.area(t) <= goal;
        // A good guess, and from there to where it is exact.
        let mut low = self.guess(due).min(self.lasts_ns);
        let mut high;
        let mut step = 1;
        if is_early(low) {
            loop {
                high = low.saturating_add(step).min(self.lasts_ns);
                if high == low || !is_early(high) {
                    break;
                }
                low = high;
                step *= 2;
            }
        } else {
            high = low;
            loop {
                low = high.saturating_sub(step);
                if low == 0 || is_early(low) {
                    break;
                }
                high = low;
                step *= 2;
            }
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_early(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a guess: what it is off by is searched"
    )]
    fn guess(&self, due: u128) -> u64 {
        let (from, to) = (self.from as f64, self.to as f64);
        let due = due as f64;
        let root = (from * from + (to - from) * due / self.lasts_ns as f64).max(0.0).sqrt();
        // NaN, of nothing over nothing, becomes 0.
        (due / (from + root)) as u64
    }
}

/// The rate over time; the last rate goes on for ever.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pieces: Box<[Piece]>,
    period_ns: u64,
}

impl Curve {
    /// The curve of `stages` after `warmup` at the rate that they begin with; `None` if they are
    /// too long, too many, too fast or too fine to be summed exactly.
    pub(crate) fn new(warmup: Duration, stages: &[Stage]) -> Option<Self> {
        let mut period_ns = 1;
        for rate in stages.iter().filter_map(|stage| stage.rate) {
            period_ns = common_multiple(period_ns, rate.period_ns())?;
        }
        let most = u128::from(RATE_MAX) * u128::from(period_ns) / 1_000_000_000;
        let events = |rate: Option<Rate>| match rate {
            Some(rate) => {
                let events = rate.events().checked_mul(period_ns / rate.period_ns());
                events.filter(|events| u128::from(*events) <= most)
            }
            None => Some(0),
        };
        let steps = stages.iter().take_while(|stage| stage.lasts.is_zero()).last();
        let mut rate = events(steps.and_then(|stage| stage.rate))?;
        let (mut pieces, mut start_ns, mut before) = (Vec::new(), 0_u64, 0_u128);
        let first = [(ns(warmup), rate)];
        let others = stages.iter().map(|stage| Some((ns(stage.lasts), events(stage.rate)?)));
        for piece in first.into_iter().map(Some).chain(others) {
            let (lasts_ns, to) = piece?;
            let from = std::mem::replace(&mut rate, to);
            if lasts_ns == 0 {
                continue;
            }
            pieces.push(Piece { start_ns, lasts_ns, from, to, before });
            start_ns = start_ns.checked_add(lasts_ns)?;
            before += u128::from(lasts_ns) * (u128::from(from) + u128::from(to));
            let largest = before.checked_mul(2 * u128::from(start_ns))?;
            if largest > SUM_MAX {
                return None;
            }
        }
        pieces.push(Piece { start_ns, lasts_ns: 0, from: rate, to: rate, before });
        Some(Self { pieces: pieces.into(), period_ns })
    }

    fn unit(&self) -> u128 {
        2 * u128::from(self.period_ns)
    }

    /// When message `k` is due, from the start; the end of time if never.
    pub(crate) fn due_ns(&self, k: u64) -> u64 {
        let due = u128::from(k) * self.unit();
        let after = self.pieces.partition_point(|piece| piece.before <= due);
        let Some(piece) = after.checked_sub(1).and_then(|last| self.pieces.get(last)) else {
            return u64::MAX;
        };
        let due = due - piece.before;
        let elapsed_ns = match (piece.lasts_ns, piece.from) {
            (0, 0) => u64::MAX,
            (0, from) => u64::try_from(due / (2 * u128::from(from))).unwrap_or(u64::MAX),
            _ => piece.time_of(due),
        };
        piece.start_ns.saturating_add(elapsed_ns)
    }

    /// How many messages are due before `elapsed_ns`.
    pub(crate) fn count_before(&self, elapsed_ns: u64) -> u64 {
        let after = self.pieces.partition_point(|piece| piece.start_ns <= elapsed_ns);
        let Some(piece) = after.checked_sub(1).and_then(|last| self.pieces.get(last)) else {
            return 0;
        };
        let t = elapsed_ns - piece.start_ns;
        let count = match piece.lasts_ns {
            0 => (piece.before + 2 * u128::from(piece.from) * u128::from(t)).div_ceil(self.unit()),
            lasts_ns => {
                let lasts = u128::from(lasts_ns);
                (piece.before * lasts + piece.area(t)).div_ceil(self.unit() * lasts)
            }
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

/// The least common multiple, if it fits.
fn common_multiple(a: u64, b: u64) -> Option<u64> {
    let (mut divisor, mut rest) = (a, b);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a.checked_mul(b / divisor.max(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Curve;
    use crate::scenario::{Rate, Stage};
    use crate::tests::Random;

    const S: u64 = 1_000_000_000;

    fn stage(lasts_ns: u64, per_s: u64) -> Stage {
        Stage { lasts: Duration::from_nanos(lasts_ns), rate: Rate::per_second(per_s) }
    }

    #[test]
    fn a_ramp_from_nothing_has_the_area_of_a_triangle() {
        let curve = Curve::new(Duration::ZERO, &[stage(10 * S, 100), stage(5 * S, 100)]).unwrap();
        assert_eq!([0, 10 * S, 12 * S].map(|t| curve.count_before(t)), [0, 500, 700]);
        // 5 t^2 messages after t seconds: number 20 after 2 s, 125 after 5 s, 500 after 10 s.
        assert_eq!([0, 20, 125, 500].map(|k| curve.due_ns(k)), [0, 2 * S, 5 * S, 10 * S]);
        // From there on evenly, and further than the stages go.
        assert_eq!([600, 1_000, 2_000].map(|k| curve.due_ns(k)), [11 * S, 15 * S, 25 * S]);
    }

    #[test]
    fn the_warm_up_has_the_first_rate_and_a_zero_step_jumps() {
        let steps = [stage(0, 10), stage(2 * S, 10), stage(0, 50), stage(S, 50), stage(0, 0)];
        let curve = Curve::new(Duration::from_secs(3), &steps).unwrap();
        let told = [3 * S, 5 * S, 6 * S, 60 * S].map(|t| curve.count_before(t));
        assert_eq!(told, [30, 50, 100, 100]);
        assert_eq!([30, 50, 99].map(|k| curve.due_ns(k)), [3 * S, 5 * S, 5 * S + 49 * S / 50]);
        assert_eq!(curve.due_ns(100), u64::MAX, "nothing more is ever due");
        // A pause: what is due next is due when it ends.
        let pause = [stage(0, 10), stage(S, 10), stage(0, 0), stage(S, 0), stage(0, 10)];
        let curve = Curve::new(Duration::ZERO, &pause).unwrap();
        assert_eq!([9, 10, 11].map(|k| curve.due_ns(k)), [900_000_000, 2 * S, 2 * S + S / 10]);
    }

    #[test]
    fn counts_and_times_agree_exactly_whatever_the_stages() {
        let mut random = Random::seeded();
        for _ in 0..300 {
            let stages: Vec<_> = (0..1 + random.below(6))
                .map(|_| {
                    let lasts = if random.below(4) == 0 { 0 } else { random.below(90 * S) };
                    let rate = random.below(5).checked_sub(1).and_then(|_| {
                        Rate::new(
                            random.below(2_000_000),
                            S * [1, 3, 10, 1_000][usize::try_from(random.below(4)).unwrap()],
                        )
                    });
                    Stage { lasts: Duration::from_nanos(lasts), rate }
                })
                .collect();
            let curve = Curve::new(Duration::from_nanos(random.below(9 * S)), &stages).unwrap();
            let mut last_ns = 0;
            for _ in 0..50 {
                let at_ns = random.below(600 * S);
                let count = curve.count_before(at_ns);
                assert!(curve.due_ns(count) >= at_ns, "{stages:?} at {at_ns}");
                if count > 0 {
                    assert!(curve.due_ns(count - 1) < at_ns, "{stages:?} at {at_ns}");
                }
            }
            for k in (0..200).map(|k| k * 1_234) {
                let due_ns = curve.due_ns(k);
                assert!(due_ns >= last_ns);
                last_ns = due_ns;
            }
        }
    }

    #[test]
    fn three_days_at_the_highest_rates_fit_and_absurd_ones_are_refused() {
        let days = 3 * 86_400 * S;
        let curve = Curve::new(Duration::ZERO, &[stage(days, 100_000_000)]).unwrap();
        assert_eq!(curve.count_before(days), 50_000_000 * 3 * 86_400);
        let fine = Stage { lasts: Duration::from_secs(86_400), rate: Rate::new(u64::MAX, 7) };
        assert!(Curve::new(Duration::ZERO, &[fine]).is_none());
        let primes = [3, 7, 11, 13, 17, 19, 23, 29, 31, 37].map(|period| Stage {
            lasts: Duration::from_secs(1),
            rate: Rate::new(1, period * 1_000_000_007),
        });
        assert!(Curve::new(Duration::ZERO, &primes).is_none());
    }
}
