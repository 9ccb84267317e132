//! What each transport should cost, from nothing but the plan and the wire formats.
//!
//! Bytes are those that the encoders of the protocol make: for a poll, the request of our client
//! and the answer as ringwire documents it. Another server answers with other heads, which shows as
//! what is left over.

use loadgen::scenario::{Scenario, Transport};
use ringwire_protocol::http::{encode_request, encode_response};
use ringwire_protocol::{Epoch, Position, poll, sse, ws};

use crate::cli::units::Fraction;
use crate::result::{Figures, rounded};

const NS_PER_S: u128 = 1_000_000_000;
/// Exchanges looked at; more make the mean no better.
const SAMPLES_MAX: u64 = 2_000;

/// What theory is made from, besides the scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'s> {
    pub(crate) scenario: &'s Scenario,
    /// Publications per second in total.
    pub(crate) rate: Fraction,
    /// How long a pushed message took in the same comparison: what polling adds to.
    pub(crate) pushed_p50_ns: Option<u64>,
}

/// The figures that theory claims; `None` where it claims nothing.
pub(crate) fn figures(given: &Given<'_>) -> Figures {
    let scenario = given.scenario;
    let is_compressed = scenario.compression.is_some() && scenario.transport == Transport::Ws;
    let figures = plain_figures(given);
    if scenario.secure.is_some() || is_compressed {
        // How bytes are compressed, and cut into records, is the server's business.
        return Figures { wire_bytes_per_message: None, ..figures };
    }
    figures
}

/// The figures of what is neither compressed nor encrypted.
fn plain_figures(given: &Given<'_>) -> Figures {
    let pushed = given.pushed_p50_ns.and_then(|ns| i64::try_from(ns).ok());
    match given.scenario.transport {
        Transport::Ws => Figures {
            wire_bytes_per_message: Some(frame_bytes(given.scenario.size_bytes)),
            requests_per_message: Some(0.0),
            ..Figures::NONE
        },
        Transport::Sse => Figures {
            wire_bytes_per_message: mean(&offsets(given), |offset| event_bytes(given, offset)),
            requests_per_message: Some(0.0),
            ..Figures::NONE
        },
        // One publication at a time: the next is asked for before it is made.
        Transport::LongPoll => Figures {
            wire_bytes_per_message: mean(&offsets(given), |offset| {
                exchange_bytes(given, offset - 1, 1)
            }),
            requests_per_message: Some(1.0),
            latency_p50_ns: pushed,
            latency_p99_ns: None,
        },
        Transport::Poll => polling(given, pushed.unwrap_or(0)),
    }
}

/// Measured minus theory, where both exist.
pub(crate) fn residual(measured: &Figures, theory: &Figures) -> Figures {
    let less = |measured: Option<f64>, theory: Option<f64>| Some(measured? - theory?);
    let less_ns = |measured: Option<i64>, theory: Option<i64>| Some(measured? - theory?);
    Figures {
        wire_bytes_per_message: less(
            measured.wire_bytes_per_message,
            theory.wire_bytes_per_message,
        ),
        requests_per_message: less(measured.requests_per_message, theory.requests_per_message),
        latency_p50_ns: less_ns(measured.latency_p50_ns, theory.latency_p50_ns),
        latency_p99_ns: less_ns(measured.latency_p99_ns, theory.latency_p99_ns),
    }
}

/// A payload as the server frames it, unmasked.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn frame_bytes(size_bytes: usize) -> f64 {
    ws::frame_len(size_bytes, false) as f64
}

fn payload(given: &Given<'_>) -> Vec<u8> {
    vec![b'-'; given.scenario.size_bytes]
}

const fn position(offset: u64) -> Position {
    Position { epoch: Epoch(0), offset }
}

fn event_bytes(given: &Given<'_>, offset: u64) -> usize {
    let mut out = Vec::new();
    sse::encode_event(&mut out, position(offset), &payload(given), true);
    out.len()
}

/// One request that asks from `since`, and its answer with the `count` publications after it.
fn exchange_bytes(given: &Given<'_>, since: u64, count: u64) -> usize {
    let scenario = given.scenario;
    let wait = if scenario.transport == Transport::LongPoll { "&wait=25" } else { "" };
    let path = &scenario.target.path;
    let joint = if path.contains('?') { '&' } else { '?' };
    let channel = if scenario.channels > 1 { "-0" } else { "" };
    let target = format!("{path}{channel}{joint}since={}{wait}", position(since));
    let own = scenario.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<_> = [("Accept", "application/json")].into_iter().chain(own).collect();
    let mut out = Vec::new();
    encode_request(&mut out, "GET", &scenario.target.host, &target, &headers, b"");

    let mut body = Vec::new();
    poll::encode_answer_head(&mut body, position(since + count), true);
    for offset in since + 1..=since + count {
        if offset > since + 1 {
            body.push(poll::ITEM_SEPARATOR);
        }
        poll::encode_item(&mut body, offset, &payload(given), true);
    }
    poll::encode_answer_tail(&mut body);
    let headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")];
    encode_response(&mut out, 200, &headers, &body, true);
    out.len()
}

/// Publications of one channel until `at_ns` from its beginning.
fn published(given: &Given<'_>, at_ns: u128) -> u64 {
    let channels = u128::from(given.scenario.channels.max(1));
    let count = at_ns * u128::from(given.rate.numerator)
        / (u128::from(given.rate.denominator) * NS_PER_S * channels);
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The offsets that one channel's publications in the window have, evenly thinned if too many.
fn offsets(given: &Given<'_>) -> Vec<u64> {
    let before = published(given, given.scenario.warmup.as_nanos());
    let end = published(given, (given.scenario.warmup + given.scenario.duration).as_nanos());
    let step = ((end - before) / SAMPLES_MAX).max(1);
    (before + 1..=end).step_by(usize::try_from(step).unwrap_or(usize::MAX)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn mean(offsets: &[u64], bytes: impl Fn(u64) -> usize) -> Option<f64> {
    let sum: usize = offsets.iter().map(|offset| bytes(*offset)).sum();
    (!offsets.is_empty()).then(|| sum as f64 / offsets.len() as f64)
}

/// Every poll of the window: each carries what was published since the one before.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn polling(given: &Given<'_>, pushed_ns: i64) -> Figures {
    let interval_ns = given.scenario.poll_interval.as_nanos();
    let begin_ns = given.scenario.warmup.as_nanos();
    let polls = given.scenario.duration.as_nanos() / interval_ns.max(1);
    let polls = u64::try_from(polls).unwrap_or(u64::MAX).min(SAMPLES_MAX);
    let (mut bytes, mut items) = (0, 0);
    for index in 0..polls {
        let from_ns = begin_ns + u128::from(index) * interval_ns;
        let since = published(given, from_ns);
        let count = published(given, from_ns + interval_ns) - since;
        bytes += exchange_bytes(given, since, count);
        items += count;
    }
    let interval_ns = interval_ns as f64;
    let channels = f64::from(given.scenario.channels.max(1));
    let per_interval = given.rate.to_f64() / channels * interval_ns / 1e9;
    Figures {
        wire_bytes_per_message: (items > 0).then(|| bytes as f64 / items as f64),
        requests_per_message: (per_interval > 0.0).then(|| 1.0 / per_interval),
        latency_p50_ns: Some(rounded(0.5 * interval_ns) + pushed_ns),
        latency_p99_ns: Some(rounded(0.99 * interval_ns) + pushed_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::tests::scenario;
    use std::time::Duration;

    fn given(scenario: &Scenario, rate: u64) -> Given<'_> {
        let rate = Fraction::new(rate, 1).unwrap();
        Given { scenario, rate, pushed_p50_ns: Some(300_000) }
    }

    fn at(transport: Transport) -> Scenario {
        let duration = Duration::from_secs(4);
        Scenario { transport, duration, channels: 1, ..scenario() }
    }

    #[test]
    fn a_frame_has_2_4_or_10_bytes_of_header() {
        for (size, expected) in [(20, 22.0), (125, 127.0), (126, 130.0), (70_000, 70_010.0)] {
            let scenario = Scenario { size_bytes: size, ..at(Transport::Ws) };
            let figures = figures(&given(&scenario, 20));
            assert_eq!(figures.wire_bytes_per_message, Some(expected));
            assert_eq!(figures.requests_per_message, Some(0.0));
            assert_eq!(figures.latency_p50_ns, None);
        }
    }

    #[test]
    fn an_event_is_its_id_and_data_lines() {
        let scenario = Scenario { size_bytes: 64, ..at(Transport::Sse) };
        let given = given(&scenario, 20);
        let text = format!("id: {:016x}:7\ndata: {}\n\n", 0, "-".repeat(64));
        assert_eq!(event_bytes(&given, 7), text.len());
        // 80 publications: nine offsets of one digit, the others of two.
        let expected = text.len() as f64 + 71.0 / 80.0;
        assert_eq!(figures(&given).wire_bytes_per_message, Some(expected));
    }

    #[test]
    fn a_long_poll_is_one_request_and_one_answer() {
        let scenario = Scenario { size_bytes: 20, ..at(Transport::LongPoll) };
        let given = given(&scenario, 1);
        let body = format!(
            "{{\"epoch\":\"{:016x}\",\"offset\":1,\"recovered\":true,\"items\":[{{\"offset\":1,\
             \"data\":\"{}\"}}]}}",
            0,
            "-".repeat(20)
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\
             Cache-Control: no-store\r\n\r\n{body}",
            body.len()
        );
        let request = format!(
            "GET /channels/x?since={:016x}:0&wait=25 HTTP/1.1\r\nHost: h:1\r\n\
             Accept: application/json\r\n\r\n",
            0
        );
        assert_eq!(exchange_bytes(&given, 0, 1), request.len() + answer.len());
        let figures = figures(&given);
        assert_eq!(figures.wire_bytes_per_message, Some((request.len() + answer.len()) as f64));
        assert_eq!(figures.requests_per_message, Some(1.0));
        assert_eq!(figures.latency_p50_ns, Some(300_000));
    }

    #[test]
    fn polling_shares_a_request_among_what_an_interval_published() {
        let poll_interval = Duration::from_secs(1);
        let scenario = Scenario { poll_interval, ..at(Transport::Poll) };
        let given = given(&scenario, 20);
        let figures = figures(&given);
        assert_eq!(figures.requests_per_message, Some(0.05));
        assert_eq!(figures.latency_p50_ns, Some(500_300_000));
        assert_eq!(figures.latency_p99_ns, Some(990_300_000));
        let bytes: usize = (0..4).map(|poll| exchange_bytes(&given, poll * 20, 20)).sum();
        assert_eq!(figures.wire_bytes_per_message, Some(bytes as f64 / 80.0));
    }

    #[test]
    fn an_empty_poll_still_costs_its_bytes() {
        let poll_interval = Duration::from_millis(100);
        let scenario = Scenario { poll_interval, ..at(Transport::Poll) };
        let figures = figures(&given(&scenario, 1));
        assert_eq!(figures.requests_per_message, Some(10.0));
        let empty = exchange_bytes(&given(&scenario, 1), 0, 0) as f64;
        assert!(figures.wire_bytes_per_message.unwrap() > 10.0 * empty);
    }

    #[test]
    fn what_is_left_over_needs_both_sides() {
        let measured = Figures { wire_bytes_per_message: Some(70.0), ..Figures::NONE };
        let theory = Figures { latency_p50_ns: Some(1), ..measured };
        let left = residual(&measured, &theory);
        assert_eq!(left, Figures { wire_bytes_per_message: Some(0.0), ..Figures::NONE });
    }
}
