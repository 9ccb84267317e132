//! Every request of the table, whole and in pieces, gets what the table says.
//!
//! Not here: the table (`requests.txt`).

use ringwire_ring::sim::{Faults, RawPeer, each_seed};

use super::requests::{Case, Then, cases};
use super::world::{Plan, World};

/// Longer requests are not cut everywhere, but at so many places.
const CUTS_MAX: usize = 400;

const PROBE: &[u8] = b"GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n";

/// A client that sends its bytes in pieces.
struct Sender<'c> {
    peer: RawPeer,
    case: &'c Case,
    /// Where its pieces end.
    cuts: Vec<usize>,
    sent: usize,
    how: String,
}

impl<'c> Sender<'c> {
    fn new(world: &World, case: &'c Case, cuts: Vec<usize>, how: String) -> Self {
        Self { peer: world.connect(), case, cuts, sent: 0, how }
    }

    /// Sends the next piece; false when all is sent.
    fn send(&mut self) -> bool {
        let bytes = &self.case.bytes;
        if self.sent == bytes.len() {
            return false;
        }
        let next = self.cuts.iter().copied().find(|&cut| cut > self.sent);
        let end = next.unwrap_or(bytes.len());
        self.peer.send(&bytes[self.sent..end]);
        self.sent = end;
        true
    }

    fn is_answered(&self) -> bool {
        let is_answered = self.case.is_answered(&self.peer.received());
        is_answered && (self.case.then != Then::Closed || self.peer.is_ended())
            || self.peer.is_ended()
    }

    fn judge(&self, world: &World) {
        let how = format!("{}, {:?}", self.how, self.peer.ending());
        self.case.judge(&self.peer.take_received(), &how);
        if self.case.then == Then::Closed {
            assert_eq!(self.peer.ending(), Some(Ok(())), "{}, {how}", self.case.name);
            return;
        }
        assert!(!self.peer.is_ended(), "{}, {how}: ended", self.case.name);
        if self.case.then == Then::Kept {
            self.peer.send(PROBE);
            world.run_until(|| self.peer.is_ended());
            let answer = self.peer.take_received();
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}, {how}", self.case.name);
        }
        self.peer.fin();
    }
}

/// Sends all at once, piece by piece, and judges each.
fn play(world: &World, mut senders: Vec<Sender<'_>>) {
    while senders.iter_mut().map(Sender::send).fold(false, |any, sent| any | sent) {
        // Long enough for a piece to arrive before the next.
        world.pass_ms(1);
    }
    world.run_until(|| senders.iter().all(Sender::is_answered));
    for sender in &senders {
        sender.judge(world);
    }
}

#[test]
fn requests_cut_in_two_anywhere_get_what_the_table_says() {
    for case in cases() {
        let world = World::new(&Plan { slots_max: 2048, ..Plan::new(1) });
        let length = case.bytes.len();
        let step = length.div_ceil(CUTS_MAX).max(1);
        let senders = (1..=length)
            .step_by(step)
            .map(|cut| Sender::new(&world, &case, vec![cut], format!("cut at {cut}")));
        play(&world, senders.collect());
        world.run_empty();
    }
}

#[test]
fn requests_in_small_pieces_get_what_the_table_says() {
    for case in cases() {
        let world = World::new(&Plan::new(2));
        let length = case.bytes.len();
        // A byte at a time where that takes less than the header timeout.
        let smallest = length.div_ceil(5000).max(1);
        let senders = [smallest, smallest + 1, smallest + 6]
            .map(|piece| (piece, (1..=length).filter(|at| at % piece == 0).collect()))
            .into_iter()
            .map(|(piece, cuts)| Sender::new(&world, &case, cuts, format!("{piece} at a time")));
        play(&world, senders.collect());
        world.run_empty();
    }
}

#[test]
fn requests_under_every_lossless_fault_get_what_the_table_says() {
    each_seed(4, |seed| {
        for case in cases().iter().filter(|case| case.bytes.len() < 1000) {
            // Small buffers could make even a short request late.
            let flags = vec!["--header-timeout", "1h", "--close-timeout", "1h"];
            let plan = Plan { workers: 2, faults: Faults::lossless(), flags, ..Plan::new(seed) };
            let world = World::new(&plan);
            let whole = || Sender::new(&world, case, Vec::new(), format!("seed {seed}"));
            play(&world, vec![whole(), whole()]);
        }
    });
}
