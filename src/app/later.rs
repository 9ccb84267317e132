//! Deciding about an upgrade after the fact, from any thread.
//!
//! Not here: what happens to the connection (`worker::upgrade`). Invariant: every handle decides
//! exactly once; one that is dropped undecided refuses with 503.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ringwire_ring::Doorbell;

/// What another thread tells a worker.
#[derive(Debug)]
pub(crate) struct Command<S> {
    /// [`ringwire_ring::Slot::to_bits`] of the connection, which may be gone.
    pub(crate) connection: u64,
    pub(crate) verdict: Verdict<S>,
}

/// The decision of a [`Later`].
#[derive(Debug)]
pub(crate) enum Verdict<S> {
    Accept { session: S, subprotocol: Option<String> },
    Refuse { status: u16, reason: String },
}

/// Where other threads leave commands for one worker. Cheap to clone.
pub(crate) struct Remote<S> {
    commands: Arc<Mutex<Vec<Command<S>>>>,
    bell: Doorbell,
}

impl<S> Remote<S> {
    pub(crate) fn new(bell: Doorbell) -> Self {
        Self { commands: Arc::default(), bell }
    }

    fn post(&self, command: Command<S>) {
        // A list of whole commands is never half-written, so a panic elsewhere does not spoil it.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.bell.ring();
    }

    /// Takes what was left since the last call.
    pub(crate) fn take(&self) -> Vec<Command<S>> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S> Clone for Remote<S> {
    fn clone(&self) -> Self {
        Self { commands: Arc::clone(&self.commands), bell: self.bell.clone() }
    }
}

impl<S> fmt::Debug for Remote<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// Decides about one upgrade. `Send` if the session is. The client may be gone by the time it
/// decides: then nothing happens, and the session is dropped on the worker's thread.
pub struct Later<S> {
    remote: Remote<S>,
    connection: u64,
    decided: bool,
}

impl<S> Later<S> {
    pub(crate) fn new(remote: Remote<S>, connection: u64) -> Self {
        Self { remote, connection, decided: false }
    }

    /// 101 with `session`, and with `subprotocol` if the client offered it.
    pub fn accept(self, session: S, subprotocol: Option<String>) {
        self.decide(Verdict::Accept { session, subprotocol });
    }

    /// `status` (400 and above) with one line of plain text, and the end of the connection.
    pub fn refuse(self, status: u16, reason: impl Into<String>) {
        self.decide(Verdict::Refuse { status, reason: reason.into() });
    }

    fn decide(mut self, verdict: Verdict<S>) {
        self.decided = true;
        self.remote.post(Command { connection: self.connection, verdict });
    }
}

impl<S> Drop for Later<S> {
    fn drop(&mut self) {
        if !self.decided {
            let reason = "the application gave no answer; try again".to_owned();
            let verdict = Verdict::Refuse { status: 503, reason };
            self.remote.post(Command { connection: self.connection, verdict });
        }
    }
}

impl<S> fmt::Debug for Later<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}
