//! The timers of one worker: each connection's earliest deadline, in a hierarchical wheel.
//!
//! Not here: what a deadline is for, and the clock. Invariants: a timer never fires before its
//! deadline, and [`Wheel::expire`] reports it at most one tick after; an entry is in exactly one
//! list, the one that its tick and the wheel's present tick name, so it can be found again without
//! being told where it is. The table is allocated at once, zeroed, so that its pages exist only
//! where connections do.

use std::collections::BTreeMap;

/// The wheel's resolution.
pub const TICK_NS: u64 = 64_000_000;

const LEVEL_BITS: u32 = 6;
const LEVEL_SLOTS: usize = 1 << LEVEL_BITS;
/// Six levels of 64 slots hold the 32 bits of a tick that an entry stores: 8.7 years.
const LEVELS: usize = 6;
const ERA_BITS: u32 = 32;

/// What a link holds besides an index: zero, as the table comes, is "not set".
const UNSET: u32 = 0;
const NONE: u32 = 1;
const DISTANT: u32 = 2;
const FIRST_INDEX: u32 = 3;

/// One connection's place in the wheel: low bits of the tick, next and previous entry. An array,
/// because only then is the zeroed table left untouched.
type Entry = [u32; 3];
const TICK: usize = 0;
const NEXT: usize = 1;
const PREVIOUS: usize = 2;

/// The timers of one worker. See the module's head.
pub struct Wheel {
    entries: Vec<Entry>,
    heads: [[u32; LEVEL_SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
    /// Every tick before this one has been expired.
    tick: u64,
    /// Deadlines in another era than `tick`: years away, so few and in no hurry.
    distant: BTreeMap<u32, u64>,
}

impl std::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel")
            .field("entries_max", &self.entries.len())
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}

impl Wheel {
    /// Bytes of the table per connection.
    pub const ENTRY_BYTES: usize = size_of::<Entry>();

    /// A wheel for connection indices below `entries_max`.
    ///
    /// # Panics
    /// When `entries_max` leaves no room for the marks in a 32-bit link.
    #[must_use]
    pub fn new(entries_max: usize, now_ns: u64) -> Self {
        assert!(entries_max < (u32::MAX - FIRST_INDEX) as usize, "too many entries for a wheel");
        Self {
            entries: vec![[0; 3]; entries_max],
            heads: [[NONE; LEVEL_SLOTS]; LEVELS],
            occupied: [0; LEVELS],
            tick: now_ns / TICK_NS,
            distant: BTreeMap::new(),
        }
    }

    /// Sets the deadline of `index`, in place of any earlier one. `u64::MAX` is none at all.
    ///
    /// # Panics
    /// When `index` is beyond the table.
    pub fn set(&mut self, index: u32, deadline_ns: u64) {
        self.clear(index);
        if deadline_ns != u64::MAX {
            self.link(index, deadline_ns.div_ceil(TICK_NS));
        }
    }

    /// Forgets the deadline of `index`, if it has one.
    ///
    /// # Panics
    /// When `index` is beyond the table.
    pub fn clear(&mut self, index: u32) {
        let entry = self.entries[index as usize];
        match entry[NEXT] {
            UNSET => return,
            DISTANT => drop(self.distant.remove(&index)),
            next => {
                if next != NONE {
                    self.entries[(next - FIRST_INDEX) as usize][PREVIOUS] = entry[PREVIOUS];
                }
                if entry[PREVIOUS] == NONE {
                    let (level, slot) = self.place(self.tick_of(entry));
                    self.heads[level][slot] = next;
                    if next == NONE {
                        self.occupied[level] &= !(1 << slot);
                    }
                } else {
                    self.entries[(entry[PREVIOUS] - FIRST_INDEX) as usize][NEXT] = next;
                }
            }
        }
        self.entries[index as usize] = [0; 3];
    }

    /// When [`Wheel::expire`] next has something to do: the earliest deadline rounded up to a
    /// tick, or earlier, when a coarse slot has to be sorted into finer ones. `None`: nothing is
    /// set.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let near = self.next_slot().map(|(_, _, tick)| tick);
        let tick = near.or_else(|| self.distant.values().min().copied())?;
        Some(tick.saturating_mul(TICK_NS))
    }

    /// Appends to `due` every index whose deadline has passed at `now_ns`, and forgets it. Time
    /// that went back is ignored.
    pub fn expire(&mut self, now_ns: u64, due: &mut Vec<u32>) {
        let target = now_ns / TICK_NS;
        loop {
            match self.next_slot() {
                Some((level, slot, tick)) if tick <= target => {
                    self.tick = tick;
                    self.empty_slot(level, slot, due);
                }
                Some(_) => break,
                None => match self.distant.values().min() {
                    Some(&tick) if tick <= target => self.enter_era(tick),
                    _ => break,
                },
            }
        }
        if target >> ERA_BITS > self.tick >> ERA_BITS {
            self.enter_era(target);
        }
        self.tick = self.tick.max(target);
    }

    /// Takes a slot's list apart: what is due fires, the rest moves to finer slots.
    fn empty_slot(&mut self, level: usize, slot: usize, due: &mut Vec<u32>) {
        let mut link = std::mem::replace(&mut self.heads[level][slot], NONE);
        self.occupied[level] &= !(1 << slot);
        while link != NONE {
            let index = link - FIRST_INDEX;
            let entry = std::mem::take(&mut self.entries[index as usize]);
            link = entry[NEXT];
            if level == 0 {
                due.push(index);
            } else {
                self.link(index, self.tick_of(entry));
            }
        }
    }

    /// Moves on to the era of `tick`, of which nothing has expired yet, and links the distant
    /// deadlines that lie in it. Nothing near may be left.
    fn enter_era(&mut self, tick: u64) {
        debug_assert_eq!(self.next_slot(), None, "an era ends when its timers have fired");
        let era = tick >> ERA_BITS;
        self.tick = era << ERA_BITS;
        // Those of later eras come back to where they were.
        for (index, at) in std::mem::take(&mut self.distant) {
            self.link(index, at);
        }
    }

    /// Puts an unset entry where its tick belongs; one in the past is due at once.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are what an entry stores")]
    fn link(&mut self, index: u32, tick: u64) {
        let tick = tick.max(self.tick);
        if tick >> ERA_BITS != self.tick >> ERA_BITS {
            self.distant.insert(index, tick);
            self.entries[index as usize][NEXT] = DISTANT;
            return;
        }
        let (level, slot) = self.place(tick);
        let next = std::mem::replace(&mut self.heads[level][slot], index + FIRST_INDEX);
        self.occupied[level] |= 1 << slot;
        self.entries[index as usize] = [tick as u32, next, NONE];
        if next != NONE {
            self.entries[(next - FIRST_INDEX) as usize][PREVIOUS] = index + FIRST_INDEX;
        }
    }

    /// The tick of a linked entry: its stored bits in the present era.
    fn tick_of(&self, entry: Entry) -> u64 {
        self.tick >> ERA_BITS << ERA_BITS | u64::from(entry[TICK])
    }

    /// The list of `tick`: its level is that of the highest digit in which it differs from the
    /// present tick, which stays so until that digit is reached.
    fn place(&self, tick: u64) -> (usize, usize) {
        let differing = (tick ^ self.tick) | (LEVEL_SLOTS as u64 - 1);
        let level = (u64::BITS - 1 - differing.leading_zeros()) / LEVEL_BITS;
        let slot = tick >> (level * LEVEL_BITS) & (LEVEL_SLOTS as u64 - 1);
        (level as usize, usize::try_from(slot).expect("six bits"))
    }

    /// The earliest slot with entries, and the tick at which it begins: everything in a finer
    /// level lies before everything in a coarser one.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let shift = LEVEL_BITS * u32::try_from(level).expect("below six");
        let base = self.tick >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        Some((level, slot as usize, base | u64::from(slot) << shift))
    }
}
