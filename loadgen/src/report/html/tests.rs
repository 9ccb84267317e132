//! Facts about the page of every state: what stands in it, that its numbers are those of the
//! result, that nothing from outside becomes markup.
//!
//! Not here: how it looks, which `scripts/report-pages.sh` checks in a browser. With
//! `LOADGEN_HTML_SAMPLES=DIRECTORY` the pages are written there.

mod runs;
mod samples;

use base64::Engine as _;
use flate2::read::GzDecoder;
use std::io::Read as _;

use self::samples::HOSTILE;
use super::*;
use crate::report::number::Style;

const PAGE_BYTES_MAX: usize = 300_000;

/// What stands between two marks, for every pair of them.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    let parts = text.split(start).skip(1);
    parts.map(|part| part.split_once(end).map_or(part, |(inside, _)| inside)).collect()
}

/// The text of a page without its tags; what is folded away too.
fn words(page: &str) -> String {
    let body = page.split_once("<body").map_or("", |(_, body)| body);
    let body = body.split_once("<script>").map_or(body, |(body, _)| body);
    let mut text = String::new();
    for part in body.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        text.push(' ');
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    text.replace(['\u{a0}', '\u{202f}'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Tags that never close.
const VOID: [&str; 4] = ["meta", "br", "hr", "!DOCTYPE"];

/// Whether every tag is closed in turn.
fn assert_balanced(name: &str, page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        let word = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(word), "{name}: {tag}");
        } else if !VOID.contains(&word) && !tag.ends_with('/') {
            open.push(word);
        }
        rest = after;
        if ["style", "script"].contains(&word) && !tag.starts_with('/') {
            rest = &rest[rest.find(&format!("</{word}>")).unwrap()..];
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "{name}");
}

#[test]
fn html_samples() {
    let folder = std::env::var_os("LOADGEN_HTML_SAMPLES").map(std::path::PathBuf::from);
    for (name, document) in samples::all() {
        let page = page(&document);
        assert_balanced(name, &page);
        assert!(!page.contains("NaN") && !page.contains("inf\""), "{name}");
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("{name}.html")), &page).unwrap();
        }
        assert!(page.len() <= PAGE_BYTES_MAX, "{name}: {} bytes", page.len());
    }
}

#[test]
fn every_chart_is_told_to_those_who_do_not_see_it() {
    for document in [samples::comparison(), samples::single(), samples::agents()] {
        let page = page(&document);
        let charts = between(&page, "<svg class=\"w\"", "</svg>");
        assert!(charts.len() >= 4, "{}", charts.len());
        assert_eq!(charts.len(), between(&page, "<svg class=\"n\"", "</svg>").len());
        for chart in charts {
            assert!(chart.contains("role=\"img\""));
            for tag in ["title", "desc"] {
                let text = between(chart, &format!("<{tag}>"), &format!("</{tag}>"));
                assert_eq!(text.len(), 1);
                assert!(text[0].len() > 10, "{text:?}");
            }
        }
    }
}

#[test]
fn the_page_asks_nobody_for_anything() {
    for (name, document) in samples::all() {
        let page = page(&document);
        assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
        for word in ["src=\"", "url(", "@import", "fetch(", "XMLHttp", "<link", "<iframe"] {
            assert!(!page.contains(word), "{name}: {word}");
        }
        let targets = between(&page, "href=\"", "\"");
        let is_inside = |target: &&str| target.starts_with('#') || target.starts_with("data:");
        assert!(targets.iter().all(is_inside), "{name}");
    }
}

#[test]
fn a_comparison_answers_first() {
    let page = page(&samples::comparison());
    let text = words(&page);
    for part in [
        "Valid run all 7 checks of the instrument passed",
        "1 of 2 thresholds failed p(99)<50ms, measured 990 ms exit code 99",
        "WebSocket delivers a message for 3.12 \u{b5}s of server CPU. SSE costs 8 % more, Poll 1 s \
         7.7 times and Long poll 7.9 times as much.",
        "200 subscribers on each transport, 64 B payload, 2 000/s offered, open loop, 5 rounds in \
         alternating order, 5 runs, a fresh server for each.",
        "Cheapest WebSocket 3.12 \u{b5}s CPU per message 95 %: 3.03 \u{b5}s\u{2013}3.22 \u{b5}s",
        "Latency over time",
        "How bad is the tail?",
        "What each transport costs",
        "Connections over time",
        "connect.refused 3 0:42, Long poll",
        "Cure: sysctl -w net.core.somaxconn=4096",
        "Does it repeat?",
        "Can this run be trusted?",
        "Not measured TLS, compression and more than one machine",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let title = between(&page, "<title>", "</title>")[0].replace('\u{a0}', " ");
    assert_eq!(title, "valid \u{b7} WebSocket 3.12 \u{b5}s per message \u{b7} loadgen compare");
    let order = [
        "<h1>",
        "id=\"time\"",
        "id=\"tail\"",
        "id=\"costs\"",
        "id=\"connections\"",
        "id=\"errors\"",
        "id=\"repeat\"",
        "id=\"trust\"",
        "id=\"machine\"",
        "id=\"raw\"",
    ];
    let places: Vec<usize> = order.iter().map(|mark| page.find(mark).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn numbers_are_those_of_the_result_beside_them() {
    for document in [samples::comparison(), samples::single(), samples::insufficient()] {
        let page = page(&document);
        let link = between(&page, "data:application/gzip;base64,", "\"")[0];
        let gzip = base64::engine::general_purpose::STANDARD.decode(link).unwrap();
        let mut json = String::new();
        GzDecoder::new(&gzip[..]).read_to_string(&mut json).unwrap();
        let inside: Document = serde_json::from_str(&json).unwrap();
        let mut expected = document.clone();
        expected.runs.iter_mut().for_each(|run| run.histograms = None);
        assert_eq!(inside, expected);
        let text = words(&page);
        let plain = Style { is_utf8: true };
        for run in &inside.runs {
            let latency = run.latency_from_intended_ns;
            for ns in [latency.p50, latency.p99, latency.p99_9, latency.max].iter().flatten() {
                let shown = crate::report::duration(plain, *ns).replace('\u{a0}', " ");
                assert!(text.contains(&shown), "{shown}");
            }
            let cells = between(&page, "data-x=\"", "</tr>");
            for interval in &run.intervals {
                let clock = format!("<th>{}</th>", clock(interval.start_ns));
                let p99 = interval.latency_p99_ns.map_or_else(String::new, duration);
                let is_there = |cells: &&str| cells.contains(&clock) && cells.contains(&p99);
                assert!(cells.iter().any(is_there), "{clock} {p99}");
            }
        }
    }
}

#[test]
fn one_scenario_tells_all_it_measured() {
    let text = words(&page(&samples::single()));
    for part in [
        "99 % of replies came within",
        "at 2 000 messages/s on 200 connections.",
        "Both thresholds met",
        "Achieved 2 000/s of 2 000/s offered 120 000 received",
        "Opening a connection",
        "upgrade or subscription",
        "Jain's index of messages received 0.998 (1 is even)",
        "10 read nothing; the server cut off 9",
        "All connections dropped at once",
        "0:30 200 200",
        "4.00 s",
        "3 retransmitted",
        "No errors in 120 000 messages.",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("not measured a"));
}

#[test]
fn an_invalid_run_cannot_be_quoted() {
    let page = page(&samples::invalid());
    let text = words(&page);
    assert!(page.contains("<body class=\"invalid\">"));
    let headline = "This run does not measure the server: generator thread 2 was 99 % busy; use \
                    --threads 4 or less --rate";
    assert!(text.contains(headline), "{text}");
    let figures = page.matches("<figure>").count();
    assert_eq!(page.matches(">INVALID</span>").count(), figures);
    assert!(figures >= 4);
    assert!(between(&page, "<title>", "</title>")[0].starts_with("invalid"));
}

#[test]
fn a_suspect_run_tags_its_rows() {
    let page = page(&samples::suspect());
    let text = words(&page);
    assert!(text.contains("Suspect run sse: CPU steal 4.1 %"), "{text}");
    assert!(text.contains("SSE suspect"), "{text}");
    assert!(!text.contains("WebSocket suspect"), "{text}");
    assert!(text.contains("6 of 7 checks passed"), "{text}");
}

#[test]
fn an_early_end_says_when() {
    let text = words(&page(&samples::interrupted()));
    assert!(text.contains("Interrupted stopped at 0:38 of 1:00;"), "{text}");
}

#[test]
fn too_few_samples_are_said_and_never_zero() {
    let page = page(&samples::insufficient());
    let text = words(&page);
    assert!(text.contains("Half of replies came within"), "{text}");
    assert!(page.contains("title=\"needs 1\u{202f}000, has 60\""));
    assert!(text.contains("insufficient") && text.contains("quick, no claim of accuracy"));
    let points = words(&super::page(&samples::plain()));
    assert!(points.contains("only the percentiles of the table are drawn"), "{points}");
}

#[test]
fn where_nothing_arrived_nothing_is_drawn() {
    let page = page(&samples::nothing());
    let text = words(&page);
    assert!(text.contains("Nothing was delivered, so there is nothing to draw."), "{text}");
    assert!(text.contains("Most frequent: connect.refused , 3 times."), "{text}");
    assert!(text.contains("every connection was lost at 0:10 of 1:00"), "{text}");
    assert!(!page.contains("<figure>"));
}

#[test]
fn an_unmeasured_server_says_how_to_measure_it() {
    let text = words(&page(&samples::no_server()));
    assert!(text.contains("Server cost not measured. Add --server-pid , a cgroup"), "{text}");
    assert!(text.contains("99 % of deliveries over WebSocket came within"), "{text}");
    assert!(text.contains("Not measured server cost, "), "{text}");
}

#[test]
fn rows_and_agents_may_be_many() {
    let text = words(&page(&samples::twenty()));
    assert!(text.contains("Poll 1700 ms") && text.contains("Poll 100 ms"), "{text}");
    let text = words(&page(&samples::agents()));
    for part in [
        "Do the agents agree?",
        "The three furthest from it are drawn. Clocks agree within 90.0 \u{b5}s.",
        "load-12 lost not heard of since 0:41",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn a_day_merges_histograms_and_keeps_the_peak() {
    let document = samples::day();
    let page = page(&document);
    let text = words(&page);
    assert!(text.contains("One point stands for 30 intervals, their histograms added."), "{text}");
    assert!(text.contains("Without the intervals, which would make this page too large"));
    let max = document.runs[0].intervals.iter().filter_map(|one| one.latency_max_ns).max();
    let shown = duration(max.unwrap());
    assert!(between(&page, "data-x=\"", "</tr>").iter().any(|row| row.contains(&shown)));
}

#[test]
fn what_a_peer_says_stays_text() {
    let page = page(&samples::hostile());
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script").count(), 1);
    assert!(!page.contains("<svg onload"));
    assert!(!page.contains(HOSTILE));
    assert!(page.matches("&lt;/script&gt;&lt;svg onload=alert(1)&gt;&quot;'&amp;").count() > 20);
    assert!(words(&page).matches(HOSTILE.split('"').next().unwrap()).count() > 20);
}

#[test]
fn connections_alone_have_a_page_too() {
    let text = words(&page(&samples::churn()));
    assert!(text.contains("12 000 connections were opened and closed, 600 a second"), "{text}");
    let text = words(&page(&samples::idle()));
    assert!(text.contains("200 connections were held open for 20 s."), "{text}");
    assert!(!text.contains("Nothing was delivered"), "{text}");
    let nothing = Document { runs: Vec::new(), ..samples::churn() };
    assert!(words(&page(&nothing)).contains("Nothing was measured."));
}

#[test]
fn two_results_beside_each_other_are_a_forest() {
    let old = samples::comparison();
    let mut new = samples::comparison();
    new.machine.cpu_model = Some(HOSTILE.to_owned());
    for round in new.runs.iter_mut().flat_map(|run| &mut run.rounds) {
        let p99 = &mut round.latency_from_intended_ns.p99;
        *p99 = p99.map(|ns| ns / 2);
    }
    let comparison = crate::diff::compare(&old, &new, 0.03, true).unwrap();
    let page = diff(&comparison);
    assert_balanced("diff", &page);
    assert!(!page.contains(HOSTILE));
    let text = words(&page);
    assert!(text.contains("Not the same conditions machine.cpu_model"), "{text}");
    for row in &comparison.rows {
        let said = format!("{}, {}", row.transport, row.metric.name());
        assert!(text.contains(&said), "{said}\n{text}");
        assert!(text.contains(&row.word.text(0.03)), "{text}");
    }
    let drawn = comparison.rows.iter().filter(|row| row.ratio.is_some()).count();
    let chart = between(&page, "<svg class=\"w\"", "</svg>")[0];
    assert_eq!(chart.matches("<g class=\"other\">").count(), drawn);
    if let Some(folder) = std::env::var_os("LOADGEN_HTML_SAMPLES") {
        std::fs::write(std::path::Path::new(&folder).join("diff.html"), page).unwrap();
    }
}
