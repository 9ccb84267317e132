//! Several workers in one thread: homes, locals, small queues between them, and a checker that
//! sees what every subscriber sees.
//!
//! What is checked at each step: within an epoch a subscriber gets every offset after its position
//! once and in order; one that it does not get was announced; the same position is the same
//! publication for everybody; nothing has to be encoded after the hand-over.

mod end;
mod hear;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ringwire_protocol::{Epoch, Position};

use super::super::{
    Answer, ChannelLimits, Encoding, Home, HomeCounters, Local, Name, Publication, Receipt,
    Request, Terms, Turn,
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
            window_bits_max: random.pick(&[9, 15]),
            compression_threshold_bytes: random.pick(&[0, 16, 256]),
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
        let receipt =
            if self.random.once_in(5) { Receipt::Never } else { Receipt::Always(receipt) };
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
