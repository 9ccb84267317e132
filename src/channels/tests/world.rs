//! Several workers in one thread: homes, locals, small queues between them, and a checker that
//! sees what every subscriber sees.
//!
//! What is checked at each step: within an epoch a subscriber gets every offset after its position
//! once and in order; one that it does not get was announced; the same position is the same
//! publication for everybody; nothing has to be encoded after the hand-over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ringwire_protocol::{Epoch, Position};

use super::super::{
    Answer, Arrival, Batch, ChannelLimits, Encoding, Home, HomeCounters, Local, Name, Publication,
    Read, Request, Slice, Terms, Turn,
};
use super::random::Random;

enum Message {
    Ask(Request),
    Tell(Answer),
}

/// Who subscribes: worker, connection, channel.
type Key = (usize, u32, String);

#[derive(Debug)]
struct Subscriber {
    encoding: Encoding,
    once: bool,
    since: Option<Position>,
    /// `None`: not yet answered.
    position: Option<Position>,
    live: bool,
}

/// How often what happened; a test that never meets the rare cases shows nothing.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) deliveries: u64,
    pub(super) gaps: u64,
    pub(super) lost: u64,
    pub(super) replayed: u64,
    pub(super) sliced: u64,
    pub(super) refused_offers: u64,
    pub(super) refused_replies: u64,
    pub(super) busy: u64,
    pub(super) gone: u64,
    pub(super) left_in_fanout: u64,
}

pub(super) struct World {
    pub(super) random: Random,
    now_ns: u64,
    epochs: u64,
    queue_items_max: usize,
    channels: usize,
    limits: ChannelLimits,
    homes: Vec<Home>,
    locals: Vec<Local>,
    /// By sender, then receiver.
    queues: Vec<Vec<VecDeque<Message>>>,
    subscribers: BTreeMap<Key, Subscriber>,
    publications: BTreeMap<(String, Epoch, u64), Arc<Publication>>,
    published: BTreeMap<u64, Bytes>,
    acknowledged: Vec<(String, Position, u64)>,
    readers: BTreeMap<u64, (String, Option<Position>)>,
    tokens: u64,
    pub(super) seen: Seen,
}

const CONNECTIONS: u32 = 12;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let workers = 1 + random.below(4);
        let limits = ChannelLimits {
            history_size: random.pick(&[0, 1, 5, 20, 100]),
            history_ttl_ns: random.pick(&[50, 1_000, 1_000_000]),
            recovery_publications_max: random.pick(&[1, 10, 300]),
            channels_max: random.pick(&[1, 3, 100]),
            history_bytes_max: random.pick(&[1_000, 20_000, 1_000_000]),
        };
        let queues = (0..workers).map(|_| (0..workers).map(|_| VecDeque::new()).collect());
        Self {
            now_ns: 1,
            epochs: 0,
            queue_items_max: random.pick(&[1, 2, 4, 1_000]),
            channels: 1 + random.below(4),
            limits,
            homes: (0..workers).map(|_| Home::new(workers, limits)).collect(),
            locals: (0..workers).map(|_| Local::new(workers, 4)).collect(),
            queues: queues.collect(),
            subscribers: BTreeMap::new(),
            publications: BTreeMap::new(),
            published: BTreeMap::new(),
            acknowledged: Vec::new(),
            readers: BTreeMap::new(),
            tokens: 0,
            seen: Seen::default(),
            random,
        }
    }

    pub(super) fn step(&mut self) {
        let worker = self.random.below(self.homes.len());
        match self.random.below(20) {
            0..=3 => self.publish(worker),
            4..=5 => self.join(worker),
            6 => self.leave(worker),
            7 => self.read(worker),
            8..=13 => self.deliver(worker),
            14..=16 => self.flush(worker),
            17..=18 => self.advance(worker),
            _ => {
                self.now_ns += self.random.pick(&[1, 10, 100]);
                self.homes[worker].expire(self.now_ns);
                let next_ns = self.homes[worker].next_expiry_ns();
                assert!(next_ns.is_none_or(|next_ns| next_ns > self.now_ns), "expiry was due");
            }
        }
    }

    fn channel(&mut self) -> Name {
        Name::new(&format!("channel/{}", self.random.below(self.channels)))
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn publish(&mut self, worker: usize) {
        let channel = self.channel();
        let receipt = self.token();
        let filler = "x".repeat(self.random.below(60));
        let payload = Bytes::from(format!("{channel} {receipt} {filler}"));
        self.published.insert(receipt, payload.clone());
        let receipt = (!self.random.once_in(5)).then_some(receipt);
        let text = !self.random.once_in(4);
        let home = self.locals[worker].home(&channel);
        self.ask(worker, home, Request::Publish { channel, payload, text, receipt });
    }

    fn join(&mut self, worker: usize) {
        let channel = self.channel();
        let connection = u32::try_from(self.random.below(CONNECTIONS as usize)).unwrap();
        let encoding = self.random.pick(&Encoding::ALL);
        let once = encoding == Encoding::Poll && !self.random.once_in(4);
        let since = self.since(&channel);
        let slice_bytes_max = self.random.pick(&[1, 100, 10_000]);
        let terms = Terms { encoding, since, slice_bytes_max, once };
        let is_member = self.locals[worker].is_member(connection, &channel);
        let joined = self.locals[worker].join(connection, &channel, terms);
        assert_eq!(joined.is_some(), !is_member);
        if let Some((home, request)) = joined {
            self.ask(worker, home, request);
            let subscriber = Subscriber { encoding, once, since, position: None, live: false };
            let key = (worker, connection, channel.to_string());
            assert!(self.subscribers.insert(key, subscriber).is_none());
        }
    }

    /// A position that the channel had once, or never.
    fn since(&mut self, channel: &Name) -> Option<Position> {
        let known: Vec<_> = self
            .publications
            .keys()
            .filter(|(name, ..)| name == channel.as_str())
            .map(|&(_, epoch, offset)| Position { epoch, offset })
            .collect();
        match self.random.below(8) {
            0..=1 => None,
            2 => Some(Position { epoch: Epoch(99), offset: self.random.next() % 3 }),
            3 if !known.is_empty() => {
                let last = known[known.len() - 1];
                Some(Position { offset: last.offset + self.random.next() % 3, ..last })
            }
            _ if known.is_empty() => None,
            4 => Some(self.random.pick(&known)),
            _ => Some(known[known.len() - 1 - self.random.below(known.len().min(9))]),
        }
    }

    fn leave(&mut self, worker: usize) {
        let connection = u32::try_from(self.random.below(CONNECTIONS as usize)).unwrap();
        let mut requests = Vec::new();
        if self.random.once_in(3) {
            let left = self.locals[worker].channels_of(connection).map(Name::to_string);
            let left: Vec<_> = left.collect();
            self.locals[worker].leave_all(connection, |home, request| {
                requests.push((home, request));
            });
            for channel in left {
                assert!(self.subscribers.remove(&(worker, connection, channel)).is_some());
            }
        } else {
            let channel = self.channel();
            let key = (worker, connection, channel.to_string());
            let is_member = self.subscribers.remove(&key).is_some();
            assert_eq!(self.locals[worker].is_member(connection, &channel), is_member);
            requests.extend(self.locals[worker].leave(connection, &channel));
        }
        for (home, request) in requests {
            self.ask(worker, home, request);
        }
    }

    fn read(&mut self, worker: usize) {
        let channel = self.channel();
        let since = self.since(&channel);
        let reader = self.token();
        self.readers.insert(reader, (channel.to_string(), since));
        let bytes_max = self.random.pick(&[1, 100, 10_000]);
        let home = self.locals[worker].home(&channel);
        self.ask(worker, home, Request::Read { channel, reader, since, bytes_max });
    }

    fn advance(&mut self, worker: usize) {
        let connection = u32::try_from(self.random.below(CONNECTIONS as usize)).unwrap();
        let slice_bytes_max = self.random.pick(&[1, 100, 10_000]);
        let mut requests = Vec::new();
        self.locals[worker].advance(connection, slice_bytes_max, |home, request| {
            requests.push((home, request));
        });
        for (home, request) in requests {
            self.ask(worker, home, request);
        }
    }

    fn ask(&mut self, from: usize, to: usize, request: Request) {
        self.queues[from][to].push_back(Message::Ask(request));
    }

    /// Receives some of what one sender sent to `worker`.
    fn deliver(&mut self, worker: usize) {
        let from = self.random.below(self.homes.len());
        for _ in 0..=self.random.below(6) {
            match self.queues[from][worker].pop_front() {
                Some(Message::Ask(request)) => {
                    self.with_home(worker, |home, turn| home.handle(from, request, turn));
                }
                Some(Message::Tell(answer)) => self.hear(worker, answer),
                None => break,
            }
        }
    }

    fn flush(&mut self, worker: usize) {
        self.with_home(worker, Home::flush);
    }

    fn with_home(&mut self, worker: usize, act: impl FnOnce(&mut Home, &mut Turn<'_>)) {
        let queues = &mut self.queues[worker];
        let seen = &mut self.seen;
        let mut out = |to: usize, answer: Answer| {
            let queue: &mut VecDeque<Message> = &mut queues[to];
            let is_full = queue.len() >= self.queue_items_max;
            match (&answer, is_full) {
                (_, false) => {
                    queue.push_back(Message::Tell(answer));
                    return Ok(());
                }
                (Answer::Publications { .. } | Answer::Gap { .. }, true) => {
                    seen.refused_offers += 1;
                }
                (_, true) => seen.refused_replies += 1,
            }
            Err(answer)
        };
        let mut epoch = || {
            self.epochs += 1;
            self.epochs << 8
        };
        let mut turn = Turn { now_ns: self.now_ns, epoch: &mut epoch, out: &mut out };
        act(&mut self.homes[worker], &mut turn);
    }

    fn hear(&mut self, worker: usize, answer: Answer) {
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
        let is_over = subscriber.once || (news.is_err() && encoding == Encoding::Ws);
        if is_over {
            let left = self.locals[key.0].leave(key.1, channel);
            assert!(left.is_none(), "a departure during a fan-out is told at its end");
        } else {
            self.subscribers.insert(key.clone(), subscriber);
        }
    }

    /// Lets everything settle with queues that take all, and checks that nobody misses anything.
    pub(super) fn settle(&mut self) {
        self.queue_items_max = usize::MAX;
        for _ in 0..1_000 {
            for worker in 0..self.homes.len() {
                for from in 0..self.homes.len() {
                    while !self.queues[from][worker].is_empty() {
                        let message = self.queues[from][worker].pop_front();
                        match message.expect("it is not empty") {
                            Message::Ask(request) => self.with_home(worker, |home, turn| {
                                home.handle(from, request, turn);
                            }),
                            Message::Tell(answer) => self.hear(worker, answer),
                        }
                    }
                }
                for connection in 0..CONNECTIONS {
                    let mut requests = Vec::new();
                    self.locals[worker].advance(connection, 50, |home, request| {
                        requests.push((home, request));
                    });
                    for (home, request) in requests {
                        self.ask(worker, home, request);
                    }
                }
                self.flush(worker);
            }
            let is_quiet = self.queues.iter().flatten().all(VecDeque::is_empty)
                && self.homes.iter().all(|home| !home.is_waiting());
            if is_quiet {
                return self.check_settled();
            }
        }
        panic!("it never settles");
    }

    fn check_settled(&mut self) {
        assert!(self.readers.is_empty(), "a reader was never answered");
        for worker in 0..self.locals.len() {
            let members = self.subscribers.keys().filter(|(at, ..)| *at == worker).count();
            assert_eq!(self.locals[worker].live(), members);
        }
        let keys: Vec<_> = self.subscribers.keys().cloned().collect();
        for key in keys {
            let head = self.head(&Name::new(&key.2));
            let subscriber = &self.subscribers[&key];
            assert!(subscriber.live, "{key:?} never went live");
            assert_eq!(subscriber.position, Some(head), "{key:?} misses the end");
        }
        for (channel, position, receipt) in &self.acknowledged {
            let key = (channel.clone(), position.epoch, position.offset);
            if let Some(publication) = self.publications.get(&key) {
                assert_eq!(publication.payload(), &self.published[receipt]);
            }
        }
    }

    fn head(&mut self, channel: &Name) -> Position {
        let home = self.locals[0].home(channel);
        let request =
            Request::Read { channel: channel.clone(), reader: u64::MAX, since: None, bytes_max: 0 };
        self.with_home(home, |home, turn| home.handle(0, request, turn));
        match self.queues[home][0].pop_back() {
            Some(Message::Tell(Answer::Read(read))) => read.position,
            _ => panic!("a read is answered at once"),
        }
    }

    /// Lets everybody leave; then nothing may be left once the time is over.
    pub(super) fn end(&mut self) {
        for worker in 0..self.locals.len() {
            for connection in 0..CONNECTIONS {
                let mut requests = Vec::new();
                self.locals[worker].leave_all(connection, |home, request| {
                    requests.push((home, request));
                });
                for (home, request) in requests {
                    self.ask(worker, home, request);
                }
            }
            assert_eq!((self.locals[worker].live(), self.locals[worker].channels()), (0, 0));
        }
        self.subscribers.clear();
        self.settle();
        self.now_ns += self.limits.history_ttl_ns;
        for home in &mut self.homes {
            home.expire(self.now_ns);
            assert_eq!((home.channels(), home.history_bytes()), (0, 0));
            assert_eq!(home.next_expiry_ns(), None);
        }
    }

    pub(super) fn counters(&self) -> HomeCounters {
        let mut sum = HomeCounters::default();
        for home in &self.homes {
            let counters = home.counters();
            sum.publications += counters.publications;
            sum.encodings += counters.encodings;
            sum.evictions += counters.evictions;
            sum.expiries += counters.expiries;
            sum.refusals += counters.refusals;
        }
        sum
    }

    /// Encodings of all publications that anybody saw.
    pub(super) fn encodings_seen(&self) -> u64 {
        let made = |item: &Arc<Publication>| {
            Encoding::ALL.iter().filter(|&&encoding| item.is_encoded(encoding)).count() as u64
        };
        self.publications.values().map(made).sum()
    }
}
