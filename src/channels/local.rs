//! The subscribers among one worker's connections.
//!
//! Not here: the connections, and the fan-out (`fanout`). Invariants: a connection is in a channel
//! at most once; a membership is live exactly while the home counts it, and for every one that the
//! home has counted one departure is reported; memberships cost [`Local::MEMBERSHIP_BYTES`] each.

use std::collections::HashMap;

use ringwire_protocol::Position;

use super::audience::{Audiences, NONE};
use super::encoding::Encoding;
use super::membership::{Membership, State, Token};
use super::name::{Name, home_of};
use super::request::{Request, Seek, Slice};

/// What a subscriber asks for.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How it is served.
    pub encoding: Encoding,
    /// What it has seen; `None`: it begins now.
    pub since: Option<Position>,
    /// The most encoded bytes of its first slice.
    pub slice_bytes_max: usize,
    /// One answer is all it waits for (a long poll).
    pub once: bool,
}

/// Whom a slice is for.
#[derive(Debug)]
pub enum Arrival {
    /// For `connection`: it gets the slice now, and if `live`, what follows comes by fan-out.
    For {
        /// The connection's index.
        connection: u32,
        /// Whether it is attached.
        live: bool,
    },
    /// Nobody: it has left. If the home counts it, this is to be sent to that worker.
    Gone(Option<(usize, Request)>),
}

/// This worker's subscribers of any channel. See the module's head.
#[derive(Debug)]
pub struct Local {
    workers: usize,
    /// Each connection's first membership, plus 1; 0: none.
    firsts: Vec<u32>,
    memberships: Vec<Membership>,
    free: u32,
    ticket: u32,
    pub(super) audiences: Audiences,
    /// Where those stand that are catching up.
    cursors: HashMap<u32, Position>,
    live: usize,
}

impl Local {
    /// What one membership costs: its entry and its place in a group.
    pub const MEMBERSHIP_BYTES: usize = size_of::<Membership>() + size_of::<u32>();

    /// What every connection costs, in a channel or not.
    pub const CONNECTION_BYTES: usize = size_of::<u32>();

    /// Nobody yet, for connections with indexes below `connections_max`, among `workers`. The
    /// tables are allocated whole and touched as they are used.
    #[must_use]
    pub fn new(workers: usize, connections_max: usize) -> Self {
        Self {
            workers,
            firsts: vec![0; connections_max],
            memberships: Vec::with_capacity(connections_max),
            free: 0,
            ticket: 0,
            audiences: Audiences::new(),
            cursors: HashMap::new(),
            live: 0,
        }
    }

    /// The worker where `channel` lives.
    #[must_use]
    pub fn home(&self, channel: &Name) -> usize {
        home_of(channel, self.workers)
    }

    /// Lets `connection` join `channel`: what is to be sent to which worker. `None`: it is in it
    /// already.
    pub fn join(
        &mut self,
        connection: u32,
        channel: &Name,
        terms: Terms,
    ) -> Option<(usize, Request)> {
        if self.find(connection, channel).is_some() {
            return None;
        }
        let index = self.audiences.open(channel);
        self.audiences.entry(index).members += 1;
        let ticket = self.next_ticket();
        let next = *self.first_of(connection);
        let id = self.insert(Membership::new(connection, index, terms.encoding, ticket, next));
        *self.first_of(connection) = id + 1;
        let Terms { encoding, since, slice_bytes_max, once } = terms;
        let subscriber = Token { id, ticket }.to_bits();
        let channel = channel.clone();
        let seek = Seek { channel, subscriber, encoding, since, slice_bytes_max, once };
        Some((self.home(&seek.channel), Request::Subscribe(seek)))
    }

    /// Attaches the subscriber whom `slice` is for if it is live now, or notes its cursor.
    pub fn arrive(&mut self, slice: &Slice) -> Arrival {
        let Some(id) = self.pending(slice.subscriber) else {
            return Arrival::Gone(
                slice.live.then(|| self.departure(&slice.channel, slice.encoding, 1)),
            );
        };
        let membership = self.memberships[id as usize];
        if slice.live {
            let group =
                &mut self.audiences.entry(membership.channel()).groups[slice.encoding.index()];
            let place = u32::try_from(group.len()).expect("fewer members than connections");
            push_exact(group, id);
            self.live += 1;
            self.memberships[id as usize].enter(State::Live, place);
        } else {
            self.cursors.insert(id, slice.position);
            self.memberships[id as usize].enter(State::CatchingUp, 0);
        }
        let connection = membership.connection;
        Arrival::For { connection, live: slice.live }
    }

    /// Ends the membership whose request was refused; whose it was, if it is still there.
    pub fn refuse(&mut self, subscriber: u64) -> Option<u32> {
        let id = self.pending(subscriber)?;
        let connection = self.memberships[id as usize].connection;
        let departure = self.end(id);
        debug_assert!(departure.is_none(), "the home does not count whom it refused");
        Some(connection)
    }

    /// Asks for the next slices of all channels in which `connection` is catching up: what is to
    /// be sent to which worker. To be called when its output has drained.
    pub fn advance(
        &mut self,
        connection: u32,
        slice_bytes_max: usize,
        mut each: impl FnMut(usize, Request),
    ) {
        let mut next = self.firsts.get(connection as usize).copied().unwrap_or(0);
        while next != 0 {
            let id = next - 1;
            next = self.memberships[id as usize].next;
            let Some(position) = self.cursors.remove(&id) else { continue };
            let ticket = self.next_ticket();
            let membership = &mut self.memberships[id as usize];
            membership.enter(State::Pending, ticket);
            let encoding = membership.encoding();
            let channel = membership.channel();
            let channel = self.audiences.entry(channel).name.clone();
            let home = self.home(&channel);
            let seek = Seek {
                channel,
                subscriber: Token { id, ticket }.to_bits(),
                encoding,
                since: Some(position),
                slice_bytes_max,
                once: false,
            };
            each(home, Request::Continue(seek));
        }
    }

    /// Takes `connection` out of `channel`: what is to be sent to which worker, if the home counts
    /// it and no fan-out of the channel is going on.
    pub fn leave(&mut self, connection: u32, channel: &Name) -> Option<(usize, Request)> {
        let id = self.find(connection, channel)?;
        self.end(id)
    }

    /// Takes `connection` out of every channel, as [`Local::leave`] does.
    pub fn leave_all(&mut self, connection: u32, mut each: impl FnMut(usize, Request)) {
        while let Some(&first) = self.firsts.get(connection as usize)
            && first != 0
        {
            if let Some((home, request)) = self.end(first - 1) {
                each(home, request);
            }
        }
    }

    /// Whether `connection` is in `channel`, live or not.
    #[must_use]
    pub fn is_member(&self, connection: u32, channel: &Name) -> bool {
        self.find(connection, channel).is_some()
    }

    /// The channels of `connection`, the last joined first.
    pub fn channels_of(&self, connection: u32) -> impl Iterator<Item = &Name> + '_ {
        self.members_of(connection)
            .map(|(_, membership)| &self.audiences.at(membership.channel()).name)
    }

    /// Live memberships.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Channels with members here.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.audiences.len()
    }

    pub(super) fn connection_of(&self, id: u32) -> u32 {
        self.memberships[id as usize].connection
    }

    pub(super) fn set_place(&mut self, id: u32, place: u32) {
        self.memberships[id as usize].place = place;
    }

    pub(super) fn departure(
        &self,
        channel: &Name,
        encoding: Encoding,
        count: u32,
    ) -> (usize, Request) {
        (self.home(channel), Request::Leave { channel: channel.clone(), encoding, count })
    }

    /// Ends a membership; the departure to report, if it is to be reported now.
    fn end(&mut self, id: u32) -> Option<(usize, Request)> {
        self.unlink(id);
        let membership = self.memberships[id as usize];
        let (encoding, index) = (membership.encoding(), membership.channel());
        let place = membership.place as usize;
        self.cursors.remove(&id);
        self.memberships[id as usize].enter(State::Free, 0);
        self.memberships[id as usize].next = self.free;
        self.free = id + 1;
        let channel = self.audiences.entry(index);
        channel.members -= 1;
        let mut departure = None;
        if membership.state() == State::Live {
            let group = &mut channel.groups[encoding.index()];
            if channel.fanouts > 0 {
                group[place] = NONE;
                channel.departed[encoding.index()] += 1;
            } else {
                group.swap_remove(place);
                let moved = group.get(place).copied();
                let name = channel.name.clone();
                if let Some(moved) = moved {
                    self.set_place(moved, membership.place);
                }
                departure = Some(self.departure(&name, encoding, 1));
            }
            self.live -= 1;
        }
        self.audiences.release(index);
        departure
    }

    fn unlink(&mut self, id: u32) {
        let Membership { connection, next, .. } = self.memberships[id as usize];
        let first = self.first_of(connection);
        if *first == id + 1 {
            *first = next;
            return;
        }
        let mut before = *first - 1;
        while self.memberships[before as usize].next != id + 1 {
            before = self.memberships[before as usize].next - 1;
        }
        self.memberships[before as usize].next = next;
    }

    fn find(&self, connection: u32, channel: &Name) -> Option<u32> {
        let index = self.audiences.find(channel)?;
        self.members_of(connection)
            .find(|(_, membership)| membership.channel() == index)
            .map(|(id, _)| id)
    }

    fn members_of(&self, connection: u32) -> impl Iterator<Item = (u32, Membership)> + '_ {
        let mut next = self.firsts.get(connection as usize).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let id = next.checked_sub(1)?;
            let membership = self.memberships[id as usize];
            next = membership.next;
            Some((id, membership))
        })
    }

    /// The membership that a token names, if it still waits for that answer.
    fn pending(&self, subscriber: u64) -> Option<u32> {
        let Token { id, ticket } = Token::from_bits(subscriber);
        let membership = self.memberships.get(id as usize)?;
        let is_pending = membership.state() == State::Pending;
        (is_pending && membership.place == ticket).then_some(id)
    }

    fn insert(&mut self, membership: Membership) -> u32 {
        if let Some(id) = self.free.checked_sub(1) {
            self.free = self.memberships[id as usize].next;
            self.memberships[id as usize] = membership;
            return id;
        }
        let id = u32::try_from(self.memberships.len()).expect("fewer members than fill memory");
        push_exact(&mut self.memberships, membership);
        id
    }

    fn first_of(&mut self, connection: u32) -> &mut u32 {
        let index = connection as usize;
        if index >= self.firsts.len() {
            self.firsts.resize(index + 1, 0);
        }
        &mut self.firsts[index]
    }

    fn next_ticket(&mut self) -> u32 {
        self.ticket = self.ticket.wrapping_add(1);
        self.ticket
    }
}

/// Appends with growth by an eighth, so that a large table is never doubled.
fn push_exact<T>(table: &mut Vec<T>, item: T) {
    if table.len() == table.capacity() {
        table.reserve_exact(4.max(table.len() / 8));
    }
    table.push(item);
}

#[cfg(test)]
mod tests {
    use super::push_exact;

    #[test]
    fn tables_are_never_doubled() {
        let mut table = Vec::new();
        for number in 0..20_000_u32 {
            push_exact(&mut table, number);
            assert!(table.capacity() <= table.len() + 4.max(table.len() / 8));
        }
    }
}
