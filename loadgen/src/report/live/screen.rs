//! What stands where on the screen, for one moment of a run.
//!
//! A pure function of a view. From 80x24 the small layout, from 120x40 the large one, which leaves
//! the small one where it is. Invariant: verdict, progress and errors are there at any size.

use loadgen::outcome::{Phase, Tick};
use loadgen::scenario::Mode;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Text};

use super::pen::{Ink, Pen};
use super::{Choices, comparison, plot};
use crate::report::now::{Now, edges_ns};
use crate::report::progress::{Look, View, minutes};
use crate::report::{duration, memory};
use crate::result::Latency;
use crate::verdict::State;

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (120, 40);
/// Columns of the small layout that are written on.
pub(crate) const COLUMNS: usize = 78;
/// Where the large layout's second column begins.
const SECOND_COLUMN: u16 = 80;
const BAR_CELLS: u64 = 50;
/// Where a line's items begin.
const ITEMS: [usize; 4] = [12, 28, 44, 63];
/// Where the percentiles of a line end.
const PERCENTILES: [usize; 6] = [20, 30, 40, 50, 60, 70];
/// The seconds that the small layout draws.
const SECONDS: usize = 48;
const HISTOGRAM_CELLS: usize = 54;
const FIELD_ROWS: usize = 6;
const FIELD_LABEL: usize = 9;
const ERRORS_SHOWN: usize = 3;

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &View, look: Look, choices: Choices) {
    let area = frame.area();
    let (width, height) = (area.width, area.height);
    let page = Page { view, look, choices };
    if width < SMALL.0 || height < SMALL.1 {
        let columns = usize::from(width).saturating_sub(1).min(COLUMNS);
        let mut lines = page.head(columns);
        // Errors first: they are the last to give way.
        lines.extend(page.counts().into_iter().rev().map(|pen| pen.line(columns)));
        let need = format!("terminal {width}x{height}, need {}x{}", SMALL.0, SMALL.1);
        lines.insert(3.min(lines.len()), page.pen().ink(Ink::Suspect, need).line(columns));
        frame.render_widget(Text::from(lines), area);
        return;
    }
    let small = Rect { width: SMALL.0, height: SMALL.1, ..area };
    frame.render_widget(Text::from(page.small()), small);
    if width >= LARGE.0 && height >= LARGE.1 {
        let side = Rect { x: SECOND_COLUMN, width: width - SECOND_COLUMN, ..small };
        frame.render_widget(Text::from(page.side(usize::from(side.height))), side);
        let below = Rect { y: SMALL.1, height: height - SMALL.1, ..area };
        frame.render_widget(Text::from(page.below(usize::from(width))), below);
    }
}

/// A moment of a run, and how it is to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'v> {
    pub(crate) view: &'v View,
    pub(crate) look: Look,
    choices: Choices,
}

impl Page<'_> {
    pub(crate) const fn pen(&self) -> Pen {
        Pen::new(self.look)
    }

    fn small(&self) -> Vec<Line<'static>> {
        let blank = || self.pen();
        let mut lines: Vec<Pen> = Vec::new();
        if self.view.block.is_some() {
            lines.extend(comparison::table(self));
        }
        lines.push(blank());
        lines.extend(self.counts());
        lines.push(blank());
        lines.extend(self.latencies());
        if self.view.block.is_none() {
            lines.push(blank());
        }
        lines.push(self.past());
        let mut all = self.head(COLUMNS);
        // The last four lines are always there; what does not fit before them is left out.
        let room = usize::from(SMALL.1) - all.len() - 4;
        let rest = if self.choices.are_keys_shown { self.keys() } else { self.histogram() };
        if lines.len() + rest.len() <= room {
            lines.extend(rest);
        }
        lines.truncate(room);
        lines.resize(room, blank());
        lines.extend(self.costs());
        lines.push(self.last_line());
        lines.push(self.notice());
        all.extend(lines.into_iter().map(|pen| pen.line(COLUMNS)));
        all
    }

    fn now(&self) -> Option<&Now> {
        self.view.now.as_deref()
    }

    /// What, how far, how long, and whether to believe it.
    fn head(&self, columns: usize) -> Vec<Line<'static>> {
        let title = &self.view.title;
        let right = |pen: Pen, ink, text: String| {
            let width = columns.saturating_sub(text.chars().count() + 2);
            let line = pen.line(width);
            let used = line.width();
            let tail = self.pen().at(columns.saturating_sub(used + text.chars().count()));
            let tail = tail.ink(ink, text).line(columns);
            Line::from_iter(line.into_iter().chain(tail))
        };
        let first = self.pen().label(format!("loadgen {}  ", title.command)).plain(&*title.url);
        let left = self.left_ns().map_or_else(String::new, |ns| format!("left {:>5}", minutes(ns)));
        let verdict = self.view.verdict().state;
        let said = match (verdict, self.now()) {
            (State::Valid, None) => String::new(),
            (State::Valid, Some(_)) => "valid so far".to_owned(),
            (state, _) => format!("{} so far", state.word()),
        };
        vec![
            right(first, Ink::Number, self.phase()),
            right(self.pen().plain(&*title.workload), Ink::Plain, left),
            right(self.bar(columns), Ink::of(verdict), said),
        ]
    }

    fn phase(&self) -> String {
        if self.view.is_stopping {
            return "stopping".to_owned();
        }
        if let Some(block) = &self.view.block {
            let (round, rounds) = (block.round, block.rounds);
            return format!("round {round} of {rounds}, row {} of {}", block.number, block.blocks);
        }
        let Some(tick) = self.view.tick else { return "starting".to_owned() };
        let title = &self.view.title;
        match tick.phase {
            Phase::Connecting => "connecting".to_owned(),
            Phase::Warmup => {
                let left_ns = tick.left_ns.map(|ns| ns.saturating_sub(title.duration_ns));
                left_ns.map_or_else(
                    || "warming up".to_owned(),
                    |ns| format!("warming up, {} to go", minutes(ns)),
                )
            }
            Phase::Measuring => {
                let elapsed = self.now().map_or(0, |now| now.snapshot.elapsed_ns);
                let whole = elapsed / 1_000_000_000 * 1_000_000_000;
                let storm = title.storms_ns.iter().rfind(|at_ns| **at_ns <= elapsed);
                let storm =
                    storm.map_or_else(String::new, |ns| format!("storm at {}, ", minutes(*ns)));
                let of = tick.left_ns.map(|_| format!(" of {}", minutes(title.duration_ns)));
                format!("{storm}measuring {}{}", minutes(whole), of.unwrap_or_default())
            }
            Phase::Draining => "waiting for the last".to_owned(),
        }
    }

    fn left_ns(&self) -> Option<u64> {
        let left = self.view.tick.and_then(|tick: Tick| tick.left_ns);
        match &self.view.block {
            Some(block) => Some(left.unwrap_or(0) + block.after_ns),
            None => left,
        }
    }

    /// The share that is done, of all blocks; `None` while nobody knows.
    #[expect(clippy::cast_precision_loss, reason = "a length on a screen")]
    fn done(&self) -> Option<f64> {
        let title = &self.view.title;
        let left_ns = self.left_ns()?;
        let all_ns = match &self.view.block {
            Some(block) => block.expected_ns,
            None => title.duration_ns.saturating_add(title.warmup_ns),
        };
        Some((1.0 - left_ns as f64 / all_ns.max(1) as f64).clamp(0.0, 1.0))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "at most as many as there are cells"
    )]
    fn bar(&self, columns: usize) -> Pen {
        let cells = BAR_CELLS.min(columns.saturating_sub(26) as u64) as usize;
        let done = self.done().unwrap_or(0.0);
        let full = (done * cells as f64).round() as usize;
        let percent = self.done().map_or_else(String::new, |done| format!("{:.0} %", done * 100.0));
        self.pen()
            .plain("[")
            .ink(Ink::Progress, "#".repeat(full))
            .label("-".repeat(cells - full))
            .plain("]")
            .number(format!("{percent:>6}"))
    }

    /// Rates, connections, and what went wrong.
    pub(crate) fn counts(&self) -> Vec<Pen> {
        let style = self.look.style;
        let Some(now) = self.now() else {
            let open = self.view.tick.map_or(0, |tick| tick.connections_open);
            return vec![self.pen().label("open").at(ITEMS[0]).number(style.count(open.into()))];
        };
        let snapshot = &now.snapshot;
        let item = |pen: Pen, index: usize, name: &str, value: String| {
            pen.at(ITEMS[index]).plain(name).number(value)
        };
        let bad = |pen: Pen, index: usize, name: &str, count: u64| {
            let ink = if count > 0 { Ink::Bad } else { Ink::Number };
            pen.at(ITEMS[index]).plain(name).ink(ink, style.count(count))
        };
        let open = format!(
            "{} of {}",
            style.count(snapshot.tick.connections_open.into()),
            style.count(snapshot.connections.into())
        );
        let connections = item(self.pen().label("open"), 0, "", open);
        let connecting = style.count(snapshot.connecting.into());
        let connections = item(connections, 1, "connecting ", connecting);
        let connections = bad(connections, 2, "refused ", snapshot.refused.into());
        let connections = bad(connections, 3, "closed ", snapshot.lost.into());
        let errors = snapshot.errors.values().sum();
        let errors = bad(self.pen().label("errors"), 0, "", errors);
        let errors = match snapshot.gaps {
            Some(gaps) => bad(errors, 1, "gaps ", gaps),
            None => errors.at(ITEMS[1]).label("gaps at the end"),
        };
        let errors = bad(errors, 2, "duplicates ", snapshot.duplicates);
        let errors = bad(errors, 3, "reordered ", snapshot.reordered);
        vec![self.rate(now), connections, errors]
    }

    fn rate(&self, now: &Now) -> Pen {
        let style = self.look.style;
        let snapshot = &now.snapshot;
        if self.view.title.mode == Mode::Idle {
            let held = "nothing is sent, connections are held";
            return self.pen().label("rate").at(ITEMS[0]).plain(held);
        }
        let pen = self.pen().label("rate").at(ITEMS[0]).plain("now ");
        let pen = pen.number(format!("{}/s", style.count(snapshot.received)));
        let mean = now.mean_per_s.map(|mean| format!("{}/s", style.amount(mean)));
        let pen = match mean {
            Some(mean) => pen.at(ITEMS[1]).plain("mean ").number(mean),
            None => pen,
        };
        match snapshot.offered {
            Some(offered) => {
                let waiting = style.count(snapshot.waiting);
                let ink = if snapshot.waiting > offered { Ink::Suspect } else { Ink::Number };
                let offered = format!("{}/s", style.count(offered));
                // In a fan-out it is publications, of which each reader gets one.
                let is_fanout = self.view.title.mode == Mode::Fanout;
                let name = if is_fanout { "publish " } else { "offered " };
                let pen = pen.at(ITEMS[2]).plain(name).number(offered);
                pen.at(ITEMS[3]).plain("not sent ").ink(ink, waiting)
            }
            None if snapshot.tick.phase == Phase::Connecting => pen,
            None => pen.at(ITEMS[2]).plain("closed loop"),
        }
    }

    fn latencies(&self) -> Vec<Pen> {
        let heads = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
        let is_idle = self.view.title.mode == Mode::Idle;
        let head = self.pen().label(if is_idle { "opening" } else { "latency" });
        let columns = heads.into_iter().zip(PERCENTILES);
        let head = columns.fold(head, |pen, (name, column)| pen.until(column, Ink::Label, name));
        let Some(now) = self.now() else { return vec![head] };
        let row = |name: &str, latency: &Latency| {
            let values = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.p99_99];
            let values = values.into_iter().chain([latency.max]).zip(PERCENTILES);
            let pen = self.pen().label(name);
            values.fold(pen, |pen, (value, column)| pen.time(column, latency, value))
        };
        let rows = if is_idle {
            [("TCP", &now.tcp), ("upgrade", &now.upgrade), ("message 1", &now.first_message)]
        } else {
            [("last 1 s", &now.last), ("all", &now.intended), ("all, sent", &now.from_sent)]
        };
        let rows = rows.map(|(name, latency)| row(name, latency));
        std::iter::once(head).chain(rows).collect()
    }

    /// The p99 of the last seconds, as a line of marks.
    fn past(&self) -> Pen {
        let seconds: Vec<_> = self.view.history.iter().copied().collect();
        let seconds = &seconds[seconds.len().saturating_sub(SECONDS)..];
        let Some(worst) = plot::worst(seconds) else { return self.pen() };
        let marks = plot::marks(seconds, self.look.style.is_utf8);
        let pen = self.pen().label(format!("p99, {} s", seconds.len())).at(13).plain(marks);
        let time = worst.p99_ns.map(|ns| duration(self.look.style, ns)).unwrap_or_default();
        let said = format!("{time} at {}", minutes(worst.second * 1_000_000_000));
        pen.until(COLUMNS, Ink::Number, said)
    }

    fn histogram(&self) -> Vec<Pen> {
        let Some(now) = self.now() else { return Vec::new() };
        let edges = edges_ns(&now.intended, self.choices.is_linear);
        let Some(last) = edges.last() else { return Vec::new() };
        let counts = now.dealt(&edges);
        let style = self.look.style;
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        #[expect(clippy::cast_precision_loss, reason = "a length on a screen")]
        let part = |count: u64, of: u64| count as f64 / of.max(1) as f64;
        let row = |sign: &str, edge: u64, count: u64, said: String| {
            let edge = short_edge(&duration(style, edge), self.choices.is_linear);
            let bar = plot::bar(part(count, most), HISTOGRAM_CELLS, style.is_utf8);
            let pen = self.pen().label(format!("{sign:<2} {edge:>6} ")).plain(bar);
            pen.until(COLUMNS, Ink::Number, said)
        };
        let total = now.intended.count;
        let mut lines: Vec<Pen> = edges
            .iter()
            .zip(&counts)
            .map(|(edge, count)| row("<=", *edge, *count, style.share(part(*count, total))))
            .collect();
        let beyond = counts.last().copied().unwrap_or(0);
        lines.push(row(">", *last, beyond, format!("{} messages", style.count(beyond))));
        lines
    }

    fn keys(&self) -> Vec<Pen> {
        let keys = [
            ("q, Ctrl-C", "stop, with a summary; once more: leave at once"),
            ("p", "freeze the screen, or go on; the measurement goes on anyway"),
            ("l", "bars of the histogram by 1, 2, 5, 10 or evenly spaced"),
            ("?", "show or hide these keys"),
        ];
        let line = |(key, does)| self.pen().number(key).at(ITEMS[0]).plain(does);
        keys.into_iter().map(line).collect()
    }

    fn costs(&self) -> [Pen; 2] {
        let style = self.look.style;
        let generator = self.pen().label("generator").at(ITEMS[0]);
        let server = self.pen().label("server").at(ITEMS[0]);
        let Some(now) = self.now() else { return [generator, server] };
        let snapshot = &now.snapshot;
        let lag = duration(style, snapshot.lag_p99_ns);
        let busiest = snapshot.threads.iter().map(|thread| thread.busy_share).fold(0.0, f64::max);
        let generator = generator.plain("lag p99 ").number(lag).plain("   busiest ");
        let generator = generator
            .plain(if self.view.title.agents.is_empty() { "thread " } else { "agent " })
            .number(style.share(busiest));
        let generator = match snapshot.rss_bytes {
            Some(bytes) => generator.plain("   memory ").number(memory(style, bytes)),
            None => generator,
        };
        let Some(cost) = &snapshot.server else {
            // Before the load there is no telling.
            let is_early = snapshot.tick.phase == Phase::Connecting;
            let said = if is_early { "" } else { "not measured: add --server-pid" };
            return [generator, server.plain(said)];
        };
        let server = match cost.cpu_ns_per_message {
            Some(ns) => server.number(duration(style, ns)).plain("/message   CPU "),
            None => server.plain("CPU "),
        };
        let server = server.number(style.share(cost.cpu_share)).plain("   RSS ");
        let server = server.number(memory(style, cost.rss_bytes));
        match &self.view.title.server {
            Some(source) => [generator, server.plain(format!(" ({source})"))],
            None => [generator, server],
        }
    }

    /// Thresholds, and the keys.
    fn last_line(&self) -> Pen {
        let keys = if self.choices.is_frozen { "frozen, p goes on" } else { "q stop   ? keys" };
        let ink = if self.choices.is_frozen { Ink::Suspect } else { Ink::Label };
        let mut pen = self.pen();
        for (index, (expression, is_met)) in self.view.thresholds.iter().enumerate() {
            if index == 0 {
                pen = pen.label("thresholds").at(ITEMS[0]);
            }
            let (ink, said) = match is_met {
                Some(true) => (Ink::Number, "ok"),
                Some(false) => (Ink::Bad, "FAIL"),
                None => (Ink::Label, "insuff."),
            };
            pen = pen.plain(format!("{expression} ")).ink(ink, said).plain("   ");
        }
        let width = COLUMNS - keys.chars().count() - 1;
        let cut = pen.cut(width);
        cut.until(COLUMNS, ink, keys)
    }

    /// Why not to believe it, or else the most frequent error.
    fn notice(&self) -> Pen {
        let verdict = self.view.verdict();
        if let Some(reason) = verdict.reasons.first() {
            let pen = self.pen().ink(Ink::of(verdict.state), verdict.state.word());
            return pen.at(ITEMS[0]).plain(&**reason);
        }
        self.errors().into_iter().next().unwrap_or_else(|| self.pen())
    }

    /// The most frequent errors.
    fn errors(&self) -> Vec<Pen> {
        let Some(now) = self.now() else { return Vec::new() };
        let mut errors: Vec<(&String, &u64)> = now.snapshot.errors.iter().collect();
        errors.sort_by_key(|(code, count)| (std::cmp::Reverse(**count), (*code).clone()));
        let style = self.look.style;
        let line = |(code, count): (&String, &u64)| {
            let pen = self.pen().ink(Ink::Bad, style.count(*count)).at(ITEMS[0]);
            pen.number(&**code)
        };
        errors.into_iter().map(line).collect()
    }

    /// The second column: parts of connecting, and what carries the load.
    fn side(&self, rows: usize) -> Vec<Line<'static>> {
        let Some(now) = self.now() else { return Vec::new() };
        let columns = 40;
        let ends = [18, 28, 38];
        let header = |name: &str, heads: [&str; 3]| {
            let pen = self.pen().label(name);
            heads
                .into_iter()
                .zip(ends)
                .fold(pen, |pen, (head, end)| pen.until(end, Ink::Label, head))
        };
        let parts =
            [("TCP", &now.tcp), ("upgrade", &now.upgrade), ("message 1", &now.first_message)];
        let mut lines = vec![header("phase", ["p50", "p99", "max"])];
        lines.extend(parts.into_iter().map(|(name, latency)| {
            let values = [latency.p50, latency.p99, latency.max].into_iter().zip(ends);
            let pen = self.pen().plain(name);
            values.fold(pen, |pen, (value, end)| pen.time(end, latency, value))
        }));
        lines.push(self.pen());
        let agents = &self.view.title.agents;
        let name = if agents.is_empty() { "thread" } else { "agent" };
        lines.push(header(name, ["lag p99", "busy", "open"]));
        let style = self.look.style;
        let threads = &now.snapshot.threads;
        // The last line may have to say how many there are besides.
        let room = rows.saturating_sub(lines.len());
        let shown = if threads.len() > room { room.saturating_sub(1) } else { threads.len() };
        for (index, thread) in threads.iter().enumerate().take(shown) {
            let name = agents.get(index).cloned().unwrap_or_else(|| index.to_string());
            let pen = self.pen().plain(name.chars().take(10).collect::<String>());
            let pen = pen.until(ends[0], Ink::Number, duration(style, thread.lag_p99_ns));
            let pen = pen.until(ends[1], Ink::Number, style.share(thread.busy_share));
            lines.push(pen.until(ends[2], Ink::Number, style.count(thread.open.into())));
        }
        if threads.len() > shown {
            lines.push(self.pen().label(format!("and {} more", threads.len() - shown)));
        }
        lines.into_iter().map(|pen| pen.line(columns)).collect()
    }

    /// Below the small layout: each second's p99 in full width, and errors with their cures.
    fn below(&self, width: usize) -> Vec<Line<'static>> {
        let style = self.look.style;
        let seconds: Vec<_> = self.view.history.iter().copied().collect();
        let columns = width - FIELD_LABEL - 1;
        let mut lines = Vec::new();
        let size = (FIELD_ROWS, columns);
        if let Some(field) = plot::field(&seconds, size, None, style.is_utf8) {
            lines.push(self.pen().label("p99 of each second, log, newest right"));
            for (row, cells) in field.rows.iter().enumerate() {
                let decade = field.decades.iter().find(|(at, _)| *at == row);
                let label = decade.map_or_else(String::new, |(_, ns)| style.duration(*ns));
                let label = short_edge(&label, false);
                lines.push(self.pen().label(format!("{label:>8} ")).plain(&**cells));
            }
            lines.push(self.pen());
        }
        let errors = self.errors();
        let more = errors.len().saturating_sub(ERRORS_SHOWN);
        lines.extend(errors.into_iter().take(ERRORS_SHOWN));
        if more > 0 {
            lines.push(self.pen().label(format!("and {more} more kinds of errors")));
        }
        lines.into_iter().map(|pen| pen.line(width - 1)).collect()
    }
}

/// Edges by 1, 2, 5 are whole: `2 ms`, not `2.00 ms`.
fn short_edge(text: &str, is_exact: bool) -> String {
    if is_exact { text.to_owned() } else { text.replace(".00", "").replace(".0", "") }
}
