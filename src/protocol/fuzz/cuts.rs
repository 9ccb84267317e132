//! Where to cut what arrives.

use super::input::Input;

/// How to cut bytes into pieces.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    lens: [u8; 8],
    next: usize,
}

impl Cuts {
    /// Eight lengths, used in turn: some tiny, some long.
    pub(crate) fn new(input: &mut Input<'_>) -> Self {
        Self { lens: [(); 8].map(|()| input.byte()), next: 0 }
    }

    /// The pieces of `bytes`, in order; some may be empty, and they come to an end.
    pub(crate) fn pieces<'b>(&mut self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let len = match self.lens[self.next % 8] {
                // An empty piece, then one of one byte, so that it ends.
                0 => usize::from(pieces.last().is_some_and(|last: &&[u8]| last.is_empty())),
                short @ 1..=128 => usize::from(short),
                long => (usize::from(long) - 128) * 37,
            };
            self.next += 1;
            let (piece, rest) = bytes.split_at(len.min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}
