//! One WebSocket of the suite: what its bytes ask for, and what is said back.
//!
//! Not here: sockets, time, which case it is. Invariants: messages come back with their opcode, in
//! order and whole; the peer's Close is answered once and nothing follows it; what is held is at
//! most one message, and what is written at most one message above the room given.

use std::fmt;

use ringwire_protocol::http::{HeadLimits, HeadScanner, parse_response};
use ringwire_protocol::ws::{
    Answer, CLOSE_PAYLOAD_BYTES_MAX, Cursor, DeflateOffer, End, Event, HEADER_BYTES_MAX, Inbound,
    Kind, Life, Limits, Opcode, Role, Violation, check_switching, encode_close,
    encode_compressed_frame, encode_deflate_offer, encode_frame, encode_upgrade_request,
};

use crate::engine::codec::{Codec, Workshop};
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
    Opening { head: Vec<u8>, scanner: HeadScanner, key: String },
    /// With its compression, if that was agreed on.
    Open(Inbound, Option<Box<Codec>>),
}

/// How a dialogue is to be held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) manner: Manner,
    pub(crate) message_bytes_max: usize,
    /// Whether permessage-deflate is offered.
    pub(crate) compression: bool,
}

/// What one has at hand to answer with.
pub(crate) struct Hand<'h> {
    pub(crate) out: &'h mut Vec<u8>,
    /// Nothing further is taken in once `out` holds this.
    pub(crate) out_bytes_max: usize,
    pub(crate) workshop: &'h mut Workshop,
    pub(crate) mask_key: &'h mut dyn FnMut() -> [u8; 4],
}

/// One WebSocket.
#[derive(Debug)]
pub(crate) struct Dialogue {
    stage: Stage,
    life: Life,
    limits: Limits,
    terms: Terms,
    end: End,
    told: Option<Vec<u8>>,
}

impl Dialogue {
    /// Writes the upgrade request for `target` to `out`.
    pub(crate) fn open(
        host: &str,
        target: &str,
        key: String,
        terms: Terms,
        out: &mut Vec<u8>,
    ) -> Self {
        let offers = ("Sec-WebSocket-Extensions".to_owned(), deflate_offers());
        let extra = if terms.compression { &[offers][..] } else { &[] };
        encode_upgrade_request(out, host, target, &key, &[], extra);
        let limits = Limits {
            message_bytes_max: terms.message_bytes_max,
            empty_fragments_max: EMPTY_FRAGMENTS_MAX,
        };
        Self {
            stage: Stage::Opening { head: Vec::new(), scanner: HeadScanner::new(), key },
            life: Life::new(Role::Client),
            limits,
            terms,
            end: End::Stay,
            told: None,
        }
    }

    /// Whether the upgrade is through.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(..))
    }

    /// What is to become of the connection.
    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// The first message, of one that listens.
    pub(crate) fn told(&self) -> Option<&[u8]> {
        self.told.as_deref()
    }

    /// Takes from `bytes` what there is room to answer; says how many were taken.
    pub(crate) fn hear(&mut self, bytes: &mut [u8], hand: &mut Hand<'_>) -> Result<usize, Refused> {
        let start = match &self.stage {
            Stage::Opening { .. } => self.hear_head(bytes)?,
            Stage::Open(..) => 0,
        };
        let all = bytes.len();
        if self.end != End::Stay {
            // After Close, and after a violation, nothing means anything any more.
            return Ok(all);
        }
        let Self { stage: Stage::Open(inbound, codec), life, limits, terms, end, told } = self
        else {
            return Ok(start);
        };
        let mut cursor = Cursor::new(&mut bytes[start..]);
        while hand.out.len() < hand.out_bytes_max {
            let heard = match inbound.next(&mut cursor, limits) {
                Ok(None) => break,
                Ok(Some(Event::Message { kind, payload })) => {
                    message(terms.manner, kind, payload, codec.as_deref_mut(), told, hand);
                    Ok(())
                }
                Ok(Some(Event::Compressed { kind, payload })) => {
                    codec.as_deref_mut().ok_or(Violation::ReservedBits).and_then(|codec| {
                        let plain = codec.inflate(payload, kind, limits, hand.workshop)?;
                        message(terms.manner, kind, &plain, Some(codec), told, hand);
                        hand.workshop.keep(plain);
                        Ok(())
                    })
                }
                Ok(Some(Event::Ping(payload))) => {
                    encode_frame(hand.out, Opcode::Pong, payload, Some((hand.mask_key)()));
                    Ok(())
                }
                Ok(Some(Event::Pong(_))) => Ok(()),
                Ok(Some(Event::Close(frame))) => {
                    *end = say(life.received_close(frame.as_ref()), None, hand);
                    Ok(())
                }
                Err(violation) => Err(violation),
            };
            if let Err(violation) = heard {
                *end = say(life.violated(violation), Some(violation), hand);
                *inbound = Inbound::new(Role::Client);
                *codec = None;
                return Ok(all);
            }
        }
        Ok(all - cursor.remaining())
    }

    /// Takes in the answer to the upgrade; says how many bytes of it were in `bytes`.
    fn hear_head(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let Stage::Opening { head, scanner, key } = &mut self.stage else { return Ok(0) };
        let held = head.len();
        head.extend_from_slice(bytes);
        let refused = |why: &dyn fmt::Display| Refused(why.to_string());
        let end = scanner.find_end(head, &HeadLimits::default());
        let Some(end) = end.map_err(|bad| refused(&bad.reason))? else { return Ok(bytes.len()) };
        let response = parse_response(&head[..end]).map_err(|bad| refused(&bad))?;
        if response.status != 101 {
            return Err(Refused(quote(&response, &head[end..])));
        }
        // Whatever answers one of the offers that are made answers this one.
        let offer = self.terms.compression.then(DeflateOffer::default);
        let switched = check_switching(&response, key, &[], offer.as_ref());
        self.stage = match switched.map_err(|bad| refused(&bad))?.deflate {
            None => Stage::Open(Inbound::new(Role::Client), None),
            Some(agreed) => {
                Stage::Open(Inbound::with_deflate(Role::Client), Some(Box::new(Codec::new(agreed))))
            }
        };
        self.life.opened();
        Ok(end - held)
    }

    /// Bytes of what is incomplete.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.stage {
            Stage::Opening { head, .. } => head.len(),
            Stage::Open(inbound, _) => inbound.held_bytes(),
        }
    }
}

/// All that can be agreed on: with contexts kept, and, for a suite that asks for it only where the
/// client has said that it can, without.
fn deflate_offers() -> String {
    let kept = DeflateOffer::default();
    let anew = DeflateOffer { client_no_context_takeover: true, ..kept };
    format!("{}, {}", encode_deflate_offer(&kept), encode_deflate_offer(&anew))
}

/// Does with a message what the manner asks for.
fn message(
    manner: Manner,
    kind: Kind,
    payload: &[u8],
    codec: Option<&mut Codec>,
    told: &mut Option<Vec<u8>>,
    hand: &mut Hand<'_>,
) {
    match manner {
        Manner::Listen => {
            if kind == Kind::Text && payload.len() <= TOLD_BYTES_MAX {
                told.get_or_insert_with(|| payload.to_vec());
            }
        }
        Manner::Echo => {
            let key = Some((hand.mask_key)());
            match codec {
                None => encode_frame(hand.out, kind.opcode(), payload, key),
                Some(codec) => {
                    let packed = codec.deflate(payload, hand.workshop);
                    encode_compressed_frame(hand.out, kind.opcode(), packed, key);
                }
            }
        }
    }
}

/// Writes the Close that `answer` asks for.
fn say(answer: Answer, violation: Option<Violation>, hand: &mut Hand<'_>) -> End {
    if let Some(code) = answer.close {
        let reason = violation.map(|violation| violation.to_string()).unwrap_or_default();
        let mut frame = [0; HEADER_BYTES_MAX + CLOSE_PAYLOAD_BYTES_MAX];
        let len = encode_close(&mut frame, code.0, &reason, Some((hand.mask_key)()));
        hand.out.extend_from_slice(&frame[..len]);
    }
    answer.end
}
