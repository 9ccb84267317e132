//! TLS as a stage beside a connection: bytes of the wire in, the place of their plaintext out, and
//! plaintext in, bytes for the wire out. One type for both roles.
//!
//! Not here: IO, clocks, certificates, and when to give a handshake up. Invariants: a record is
//! decrypted where it lies, and the borrow ends before its place is told, so that the caller may
//! change the plaintext there; one call does work in proportion to the bytes it is given; what is
//! kept between calls is less than one record, or one handshake message, and is counted; nothing
//! that the peer sends panics or spins.

mod failure;
mod step;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, HandshakeKind, ServerConfig};

pub use failure::{TlsFailure, TlsFailureKind};
use step::{Mark, Step, Written};

/// Bytes of a record's header.
const HEADER_BYTES: usize = 5;

/// The most plaintext that one record carries.
pub const TLS_RECORD_BYTES_MAX: usize = 16 * 1024;

/// What a record adds to its plaintext at most: header, explicit nonce, type, tag.
const RECORD_OVERHEAD_BYTES: usize = HEADER_BYTES + 8 + 1 + 16;

/// Room for what goes before the plaintext on its own account: key updates.
const ASIDE_BYTES: usize = 128;

/// Bytes kept of a handshake message whose end has not come: above, the peer is not heard out. A
/// record in progress is bounded by its header.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Steps for one record: the longest flight has a dozen.
const STEPS_MAX: usize = 64;

/// One connection's TLS.
pub struct Tls {
    side: Side,
    /// Bytes of the wire that could not be used yet.
    held: Vec<u8>,
    /// Where in `held` the record begins whose end has not come. Before it are records whose
    /// handshake message has not come to its end.
    open_record: usize,
    is_peer_closed: bool,
    is_close_sent: bool,
    is_failed: bool,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What became of bytes given to [`Tls::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// How many of them are done with; never 0 unless there were none.
    pub used: usize,
    /// Where the plaintext of at most one record is.
    pub plain: Plain,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// No application data.
    None,
    /// In the bytes that were given.
    Here(Range<usize>),
    /// In the buffer for records that came in pieces.
    Joined(Range<usize>),
}

impl Tls {
    /// The server's end of a connection that has just been accepted.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Self, TlsFailure> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self::of(Side::Server(connection)))
    }

    /// The client's end of a connection. Its first words are ready: [`Tls::open`] without bytes
    /// writes them.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub fn client(
        config: &Arc<ClientConfig>,
        server_name: ServerName<'static>,
    ) -> Result<Self, TlsFailure> {
        let connection = UnbufferedClientConnection::new(Arc::clone(config), server_name)?;
        Ok(Self::of(Side::Client(connection)))
    }

    fn of(side: Side) -> Self {
        Self {
            side,
            held: Vec::new(),
            open_record: 0,
            is_peer_closed: false,
            is_close_sent: false,
            is_failed: false,
        }
    }

    /// Whether the handshake is over, so that [`Tls::seal`] may be used.
    #[must_use]
    pub fn is_established(&self) -> bool {
        !self.common().is_handshaking()
    }

    /// Whether the handshake took up an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Whether the peer has said that it sends nothing more.
    #[must_use]
    pub fn is_peer_closed(&self) -> bool {
        self.is_peer_closed
    }

    /// Bytes of the wire kept until the rest of their record comes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// Takes bytes of the wire, up to the first record with application data, and says where that
    /// is. What the protocol itself has to say goes to the end of `out`, also on failure (an
    /// alert), and is to be sent before anything sealed later. `joined` is where a record that came
    /// in pieces is left; what it was is gone.
    ///
    /// Call it until all bytes are used. After the peer's close_notify it swallows everything.
    ///
    /// # Errors
    /// The connection cannot go on; from then on all bytes are swallowed.
    pub fn open(
        &mut self,
        bytes: &mut [u8],
        joined: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Opened, TlsFailure> {
        if self.is_peer_closed || self.is_failed {
            return Ok(Opened { used: bytes.len(), plain: Plain::None });
        }
        let opened = if self.held.is_empty() {
            self.open_here(bytes, out)
        } else {
            self.open_joined(bytes, joined, out)
        };
        if opened.is_err() {
            self.is_failed = true;
            self.held = Vec::new();
            self.drain_alerts(out);
        } else if self.is_peer_closed {
            self.held = Vec::new();
            return Ok(Opened { used: bytes.len(), plain: Plain::None });
        }
        opened
    }

    /// Nothing is kept: the records lie in `bytes`.
    fn open_here(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> Result<Opened, TlsFailure> {
        // Bytes before `kept` are done with; the next record begins at `record`.
        let (mut kept, mut record) = (0, 0);
        loop {
            let whole = record_bytes(&bytes[record..]);
            let end = whole.map_or(bytes.len(), |len| record + len);
            let (discarded, plain) = self.process(&mut bytes[kept..end], record - kept, out)?;
            if let Some(plain) = plain {
                let plain = Plain::Here(plain.start + kept..plain.end + kept);
                return Ok(Opened { used: end, plain });
            }
            kept += discarded;
            if whole.is_none() || self.is_peer_closed {
                break;
            }
            record = end;
            if end == bytes.len() {
                break;
            }
        }
        if kept < bytes.len() && !self.is_peer_closed {
            check_held(bytes.len() - kept)?;
            self.held = bytes[kept..].to_vec();
            self.open_record = record - kept;
        }
        Ok(Opened { used: bytes.len(), plain: Plain::None })
    }

    /// Adds to what is kept no more than its record lacks, so that the others are left where they
    /// lie.
    fn open_joined(
        &mut self,
        bytes: &[u8],
        joined: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Opened, TlsFailure> {
        let mut held = std::mem::take(&mut self.held);
        let mut used = 0;
        // First what the header lacks, then what the record does.
        let mut is_whole = false;
        while !is_whole && used < bytes.len() {
            let more = missing_bytes(&held[self.open_record..]).min(bytes.len() - used);
            held.extend_from_slice(&bytes[used..used + more]);
            used += more;
            is_whole = missing_bytes(&held[self.open_record..]) == 0;
        }
        check_held(held.len())?;
        let record = self.open_record;
        let (discarded, plain) = self.process(&mut held, record, out)?;
        if let Some(plain) = plain {
            self.open_record = 0;
            *joined = held;
            return Ok(Opened { used, plain: Plain::Joined(plain) });
        }
        if is_whole {
            self.open_record = held.len();
        }
        if discarded < held.len() {
            held.drain(..discarded);
            self.open_record -= discarded;
            self.held = held;
        } else {
            self.open_record = 0;
        }
        Ok(Opened { used, plain: Plain::None })
    }

    /// Shows rustls at most one record more than it has seen, which begins at `record` in `bytes`.
    /// Says how many bytes are done with, and where the record's plaintext is.
    fn process(
        &mut self,
        bytes: &mut [u8],
        record: usize,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<Range<usize>>), TlsFailure> {
        let mut discarded = 0;
        for _ in 0..STEPS_MAX {
            let (more, step) = self.side.step(&mut bytes[discarded..], out);
            discarded += more;
            match step? {
                Step::Again => {}
                Step::Rest => return Ok((discarded, None)),
                Step::PeerClosed => {
                    self.is_peer_closed = true;
                    return Ok((bytes.len(), None));
                }
                Step::Plain(mark) => {
                    let plain = place_of(&mark, bytes, record)?;
                    return Ok((discarded, Some(plain)));
                }
            }
        }
        Err(TlsFailure::of(TlsFailureKind::Internal, "too many steps for one record"))
    }

    /// Writes the alerts that tell the peer why.
    fn drain_alerts(&mut self, out: &mut Vec<u8>) {
        for _ in 0..STEPS_MAX {
            // Only while something waits: another look at the bytes would fail again.
            if !self.common().wants_write() {
                return;
            }
            drop(self.side.step(&mut [], out));
        }
    }

    /// The most bytes that `plain_bytes` of plaintext become.
    #[must_use]
    pub const fn sealed_bytes_max(plain_bytes: usize) -> usize {
        plain_bytes
            + plain_bytes.div_ceil(TLS_RECORD_BYTES_MAX) * RECORD_OVERHEAD_BYTES
            + ASIDE_BYTES
    }

    /// Encrypts `plain` into the start of `room`, which has [`Tls::sealed_bytes_max`] bytes or
    /// more. Says how many it wrote.
    ///
    /// # Errors
    /// The connection is not established or not usable any more.
    pub fn seal_into(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, TlsFailure> {
        self.write(room, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Encrypts `plain` to the end of `out`.
    ///
    /// # Errors
    /// As [`Tls::seal_into`].
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsFailure> {
        let start = out.len();
        out.resize(start + Self::sealed_bytes_max(plain.len()), 0);
        let sealed = self.seal_into(plain, &mut out[start..]);
        out.truncate(start + sealed.as_ref().map_or(0, |&len| len));
        sealed.map(|_| ())
    }

    /// Tells the peer, at the end of `out`, that nothing more comes. Says nothing before the
    /// handshake is over, and only once.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        if self.is_close_sent || self.is_failed || !self.is_established() {
            return;
        }
        self.is_close_sent = true;
        let mut room = [0; ASIDE_BYTES];
        if let Ok(len) = self.write(&mut room, |traffic, room| traffic.queue_close_notify(room)) {
            out.extend_from_slice(&room[..len]);
        }
    }

    fn write(
        &mut self,
        room: &mut [u8],
        write: impl FnOnce(&mut dyn step::Traffic, &mut [u8]) -> Written,
    ) -> Result<usize, TlsFailure> {
        if self.is_failed || !self.is_established() {
            return Err(TlsFailure::of(TlsFailureKind::Internal, "not established"));
        }
        // What is kept is shown again, because rustls counts from its beginning.
        let written = self.side.write(&mut self.held, room, write, &mut self.is_peer_closed);
        self.is_failed = written.is_err();
        written
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match &self.side {
            Side::Server(_) => "server",
            Side::Client(_) => "client",
        };
        write!(f, "Tls({side}, {} bytes held)", self.held.len())
    }
}

/// Bytes of the record that `bytes` begin with, if it is whole.
fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = bytes.first_chunk::<HEADER_BYTES>()?;
    let len = HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    (len <= bytes.len()).then_some(len)
}

/// How many bytes the record lacks that `bytes` are the beginning of, or its header.
fn missing_bytes(bytes: &[u8]) -> usize {
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return HEADER_BYTES - bytes.len();
    };
    (HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]))).saturating_sub(bytes.len())
}

fn check_held(bytes: usize) -> Result<(), TlsFailure> {
    if bytes > HANDSHAKE_BYTES_MAX {
        let what = "a handshake message without end";
        return Err(TlsFailure::of(TlsFailureKind::Protocol, what));
    }
    Ok(())
}

/// Where the plaintext lies: in place, behind its record's header. rustls does not promise it, so
/// it is looked at.
fn place_of(mark: &Mark, bytes: &[u8], record: usize) -> Result<Range<usize>, TlsFailure> {
    let start = record + HEADER_BYTES;
    let place = start..start + mark.len();
    match bytes.get(place.clone()) {
        Some(plain) if mark.fits(plain) => Ok(place),
        _ => Err(TlsFailure::of(TlsFailureKind::Internal, "the plaintext is not in its place")),
    }
}
