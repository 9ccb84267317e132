//! Accepting: as many as there is room for, when the listener has news.
//!
//! Invariant: the news is remembered until a call says that the queue is empty, because epoll
//! tells it once.

use std::os::fd::AsFd;

use super::{EDGE, EPOLLIN, EVENT_LISTENER, Epoll};
use crate::driver::{Accepting, Completion, Errno};
use crate::gate::{self, Gate};
use crate::listener::Listener;
use crate::options::Role;
use crate::sys;

/// Clients accepted before the others get their turn.
const ACCEPTS_MAX: u32 = 256;

/// One listener and what is known of its queue.
#[derive(Debug)]
struct Door {
    /// Which of the driver's listeners it is.
    number: u16,
    /// Gone once its queue is answered, at the end.
    listener: Option<Listener>,
    /// The queue may have clients.
    has_news: bool,
    ignores_newcomers: bool,
}

/// The listeners, in the order in which they were given.
#[derive(Debug)]
pub(super) struct Acceptor {
    doors: Vec<Door>,
    wanted: Accepting,
    has_ended: bool,
    is_member: bool,
    /// Whose queue is looked at first.
    first: usize,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            doors: Vec::new(),
            wanted: Accepting::Paused,
            has_ended: false,
            is_member: true,
            first: 0,
        }
    }
}

impl Acceptor {
    /// The listener of this number has news.
    pub(super) fn has_news(&mut self, number: u64) {
        let door = usize::try_from(number).ok().and_then(|index| self.doors.get_mut(index));
        if let Some(door) = door {
            door.has_news = true;
        }
    }

    /// Notes what is wanted; the end is final.
    pub(super) fn want(&mut self, accepting: Accepting) {
        if self.wanted != Accepting::Ended {
            self.wanted = accepting;
        }
    }

    /// Whether another look at the queues could bring something right now.
    pub(super) fn could_accept(&self, gate: &Gate, now_ns: u64) -> bool {
        self.wanted != Accepting::Paused
            && self.doors.iter().any(|door| door.listener.is_some() && door.has_news)
            && gate.has_room()
            && gate.retry_at_ns(now_ns).is_none()
    }

    fn set_member(&mut self, is_member: bool) {
        if self.is_member == is_member {
            return;
        }
        self.is_member = is_member;
        for listener in self.doors.iter_mut().filter_map(|door| door.listener.as_mut()) {
            listener.set_open(is_member);
        }
    }

    /// The doors' places, beginning with another one each time: when room is scarce, none may
    /// always be the last.
    fn in_turn(&mut self) -> impl Iterator<Item = usize> + use<> {
        let (count, first) = (self.doors.len(), self.first);
        self.first = (first + 1) % count.max(1);
        (first..count).chain(0..first)
    }
}

impl Epoll {
    pub(super) fn start_listening(&mut self, listener: Listener) -> Result<(), Errno> {
        if self.role != Role::Accepts || self.acceptor.has_ended || self.gate.used() > 0 {
            return Err(Errno(libc::EINVAL));
        }
        let number = u16::try_from(self.acceptor.doors.len()).map_err(|_| Errno(libc::EMFILE))?;
        let data = EVENT_LISTENER | u64::from(number);
        sys::epoll_add(self.epoll.as_fd(), listener.as_fd(), EPOLLIN | EDGE, data)?;
        let door =
            Door { number, listener: Some(listener), has_news: true, ignores_newcomers: false };
        self.acceptor.doors.push(door);
        if let Some(backlog_max) = self.gate.backlog_max(u32::from(number) + 1) {
            let doors = self.acceptor.doors.iter_mut();
            for listener in doors.filter_map(|door| door.listener.as_mut()) {
                listener.limit_backlog(backlog_max)?;
            }
        }
        Ok(())
    }

    pub(super) fn serve_listeners(&mut self, completions: &mut Vec<Completion>) {
        if self.acceptor.has_ended || self.acceptor.doors.is_empty() {
            return;
        }
        match self.acceptor.wanted {
            Accepting::On => {
                let is_member = self.gate.wants_newcomers(self.acceptor.is_member);
                self.acceptor.set_member(is_member);
                for index in self.acceptor.in_turn() {
                    self.accept_queued(index, completions);
                }
            }
            Accepting::Paused => self.acceptor.set_member(false),
            Accepting::Ended => {
                self.acceptor.set_member(false);
                for index in self.acceptor.in_turn() {
                    self.answer_the_queue(index, completions);
                }
                if self.acceptor.doors.iter().all(|door| door.listener.is_none()) {
                    self.acceptor.has_ended = true;
                    completions.push(Completion::AcceptEnded);
                }
            }
        }
    }

    fn answer_the_queue(&mut self, index: usize, completions: &mut Vec<Completion>) {
        let door = &mut self.acceptor.doors[index];
        let Some(listener) = &door.listener else { return };
        if !door.ignores_newcomers {
            door.ignores_newcomers = true;
            // One look is due whatever epoll said so far.
            door.has_news = true;
            // If the kernel refuses, whoever comes after the last look is turned away.
            let _ = listener.ignore_newcomers();
        }
        self.accept_queued(index, completions);
        let door = &mut self.acceptor.doors[index];
        if !door.has_news {
            door.listener = None;
        }
    }

    fn accept_queued(&mut self, index: usize, completions: &mut Vec<Completion>) {
        let door = &mut self.acceptor.doors[index];
        if !door.has_news || self.gate.retry_at_ns(self.now_ns).is_some() {
            return;
        }
        if !self.gate.has_room() && door.listener.as_ref().is_some_and(is_empty) {
            // No reason to ask others for permits.
            door.has_news = false;
            return;
        }
        let room = self.gate.claim(ACCEPTS_MAX);
        for _ in 0..room {
            let door = &mut self.acceptor.doors[index];
            let Some(listener) = &door.listener else { break };
            let number = door.number;
            let accepted = sys::accept(listener.as_fd())
                .and_then(|(socket, peer)| self.settle(socket).map(|slot| (slot, peer)));
            let door = &mut self.acceptor.doors[index];
            match accepted {
                Ok((slot, peer)) => {
                    self.gate.admit();
                    let peer = peer.filter(|_| self.peers);
                    completions.push(Completion::Accepted { slot, listener: number, peer });
                }
                Err(Errno(libc::EAGAIN)) => {
                    door.has_news = false;
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
