//! UTF-8 that arrives in pieces, refused at the first byte that cannot be part of it.
//!
//! A sequence cut by the end of a piece is carried over; its prefix is checked at once, so that
//! `F4 90` fails without waiting for two bytes that could not help. Whole messages do not come
//! here: `simdutf8` takes them in one go.

/// The bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

/// Validates text that arrives in pieces.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    /// The start of a sequence, valid so far; at most three bytes of it are used.
    carry: [u8; 4],
    carry_len: u8,
}

impl Utf8Stream {
    /// A validator that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { carry: [0; 4], carry_len: 0 }
    }

    /// Takes the next piece; fails at the first byte after which no text can be valid.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), InvalidUtf8> {
        while self.carry_len > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.extend_carry(byte)?;
        }
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_some() => Err(InvalidUtf8),
            Err(error) => {
                for &byte in &piece[error.valid_up_to()..] {
                    self.carry[usize::from(self.carry_len)] = byte;
                    self.carry_len += 1;
                }
                Ok(())
            }
        }
    }

    /// The text ends here; fails if a sequence is unfinished.
    pub fn finish(&mut self) -> Result<(), InvalidUtf8> {
        if self.carry_len == 0 { Ok(()) } else { Err(InvalidUtf8) }
    }

    fn extend_carry(&mut self, byte: u8) -> Result<(), InvalidUtf8> {
        let len = usize::from(self.carry_len) + 1;
        self.carry[len - 1] = byte;
        match std::str::from_utf8(&self.carry[..len]) {
            Ok(_) => self.carry_len = 0,
            Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
            Err(_) => self.carry_len += 1,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are taken before it fails, one at a time; `None` if it never does.
    fn fails_at(bytes: &[u8]) -> Option<usize> {
        let mut stream = Utf8Stream::new();
        bytes.iter().position(|&byte| stream.push(&[byte]).is_err())
    }

    #[test]
    fn fails_at_the_first_bad_byte() {
        for (bytes, at) in [
            (&[0x80][..], 0),
            (&[0xC0, 0x80], 0),
            (&[0xC1], 0),
            (&[0xF5], 0),
            (&[0xFF], 0),
            (&[0xE0, 0x80, 0x80], 1),
            (&[0xED, 0xA0, 0x80], 1),
            (&[0xF0, 0x80], 1),
            (&[0xF4, 0x90], 1),
            (&[0xC3, 0x28], 1),
            (&[0xE2, 0x82, 0x28], 2),
            (&[0xF0, 0x9F, 0x98, 0x28], 3),
            (b"ok\xFF", 2),
        ] {
            assert_eq!(fails_at(bytes), Some(at), "{bytes:02X?}");
            // The same prefix as one piece fails too, without the bytes after it.
            assert_eq!(Utf8Stream::new().push(&bytes[..=at]), Err(InvalidUtf8), "{bytes:02X?}");
            assert_eq!(Utf8Stream::new().push(&bytes[..at]), Ok(()), "{bytes:02X?}");
        }
    }

    #[test]
    fn agrees_with_std_on_every_sequence_of_up_to_three_edge_bytes() {
        let edges: &[u8] = &[
            0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
            0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
        ];
        for &a in edges {
            for &b in edges {
                for &c in edges {
                    for &d in edges {
                        check_all_cuts(&[a, b, c, d]);
                    }
                }
            }
        }
    }

    fn check_all_cuts(bytes: &[u8]) {
        let valid = std::str::from_utf8(bytes).is_ok();
        for cut in 0..=bytes.len() {
            let mut stream = Utf8Stream::new();
            let (head, tail) = bytes.split_at(cut);
            let taken = stream.push(head).and_then(|()| stream.push(tail));
            let taken = taken.and_then(|()| stream.finish());
            assert_eq!(taken.is_ok(), valid, "{bytes:02X?} cut at {cut}");
        }
    }

    #[test]
    fn every_character_cut_everywhere() {
        for character in (0..=0x10_FFFF_u32).step_by(61).filter_map(char::from_u32) {
            let mut room = [0; 4];
            check_all_cuts(character.encode_utf8(&mut room).as_bytes());
        }
    }
}
