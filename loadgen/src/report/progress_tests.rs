//! Lines for those who have no terminal: fixed keys in a fixed order, and what changes at once.

use super::*;
use crate::cli::plan::tests::scenario;
use crate::samples::snapshot;

fn shown() -> Shown {
    let style = Style { is_utf8: false };
    let title = Title { row: "ws".to_owned(), ..Title::of_run(&scenario(), "ws", style) };
    Shown::new(Surface::Quiet, title)
}

fn line_of(snapshot: Snapshot) -> String {
    let shown = shown();
    shown.snapshot(snapshot);
    second_line(&shown.view()).unwrap()
}

#[test]
fn every_second_has_the_same_keys_in_the_same_order() {
    assert_eq!(
        line_of(snapshot(38)),
        "t=38 row=ws rate=49998 offered=50000 open=200 p50_us=1900 p99_us=12607 p999_us=58327 \
         max_us=58327 errors=0 gaps=0 lag_p99_us=210 verdict=valid"
    );
    let mut sparse = snapshot(1);
    (sparse.offered, sparse.gaps) = (None, None);
    sparse.last.reset();
    sparse.last.record_n(2_000_000, 150).unwrap();
    let line = line_of(sparse);
    assert!(line.contains("offered=null"), "{line}");
    assert!(line.contains("p50_us=2000 p99_us=insufficient p999_us=insufficient"), "{line}");
    assert!(line.contains("gaps=null"), "{line}");
    let mut connecting = snapshot(0);
    connecting.tick.phase = Phase::Connecting;
    connecting.last.reset();
    let line = line_of(connecting);
    assert!(line.starts_with("t=null row=ws rate=49998 "), "{line}");
    assert!(line.contains("p50_us=null p99_us=null"), "{line}");
}

#[test]
fn a_phase_is_told_when_it_begins() {
    let shown = shown();
    let tick = snapshot(38).tick;
    shown.tick(&tick);
    let line = phase_line(&shown.view(), &tick);
    assert_eq!(line, "phase=measuring row=ws left_s=22 open=200");
    let early = Tick { phase: Phase::Connecting, left_ns: None, ..tick };
    let line = phase_line(&shown.view(), &early);
    assert_eq!(line, "phase=connecting row=ws left_s=null open=200");
}

#[test]
fn the_past_is_bounded_and_a_new_block_begins_anew() {
    let shown = shown();
    let sample = snapshot(38);
    for second in 0..HISTORY_SECONDS as u64 + 5 {
        shown.snapshot(Snapshot { elapsed_ns: second * NS_PER_S, ..sample.clone() });
    }
    let view = shown.view();
    assert_eq!(view.history.len(), HISTORY_SECONDS);
    assert_eq!(view.history[0].second, 5);
    shown.begin(Block { row: "sse".to_owned(), ..Block::default() });
    let view = shown.view();
    assert!(view.history.is_empty() && view.now.is_none());
    assert_eq!(row_name(&view), "sse");
}

#[test]
fn the_worst_of_an_earlier_block_is_kept() {
    let shown = shown();
    shown.begin(Block { row: "ws".to_owned(), ..Block::default() });
    shown.snapshot(Snapshot { lag_p99_ns: 900_000_000, ..snapshot(38) });
    assert_eq!(shown.view().verdict().state, State::Invalid);
    shown.begin(Block { row: "sse".to_owned(), ..Block::default() });
    shown.snapshot(snapshot(38));
    let view = shown.view();
    assert_eq!(view.verdict().state, State::Invalid);
    assert!(view.verdict().reasons[0].starts_with("ws: schedule lag"), "{:?}", view.verdict());
}

#[test]
fn a_threads_share_is_its_mean_over_the_window() {
    let shown = shown();
    let mut first = snapshot(1);
    first.threads.truncate(1);
    first.threads[0].busy_share = 1.0;
    let mut second = first.clone();
    second.threads[0].busy_share = 0.5;
    assert_eq!(shown.busy_share(&first), [1.0]);
    assert_eq!(shown.busy_share(&second), [0.75]);
}

#[test]
fn colours_and_frames_follow_the_environment() {
    let with = |name: &'static str, value: &'static str| {
        Look::of(false, move |asked| (asked == name).then(|| value.to_owned()))
    };
    assert!(with("TERM", "xterm").is_coloured);
    assert!(!with("NO_COLOR", "1").is_coloured);
    assert!(with("NO_COLOR", "").is_coloured);
    assert!(!Look::of(true, |_| None).is_coloured);
    assert!(with("TERM", "linux").is_slow);
    assert!(with("SSH_CONNECTION", "1.2.3.4 1 5.6.7.8 22").is_slow);
    assert!(!with("TERM", "xterm").is_slow);
    assert!(with("LANG", "C.UTF-8").style.is_utf8);
}

#[test]
fn quiet_is_quiet_and_plain_is_lines() {
    assert_eq!(Surface::of(true, false, false), Surface::Quiet);
    assert_eq!(Surface::of(false, true, false), Surface::Lines);
    assert!(!Shown::new(Surface::Quiet, shown().view().title.as_ref().clone()).is_live());
}

#[test]
fn minutes_round_up() {
    assert_eq!(minutes(0), "0:00");
    assert_eq!(minutes(1), "0:01");
    assert_eq!(minutes(200_000_000_000), "3:20");
}
