//! What a home gives up, and what it refuses.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{Answer, Busy, ChannelLimits, Encoding, Name, Receipt, Request};
use super::desk::{Desk, LIMITS, WIDE, at, batch, batch_offsets, seek};

#[test]
fn publications_are_given_up_in_time() {
    let mut desk = Desk::new(LIMITS);
    desk.subscribe(0, seek("a", Encoding::Ws, None));
    desk.publish("a", "one").unwrap();
    desk.flush();
    desk.pass(60);
    desk.publish("a", "two").unwrap();
    desk.flush();
    desk.pass(60);
    // The stream was touched 60 ago, its first publication is 120 old.
    assert_eq!(desk.read("a", Some(at(1, 1)), WIDE), Some((at(1, 2), true, vec![2])));
    assert_eq!(desk.read("a", Some(at(1, 0)), WIDE), Some((at(1, 2), false, vec![])));
    assert!(desk.home.history_bytes() > 0);
    assert_eq!(desk.home.next_expiry_ns(), Some(desk.now_ns + 100));
    desk.pass(100);
    assert_eq!(desk.home.history_bytes(), 0, "an idle channel's history is given up unasked");
    assert_eq!(desk.home.next_expiry_ns(), None, "nothing is left to give up");
    assert_eq!(desk.read("a", None, WIDE), Some((at(1, 2), true, vec![])), "the epoch lives on");
}

#[test]
fn an_epoch_lives_while_subscribed_and_a_while_after() {
    let mut desk = Desk::new(LIMITS);
    desk.subscribe(0, seek("a", Encoding::Ws, None));
    desk.pass(1_000);
    assert_eq!(desk.read("a", None, WIDE), Some((at(1, 0), true, vec![])));
    desk.leave(0, "a", Encoding::Ws);
    desk.pass(99);
    assert_eq!(desk.home.channels(), 1);
    assert_eq!(desk.read("a", None, WIDE), Some((at(1, 0), true, vec![])), "and is touched");
    desk.pass(99);
    assert_eq!(desk.home.channels(), 1);
    desk.pass(1);
    assert_eq!((desk.home.channels(), desk.home.counters().expiries), (0, 1));
    assert_eq!(desk.read("a", Some(at(1, 0)), WIDE), Some((at(2, 0), false, vec![])));
    // Nobody called `expire`, and still it is over.
    desk.now_ns += 100;
    assert_eq!(desk.read("a", None, WIDE), Some((at(3, 0), true, vec![])));
}

#[test]
fn the_oldest_unsubscribed_stream_makes_room() {
    let mut desk = Desk::new(LIMITS);
    desk.subscribe(0, seek("kept", Encoding::Ws, None));
    desk.publish("old", "x").unwrap();
    desk.publish("older", "x").unwrap();
    assert!(desk.read("old", None, WIDE).is_some(), "and is the younger one now");
    desk.publish("new", "x").unwrap();
    assert_eq!((desk.home.channels(), desk.home.counters().evictions), (3, 1));
    assert_eq!(desk.read("old", None, WIDE), Some((at(2, 1), true, vec![])));
    assert_eq!(desk.read("kept", None, WIDE), Some((at(1, 0), true, vec![])));
    assert_eq!(desk.read("older", Some(at(3, 0)), WIDE), Some((at(5, 0), false, vec![])));
}

#[test]
fn a_table_of_subscribed_streams_is_full() {
    let mut desk = Desk::new(LIMITS);
    for channel in ["a", "b", "c"] {
        desk.subscribe(0, seek(channel, Encoding::Ws, None));
    }
    assert_eq!(desk.publish("d", "x"), Err(Busy));
    assert_eq!(desk.read("d", None, WIDE), None);
    desk.handle(1, Request::Subscribe(seek("d", Encoding::Ws, None)));
    let answers = desk.take();
    let refused = matches!(answers[..], [(1, Answer::Refused { asker: 77, read: false })]);
    assert!(refused, "{answers:?}");
    assert_eq!(desk.home.counters().refusals, 3);
    assert!(desk.publish("a", "x").is_ok());
    desk.leave(0, "b", Encoding::Ws);
    assert!(desk.publish("d", "x").is_ok());
}

#[test]
fn bytes_are_bounded_and_counted_with_encodings() {
    let payload = "x".repeat(1_000);
    let mut desk = Desk::new(ChannelLimits { history_bytes_max: 4_000, ..LIMITS });
    desk.publish("idle", &payload).unwrap();
    desk.publish("idle2", &payload).unwrap();
    let one = desk.home.history_bytes() / 2;
    assert!((1_000..1_400).contains(&one), "{one}");
    desk.publish("a", &payload).unwrap();
    desk.publish("a", &payload).unwrap();
    assert_eq!((desk.home.channels(), desk.home.history_bytes()), (2, 3 * one));
    assert_eq!(desk.home.counters().evictions, 1, "the oldest");
    desk.publish("a", &payload).unwrap();
    assert_eq!((desk.home.channels(), desk.home.history_bytes()), (1, 3 * one));
    // Only its own history is left to give way.
    desk.publish("a", &payload).unwrap();
    assert_eq!(desk.home.history_bytes(), 3 * one);
    let lost = desk.read("a", Some(at(3, 0)), WIDE);
    assert_eq!(lost, Some((at(3, 4), false, vec![])));
    assert_eq!(desk.read("a", Some(at(3, 3)), WIDE), Some((at(3, 4), true, vec![4])));
    assert_eq!(desk.home.history_bytes(), 3 * one + r#"{"offset":4,"data":""}"#.len() + 1_000);
    assert_eq!(desk.publish("a", &"x".repeat(4_000)), Err(Busy));
    desk.pass(100);
    assert_eq!((desk.home.channels(), desk.home.history_bytes()), (0, 0));
}

#[test]
fn what_is_only_gathered_gives_way_after_it_is_handed_over() {
    let payload = "x".repeat(1_000);
    let mut desk = Desk::new(ChannelLimits { history_bytes_max: 3_000, ..LIMITS });
    desk.subscribe(0, seek("a", Encoding::Ws, None));
    for _ in 0..6 {
        desk.publish("a", &payload).unwrap();
    }
    let told = desk.flush();
    let told: Vec<_> = told.iter().flat_map(|(_, answer)| batch_offsets(answer)).collect();
    assert_eq!(told, [1, 2, 3, 4, 5, 6]);
    assert!(desk.home.history_bytes() <= 3_000 + 1_010);
    // Other streams' history does not: they are subscribed.
    desk.subscribe(0, seek("b", Encoding::Ws, None));
    assert_eq!(desk.publish("b", &"x".repeat(2_000)), Err(Busy));
}

#[test]
fn batches_are_of_bounded_size() {
    let mut desk = Desk::new(ChannelLimits { history_size: 1_000, ..LIMITS });
    desk.subscribe(0, seek("a", Encoding::Ws, None));
    desk.subscribe(1, seek("a", Encoding::Ws, None));
    let payload = "x".repeat(50_000);
    for _ in 0..7 {
        desk.publish("a", &payload).unwrap();
    }
    let told = desk.flush();
    for worker in 0..2 {
        let batches = told.iter().filter(|(to, _)| *to == worker);
        let batches: Vec<_> = batches.map(|(_, answer)| batch_offsets(answer)).collect();
        assert_eq!(batches, [vec![1, 2], vec![3, 4], vec![5, 6], vec![7]]);
    }
    assert!(told.iter().all(|(_, answer)| answer.bytes() <= 2 * payload.len()));
    let half = told.len() / 2;
    assert!(Arc::ptr_eq(batch(&told[0].1), batch(&told[half].1)), "workers share batches");
}

#[test]
fn gathering_has_an_end() {
    let mut desk = Desk::new(ChannelLimits { history_size: 1, ..LIMITS });
    desk.subscribe(0, seek("a", Encoding::Ws, None));
    for number in 1..=300_u32 {
        desk.handle(
            2,
            Request::Publish {
                channel: Name::new("a"),
                payload: Bytes::from_static(b"x"),
                text: true,
                receipt: Receipt::Never,
            },
        );
        assert_eq!(desk.answers.is_empty(), number < 256);
    }
    let told: Vec<_> = desk.flush().iter().flat_map(|(_, answer)| batch_offsets(answer)).collect();
    assert_eq!(told, (1..=300).collect::<Vec<u64>>(), "also beyond the history's size");
    assert_eq!(desk.read("a", Some(at(1, 299)), WIDE), Some((at(1, 300), true, vec![300])));
    assert_eq!(desk.read("a", Some(at(1, 298)), WIDE), Some((at(1, 300), false, vec![])));
}
