//! How a command is doing, on stderr: a live view on a terminal, a line a second elsewhere.
//!
//! The engine tells once a second, from a thread that measures nothing; what is told is kept here
//! for whoever draws. The result itself goes to stdout and never here.

use loadgen::outcome::{Phase, Progress, Snapshot, Tick};
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(feature = "tui")]
use super::live;
use super::now::Now;
use super::number::{INSUFFICIENT, Style};
use super::title::Title;
use crate::result::{Latency, Run};
use crate::threshold::Threshold;
use crate::verdict::{State, Verdict};

pub(crate) const NS_PER_S: u64 = 1_000_000_000;
/// Seconds of the past that a view can draw.
const HISTORY_SECONDS: usize = 240;

/// Where and how progress shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Nowhere.
    Quiet,
    /// A view over the whole terminal.
    Terminal(Look),
    /// Lines that stay.
    Lines,
}

/// How things look on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) style: Style,
    pub(crate) is_coloured: bool,
    /// Drawn once a second: every frame goes over a network, or to a slow console.
    pub(crate) is_slow: bool,
}

impl Look {
    /// What flags and environment ask for.
    fn of(is_colourless: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let is_remote = is_set("SSH_CONNECTION") || is_set("SSH_TTY");
        Self {
            is_coloured: !is_colourless && !is_set("NO_COLOR"),
            is_slow: is_remote || variable("TERM").is_some_and(|term| term == "linux"),
            style: Style::of_locale(variable),
        }
    }
}

impl Surface {
    /// What the flags and stderr allow.
    pub(crate) fn of(is_quiet: bool, is_plain: bool, is_colourless: bool) -> Self {
        if is_quiet {
            Self::Quiet
        } else if is_plain || !cfg!(feature = "tui") || !std::io::stderr().is_terminal() {
            Self::Lines
        } else {
            Self::Terminal(Look::of(is_colourless, |name| std::env::var(name).ok()))
        }
    }

    /// A line that stays, where lines are wanted.
    pub(crate) fn line(self, text: &str) {
        if self == Self::Lines {
            write(&format!("{text}\n"));
        }
    }

    /// Shows what `body` does for as long as it does it. Keys may raise `stop`.
    pub(crate) fn show<T>(
        self,
        title: Title,
        stop: &AtomicBool,
        body: impl FnOnce(&Shown) -> T,
    ) -> T {
        let shown = Shown::new(self, title);
        #[cfg(feature = "tui")]
        if let Self::Terminal(look) = self {
            return live::show(&shown, look, stop, body);
        }
        let _ = stop;
        body(&shown)
    }
}

/// Leaves the live view, if there is one: whoever ends the program calls this first.
pub(crate) fn give_back_terminal() {
    #[cfg(feature = "tui")]
    live::terminal::give_back();
}

/// One second of the past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Second {
    /// From the window's start.
    pub(crate) second: u64,
    pub(crate) p99_ns: Option<u64>,
}

/// Where a comparison is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    pub(crate) round: u32,
    pub(crate) rounds: u32,
    /// From 1, over all rounds.
    pub(crate) number: usize,
    pub(crate) blocks: usize,
    /// The row that is measured now: its name and, unless it is no row, its place in the table.
    pub(crate) row: String,
    pub(crate) index: Option<usize>,
    /// All blocks, and those after this one.
    pub(crate) expected_ns: u64,
    pub(crate) after_ns: u64,
}

/// A row of a comparison: its name, and what was measured of it so far.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) run: Option<Arc<Run>>,
}

/// All there is to show now.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) title: Arc<Title>,
    pub(crate) tick: Option<Tick>,
    pub(crate) now: Option<Arc<Now>>,
    pub(crate) history: VecDeque<Second>,
    pub(crate) block: Option<Block>,
    pub(crate) rows: Vec<Row>,
    /// Each threshold, and whether it is met so far; `None`: too few samples.
    pub(crate) thresholds: Vec<(String, Option<bool>)>,
    /// What was found against blocks that are over.
    pub(crate) earlier: Verdict,
    pub(crate) is_stopping: bool,
}

impl View {
    fn new(title: Title) -> Self {
        Self {
            title: Arc::new(title),
            tick: None,
            now: None,
            history: VecDeque::with_capacity(HISTORY_SECONDS),
            block: None,
            rows: Vec::new(),
            thresholds: Vec::new(),
            earlier: Verdict::valid(),
            is_stopping: false,
        }
    }

    /// The worse of what was found before and what is found now.
    pub(crate) fn verdict(&self) -> &Verdict {
        let now = self.now.as_ref().map(|now| &now.verdict);
        now.filter(|now| now.state > self.earlier.state).unwrap_or(&self.earlier)
    }

    fn take(&mut self, now: Now) {
        let has_begun = now.last.count > 0 || !self.history.is_empty();
        if let Some(second) = now.second().filter(|_| has_begun) {
            if self.history.len() == HISTORY_SECONDS {
                self.history.pop_front();
            }
            self.history.push_back(Second { second, p99_ns: now.last.p99.or(now.last.max) });
        }
        self.now = Some(Arc::new(now));
    }
}

/// The progress of a command.
#[derive(Debug)]
pub(crate) struct Shown {
    surface: Surface,
    view: Mutex<View>,
    /// Of each thread: sum of the measured seconds' shares, and how many they are.
    busy: Mutex<(Vec<f64>, f64)>,
    /// Time and messages at the first look into the window.
    began: Mutex<Option<(u64, u64)>>,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Shown {
    pub(crate) fn new(surface: Surface, title: Title) -> Self {
        Self {
            surface,
            view: Mutex::new(View::new(title)),
            busy: Mutex::default(),
            began: Mutex::default(),
            is_over: Mutex::new(false),
            over: Condvar::new(),
        }
    }

    /// What there is to draw.
    pub(crate) fn view(&self) -> View {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that stays, where lines are wanted.
    pub(crate) fn line(&self, text: &str) {
        self.surface.line(text);
    }

    /// Another block of a comparison begins.
    pub(crate) fn begin(&self, block: Block) {
        let mut view = self.lock();
        if let Some(now) = view.now.take() {
            let row = view.block.as_ref().map_or_else(String::new, |block| block.row.clone());
            let verdict = now.verdict.clone();
            view.earlier.merge(&row, verdict);
        }
        view.tick = None;
        view.history.clear();
        view.block = Some(block);
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = (Vec::new(), 0.0);
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the rows of a comparison have shown so far.
    pub(crate) fn rows(&self, rows: Vec<Row>) {
        self.lock().rows = rows;
    }

    /// Whoever draws need not go on.
    pub(crate) fn end(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.notify_all();
    }

    /// Waits at most this long for the end; whether it is there.
    pub(crate) fn wait_for_end(&self, at_most: Duration) -> bool {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_over || at_most.is_zero() {
            return *is_over;
        }
        self.over.wait_timeout(is_over, at_most).map_or(true, |(is_over, _)| *is_over)
    }

    /// Notes that somebody wants it to end.
    pub(crate) fn note_stop(&self, stop: &AtomicBool) {
        if stop.load(Ordering::Relaxed) {
            self.lock().is_stopping = true;
        }
    }

    /// The mean rate since the first look into the window, which the books lag behind.
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn mean_per_s(&self, snapshot: &Snapshot) -> Option<f64> {
        if snapshot.tick.phase != Phase::Measuring {
            return None;
        }
        let now = (snapshot.elapsed_ns, snapshot.tick.received);
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        let first = *began.get_or_insert(now);
        let span_ns = now.0.checked_sub(first.0).filter(|ns| *ns > 0)?;
        Some(now.1.saturating_sub(first.1) as f64 / span_ns as f64 * 1e9)
    }

    /// Each thread's mean share of time, this second's included.
    fn busy_share(&self, snapshot: &Snapshot) -> Vec<f64> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let (sums, seconds) = &mut *busy;
        if snapshot.tick.phase == Phase::Measuring {
            sums.resize(snapshot.threads.len(), 0.0);
            for (sum, thread) in sums.iter_mut().zip(&snapshot.threads) {
                *sum += thread.busy_share;
            }
            *seconds += 1.0;
        }
        sums.iter().map(|sum| sum / seconds.max(1.0)).collect()
    }
}

impl Progress for Shown {
    fn tick(&self, tick: &Tick) {
        let mut view = self.lock();
        let is_new = view.tick.is_none_or(|last| last.phase != tick.phase);
        view.tick = Some(*tick);
        if is_new {
            let line = phase_line(&view, tick);
            drop(view);
            self.line(&line);
        }
    }

    fn snapshot(&self, snapshot: Snapshot) {
        let busy_share = self.busy_share(&snapshot);
        let mean_per_s = self.mean_per_s(&snapshot);
        let now = Now { mean_per_s, ..Now::of(snapshot, &busy_share) };
        let mut view = self.lock();
        let is_met = |threshold: &Threshold| {
            (now.intended.count > 0).then(|| !threshold.is_missed_by(&now.snapshot))
        };
        let thresholds = view.title.thresholds.iter();
        view.thresholds =
            thresholds.map(|one| (one.expression().to_owned(), is_met(one))).collect();
        let before = view.verdict().state;
        view.take(now);
        let (line, after) = (second_line(&view), view.verdict().clone());
        let row = row_name(&view).to_owned();
        drop(view);
        if after.state != before {
            let reason = after.reasons.first().map_or("nothing found", String::as_str);
            self.line(&format!("verdict={} row={row} reason={reason:?}", state(after.state)));
        }
        if let Some(line) = line {
            self.line(&line);
        }
    }

    fn named(&self, names: &[String]) {
        let mut view = self.lock();
        if view.title.agents != names {
            Arc::make_mut(&mut view.title).agents = names.to_vec();
        }
    }

    fn is_live(&self) -> bool {
        self.surface != Surface::Quiet
    }
}

fn row_name(view: &View) -> &str {
    view.block.as_ref().map_or(&view.title.row, |block| &block.row)
}

/// That a phase begins.
fn phase_line(view: &View, tick: &Tick) -> String {
    let left = tick.left_ns.map_or_else(|| "null".to_owned(), |ns| (ns / NS_PER_S).to_string());
    let (row, open) = (row_name(view), tick.connections_open);
    format!("phase={} row={row} left_s={left} open={open}", phase(tick.phase))
}

/// The keys of every second, always the same and in this order.
fn second_line(view: &View) -> Option<String> {
    let now = view.now.as_ref()?;
    let snapshot = &now.snapshot;
    let second = now.second().map_or_else(|| "null".to_owned(), |second| second.to_string());
    let offered = snapshot.offered.map_or_else(|| "null".to_owned(), |count| count.to_string());
    let at = |value: Option<u64>| microseconds(&now.last, value);
    let latency = &now.last;
    Some(format!(
        "t={second} row={} rate={} offered={offered} open={} p50_us={} p99_us={} p999_us={} \
         max_us={} errors={} gaps={} lag_p99_us={} verdict={}",
        row_name(view),
        snapshot.received,
        snapshot.tick.connections_open,
        at(latency.p50),
        at(latency.p99),
        at(latency.p99_9),
        at(latency.max),
        snapshot.errors.values().sum::<u64>(),
        snapshot.gaps.map_or_else(|| "null".to_owned(), |count| count.to_string()),
        snapshot.lag_p99_ns / 1_000,
        state(view.verdict().state),
    ))
}

fn microseconds(latency: &Latency, value: Option<u64>) -> String {
    match value {
        Some(ns) => (ns / 1_000).to_string(),
        None if latency.count == 0 => "null".to_owned(),
        None => INSUFFICIENT.to_owned(),
    }
}

const fn state(state: State) -> &'static str {
    match state {
        State::Valid => "valid",
        State::Suspect => "suspect",
        State::Invalid => "invalid",
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

/// Minutes and seconds, whole seconds begun: `3:20`.
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
#[path = "progress_tests.rs"]
mod tests;
