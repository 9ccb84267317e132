//! The result of a command as JSON: exactly the shape of `ringwire.result/1`.
//!
//! Integers carry their unit in the name. What was not measured, or rests on too few samples, is
//! `null` and never 0. The schema beside (`schema/result.schema.json`) is checked by tests. How it
//! reaches a file is not said here.

pub(crate) mod detail;
mod latency;

pub(crate) use detail::{
    Agent, Check, Churn, Confidence, ErrorDetail, Estimate, Fairness, Histograms, Phases, Slow,
    Stage, Storm, Tcp, ThresholdResult, WireShare,
};
pub(crate) use latency::Latency;

use loadgen::scenario::{Scenario, Transport};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::machine::Machine;
use crate::verdict::Verdict;

/// The name and version of the format.
pub(crate) const SCHEMA: &str = "ringwire.result/1";

/// One result file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) schema: String,
    pub(crate) command: String,
    pub(crate) commit: Option<String>,
    pub(crate) seed: u64,
    pub(crate) started_at: String,
    pub(crate) ended: Ended,
    pub(crate) verdict: Verdict,
    pub(crate) machine: Machine,
    pub(crate) runs: Vec<Run>,
    /// Of `compare`: the same schedule published to a channel that nobody reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publish_to_nobody: Option<PublishToNobody>,
    /// `--label NAME=VALUE`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// `--threshold`, in the order given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) thresholds: Vec<ThresholdResult>,
    /// What was found about the server and the way to it; never against the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<String>,
    /// Every rule that the verdict rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) checks: Vec<Check>,
}

/// How it came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ended {
    Completed,
    Interrupted,
    Aborted,
}

/// One scenario, or one row of a comparison with its rounds merged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) transport: String,
    pub(crate) mode: String,
    pub(crate) connections: u64,
    pub(crate) in_flight: Option<u64>,
    pub(crate) poll_interval_ns: Option<u64>,
    pub(crate) size_bytes: u64,
    pub(crate) measured_ns: u64,
    pub(crate) offered_per_s: Option<f64>,
    pub(crate) achieved_per_s: Option<f64>,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) messages_expected: u64,
    pub(crate) gaps: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupted: u64,
    pub(crate) connection_counts: Connections,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) latency_from_intended_ns: Latency,
    pub(crate) latency_from_sent_ns: Latency,
    pub(crate) connect_ns: Latency,
    pub(crate) send_blocked_ns: Latency,
    pub(crate) wire_bytes_sent: u64,
    pub(crate) wire_bytes_received: u64,
    pub(crate) wire_bytes_per_message: Option<f64>,
    pub(crate) setup_bytes_per_connection: Option<i64>,
    pub(crate) server: Option<Server>,
    pub(crate) loadgen: Loadgen,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) rounds: Vec<Round>,
    /// From TCP connected to the end of the TLS handshake; absent without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_ns: Option<Latency>,
    /// TLS handshakes that took up an earlier session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_resumed: Option<u64>,
    /// What came of offering permessage-deflate; absent where it was not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compression: Option<Compression>,
    /// Who may send at any time: `both` or `server_to_client`. Of `compare`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) direction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests_per_message: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) theory: Option<Figures>,
    /// Measured minus theory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) residual: Option<Figures>,
    /// Why a row of `compare` has no measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// Requests of the window, where subscribers ask: polls and long polls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<u64>,
    /// Messages of a foreign server that are nobody's reply or delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) messages_other: Option<u64>,
    /// Length of one of `intervals`: a second, and twice as much each time there would be too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interval_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) phases: Option<Phases>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fairness: Option<Fairness>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tcp: Option<Tcp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wire_share: Option<WireShare>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) error_details: Vec<ErrorDetail>,
    /// How an open loop's messages are spread over time, where that is not evenly: `poisson`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) arrival: Option<String>,
    /// `--stage`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stages: Vec<Stage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) storms: Vec<Storm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) churn: Option<Churn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slow: Option<Slow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confidence: Option<Confidence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) agents: Vec<Agent>,
    /// Of bundles only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) histograms: Option<Histograms>,
}

impl Run {
    /// A row of a comparison that could not be measured: all null.
    pub(crate) fn unmeasured(scenario: &Scenario, errors: BTreeMap<String, u64>) -> Self {
        let is_poll = scenario.transport == Transport::Poll;
        let interval_ns = u64::try_from(scenario.poll_interval.as_nanos()).unwrap_or(u64::MAX);
        Self {
            transport: scenario.transport.name().to_owned(),
            mode: scenario.mode.name().to_owned(),
            connections: u64::from(scenario.connections),
            poll_interval_ns: is_poll.then_some(interval_ns),
            size_bytes: u64::try_from(scenario.size_bytes).unwrap_or(u64::MAX),
            errors,
            ..Self::default()
        }
    }
}

impl Round {
    /// A block that failed.
    pub(crate) fn failed(number: u32, why: &str) -> Self {
        Self { round: number, failure: Some(why.to_owned()), ..Self::default() }
    }
}

/// What theory predicts, or by how much the measurement differs from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) wire_bytes_per_message: Option<f64>,
    pub(crate) requests_per_message: Option<f64>,
    pub(crate) latency_p50_ns: Option<i64>,
    pub(crate) latency_p99_ns: Option<i64>,
}

impl Figures {
    /// Nothing is known.
    pub(crate) const NONE: Self = Self {
        wire_bytes_per_message: None,
        requests_per_message: None,
        latency_p50_ns: None,
        latency_p99_ns: None,
    };
}

/// What the server used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// In `compare` without the cost of publishing to nobody, where that was measured: the noise
    /// of both may make it negative.
    pub(crate) cpu_ns_per_message: Option<i64>,
    /// All of its CPU time over the messages received.
    pub(crate) cpu_ns_per_message_raw: Option<i64>,
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) rss_bytes_per_connection: Option<u64>,
    /// Where the figures come from.
    #[serde(default)]
    pub(crate) source: Source,
}

/// Who told what the server used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    #[default]
    Pid,
    Cgroup,
    Prometheus,
}

/// What this program used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loadgen {
    pub(crate) cpu_ns_per_message: Option<i64>,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) thread_busy_share_max: Option<f64>,
    pub(crate) schedule_lag_ns: Latency,
}

/// What came of offering permessage-deflate, over the whole run, warm-up included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compression {
    /// Connections whose server accepted.
    pub(crate) connections: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    /// What the first of them agreed on.
    pub(crate) agreed: Option<Agreed>,
}

/// The agreed parameters of RFC 7692.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agreed {
    pub(crate) server_window_bits: u8,
    pub(crate) client_window_bits: u8,
    pub(crate) server_no_context_takeover: bool,
    pub(crate) client_no_context_takeover: bool,
}

/// How many connections there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub(crate) open: u64,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    pub(crate) reopened: u64,
}

/// One second of the measured time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    pub(crate) start_ns: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) errors: u64,
    pub(crate) latency_p50_ns: Option<u64>,
    pub(crate) latency_p99_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency_max_ns: Option<u64>,
    /// Open at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connections_open: Option<u64>,
    /// Its latencies from intended, as in [`Histograms`]: of bundles only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) histogram: Option<String>,
}

/// One block of a comparison, before merging.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) round: u32,
    pub(crate) measured_ns: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) messages_expected: u64,
    pub(crate) gaps: u64,
    pub(crate) latency_from_intended_ns: Latency,
    pub(crate) wire_bytes_per_message: Option<f64>,
    pub(crate) requests_per_message: Option<f64>,
    pub(crate) server_cpu_ns_per_message_raw: Option<i64>,
    pub(crate) server_rss_bytes_per_connection: Option<u64>,
    pub(crate) failure: Option<String>,
}

/// The cost that every row pays before the first reader.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct PublishToNobody {
    pub(crate) publications: u64,
    pub(crate) measured_ns: u64,
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) server_cpu_ns_per_publication: Option<i64>,
}

/// A point in time as `2026-11-21T23:20:00Z`, from seconds since 1970.
pub(crate) fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Years of the Gregorian calendar beginning in March, in cycles of 400 years.
    let shifted = days + 719_468;
    let (cycle, day_of_cycle) = (shifted / 146_097, shifted % 146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_cycle + cycle * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A command line for the record: directories are left out, as they name their owner.
pub(crate) fn command_line(words: impl IntoIterator<Item = String>) -> String {
    let without_directory = |word: &str| {
        let (name, path) = word
            .split_once('=')
            .filter(|(_, path)| path.starts_with('/'))
            .map_or((String::new(), word), |(name, path)| (format!("{name}="), path));
        let file = path.rsplit('/').next().filter(|_| path.starts_with('/'));
        format!("{name}{}", file.unwrap_or(path))
    };
    let shown = words.into_iter().map(|word| without_password(&word)).map(|word| {
        let parts: Vec<String> = word.split(' ').map(without_directory).collect();
        let word = parts.join(" ");
        // What no shell reads anything into.
        let is_quiet = |letter: char| letter.is_alphanumeric() || "-_./:=,@%+[]".contains(letter);
        let is_plain = !word.is_empty() && word.chars().all(is_quiet);
        if is_plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// A URL's user and password are nobody else's business.
fn without_password(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => word.to_owned(),
    }
}

/// A quotient; `None` when there is nothing to divide by.
#[expect(clippy::cast_precision_loss, reason = "a mean; 53 bits are plenty")]
pub(crate) fn per(amount: u64, parts: u64) -> Option<f64> {
    (parts > 0).then(|| amount as f64 / parts as f64)
}

/// The nearest integer, for figures whose unit is fine enough.
#[expect(clippy::cast_possible_truncation, reason = "a cast from float saturates")]
pub(crate) fn rounded(value: f64) -> i64 {
    value.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn dates_are_of_the_calendar() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (unix_s, expected) in table {
            assert_eq!(utc(unix_s), expected);
        }
    }

    #[test]
    fn the_command_line_names_no_directory() {
        let words = [
            "/opt/a/loadgen",
            "compare",
            "--server-command",
            "/opt/a/ringwire --listen 127.0.0.1:{port}",
            "--out",
            "json=/home/x/r.json",
            "http://h:1/channels/a",
            "--nats=nats://me:se@cret@h:4222",
            "p(99)<1s",
            "{run}",
            "",
        ];
        let expected = "loadgen compare --server-command 'ringwire --listen 127.0.0.1:{port}' \
                        --out json=r.json http://h:1/channels/a \
                        '--nats=nats://***@h:4222' 'p(99)<1s' '{run}' ''";
        assert_eq!(command_line(words.map(str::to_owned)), expected);
    }

    fn sample() -> Document {
        let scenario = crate::cli::plan::tests::scenario();
        let mut run = crate::summary::run(&scenario, &samples::outcome());
        run.arrival = Some("poisson".to_owned());
        run.stages = vec![Stage { lasts_ns: 1, rate_per_s: 0.5 }];
        run.theory = Some(Figures::NONE);
        run.direction = Some("both".to_owned());
        (run.tls_ns, run.tls_resumed) = (Some(Latency::default()), Some(0));
        run.compression = Some(Compression {
            connections: 200,
            messages_sent: 0,
            messages_received: 16_000,
            agreed: Some(Agreed {
                server_window_bits: 15,
                client_window_bits: 15,
                server_no_context_takeover: false,
                client_no_context_takeover: false,
            }),
        });
        run.rounds = vec![
            crate::summary::round(1, &samples::outcome()),
            Round::failed(2, "the server went away"),
        ];
        let errors = BTreeMap::from([("round_failed".to_owned(), 2)]);
        let mut failed = Run::unmeasured(&scenario, errors);
        failed.failure = Some("refused".to_owned());
        let publish_to_nobody = Some(PublishToNobody {
            publications: 80,
            measured_ns: 4_000_000_000,
            server_cpu_ns: None,
            server_cpu_ns_per_publication: None,
        });
        Document { runs: vec![run, failed], publish_to_nobody, ..samples::document() }
    }

    #[test]
    fn a_document_keeps_to_the_schema() {
        let value = serde_json::to_value(sample()).unwrap();
        assert_eq!(crate::validator::offences(&value), Vec::<String>::new());
    }

    #[test]
    fn the_schema_notices_what_is_wrong() {
        let broken = |change: fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(sample()).unwrap();
            change(&mut value);
            crate::validator::offences(&value).len()
        };
        assert_eq!(broken(|value| value["schema"] = "ringwire.result/2".into()), 1);
        assert_eq!(broken(|value| value["seed"] = (-1).into()), 1);
        assert_eq!(broken(|value| value["host"] = "name".into()), 1);
        assert_eq!(broken(|value| value["runs"][0]["gaps"] = 0.5.into()), 1);
        assert_eq!(broken(|value| value["runs"][0]["connect_ns"]["p50"] = "1".into()), 1);
        assert_eq!(
            broken(|value| {
                value["runs"][0].as_object_mut().unwrap().remove("errors");
            }),
            1
        );
    }

    #[test]
    fn a_document_survives_being_written_and_read() {
        let text = serde_json::to_vec_pretty(&sample()).unwrap();
        assert_eq!(serde_json::from_slice::<Document>(&text).unwrap(), sample());
    }

    #[test]
    fn a_quotient_of_nothing_is_nothing() {
        assert_eq!(per(5, 0), None);
        assert_eq!(per(5, 2), Some(2.5));
        assert_eq!(rounded(-2.5), -3);
    }
}
