//! The streams whose home is this worker: who asks, what they hear.
//!
//! Not here: history (`stream`), room (`streams`), the queues. Invariant: publications are gathered
//! and handed over by [`Home::flush`], but before a subscriber is counted everything gathered goes
//! to the workers that are counted already. So a subscriber's answer stands in its worker's queue
//! after all that it covers and before all that follows.

use std::fmt;

use super::encoding::Encoding;
use super::lanes::{Lanes, Out};
use super::limits::{ChannelLimits, HomeCounters};
use super::name::Name;
use super::request::{Answer, Busy, Items, Read, Receipt, Request, Seek, Slice};
use super::stream::{Batches, Left, Making, News, Stream, kept_bytes};
use super::streams::Streams;
use crate::press::Press;

use bytes::Bytes;
use ringwire_protocol::Position;
use ringwire_protocol::ws::Effort;

/// Publications of one stream that are gathered at most before they are handed over.
const GATHERED_MAX: usize = 256;

/// What a home needs from outside for one call.
pub struct Turn<'t> {
    /// The time; never less than before.
    pub now_ns: u64,
    /// Random bits for the epoch of a new stream.
    pub epoch: &'t mut dyn FnMut() -> u64,
    /// Hands an answer to the worker with that number. `Err` gives it back: the queue is past its
    /// bound, and the worker is *behind* until a later flush finds room.
    pub out: &'t mut Out<'t>,
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("now_ns", &self.now_ns).finish_non_exhaustive()
    }
}

/// The streams of one worker. See the module's head.
#[derive(Debug)]
pub struct Home {
    streams: Streams,
    lanes: Lanes,
    press: Press,
    /// Streams with something that a worker has not been handed; each once, the oldest first.
    unflushed: Vec<u32>,
}

impl Home {
    /// A home without streams, among `workers` that may ask it.
    #[must_use]
    pub fn new(workers: usize, limits: ChannelLimits) -> Self {
        // What goes to many is worth some time.
        let threshold_bytes = limits.compression_threshold_bytes;
        let press = Press::new(limits.window_bits_max, threshold_bytes, Effort::Thorough);
        let (streams, lanes) = (Streams::new(limits), Lanes::new(workers));
        Self { streams, lanes, press, unflushed: Vec::new() }
    }

    /// Serves a request of worker `from`. Answers go out at once; publications wait for
    /// [`Home::flush`].
    pub fn handle(&mut self, from: usize, request: Request, turn: &mut Turn<'_>) {
        let is_waited_for = match request {
            Request::Subscribe(_) | Request::Continue(_) | Request::Read { .. } => true,
            Request::Leave { .. } | Request::Publish { .. } => false,
        };
        if is_waited_for && self.lanes.is_congested(from) {
            self.lanes.defer(from, request);
        } else {
            self.serve(from, request, turn);
        }
    }

    /// Ends a gathering: hands what was published to every worker with live subscribers, then
    /// serves what had to wait. To be called at the end of every turn that handled a request, and
    /// in every turn while [`Home::is_waiting`].
    pub fn flush(&mut self, turn: &mut Turn<'_>) {
        self.lanes.reopen(turn.out);
        let mut due = std::mem::take(&mut self.unflushed);
        // An index may have passed to a new stream, and then stand here twice.
        due.retain(|&index| {
            let stream = self.streams.stream(index);
            stream.is_some_and(|stream| std::mem::take(&mut stream.listed))
        });
        for index in due {
            self.flush_stream(index, turn);
        }
        for worker in 0..self.lanes.workers() {
            while let Some(request) = self.lanes.take_deferred(worker) {
                self.serve(worker, request, turn);
            }
        }
    }

    /// Whether a worker has not taken all there is for it: flush again soon.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.lanes.is_waiting()
    }

    /// Gives up what nobody touched for `history_ttl`.
    pub fn expire(&mut self, now_ns: u64) {
        self.streams.expire(now_ns);
    }

    /// When [`Home::expire`] has something to do.
    #[must_use]
    pub fn next_expiry_ns(&self) -> Option<u64> {
        self.streams.next_expiry_ns()
    }

    /// Streams that live.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of all histories.
    #[must_use]
    pub fn history_bytes(&self) -> usize {
        self.streams.bytes()
    }

    /// What was counted since the beginning.
    #[must_use]
    pub fn counters(&self) -> HomeCounters {
        HomeCounters { compressions: self.press.calls(), ..self.streams.counters }
    }

    fn serve(&mut self, from: usize, request: Request, turn: &mut Turn<'_>) {
        match request {
            Request::Subscribe(seek) => self.seek(from, seek, true, turn),
            Request::Continue(seek) => self.seek(from, seek, false, turn),
            Request::Leave { channel, encoding, count } => {
                self.leave(from, &channel, encoding, count, turn.now_ns);
            }
            Request::Publish { channel, payload, text, receipt } => {
                let result = self.publish(&channel, text, payload, turn);
                let number = match receipt {
                    Receipt::Always(number) => Some(number),
                    Receipt::OnRefusal(number) => result.is_err().then_some(number),
                    Receipt::Never => None,
                };
                if let Some(receipt) = number {
                    self.lanes.reply(from, Answer::Published { receipt, result }, turn.out);
                }
            }
            Request::Read { channel, reader, since, bytes_max } => {
                self.read(from, &channel, reader, since, bytes_max, turn);
            }
        }
    }

    fn seek(&mut self, from: usize, seek: Seek, is_first: bool, turn: &mut Turn<'_>) {
        let Some(index) = self.streams.open(&seek.channel, turn.now_ns, &mut *turn.epoch) else {
            self.refuse(from, seek.subscriber, false, turn);
            return;
        };
        self.flush_stream(index, turn);
        let press = &mut self.press;
        let slice = self.streams.change(index, |stream, limits, counters| {
            if stream.is_behind(from) {
                return Err(seek);
            }
            let recovery_max = if is_first { limits.recovery_publications_max } else { usize::MAX };
            let Seek { channel, subscriber, encoding, since, slice_bytes_max, once } = seek;
            let (position, items) =
                replay(stream, since, recovery_max, (encoding, slice_bytes_max), press, counters);
            let recovered = items.is_some();
            let items = items.unwrap_or_default();
            let is_answered = once && !(recovered && items.is_empty());
            let live = position == stream.position() && !is_answered;
            if live {
                stream.enter(from, encoding);
            }
            Ok(Slice { channel, subscriber, encoding, position, recovered, items, live })
        });
        self.streams.touch(index, turn.now_ns);
        let answer = match (slice, is_first) {
            (Ok(slice), true) => Answer::Subscribed(slice),
            (Ok(slice), false) => Answer::Slice(slice),
            (Err(seek), true) => return self.lanes.defer(from, Request::Subscribe(seek)),
            (Err(seek), false) => return self.lanes.defer(from, Request::Continue(seek)),
        };
        self.lanes.reply(from, answer, turn.out);
    }

    fn read(
        &mut self,
        from: usize,
        channel: &Name,
        reader: u64,
        since: Option<Position>,
        bytes_max: usize,
        turn: &mut Turn<'_>,
    ) {
        let Some(index) = self.streams.open(channel, turn.now_ns, &mut *turn.epoch) else {
            self.refuse(from, reader, true, turn);
            return;
        };
        let press = &mut self.press;
        let (position, items) = self.streams.change(index, |stream, limits, counters| {
            let form = (Encoding::Poll, bytes_max);
            replay(stream, since, limits.recovery_publications_max, form, press, counters)
        });
        let recovered = items.is_some();
        let items = items.unwrap_or_default();
        let read = Read { reader, position, recovered, items };
        self.lanes.reply(from, Answer::Read(read), turn.out);
    }

    fn publish(
        &mut self,
        channel: &Name,
        text: bool,
        payload: Bytes,
        turn: &mut Turn<'_>,
    ) -> Result<Position, Busy> {
        let bytes = kept_bytes(payload.len());
        let index = self.streams.open(channel, turn.now_ns, &mut *turn.epoch);
        let Some(index) = index.filter(|&index| self.make_room(bytes, index, turn)) else {
            self.streams.counters.refusals += 1;
            return Err(Busy);
        };
        let press = &mut self.press;
        let (position, gathered) = self.streams.change(index, |stream, limits, counters| {
            let making = &mut Making { press, made: &mut counters.encodings };
            stream.append(text, payload, turn.now_ns, making);
            counters.publications += 1;
            stream.trim(limits, turn.now_ns);
            (stream.position(), stream.gathered())
        });
        self.streams.touch(index, turn.now_ns);
        if gathered >= GATHERED_MAX {
            self.flush_stream(index, turn);
        } else if gathered > 0 {
            self.list_unflushed(index);
        }
        Ok(position)
    }

    /// Like [`Streams::make_room`], and what was only gathered can be given up once handed over.
    fn make_room(&mut self, bytes: usize, index: u32, turn: &mut Turn<'_>) -> bool {
        if self.streams.make_room(bytes, index) {
            return true;
        }
        self.flush_stream(index, turn);
        self.streams.make_room(bytes, index)
    }

    // Gathered publications need not be flushed first: whoever left no longer wants them, and
    // those who stay are counted as before.
    fn leave(&mut self, from: usize, channel: &Name, encoding: Encoding, count: u32, now_ns: u64) {
        let Some(index) = self.streams.find(channel) else {
            debug_assert!(false, "a subscribed stream is never given up");
            return;
        };
        let left = self.streams.change(index, |stream, _, _| stream.leave(from, encoding, count));
        if left == (Left::Gone { behind: true }) {
            self.lanes.count_behind(from, false);
        }
        self.streams.touch(index, now_ns);
    }

    fn refuse(&mut self, from: usize, asker: u64, read: bool, turn: &mut Turn<'_>) {
        self.streams.counters.refusals += 1;
        self.lanes.reply(from, Answer::Refused { asker, read }, turn.out);
    }

    /// Hands every destination what it has not been handed, as far as its queue takes it.
    fn flush_stream(&mut self, index: u32, turn: &mut Turn<'_>) {
        let lanes = &mut self.lanes;
        let is_served = self.streams.change(index, |stream, limits, counters| {
            let mut batches = Batches::new();
            for place in 0..stream.destinations().len() {
                let taken = serve_destination(stream, place, &mut batches, counters, lanes, turn);
                if stream.set_behind(place, !taken) {
                    lanes.count_behind(stream.destinations()[place].worker, !taken);
                }
            }
            let is_served = stream.end_flush();
            stream.trim(limits, turn.now_ns);
            is_served
        });
        if !is_served {
            self.list_unflushed(index);
        }
    }

    fn list_unflushed(&mut self, index: u32) {
        if let Some(stream) = self.streams.stream(index)
            && !std::mem::replace(&mut stream.listed, true)
        {
            self.unflushed.push(index);
        }
    }
}

/// Hands a destination all its news; whether its queue took everything.
fn serve_destination(
    stream: &mut Stream,
    place: usize,
    batches: &mut Batches,
    counters: &mut HomeCounters,
    lanes: &mut Lanes,
    turn: &mut Turn<'_>,
) -> bool {
    let worker = stream.destinations()[place].worker;
    while let Some(news) = stream.news(place, batches) {
        let channel = stream.name.clone();
        let (answer, offset, count) = match news {
            News::Batch(batch) => {
                let offset = batch.position().offset;
                (Answer::Publications { channel, batch }, offset, &mut counters.batches)
            }
            News::Gap(position) => {
                (Answer::Gap { channel, position }, position.offset, &mut counters.gaps)
            }
        };
        if !lanes.offer(worker, answer, turn.out) {
            return false;
        }
        *count += 1;
        stream.hand_over(place, offset);
    }
    true
}

/// What a reader that has seen everything up to `since` gets, and where it stands then. `None`: its
/// position is lost, or more than `publications_max` behind, and it goes on from the head.
fn replay(
    stream: &mut Stream,
    since: Option<Position>,
    publications_max: usize,
    (encoding, bytes_max): (Encoding, usize),
    press: &mut Press,
    counters: &mut HomeCounters,
) -> (Position, Option<Items>) {
    let head = stream.position();
    let Some(since) = since else {
        return (head, Some(Items::new()));
    };
    match stream.missing(since) {
        Some((start, count)) if count <= publications_max => {
            let making = &mut Making { press, made: &mut counters.encodings };
            let (items, position) = stream.slice(start, encoding, bytes_max, making);
            (position, Some(items))
        }
        _ => {
            counters.positions_lost += 1;
            (head, None)
        }
    }
}
