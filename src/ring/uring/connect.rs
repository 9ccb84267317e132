//! Connecting, for load generators: sockets made here, moved into the descriptor table at once.
//!
//! Invariant: a socket is a descriptor of the process only during the call, so that the
//! process's limit bounds each table and not their sum; but for the few that are watched.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::opcode;
use io_uring::types::Fixed;

use super::Uring;
use super::completion::Done;
use super::entry::Is;
use super::token::{Kind, Token};
use crate::address::Address;
use crate::driver::{Completion, Errno, TcpInfo};
use crate::options::Role;
use crate::slot::Slot;
use crate::sys::{self, RawAddress};

/// Connects that can be queued before they have to be handed over.
const ADDRESSES_MAX: usize = 256;

/// Free slots of a connecting engine, and the addresses of connects not yet handed over.
#[derive(Default)]
pub(super) struct Connector {
    free: Vec<u32>,
    /// Slots from here on were never used.
    fresh: u32,
    /// The kernel copies an address when it takes the operation.
    addresses: Vec<RawAddress>,
    /// Every so many slots the socket's descriptor is kept; 0: never.
    watch_every: u32,
    /// By slot, until it is closed.
    watched: HashMap<u32, OwnedFd>,
}

impl Connector {
    fn take(&mut self, slots_max: u32) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        let index = self.fresh;
        (index < slots_max).then(|| {
            self.fresh += 1;
            index
        })
    }

    pub(super) fn give_back(&mut self, index: u32) {
        self.free.push(index);
    }

    pub(super) fn watch_every(&mut self, nth: u32) {
        self.watch_every = nth;
    }

    /// Lets go of the descriptor of a slot that is being closed: kept, it would keep the
    /// connection open.
    pub(super) fn forget(&mut self, slot: Slot) {
        if !self.watched.is_empty() {
            self.watched.remove(&slot.number());
        }
    }

    pub(super) fn tcp_info(&self, slot: Slot) -> Option<TcpInfo> {
        sys::tcp_info(self.watched.get(&slot.number())?.as_fd())
    }
}

impl Uring {
    pub(super) fn start_connect(
        &mut self,
        address: &Address,
        source: Option<IpAddr>,
    ) -> Result<Slot, Errno> {
        let (raw, len) = RawAddress::new(address)?;
        if self.role != Role::Connects {
            return Err(Errno(libc::EINVAL));
        }
        self.make_room_for_address()?;
        let slots_max = u32::try_from(self.entries.len()).expect("made from a u32");
        let index = self.connector.take(slots_max).ok_or(Errno(libc::ENFILE))?;
        if let Err(errno) = self.place_socket(address, source, index) {
            self.connector.give_back(index);
            return Err(errno);
        }
        self.gate.admit_own();
        let entry = &mut self.entries[index as usize];
        entry.open();
        entry.set(Is::Own);
        entry.set(Is::Connecting);
        entry.held = 1;
        let slot = Slot::new(index, entry.generation);
        self.connector.addresses.push(raw);
        let raw = self.connector.addresses.last().expect("just pushed").as_ptr();
        let operation = opcode::Connect::new(Fixed(index), raw, len).build();
        // SAFETY: the address stays in a list that neither grows beyond its capacity nor is
        // cleared before the kernel has taken the operation, and with it a copy of the address.
        unsafe { self.start(operation, Token::new(Kind::Connect, slot)) }
        Ok(slot)
    }

    fn make_room_for_address(&mut self) -> Result<(), Errno> {
        self.connector
            .addresses
            .reserve_exact(ADDRESSES_MAX.saturating_sub(self.connector.addresses.capacity()));
        if self.connector.addresses.len() == ADDRESSES_MAX && !self.flush() {
            return Err(self.broken.unwrap_or(Errno(libc::ENOMEM)));
        }
        if self.ring.queued() == 0 {
            self.connector.addresses.clear();
        }
        Ok(())
    }

    /// Makes a socket and puts it into the table.
    fn place_socket(
        &mut self,
        address: &Address,
        source: Option<IpAddr>,
        index: u32,
    ) -> Result<(), Errno> {
        let socket = sys::client_socket(address, source, 0)?;
        self.ring.submitter().register_files_update(index, &[socket.as_raw_fd()])?;
        let every = self.connector.watch_every;
        if every > 0 && index.is_multiple_of(every) {
            self.connector.watched.insert(index, socket);
        }
        Ok(())
    }

    pub(super) fn connected(&mut self, done: Done, completions: &mut Vec<Completion>) {
        let slot = done.token.slot();
        let Some(entry) = self.let_go(slot) else { return };
        entry.clear(Is::Connecting);
        if entry.is(Is::Closing) {
            self.close_if_free(slot);
            return;
        }
        let wants_receive = done.result.is_ok() && entry.wants_receive();
        if done.result.is_err() {
            entry.set(Is::Ended);
        }
        completions.push(Completion::Connected { slot, result: done.result.map(drop) });
        if wants_receive {
            self.queue.push(&mut self.entries, slot.number());
        }
    }
}
