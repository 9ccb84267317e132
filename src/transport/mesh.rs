//! The queues between workers: every worker can hand items to every other.
//!
//! Not here: what the items are, and the doorbell itself. Invariants: the items of one producer
//! reach one consumer in the order in which they were pushed, whether they waited in the queue or
//! in the overflow; nothing blocks; nothing that was accepted is lost; a worker that was told it
//! may sleep is woken for what is flushed after, and a producer with overflow is woken when its
//! queue has room again. Items for oneself do not pass through here.

mod bell;
mod overflow;

use std::sync::Arc;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use bell::{Bell, settle};
use overflow::Overflow;

/// The most workers a mesh connects: one bit each.
pub const WORKERS_MAX: usize = 64;

/// The most items one [`Endpoint::receive`] hands out, so that a turn stays short.
pub const RECEIVE_ITEMS_MAX: usize = 1024;

/// Connects `workers` with queues of `capacity` items for every ordered pair of them, each with an
/// overflow of about `overflow_bytes_max` bytes. One endpoint per worker, in order.
///
/// # Panics
/// When there are more than [`WORKERS_MAX`] workers, or `capacity` is zero.
#[must_use]
pub fn mesh<T: Send>(
    workers: usize,
    capacity: usize,
    overflow_bytes_max: usize,
) -> Vec<Endpoint<T>> {
    assert!(workers <= WORKERS_MAX, "a mesh of more than {WORKERS_MAX} workers");
    assert!(capacity > 0, "queues of no capacity");
    let bells: Arc<[Bell]> = (0..workers).map(|_| Bell::new()).collect();
    let mut endpoints: Vec<_> = (0..workers)
        .map(|me| Endpoint {
            me,
            bells: Arc::clone(&bells),
            outgoing: Vec::with_capacity(workers),
            incoming: Vec::with_capacity(workers),
            posted: 0,
            news: 0,
            first: 0,
        })
        .collect();
    for from in 0..workers {
        for to in 0..workers {
            // The diagonal is there so that an index is a worker; it is never used.
            let size = if from == to { 0 } else { capacity };
            let (producer, consumer) = RingBuffer::new(size);
            let overflow = Overflow::new(overflow_bytes_max);
            endpoints[from].outgoing.push(Outgoing { queue: producer, overflow });
            endpoints[to].incoming.push(consumer);
        }
    }
    endpoints
}

#[derive(Debug)]
struct Outgoing<T> {
    queue: Producer<T>,
    overflow: Overflow<T>,
}

impl<T> Outgoing<T> {
    /// Moves what waits into the queue, as far as it has room. Whether anything moved.
    fn drain(&mut self) -> bool {
        let mut moved = false;
        while !self.queue.is_full()
            && let Some(item) = self.overflow.pop()
        {
            // There is one producer, this one, so room that was seen stays.
            let pushed = self.queue.push(item);
            debug_assert!(pushed.is_ok(), "room that was seen stays");
            moved = true;
        }
        moved
    }
}

/// One worker's end of the mesh.
#[derive(Debug)]
pub struct Endpoint<T> {
    me: usize,
    bells: Arc<[Bell]>,
    outgoing: Vec<Outgoing<T>>,
    incoming: Vec<Consumer<T>>,
    /// Workers to be told at the next flush.
    posted: u64,
    /// Producers whose news was taken from the bell and not yet from their queues.
    news: u64,
    /// The producer that is served first next time.
    first: usize,
}

impl<T> Endpoint<T> {
    /// The worker whose endpoint this is.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.me
    }

    /// The number of workers connected.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.outgoing.len()
    }

    /// Hands `item` to worker `to`; `bytes` is what it counts for in the overflow, besides its own
    /// size. It is seen there after [`Endpoint::flush`].
    ///
    /// # Errors
    /// The item, when queue and overflow of that worker are full: it is *behind*.
    ///
    /// # Panics
    /// When `to` is this worker itself, or none.
    pub fn push(&mut self, to: usize, item: T, bytes: usize) -> Result<(), T> {
        assert!(to != self.me, "items for oneself do not pass through the mesh");
        let outgoing = &mut self.outgoing[to];
        let item = if outgoing.overflow.is_empty() {
            match outgoing.queue.push(item) {
                Ok(()) => {
                    self.posted |= 1 << to;
                    return Ok(());
                }
                Err(PushError::Full(item)) => item,
            }
        } else {
            item
        };
        outgoing.overflow.push(item, bytes)
    }

    /// Whether anything waits in an overflow: then nothing more is to be taken from publishers.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.outgoing.iter().any(|outgoing| !outgoing.overflow.is_empty())
    }

    /// Bytes that wait in the overflow of worker `to`.
    #[must_use]
    pub fn overflow_bytes(&self, to: usize) -> usize {
        self.outgoing[to].overflow.bytes()
    }

    /// Ends a turn: moves what overflowed into the queues, tells every worker that was pushed to,
    /// and calls `wake` at most once for each that sleeps. To be called before
    /// [`Endpoint::prepare_to_sleep`]. Says whether there is room again where there was none: what
    /// [`Endpoint::push`] refused is to be pushed again now, as no bell will ring for it.
    pub fn flush(&mut self, mut wake: impl FnMut(usize)) -> bool {
        let made_room = self.drain_overflow();
        let posted = std::mem::take(&mut self.posted);
        if posted == 0 {
            return made_room;
        }
        for to in bits(posted) {
            self.bells[to].post(1 << self.me);
        }
        settle();
        for to in bits(posted) {
            if self.bells[to].must_wake() {
                wake(to);
            }
        }
        made_room
    }

    fn drain_overflow(&mut self) -> bool {
        let mut made_room = false;
        for (to, outgoing) in self.outgoing.iter_mut().enumerate() {
            if outgoing.overflow.is_empty() {
                continue;
            }
            let mut moved = outgoing.drain();
            if !outgoing.overflow.is_empty() {
                // Ask to be told of room, then look again: it may have come in between.
                self.bells[to].starve(1 << self.me);
                settle();
                moved |= outgoing.drain();
            }
            if moved {
                self.posted |= 1 << to;
                made_room = true;
            }
        }
        made_room
    }

    /// Hands what other workers sent to `each`, with the sender; at most [`RECEIVE_ITEMS_MAX`]
    /// items, the senders served in turn. The number of items.
    pub fn receive(&mut self, mut each: impl FnMut(usize, T)) -> usize {
        self.news |= self.bells[self.me].take_news();
        if self.news == 0 {
            return 0;
        }
        let workers = self.incoming.len();
        let mut received = 0;
        let mut served = 0;
        for from in (0..workers).map(|step| (self.first + step) % workers) {
            if self.news & 1 << from == 0 {
                continue;
            }
            let waiting = self.incoming[from].slots();
            let count = waiting.min(RECEIVE_ITEMS_MAX - received);
            for _ in 0..count {
                match self.incoming[from].pop() {
                    Ok(item) => each(from, item),
                    Err(_) => break,
                }
            }
            received += count;
            served |= 1 << from;
            if count == waiting {
                self.news &= !(1 << from);
            }
            if received == RECEIVE_ITEMS_MAX {
                self.first = (from + 1) % workers;
                break;
            }
        }
        settle();
        self.posted |= self.bells[self.me].take_starved(served);
        received
    }

    /// Says that this worker is going to wait, and looks once more. Whether it may; `false`: there
    /// is news.
    #[must_use]
    pub fn prepare_to_sleep(&self) -> bool {
        self.news == 0 && self.posted == 0 && self.bells[self.me].prepare_to_sleep()
    }

    /// Says that this worker's wait is over, so that nobody rings in vain.
    pub fn awake(&self) {
        self.bells[self.me].awake();
    }
}

/// The positions of the bits set in `word`.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros();
            word &= word - 1;
            bit as usize
        })
    })
}
