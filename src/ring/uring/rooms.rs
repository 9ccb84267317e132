//! Where the kernel writes the addresses of those who are accepted, for who wants to know them.
//!
//! Not here: accepting. Invariant: a room is given to one accept at a time and lives, at one
//! place, until that accept is over.
//!
//! A multishot accept has one place for all addresses, so it tells none. Measured by the example
//! `accept_cost` against it: an address from a single accept costs 0.5 us more per client when
//! clients queue, and 4 us when each comes to a sleeping worker, as every accept then begins to
//! wait anew; `FIXED_FD_INSTALL` with `getpeername` and `close` costs 1.0 and 1.2 us. Single
//! accepts are taken all the same: a busy server pays for the first case, and they need Linux
//! 6.1 instead of 6.8, no descriptor of the process, and no client between accepted and known.

use std::net::SocketAddr;

use libc::{sockaddr, socklen_t};

use crate::sys::RawAddress;

/// Single accepts under way at once, at most.
const ROOMS: u16 = 256;

/// Accepts that wait for clients when there is ample room.
pub(super) const ARMED_MAX: u32 = 64;

struct Room {
    address: RawAddress,
    len: socklen_t,
}

/// The rooms; none at all where nobody asks for addresses.
#[derive(Default)]
pub(super) struct Rooms {
    rooms: Vec<Room>,
    free: Vec<u16>,
}

impl Rooms {
    pub(super) fn new() -> Self {
        let room = |_| Room { address: RawAddress::zeroed(), len: 0 };
        Self { rooms: (0..ROOMS).map(room).collect(), free: (0..ROOMS).rev().collect() }
    }

    /// Whether addresses are asked for.
    pub(super) fn are_used(&self) -> bool {
        !self.rooms.is_empty()
    }

    /// A free room: its number, and the two pointers that an accept takes.
    pub(super) fn take(&mut self) -> Option<(u16, *mut sockaddr, *mut socklen_t)> {
        let number = self.free.pop()?;
        let room = &mut self.rooms[usize::from(number)];
        let (address, len) = room.address.as_place();
        room.len = len;
        Some((number, address, &raw mut room.len))
    }

    /// The accept of this room is over: what it wrote, if it wrote.
    pub(super) fn give_back(&mut self, number: u16) -> Option<SocketAddr> {
        debug_assert!(!self.free.contains(&number), "room {number} is free already");
        self.free.push(number);
        self.rooms.get(usize::from(number))?.address.peer()
    }

    /// The kernel did not let go: the memory is its own.
    pub(super) fn leak(self) {
        std::mem::forget(self.rooms);
    }
}
