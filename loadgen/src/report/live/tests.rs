//! Whole screens, compared with what lies beside; `RINGWIRE_BLESS=1` writes them anew.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::cli::plan::tests::scenario;
use crate::report::number::Style;
use crate::report::progress::{Block, Row, Surface};
use crate::report::title::Title;
use crate::samples;
use loadgen::outcome::{Phase, Progress, Snapshot};
use loadgen::scenario::{Mode, Rate, Scenario};
use std::sync::Arc;

const PLAIN: Look = Look { style: Style { is_utf8: true }, is_coloured: true, is_slow: false };

/// What the sample snapshots are of.
fn echo() -> Title {
    let scenario = Scenario {
        mode: Mode::Echo,
        connections: 200,
        rate_per_s: Rate::per_second(50_000),
        duration: Duration::from_secs(60),
        server_pid: Some(4711),
        server_gauged: None,
        ..scenario()
    };
    let url = "ws://10.0.0.5:8080/echo".to_owned();
    Title { url, row: "ws".to_owned(), ..Title::of_run(&scenario, "ws", PLAIN.style) }
}

/// 38 seconds of which one stalled.
fn told(shown: &Shown, change: impl Fn(&mut Snapshot)) {
    let sample = samples::snapshot(38);
    for second in 1..=38 {
        let mut snapshot = Snapshot { elapsed_ns: second * 1_000_000_000, ..sample.clone() };
        if second == 13 {
            snapshot.last.record_n(51_000_000, 40_000).unwrap();
        } else {
            snapshot.last.reset();
            snapshot.last.record_n(6_210_000 + second * 1_000, 50_000).unwrap();
        }
        if second == 38 {
            snapshot.last = sample.last.clone();
        }
        snapshot.tick.received = 50_000 * second;
        change(&mut snapshot);
        shown.tick(&snapshot.tick);
        shown.snapshot(snapshot);
    }
}

fn view_of(title: Title, change: impl Fn(&mut Snapshot)) -> View {
    let shown = Shown::new(Surface::Quiet, title);
    told(&shown, change);
    shown.view()
}

fn drawn(view: &View, look: Look, choices: Choices, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, view, look, choices)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content.chunks(width).map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        format!("{}\n", row.trim_end())
    });
    rows.collect()
}

fn assert_screen(name: &str, view: &View, look: Look, size: (u16, u16)) {
    samples::assert_golden(name, &text(&drawn(view, look, Choices::default(), size)));
}

#[test]
fn a_run_at_every_size() {
    let view = view_of(echo(), |_| {});
    assert_screen("run-80x24", &view, PLAIN, (80, 24));
    assert_screen("run-120x40", &view, PLAIN, (120, 40));
    assert_screen("run-79x23", &view, PLAIN, (79, 23));
    assert_screen("run-20x5", &view, PLAIN, (20, 5));
    // The large layout leaves the small one where it is.
    let [small, large] =
        [(80, 24), (120, 40)].map(|size| text(&drawn(&view, PLAIN, Choices::default(), size)));
    for (small, large) in small.lines().zip(large.lines()) {
        let left: String = large.chars().take(78).collect();
        assert_eq!(left.trim_end(), small);
    }
}

#[test]
fn no_size_is_too_small_to_draw() {
    let view = view_of(echo(), |_| {});
    for size in [(1, 1), (2, 1), (1, 30), (200, 2), (79, 100), (300, 100)] {
        let _ = drawn(&view, PLAIN, Choices::default(), size);
    }
}

#[test]
fn ascii_has_no_other_characters() {
    let look = Look { style: Style { is_utf8: false }, ..PLAIN };
    let shown = Shown::new(
        Surface::Quiet,
        Title { workload: "echo, 200 connections, open loop, 64 B".to_owned(), ..echo() },
    );
    told(&shown, |_| {});
    let buffer = drawn(&shown.view(), look, Choices::default(), (120, 40));
    assert!(text(&buffer).is_ascii(), "{}", text(&buffer));
    samples::assert_golden("run-ascii-120x40", &text(&buffer));
}

#[test]
fn colours_are_few_and_can_be_left_out() {
    let invalid = |snapshot: &mut Snapshot| {
        snapshot.lag_p99_ns = 900_000_000;
        snapshot.errors.insert("tcp.reset".to_owned(), 3);
    };
    let view = view_of(echo(), invalid);
    let colours = |look| {
        let buffer = drawn(&view, look, Choices::default(), (120, 40));
        let mut colours: Vec<Color> = buffer.content.iter().map(|cell| cell.fg).collect();
        assert!(buffer.content.iter().all(|cell| cell.bg == Color::Reset));
        assert!(buffer.content.iter().any(|cell| cell.modifier.contains(Modifier::DIM)));
        colours.sort_by_key(|colour| format!("{colour:?}"));
        colours.dedup();
        colours
    };
    assert_eq!(colours(PLAIN), [Color::Cyan, Color::Magenta, Color::Reset]);
    assert_eq!(colours(Look { is_coloured: false, ..PLAIN }), [Color::Reset]);
    // What a state is called does not depend on colours.
    let plain = Look { is_coloured: false, ..PLAIN };
    assert_screen("run-invalid-80x24", &view, plain, (80, 24));
    assert_screen("run-invalid-80x24", &view, PLAIN, (80, 24));
}

#[test]
fn every_state_of_a_run() {
    let suspect = view_of(echo(), |snapshot| {
        for thread in &mut snapshot.threads {
            thread.busy_share = 0.95;
        }
    });
    assert_screen("run-suspect-80x24", &suspect, PLAIN, (80, 24));
    let mut failing = view_of(echo(), |snapshot| {
        snapshot.errors.insert("ws.close.1013".to_owned(), 12);
        snapshot.errors.insert("tcp.reset".to_owned(), 1);
        (snapshot.tick.errors, snapshot.lost, snapshot.gaps) = (13, 13, Some(2));
        snapshot.server = None;
    });
    failing.thresholds = vec![
        ("p(99)<20ms".to_owned(), Some(true)),
        ("errors<0.1%".to_owned(), Some(false)),
        ("p(99.99)<1s".to_owned(), None),
    ];
    assert_screen("run-failing-120x40", &failing, PLAIN, (120, 40));
    let few = view_of(echo(), |snapshot| {
        for histogram in [&mut snapshot.last, &mut snapshot.intended, &mut snapshot.from_sent] {
            histogram.reset();
            histogram.record_n(1_900_000, 150).unwrap();
        }
        (snapshot.offered, snapshot.gaps) = (None, None);
    });
    assert_screen("run-few-samples-80x24", &few, PLAIN, (80, 24));
    let stopping = View { is_stopping: true, ..view_of(echo(), |_| {}) };
    let shown = text(&drawn(&stopping, PLAIN, Choices::default(), (80, 24)));
    assert!(shown.lines().next().unwrap().ends_with("stopping"), "{shown}");
}

#[test]
fn the_phases_before_measuring() {
    let begun = Shown::new(Surface::Quiet, echo());
    assert_screen("run-starting-80x24", &begun.view(), PLAIN, (80, 24));
    let connecting = view_of(echo(), |snapshot| {
        snapshot.tick.phase = Phase::Connecting;
        (snapshot.tick.left_ns, snapshot.tick.connections_open) = (None, 120);
        (snapshot.connecting, snapshot.elapsed_ns) = (80, 0);
        for histogram in [&mut snapshot.last, &mut snapshot.intended, &mut snapshot.from_sent] {
            histogram.reset();
        }
    });
    let connecting = View { history: Default::default(), ..connecting };
    assert_screen("run-connecting-80x24", &connecting, PLAIN, (80, 24));
    let title = Title { warmup_ns: 5_000_000_000, ..echo() };
    let warm = view_of(title, |snapshot| {
        snapshot.tick.phase = Phase::Warmup;
        snapshot.tick.left_ns = Some(62_000_000_000);
    });
    let shown = text(&drawn(&warm, PLAIN, Choices::default(), (80, 24)));
    assert!(shown.lines().next().unwrap().ends_with("warming up, 0:02 to go"), "{shown}");
}

#[test]
fn connections_that_are_only_held() {
    let duration = Duration::from_secs(60);
    let held = Scenario { mode: Mode::Idle, rate_per_s: None, connections: 200, ..scenario() };
    let scenario = Scenario { duration, ..held };
    let idle = Title { url: echo().url, ..Title::of_run(&scenario, "ws", PLAIN.style) };
    let view = view_of(idle, |snapshot| {
        snapshot.offered = None;
        for histogram in [&mut snapshot.last, &mut snapshot.intended, &mut snapshot.from_sent] {
            histogram.reset();
        }
    });
    let view = View { history: Default::default(), ..view };
    assert_screen("run-idle-80x24", &view, PLAIN, (80, 24));
}

#[test]
fn a_comparison_has_a_line_for_each_row() {
    let base = Scenario { connections: 5_000, channels: 50, ..scenario() };
    let base = Scenario { rate_per_s: Rate::per_second(50), ..base };
    let url = "http://10.0.0.5:8080".to_owned();
    let shown = Shown::new(Surface::Quiet, Title::of_comparison(&base, url, PLAIN.style));
    let row = |name: &str, cpu_ns: Option<i64>| {
        let mut run = crate::summary::run(&scenario(), &samples::outcome());
        run.rounds = vec![crate::summary::round(1, &samples::outcome())];
        if let (Some(server), Some(_)) = (&mut run.server, cpu_ns) {
            server.cpu_ns_per_message = cpu_ns;
        }
        Row { name: name.to_owned(), run: cpu_ns.map(|_| Arc::new(run)) }
    };
    shown.rows(vec![
        row("ws", Some(3_120)),
        row("sse", Some(3_380)),
        row("longpoll", Some(24_600)),
        row("poll@1s", None),
        row("poll@100ms", None),
    ]);
    shown.begin(Block {
        round: 1,
        rounds: 2,
        number: 4,
        blocks: 10,
        row: "poll@1s".to_owned(),
        index: Some(3),
        expected_ns: 400_000_000_000,
        after_ns: 178_000_000_000,
    });
    told(&shown, |_| {});
    assert_screen("compare-80x24", &shown.view(), PLAIN, (80, 24));
    assert_screen("compare-120x40", &shown.view(), PLAIN, (120, 40));
    assert_screen("compare-79x23", &shown.view(), PLAIN, (79, 23));
}

#[test]
fn agents_take_the_place_of_threads() {
    let agents = (1..=30).map(|number| format!("host-{number}")).collect();
    let view = view_of(Title { agents, ..echo() }, |snapshot| {
        snapshot.threads = vec![snapshot.threads[0]; 30];
    });
    assert_screen("run-agents-120x40", &view, PLAIN, (120, 40));
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
    KeyEvent::new(code, modifiers)
}

#[test]
fn keys_choose_what_is_drawn_and_two_of_them_stop() {
    let mut choices = Choices::default();
    for (letter, wanted) in [
        ('l', Choices { is_linear: true, ..Choices::default() }),
        ('l', Choices::default()),
        ('p', Choices { is_frozen: true, ..Choices::default() }),
        ('p', Choices::default()),
        ('?', Choices { are_keys_shown: true, ..Choices::default() }),
        ('x', Choices { are_keys_shown: true, ..Choices::default() }),
        ('?', Choices::default()),
    ] {
        assert!(!choices.take(key(KeyCode::Char(letter), KeyModifiers::NONE)));
        assert_eq!(choices, wanted, "{letter}");
    }
    assert!(choices.take(key(KeyCode::Char('q'), KeyModifiers::NONE)));
    assert!(choices.take(key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    assert!(!choices.take(key(KeyCode::Char('c'), KeyModifiers::NONE)));
    let released =
        KeyEvent { kind: KeyEventKind::Release, ..key(KeyCode::Char('q'), KeyModifiers::NONE) };
    assert!(!choices.take(released));
}

#[test]
fn what_keys_choose_is_drawn() {
    let view = view_of(echo(), |_| {});
    let drawn = |choices| text(&drawn(&view, PLAIN, choices, (80, 24)));
    let even = drawn(Choices { is_linear: true, ..Choices::default() });
    assert!(even.contains("<= 20.0\u{a0}ms"), "{even}");
    let keys = drawn(Choices { are_keys_shown: true, ..Choices::default() });
    assert!(keys.contains("q, Ctrl-C") && !keys.contains("<="), "{keys}");
    let frozen = drawn(Choices { is_frozen: true, ..Choices::default() });
    assert!(frozen.contains("frozen, p goes on"), "{frozen}");
}
