//! How one log line looks, in text and in JSON.
//!
//! Not here: when a line is written. Invariant: nothing a peer chose can end a line, move a
//! terminal's cursor or reverse the reading direction: such characters are written as escapes.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{LINE_BYTES_MAX, Record};

/// A message cut at [`LINE_BYTES_MAX`], at a character's boundary.
struct Bounded {
    text: String,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = LINE_BYTES_MAX - self.text.len();
        if part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        self.text.push_str(&part[..boundary_before(part, room)]);
        Err(fmt::Error)
    }
}

/// The message as text of at most [`LINE_BYTES_MAX`] bytes; a longer one ends in `...`.
pub(super) fn bounded(message: fmt::Arguments<'_>) -> String {
    let mut bounded = Bounded { text: String::new() };
    if bounded.write_fmt(message).is_err() {
        let end = boundary_before(&bounded.text, LINE_BYTES_MAX - 3);
        bounded.text.truncate(end);
        bounded.text.push_str("...");
    }
    bounded.text
}

/// The last end of a character at or before byte `most`.
fn boundary_before(text: &str, most: usize) -> usize {
    let most = most.min(text.len());
    (0..=most).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0)
}

/// Appends `time level [worker=N] message` and a newline.
pub(super) fn text(out: &mut String, now: SystemTime, record: &Record) {
    write_time(out, now);
    out.push(' ');
    out.push_str(record.level.name());
    out.push(' ');
    if let Some(worker) = record.worker {
        append(out, format_args!("worker={worker} "));
    }
    for character in record.message.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            hidden if is_hidden(hidden) => {
                append(out, format_args!("\\u{{{:x}}}", u32::from(hidden)));
            }
            plain => out.push(plain),
        }
    }
    out.push('\n');
}

/// Appends one JSON object and a newline.
pub(super) fn json(out: &mut String, now: SystemTime, record: &Record) {
    out.push_str("{\"time\":\"");
    write_time(out, now);
    append(out, format_args!("\",\"level\":\"{}\",", record.level.name()));
    if let Some(worker) = record.worker {
        append(out, format_args!("\"worker\":{worker},"));
    }
    out.push_str("\"message\":\"");
    for character in record.message.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            // All of these lie in the basic plane, so one escape of four digits is enough.
            hidden if is_hidden(hidden) => {
                append(out, format_args!("\\u{:04x}", u32::from(hidden)));
            }
            plain => out.push(plain),
        }
    }
    out.push_str("\"}\n");
}

/// Control characters, line and paragraph separators, and what changes the reading direction.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `2025-11-21T22:58:01.123Z`, by the proleptic Gregorian calendar; 1970 for times before it.
fn write_time(out: &mut String, now: SystemTime) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second_of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) =
        (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let milli = since.subsec_millis();
    append(
        out,
        format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"),
    );
}

/// Year, month and day of the day `days` after 1970-01-01. Counts in years that begin in March, so
/// that the leap day is the last of its year (Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
const fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

fn append(out: &mut String, part: fmt::Arguments<'_>) {
    let written = out.write_fmt(part);
    debug_assert!(written.is_ok(), "a String takes all");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Level;
    use super::*;

    fn record(message: &str) -> Record {
        Record { level: Level::Warn, worker: Some(3), message: message.to_owned() }
    }

    fn at(seconds: u64, millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(seconds * 1000 + millis)
    }

    #[test]
    fn times_are_written_by_the_calendar() {
        // Seconds by `date --utc --date=... +%s`.
        let cases = [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_164_800, "2024-02-29T00:00:00.007Z"),
            (1_763_765_881, "2025-11-21T22:58:01.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ];
        for (seconds, expected) in cases {
            let mut out = String::new();
            write_time(&mut out, at(seconds, 7));
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn text_holds_no_control_character_but_the_last() {
        let mut out = String::new();
        text(&mut out, at(0, 0), &record("a\r\nb\x1b[2J\u{202e}c\u{85}\u{0}\u{2028}d\te"));
        assert_eq!(
            out,
            "1970-01-01T00:00:00.000Z warn worker=3 \
             a\\r\\nb\\u{1b}[2J\\u{202e}c\\u{85}\\u{0}\\u{2028}d\\te\n"
        );
    }

    #[test]
    fn json_gives_back_every_character() {
        for message in [
            "plain",
            "q\"uo\\te",
            "a\r\nb\x1b\u{202e}\u{85}\u{0}\u{2028}\u{7f}",
            "\u{3c0}\u{1f980}",
        ] {
            let mut out = String::new();
            json(&mut out, at(0, 0), &record(message));
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(value["message"], message);
            assert_eq!(value["level"], "warn");
            assert_eq!(value["worker"], 3);
            assert!(out.ends_with("}\n"));
            assert!(!out[..out.len() - 1].chars().any(is_hidden), "{out:?}");
        }
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let exact = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(bounded(format_args!("{exact}")), exact);
        let long = bounded(format_args!("{}{}", "\u{e9}".repeat(LINE_BYTES_MAX), "tail"));
        assert!(long.len() <= LINE_BYTES_MAX);
        assert!(long.ends_with("\u{e9}..."));
    }
}
