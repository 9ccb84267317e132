//! A channel's name and the worker it lives on.
//!
//! Not here: what a name may look like (`ringwire_protocol::channel_name`). Invariant: the home of
//! a name depends on its bytes and the number of workers only, never on the process.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A channel's name: one pointer, cheap to clone.
#[derive(Clone)]
pub struct Name(Arc<Inner>);

struct Inner {
    hash: u64,
    text: Box<str>,
}

impl Name {
    /// The name `text`, which the caller has checked.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Inner { hash: stable_hash(text.as_bytes()), text: text.into() }))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

/// The worker, of `workers`, where channel `name` lives.
///
/// # Panics
/// When there are no workers.
#[must_use]
pub fn home_of(name: &Name, workers: usize) -> usize {
    assert!(workers > 0, "a channel needs a worker");
    // The high half of a product spreads all bits of the hash over the workers, without the bias
    // towards low bits of a remainder.
    let product = u128::from(name.0.hash) * workers as u128;
    usize::try_from(product >> 64).expect("below the number of workers")
}

/// FNV-1a, then the finaliser of `SplitMix64`, since FNV's high bits hardly move for short names.
///
/// It is not keyed: whoever chooses names can put them all on one worker, as with one name. Tables
/// are hashed by the standard library's keyed hasher instead.
fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash && self.0.text == other.0.text)
    }
}

impl Eq for Name {}

// The text's own hash, so that tables of names can be searched by `&str` too.
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_pointer() {
        assert_eq!(size_of::<Name>(), size_of::<usize>());
        assert_eq!(size_of::<Option<Name>>(), size_of::<usize>());
    }

    #[test]
    fn names_are_equal_by_their_text() {
        assert_eq!(Name::new("room"), Name::new("room"));
        assert_ne!(Name::new("room"), Name::new("Room"));
    }

    /// Pinned: another process, today or after an upgrade, must send to the same home.
    #[test]
    fn homes_do_not_depend_on_the_process() {
        let homes: Vec<_> = ["a", "b", "chat", "news/1", "news/2", "~"]
            .iter()
            .map(|text| home_of(&Name::new(text), 7))
            .collect();
        assert_eq!(homes, PINNED);
    }

    const PINNED: [usize; 6] = [0, 1, 5, 1, 4, 4];

    #[test]
    fn homes_spread_evenly() {
        const WORKERS: usize = 6;
        let mut channels = [0_u32; WORKERS];
        for number in 0..6_000 {
            channels[home_of(&Name::new(&format!("room/{number}")), WORKERS)] += 1;
        }
        for count in channels {
            assert!((850..1_150).contains(&count), "{channels:?}");
        }
    }
}
