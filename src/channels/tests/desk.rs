//! A home at which tests ask one question after another.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ringwire_protocol::{Epoch, Position};

use super::super::{
    Answer, Batch, Busy, ChannelLimits, Encoding, Home, Items, Name, Receipt, Request, Seek, Slice,
    Turn,
};

/// A home, the answers it gave, and which workers take none.
pub(super) struct Desk {
    pub(super) home: Home,
    pub(super) now_ns: u64,
    pub(super) epoch: u64,
    pub(super) answers: Vec<(usize, Answer)>,
    pub(super) closed: BTreeSet<usize>,
}

pub(super) const LIMITS: ChannelLimits = ChannelLimits {
    history_size: 5,
    history_ttl_ns: 100,
    recovery_publications_max: 4,
    channels_max: 3,
    history_bytes_max: 1 << 20,
    window_bits_max: 15,
    compression_threshold_bytes: 256,
};

pub(super) const WIDE: usize = 1 << 20;

impl Desk {
    pub(super) fn new(limits: ChannelLimits) -> Self {
        Self {
            home: Home::new(3, limits),
            now_ns: 1_000,
            epoch: 0,
            answers: Vec::new(),
            closed: BTreeSet::new(),
        }
    }

    pub(super) fn at_home(&mut self, act: impl FnOnce(&mut Home, &mut Turn<'_>)) {
        let mut epoch = || {
            self.epoch += 1;
            self.epoch
        };
        let mut out = |to: usize, answer: Answer| {
            if self.closed.contains(&to) {
                return Err(answer);
            }
            self.answers.push((to, answer));
            Ok(())
        };
        let mut turn = Turn { now_ns: self.now_ns, epoch: &mut epoch, out: &mut out };
        act(&mut self.home, &mut turn);
    }

    pub(super) fn handle(&mut self, from: usize, request: Request) {
        self.at_home(|home, turn| home.handle(from, request, turn));
    }

    pub(super) fn flush(&mut self) -> Vec<(usize, Answer)> {
        self.at_home(Home::flush);
        std::mem::take(&mut self.answers)
    }

    pub(super) fn take(&mut self) -> Vec<(usize, Answer)> {
        std::mem::take(&mut self.answers)
    }

    pub(super) fn publish(&mut self, channel: &str, payload: &str) -> Result<Position, Busy> {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let channel = Name::new(channel);
        self.handle(
            2,
            Request::Publish { channel, payload, text: true, receipt: Receipt::Always(1) },
        );
        let published = self.answers.pop();
        match published {
            Some((2, Answer::Published { receipt: 1, result })) => result,
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }

    pub(super) fn subscribe(&mut self, from: usize, seek: Seek) -> Slice {
        self.handle(from, Request::Subscribe(seek));
        slice(self.answers.pop())
    }

    pub(super) fn proceed(&mut self, from: usize, seek: Seek) -> Slice {
        self.handle(from, Request::Continue(seek));
        slice(self.answers.pop())
    }

    pub(super) fn read(
        &mut self,
        channel: &str,
        since: Option<Position>,
        bytes_max: usize,
    ) -> ReadAnswer {
        let channel = Name::new(channel);
        self.handle(2, Request::Read { channel, reader: 8, since, bytes_max });
        match self.answers.pop() {
            Some((2, Answer::Read(read))) => {
                assert_eq!(read.reader, 8);
                Some((read.position, read.recovered, offsets(&read.items)))
            }
            Some((2, Answer::Refused { asker: 8, read: true })) => None,
            other => panic!("not an answer to a read: {other:?}"),
        }
    }

    pub(super) fn leave(&mut self, from: usize, channel: &str, encoding: Encoding) {
        let channel = Name::new(channel);
        self.handle(from, Request::Leave { channel, encoding, count: 1 });
    }

    pub(super) fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.home.expire(self.now_ns);
    }
}

/// Position, recovered, offsets; `None`: refused.
pub(super) type ReadAnswer = Option<(Position, bool, Vec<u64>)>;

pub(super) fn slice(answer: Option<(usize, Answer)>) -> Slice {
    match answer {
        Some((_, Answer::Subscribed(slice) | Answer::Slice(slice))) => slice,
        other => panic!("not a slice: {other:?}"),
    }
}

pub(super) fn seek(channel: &str, encoding: Encoding, since: Option<Position>) -> Seek {
    let channel = Name::new(channel);
    Seek { channel, subscriber: 77, encoding, since, slice_bytes_max: WIDE, once: false }
}

pub(super) fn at(epoch: u64, offset: u64) -> Position {
    Position { epoch: Epoch(epoch), offset }
}

pub(super) fn offsets(items: &Items) -> Vec<u64> {
    items.iter().map(|item| item.offset()).collect()
}

pub(super) fn batch(answer: &Answer) -> &Arc<Batch> {
    match answer {
        Answer::Publications { batch, .. } => batch,
        other => panic!("not publications: {other:?}"),
    }
}

pub(super) fn batch_offsets(answer: &Answer) -> Vec<u64> {
    batch(answer).items().iter().map(|item| item.offset()).collect()
}
