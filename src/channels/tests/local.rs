//! One worker's subscribers, step by step.

use std::sync::Arc;

use ringwire_protocol::{Epoch, Position};

use super::super::{
    Arrival, Encoding, Local, Name, Publication, Request, Seek, Slice, Terms, home_of,
};

const WORKERS: usize = 3;

fn terms(encoding: Encoding) -> Terms {
    Terms { encoding, since: None, slice_bytes_max: 100, once: false }
}

fn join(local: &mut Local, connection: u32, channel: &Name, encoding: Encoding) -> Seek {
    match local.join(connection, channel, terms(encoding)) {
        Some((home, Request::Subscribe(seek))) => {
            assert_eq!(home, home_of(channel, WORKERS));
            assert_eq!((&seek.channel, seek.encoding), (channel, encoding));
            seek
        }
        other => panic!("not a subscription: {other:?}"),
    }
}

fn answer(seek: &Seek, live: bool) -> Slice {
    Slice {
        channel: seek.channel.clone(),
        subscriber: seek.subscriber,
        encoding: seek.encoding,
        position: Position { epoch: Epoch(1), offset: 5 },
        recovered: true,
        items: Vec::new(),
        live,
    }
}

fn attach(local: &mut Local, connection: u32, channel: &Name, encoding: Encoding) {
    let seek = join(local, connection, channel, encoding);
    match local.arrive(&answer(&seek, true)) {
        Arrival::For { connection: whose, live: true } => assert_eq!(whose, connection),
        other => panic!("not attached: {other:?}"),
    }
}

fn left(departure: Option<(usize, Request)>) -> Option<(String, Encoding, u32)> {
    departure.map(|(home, request)| match request {
        Request::Leave { channel, encoding, count } => {
            assert_eq!(home, home_of(&channel, WORKERS));
            (channel.to_string(), encoding, count)
        }
        other => panic!("not a departure: {other:?}"),
    })
}

/// Everybody who is told, by encoding.
fn told(local: &mut Local, channel: &Name) -> Vec<(Encoding, Vec<u32>)> {
    let mut told: Vec<(Encoding, Vec<u32>)> = Vec::new();
    let Some(mut fanout) = local.begin_fanout(channel) else { return told };
    let mut members = Vec::new();
    while let Some(encoding) = local.next_members(&mut fanout, 2, &mut members) {
        assert!((1..=2).contains(&members.len()));
        match told.last_mut() {
            Some((last, connections)) if *last == encoding => connections.extend(&members),
            _ => told.push((encoding, members.clone())),
        }
    }
    local.end_fanout(fanout, |_, request| panic!("nobody left: {request:?}"));
    told
}

#[test]
fn a_membership_is_small() {
    assert_eq!(Local::MEMBERSHIP_BYTES, 16 + 4);
    assert_eq!(Local::CONNECTION_BYTES, 4);
}

#[test]
fn only_the_live_are_told() {
    let mut local = Local::new(WORKERS, 10);
    let channel = Name::new("a");
    let pending = join(&mut local, 1, &channel, Encoding::Ws);
    assert_eq!(told(&mut local, &channel), []);
    for connection in 2..=4 {
        attach(&mut local, connection, &channel, Encoding::Ws);
    }
    attach(&mut local, 5, &channel, Encoding::Sse);
    let late = join(&mut local, 6, &channel, Encoding::Ws);
    assert!(matches!(local.arrive(&answer(&late, false)), Arrival::For { live: false, .. }));
    let expected = [(Encoding::Ws, vec![2, 3, 4]), (Encoding::Sse, vec![5])];
    assert_eq!(told(&mut local, &channel), expected);
    assert!(matches!(local.arrive(&answer(&pending, true)), Arrival::For { connection: 1, .. }));
    let expected = [(Encoding::Ws, vec![2, 3, 4, 1]), (Encoding::Sse, vec![5])];
    assert_eq!(told(&mut local, &channel), expected);
    assert_eq!(local.live(), 5);
    assert_eq!(told(&mut local, &Name::new("b")), []);
}

#[test]
fn a_connection_is_in_a_channel_once() {
    let mut local = Local::new(WORKERS, 10);
    let channel = Name::new("a");
    attach(&mut local, 1, &channel, Encoding::Ws);
    assert!(local.join(1, &channel, terms(Encoding::Sse)).is_none());
    assert_eq!(told(&mut local, &channel), [(Encoding::Ws, vec![1])]);
}

#[test]
fn a_hundred_channels_of_one_connection() {
    let mut local = Local::new(WORKERS, 2);
    let names: Vec<_> = (0..100).map(|number| Name::new(&format!("c/{number}"))).collect();
    for name in &names {
        attach(&mut local, 1, name, Encoding::Ws);
        attach(&mut local, 7, name, Encoding::Ws);
    }
    let unanswered = join(&mut local, 1, &Name::new("unanswered"), Encoding::Ws);
    assert_eq!((local.live(), local.channels()), (200, 101));
    assert_eq!(local.channels_of(1).count(), 101);
    // From the middle of its list.
    let middle = local.leave(1, &names[50]);
    assert_eq!(left(middle), Some(("c/50".into(), Encoding::Ws, 1)));
    assert!(local.leave(1, &names[50]).is_none());
    assert!(!local.is_member(1, &names[50]) && local.is_member(1, &names[51]));
    let mut departed = Vec::new();
    local.leave_all(1, |home, request| {
        let (channel, ..) = left(Some((home, request))).unwrap();
        departed.push(channel);
    });
    let expected: Vec<_> = names.iter().rev().map(Name::to_string).collect();
    let expected: Vec<_> = expected.into_iter().filter(|name| name != "c/50").collect();
    assert_eq!(departed, expected, "one for each that was live");
    assert_eq!((local.live(), local.channels_of(1).count()), (100, 0));
    for name in &names {
        assert_eq!(told(&mut local, name), [(Encoding::Ws, vec![7])]);
    }
    let Arrival::Gone(departure) = local.arrive(&answer(&unanswered, true)) else {
        panic!("it has left");
    };
    assert_eq!(left(departure), Some(("unanswered".into(), Encoding::Ws, 1)));
    local.leave_all(7, |_, _| {});
    assert_eq!((local.live(), local.channels()), (0, 0));
}

#[test]
fn an_answer_finds_only_the_one_who_asked() {
    let mut local = Local::new(WORKERS, 10);
    let channel = Name::new("a");
    let first = join(&mut local, 1, &channel, Encoding::Ws);
    assert!(local.leave(1, &channel).is_none(), "the home does not count it yet");
    let second = join(&mut local, 1, &channel, Encoding::Sse);
    let Arrival::Gone(departure) = local.arrive(&answer(&first, true)) else {
        panic!("that one has left");
    };
    assert_eq!(left(departure), Some(("a".into(), Encoding::Ws, 1)));
    assert!(matches!(local.arrive(&answer(&first, false)), Arrival::Gone(None)));
    assert!(local.refuse(first.subscriber).is_none());
    assert!(matches!(local.arrive(&answer(&second, true)), Arrival::For { live: true, .. }));
    assert!(matches!(local.arrive(&answer(&second, false)), Arrival::Gone(None)), "answered once");
    assert_eq!(told(&mut local, &channel), [(Encoding::Sse, vec![1])]);
}

#[test]
fn whom_the_home_refuses_is_no_member() {
    let mut local = Local::new(WORKERS, 10);
    let channel = Name::new("a");
    let seek = join(&mut local, 3, &channel, Encoding::Ws);
    assert_eq!(local.refuse(seek.subscriber), Some(3));
    assert_eq!(local.refuse(seek.subscriber), None);
    assert_eq!((local.channels(), local.is_member(3, &channel)), (0, false));
    attach(&mut local, 3, &channel, Encoding::Ws);
}

#[test]
fn catching_up_asks_from_its_cursor_once() {
    let mut local = Local::new(WORKERS, 10);
    let channel = Name::new("a");
    attach(&mut local, 1, &Name::new("live"), Encoding::Ws);
    let seek = join(&mut local, 1, &channel, Encoding::Sse);
    local.advance(1, 50, |_, request| panic!("its request is out: {request:?}"));
    let slice = answer(&seek, false);
    assert!(matches!(local.arrive(&slice), Arrival::For { connection: 1, live: false }));
    let mut asked = Vec::new();
    for _ in 0..2 {
        local.advance(1, 50, |home, request| asked.push((home, request)));
    }
    let [(home, Request::Continue(next))] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(*home, home_of(&channel, WORKERS));
    assert_eq!((next.since, next.slice_bytes_max), (Some(slice.position), 50));
    assert_eq!((&next.channel, next.encoding, next.once), (&channel, Encoding::Sse, false));
    assert!(matches!(local.arrive(&slice), Arrival::Gone(None)), "the first answer came twice");
    assert!(matches!(local.arrive(&answer(next, true)), Arrival::For { live: true, .. }));
    assert_eq!(told(&mut local, &channel), [(Encoding::Sse, vec![1])]);
}

#[test]
fn who_leaves_while_catching_up_is_not_counted() {
    let mut local = Local::new(WORKERS, 10);
    let channel = Name::new("a");
    let seek = join(&mut local, 1, &channel, Encoding::Sse);
    local.arrive(&answer(&seek, false));
    assert!(local.leave(1, &channel).is_none());
    let again = join(&mut local, 2, &channel, Encoding::Sse);
    local.advance(2, 50, |_, request| panic!("that cursor was another's: {request:?}"));
    assert!(matches!(local.arrive(&answer(&again, true)), Arrival::For { connection: 2, .. }));
}

#[test]
fn during_a_fanout_nobody_moves() {
    let mut local = Local::new(WORKERS, 10);
    let channel = Name::new("a");
    for connection in 1..=6 {
        attach(&mut local, connection, &channel, Encoding::Ws);
    }
    attach(&mut local, 7, &channel, Encoding::Sse);
    let mut fanout = local.begin_fanout(&channel).unwrap();
    let mut members = Vec::new();
    assert_eq!(local.next_members(&mut fanout, 2, &mut members), Some(Encoding::Ws));
    assert_eq!(members, [1, 2]);
    // One who was told, two who were not, and the only one of another encoding.
    for connection in [1, 3, 4, 7] {
        assert!(local.leave(connection, &channel).is_none(), "told to the home at the end");
        assert!(!local.is_member(connection, &channel));
    }
    attach(&mut local, 8, &channel, Encoding::Ws);
    attach(&mut local, 3, &channel, Encoding::Ws);
    attach(&mut local, 9, &channel, Encoding::Json);
    assert_eq!(local.next_members(&mut fanout, 2, &mut members), Some(Encoding::Ws));
    assert_eq!(members, [5, 6], "leavers are passed over");
    assert_eq!(local.next_members(&mut fanout, 2, &mut members), None, "joiners wait");
    assert!(members.is_empty());
    let mut departed = Vec::new();
    local.end_fanout(fanout, |home, request| departed.extend(left(Some((home, request)))));
    assert_eq!(departed, [("a".into(), Encoding::Ws, 3), ("a".into(), Encoding::Sse, 1)]);
    let expected = [(Encoding::Ws, vec![2, 5, 6, 8, 3]), (Encoding::Json, vec![9])];
    assert_eq!(told(&mut local, &channel), expected);
    // Their places are known again: each leaves alone.
    for connection in [5, 3, 2, 8, 6] {
        let departure = local.leave(connection, &channel);
        assert_eq!(left(departure), Some(("a".into(), Encoding::Ws, 1)));
    }
    assert_eq!(told(&mut local, &channel), [(Encoding::Json, vec![9])]);
}

#[test]
fn a_fanout_survives_everybody_leaving() {
    let mut local = Local::new(WORKERS, 10);
    let channel = Name::new("a");
    attach(&mut local, 1, &channel, Encoding::Poll);
    attach(&mut local, 2, &channel, Encoding::Poll);
    let mut fanout = local.begin_fanout(&channel).unwrap();
    let mut departed = Vec::new();
    for connection in [1, 2] {
        local.leave_all(connection, |_, request| panic!("too early: {request:?}"));
    }
    // One joins again at once, as a client that polls does.
    let again = join(&mut local, 1, &channel, Encoding::Poll);
    assert_eq!(local.next_members(&mut fanout, 2, &mut Vec::new()), None);
    local.end_fanout(fanout, |home, request| departed.extend(left(Some((home, request)))));
    assert_eq!(departed, [("a".into(), Encoding::Poll, 2)]);
    assert!(local.begin_fanout(&channel).is_none(), "nobody is live");
    assert!(matches!(local.arrive(&answer(&again, true)), Arrival::For { live: true, .. }));
    assert_eq!(told(&mut local, &channel), [(Encoding::Poll, vec![1])]);
    local.leave_all(1, |_, _| {});
    assert_eq!(local.channels(), 0);
}

#[test]
fn what_workers_exchange_may_cross_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Arc<Publication>>();
    is_shared::<Request>();
    is_shared::<super::super::Answer>();
}
