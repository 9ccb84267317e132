//! Messages compressed and inflated (RFC 7692 section 7.2), the same for both roles.
//!
//! Not here: which message is compressed, and who keeps a context for whom. Invariants: a message
//! is inflated into one buffer that never has more than one byte beyond the limit; after an error
//! the connection is over, as nothing is known about the context.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::{Opcode, encode_frame, set_compressed};
use super::{Direction, Kind, Limits, Violation, WINDOW_BITS_MAX};

/// What ends a flushed stream, and is left out on the wire.
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// An empty final block: only a stream that is between two blocks ends with it.
const END: [u8; 5] = [0x01, 0x00, 0x00, 0xFF, 0xFF];

/// Streams that one message may consist of: each final block ends one, and each costs a new start.
const STREAMS_MAX: usize = 256;

/// How hard it is tried to make a message short. A message of 1 KiB of JSON took 5.6 us and became
/// 426 bytes, or 28 us and 307 bytes (level 2: 19 us, 319; level 9: 35 us, 308).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Level 1: for what is sent to one.
    Quick,
    /// Level 6: for what is sent to many.
    Thorough,
}

/// Compresses the messages of one direction.
#[derive(Debug)]
pub struct Deflator {
    stream: Compress,
    direction: Direction,
    /// Something was compressed since the last start.
    is_used: bool,
}

impl Deflator {
    /// A compressor that has seen nothing.
    ///
    /// # Panics
    ///
    /// If the window has not 9 to 15 bits.
    #[must_use]
    pub fn new(direction: Direction, effort: Effort) -> Self {
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
        //# If the "agreed parameters" contain the "client_max_window_bits"
        //# extension parameter with a value of w, the client MUST NOT use an
        //# LZ77 sliding window longer than the w-th power of 2 bytes to compress
        //# messages to send.
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
        //# If the "agreed parameters" contain the "server_max_window_bits"
        //# extension parameter with a value of w, the server MUST NOT use an
        //# LZ77 sliding window longer than the w-th power of 2 bytes to compress
        //# messages to send.
        let level = Compression::new(match effort {
            Effort::Quick => 1,
            Effort::Thorough => 6,
        });
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
        //# An endpoint MUST NOT use an LZ77 sliding window longer than 32,768 bytes to compress
        //# messages to send.
        let stream = Compress::new_with_window_bits(level, false, direction.window_bits);
        Self { stream, direction, is_used: false }
    }

    /// Appends `payload` compressed, as a frame carries it.
    pub fn deflate(&mut self, mut payload: &[u8], out: &mut Vec<u8>) {
        if payload.is_empty() {
            // The header of an empty block, whose rest is the tail that is left out; the context
            // does not change.
            out.push(0);
            return;
        }
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
        //# If the "agreed parameters" contain the "server_no_context_takeover"
        //# extension parameter, the server MUST start compressing each new
        //# message with an empty LZ77 sliding window.
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
        //# If the "agreed parameters" contain the "client_no_context_takeover"
        //# extension parameter, the client MUST start compressing each new
        //# message with an empty LZ77 sliding window.
        if !self.direction.context_takeover {
            self.reset();
        }
        self.is_used = true;
        // More than the worst case, so that a flush is not cut, which would repeat it.
        out.reserve(payload.len() + payload.len() / 8 + 64);
        loop {
            let before = self.stream.total_in();
            self.stream
                .compress_vec(payload, out, FlushCompress::Sync)
                .expect("a stream that was begun well takes any bytes");
            payload = &payload[taken(self.stream.total_in(), before)..];
            if payload.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(payload.len() + 64);
        }
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.1
        //# Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end.
        debug_assert!(out.ends_with(&TAIL), "a flush ends with an empty block");
        out.truncate(out.len() - TAIL.len());
    }

    /// Forgets all messages so far: the next one refers to none of them. That is due before a
    /// message that follows one which was compressed by another: the peer's window has that one's
    /// bytes where this one's would be looked for.
    pub fn reset(&mut self) {
        if self.is_used {
            self.stream.reset();
            self.is_used = false;
        }
    }

    /// Heap bytes of a compressor with this window, rounded up.
    #[must_use]
    pub const fn state_bytes(window_bits: u8) -> usize {
        // Hash heads and pending output do not depend on the window; the window is kept twice,
        // with two bytes of chain for each of its bytes.
        249_856 + (4 << window_bits)
    }
}

/// Inflates the messages of one direction.
#[derive(Debug)]
pub struct Inflator {
    stream: Decompress,
    direction: Direction,
    is_used: bool,
}

impl Inflator {
    /// An inflator that has seen nothing. Its window is always the largest: a smaller one saves
    /// no memory here, and makes a new start a new allocation.
    #[must_use]
    pub fn new(direction: Direction) -> Self {
        Self { stream: Decompress::new(false), direction, is_used: false }
    }

    /// Inflates the payload of a compressed message into `out`, whose former content goes and
    /// whose capacity is used; text is validated.
    pub fn inflate<'o>(
        &mut self,
        payload: &[u8],
        kind: Kind,
        limits: &Limits,
        out: &'o mut Vec<u8>,
    ) -> Result<&'o mut [u8], Violation> {
        out.clear();
        let bytes_max = limits.message_bytes_max;
        out.reserve(payload.len().saturating_mul(4).clamp(64, bytes_max.saturating_add(1).max(64)));
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
        //# Otherwise, the client MUST decompress each new message using the LZ77 sliding window
        //# used to process the last compressed message.
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
        //# Otherwise, the server MUST decompress each new message using the LZ77 sliding window
        //# used to process the last compressed message.
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
        //# the server MUST decompress each new message using the LZ77 sliding window used to
        //# process the last compressed message if the "agreed parameters" don't contain the
        //# "client_no_context_takeover" extension parameter.
        if !self.direction.context_takeover {
            self.restart();
        }
        if !payload.is_empty() {
            self.is_used = true;
            self.inflate_all(payload, bytes_max, out)?;
        }
        if kind == Kind::Text && simdutf8::basic::from_utf8(out).is_err() {
            return Err(Violation::TextNotUtf8);
        }
        Ok(out)
    }

    fn inflate_all(
        &mut self,
        payload: &[u8],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        let mut rest = payload;
        for _ in 0..STREAMS_MAX {
            match self.feed(rest, bytes_max, out)? {
                None => return self.end_message(bytes_max, out),
                // A final block may end anywhere. What follows a last one is the start of an empty
                // block, whose other half is the tail that was left out.
                Some([] | [0]) => {
                    self.restart_after(out);
                    return Ok(());
                }
                Some(more) => {
                    self.restart_after(out);
                    rest = more;
                }
            }
        }
        Err(Violation::DeflateInvalid)
    }

    /// All of a payload was fed: nothing but its end may be missing.
    fn end_message(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Violation> {
        let len = out.len();
        //= https://www.rfc-editor.org/rfc/rfc7692#section-7.2.2
        //# Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the
        //# payload of the message.
        let after_tail = self.feed(&TAIL, bytes_max, out)?;
        if after_tail.is_some() || out.len() != len {
            return Err(Violation::DeflateInvalid);
        }
        // A stream that was cut is not between two blocks. Where it goes on after this message,
        // asking would end it.
        if !self.direction.context_takeover
            && (self.feed(&END, bytes_max, out)? != Some(&[]) || out.len() != len)
        {
            return Err(Violation::DeflateInvalid);
        }
        Ok(())
    }

    /// Inflates until all of `input` is used, or, after a final block, some of it is left.
    fn feed<'i>(
        &mut self,
        mut input: &'i [u8],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<&'i [u8]>, Violation> {
        loop {
            if out.len() == out.capacity() {
                let doubled = out.len().saturating_mul(2).min(bytes_max.saturating_add(1));
                out.reserve_exact(doubled.saturating_sub(out.len()).max(1));
            }
            let (in_before, out_before) = (self.stream.total_in(), out.len());
            let status = self
                .stream
                .decompress_vec(input, out, FlushDecompress::Sync)
                .map_err(|_| Violation::DeflateInvalid)?;
            let used = taken(self.stream.total_in(), in_before);
            input = &input[used..];
            if out.len() > bytes_max {
                return Err(Violation::MessageTooBig);
            }
            if status == Status::StreamEnd {
                return Ok(Some(input));
            }
            if out.len() < out.capacity() {
                if input.is_empty() {
                    return Ok(None);
                }
                if used == 0 && out.len() == out_before {
                    return Err(Violation::DeflateInvalid);
                }
            }
        }
    }

    /// The next bytes begin a stream that refers to nothing before it.
    fn restart(&mut self) {
        if self.is_used {
            self.stream.reset(false);
            self.is_used = false;
        }
    }

    /// The next bytes begin a stream after a final block; they may refer to what the message has
    /// brought so far.
    fn restart_after(&mut self, out: &[u8]) {
        self.stream.reset(false);
        let recent = &out[out.len().saturating_sub(1 << WINDOW_BITS_MAX)..];
        if !recent.is_empty() {
            // A raw stream takes a dictionary at its start; without it references would be refused.
            let _ = self.stream.set_dictionary(recent);
        }
    }

    /// Heap bytes of an inflator, rounded up.
    pub const STATE_BYTES: usize = 47 * 1024;
}

fn taken(after: u64, before: u64) -> usize {
    usize::try_from(after - before).expect("no more than the slice that was given")
}

/// Appends a whole unfragmented compressed frame, masked if there is a key.
pub fn encode_compressed_frame(
    out: &mut Vec<u8>,
    opcode: Opcode,
    compressed: &[u8],
    key: Option<[u8; 4]>,
) {
    let start = out.len();
    encode_frame(out, opcode, compressed, key);
    set_compressed(&mut out[start..]);
}
