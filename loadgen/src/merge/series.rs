//! The histograms and the intervals of several parts as those of one.
//!
//! Pure. Invariant: percentiles are taken from sums of histograms.

use hdrhistogram::Histogram;
use loadgen::outcome::Failure;
use std::collections::BTreeMap;

use super::{all, either};
use crate::bundle::{decode_histogram, encode_histogram};
use crate::result::{Histograms, Interval, Run};

/// The histograms of a row.
#[derive(Debug)]
pub(super) struct Sums {
    pub(super) intended: Histogram<u64>,
    pub(super) sent: Histogram<u64>,
    pub(super) connect: Histogram<u64>,
    pub(super) schedule_lag: Histogram<u64>,
    pub(super) send_blocked: Histogram<u64>,
}

impl Sums {
    pub(super) fn of(parts: &[&Run]) -> Result<Self, Failure> {
        let sum = |text: fn(&Histograms) -> &String| {
            added(parts.iter().filter_map(|part| part.histograms.as_ref()).map(text))
        };
        Ok(Self {
            intended: sum(|all| &all.intended)?,
            sent: sum(|all| &all.sent)?,
            connect: sum(|all| &all.connect)?,
            schedule_lag: sum(|all| &all.schedule_lag)?,
            send_blocked: sum(|all| &all.send_blocked)?,
        })
    }

    pub(super) fn encoded(&self) -> Histograms {
        Histograms {
            intended: encode_histogram(&self.intended),
            sent: encode_histogram(&self.sent),
            connect: encode_histogram(&self.connect),
            schedule_lag: encode_histogram(&self.schedule_lag),
            send_blocked: encode_histogram(&self.send_blocked),
        }
    }
}

/// The sum of encoded histograms.
pub(crate) fn added<'t>(
    texts: impl Iterator<Item = &'t String>,
) -> Result<Histogram<u64>, Failure> {
    let mut sum = loadgen::recorder::empty_histogram();
    for text in texts {
        let part = decode_histogram(text).map_err(Failure::configuration)?;
        // What is decoded has the layout of all others.
        sum.add(&part).map_err(|_| Failure::configuration("histograms of two layouts"))?;
    }
    Ok(sum)
}

/// What one interval of the whole gathers.
#[derive(Debug, Default)]
struct Gathered {
    interval: Interval,
    histograms: Vec<String>,
    /// Of each part, at the end of the interval.
    open: Vec<Option<u64>>,
}

/// Every part's intervals lined up by their start; a finer division follows the coarsest.
pub(super) fn intervals(parts: &[&Run]) -> Result<(Vec<Interval>, Option<u64>), Failure> {
    let length_ns = parts.iter().filter_map(|part| part.interval_ns).max();
    let step_ns = length_ns.unwrap_or(1_000_000_000).max(1);
    let mut gathered: BTreeMap<u64, Gathered> = BTreeMap::new();
    for part in parts {
        let mut open_of_part: BTreeMap<u64, Option<u64>> = BTreeMap::new();
        for interval in &part.intervals {
            let start_ns = interval.start_ns - interval.start_ns % step_ns;
            let into = gathered.entry(start_ns).or_default();
            for (into, part) in [
                (&mut into.interval.messages_sent, interval.messages_sent),
                (&mut into.interval.messages_received, interval.messages_received),
                (&mut into.interval.errors, interval.errors),
            ] {
                *into = into.saturating_add(part);
            }
            into.interval.latency_max_ns =
                either(into.interval.latency_max_ns, interval.latency_max_ns, u64::max);
            into.histograms.extend(interval.histogram.clone());
            // Open at its end: the last of a part's own.
            open_of_part.insert(start_ns, interval.connections_open);
        }
        for (start_ns, open) in open_of_part {
            gathered.entry(start_ns).or_default().open.push(open);
        }
    }
    let close = |(start_ns, gathered): (u64, Gathered)| {
        let sum = added(gathered.histograms.iter())?;
        let at = |quantile| (!sum.is_empty()).then(|| sum.value_at_quantile(quantile));
        Ok(Interval {
            start_ns,
            latency_p50_ns: at(0.5),
            latency_p99_ns: at(0.99),
            connections_open: all(gathered.open.into_iter(), u64::saturating_add),
            histogram: Some(encode_histogram(&sum)),
            ..gathered.interval
        })
    };
    Ok((gathered.into_iter().map(close).collect::<Result<_, Failure>>()?, length_ns))
}
