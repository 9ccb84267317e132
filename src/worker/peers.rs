//! Who the clients are: their addresses, what proxies say for them, and how many there are of
//! each.
//!
//! Not here: the counts of the whole process (`visitors`), how a proxy says it (`protocol::proxy`,
//! `protocol::http`). Invariants: nothing that an untrusted client sends changes whom it counts
//! for; who counts is taken off the count once; memory is spent only where addresses are needed.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ringwire_protocol::http::{Refusal, Request, forwarded_for};
use ringwire_protocol::proxy::{self, Reading};
use ringwire_ring::{Driver, Slot};

use super::Worker;
use crate::app::Application;
use crate::lane::Flags;
use crate::metrics::DropReason;
use crate::visitors::{Standing, Visitor};

/// What an address is told that has too many connections.
const TOO_MANY: Refusal =
    Refusal::new(429, "too many connections from this address: close some and try again");

/// What is known of one client.
#[derive(Debug, Default)]
struct Peer {
    /// Where the connection comes from; a Unix socket's client has no address.
    address: Option<SocketAddr>,
    /// For whom a trusted proxy speaks at the moment.
    client: Option<IpAddr>,
    /// For whom the connection counts.
    counted: Option<Visitor>,
    is_trusted: bool,
    /// The beginning of what may be a PROXY header.
    begun: Vec<u8>,
}

/// The clients of a worker, by slot number.
#[derive(Debug, Default)]
pub(super) struct Peers(HashMap<u32, Peer>);

/// A client's name in a log line.
#[derive(Debug)]
pub(super) struct PeerName {
    address: Option<SocketAddr>,
    client: Option<IpAddr>,
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{address}")?,
            None => f.write_str("a client")?,
        }
        self.client.map_or(Ok(()), |client| write!(f, " for {client}"))
    }
}

impl<D: Driver, A: Application> Worker<D, A> {
    /// A client comes, which speaks TLS if `is_secure`; false if it has to go again.
    pub(super) fn meet(
        &mut self,
        slot: Slot,
        address: Option<SocketAddr>,
        is_secure: bool,
    ) -> bool {
        let Some(peers) = &mut self.peers else { return true };
        let trusted = &self.limits.trusted_proxies;
        let is_trusted = trusted.iter().any(|proxy| proxy.is_at(address));
        let peer = Peer { address, is_trusted, ..Peer::default() };
        peers.0.insert(slot.number(), peer);
        if is_trusted {
            // It may speak for somebody else, who then counts.
            if let Some(connection) = self.table.find(slot) {
                connection.lane.flags.set(Flags::PROXY_DUE);
            }
            return true;
        }
        address.is_none_or(|address| self.count_for(slot, address.ip(), is_secure))
    }

    /// The connection counts for `address` from now on; false, and it is ended, if that has too
    /// many.
    fn count_for(&mut self, slot: Slot, address: IpAddr, is_secure: bool) -> bool {
        match self.enter(slot, address) {
            Standing::Within => return true,
            Standing::Beyond => self.refuse_early(slot, &TOO_MANY, is_secure),
            Standing::FarBeyond => self.tear_down(slot),
        }
        self.metrics.dropped(DropReason::PerAddress);
        false
    }

    /// Says no before anything else was said, unless nothing can be said before a handshake.
    fn refuse_early(&mut self, slot: Slot, refusal: &Refusal, is_secure: bool) {
        if is_secure {
            self.metrics.refused(refusal.status);
            self.tear_down(slot);
        } else {
            self.refuse(slot, refusal, &[]);
        }
    }

    fn enter(&mut self, slot: Slot, address: IpAddr) -> Standing {
        let visitor = Visitor::of(address);
        let Some(peer) = self.peers.as_mut().and_then(|peers| peers.0.get_mut(&slot.number()))
        else {
            return Standing::Within;
        };
        if !self.visitors.is_on() || peer.counted == Some(visitor) {
            return Standing::Within;
        }
        if let Some(old) = peer.counted.take() {
            self.visitors.leave(old);
        }
        let standing = self.visitors.enter(visitor);
        if standing != Standing::FarBeyond {
            peer.counted = Some(visitor);
        }
        standing
    }

    /// The client is gone.
    pub(super) fn part(&mut self, slot: Slot) {
        let Some(peers) = &mut self.peers else { return };
        let Some(peer) = peers.0.remove(&slot.number()) else { return };
        self.held_bytes -= peer.begun.len();
        if let Some(visitor) = peer.counted {
            self.visitors.leave(visitor);
        }
    }

    /// Bytes of a trusted proxy, which may begin with a PROXY header.
    #[cold]
    pub(super) fn received_of_proxy(&mut self, slot: Slot, bytes: &[u8]) {
        let Some(peers) = &mut self.peers else { return };
        let Some(peer) = peers.0.get_mut(&slot.number()) else { return };
        let mut all = std::mem::take(&mut peer.begun);
        self.held_bytes -= all.len();
        all.extend_from_slice(bytes);
        let (used, source) = match proxy::read(&all) {
            Ok(Reading::Incomplete) => {
                self.held_bytes += all.len();
                peer.begun = all;
                return;
            }
            Ok(Reading::Absent) => (0, None),
            Ok(Reading::Whole { bytes, source }) => {
                peer.client = source.map(|source| source.ip().to_canonical());
                // What it says of its requests is then for others to believe.
                peer.is_trusted &= source.is_none();
                (bytes, source)
            }
            Err(refusal) => {
                let is_secure = self.begin_proper(slot);
                return self.refuse_early(slot, &refusal, is_secure);
            }
        };
        let is_secure = self.begin_proper(slot);
        let may_stay = source.is_none_or(|source| self.count_for(slot, source.ip(), is_secure));
        if !may_stay || used == all.len() {
            return;
        }
        // Noted as received already.
        if is_secure {
            self.received_tls(slot, &mut all[used..]);
        } else {
            self.received_plain(slot, &mut all[used..]);
        }
    }

    /// What comes from here on is the client's own; says whether it speaks TLS.
    fn begin_proper(&mut self, slot: Slot) -> bool {
        let Some(connection) = self.table.find(slot) else { return false };
        connection.lane.flags.clear(Flags::PROXY_DUE);
        connection.lane.tls.is_some()
    }

    /// Notes for whom a trusted proxy makes this request.
    pub(super) fn identify(&mut self, slot: Slot, request: &Request<'_>) -> Result<(), Refusal> {
        let Some(peers) = &mut self.peers else { return Ok(()) };
        let Some(peer) = peers.0.get_mut(&slot.number()) else { return Ok(()) };
        if !peer.is_trusted {
            return Ok(());
        }
        let trusted = &self.limits.trusted_proxies;
        let is_trusted = |address| {
            let address = SocketAddr::new(address, 0);
            trusted.iter().any(|proxy| proxy.is_at(Some(address)))
        };
        peer.client = forwarded_for(request.headers, is_trusted);
        let Some(client) = peer.client else { return Ok(()) };
        if self.enter(slot, client) == Standing::Within {
            return Ok(());
        }
        self.metrics.dropped(DropReason::PerAddress);
        Err(TOO_MANY)
    }

    /// The client's name, where addresses are known.
    pub(super) fn name_of(&self, slot: Slot) -> PeerName {
        let peer = self.peers.as_ref().and_then(|peers| peers.0.get(&slot.number()));
        PeerName {
            address: peer.and_then(|peer| peer.address),
            client: peer.and_then(|peer| peer.client),
        }
    }
}
