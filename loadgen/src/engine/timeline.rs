//! The measured window second by second, in memory that does not grow.
//!
//! Not here: who measures, and whole-run histograms. Invariants: at most [`INTERVALS_MAX`]
//! intervals are kept, whatever the duration: when there would be more, neighbours are added up
//! and an interval is twice as long; adding loses no count; all timelines of a run are aligned to
//! its window's start, so that they add up whatever their lengths.

use std::collections::BTreeMap;

use crate::outcome::Interval;
use crate::recorder::Sparse;

const NS_PER_S: u64 = 1_000_000_000;

/// The most intervals that are kept: an hour of seconds.
pub(crate) const INTERVALS_MAX: u64 = 3_600;

/// What one thread, or all, saw in one interval.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) errors: u64,
    pub(crate) latencies: Sparse,
    /// Connections open at its end, over all threads: the conductor's to say.
    pub(crate) open: Option<u32>,
}

impl Piece {
    /// Adds what `later` saw at the same time or after.
    fn add(&mut self, later: Self) {
        self.sent += later.sent;
        self.received += later.received;
        self.errors += later.errors;
        self.latencies.add(&later.latencies);
        self.open = later.open.or(self.open);
    }
}

/// The window so far.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// An interval is one second, doubled this often.
    doublings: u32,
    /// By number since the window's start; where nothing happened there is none.
    pieces: BTreeMap<u64, Piece>,
}

impl Timeline {
    /// Adds what was seen in second `second` of the window.
    pub(crate) fn add_second(&mut self, second: u64, piece: Piece) {
        while second >> self.doublings >= INTERVALS_MAX {
            self.double();
        }
        self.pieces.entry(second >> self.doublings).or_default().add(piece);
    }

    /// Adds what another saw.
    pub(crate) fn add(&mut self, other: Self) {
        while self.doublings < other.doublings {
            self.double();
        }
        for (number, piece) in other.pieces {
            self.add_second(number << other.doublings, piece);
        }
    }

    fn double(&mut self) {
        self.doublings += 1;
        for (number, piece) in std::mem::take(&mut self.pieces) {
            self.pieces.entry(number >> 1).or_default().add(piece);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Moves everything out, to be added elsewhere.
    pub(crate) fn take(&mut self) -> Self {
        Self { doublings: self.doublings, pieces: std::mem::take(&mut self.pieces) }
    }

    /// Every started interval of a window of `measured_ns`, with what the schedule had in it by
    /// `offered`, from one time of the window to another.
    pub(crate) fn intervals(
        mut self,
        measured_ns: u64,
        offered: impl Fn(u64, u64) -> Option<u64>,
    ) -> Vec<Interval> {
        while measured_ns.div_ceil(NS_PER_S << self.doublings) > INTERVALS_MAX {
            self.double();
        }
        let length_ns = NS_PER_S << self.doublings;
        let mut open = None;
        let interval = |number: u64| {
            let piece = self.pieces.remove(&number).unwrap_or_default();
            open = piece.open.or(open);
            let start_ns = number * length_ns;
            let end_ns = (start_ns + length_ns).min(measured_ns);
            Interval {
                start_ns,
                length_ns: end_ns - start_ns,
                offered: offered(start_ns, end_ns),
                sent: piece.sent,
                received: piece.received,
                errors: piece.errors,
                connections_open: open,
                p50_ns: piece.latencies.value_at_quantile(0.5),
                p99_ns: piece.latencies.value_at_quantile(0.99),
                max_ns: piece.latencies.max(),
                latencies: piece.latencies,
            }
        };
        (0..measured_ns.div_ceil(length_ns)).map(interval).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{INTERVALS_MAX, Piece, Timeline};
    use ringwire_ring::counting::thread_bytes_live;

    use crate::recorder::Recorder;
    use crate::tests::Random;

    const S: u64 = 1_000_000_000;

    fn piece(latencies_ns: &[u64]) -> Piece {
        let mut recorder = Recorder::new();
        latencies_ns.iter().for_each(|&ns| recorder.record(ns));
        let received = latencies_ns.len() as u64;
        Piece { sent: 1, received, latencies: recorder.sparse(), ..Piece::default() }
    }

    #[test]
    fn a_second_is_an_interval_until_there_are_too_many() {
        let mut timeline = Timeline::default();
        timeline.add_second(0, Piece { open: Some(4), ..piece(&[10, 20, 30]) });
        timeline.add_second(2, piece(&[40]));
        let intervals = timeline.intervals(2 * S + 1, |start, end| Some((end - start) / 1_000));
        let lengths: Vec<_> = intervals.iter().map(|i| (i.start_ns, i.length_ns)).collect();
        assert_eq!(lengths, [(0, S), (S, S), (2 * S, 1)]);
        let told: Vec<_> = intervals.iter().map(|i| (i.sent, i.received, i.p50_ns)).collect();
        assert_eq!(told, [(1, 3, Some(20)), (0, 0, None), (1, 1, Some(40))]);
        assert_eq!(intervals[0].max_ns, Some(30));
        assert_eq!(intervals[2].connections_open, Some(4), "as many as were there before");
        assert_eq!(intervals[1].offered, Some(1_000_000));
    }

    #[test]
    fn when_there_are_too_many_neighbours_are_added_up_and_no_count_is_lost() {
        let mut timeline = Timeline::default();
        for second in 0..=INTERVALS_MAX {
            timeline.add_second(second, piece(&[second + 1]));
        }
        let intervals = timeline.intervals((INTERVALS_MAX + 1) * S, |_, _| None);
        assert_eq!(intervals.len() as u64, INTERVALS_MAX / 2 + 1);
        assert_eq!((intervals[0].received, intervals[0].length_ns), (2, 2 * S));
        assert_eq!((intervals[0].p50_ns, intervals[0].max_ns), (Some(1), Some(2)));
        let last = intervals.last().unwrap();
        assert_eq!((last.received, last.length_ns), (1, S));
        let sum: u64 = intervals.iter().map(|interval| interval.received).sum();
        assert_eq!(sum, INTERVALS_MAX + 1);
    }

    #[test]
    fn a_day_takes_no_more_memory_than_its_first_hours() {
        let mut random = Random::seeded();
        let mut timeline = Timeline::default();
        let before = thread_bytes_live();
        let mut most = [0; 2];
        for second in 0..86_400 {
            let piece = piece(&[1_000 + random.below(50), 5_000 + random.below(50)]);
            timeline.add_second(second, piece);
            let is_late = usize::from(second >= 4 * INTERVALS_MAX);
            most[is_late] = (thread_bytes_live() - before).max(most[is_late]);
        }
        let [early, late] = most;
        // An interval of 32 s fills more buckets than one of 4 s, up to all hundred that there are.
        assert!(early > 0 && late < early * 2, "{early} bytes, then {late}");
        assert!(late < 3_600 * 512, "{late} bytes");
        assert_eq!(timeline.intervals(86_400 * S, |_, _| None).len(), 2_700);
    }

    #[test]
    fn timelines_of_different_lengths_line_up() {
        let (mut long, mut short) = (Timeline::default(), Timeline::default());
        long.add_second(3 * INTERVALS_MAX, piece(&[1]));
        short.add_second(5, piece(&[1]));
        short.add_second(7, piece(&[1, 1]));
        short.add(long);
        let intervals = short.intervals(4 * INTERVALS_MAX * S, |_, _| None);
        assert_eq!((intervals[1].received, intervals[0].received), (3, 0));
        assert_eq!(intervals[1].start_ns, 4 * S);
        assert_eq!(intervals[3 * 900].received, 1);
    }

    #[test]
    fn a_window_longer_than_what_was_seen_has_quiet_intervals() {
        assert_eq!(Timeline::default().intervals(9 * S, |_, _| None).len(), 9);
        let day = Timeline::default().intervals(86_400 * S, |_, _| None);
        assert_eq!((day.len(), day[0].length_ns), (2_700, 32 * S));
        assert!(Timeline::default().intervals(0, |_, _| None).is_empty());
    }
}
