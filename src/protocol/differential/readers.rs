//! The two readers, each given the stream in pieces.

use std::io::{self, Read, Write};

use ringwire_protocol::ws::{self, Cursor, Inbound, Kind, Limits, Violation};
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::{Event, Fault, Reading};

/// Reads with `ringwire-protocol`.
#[must_use]
pub fn ringwire(role: ws::Role, message_bytes_max: usize, pieces: &[&[u8]]) -> Reading {
    let limits = Limits { message_bytes_max, empty_fragments_max: u32::MAX };
    let mut inbound = Inbound::new(role);
    let mut reading = Reading::default();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut cursor = Cursor::new(&mut bytes);
        loop {
            match inbound.next(&mut cursor, &limits) {
                Ok(None) => break,
                Ok(Some(event)) => reading.events.push(event_of(event)),
                Err(violation) => {
                    let fault = fault_of(violation);
                    assert_eq!(fault.close_code(), violation.close_code(), "{violation:?}");
                    reading.fault = Some(fault);
                    return reading;
                }
            }
        }
    }
    reading
}

fn event_of(event: ws::Event<'_>) -> Event {
    match event {
        ws::Event::Message { kind: Kind::Text, payload } => {
            Event::Text(String::from_utf8(payload.to_vec()).expect("validated"))
        }
        ws::Event::Message { kind: Kind::Binary, payload } => Event::Binary(payload.to_vec()),
        ws::Event::Compressed { .. } => panic!("compression was not agreed on"),
        ws::Event::Ping(payload) => Event::Ping(payload.to_vec()),
        ws::Event::Pong(payload) => Event::Pong(payload.to_vec()),
        ws::Event::Close(frame) => {
            Event::Close(frame.map(|frame| (frame.code.0, frame.reason.to_owned())))
        }
    }
}

fn fault_of(violation: Violation) -> Fault {
    match violation {
        Violation::Unmasked | Violation::Masked => Fault::Mask,
        Violation::ReservedBits => Fault::ReservedBits,
        Violation::ReservedOpcode => Fault::Opcode,
        Violation::ControlFragmented => Fault::ControlFragmented,
        Violation::ControlTooLong => Fault::ControlTooLong,
        Violation::LengthNotMinimal | Violation::LengthTopBit => Fault::Length,
        Violation::ContinuationWithoutStart | Violation::MessageInsideMessage => Fault::Order,
        Violation::CloseTooShort => Fault::CloseTooShort,
        Violation::CloseCodeInvalid => Fault::CloseCode,
        Violation::CloseReasonNotUtf8 | Violation::TextNotUtf8 => Fault::Utf8,
        Violation::MessageTooBig => Fault::TooBig,
        other => panic!("{other:?} cannot come of frames alone"),
    }
}

/// A connection whose peer has said all it will say; what is written is forgotten.
struct Pieces<'p> {
    left: Vec<&'p [u8]>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.left.last_mut() {
            if piece.is_empty() {
                self.left.pop();
                continue;
            }
            let len = piece.len().min(into.len());
            into[..len].copy_from_slice(&piece[..len]);
            *piece = &piece[len..];
            return Ok(len);
        }
        Ok(0)
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads with tungstenite.
#[must_use]
pub fn tungstenite(role: ws::Role, message_bytes_max: usize, pieces: &[&[u8]]) -> Reading {
    let role = match role {
        ws::Role::Server => Role::Server,
        ws::Role::Client => Role::Client,
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let left = pieces.iter().rev().copied().collect();
    let mut socket = WebSocket::from_raw_socket(Pieces { left }, role, Some(config));
    let mut reading = Reading::default();
    loop {
        match socket.read() {
            Ok(message) => {
                let event = match message {
                    Message::Text(text) => Event::Text(text.as_str().to_owned()),
                    Message::Binary(bytes) => Event::Binary(bytes.to_vec()),
                    Message::Ping(bytes) => Event::Ping(bytes.to_vec()),
                    Message::Pong(bytes) => Event::Pong(bytes.to_vec()),
                    Message::Close(frame) => Event::Close(
                        frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned())),
                    ),
                    Message::Frame(_) => panic!("a frame was not asked for"),
                };
                let is_over = matches!(event, Event::Close(_));
                reading.events.push(event);
                if is_over {
                    return reading;
                }
            }
            Err(error) => {
                reading.fault = their_fault(&error);
                return reading;
            }
        }
    }
}

/// `None`: the stream ended.
fn their_fault(error: &Error) -> Option<Fault> {
    Some(match error {
        Error::Utf8(_) => Fault::Utf8,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Fault::TooBig,
        Error::Protocol(error) => match error {
            ProtocolError::ResetWithoutClosingHandshake => return None,
            ProtocolError::NonZeroReservedBits => Fault::ReservedBits,
            ProtocolError::UnmaskedFrameFromClient | ProtocolError::MaskedFrameFromServer => {
                Fault::Mask
            }
            ProtocolError::FragmentedControlFrame => Fault::ControlFragmented,
            ProtocolError::ControlFrameTooBig => Fault::ControlTooLong,
            ProtocolError::UnknownControlFrameType(_)
            | ProtocolError::UnknownDataFrameType(_)
            | ProtocolError::InvalidOpcode(_) => Fault::Opcode,
            ProtocolError::UnexpectedContinueFrame | ProtocolError::ExpectedFragment(_) => {
                Fault::Order
            }
            ProtocolError::InvalidCloseSequence => Fault::CloseTooShort,
            other => panic!("{other:?} cannot come of frames alone"),
        },
        other => panic!("{other:?} cannot come of frames alone"),
    })
}
