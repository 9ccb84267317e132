//! How a run is doing, on stderr: one redrawn line on a terminal, plain lines elsewhere.
//!
//! Told once a second by the engine, so that drawing costs the measurement nothing. The result
//! itself goes to stdout and never here.

use loadgen::outcome::{Phase, Progress, Tick};
use std::io::{IsTerminal, Write};

const NS_PER_S: u64 = 1_000_000_000;

/// Where and how progress shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Nowhere.
    Quiet,
    /// One line, drawn over itself.
    Terminal,
    /// Lines that stay.
    Lines,
}

impl Surface {
    /// What the flags and stderr allow.
    pub(crate) fn of(is_quiet: bool, is_plain: bool) -> Self {
        if is_quiet {
            Self::Quiet
        } else if is_plain || !std::io::stderr().is_terminal() {
            Self::Lines
        } else {
            Self::Terminal
        }
    }

    /// Takes the redrawn line away before something else is printed.
    pub(crate) fn clear(self) {
        if self == Self::Terminal {
            write("\r\x1b[2K");
        }
    }

    /// A line that stays, where lines are wanted.
    pub(crate) fn line(self, text: &str) {
        if self == Self::Lines {
            write(&format!("{text}\n"));
        }
    }
}

/// The progress of one scenario.
#[derive(Debug)]
pub(crate) struct Line {
    surface: Surface,
    /// What stands before the phase: round and row of a comparison.
    prefix: String,
    /// Time after this scenario that is still to come.
    after_ns: u64,
    /// A comparison has many short blocks: a line each is enough where nothing is redrawn.
    is_block: bool,
}

impl Line {
    /// Of a single run.
    pub(crate) const fn of_run(surface: Surface) -> Self {
        Self { surface, prefix: String::new(), after_ns: 0, is_block: false }
    }

    /// Of one block of several.
    pub(crate) const fn of_block(surface: Surface, prefix: String, after_ns: u64) -> Self {
        Self { surface, prefix, after_ns, is_block: true }
    }

    fn drawn(&self, tick: &Tick) -> String {
        let left = tick.left_ns.map_or_else(String::new, |ns| {
            format!("  left {}", minutes(ns.saturating_add(self.after_ns)))
        });
        format!(
            "{}{:<10}  open {}  sent {}  received {}  errors {}{left}",
            self.prefix,
            phase(tick.phase),
            tick.connections_open,
            tick.sent,
            tick.received,
            tick.errors,
        )
    }

    fn plain(tick: &Tick) -> String {
        let left = tick.left_ns.map_or_else(|| "null".to_owned(), |ns| (ns / NS_PER_S).to_string());
        format!(
            "phase={} left_s={left} open={} sent={} received={} errors={}",
            phase(tick.phase),
            tick.connections_open,
            tick.sent,
            tick.received,
            tick.errors,
        )
    }
}

impl Progress for Line {
    fn tick(&self, tick: &Tick) {
        match self.surface {
            Surface::Terminal => write(&format!("\r\x1b[2K{}", self.drawn(tick))),
            Surface::Lines if !self.is_block => write(&format!("{}\n", Self::plain(tick))),
            Surface::Lines | Surface::Quiet => {}
        }
    }
}

const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Connecting => "connecting",
        Phase::Warmup => "warmup",
        Phase::Measuring => "measuring",
        Phase::Draining => "draining",
    }
}

/// Minutes and seconds: `3:20`.
pub(crate) fn minutes(ns: u64) -> String {
    let seconds = ns.div_ceil(NS_PER_S);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn write(text: &str) {
    // Nobody to tell if the terminal is gone; the measurement goes on.
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Tick = Tick {
        phase: Phase::Measuring,
        left_ns: Some(21_500_000_000),
        connections_open: 200,
        sent: 10,
        received: 2_000,
        errors: 0,
    };

    #[test]
    fn time_left_counts_what_comes_after() {
        let prefix = "round 1 of 2, row 3 of 12: longpoll  ".to_owned();
        let line = Line::of_block(Surface::Terminal, prefix, 60_000_000_000);
        assert_eq!(
            line.drawn(&TICK),
            "round 1 of 2, row 3 of 12: longpoll  measuring   open 200  sent 10  received 2000  \
             errors 0  left 1:22"
        );
    }

    #[test]
    fn plain_lines_have_fixed_keys() {
        let expected = "phase=measuring left_s=21 open=200 sent=10 received=2000 errors=0";
        assert_eq!(Line::plain(&TICK), expected);
        let unknown = Tick { phase: Phase::Connecting, left_ns: None, ..TICK };
        assert!(Line::plain(&unknown).starts_with("phase=connecting left_s=null "));
    }

    #[test]
    fn minutes_round_up() {
        assert_eq!(minutes(0), "0:00");
        assert_eq!(minutes(1), "0:01");
        assert_eq!(minutes(200_000_000_000), "3:20");
    }
}
