//! Whether a series of intervals went up or down all the time.
//!
//! Pure. Mann-Kendall's test asks for a trend without asking for a distribution; that it matters is
//! asked of the medians of both halves. Invariant: a short series says nothing.

/// Fewer intervals have no trend.
const INTERVALS_MIN: usize = 10;

/// More are thinned out: the test looks at every pair.
const INTERVALS_MAX: usize = 300;

/// One chance in a hundred to see a trend where there is none, both sides together.
const Z_MAX: f64 = 2.576;

/// How a series went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Course {
    /// Medians of the first and the second half.
    pub(crate) first: f64,
    pub(crate) second: f64,
    /// Whether it went one way more often than chance has it.
    pub(crate) has_trend: bool,
}

impl Course {
    /// How a series went; `None` if it is too short to tell.
    #[expect(clippy::cast_precision_loss, reason = "counts of pairs of few intervals")]
    pub(crate) fn of(series: &[f64]) -> Option<Self> {
        if series.len() < INTERVALS_MIN {
            return None;
        }
        let stride = series.len().div_ceil(INTERVALS_MAX);
        let thin: Vec<f64> = series.chunks(stride).map(median).collect();
        let mut sum = 0_i64;
        for (index, early) in thin.iter().enumerate() {
            for late in &thin[index + 1..] {
                sum += i64::from(late > early) - i64::from(late < early);
            }
        }
        let n = thin.len() as f64;
        let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        // One less, as sums are two apart.
        let z = (sum.unsigned_abs() as f64 - 1.0).max(0.0) / deviation;
        let (first, second) = series.split_at(series.len() / 2);
        Some(Self { first: median(first), second: median(second), has_trend: z > Z_MAX })
    }

    /// Whether the second half is above the first by more than this share of it.
    pub(crate) fn rises_by(&self, share: f64) -> bool {
        self.has_trend && self.second > self.first * (1.0 + share)
    }

    /// Whether it is below by more than this share.
    pub(crate) fn falls_by(&self, share: f64) -> bool {
        self.has_trend && self.second < self.first * (1.0 - share)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::Course;
    use crate::random::Random;

    #[test]
    fn a_short_series_says_nothing() {
        assert_eq!(Course::of(&[1.0; 9]), None);
        assert!(Course::of(&[1.0; 10]).is_some_and(|course| !course.has_trend));
    }

    #[test]
    fn what_goes_up_or_down_has_a_trend_and_noise_seldom() {
        let up: Vec<f64> = (0..20).map(f64::from).collect();
        let course = Course::of(&up).unwrap();
        assert!(course.rises_by(0.25) && !course.falls_by(0.25));
        let down: Vec<f64> = up.iter().rev().copied().collect();
        assert!(Course::of(&down).unwrap().falls_by(0.25));
        let mut random = Random::seeded();
        let mut found = 0;
        for _ in 0..1_000 {
            let noise: Vec<f64> = (0..30).map(|_| random.below(1_000) as f64).collect();
            found += u32::from(Course::of(&noise).unwrap().has_trend);
        }
        assert!(found < 40, "one in a hundred, not {found} in a thousand");
    }

    #[test]
    fn a_long_series_is_thinned_and_a_step_found() {
        let step: Vec<f64> = (0..3_600).map(|n| if n < 1_800 { 1.0 } else { 2.0 }).collect();
        let course = Course::of(&step).unwrap();
        assert_eq!((course.first, course.second), (1.0, 2.0));
        assert!(course.rises_by(0.9) && !course.rises_by(1.1));
    }
}
