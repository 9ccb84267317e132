//! One step of rustls' state machine, the same for both roles.
//!
//! Not here: which bytes it is shown. Invariant: nothing of a step outlives it but what is
//! returned.

use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

use super::{STEPS_MAX, Side, TlsFailure, TlsFailureKind};

/// What one step came to.
pub(super) enum Step {
    /// There may be more to do.
    Again,
    /// The bytes shown give nothing more.
    Rest,
    /// Application data; where is found by its mark.
    Plain(Mark),
    /// The peer sends nothing more.
    PeerClosed,
}

/// By what a plaintext is known again once its borrow has ended: its length and its ends.
pub(super) struct Mark {
    len: usize,
    first: [u8; MARK_BYTES],
    last: [u8; MARK_BYTES],
}

const MARK_BYTES: usize = 16;

impl Mark {
    fn of(plain: &[u8]) -> Self {
        let (mut first, mut last) = ([0; MARK_BYTES], [0; MARK_BYTES]);
        let some = plain.len().min(MARK_BYTES);
        first[..some].copy_from_slice(&plain[..some]);
        last[..some].copy_from_slice(&plain[plain.len() - some..]);
        Self { len: plain.len(), first, last }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn fits(&self, plain: &[u8]) -> bool {
        let other = Self::of(plain);
        (other.len, other.first, other.last) == (self.len, self.first, self.last)
    }
}

/// What writing plaintext or the end of it gives.
pub(super) type Written = Result<usize, EncryptError>;

/// [`WriteTraffic`] of either role.
pub(super) trait Traffic {
    fn encrypt(&mut self, plain: &[u8], room: &mut [u8]) -> Written;
    fn queue_close_notify(&mut self, room: &mut [u8]) -> Written;
}

impl<Data> Traffic for WriteTraffic<'_, Data> {
    fn encrypt(&mut self, plain: &[u8], room: &mut [u8]) -> Written {
        WriteTraffic::encrypt(self, plain, room)
    }

    fn queue_close_notify(&mut self, room: &mut [u8]) -> Written {
        WriteTraffic::queue_close_notify(self, room)
    }
}

impl Side {
    /// Lets rustls look at `bytes` once. Gives how many are done with, and what came of it.
    pub(super) fn step(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
    ) -> (usize, Result<Step, TlsFailure>) {
        match self {
            Self::Server(connection) => digest(connection.process_tls_records(bytes), out),
            Self::Client(connection) => digest(connection.process_tls_records(bytes), out),
        }
    }

    /// Writes into `room` once whatever must go before is in it. `held` is what is kept of the
    /// bytes from the wire.
    pub(super) fn write(
        &mut self,
        held: &mut [u8],
        room: &mut [u8],
        write: impl FnOnce(&mut dyn Traffic, &mut [u8]) -> Written,
        is_peer_closed: &mut bool,
    ) -> Result<usize, TlsFailure> {
        let mut write = Some(write);
        let mut written = 0;
        for _ in 0..STEPS_MAX {
            let room = &mut room[written..];
            let writing = match self {
                Self::Server(connection) => {
                    put(connection.process_tls_records(held), room, &mut write)
                }
                Self::Client(connection) => {
                    put(connection.process_tls_records(held), room, &mut write)
                }
            };
            match writing? {
                Writing::Some(more) => written += more,
                Writing::PeerClosed => *is_peer_closed = true,
                Writing::Done(more) => return Ok(written + more),
            }
        }
        Err(TlsFailure::of(TlsFailureKind::Internal, "too many steps for one write"))
    }
}

fn digest<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
) -> (usize, Result<Step, TlsFailure>) {
    let UnbufferedStatus { discard, state } = status;
    let step = match state {
        Err(error) => Err(error.into()),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => match traffic.next_record() {
            Some(Ok(record)) => Ok(Step::Plain(Mark::of(record.payload))),
            Some(Err(error)) => Err(error.into()),
            None => Ok(Step::Again),
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::PeerClosed),
        Ok(
            ConnectionState::Closed
            | ConnectionState::BlockedHandshake
            | ConnectionState::WriteTraffic(_),
        ) => Ok(Step::Rest),
        // Early data is never offered or accepted, and the enum may grow.
        Ok(_) => Err(TlsFailure::of(TlsFailureKind::Internal, "a state that cannot be")),
    };
    (discard, step)
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> Result<Step, TlsFailure> {
    let start = out.len();
    let needed = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Ok(_) | Err(EncodeError::AlreadyEncoded) => return Ok(Step::Again),
    };
    out.resize(start + needed, 0);
    let encoded = data.encode(&mut out[start..]);
    out.truncate(start + encoded.as_ref().map_or(0, |&len| len));
    match encoded {
        Ok(_) => Ok(Step::Again),
        Err(error) => Err(TlsFailure::of(TlsFailureKind::Internal, error.to_string())),
    }
}

/// How far a write is.
enum Writing {
    /// Something else went first.
    Some(usize),
    PeerClosed,
    Done(usize),
}

fn put<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    room: &mut [u8],
    write: &mut Option<impl FnOnce(&mut dyn Traffic, &mut [u8]) -> Written>,
) -> Result<Writing, TlsFailure> {
    debug_assert_eq!(status.discard, 0, "a record was whole and not looked at");
    match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => match write.take() {
            Some(write) => Ok(Writing::Done(write(&mut traffic, room)?)),
            None => Ok(Writing::Done(0)),
        },
        ConnectionState::EncodeTlsData(mut data) => match data.encode(room) {
            Ok(len) => Ok(Writing::Some(len)),
            Err(error) => Err(TlsFailure::of(TlsFailureKind::Internal, error.to_string())),
        },
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Writing::Some(0))
        }
        ConnectionState::PeerClosed => Ok(Writing::PeerClosed),
        _ => Err(TlsFailure::of(TlsFailureKind::Internal, "nothing can be written any more")),
    }
}
