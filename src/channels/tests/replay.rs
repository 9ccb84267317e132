//! Where a reader stands, what it gets, and in which order.

use std::sync::Arc;

use super::super::{ChannelLimits, Encoding, Seek};
use super::desk::{Desk, LIMITS, WIDE, at, batch, batch_offsets, offsets, seek};

#[test]
fn what_was_gathered_goes_before_a_new_subscriber() {
    let mut desk = Desk::new(LIMITS);
    let first = desk.subscribe(0, seek("a", Encoding::Ws, None));
    assert_eq!((first.position, first.recovered, first.live), (at(1, 0), true, true));
    assert_eq!((first.subscriber, first.items.len()), (77, 0));
    desk.publish("a", "one").unwrap();
    desk.publish("a", "two").unwrap();
    assert!(desk.take().is_empty(), "publications are gathered");
    let second = desk.subscribe(0, seek("a", Encoding::Ws, Some(at(1, 1))));
    assert_eq!((offsets(&second.items), second.position), (vec![2], at(1, 2)));
    let before = desk.take();
    assert_eq!(before.len(), 1);
    assert_eq!(batch_offsets(&before[0].1), [1, 2]);
    desk.publish("a", "three").unwrap();
    let after = desk.flush();
    assert_eq!(after.len(), 1, "one batch per worker, however many subscribers");
    assert_eq!(batch_offsets(&after[0].1), [3]);
}

#[test]
fn nobody_else_is_told() {
    let mut desk = Desk::new(LIMITS);
    desk.subscribe(0, seek("a", Encoding::Ws, None));
    desk.subscribe(1, seek("b", Encoding::Ws, None));
    desk.publish("a", "one").unwrap();
    let told: Vec<_> = desk.flush().iter().map(|(to, _)| *to).collect();
    assert_eq!(told, [0]);
    desk.subscribe(0, seek("a", Encoding::Ws, None));
    desk.leave(0, "a", Encoding::Ws);
    desk.publish("a", "two").unwrap();
    assert_eq!(desk.flush().len(), 1, "one of two subscribers is left");
    desk.leave(0, "a", Encoding::Ws);
    desk.publish("a", "three").unwrap();
    assert!(desk.flush().is_empty());
}

#[test]
fn a_position_is_known_or_lost() {
    let mut desk = Desk::new(LIMITS);
    for payload in ["1", "2", "3", "4", "5", "6", "7"] {
        desk.publish("a", payload).unwrap();
    }
    // History holds 3 to 7; at most 4 are replayed.
    assert_eq!(desk.read("a", Some(at(1, 7)), WIDE), Some((at(1, 7), true, vec![])));
    assert_eq!(desk.read("a", Some(at(1, 3)), WIDE), Some((at(1, 7), true, vec![4, 5, 6, 7])));
    assert_eq!(desk.read("a", None, WIDE), Some((at(1, 7), true, vec![])));
    assert_eq!(desk.home.counters().positions_lost, 0);
    for lost in [at(1, 2), at(1, 1), at(1, 8), at(2, 7), at(2, 0)] {
        assert_eq!(desk.read("a", Some(lost), WIDE), Some((at(1, 7), false, vec![])), "{lost}");
        let slice = desk.subscribe(0, seek("a", Encoding::Sse, Some(lost)));
        assert_eq!((slice.position, slice.recovered, slice.live), (at(1, 7), false, true));
        assert!(slice.items.is_empty());
    }
    assert_eq!(desk.home.counters().positions_lost, 10);
}

#[test]
fn history_reaches_back_to_its_size_when_the_limit_is_wide() {
    let limits = ChannelLimits { recovery_publications_max: 100, ..LIMITS };
    let mut desk = Desk::new(limits);
    for payload in ["1", "2", "3", "4", "5", "6", "7"] {
        desk.publish("a", payload).unwrap();
    }
    let all = vec![3, 4, 5, 6, 7];
    assert_eq!(desk.read("a", Some(at(1, 2)), WIDE), Some((at(1, 7), true, all)));
    assert_eq!(desk.read("a", Some(at(1, 1)), WIDE), Some((at(1, 7), false, vec![])));
}

#[test]
fn a_stream_begins_before_its_first_publication() {
    let mut desk = Desk::new(LIMITS);
    assert_eq!(desk.read("a", None, WIDE), Some((at(1, 0), true, vec![])));
    desk.publish("a", "one").unwrap();
    assert_eq!(desk.read("a", Some(at(1, 0)), WIDE), Some((at(1, 1), true, vec![1])));
}

#[test]
fn catching_up_takes_slices_of_at_least_one() {
    let mut desk = Desk::new(LIMITS);
    for payload in ["11111", "22222", "33333", "44444"] {
        desk.publish("a", payload).unwrap();
    }
    let frame = 2 + 5;
    let narrow =
        |since, slice_bytes_max| Seek { slice_bytes_max, ..seek("a", Encoding::Ws, Some(since)) };
    let first = desk.subscribe(0, narrow(at(1, 0), 0));
    assert_eq!((offsets(&first.items), first.live), (vec![1], false));
    let second = desk.proceed(0, narrow(first.position, 2 * frame));
    assert_eq!((offsets(&second.items), second.live), (vec![2, 3], false));
    desk.publish("a", "55555").unwrap();
    assert!(desk.flush().is_empty(), "who catches up is not live");
    let third = desk.proceed(0, narrow(second.position, 2 * frame));
    assert_eq!((offsets(&third.items), third.live), (vec![4, 5], true));
    desk.publish("a", "66666").unwrap();
    assert_eq!(batch_offsets(&desk.flush()[0].1), [6]);
    assert_eq!(desk.read("a", Some(at(1, 3)), 1), Some((at(1, 4), true, vec![4])));
}

#[test]
fn who_is_too_slow_to_catch_up_is_told() {
    let mut desk = Desk::new(LIMITS);
    for _ in 0..4 {
        desk.publish("a", "x").unwrap();
    }
    let one = |since| Seek { slice_bytes_max: 0, ..seek("a", Encoding::Json, Some(since)) };
    let slice = desk.subscribe(0, one(at(1, 0)));
    for _ in 0..2 {
        desk.publish("a", "x").unwrap();
    }
    // Five behind: more than a new subscriber may be, but history still has them.
    let slice = desk.proceed(0, one(slice.position));
    assert_eq!((offsets(&slice.items), slice.recovered), (vec![2], true));
    for _ in 0..4 {
        desk.publish("a", "x").unwrap();
    }
    let slice = desk.proceed(0, one(slice.position));
    assert_eq!((slice.position, slice.recovered, slice.live), (at(1, 10), false, true));
}

#[test]
fn a_subscriber_of_one_answer_goes_live_only_to_wait() {
    let mut desk = Desk::new(LIMITS);
    desk.publish("a", "one").unwrap();
    let once = |since| Seek { once: true, ..seek("a", Encoding::Poll, since) };
    assert!(!desk.subscribe(0, once(Some(at(1, 0)))).live, "it has its answer");
    assert!(!desk.subscribe(0, once(Some(at(9, 0)))).live, "it has its answer");
    desk.publish("a", "two").unwrap();
    assert!(desk.flush().is_empty());
    assert!(desk.subscribe(0, once(Some(at(1, 2)))).live);
    assert!(desk.subscribe(0, once(None)).live);
    desk.publish("a", "three").unwrap();
    assert_eq!(desk.flush().len(), 1);
}

#[test]
fn each_needed_encoding_is_made_once() {
    let mut desk = Desk::new(LIMITS);
    desk.publish("a", "to nobody").unwrap();
    assert_eq!(desk.home.counters().encodings, 0);
    for worker in 0..3 {
        desk.subscribe(worker, seek("a", Encoding::Ws, None));
    }
    desk.subscribe(1, seek("a", Encoding::Sse, None));
    desk.publish("a", "one").unwrap();
    let told = desk.flush();
    assert_eq!(told.len(), 3);
    assert_eq!(desk.home.counters().encodings, 2);
    for (_, answer) in &told {
        assert!(Arc::ptr_eq(batch(answer), batch(&told[0].1)), "workers share a batch");
        let item = &batch(answer).items()[0];
        let made = Encoding::ALL.map(|encoding| item.is_encoded(encoding));
        assert_eq!(made, [true, false, true, false, false, false, false, false]);
    }
    let item = Arc::clone(&batch(&told[0].1).items()[0]);
    for _ in 0..3 {
        assert_eq!(desk.read("a", Some(at(1, 1)), WIDE), Some((at(1, 2), true, vec![2])));
        let slice = desk.subscribe(0, seek("a", Encoding::Sse, Some(at(1, 1))));
        assert!(Arc::ptr_eq(&slice.items[0], &item));
    }
    assert_eq!(desk.home.counters().encodings, 3, "one more, for the polls");
    desk.leave(1, "a", Encoding::Sse);
    for _ in 0..3 {
        desk.leave(0, "a", Encoding::Sse);
    }
    desk.publish("a", "two").unwrap();
    assert_eq!(desk.home.counters().encodings, 4, "nobody reads events any more");
}
