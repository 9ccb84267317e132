//! Every kind is what its readers expect, and nothing is written in part.

use super::*;
use crate::cli::plan::tests::scenario;
use crate::result::ThresholdResult;
use crate::samples;
use crate::verdict::{State, Verdict};
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use loadgen::scenario::{Scenario, Transport};
use std::collections::BTreeMap;

/// Two rows: `ws`, and `sse` with errors.
fn sample() -> Document {
    let ws = crate::summary::run(&scenario(), &samples::outcome());
    let scenario = Scenario { transport: Transport::Sse, ..scenario() };
    let mut sse = crate::summary::run(&scenario, &samples::outcome());
    sse.errors.insert("tcp.reset".to_owned(), 3);
    Document { runs: vec![ws, sse], ..samples::document() }
}

fn text(kind: Kind, document: &Document) -> String {
    String::from_utf8(render(kind, document).unwrap()).unwrap()
}

#[test]
fn kinds_are_named_and_unknown_ones_name_them() {
    for (name, kind) in Kind::ALL {
        let output = parse(&format!("{name}=a=b")).unwrap();
        assert_eq!((output.kind, output.path), (kind, PathBuf::from("a=b")));
    }
    assert!(parse("json=-").unwrap().is_stdout());
    for wrong in ["yaml=x", "json", "json=", "=x", ""] {
        let line = parse(wrong).unwrap_err();
        assert!(line.contains("json, bundle, csv, hgrm, hlog"), "{wrong}: {line}");
    }
}

#[test]
fn what_cannot_be_written_is_refused_before() {
    let folder = std::env::temp_dir();
    let outputs = |all: &[&str]| -> Vec<Output> {
        let full = |text: &&str| parse(&text.replace("TMP", &folder.display().to_string()));
        all.iter().map(|text| full(text).unwrap()).collect()
    };
    for refused in [
        &["json=/nowhere/at/all.json"][..],
        &["json=TMP"],
        &["json=TMP/.."],
        &["json=TMP/a", "csv=TMP/a"],
        &["json=TMP/a", "csv=TMP/../TMP/./a"],
        &["json=-", "csv=-"],
    ] {
        assert_eq!(check(&outputs(refused)).unwrap_err().code, 104, "{refused:?}");
    }
    assert!(check(&outputs(&["json=TMP/a", "csv=TMP/b", "prom=-", "hgrm=/dev/full"])).is_ok());
}

#[test]
fn csv_has_a_row_for_every_interval_and_a_column_for_every_field() {
    let text = text(Kind::Csv, &sample());
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 1 + 2 * 4);
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    let column = |line: usize, name: &str| {
        lines[line][lines[0].iter().position(|column| *column == name).unwrap()]
    };
    assert_eq!((column(1, "row"), column(5, "row")), ("ws", "sse"));
    assert_eq!((column(2, "start_ns"), column(2, "messages_received")), ("1000000000", "4000"));
    assert_eq!(column(2, "latency_p50_ns"), "500223");
    // 4,000 samples bear no p99.9.
    assert_eq!((column(2, "latency_p99_9_ns"), column(2, "connections_open")), ("", "200"));
}

#[test]
fn a_spectrum_holds_every_sample_up_to_its_maximum() {
    let one = Document { runs: vec![sample().runs.remove(0)], ..sample() };
    let text = text(Kind::Hgrm, &one);
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap(), "       Value     Percentile TotalCount 1/(1-Percentile)");
    let steps: Vec<Vec<f64>> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
        .collect();
    for pair in steps.windows(2) {
        assert!(pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2]);
    }
    for step in &steps[..steps.len() - 1] {
        // Values are evenly spread from 0.001 to 1 ms.
        assert!((step[0] - step[1]).abs() < 0.003, "{step:?}");
        assert_eq!(step.len(), 4);
    }
    let last = steps.last().unwrap();
    assert_eq!((last[1], last[2], last.len()), (1.0, 16_000.0, 3));
    assert!(text.contains("#[Max     =        1.000, Total count    =        16000]"), "{text}");
}

#[test]
fn of_several_rows_each_has_a_spectrum_of_its_own() {
    let output = parse("hgrm=/x/run.hgrm").unwrap();
    let names: Vec<PathBuf> = files(&output, &sample()).into_iter().map(|file| file.0).collect();
    assert_eq!(names, [PathBuf::from("/x/run.ws.hgrm"), PathBuf::from("/x/run.sse.hgrm")]);
    assert_eq!(of_row(Path::new("spectrum"), "poll@1s"), Path::new("spectrum.poll@1s"));
}

#[test]
fn an_interval_log_is_read_by_its_own_library() {
    let bytes = render(Kind::Hlog, &sample()).unwrap();
    let head = String::from_utf8_lossy(&bytes);
    assert!(head.starts_with("#[Histogram log format version 1.2]"), "{head}");
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for entry in IntervalLogIterator::new(&bytes) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let text = interval.encoded_histogram();
        let histogram = bundle::decode_histogram(text).unwrap();
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text);
        let theirs: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut &bytes.unwrap()[..]).unwrap();
        assert_eq!(theirs, histogram);
        assert_eq!(interval.duration().as_secs(), 1);
        let tag = interval.tag().unwrap().as_str().to_owned();
        *counts.entry(tag).or_default() += histogram.len();
    }
    let expected = [("sse", 16_000), ("ws", 16_000)].map(|(row, count)| (row.to_owned(), count));
    assert_eq!(counts, BTreeMap::from(expected));
}

/// One sample of Prometheus' text exposition: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads the exposition as strictly as its grammar is.
fn samples_of(text: &str) -> Vec<Sample> {
    let mut typed: BTreeMap<String, String> = BTreeMap::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(typed.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                let (label, after) = rest.split_once("=\"").unwrap();
                let mut value = String::new();
                let mut characters = after.chars();
                loop {
                    match characters.next().unwrap() {
                        '"' => break,
                        '\\' => value.push(match characters.next().unwrap() {
                            'n' => '\n',
                            other => other,
                        }),
                        other => value.push(other),
                    }
                }
                assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
                rest = characters.as_str();
                match rest.split_at(1) {
                    (",", more) => rest = more,
                    ("}", more) => {
                        rest = more;
                        break;
                    }
                    _ => panic!("{line}"),
                }
            }
        }
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let kind = base.and_then(|base| typed.get(base)).or_else(|| typed.get(name));
        assert!(kind.is_some(), "{name} has no type");
        samples.push((name.to_owned(), labels, rest.trim().parse().unwrap()));
    }
    samples
}

#[test]
fn prometheus_gets_cumulative_histograms_and_no_percentiles() {
    let mut document = sample();
    document.labels.insert("commit".to_owned(), "a\"b\\c\nd".to_owned());
    let text = text(Kind::Prom, &document);
    assert!(!text.contains("quantile") && !text.contains("p99"), "{text}");
    let samples = samples_of(&text);
    assert!(
        samples.iter().all(|(name, labels, _)| {
            name == "loadgen_valid" || labels["commit"] == "a\"b\\c\nd"
        })
    );
    let of = |name: &str, row: &str, from: &str| -> Vec<(f64, f64)> {
        let is_asked = |sample: &&Sample| {
            sample.0 == name
                && sample.1["row"] == row
                && sample.1.get("from").is_none_or(|value| value == from)
        };
        let le = |sample: &Sample| sample.1.get("le").map_or(0.0, |le| le.parse().unwrap());
        samples.iter().filter(is_asked).map(|sample| (le(sample), sample.2)).collect()
    };
    let buckets = of("loadgen_latency_seconds_bucket", "ws", "intended");
    assert_eq!(buckets.len(), 23);
    assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
    // Evenly from 1 to 1,000 us, 16 of each.
    let at = |le: f64| buckets.iter().find(|bucket| bucket.0 == le).unwrap().1;
    assert_eq!((at(0.0001), at(0.0005), at(f64::INFINITY)), (1_600.0, 8_000.0, 16_000.0));
    assert_eq!(of("loadgen_latency_seconds_count", "sse", "sent"), [(0.0, 16_000.0)]);
    let sum = of("loadgen_latency_seconds_sum", "ws", "intended")[0].1;
    assert!((sum / 8.008 - 1.0).abs() < 0.001, "{sum}");
    assert_eq!(of("loadgen_connect_seconds_count", "ws", ""), [(0.0, 200.0)]);
    assert_eq!(of("loadgen_errors_total", "sse", ""), [(0.0, 3.0)]);
    assert_eq!(of("loadgen_messages_received_total", "ws", ""), [(0.0, 16_000.0)]);
}

#[test]
fn junit_has_a_case_for_the_verdict_and_each_threshold() {
    let mut document = sample();
    let result = |expression: &str, is_met| ThresholdResult {
        expression: expression.to_owned(),
        measured: None,
        shown: "6.18 ms".to_owned(),
        is_met,
    };
    document.thresholds = vec![result("p(99)<5ms", false), result("gaps==0", true)];
    let reasons = vec!["</failure>&\"\u{1}".to_owned()];
    document.verdict = Verdict { state: State::Invalid, reasons };
    let text = text(Kind::Junit, &document);
    for part in [
        "tests=\"3\" failures=\"2\" errors=\"0\" timestamp=\"2026-11-21T23:20:00Z\" time=\"8.000\"",
        "name=\"p(99)&lt;5ms\" time=\"0\"><failure message=\"measured 6.18 ms\"/></testcase>",
        "name=\"gaps==0\" time=\"0\"><system-out>measured 6.18 ms</system-out></testcase>",
        "<failure message=\"INVALID &lt;/failure&gt;&amp;&quot;\u{fffd}\"/>",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(text.matches("<testcase ").count(), text.matches("</testcase>").count());
}

#[test]
fn kinds_that_need_histograms_say_so() {
    let mut document = sample();
    document.runs[1].histograms = None;
    for kind in ["bundle", "hgrm", "hlog", "prom"] {
        let failure = check_kinds(&[parse(&format!("{kind}=x")).unwrap()], &document).unwrap_err();
        assert!(failure.line.contains("--out bundle=PATH"), "{}", failure.line);
    }
    let plain = ["json=x", "csv=x", "junit=x"].map(|text| parse(text).unwrap());
    assert!(check_kinds(&plain, &document).is_ok());
    document.runs[1].failure = Some("refused".to_owned());
    assert!(check_kinds(&[parse("hgrm=x").unwrap()], &document).is_ok());
}

#[test]
fn a_full_disk_is_told_and_keeps_no_other_file_from_being_written() {
    let folder = std::env::temp_dir().join(format!("loadgen-out-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| format!("{}/{name}", folder.display());
    for (name, _) in Kind::ALL {
        std::os::unix::fs::symlink("/dev/full", path(&format!("full.{name}"))).unwrap();
        let full = parse(&format!("{name}={}", path(&format!("full.{name}")))).unwrap();
        let good = parse(&format!("{name}={}", path(name))).unwrap();
        let one = Document { runs: vec![sample().runs.remove(0)], ..sample() };
        let complaints = write(&[full, good], &one);
        assert_eq!(complaints.len(), 1, "{name}");
        assert!(complaints[0].contains("was not written: No space left"), "{complaints:?}");
        assert!(std::fs::metadata(path(name)).unwrap().len() > 0);
        std::fs::remove_file(path(name)).unwrap();
        std::fs::remove_file(path(&format!("full.{name}"))).unwrap();
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir_all(&folder).unwrap();
}
