//! The metrics page, read back as a scraper would.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::log::{Format, Level, channel};

fn build() -> Build {
    let (logger, _) = channel(Level::Info, Format::Text);
    Build {
        engine: "epoll",
        kernel: "6.18".to_owned(),
        connections_max: 9,
        lost: logger.lost(),
        certificates: None,
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `name{label="value",..}`, taken apart.
fn series(text: &str) -> (String, BTreeMap<String, String>) {
    let Some((name, rest)) = text.split_once('{') else {
        return (text.to_owned(), BTreeMap::new());
    };
    let mut labels = BTreeMap::new();
    for pair in rest.strip_suffix('}').expect("labels end").split("\",") {
        let (label, value) = pair.split_once("=\"").expect("label=\"value\"");
        assert!(is_name(label), "{label}");
        let before = labels.insert(label.to_owned(), value.trim_end_matches('"').to_owned());
        assert_eq!(before, None, "{label} twice in {text}");
    }
    (name.to_owned(), labels)
}

/// Samples by series, after checking all that the format asks for.
fn read(page: &str) -> BTreeMap<String, f64> {
    assert!(page.ends_with('\n'));
    let (mut families, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let (mut family, mut help) = (String::new(), String::new());
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').expect("help has words");
            assert!(!text.is_empty());
            help = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type has a kind");
            assert_eq!(name, help, "HELP comes first");
            assert!(is_name(name));
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert_eq!(families.insert(name.to_owned(), kind.to_owned()), None, "{name} twice");
            family = name.to_owned();
        } else {
            let (text, value) = line.rsplit_once(' ').expect("a sample has a value");
            let (name, _) = series(text);
            assert_eq!(name, family, "samples stand below their TYPE");
            let value: f64 = value.parse().expect("a number");
            assert_eq!(samples.insert(text.to_owned(), value), None, "{text} twice");
        }
    }
    samples
}

#[test]
fn the_page_is_well_formed_and_says_what_was_counted() {
    let workers = [Arc::new(WorkerMetrics::new()), Arc::new(WorkerMetrics::new())];
    let metrics = &workers[1];
    metrics.accepted.add(3);
    metrics.connection_moved(None, Some((Transport::Http, State::Connecting)));
    metrics.connection_moved(
        Some((Transport::Http, State::Connecting)),
        Some((Transport::WebSocket, State::Open)),
    );
    metrics.refused(404);
    metrics.refused(418);
    metrics.dropped(DropReason::SlowConsumer);
    metrics.delivered(Transport::Sse, 1 << 40);
    metrics.held_bytes.add(10);
    metrics.held_bytes.sub(4);
    let figures = ringwire_ring::Figures { turns: 5, buffers_exhausted: 2, ..Default::default() };
    metrics.show_figures(&figures);
    let samples = read(&render(&workers, &build()));
    let expected = [
        ("ringwire_connections_accepted_total{worker=\"0\"}", 0.0),
        ("ringwire_connections_accepted_total{worker=\"1\"}", 3.0),
        ("ringwire_connections{worker=\"1\",transport=\"http\",state=\"connecting\"}", 0.0),
        ("ringwire_connections{worker=\"1\",transport=\"websocket\",state=\"open\"}", 1.0),
        ("ringwire_requests_refused_total{worker=\"1\",status=\"404\"}", 1.0),
        ("ringwire_requests_refused_total{worker=\"1\",status=\"other\"}", 1.0),
        ("ringwire_connections_dropped_total{worker=\"1\",reason=\"slow_consumer\"}", 1.0),
        ("ringwire_deliveries_total{worker=\"1\",transport=\"sse\"}", 1_099_511_627_776.0),
        ("ringwire_held_bytes{worker=\"1\"}", 6.0),
        ("ringwire_engine_turns_total{worker=\"1\"}", 5.0),
        ("ringwire_engine_buffers_exhausted_total{worker=\"1\"}", 2.0),
        ("ringwire_connections_max", 9.0),
        ("ringwire_log_lines_lost_total{reason=\"queue_full\"}", 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    assert!(samples["process_resident_memory_bytes"] > 0.0);
    assert!(samples.contains_key("process_cpu_seconds_total"));
}

#[test]
fn the_series_are_the_same_whatever_was_counted() {
    let names = |workers: &[Arc<WorkerMetrics>]| {
        read(&render(workers, &build())).into_keys().collect::<BTreeSet<_>>()
    };
    let workers = [Arc::new(WorkerMetrics::new())];
    let before = names(&workers);
    for status in 0..=u16::MAX {
        workers[0].refused(status);
    }
    for &reason in DropReason::ALL {
        workers[0].dropped(reason);
    }
    for &kind in RequestKind::ALL {
        workers[0].request(kind);
    }
    assert_eq!(names(&workers), before);
    assert_eq!(workers[0].refused_total(), 65_536);
}

#[test]
fn label_values_are_escaped() {
    let mut page = Page::default();
    page.gauge("odd", "A value with everything that needs an escape.");
    page.sample(&[("value", &"a\"b\\c\nd")], 1);
    assert!(page.finish().ends_with("odd{value=\"a\\\"b\\\\c\\nd\"} 1\n"));
}
