//! One turn of a simulated driver: what completes now.
//!
//! Not here: when something is due (`kernel.rs`). Invariants: of one connection, completions come
//! in the order in which things happened; across connections in any order; after
//! [`Completion::Closed`] nothing of that slot follows.

use std::sync::atomic::Ordering;

use bytes::Buf;

use crate::driver::{Completion, Errno};
use crate::slot::Slot;

use super::kernel::{KernelId, Tenant};
use super::lender::Lender;
use super::socket::Read;
use super::world::{Attempt, ListenerId, World};

/// One turn being taken.
struct Turn<'t> {
    id: KernelId,
    lender: &'t mut Lender,
    completions: &'t mut Vec<Completion>,
    /// The length at which the completion queue is full.
    completions_max: usize,
}

impl Turn<'_> {
    fn is_full(&self) -> bool {
        self.completions.len() >= self.completions_max
    }
}

impl World {
    /// Brings what driver `id` can have now.
    pub(super) fn turn(
        &mut self,
        id: KernelId,
        deadline_ns: u64,
        lender: &mut Lender,
        completions: &mut Vec<Completion>,
    ) {
        self.settle();
        let kernel = &mut self.kernels[id];
        kernel.deadline_ns = deadline_ns;
        kernel.turned = true;
        kernel.figures.turns += 1;
        kernel.figures.enters += 1;
        let (before, quiet) = (completions.len(), kernel.quiet_until_ns > self.now_ns);
        let spurious = self.options.faults.spurious_wakes;
        if !quiet && !self.fault(spurious) {
            let completions_max = self.completions_max(id, before);
            self.bring(Turn { id, lender, completions, completions_max });
        }
        self.kernels[id].figures.completions += (completions.len() - before) as u64;
    }

    /// A bound for this turn, when its completion queue overflows.
    fn completions_max(&mut self, id: KernelId, before: usize) -> usize {
        if !self.fault(self.options.faults.queue_overflows) {
            return usize::MAX;
        }
        self.kernels[id].figures.queue_overflows += 1;
        before + 1 + self.random.index(4)
    }

    fn bring(&mut self, mut turn: Turn<'_>) {
        self.hear_bell(&mut turn);
        self.accept(&mut turn);
        let mut order = self.kernels[turn.id].live.clone();
        let reorders = self.options.faults.reorders;
        if self.fault(reorders) {
            self.random.shuffle(&mut order);
        }
        for index in order {
            if turn.is_full() {
                break;
            }
            let entry = &mut self.kernels[turn.id].entries[index as usize];
            let slot = Slot::new(index, entry.generation);
            if let Some(tenant) = entry.tenant.take() {
                let tenant = self.advance_tenant(&mut turn, slot, tenant);
                self.kernels[turn.id].entries[index as usize].tenant = tenant;
            }
        }
    }

    fn hear_bell(&mut self, turn: &mut Turn<'_>) {
        if self.kernels[turn.id].bell.swap(false, Ordering::SeqCst) {
            let late = self.fault(self.options.faults.bell_delays);
            let at_ns = self.now_ns + if late { self.delay_ns() } else { 0 };
            let bell_at_ns = &mut self.kernels[turn.id].bell_at_ns;
            *bell_at_ns = Some(bell_at_ns.map_or(at_ns, |earlier| earlier.min(at_ns)));
            self.log.note(self.now_ns, "bell", turn.id as u64, at_ns - self.now_ns);
        }
        let kernel = &mut self.kernels[turn.id];
        if kernel.bell_at_ns.is_some_and(|at_ns| at_ns <= self.now_ns) {
            kernel.bell_at_ns = None;
            turn.completions.push(Completion::Woken);
            self.log.note(self.now_ns, "woken", turn.id as u64, 0);
        }
    }

    fn accept(&mut self, turn: &mut Turn<'_>) {
        while !turn.is_full()
            && self.kernels[turn.id].accept_at_ns <= self.now_ns
            && self.kernels[turn.id].may_accept(self)
        {
            let Some((number, listener)) = self.choose_queue(turn.id) else {
                for listener in self.kernels[turn.id].listeners.clone() {
                    self.unbind(listener);
                }
                turn.completions.push(Completion::AcceptEnded);
                self.log.note(self.now_ns, "accept ended", turn.id as u64, 0);
                return;
            };
            if self.fault(self.options.faults.accept_refusals) {
                let pause_ns = 10_000_000 + self.random.below(90_000_000);
                self.kernels[turn.id].figures.accept_backoffs += 1;
                self.kernels[turn.id].accept_at_ns = self.now_ns + pause_ns;
                return;
            }
            let Some(socket) = self.listeners[listener].queue.pop_front() else { return };
            let remote = self.socket(socket).remote;
            let kernel = &mut self.kernels[turn.id];
            let slot = kernel.settle_in(Tenant::new(socket, false));
            let peer = remote.filter(|_| kernel.options.reports_peer);
            turn.completions.push(Completion::Accepted { slot, listener: number, peer });
            self.log.note(self.now_ns, "accepted", socket.0 as u64, slot.to_bits());
            if self.fault(self.options.faults.rearms) {
                self.kernels[turn.id].figures.rearms += 1;
                self.kernels[turn.id].accept_at_ns = self.now_ns + self.delay_ns();
            }
        }
    }

    /// A listener of this driver whose queue has somebody, and its number.
    fn choose_queue(&mut self, id: KernelId) -> Option<(u16, ListenerId)> {
        let listeners = (0_u16..).zip(self.kernels[id].listeners.iter().copied());
        let waiting: Vec<(u16, ListenerId)> =
            listeners.filter(|&(_, listener)| !self.listeners[listener].queue.is_empty()).collect();
        match waiting.len() {
            0 => None,
            1 => Some(waiting[0]),
            count => Some(waiting[self.random.index(count)]),
        }
    }

    /// Does what can be done for one connection; `None` when it has left its slot.
    fn advance_tenant(
        &mut self,
        turn: &mut Turn<'_>,
        slot: Slot,
        mut tenant: Tenant,
    ) -> Option<Tenant> {
        if tenant.due_ns(self) > self.now_ns {
            return Some(tenant);
        }
        if tenant.closed_at_ns.is_some() {
            self.kernels[turn.id].move_out(slot);
            turn.completions.push(Completion::Closed { slot });
            self.log.note(self.now_ns, "closed", turn.id as u64, slot.to_bits());
            return None;
        }
        if tenant.connecting {
            self.finish_connect(turn, slot, &mut tenant);
            return Some(tenant);
        }
        let send_first = self.random.below(2) == 0;
        if send_first {
            self.advance_send(turn, slot, &mut tenant);
        }
        self.advance_receive(turn, slot, &mut tenant);
        if !send_first {
            self.advance_send(turn, slot, &mut tenant);
        }
        Some(tenant)
    }

    fn finish_connect(&mut self, turn: &mut Turn<'_>, slot: Slot, tenant: &mut Tenant) {
        if let Some(Attempt::Over { result, .. }) = self.attempts.remove(&tenant.socket.0) {
            tenant.connecting = false;
            tenant.ended = result.is_err();
            turn.completions.push(Completion::Connected { slot, result });
            self.log.note(self.now_ns, "connected", slot.to_bits(), u64::from(result.is_ok()));
        }
    }

    fn advance_send(&mut self, turn: &mut Turn<'_>, slot: Slot, tenant: &mut Tenant) {
        let Some(mut bytes) = tenant.sending.take() else { return };
        if tenant.send_at_ns > self.now_ns || turn.is_full() {
            tenant.sending = Some(bytes);
            return;
        }
        let result = match self.write(tenant.socket, &bytes) {
            Ok(count) if count < bytes.len() => {
                bytes.advance(count);
                tenant.sending = Some(bytes);
                let late = self.fault(self.options.faults.delays);
                tenant.send_at_ns = self.now_ns + if late { self.delay_ns() } else { 1 };
                return;
            }
            other => other.map(drop),
        };
        if tenant.fin_wanted {
            self.shut_write(tenant.socket);
        }
        turn.completions.push(Completion::Sent { slot, result });
        self.log.note(self.now_ns, "sent", slot.to_bits(), u64::from(result.is_err()));
    }

    fn advance_receive(&mut self, turn: &mut Turn<'_>, slot: Slot, tenant: &mut Tenant) {
        // One connection takes a quarter of the buffers at most, as in the ring recipe.
        let mut share_bytes = (turn.lender.bytes_max() / 4).max(1);
        while (tenant.receiving || tenant.straggling)
            && !tenant.ended
            && tenant.receive_at_ns <= self.now_ns
            && !turn.is_full()
        {
            let now_ns = self.now_ns;
            let socket = self.socket(tenant.socket);
            socket.settle(now_ns);
            let readable = socket.readable_bytes(now_ns);
            if readable == 0 {
                self.finish_receive(turn, slot, tenant);
                return;
            }
            let exhausted = self.fault(self.options.faults.buffers_exhausted);
            let wanted = self.cut(self.options.faults.short_receives, readable.min(share_bytes));
            let granted = if exhausted { 0 } else { turn.lender.grant(wanted) };
            if granted == 0 {
                self.kernels[turn.id].figures.buffers_exhausted += 1;
                tenant.receive_at_ns = now_ns + if exhausted { self.delay_ns() } else { 1 };
                return;
            }
            let Read::Bytes(bytes) = self.socket(tenant.socket).read(now_ns, granted) else {
                return;
            };
            self.log.note(now_ns, "received", slot.to_bits(), bytes.len() as u64);
            self.log.note_bytes(&bytes);
            let lease = turn.lender.lend(&bytes);
            turn.completions.push(Completion::Received { slot, lease });
            tenant.straggling = false;
            share_bytes -= bytes.len();
            if share_bytes == 0 || self.fault(self.options.faults.rearms) {
                self.kernels[turn.id].figures.rearms += 1;
                tenant.receive_at_ns = now_ns + if share_bytes == 0 { 1 } else { self.delay_ns() };
                return;
            }
        }
    }

    fn finish_receive(&mut self, turn: &mut Turn<'_>, slot: Slot, tenant: &mut Tenant) {
        let now_ns = self.now_ns;
        if let Read::Ended(result) = self.socket(tenant.socket).read(now_ns, 0) {
            tenant.ended = true;
            tenant.straggling = false;
            turn.completions.push(Completion::Ended { slot, result });
            self.log.note(now_ns, "ended", slot.to_bits(), u64::from(result.is_err()));
        }
    }

    /// Closes the network's side of `slot` and lets [`Completion::Closed`] come when it may.
    pub(super) fn close_slot(&mut self, id: KernelId, slot: Slot) {
        let at_ns = self.later_ns();
        let Some(tenant) = self.kernels[id].find(slot) else { return };
        tenant.closed_at_ns = Some(at_ns);
        tenant.sending = None;
        let socket = tenant.socket;
        if tenant.connecting {
            self.attempts.remove(&socket.0);
        }
        self.log.note(self.now_ns, "close slot", id as u64, slot.to_bits());
        self.close(socket, false);
    }

    /// Sends one piece of a batch: how many bytes the socket took. `None` for a slot that is gone.
    pub(super) fn send_now(
        &mut self,
        id: KernelId,
        slot: Slot,
        bytes: &[u8],
    ) -> Option<Result<usize, Errno>> {
        let tenant = self.kernels[id].find(slot)?;
        assert!(!tenant.connecting, "batch: {slot:?} is not connected yet");
        let pending = tenant.sending.is_some();
        assert!(!pending, "batch: {slot:?} has a send pending, the bytes could overtake it");
        let socket = tenant.socket;
        if self.fault(self.options.faults.full_sends) && self.sockets[socket.0].failed.is_none() {
            return Some(Ok(0));
        }
        Some(self.write(socket, bytes))
    }
}
