//! Letters between workers, and from a worker to itself: questions to a channel's home, and the
//! home's answers.
//!
//! Not here: the queues (`transport::mesh`) and what a home does (`channels`). Invariant: the
//! requests of one worker to another are handled in the order they were written, whatever they
//! waited in, and so are the answers.

use ringwire_protocol::ws::Kind;
use ringwire_ring::{Driver, Slot};

use bytes::Bytes;

use super::{ARENA_BYTES_MIN, Worker};
use crate::app::Application;
use crate::channels::{Answer, Name, Receipt, Request, Turn, home_of};
use crate::lane::Flags;
use crate::limits::{GATHERED_MAX, GATHERING_TURNS};
use crate::metrics::DropReason;

/// Something one worker has to tell another.
#[derive(Debug)]
pub(crate) enum Letter {
    Request(Request),
    Answer(Answer),
}

impl Letter {
    fn bytes(&self) -> usize {
        match self {
            Self::Request(request) => request.bytes(),
            Self::Answer(answer) => answer.bytes(),
        }
    }
}

impl<D: Driver, A: Application> Worker<D, A> {
    /// Asks the home of the request's channel.
    pub(super) fn ask(&mut self, request: Request) {
        let home = home_of(request.channel(), self.mesh.workers());
        self.post(home, request);
    }

    /// Sends a request to worker `to`; one that no queue takes now goes first later.
    pub(super) fn post(&mut self, to: usize, request: Request) {
        let letter = Letter::Request(request);
        if to == self.index {
            self.loopback.push_back(letter);
            return;
        }
        if self.unposted.is_empty() {
            let bytes = letter.bytes();
            if let Err(letter) = self.mesh.push(to, letter, bytes) {
                self.unposted.push_back((to, letter));
            }
        } else {
            self.unposted.push_back((to, letter));
        }
    }

    /// Tries again what no queue took.
    pub(super) fn post_unposted(&mut self) {
        self.try_unposted();
        self.relieve();
    }

    fn try_unposted(&mut self) {
        while let Some((to, letter)) = self.unposted.pop_front() {
            let bytes = letter.bytes();
            if let Err(letter) = self.mesh.push(to, letter, bytes) {
                self.unposted.push_front((to, letter));
                return;
            }
        }
    }

    /// Whether publishers should wait: too much is on its way to another worker.
    pub(super) fn is_congested(&self) -> bool {
        self.mesh.overflowed() || !self.unposted.is_empty()
    }

    /// A message that a WebSocket's handler publishes. While too much is on its way already, the
    /// publisher is not read from.
    pub(super) fn publish_message(
        &mut self,
        slot: Slot,
        channel: Name,
        kind: Kind,
        payload: Bytes,
    ) {
        let text = kind == Kind::Text;
        let receipt = Receipt::OnRefusal(slot.to_bits());
        self.ask(Request::Publish { channel, payload, text, receipt });
        if self.is_congested() {
            self.throttle(slot);
        }
    }

    /// Reads nothing of the connection until [`Self::relieve`].
    fn throttle(&mut self, slot: Slot) {
        if let Some(connection) = self.table.find(slot)
            && !connection.lane.flags.has(Flags::THROTTLED)
        {
            connection.lane.flags.set(Flags::THROTTLED);
            self.throttled.push(slot);
            self.stop_reading(slot);
        }
    }

    /// Leaves what else the connection sent to the next turn if enough was inflated in this one:
    /// the others are to have theirs.
    pub(super) fn defer_rest(&mut self, slot: Slot, rest_bytes: usize) {
        if rest_bytes > 0 && self.bellows.is_spent() {
            self.is_deferring = true;
            self.throttle(slot);
        }
    }

    /// Reads from publishers again once their letters are on their way.
    fn relieve(&mut self) {
        self.is_deferring = false;
        if self.throttled.is_empty() || self.is_congested() {
            return;
        }
        for slot in std::mem::take(&mut self.throttled) {
            if let Some(connection) = self.table.find(slot) {
                connection.lane.flags.clear(Flags::THROTTLED);
                self.read_again(slot);
            }
        }
    }

    /// Handles the letters that have arrived, and those this worker wrote to itself.
    pub(super) fn read_letters(&mut self) {
        let mut letters = std::mem::take(&mut self.inbox);
        self.mesh.receive(|from, letter| letters.push((from, letter)));
        for (from, letter) in letters.drain(..) {
            self.read_letter(from, letter);
            self.make_room(ARENA_BYTES_MIN);
        }
        self.inbox = letters;
        self.read_loopback();
    }

    /// Handles this worker's letters to itself, and those that they bring about.
    pub(super) fn read_loopback(&mut self) {
        while let Some(letter) = self.loopback.pop_front() {
            self.read_letter(self.index, letter);
            self.make_room(ARENA_BYTES_MIN);
        }
    }

    fn read_letter(&mut self, from: usize, letter: Letter) {
        match letter {
            Letter::Request(request) => {
                self.home_requests += 1;
                self.at_home(|home, turn| home.handle(from, request, turn));
            }
            Letter::Answer(answer) => self.answered(answer),
        }
    }

    /// Ends a gathering when no completion is pending (`quiet`), enough is gathered, or it has
    /// lasted: the fan-out of several publications costs each subscriber one send.
    pub(super) fn spread(&mut self, quiet: bool) {
        self.gathering_turns += 1;
        let enough = self.home_requests >= GATHERED_MAX || self.gathering_turns >= GATHERING_TURNS;
        let due = self.home_requests > 0 && (quiet || enough);
        if self.home_requests == 0 || due {
            self.gathering_turns = 0;
        }
        if due || self.home.is_waiting() {
            self.home_requests = 0;
            self.at_home(|home, turn| home.flush(turn));
            self.read_loopback();
        }
    }

    /// Lets the home act, with everything it needs from outside.
    fn at_home(&mut self, act: impl FnOnce(&mut crate::channels::Home, &mut Turn<'_>)) {
        let Self { home, mesh, loopback, driver, index, now_ns, .. } = self;
        let mut epoch = || {
            let mut bits = [0; 8];
            driver.entropy(&mut bits);
            u64::from_ne_bytes(bits)
        };
        let mut out = |to: usize, answer: Answer| {
            let letter = Letter::Answer(answer);
            if to == *index {
                loopback.push_back(letter);
                return Ok(());
            }
            let bytes = letter.bytes();
            mesh.push(to, letter, bytes).map_err(|letter| match letter {
                Letter::Answer(answer) => answer,
                Letter::Request(_) => unreachable!("an answer was pushed"),
            })
        };
        act(home, &mut Turn { now_ns: *now_ns, epoch: &mut epoch, out: &mut out });
    }

    /// Gives up streams that nobody touched for long enough.
    pub(super) fn expire_streams(&mut self) {
        if self.home.next_expiry_ns().is_some_and(|at| at <= self.now_ns) {
            self.home.expire(self.now_ns);
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Subscribed(slice) => self.subscribed(&slice),
            Answer::Slice(slice) => self.caught_up(&slice),
            Answer::Publications { channel, batch } => self.fan_out(&channel, &batch),
            Answer::Published { receipt, result } => self.answer_publish(receipt, result),
            Answer::Read(read) => self.answer_poll(&read),
            Answer::Gap { channel, position } => {
                self.metrics.dropped(DropReason::PositionLost);
                self.announce_gap(&channel, position);
            }
            Answer::Refused { asker, read } => self.answer_refused(asker, read),
        }
    }
}
