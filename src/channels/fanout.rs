//! Telling all live members of a channel, some at a time.
//!
//! Not here: what they are told. Invariants: a fan-out reaches those who were live when it began
//! and have not left meanwhile, each once; during it nobody changes place: leavers become
//! tombstones, joiners stand behind the end. [`Local::end_fanout`] closes the ranks.

use super::audience::NONE;
use super::encoding::Encoding;
use super::local::Local;
use super::name::Name;
use super::request::Request;

/// A fan-out under way. To be given back to [`Local::end_fanout`].
#[derive(Debug)]
#[must_use = "a fan-out that is not ended keeps its channel's ranks open"]
pub struct Fanout {
    channel: u32,
    encoding: usize,
    place: usize,
    ends: [usize; Encoding::COUNT],
}

impl Local {
    /// Begins to tell all live members of `channel`. `None`: nobody of it is here.
    pub fn begin_fanout(&mut self, channel: &Name) -> Option<Fanout> {
        let index = self.audiences.find(channel)?;
        let entry = self.audiences.entry(index);
        let ends = std::array::from_fn(|encoding| entry.groups[encoding].len());
        if ends.iter().all(|&end| end == 0) {
            return None;
        }
        entry.fanouts += 1;
        Some(Fanout { channel: index, encoding: 0, place: 0, ends })
    }

    /// Fills `connections` with the next members that share an encoding, at most `members_max`,
    /// and says which encoding; `None`: everybody was told.
    ///
    /// Whoever leaves after it was put there must be passed over by the caller.
    pub fn next_members(
        &mut self,
        fanout: &mut Fanout,
        members_max: usize,
        connections: &mut Vec<u32>,
    ) -> Option<Encoding> {
        connections.clear();
        while let Some(&encoding) = Encoding::ALL.get(fanout.encoding) {
            while fanout.place < fanout.ends[fanout.encoding] && connections.len() < members_max {
                let id = self.audiences.entry(fanout.channel).groups[fanout.encoding][fanout.place];
                fanout.place += 1;
                if id != NONE {
                    connections.push(self.connection_of(id));
                }
            }
            if !connections.is_empty() {
                return Some(encoding);
            }
            fanout.encoding += 1;
            fanout.place = 0;
        }
        None
    }

    /// Ends a fan-out, closes the ranks, and says for all who left meanwhile what is to be sent to
    /// which worker.
    pub fn end_fanout(&mut self, fanout: Fanout, mut each: impl FnMut(usize, Request)) {
        let index = fanout.channel;
        let entry = self.audiences.entry(index);
        entry.fanouts -= 1;
        if entry.fanouts > 0 {
            return;
        }
        let name = entry.name.clone();
        let departed = std::mem::take(&mut entry.departed);
        for (encoding, count) in Encoding::ALL.into_iter().zip(departed) {
            if count > 0 {
                self.close_ranks(index, encoding);
                let (home, request) = self.departure(&name, encoding, count);
                each(home, request);
            }
        }
        self.audiences.release(index);
    }

    fn close_ranks(&mut self, channel: u32, encoding: Encoding) {
        let mut group = std::mem::take(&mut self.audiences.entry(channel).groups[encoding.index()]);
        group.retain(|&id| id != NONE);
        if group.is_empty() {
            group = Vec::new();
        }
        for (place, &id) in (0..).zip(&group) {
            self.set_place(id, place);
        }
        self.audiences.entry(channel).groups[encoding.index()] = group;
    }
}
