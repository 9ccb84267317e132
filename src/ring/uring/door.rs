//! One listener of a ring and the accepts under way on it.
//!
//! Not here: how many there may be (`accept.rs`). Invariant: the counts are those of operations
//! that the kernel has and whose last completion was not yet seen.

use std::os::fd::{AsFd, AsRawFd};

use io_uring::types::Fd;

use super::token::{Kind, Token};
use crate::listener::Listener;

#[derive(Debug)]
pub(super) struct Door {
    /// Which of the driver's listeners it is.
    pub(super) number: u16,
    /// Gone once its queue is answered, at the end.
    pub(super) listener: Option<Listener>,
    /// A multishot accept is under way.
    pub(super) has_many: bool,
    /// Single accepts under way.
    pub(super) ones: u32,
    /// The queue is being watched, which takes no permit.
    pub(super) is_watching: bool,
    pub(super) is_cancelling: bool,
    pub(super) ignores_newcomers: bool,
    /// A shared queue was left to the others, whoever was in it.
    pub(super) has_left: bool,
    /// How often the others had told when last looked.
    pub(super) stirs_seen: u32,
    is_member: bool,
}

impl Door {
    pub(super) fn new(number: u16, listener: Listener) -> Self {
        let stirs_seen = listener.shared_file().map_or(0, |file| file.stirs());
        Self {
            number,
            listener: Some(listener),
            has_many: false,
            ones: 0,
            is_watching: false,
            is_cancelling: false,
            ignores_newcomers: false,
            has_left: false,
            stirs_seen,
            is_member: true,
        }
    }

    /// Whether no accept and no watch is under way.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_accepting() && !self.is_watching
    }

    /// Whether an accept is under way.
    pub(super) fn is_accepting(&self) -> bool {
        self.has_many || self.ones > 0
    }

    pub(super) fn is_open(&self) -> bool {
        self.listener.is_some()
    }

    /// Whether other workers accept from the same queue. The kernel tells of a client whoever has
    /// waited longest, and a multishot accept never goes back to the end of that line.
    pub(super) fn is_shared(&self) -> bool {
        self.listener.as_ref().is_some_and(Listener::is_shared)
    }

    pub(super) fn fd(&self) -> Option<Fd> {
        self.listener.as_ref().map(|listener| Fd(listener.as_fd().as_raw_fd()))
    }

    pub(super) fn queue_len(&self) -> u32 {
        self.listener.as_ref().map_or(0, Listener::queue_len)
    }

    pub(super) fn set_member(&mut self, is_member: bool) {
        if self.is_member != is_member
            && let Some(listener) = &mut self.listener
        {
            self.is_member = is_member;
            listener.set_open(is_member);
        }
    }

    /// From now on only those already under way reach the queue.
    pub(super) fn ignore_newcomers(&mut self) {
        if !std::mem::replace(&mut self.ignores_newcomers, true)
            && let Some(listener) = &self.listener
        {
            // If the kernel refuses, whoever comes after the last look is turned away.
            let _ = listener.ignore_newcomers();
        }
    }

    /// Tells the others that share the queue to look at it if somebody is in it; says whether
    /// they are to be woken. With no accept of this worker's under way, the kernel tells them of
    /// whoever comes later.
    pub(super) fn leave(&mut self) -> bool {
        if std::mem::replace(&mut self.has_left, true) || !self.is_shared() || self.queue_len() == 0
        {
            return false;
        }
        let Some(file) = self.listener.as_ref().and_then(Listener::shared_file) else {
            return false;
        };
        file.stir();
        self.stirs_seen = file.stirs();
        true
    }

    /// Whether others that share the queue have told since this was last asked.
    pub(super) fn is_stirred(&mut self) -> bool {
        let Some(file) = self.listener.as_ref().and_then(Listener::shared_file) else {
            return false;
        };
        let stirs = file.stirs();
        std::mem::replace(&mut self.stirs_seen, stirs) != stirs
    }

    pub(super) fn token(&self, kind: Kind) -> Token {
        Token::numbered(kind, u32::from(self.number))
    }

    /// An operation of this door is over.
    pub(super) fn settle(&mut self) {
        if self.is_idle() {
            self.is_cancelling = false;
        }
    }
}
