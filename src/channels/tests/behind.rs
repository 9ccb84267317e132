//! Workers that take nothing for a while.

use bytes::Bytes;

use super::super::{Answer, Encoding, Name, Receipt, Request};
use super::desk::{Desk, LIMITS, WIDE, at, batch_offsets, offsets, seek, slice};

#[test]
fn a_worker_that_is_behind_is_served_from_history() {
    let mut desk = Desk::new(LIMITS);
    desk.subscribe(0, seek("a", Encoding::Ws, None));
    desk.subscribe(1, seek("a", Encoding::Ws, None));
    desk.closed.insert(1);
    for _ in 0..3 {
        desk.publish("a", "x").unwrap();
        assert_eq!(desk.flush().len(), 1, "the other one is not kept waiting");
        assert!(desk.home.is_waiting());
    }
    // A subscriber of that worker waits, or it would get the same again from history.
    desk.handle(1, Request::Subscribe(seek("a", Encoding::Ws, Some(at(1, 2)))));
    assert!(desk.flush().is_empty());
    desk.closed.clear();
    let told = desk.flush();
    assert_eq!(told.len(), 2);
    assert_eq!(batch_offsets(&told[0].1), [1, 2, 3]);
    assert_eq!(offsets(&slice(told.into_iter().nth(1)).items), [3]);
    assert!(!desk.home.is_waiting());
    assert!(desk.flush().is_empty());
    assert_eq!(desk.home.counters().gaps, 0);
}

#[test]
fn a_worker_too_far_behind_hears_of_the_gap_once() {
    let mut desk = Desk::new(LIMITS);
    desk.subscribe(1, seek("a", Encoding::Ws, None));
    desk.closed.insert(1);
    for _ in 0..6 {
        desk.publish("a", "x").unwrap();
        assert!(desk.flush().is_empty());
    }
    desk.closed.clear();
    let told = desk.flush();
    let is_gap = matches!(told[..], [(1, Answer::Gap { position, .. })] if position == at(1, 6));
    assert!(is_gap, "{told:?}");
    desk.publish("a", "x").unwrap();
    assert_eq!(batch_offsets(&desk.flush()[0].1), [7]);
    assert_eq!(desk.home.counters().gaps, 1);
}

#[test]
fn refused_answers_are_owed_in_order() {
    let mut desk = Desk::new(LIMITS);
    desk.publish("a", "x").unwrap();
    desk.closed.insert(1);
    let receipt = |receipt| Request::Publish {
        channel: Name::new("a"),
        payload: Bytes::from_static(b"y"),
        text: true,
        receipt: Receipt::Always(receipt),
    };
    desk.handle(1, receipt(1));
    desk.handle(1, receipt(2));
    desk.closed.clear();
    // It would take them now, but they would overtake what is owed.
    desk.handle(1, receipt(3));
    let channel = Name::new("a");
    desk.handle(1, Request::Read { channel, reader: 4, since: None, bytes_max: 1 });
    assert!(desk.take().is_empty());
    desk.closed.insert(1);
    assert!(desk.flush().is_empty());
    desk.closed.clear();
    let told: Vec<_> = desk
        .flush()
        .into_iter()
        .map(|answer| match answer {
            (1, Answer::Published { receipt, .. }) => receipt,
            (1, Answer::Read(read)) => read.reader,
            other => panic!("not asked for: {other:?}"),
        })
        .collect();
    assert_eq!(told, [1, 2, 3, 4]);
    assert!(!desk.home.is_waiting());
}

#[test]
fn a_congested_worker_pins_no_slices() {
    let mut desk = Desk::new(LIMITS);
    let position = desk.publish("a", "x").unwrap();
    desk.subscribe(1, seek("b", Encoding::Ws, None));
    desk.closed.insert(1);
    desk.publish("b", "x").unwrap();
    desk.flush();
    for reader in 0..3 {
        let since = Some(at(position.epoch.0, 0));
        let channel = Name::new("a");
        desk.handle(1, Request::Read { channel, reader, since, bytes_max: WIDE });
    }
    assert_eq!(desk.home.counters().encodings, 1, "read only when it can be answered");
    desk.closed.clear();
    assert_eq!(desk.flush().len(), 4);
    assert_eq!(desk.home.counters().encodings, 2);
}
