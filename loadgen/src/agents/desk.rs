//! One process's place at the post: messages in and out, in pieces, with who sent them.
//!
//! Not here: what they mean. Invariant: whatever comes, at most one message of one sender is held.

use std::collections::BTreeMap;
use std::time::Duration;

use loadgen::outcome::Failure;
use serde::Serialize;

use super::message::{Assembler, Letter, Piece};
use super::post::{Post, Received};

/// The most senders whose messages are being put together at the same time.
const SENDERS_MAX: usize = 1_024;

/// A whole message.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) sender: String,
    pub(super) bytes: Vec<u8>,
    /// When its last piece came, by this process's clock.
    pub(super) at_ns: u64,
}

/// What came, if anything did.
#[derive(Debug)]
pub(super) enum Arrival {
    /// Nothing in time.
    Nothing,
    /// A part of a message of this sender, who is alive therefore.
    Piece(String),
    /// A message.
    Mail(Mail),
    /// Something that is none: why.
    Refused(String),
}

/// The place.
#[derive(Debug)]
pub(super) struct Desk<P> {
    post: P,
    pub(super) id: String,
    serial: u64,
    assemblers: BTreeMap<String, Assembler>,
}

impl<P: Post> Desk<P> {
    pub(super) fn new(post: P, id: String) -> Self {
        Self { post, id, serial: 0, assemblers: BTreeMap::new() }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.post.now_ns()
    }

    /// Sends a message of `run` to whoever listens to `subject`.
    pub(super) fn say<T: Serialize>(
        &mut self,
        subject: &str,
        run: &str,
        body: T,
    ) -> Result<(), Failure> {
        self.serial += 1;
        let letter = Letter { run: run.to_owned(), body };
        let piece_bytes_max = self.post.piece_bytes_max();
        for piece in super::message::pieces(&self.id, self.serial, &letter, piece_bytes_max)? {
            self.post.send(subject, piece);
        }
        Ok(())
    }

    /// The next that comes, for at most `wait`. Messages in pieces are put together only for
    /// senders that `is_known`.
    pub(super) fn receive(
        &mut self,
        wait: Duration,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Arrival, Failure> {
        let Some(Received { bytes, at_ns, .. }) = self.post.receive(wait)? else {
            return Ok(Arrival::Nothing);
        };
        let piece = match Piece::parse(&bytes) {
            Ok(piece) => piece,
            Err(why) => return Ok(Arrival::Refused(why)),
        };
        let sender = piece.sender.to_owned();
        if piece.is_whole() {
            return Ok(match Assembler::default().take(&piece) {
                Ok(Some(bytes)) => Arrival::Mail(Mail { sender, bytes, at_ns }),
                Ok(None) => Arrival::Nothing,
                Err(why) => Arrival::Refused(why),
            });
        }
        let has_room = self.assemblers.len() < SENDERS_MAX || self.assemblers.contains_key(&sender);
        if !has_room || !is_known(&sender) {
            return Ok(Arrival::Refused(format!("a message of {sender}, whom nobody asked")));
        }
        let assembler = self.assemblers.entry(sender.clone()).or_default();
        match assembler.take(&piece) {
            Ok(None) => Ok(Arrival::Piece(sender)),
            Ok(Some(bytes)) => {
                self.assemblers.remove(&sender);
                Ok(Arrival::Mail(Mail { sender, bytes, at_ns }))
            }
            Err(why) => {
                self.assemblers.remove(&sender);
                Ok(Arrival::Refused(why))
            }
        }
    }

    /// Forgets what was not whole.
    pub(super) fn clear(&mut self) {
        self.assemblers.clear();
    }
}
