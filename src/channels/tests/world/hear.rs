//! What workers hear, checked.

use std::sync::Arc;

use ringwire_protocol::Position;

use super::super::super::{
    Answer, Arrival, Batch, Encoding, Local, Name, Publication, Read, Slice,
};
use super::{CONNECTIONS, Key, World};

impl World {
    pub(super) fn hear(&mut self, worker: usize, answer: Answer) {
        match answer {
            Answer::Subscribed(slice) => self.arrive(worker, &slice, true),
            Answer::Slice(slice) => self.arrive(worker, &slice, false),
            Answer::Read(read) => self.check_read(&read),
            Answer::Published { receipt, result: Ok(position) } => {
                let payload = &self.published[&receipt];
                let channel = payload.split(|&byte| byte == b' ').next().unwrap();
                let channel = String::from_utf8(channel.to_vec()).unwrap();
                self.acknowledged.push((channel, position, receipt));
            }
            Answer::Published { .. } => self.seen.busy += 1,
            Answer::Publications { channel, batch } => self.fan_out(worker, &channel, &Ok(batch)),
            Answer::Gap { channel, position } => self.fan_out(worker, &channel, &Err(position)),
            Answer::Refused { asker, read: true } => {
                self.readers.remove(&asker).expect("a reader asked");
            }
            Answer::Refused { asker, read: false } => {
                let members = |local: &Local| {
                    let channels = |connection| {
                        let channels = local.channels_of(connection).map(Name::to_string);
                        channels.map(|channel| (worker, connection, channel)).collect::<Vec<_>>()
                    };
                    (0..CONNECTIONS).flat_map(channels).collect::<Vec<_>>()
                };
                let before = members(&self.locals[worker]);
                let connection = self.locals[worker].refuse(asker);
                let after = members(&self.locals[worker]);
                for key in before.into_iter().filter(|key| !after.contains(key)) {
                    assert_eq!(connection, Some(key.1));
                    self.subscribers.remove(&key).expect("who is refused had asked");
                }
            }
        }
    }

    fn arrive(&mut self, worker: usize, slice: &Slice, is_first: bool) {
        let connection = match self.locals[worker].arrive(slice) {
            Arrival::For { connection, live } => {
                assert_eq!(live, slice.live);
                connection
            }
            Arrival::Gone(departure) => {
                assert_eq!(departure.is_some(), slice.live);
                if let Some((home, request)) = departure {
                    self.seen.gone += 1;
                    self.ask(worker, home, request);
                }
                return;
            }
        };
        let key = (worker, connection, slice.channel.to_string());
        let mut subscriber = self.subscribers.remove(&key).expect("who is answered had asked");
        assert_eq!(subscriber.encoding, slice.encoding);
        assert!(!subscriber.live);
        let cursor = if is_first { subscriber.since } else { subscriber.position };
        self.check_items(&slice.channel, slice.encoding, cursor, slice.recovered, &slice.items);
        self.check_end(cursor, slice.position, slice.recovered, &slice.items);
        self.seen.sliced += u64::from(!is_first);
        if subscriber.once && !slice.live {
            let left = self.locals[worker].leave(connection, &slice.channel);
            assert!(left.is_none(), "who was never live is not counted");
            return;
        }
        assert!(!subscriber.once || slice.items.is_empty() && slice.recovered);
        subscriber.position = Some(slice.position);
        subscriber.live = slice.live;
        self.subscribers.insert(key, subscriber);
    }

    fn check_read(&mut self, read: &Read) {
        let (channel, since) = self.readers.remove(&read.reader).expect("a reader asked");
        self.check_items(&Name::new(&channel), Encoding::Poll, since, read.recovered, &read.items);
        self.check_end(since, read.position, read.recovered, &read.items);
    }

    fn check_items(
        &mut self,
        channel: &Name,
        encoding: Encoding,
        cursor: Option<Position>,
        recovered: bool,
        items: &[Arc<Publication>],
    ) {
        assert!(recovered || items.is_empty(), "items after a lost position");
        let mut last = cursor;
        for item in items {
            let position = last.expect("who begins now gets nothing old");
            assert_eq!(item.position(), Position { offset: position.offset + 1, ..position });
            last = Some(item.position());
            self.check_publication(channel, encoding, item);
        }
    }

    fn check_end(
        &mut self,
        cursor: Option<Position>,
        position: Position,
        recovered: bool,
        items: &[Arc<Publication>],
    ) {
        match (items.last(), cursor) {
            (Some(last), _) => assert_eq!(position, last.position()),
            (None, Some(cursor)) if recovered => assert_eq!(position, cursor),
            (None, _) => {}
        }
        self.seen.replayed += items.len() as u64;
        self.seen.lost += u64::from(!recovered);
    }

    fn check_publication(&mut self, channel: &Name, encoding: Encoding, item: &Arc<Publication>) {
        assert!(item.is_encoded(encoding), "encoded after the hand-over");
        assert!(item.payload().starts_with(channel.as_str().as_bytes()), "of another channel");
        let position = item.position();
        let key = (channel.to_string(), position.epoch, position.offset);
        let known = self.publications.entry(key).or_insert_with(|| Arc::clone(item));
        assert!(Arc::ptr_eq(known, item), "two publications at {position}");
    }

    /// Tells the live members, a few at a time, while others come and go.
    fn fan_out(&mut self, worker: usize, channel: &Name, news: &Result<Arc<Batch>, Position>) {
        let live = self.subscribers.iter().filter(|((at, _, name), subscriber)| {
            *at == worker && name == channel.as_str() && subscriber.live
        });
        let mut expected: Vec<_> = live.map(|(key, _)| key.clone()).collect();
        let Some(mut fanout) = self.locals[worker].begin_fanout(channel) else {
            assert!(expected.is_empty(), "nobody was told");
            return;
        };
        let mut members = Vec::new();
        let members_max = 1 + self.random.below(3);
        while let Some(encoding) =
            self.locals[worker].next_members(&mut fanout, members_max, &mut members)
        {
            for &connection in &members {
                let key = (worker, connection, channel.to_string());
                let place = expected.iter().position(|other| *other == key);
                expected.swap_remove(place.expect("told once, and only who was live"));
                self.tell(&key, encoding, channel, news);
            }
            while self.random.once_in(3) {
                let before = self.subscribers.len();
                self.leave(worker);
                self.seen.left_in_fanout += (before - self.subscribers.len()) as u64;
                self.join(worker);
            }
            expected
                .retain(|key| self.subscribers.get(key).is_some_and(|subscriber| subscriber.live));
        }
        assert!(expected.is_empty(), "not told: {expected:?}");
        let mut requests = Vec::new();
        self.locals[worker].end_fanout(fanout, |home, request| requests.push((home, request)));
        for (home, request) in requests {
            self.ask(worker, home, request);
        }
    }

    fn tell(
        &mut self,
        key: &Key,
        encoding: Encoding,
        channel: &Name,
        news: &Result<Arc<Batch>, Position>,
    ) {
        let mut subscriber = self.subscribers.remove(key).expect("it was live");
        assert_eq!(subscriber.encoding, encoding);
        let position = subscriber.position.expect("who is live was answered");
        match news {
            Ok(batch) => {
                self.check_items(channel, encoding, Some(position), true, batch.items());
                subscriber.position = Some(batch.position());
                self.seen.deliveries += batch.items().len() as u64;
            }
            Err(gap) => {
                assert_eq!(gap.epoch, position.epoch);
                assert!(gap.offset > position.offset, "a gap without a loss");
                subscriber.position = Some(*gap);
                self.seen.gaps += 1;
            }
        }
        let is_over = subscriber.once || (news.is_err() && encoding.plain() == Encoding::Ws);
        if is_over {
            let left = self.locals[key.0].leave(key.1, channel);
            assert!(left.is_none(), "a departure during a fan-out is told at its end");
        } else {
            self.subscribers.insert(key.clone(), subscriber);
        }
    }
}
