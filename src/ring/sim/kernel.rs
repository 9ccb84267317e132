//! The kernel's side of one simulated driver: its slots, its listeners, and when something of them
//! is due.
//!
//! Not here: the network (`world.rs`), a turn (`turn.rs`), the calls of the driver (`driver.rs`).
//! Invariant: an index has a new generation from the moment at which its tenant moves out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::driver::{Accepting, Figures};
use crate::slot::Slot;

use super::DriverOptions;
use super::socket::SocketId;
use super::world::{Attempt, ListenerId, World};

/// Index of a driver in the world.
pub(super) type KernelId = usize;

/// The connection that has a slot.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) socket: SocketId,
    pub(super) connecting: bool,
    pub(super) receiving: bool,
    /// One more receive after receiving was turned off.
    pub(super) straggling: bool,
    pub(super) ended: bool,
    pub(super) receive_at_ns: u64,
    pub(super) sending: Option<Bytes>,
    pub(super) send_at_ns: u64,
    /// FIN is to follow the pending send.
    pub(super) fin_wanted: bool,
    pub(super) closed_at_ns: Option<u64>,
}

impl Tenant {
    pub(super) fn new(socket: SocketId, connecting: bool) -> Self {
        Self {
            socket,
            connecting,
            receiving: false,
            straggling: false,
            ended: false,
            receive_at_ns: 0,
            sending: None,
            send_at_ns: 0,
            fin_wanted: false,
            closed_at_ns: None,
        }
    }

    /// When something of it may complete.
    pub(super) fn due_ns(&self, world: &World) -> u64 {
        if let Some(at_ns) = self.closed_at_ns {
            return at_ns;
        }
        if self.connecting {
            return match world.attempts.get(&self.socket.0) {
                Some(&Attempt::Over { at_ns, .. }) => at_ns,
                _ => u64::MAX,
            };
        }
        let socket = &world.sockets[self.socket.0];
        let mut due_ns = u64::MAX;
        if (self.receiving || self.straggling) && !self.ended {
            due_ns = socket.readable_at_ns().max(self.receive_at_ns);
        }
        if self.sending.is_some() {
            let other = &world.sockets[socket.other.0];
            let free = socket.write_shut || other.closed || other.room_bytes() > 0;
            let moves_ns = if free { 0 } else { socket.failing_at_ns() };
            due_ns = due_ns.min(moves_ns.max(self.send_at_ns));
        }
        due_ns
    }
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) generation: u32,
    pub(super) tenant: Option<Tenant>,
}

#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) options: DriverOptions,
    pub(super) bell: Arc<AtomicBool>,
    pub(super) bell_at_ns: Option<u64>,
    /// In the order in which they were given.
    pub(super) listeners: Vec<ListenerId>,
    pub(super) accepting: Accepting,
    pub(super) accept_at_ns: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) live: Vec<u32>,
    free: Vec<u32>,
    /// Until when the worker asked to wait in its last turn.
    pub(super) deadline_ns: u64,
    /// Nothing completes before this.
    pub(super) quiet_until_ns: u64,
    pub(super) figures: Figures,
    /// Whether it took a turn since the runner last looked.
    pub(super) turned: bool,
    pub(super) gone: bool,
}

impl Kernel {
    pub(super) fn new(options: DriverOptions) -> Self {
        Self {
            options,
            bell: Arc::default(),
            bell_at_ns: None,
            listeners: Vec::new(),
            accepting: Accepting::Paused,
            accept_at_ns: 0,
            entries: Vec::new(),
            live: Vec::new(),
            free: Vec::new(),
            deadline_ns: u64::MAX,
            quiet_until_ns: 0,
            figures: Figures::default(),
            turned: false,
            gone: false,
        }
    }

    /// When this driver's turn has something to bring, its deadline included.
    pub(super) fn next_ns(&self, world: &World) -> u64 {
        if self.gone {
            return u64::MAX;
        }
        let tenants = self.live.iter().filter_map(|&index| self.tenant(index));
        let tenants_ns = tenants.map(|tenant| tenant.due_ns(world)).min().unwrap_or(u64::MAX);
        let accept_ns = if self.may_accept(world) { self.accept_at_ns } else { u64::MAX };
        let bell_ns = self.bell_at_ns.unwrap_or(u64::MAX);
        let due_ns = tenants_ns.min(accept_ns).min(bell_ns).max(self.quiet_until_ns);
        due_ns.min(self.deadline_ns)
    }

    fn tenant(&self, index: u32) -> Option<&Tenant> {
        self.entries[index as usize].tenant.as_ref()
    }

    pub(super) fn may_accept(&self, world: &World) -> bool {
        let mut listeners = self.listeners.iter().map(|&id| &world.listeners[id]);
        let is_quiet = listeners.clone().all(|listener| listener.queue.is_empty());
        match self.accepting {
            Accepting::Paused => false,
            Accepting::On => !is_quiet && self.has_room(),
            Accepting::Ended if is_quiet => listeners.any(|listener| !listener.closed),
            Accepting::Ended => self.has_room(),
        }
    }

    /// Whether a slot is free.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.entries.len() < self.options.slots_max as usize
    }

    /// Whether the worker asked to be back by now, or a turn would bring it something: after a
    /// spurious wake-up, for instance.
    pub(super) fn is_busy(&self, world: &World) -> bool {
        self.bell.load(Ordering::SeqCst) || self.next_ns(world) <= world.now_ns
    }

    /// Slots in use.
    pub(super) fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Gives `tenant` a slot. There must be room.
    pub(super) fn settle_in(&mut self, tenant: Tenant) -> Slot {
        // The last to leave is the first to be let again: a late call meets a new tenant at once.
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            u32::try_from(self.entries.len() - 1).expect("below slots_max, a u32")
        });
        let entry = &mut self.entries[index as usize];
        entry.tenant = Some(tenant);
        self.live.push(index);
        Slot::new(index, entry.generation)
    }

    /// The open tenant of exactly this generation.
    pub(super) fn find(&mut self, slot: Slot) -> Option<&mut Tenant> {
        let entry = self.entries.get_mut(slot.index())?;
        if Slot::new(slot.number(), entry.generation) != slot {
            return None;
        }
        entry.tenant.as_mut().filter(|tenant| tenant.closed_at_ns.is_none())
    }

    pub(super) fn move_out(&mut self, slot: Slot) {
        self.entries[slot.index()].generation = slot.successor().generation();
        self.live.retain(|&index| index != slot.number());
        self.free.push(slot.number());
    }

    /// The sockets in use, for when the driver goes away.
    pub(super) fn sockets(&self) -> Vec<SocketId> {
        let tenants = self.live.iter().filter_map(|&index| self.tenant(index));
        tenants.map(|tenant| tenant.socket).collect()
    }
}
