//! One WebSocket of the suite: what its bytes ask for, and what is said back.
//!
//! Not here: sockets, time, which case it is. Invariants: messages come back with their opcode, in
//! order and whole; the peer's Close is answered once and nothing follows it; what is held is at
//! most one message, and what is written at most one message above the room given.

use std::fmt;

use ringwire_protocol::http::{HeadLimits, HeadScanner, parse_response};
use ringwire_protocol::ws::{
    Answer, CLOSE_PAYLOAD_BYTES_MAX, Cursor, End, Event, HEADER_BYTES_MAX, Inbound, Kind, Life,
    Limits, Opcode, Role, Violation, check_switching, encode_close, encode_frame,
    encode_upgrade_request,
};

use crate::engine::hear::quote;

/// Fragments of one message that may carry nothing.
const EMPTY_FRAGMENTS_MAX: u32 = 1024;

/// The longest first message that is kept: the suite's number of cases.
const TOLD_BYTES_MAX: usize = 32;

/// Why the upgrade failed, for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is done with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Each goes back.
    Echo,
    /// The first is kept, see [`Dialogue::told`].
    Listen,
}

#[derive(Debug)]
enum Stage {
    /// The answer's head is on its way, for the upgrade with this key.
    Opening {
        head: Vec<u8>,
        scanner: HeadScanner,
        key: String,
    },
    Open(Inbound),
}

/// One WebSocket.
#[derive(Debug)]
pub(crate) struct Dialogue {
    stage: Stage,
    life: Life,
    limits: Limits,
    manner: Manner,
    end: End,
    told: Option<Vec<u8>>,
}

impl Dialogue {
    /// Writes the upgrade request for `target` to `out`.
    pub(crate) fn open(
        host: &str,
        target: &str,
        key: String,
        manner: Manner,
        message_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Self {
        encode_upgrade_request(out, host, target, &key, &[], &[]);
        let limits = Limits { message_bytes_max, empty_fragments_max: EMPTY_FRAGMENTS_MAX };
        Self {
            stage: Stage::Opening { head: Vec::new(), scanner: HeadScanner::new(), key },
            life: Life::new(Role::Client),
            limits,
            manner,
            end: End::Stay,
            told: None,
        }
    }

    /// Whether the upgrade is through.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// What is to become of the connection.
    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// The first message, of one that listens.
    pub(crate) fn told(&self) -> Option<&[u8]> {
        self.told.as_deref()
    }

    /// Takes from `bytes` until `out` holds `out_bytes_max`; says how many were taken.
    pub(crate) fn hear(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        out_bytes_max: usize,
        mut mask_key: impl FnMut() -> [u8; 4],
    ) -> Result<usize, Refused> {
        let all = bytes.len();
        let mut used = 0;
        if let Stage::Opening { head, scanner, key } = &mut self.stage {
            let held = head.len();
            head.extend_from_slice(bytes);
            let refused = |why: &dyn fmt::Display| Refused(why.to_string());
            let limits = HeadLimits::default();
            let end = scanner.find_end(head, &limits).map_err(|bad| refused(&bad.reason))?;
            let Some(end) = end else { return Ok(all) };
            let response = parse_response(&head[..end]).map_err(|bad| refused(&bad))?;
            if response.status != 101 {
                return Err(Refused(quote(&response, &head[end..])));
            }
            check_switching(&response, key, &[], None).map_err(|bad| refused(&bad))?;
            used = end - held;
            self.stage = Stage::Open(Inbound::new(Role::Client));
            self.life.opened();
        }
        let Stage::Open(inbound) = &mut self.stage else { return Ok(used) };
        let mut cursor = Cursor::new(&mut bytes[used..]);
        while out.len() < out_bytes_max {
            match inbound.next(&mut cursor, &self.limits) {
                Ok(None) => break,
                Ok(Some(Event::Message { kind, payload })) => match self.manner {
                    Manner::Echo => encode_frame(out, kind.opcode(), payload, Some(mask_key())),
                    Manner::Listen if kind == Kind::Text && payload.len() <= TOLD_BYTES_MAX => {
                        self.told.get_or_insert_with(|| payload.to_vec());
                    }
                    Manner::Listen => {}
                },
                Ok(Some(Event::Ping(payload))) => {
                    encode_frame(out, Opcode::Pong, payload, Some(mask_key()));
                }
                // Nothing compressed comes before it is offered.
                Ok(Some(Event::Compressed { .. } | Event::Pong(_))) => {}
                Ok(Some(Event::Close(frame))) => {
                    let answer = self.life.received_close(frame.as_ref());
                    self.end = say(answer, None, out, mask_key());
                }
                Err(violation) => {
                    let answer = self.life.violated(violation);
                    self.end = say(answer, Some(violation), out, mask_key());
                }
            }
        }
        Ok(all - cursor.remaining())
    }

    /// Bytes of what is incomplete.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.stage {
            Stage::Opening { head, .. } => head.len(),
            Stage::Open(inbound) => inbound.held_bytes(),
        }
    }
}

/// Writes the Close that `answer` asks for.
fn say(answer: Answer, violation: Option<Violation>, out: &mut Vec<u8>, mask_key: [u8; 4]) -> End {
    if let Some(code) = answer.close {
        let reason = violation.map(|violation| violation.to_string()).unwrap_or_default();
        let mut frame = [0; HEADER_BYTES_MAX + CLOSE_PAYLOAD_BYTES_MAX];
        let len = encode_close(&mut frame, code.0, &reason, Some(mask_key));
        out.extend_from_slice(&frame[..len]);
    }
    answer.end
}
