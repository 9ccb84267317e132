//! Streams by how long nobody touched them, longest first: two linked lists through one table.
//!
//! Not here: when a stream is old. Invariant: an entry stands in one list at most, and each list
//! is in order of touching, because entries are only ever put at the end.

/// The list a stream stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Without subscribers: may be given up.
    Idle,
    /// With subscribers and with history that will be too old one day.
    Watched,
}

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    list: Option<List>,
    before: u32,
    after: u32,
    touched_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

/// Both lists.
#[derive(Debug)]
pub(super) struct Order {
    links: Vec<Link>,
    ends: [Ends; 2],
}

impl Order {
    pub(super) const fn new() -> Self {
        Self { links: Vec::new(), ends: [Ends { first: NONE, last: NONE }; 2] }
    }

    /// Puts `entry` at the end of `list`, or nowhere, as touched at `now_ns`.
    pub(super) fn place(&mut self, entry: u32, list: Option<List>, now_ns: u64) {
        let index = entry as usize;
        if index >= self.links.len() {
            let unlinked = Link { list: None, before: NONE, after: NONE, touched_ns: 0 };
            self.links.resize(index + 1, unlinked);
        }
        self.take(entry);
        let Some(list) = list else { return };
        let last = self.ends[list as usize].last;
        self.links[index] =
            Link { list: Some(list), before: last, after: NONE, touched_ns: now_ns };
        if last == NONE {
            self.ends[list as usize].first = entry;
        } else {
            self.links[last as usize].after = entry;
        }
        self.ends[list as usize].last = entry;
    }

    /// The entry of `list` that was touched longest ago, and when.
    pub(super) fn first(&self, list: List) -> Option<(u32, u64)> {
        let first = self.ends[list as usize].first;
        (first != NONE).then(|| (first, self.links[first as usize].touched_ns))
    }

    /// When `entry` was touched, if it stands in `list`.
    pub(super) fn touched_ns(&self, entry: u32, list: List) -> Option<u64> {
        let link = self.links.get(entry as usize)?;
        (link.list == Some(list)).then_some(link.touched_ns)
    }

    fn take(&mut self, entry: u32) {
        let Link { list, before, after, .. } = self.links[entry as usize];
        let Some(list) = list else { return };
        if before == NONE {
            self.ends[list as usize].first = after;
        } else {
            self.links[before as usize].after = after;
        }
        if after == NONE {
            self.ends[list as usize].last = before;
        } else {
            self.links[after as usize].before = before;
        }
        self.links[entry as usize].list = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(order: &mut Order, list: List) -> Vec<(u32, u64)> {
        let mut drained = Vec::new();
        while let Some((entry, touched_ns)) = order.first(list) {
            drained.push((entry, touched_ns));
            order.place(entry, None, 0);
        }
        drained
    }

    #[test]
    fn touching_moves_to_the_end() {
        let mut order = Order::new();
        for entry in 0..4 {
            order.place(entry, Some(List::Idle), u64::from(entry));
        }
        order.place(0, Some(List::Idle), 10);
        order.place(2, Some(List::Idle), 11);
        order.place(2, Some(List::Idle), 12);
        assert_eq!(drain(&mut order, List::Idle), [(1, 1), (3, 3), (0, 10), (2, 12)]);
        assert_eq!(order.first(List::Idle), None);
    }

    #[test]
    fn an_entry_is_in_one_list() {
        let mut order = Order::new();
        for entry in 0..3 {
            order.place(entry, Some(List::Idle), 1);
        }
        order.place(1, Some(List::Watched), 2);
        assert_eq!(order.touched_ns(1, List::Watched), Some(2));
        assert_eq!(order.touched_ns(1, List::Idle), None);
        assert_eq!(order.touched_ns(9, List::Idle), None);
        order.place(2, None, 3);
        assert_eq!(drain(&mut order, List::Idle), [(0, 1)]);
        assert_eq!(drain(&mut order, List::Watched), [(1, 2)]);
    }
}
