//! How many connections each address has, in the whole process.
//!
//! Not here: which address counts for a connection (`worker::peers`). Invariants: who entered
//! leaves once; locks are held for one look-up and only when a connection comes or goes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::networks::bits_of;

/// Parts that are locked by themselves, so that workers seldom meet.
const SHARDS: usize = 16;

/// Whom a connection counts for: an IPv4 address, or the /64 of an IPv6 one, as that is what one
/// subscriber is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Visitor(u128);

impl Visitor {
    pub(crate) fn of(address: IpAddr) -> Self {
        let bits = bits_of(address);
        Self(if address.to_canonical().is_ipv4() { bits } else { bits >> 64 << 64 })
    }

    fn shard(self) -> usize {
        // All bytes count: those of an IPv4 address are the last, of a /64 the first.
        let folded =
            self.0.to_be_bytes().iter().fold(0_usize, |folded, &byte| {
                folded.wrapping_mul(31).wrapping_add(usize::from(byte))
            });
        folded % SHARDS
    }
}

/// What becomes of a connection that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is one of those that may be.
    Within,
    /// It is one too many. It counts until it leaves, as it is told so.
    Beyond,
    /// As many were told already as may be: it does not count, and is told nothing.
    FarBeyond,
}

/// The counts.
#[derive(Debug)]
pub(crate) struct Visitors {
    connections_max: u32,
    shards: [Mutex<HashMap<Visitor, u32>>; SHARDS],
}

impl Visitors {
    /// At most so many for each address; 0: any number, and nothing is counted.
    pub(crate) fn new(connections_max: u32) -> Self {
        Self { connections_max, shards: Default::default() }
    }

    /// Whether anything is counted.
    pub(crate) fn is_on(&self) -> bool {
        self.connections_max > 0
    }

    fn lock(&self, visitor: Visitor) -> MutexGuard<'_, HashMap<Visitor, u32>> {
        // A count is never half-written, so a panic elsewhere does not spoil it.
        self.shards[visitor.shard()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection comes. It counts unless the answer is [`Standing::FarBeyond`].
    pub(crate) fn enter(&self, visitor: Visitor) -> Standing {
        let mut counts = self.lock(visitor);
        let count = counts.entry(visitor).or_insert(0);
        if *count >= self.connections_max.saturating_mul(2) {
            return Standing::FarBeyond;
        }
        *count += 1;
        if *count > self.connections_max { Standing::Beyond } else { Standing::Within }
    }

    /// A connection that counted goes.
    pub(crate) fn leave(&self, visitor: Visitor) {
        let mut counts = self.lock(visitor);
        let Some(count) = counts.get_mut(&visitor) else {
            debug_assert!(false, "{visitor:?} leaves and was not there");
            return;
        };
        *count -= 1;
        if *count == 0 {
            counts.remove(&visitor);
        }
        // What an attack left behind is given back once it is over.
        let (live, capacity) = (counts.len(), counts.capacity());
        if capacity > 1024 && live < capacity / 8 {
            counts.shrink_to(live * 2);
        }
    }

    /// Connections that count, of all addresses.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn total(&self) -> u32 {
        let sum = |shard: &Mutex<HashMap<Visitor, u32>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).values().sum::<u32>()
        };
        self.shards.iter().map(sum).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Standing, Visitor, Visitors};

    fn visitor(address: &str) -> Visitor {
        Visitor::of(address.parse().unwrap())
    }

    #[test]
    fn each_address_has_its_own_count() {
        let visitors = Visitors::new(2);
        let (one, other) = (visitor("192.0.2.1"), visitor("192.0.2.2"));
        let standings: Vec<_> = (0..6).map(|_| visitors.enter(one)).collect();
        use Standing::{Beyond, FarBeyond, Within};
        assert_eq!(standings, [Within, Within, Beyond, Beyond, FarBeyond, FarBeyond]);
        assert_eq!(visitors.enter(other), Within);
        for _ in 0..3 {
            visitors.leave(one);
        }
        assert_eq!((visitors.enter(one), visitors.enter(one)), (Within, Beyond));
        assert_eq!(visitors.total(), 4);
        for _ in 0..3 {
            visitors.leave(one);
        }
        visitors.leave(other);
        assert_eq!(visitors.total(), 0);
    }

    #[test]
    fn an_address_is_one_in_all_its_spellings_and_a_subscriber_has_a_64() {
        assert_eq!(visitor("192.0.2.1"), visitor("::ffff:192.0.2.1"));
        assert_ne!(visitor("192.0.2.1"), visitor("192.0.2.2"));
        assert_eq!(visitor("2001:db8:0:1::1"), visitor("2001:db8:0:1:ffff::2"));
        assert_ne!(visitor("2001:db8:0:1::1"), visitor("2001:db8:0:2::1"));
    }
}
