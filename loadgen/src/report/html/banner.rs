//! What stands first: where this was measured, and whether to believe it.
//!
//! Not here: the evidence (`machine.rs`). Invariant: each state has a word and a shape, never a
//! colour alone.

use maud::{Markup, html};

use super::sentence::{joined, plural};
use super::{Page, STYLE, length};
use crate::result::Ended;
use crate::verdict::State;

/// How a banner looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Suspect,
    Failed,
    Neutral,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Neutral => "neutral",
        }
    }

    /// A check in a circle, a triangle, a cross in an octagon, a bar in a square.
    const fn shape(self) -> &'static str {
        match self {
            Self::Good => "M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18zM8 12.2l2.8 2.8 5-5.6",
            Self::Suspect => "M12 3.5L21.5 20h-19zM12 10v5M12 17.4v.2",
            Self::Failed => {
                "M8.3 3h7.4L21 8.3v7.4L15.7 21H8.3L3 15.7V8.3zM9.2 9.2l5.6 5.6m0-5.6l-5.6 5.6"
            }
            Self::Neutral => "M4 4h16v16h-16zM8 12h8",
        }
    }
}

/// The shape of a state, for a line of text.
pub(super) fn sign(tone: Tone) -> Markup {
    html! { svg.sign viewBox="0 0 24 24" aria-hidden="true" { path d=(tone.shape()) {} } }
}

/// A box with a shape, a word and lines below.
pub(super) fn banner(tone: Tone, word: &str, lines: &Markup) -> Markup {
    html! {
        div.banner.(tone.class()) {
            (sign(tone))
            div { strong { (word) } (lines) }
        }
    }
}

/// The first line: command, time, duration, place.
pub(super) fn header(page: &Page<'_>) -> Markup {
    let machine = &page.document.machine;
    let cores = machine.cpus.map(|count| format!("{count} {}", plural(count, "core")));
    let place = page.is_loopback().then(|| "loopback".to_owned());
    let place: Vec<String> = place.into_iter().chain(cores).collect();
    let started = page.document.started_at.replacen('T', " ", 1).replace('Z', " UTC");
    html! {
        header {
            b { "loadgen " (page.subcommand()) }
            span {
                (started)
                " \u{b7} " (length(page.measured_ns())) " measured"
                @if !place.is_empty() { " \u{b7} " (place.join(", ")) }
                " \u{b7} " a href="#machine" { "machine" }
            }
        }
    }
}

/// Trust, thresholds, an early end, and what makes no claim.
pub(super) fn banners(page: &Page<'_>) -> Markup {
    html! {
        div.banners {
            (trust(page))
            (thresholds(page))
            @if let Some(end) = page.early_end() {
                @let is_aborted = page.document.ended == Ended::Aborted;
                @let word = if is_aborted { "Aborted" } else { "Interrupted" };
                (banner(Tone::Neutral, word, &html! {
                    p { (end) "; below is what was measured until then" }
                }))
            }
            @if page.has_switch("--quick") {
                (banner(Tone::Neutral, "Quick", &html! { p { "quick, no claim of accuracy" } }))
            }
        }
    }
}

fn trust(page: &Page<'_>) -> Markup {
    let verdict = &page.document.verdict;
    let (tone, word) = match verdict.state {
        State::Valid => (Tone::Good, "Valid run"),
        State::Suspect => (Tone::Suspect, "Suspect run"),
        State::Invalid => (Tone::Failed, "Invalid run"),
    };
    let checks = &page.document.checks;
    let passed = checks.iter().filter(|check| check.state == State::Valid).count();
    let lines = html! {
        @for reason in &verdict.reasons { p { (reason) } }
        @if verdict.reasons.is_empty() && checks.is_empty() {
            p { "nothing found against this run" }
        } @else if passed == checks.len() && !checks.is_empty() {
            p { "all " (passed) " checks of the instrument " a href="#trust" { "passed" } }
        } @else if !checks.is_empty() {
            p { (passed) " of " (checks.len()) " checks " a href="#trust" { "passed" } }
        }
    };
    banner(tone, word, &lines)
}

fn thresholds(page: &Page<'_>) -> Markup {
    let all = &page.document.thresholds;
    let failed: Vec<_> = all.iter().filter(|threshold| !threshold.is_met).collect();
    if all.is_empty() {
        return html! {};
    }
    if page.is_invalid() {
        let lines = html! { p { "an invalid run neither meets nor misses them" } };
        return banner(Tone::Neutral, "Thresholds not judged", &lines);
    }
    let count = all.len() as u64;
    if failed.is_empty() {
        let word = match count {
            1 => "Threshold met".to_owned(),
            2 => "Both thresholds met".to_owned(),
            _ => format!("All {count} thresholds met"),
        };
        let each: Vec<String> =
            all.iter().map(|one| format!("{}: {}", one.expression, one.shown)).collect();
        return banner(Tone::Good, &word, &html! { p { (joined(&each)) } });
    }
    let word = format!("{} of {count} {} failed", failed.len(), plural(count, "threshold"));
    let lines = html! {
        @for threshold in &failed {
            p { (threshold.expression) ", measured " (threshold.shown) }
        }
        p { "exit code 99" }
    };
    banner(Tone::Failed, &word, &lines)
}

/// What stands where the charts would be if there were anything to draw.
pub(super) fn nothing_delivered(page: &Page<'_>) -> Markup {
    let details = page.rows.iter().flat_map(|row| &row.run.error_details);
    let detail = details.max_by_key(|detail| detail.count);
    let codes = page.rows.iter().flat_map(|row| &row.run.errors);
    let code = codes.max_by_key(|(_, count)| **count);
    html! {
        section {
            div.hollow {
                p { b { "Nothing was delivered, so there is nothing to draw." } }
                @if let Some(detail) = detail {
                    p {
                        "Most frequent: " code { (detail.code) } ", "
                        (STYLE.count(detail.count)) " times. " (detail.meaning)
                    }
                    @if !detail.cure.is_empty() { p { "Cure: " code { (detail.cure) } } }
                } @else if let Some((code, count)) = code {
                    p { "Most frequent: " code { (code) } ", " (STYLE.count(*count)) " times." }
                } @else {
                    p { "No error was seen either." }
                }
            }
        }
    }
}
