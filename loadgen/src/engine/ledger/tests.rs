//! What a thread's books count, and when.

use super::{Handed, Ledger, Window};
use crate::engine::error::ErrorCode;
use crate::engine::sequence::Arrival;

const S: u64 = 1_000_000_000;
const WINDOW: Window = Window { start_ns: 10 * S, end_ns: 13 * S };

#[test]
fn a_message_of_the_window_counts_when_it_arrives_late_and_one_of_the_warm_up_never() {
    let mut ledger = Ledger::new(false);
    ledger.turn(WINDOW, 10 * S);
    ledger.received(Arrival::New, 10 * S - 1, 0, 10 * S);
    assert_eq!((ledger.received_of_window, ledger.deliveries_in_window), (0, 1));
    ledger.turn(WINDOW, 14 * S);
    ledger.received(Arrival::New, 13 * S - 1, 1, 14 * S);
    ledger.received(Arrival::New, 13 * S, 0, 14 * S);
    ledger.received(Arrival::Duplicate, 13 * S - 1, 1, 14 * S);
    ledger.received(Arrival::Reordered, 12 * S, 5, 14 * S);
    assert_eq!((ledger.received_of_window, ledger.deliveries_in_window), (2, 1));
    assert_eq!((ledger.duplicates, ledger.reordered, ledger.received_total), (1, 1, 4));
    assert_eq!((ledger.intended.histogram().len(), ledger.sent.histogram().len()), (2, 2));
}

#[test]
fn seconds_of_threads_that_were_busy_at_different_times_line_up() {
    let (mut early, mut late, mut all) =
        (Ledger::new(false), Ledger::new(false), Ledger::new(false));
    early.turn(WINDOW, 10 * S);
    early.received(Arrival::New, 10 * S, 0, 10 * S + 1_000);
    late.turn(WINDOW, 12 * S + 1);
    late.received(Arrival::New, 12 * S, 0, 12 * S + 1);
    late.sent(12 * S, 12 * S, 12 * S);
    late.error(ErrorCode::Reset);
    late.turn(WINDOW, 13 * S);
    late.error(ErrorCode::Reset);
    all.add(early);
    all.add(late);
    let intervals = all.take_timeline().intervals(3 * S, |_, _| None);
    let counts: Vec<_> = intervals.iter().map(|i| (i.sent, i.received, i.errors)).collect();
    assert_eq!(counts, [(0, 1, 0), (0, 0, 0), (1, 1, 1)]);
    assert_eq!(intervals[0].p99_ns, Some(1_000));
    assert_eq!((intervals[1].p50_ns, intervals[2].p50_ns), (None, Some(1)));
    assert_eq!(all.errors[&ErrorCode::Reset].count, 2);
    let [detail] = &all.error_details(Some(10 * S))[..] else { panic!("one kind") };
    assert_eq!((detail.code.as_str(), detail.count), ("tcp.reset", 2));
    assert_eq!(detail.first_at_ns, Some(2 * S.cast_signed() + 1));
    assert_eq!(detail.last_at_ns, Some(3 * S.cast_signed()));
}

#[test]
fn seconds_are_handed_over_once_and_only_the_windows() {
    for is_live in [false, true] {
        let (mut ledger, mut handed) = (Ledger::new(is_live), Handed::default());
        assert!(ledger.turn(Window::UNKNOWN, 9 * S), "the first second begins");
        assert!(ledger.turn(WINDOW, 10 * S - 1));
        ledger.received(Arrival::New, 10 * S - 1, 0, 10 * S - 1);
        assert!(ledger.turn(WINDOW, 10 * S));
        ledger.received(Arrival::New, 10 * S, 0, 10 * S + 7);
        assert!(!ledger.turn(WINDOW, 11 * S - 1));
        assert_eq!(ledger.second_end_ns(11 * S - 1), 11 * S);
        assert!(ledger.turn(WINDOW, 11 * S));
        ledger.hand_over(&mut handed, 3);
        assert!(ledger.turn(WINDOW, 12 * S + 5));
        ledger.received(Arrival::New, 12 * S, 0, 12 * S + 9);
        ledger.hand_over(&mut handed, 3);
        assert!(ledger.turn(WINDOW, 13 * S), "the window is over");
        ledger.hand_over(&mut handed, 3);
        assert_eq!(handed.recent.count(), if is_live { 3 } else { 0 });
        assert_eq!(handed.books.map(|books| books.connecting), is_live.then_some(3));
        let intervals = handed.timeline.intervals(3 * S, |_, _| None);
        let received: Vec<_> = intervals.iter().map(|i| i.received).collect();
        assert_eq!(received, [1, 0, 1]);
        assert!(ledger.take_timeline().is_empty());
    }
}
