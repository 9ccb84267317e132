//! A WebSocket echo as small as it can be while a conforming client may drive it: the upgrade,
//! masked frames in, the same frames unmasked out, Ping and Close answered.
//!
//! Not here: IO, and most of RFC 6455's checks (UTF-8, fragment order, reserved bits): leaving
//! them out makes the baseline cheaper, never dearer. Invariant: whole frames leave the inbox,
//! the rest stays at its front.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

const HEAD_BYTES_MAX: usize = 16 * 1024;
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;

/// One connection's side of the conversation.
#[derive(Debug, Default)]
pub struct Conversation {
    upgraded: bool,
}

/// Whether the connection goes on once what was written is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Read more.
    GoOn,
    /// Close.
    End,
}

impl Conversation {
    /// Takes what is whole off `inbox` and appends the answers to `outbox`.
    pub fn feed(&mut self, inbox: &mut Vec<u8>, outbox: &mut Vec<u8>) -> Then {
        let mut taken = 0;
        if !self.upgraded {
            let Some(end) = inbox.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                return if inbox.len() > HEAD_BYTES_MAX { Then::End } else { Then::GoOn };
            };
            taken = end + 4;
            let Some(key) = websocket_key(&inbox[..taken]) else {
                outbox.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                return Then::End;
            };
            outbox.extend_from_slice(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Accept: ",
            );
            outbox.extend_from_slice(accept_key(key).as_bytes());
            outbox.extend_from_slice(b"\r\n\r\n");
            self.upgraded = true;
        }
        let then = echo_frames(inbox, &mut taken, outbox);
        inbox.drain(..taken);
        then
    }
}

fn echo_frames(inbox: &mut [u8], taken: &mut usize, outbox: &mut Vec<u8>) -> Then {
    loop {
        let rest = &mut inbox[*taken..];
        let Some((header_bytes, payload_bytes)) = frame_size(rest) else { return Then::GoOn };
        if payload_bytes > FRAME_BYTES_MAX {
            return Then::End;
        }
        let frame_bytes = header_bytes + payload_bytes;
        if rest.len() < frame_bytes {
            return Then::GoOn;
        }
        let (first, mask) = (rest[0], [0, 1, 2, 3].map(|at| rest[header_bytes - 4 + at]));
        let payload = &mut rest[header_bytes..frame_bytes];
        unmask(payload, mask);
        let opcode = first & 0x0F;
        if opcode != OPCODE_PONG {
            let opcode = if opcode == OPCODE_PING { OPCODE_PONG } else { opcode };
            encode(outbox, (first & 0x80) | opcode, payload);
        }
        *taken += frame_bytes;
        if opcode == OPCODE_CLOSE {
            return Then::End;
        }
    }
}

/// Bytes of the header and of the payload of the masked frame that `bytes` opens with.
fn frame_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let short = usize::from(bytes.get(1)? & 0x7F);
    let (length_bytes, payload_bytes) = match short {
        126 => (2, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (8, usize::try_from(length).unwrap_or(usize::MAX))
        }
        _ => (0, short),
    };
    let header_bytes = 2 + length_bytes + 4;
    (bytes.len() >= header_bytes).then_some((header_bytes, payload_bytes))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        let clear = u64::from_ne_bytes((&*word).try_into().expect("eight bytes")) ^ key;
        word.copy_from_slice(&clear.to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

fn encode(outbox: &mut Vec<u8>, first: u8, payload: &[u8]) {
    outbox.push(first);
    match payload.len() {
        short @ 0..=125 => outbox.push(short as u8),
        middle @ 126..=0xFFFF => {
            outbox.push(126);
            outbox.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            outbox.push(127);
            outbox.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    outbox.extend_from_slice(payload);
}

fn websocket_key(head: &[u8]) -> Option<&str> {
    std::str::from_utf8(head).ok()?.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("Sec-WebSocket-Key").then(|| value.trim())
    })
}

fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        encode(&mut frame, first, payload);
        frame[1] |= 0x80;
        let at = frame.len() - payload.len();
        let mask = [7, 0, 200, 31];
        frame.splice(at..at, mask);
        for (byte, key) in frame[at + 4..].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        frame
    }

    #[test]
    fn any_cut_of_the_bytes_is_answered_alike() {
        let mut input = HEAD.to_vec();
        let mut wanted = Vec::new();
        for size in [0, 1, 20, 125, 126, 127, 70_000] {
            let payload: Vec<u8> = (0..size).map(|at| at as u8).collect();
            input.extend(masked(0x82, &payload));
            encode(&mut wanted, 0x82, &payload);
        }
        input.extend(masked(0x89, b"hello"));
        encode(&mut wanted, 0x8A, b"hello");
        input.extend(masked(0x88, &[3, 232]));
        encode(&mut wanted, 0x88, &[3, 232]);
        for cut in [1, 3, 7, 200, 4096, input.len()] {
            let (mut conversation, mut inbox, mut outbox) =
                (Conversation::default(), Vec::new(), Vec::new());
            let mut then = Then::GoOn;
            for piece in input.chunks(cut) {
                inbox.extend_from_slice(piece);
                then = conversation.feed(&mut inbox, &mut outbox);
            }
            let head = outbox.len() - wanted.len();
            // The accept key of RFC 6455, 1.3.
            assert!(outbox[..head].ends_with(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
            assert!(outbox[head..] == wanted, "cut at {cut}");
            assert_eq!((then, inbox.len()), (Then::End, 0));
        }
    }
}
