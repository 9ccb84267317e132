//! How a connection ends that should not, and what that counts as.
//!
//! Not here: the end of the run (`goodbye`). Invariant: each end is counted once, as what it is:
//! refused, lost, a failed cycle, or a slow reader cut off.

use std::sync::atomic::Ordering;

use ringwire_ring::{Driver, Errno};

use super::{Client, IDLE_NS, NOBODY};
use crate::engine::error::ErrorCode;
use crate::engine::member::{Member, Part, Phase, Speech};

impl<D: Driver> Client<D> {
    /// The peer sent FIN, or the connection failed.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.2.1
    //# If at any point the underlying transport layer connection is unexpectedly lost, the
    //# client MUST _Fail the WebSocket Connection_.
    pub(super) fn ended(&mut self, member: usize, result: Result<(), Errno>) {
        if self.members[member].is_closing && result.is_ok() {
            let said_ns = self.now_ns;
            return self.finish_cycle(member, said_ns);
        }
        let code = match result {
            Err(errno) => ErrorCode::of(errno),
            Ok(()) if self.members[member].is_shaking_hands() => ErrorCode::TlsEnded,
            Ok(()) => match &self.members[member].speech {
                Speech::Ws(..) => ErrorCode::WsClose(1006),
                Speech::Sse(_) => ErrorCode::SseEnded,
                Speech::None | Speech::Opening(_) | Speech::Http(_) => ErrorCode::HttpEnded,
            },
        };
        let Member { speech, is_proven, is_asking, was_open, since_ns, .. } = &self.members[member];
        // A server may end keep-alive at any time between two answers; a poll is asked again.
        let is_keep_alive = matches!(speech, Speech::Http(reader) if reader.is_empty());
        let age_ns = self.now_ns.saturating_sub(*since_ns);
        let may_try_again = *is_proven || (*was_open && !is_asking && age_ns >= IDLE_NS);
        if is_keep_alive && may_try_again && self.goodbye_until_ns.is_none() {
            self.reconnect(member);
        } else {
            self.lose(member, code);
        }
    }

    /// The connection is over, and should not be.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.7
    //# the client MUST _Close the WebSocket Connection_
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.2.1
    //# To do so, the client MUST _Fail the WebSocket Connection_ as defined in Section 7.1.7.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# If the connection could not be opened, either because a direct connection failed or
    //# because any proxy used returned an error, then the client MUST _Fail the WebSocket
    //# Connection_ and abort the connection attempt.
    pub(super) fn lose(&mut self, member: usize, code: ErrorCode) {
        if self.members[member].phase == Phase::Ended {
            return;
        }
        let Member { is_slow, is_returning, was_open, .. } = self.members[member];
        if self.goodbye_until_ns.is_none() {
            if self.churn.is_on() && (was_open || self.schedule.is_some()) {
                return self.fail_cycle(member, code);
            }
            if is_returning {
                return self.retry(member, code);
            }
            if is_slow && was_open {
                self.ledger.slow_closed += 1;
                return self.end(member);
            }
            self.ledger.error(code);
            let is_subscriber = self.members[member].part == Part::Subscriber;
            if !self.members[member].was_open {
                self.connecting.opening -= usize::from(self.members[member].is_opening());
                self.ledger.refused += u32::from(is_subscriber);
                self.control.refuse(code, String::new);
            } else if self.schedule.is_some() {
                self.ledger.lost += u32::from(is_subscriber);
            } else {
                // Nobody may be left to begin with, and then this is why.
                self.control.refuse(code, String::new);
            }
        }
        self.end(member);
    }

    /// Closes a connection for good.
    pub(super) fn end(&mut self, member: usize) {
        self.close(member);
        let has_begun = self.schedule.is_some();
        let member = &mut self.members[member];
        if member.phase == Phase::Ended {
            return;
        }
        member.phase = Phase::Ended;
        self.pending = self.pending.saturating_sub(member.outstanding() + member.late_count());
        self.ledger.waiting -= member.late_count();
        if member.part == Part::Subscriber && member.was_open {
            self.open -= u32::from(!member.is_returning);
            if !has_begun && !member.is_slow {
                let channel = member.channel as usize;
                self.control.subscribed[channel].fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Closes a connection's socket.
    pub(super) fn close(&mut self, member: usize) {
        let member = &mut self.members[member];
        member.tls = None;
        member.speech = Speech::None;
        member.outbox = None;
        if let Some(aside) = &mut member.aside {
            aside.awaited.clear();
        }
        if let Some(slot) = member.slot.take() {
            self.owners[slot.index()] = NOBODY;
            self.driver.close(slot);
        }
    }
}
