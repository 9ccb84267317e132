//! The channels with members on this worker, and who of them is live.
//!
//! Not here: the memberships ([`super::Local`]). Invariant: an audience stays where it is while it
//! has members or a fan-out is going on, and not longer.

use std::collections::HashMap;

use super::encoding::Encoding;
use super::membership::CHANNELS_MAX;
use super::name::Name;

/// A tombstone in a group.
pub(super) const NONE: u32 = u32::MAX;

/// The members of one channel.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) name: Name,
    /// Live members by encoding. [`NONE`]: a tombstone.
    pub(super) groups: [Vec<u32>; Encoding::COUNT],
    /// Members in any state.
    pub(super) members: u32,
    /// Fan-outs that have begun and not ended: meanwhile nobody moves.
    pub(super) fanouts: u32,
    /// Who left during a fan-out, by encoding: their tombstones, not yet told to the home.
    pub(super) departed: [u32; Encoding::COUNT],
}

/// All audiences of one worker.
#[derive(Debug)]
pub(super) struct Audiences {
    slots: Vec<Option<Box<Audience>>>,
    free: Vec<u32>,
    by_name: HashMap<Name, u32>,
}

impl Audiences {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_name: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn find(&self, name: &Name) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The audience of `name`; made if there is none.
    pub(super) fn open(&mut self, name: &Name) -> u32 {
        if let Some(index) = self.find(name) {
            return index;
        }
        let audience = Box::new(Audience {
            name: name.clone(),
            groups: Default::default(),
            members: 0,
            fanouts: 0,
            departed: [0; Encoding::COUNT],
        });
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer channels than fill memory")
        });
        assert!(index < CHANNELS_MAX, "a worker with {index} channels");
        self.slots[index as usize] = Some(audience);
        self.by_name.insert(name.clone(), index);
        index
    }

    /// The audience at `index`.
    pub(super) fn at(&self, index: u32) -> &Audience {
        self.slots[index as usize].as_ref().expect("an audience outlives its members")
    }

    /// The audience at `index`, to be changed.
    pub(super) fn entry(&mut self, index: u32) -> &mut Audience {
        self.slots[index as usize].as_mut().expect("an audience outlives its members")
    }

    /// Forgets the audience at `index` if nobody needs it.
    pub(super) fn release(&mut self, index: u32) {
        let audience = self.at(index);
        if audience.members == 0 && audience.fanouts == 0 {
            self.by_name.remove(&audience.name.clone());
            self.slots[index as usize] = None;
            self.free.push(index);
        }
    }
}
