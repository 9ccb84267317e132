//! Which rows a comparison has, in which order they run, and for how long: pure functions.
//!
//! Rows run one at a time; every second round runs them in reverse, so that a slow drift of the
//! machine falls on all of them alike.

use loadgen::outcome::Failure;
use loadgen::scenario::Transport;

use crate::cli::CompareFlags;
use crate::cli::units::Fraction;

const SECOND_NS: u64 = 1_000_000_000;
/// A block shorter than this shows the start more than the transport.
const BLOCK_NS_MIN: u64 = 4 * SECOND_NS;
/// What a server keeps when nobody says otherwise.
const HISTORY_DEFAULT: u64 = 100;
/// Opening, closing and starting a server afresh, for the estimate of the time left.
const BLOCK_OVERHEAD_NS: u64 = SECOND_NS / 2;
const ROUNDS: u32 = 2;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) transport: Transport,
    /// Of polling rows.
    pub(crate) poll_interval_ns: Option<u64>,
}

impl Row {
    /// `ws`, `sse`, `longpoll`, `poll@100ms`.
    pub(crate) fn name(self) -> String {
        match self.poll_interval_ns {
            None => self.transport.name().to_owned(),
            Some(ns) => format!("{}@{}", self.transport, interval(ns)),
        }
    }

    /// Who may speak at any time on one connection.
    pub(crate) const fn direction(self) -> &'static str {
        match self.transport {
            Transport::Ws => "both",
            Transport::Sse | Transport::LongPoll | Transport::Poll => "server_to_client",
        }
    }
}

/// A time as it would be typed: the largest unit that leaves it whole.
fn interval(ns: u64) -> String {
    let units = [(60 * SECOND_NS, "m"), (SECOND_NS, "s"), (1_000_000, "ms"), (1_000, "us")];
    let unit = units.into_iter().find(|(factor, _)| ns >= *factor && ns.is_multiple_of(*factor));
    match unit {
        Some((factor, name)) => format!("{}{name}", ns / factor),
        None => format!("{ns}ns"),
    }
}

/// What one block measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Publications that no one subscribes to: what every row pays anyway.
    Nobody,
    /// The row with this index.
    Row(usize),
}

/// One measurement on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// From 1.
    pub(crate) round: u32,
    pub(crate) subject: Subject,
    /// What it will take in all, about.
    pub(crate) expected_ns: u64,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<Row>,
    /// Rows that no URL was given for.
    pub(crate) left_out: Vec<Row>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) rounds: u32,
    pub(crate) duration_ns: u64,
    pub(crate) warmup_ns: u64,
    /// Publications that the server is told, or assumed, to keep per channel.
    pub(crate) history: u64,
}

impl Plan {
    /// The warm-up of a row: the first polls must find a whole interval's publications, or they
    /// would carry less than those that follow.
    pub(crate) fn warmup_ns(&self, row: Row) -> u64 {
        self.warmup_ns.max(row.poll_interval_ns.unwrap_or(0))
    }

    /// What it will take, about.
    pub(crate) fn expected_ns(&self) -> u64 {
        self.blocks.iter().map(|block| block.expected_ns).sum()
    }
}

/// The plan that the flags ask for, or why it cannot be.
pub(crate) fn plan(flags: &CompareFlags) -> Result<Plan, Failure> {
    let (rows, left_out) = served(flags, rows(&flags.poll_interval)?);
    let duration_ns = flags.duration.unwrap_or(if flags.quick { 4 } else { 10 } * SECOND_NS);
    if duration_ns < BLOCK_NS_MIN {
        let line = "compare needs blocks of at least 4 s: use --duration 4s or more";
        return Err(Failure::configuration(line));
    }
    let warmup_default_ns = if flags.quick { SECOND_NS / 10 } else { SECOND_NS };
    let warmup_ns = flags.load.warmup.unwrap_or(warmup_default_ns);
    let history = history(flags, &rows)?;
    let is_cpu_measured = flags.server_pid.is_some() || flags.server_command.is_some();
    let nobody_rounds = match (is_cpu_measured, flags.quick) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => ROUNDS,
    };
    let expected_ns = |subject: Subject| {
        // The last publications still have to be polled for.
        let tail_ns = match subject {
            Subject::Nobody => 0,
            Subject::Row(index) => rows[index].poll_interval_ns.unwrap_or(0),
        };
        duration_ns + warmup_ns.max(tail_ns) + tail_ns + BLOCK_OVERHEAD_NS
    };
    let blocks = order(rows.len(), ROUNDS, nobody_rounds)
        .into_iter()
        .map(|(round, subject)| Block { round, subject, expected_ns: expected_ns(subject) })
        .collect();
    Ok(Plan { rows, left_out, blocks, rounds: ROUNDS, duration_ns, warmup_ns, history })
}

/// The rows: the three that push, then polling at each interval.
fn rows(poll_interval: &[u64]) -> Result<Vec<Row>, Failure> {
    let defaults = [SECOND_NS, SECOND_NS / 10];
    let intervals = if poll_interval.is_empty() { &defaults[..] } else { poll_interval };
    if intervals.contains(&0) {
        return Err(Failure::configuration("--poll-interval must be above 0"));
    }
    let pushed = [Transport::Ws, Transport::Sse, Transport::LongPoll];
    let pushed = pushed.map(|transport| Row { transport, poll_interval_ns: None });
    let polled =
        intervals.iter().map(|ns| Row { transport: Transport::Poll, poll_interval_ns: Some(*ns) });
    let mut rows: Vec<Row> = Vec::new();
    for row in pushed.into_iter().chain(polled) {
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Those that the server has a route for, and those that it has none for.
fn served(flags: &CompareFlags, rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let has_base = flags.url.is_some() || flags.server_command.is_some();
    rows.into_iter().partition(|row| has_base || flags.routes.of(row.transport).is_some())
}

/// Who runs when: nobody first in the rounds that measure it, and every second round reversed.
pub(crate) fn order(rows: usize, rounds: u32, nobody_rounds: u32) -> Vec<(u32, Subject)> {
    let mut all = Vec::new();
    for round in 1..=rounds {
        let nobody = (round <= nobody_rounds).then_some(Subject::Nobody);
        let mut subjects: Vec<Subject> =
            nobody.into_iter().chain((0..rows).map(Subject::Row)).collect();
        if round.is_multiple_of(2) {
            subjects.reverse();
        }
        all.extend(subjects.into_iter().map(|subject| (round, subject)));
    }
    all
}

/// Publications that one channel sees in the longest poll interval.
fn publications_per_interval(flags: &CompareFlags, rows: &[Row]) -> f64 {
    let longest_ns = rows.iter().filter_map(|row| row.poll_interval_ns).max().unwrap_or(0);
    let channels = f64::from(flags.load.channels.max(1));
    let longest = Fraction::new(longest_ns, SECOND_NS).map_or(0.0, Fraction::to_f64);
    flags.rate.to_f64() * longest / channels
}

/// The history that polling can rely on: four times what one interval publishes where we may
/// choose, else what the server is known to keep, of which half must be enough.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a bound of a few thousand, rounded up"
)]
fn history(flags: &CompareFlags, rows: &[Row]) -> Result<u64, Failure> {
    let needed = publications_per_interval(flags, rows);
    let is_chosen =
        flags.server_command.as_deref().is_some_and(|command| command.contains("{history}"));
    let wanted = (4.0 * needed).ceil() as u64;
    let history = match (flags.history, is_chosen) {
        (Some(told), _) => told,
        (None, true) => wanted.max(HISTORY_DEFAULT),
        (None, false) => HISTORY_DEFAULT,
    };
    if needed > history as f64 / 2.0 {
        let line = format!(
            "{needed:.0} publications per channel in the longest poll interval are more than half \
             the history of {history}, so polling would lose some; start the server with \
             --history-size {wanted} and say --history {wanted}, or lower --rate"
        );
        return Err(Failure::configuration(line));
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn planned(line: &str) -> Result<Plan, Failure> {
        let words = ["loadgen", "compare"].into_iter().chain(line.split(' '));
        match Cli::try_parse_from(words).unwrap().command {
            Command::Compare(flags) => plan(&flags),
            other => panic!("{other:?}"),
        }
    }

    fn names(plan: &Plan) -> Vec<String> {
        plan.rows.iter().map(|row| row.name()).collect()
    }

    #[test]
    fn default_rows_in_their_order() {
        let plan = planned("http://h:1").unwrap();
        assert_eq!(names(&plan), ["ws", "sse", "longpoll", "poll@1s", "poll@100ms"]);
        assert_eq!(plan.rows[0].direction(), "both");
        assert_eq!(plan.rows[1].direction(), "server_to_client");
    }

    #[test]
    fn poll_intervals_are_rows_once_each() {
        let plan = planned("http://h:1 --poll-interval 2s,250ms --poll-interval 2s").unwrap();
        assert_eq!(names(&plan), ["ws", "sse", "longpoll", "poll@2s", "poll@250ms"]);
        assert_eq!(interval(1_500_000_000), "1500ms");
        assert_eq!(interval(60_000_000_000), "1m");
        assert_eq!(interval(7), "7ns");
    }

    #[test]
    fn the_second_round_is_the_first_reversed() {
        let order = order(3, 2, 2);
        let (first, second) = order.split_at(4);
        assert_eq!(first[0], (1, Subject::Nobody));
        assert_eq!(first[1], (1, Subject::Row(0)));
        let mut mirrored: Vec<Subject> = second.iter().map(|(_, subject)| *subject).collect();
        mirrored.reverse();
        let subjects: Vec<Subject> = first.iter().map(|(_, subject)| *subject).collect();
        assert_eq!(mirrored, subjects);
        assert!(second.iter().all(|(round, _)| *round == 2));
    }

    #[test]
    fn nobody_is_measured_only_where_processor_time_is() {
        let count = |line: &str| {
            let blocks = planned(line).unwrap().blocks;
            blocks.iter().filter(|block| block.subject == Subject::Nobody).count()
        };
        assert_eq!(count("http://h:1"), 0);
        assert_eq!(count("http://h:1 --server-pid 1"), 2);
        assert_eq!(count("--server-command x --quick"), 1);
    }

    #[test]
    fn the_default_takes_under_three_minutes_and_quick_under_one() {
        let whole = planned("--server-command x").unwrap();
        assert!(whole.expected_ns() < 170 * SECOND_NS, "{} s", whole.expected_ns() / SECOND_NS);
        let quick = planned("--server-command x --quick").unwrap();
        assert!(quick.expected_ns() < 58 * SECOND_NS, "{} s", quick.expected_ns() / SECOND_NS);
        assert!(quick.duration_ns >= BLOCK_NS_MIN);
        // 200 subscribers at 20/s: deliveries of one pushed row.
        let deliveries = 200 * 20 * quick.duration_ns / SECOND_NS * u64::from(quick.rounds);
        assert!(deliveries >= 5_000);
        assert_eq!(planned("http://h:1 -d 3s").unwrap_err().code, 104);
    }

    #[test]
    fn polling_rows_warm_up_for_an_interval() {
        let plan = planned("--server-command x --quick").unwrap();
        let warmups: Vec<u64> = plan.rows.iter().map(|row| plan.warmup_ns(*row)).collect();
        assert_eq!(warmups, [100_000_000, 100_000_000, 100_000_000, SECOND_NS, 100_000_000]);
    }

    #[test]
    fn polling_may_use_half_the_history() {
        assert_eq!(planned("http://h:1 -R 50").unwrap().history, 100);
        let failure = planned("http://h:1 -R 51").unwrap_err();
        assert_eq!(failure.code, 104);
        assert!(failure.line.contains("--history-size 204"), "{}", failure.line);
        assert!(planned("http://h:1 -R 51 --channels 2").is_ok());
        assert!(planned("http://h:1 -R 51 --history 102").is_ok());
        assert!(planned("http://h:1 -R 51 --history 101").is_err());
        assert_eq!(planned("http://h:1 --poll-interval 0").unwrap_err().code, 104);
    }

    #[test]
    fn a_server_we_start_gets_four_times_what_an_interval_publishes() {
        let with = |rate: &str, interval: &str| {
            let command = ["loadgen", "compare", "--server-command", "s {port} {history}"];
            let flags = ["-R", rate, "--poll-interval", interval];
            match Cli::try_parse_from(command.into_iter().chain(flags)).unwrap().command {
                Command::Compare(flags) => plan(&flags).unwrap().history,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(with("20", "1s"), 100);
        assert_eq!(with("100", "2s"), 800);
        assert_eq!(with("0.5", "1s"), 100);
    }
}
