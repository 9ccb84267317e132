//! Accepting: as many as there is room for, when the listener has news.
//!
//! Invariant: the news is remembered until a call says that the queue is empty, because epoll
//! tells it once.

use std::os::fd::AsFd;

use super::{EDGE, EPOLLIN, EVENT_LISTENER, Epoll};
use crate::driver::{Accepting, Completion, Errno};
use crate::gate::{self, Gate};
use crate::listener::Listener;
use crate::sys;

/// Clients accepted before the others get their turn.
const ACCEPTS_MAX: u32 = 256;

/// The listener and what is known of its queue.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Option<Listener>,
    has_listened: bool,
    wanted: Accepting,
    /// The queue may have clients.
    has_news: bool,
    ignores_newcomers: bool,
    is_member: bool,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            listener: None,
            has_listened: false,
            wanted: Accepting::Paused,
            has_news: true,
            ignores_newcomers: false,
            is_member: true,
        }
    }
}

impl Acceptor {
    pub(super) fn has_listened(&self) -> bool {
        self.has_listened
    }

    pub(super) fn has_news(&mut self) {
        self.has_news = true;
    }

    /// Notes what is wanted; the end is final.
    pub(super) fn want(&mut self, accepting: Accepting) {
        if self.wanted != Accepting::Ended {
            self.wanted = accepting;
        }
    }

    /// Whether another look at the queue could bring something right now.
    pub(super) fn could_accept(&self, gate: &Gate, now_ns: u64) -> bool {
        self.listener.is_some()
            && self.wanted != Accepting::Paused
            && self.has_news
            && gate.has_room()
            && gate.retry_at_ns(now_ns).is_none()
    }

    fn set_member(&mut self, is_member: bool) {
        if self.is_member != is_member
            && let Some(listener) = &mut self.listener
        {
            self.is_member = is_member;
            listener.set_open(is_member);
        }
    }
}

impl Epoll {
    pub(super) fn start_listening(&mut self, mut listener: Listener) -> Result<(), Errno> {
        if self.acceptor.has_listened || self.gate.used() > 0 {
            return Err(Errno(libc::EINVAL));
        }
        if let Some(backlog_max) = self.gate.backlog_max() {
            listener.limit_backlog(backlog_max)?;
        }
        sys::epoll_add(self.epoll.as_fd(), listener.as_fd(), EPOLLIN | EDGE, EVENT_LISTENER)?;
        self.acceptor.has_listened = true;
        self.acceptor.listener = Some(listener);
        Ok(())
    }

    pub(super) fn serve_listener(&mut self, completions: &mut Vec<Completion>) {
        if self.acceptor.listener.is_none() {
            return;
        }
        match self.acceptor.wanted {
            Accepting::On => {
                let is_member = self.gate.wants_newcomers(self.acceptor.is_member);
                self.acceptor.set_member(is_member);
                self.accept_queued(completions);
            }
            Accepting::Paused => self.acceptor.set_member(false),
            Accepting::Ended => self.answer_the_queue(completions),
        }
    }

    fn answer_the_queue(&mut self, completions: &mut Vec<Completion>) {
        self.acceptor.set_member(false);
        if !self.acceptor.ignores_newcomers {
            self.acceptor.ignores_newcomers = true;
            // One look is due whatever epoll said so far.
            self.acceptor.has_news = true;
            if let Some(listener) = &self.acceptor.listener {
                // If the kernel refuses, whoever comes after the last look is turned away.
                let _ = listener.ignore_newcomers();
            }
        }
        self.accept_queued(completions);
        if !self.acceptor.has_news {
            self.acceptor.listener = None;
            completions.push(Completion::AcceptEnded);
        }
    }

    fn accept_queued(&mut self, completions: &mut Vec<Completion>) {
        if !self.acceptor.has_news || self.gate.retry_at_ns(self.now_ns).is_some() {
            return;
        }
        if !self.gate.has_room() && self.acceptor.listener.as_ref().is_some_and(is_empty) {
            // No reason to ask others for permits.
            self.acceptor.has_news = false;
            return;
        }
        let room = self.gate.claim(ACCEPTS_MAX);
        for _ in 0..room {
            let Some(listener) = &self.acceptor.listener else { break };
            let accepted = sys::accept(listener.as_fd())
                .and_then(|(socket, peer)| self.settle(socket).map(|slot| (slot, peer)));
            match accepted {
                Ok((slot, peer)) => {
                    self.gate.admit();
                    completions.push(Completion::Accepted { slot, peer });
                }
                Err(errno) if errno.0 == libc::EAGAIN => {
                    self.acceptor.has_news = false;
                    break;
                }
                Err(errno) if gate::is_passing(errno.0) => {}
                Err(_) => {
                    self.gate.back_off(self.now_ns);
                    self.figures.accept_backoffs += 1;
                    break;
                }
            }
        }
        // Idle permits are for others.
        self.gate.hold(0);
    }
}

fn is_empty(listener: &Listener) -> bool {
    listener.queue_len() == 0
}
