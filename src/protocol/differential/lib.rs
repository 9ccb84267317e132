//! One stream of frames, three readers: `ringwire-protocol`, tungstenite, and a walk over the
//! frames that says what is wrong with the first bad one.
//!
//! Not here: the streams (`tests/`). The walk is why two readers can be compared at all: a frame
//! may break several rules at once, and which one a reader names is its own choice.

pub mod readers;
pub mod walk;

/// What a reader made of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What it handed out, in order.
    pub events: Vec<Event>,
    /// Why it stopped before the end.
    pub fault: Option<Fault>,
}

/// Something that a reader hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the RFC")]
pub enum Event {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// A rule that a frame breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words of the RFC")]
pub enum Fault {
    Mask,
    ReservedBits,
    Opcode,
    ControlFragmented,
    ControlTooLong,
    Length,
    Order,
    CloseTooShort,
    CloseCode,
    Utf8,
    TooBig,
}

impl Fault {
    /// The close code of section 7.4.1.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Utf8 => 1007,
            Self::TooBig => 1009,
            _ => 1002,
        }
    }
}
