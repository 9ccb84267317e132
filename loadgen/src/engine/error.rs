//! What can go wrong on a connection, as stable codes that are counted.
//!
//! Not here: what is done about it. Invariant: a code's text never changes; it ends in a number
//! where the cause has one.

use std::fmt;
use std::io;

use ringwire_ring::Errno;
use ringwire_transport::{TlsFailure, TlsFailureKind};

use crate::outcome::LOCAL_ERROR_PREFIX;

/// Process descriptor table full, system descriptor table full.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const ENOBUFS: i32 = 105;

/// One kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ErrorCode {
    /// No free port on this side.
    Ports,
    /// No free descriptor on this side.
    Descriptors,
    /// No memory for a socket on this side.
    Memory,
    Refused,
    Reset,
    Timeout,
    Unreachable,
    /// Another error number of the kernel.
    Tcp(i32),
    /// No TLS, or none that both sides speak.
    TlsHandshake,
    /// The certificate is no good, in another way than those below.
    TlsCertificate,
    /// The certificate was issued by nobody who is trusted.
    TlsUnknown,
    /// The certificate is for another name.
    TlsName,
    /// The certificate is no longer, or not yet, valid.
    TlsExpired,
    /// The server gave up with an alert.
    TlsAlert,
    /// The server broke the protocol, or a record was changed on its way.
    TlsProtocol,
    /// The server hung up, or said nothing, before the handshake was over.
    TlsEnded,
    TlsTimeout,
    /// The upgrade was answered with another status than 101.
    UpgradeStatus(u16),
    /// The 101 breaks RFC 6455: its accept key, or what it chose.
    UpgradeAnswer,
    /// A frame broke the protocol; the close code we would answer with.
    WsViolation(u16),
    /// The peer closed with this code; 1005 without one, 1006 without a Close frame.
    WsClose(u16),
    /// A subscription was answered with another status than 200.
    HttpStatus(u16),
    /// No HTTP response, or one without an end that we can find.
    HttpMalformed,
    /// A response is larger than we hold.
    HttpTooLarge,
    /// The connection ended in the middle of a response, or before it.
    HttpEnded,
    /// The answer to a subscription is no event stream.
    SseContentType,
    SseEnded,
    SseMalformed,
    /// The server lost our position and said so.
    PositionLost,
    /// An answer to a poll that is not the agreed JSON.
    PollMalformed,
    /// A poll fell due while the one before was not answered.
    PollOverlap,
    /// A publication was answered with another status than 200.
    PublishStatus(u16),
    /// No reply within the time that replies are awaited.
    Unanswered,
    /// Picked up, and never sent: its connection was busy or gone.
    Unsent,
}

impl ErrorCode {
    /// What the kernel's refusal means.
    pub(crate) fn of(errno: Errno) -> Self {
        match (errno.0, io::Error::from(errno).kind()) {
            (EMFILE | ENFILE, _) => Self::Descriptors,
            (ENOBUFS, _) | (_, io::ErrorKind::OutOfMemory) => Self::Memory,
            (_, io::ErrorKind::AddrNotAvailable) => Self::Ports,
            (_, io::ErrorKind::ConnectionRefused) => Self::Refused,
            (_, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => Self::Reset,
            (_, io::ErrorKind::TimedOut) => Self::Timeout,
            (_, io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                Self::Unreachable
            }
            (number, _) => Self::Tcp(number),
        }
    }

    /// Why a TLS connection cannot go on.
    pub(crate) fn of_tls(failure: &TlsFailure) -> Self {
        match failure.kind() {
            TlsFailureKind::NotTls
            | TlsFailureKind::Incompatible
            | TlsFailureKind::ApplicationProtocol => Self::TlsHandshake,
            TlsFailureKind::Certificate => Self::TlsCertificate,
            TlsFailureKind::CertificateIssuer => Self::TlsUnknown,
            TlsFailureKind::CertificateName => Self::TlsName,
            TlsFailureKind::CertificateDates => Self::TlsExpired,
            TlsFailureKind::PeerAlert => Self::TlsAlert,
            TlsFailureKind::Decrypt | TlsFailureKind::Protocol | TlsFailureKind::Internal => {
                Self::TlsProtocol
            }
        }
    }

    /// What a person may do about it, when it kept everyone from connecting.
    pub(crate) fn cure(self) -> &'static str {
        match self {
            Self::Ports => {
                "no free port here: widen net.ipv4.ip_local_port_range or use fewer connections"
            }
            Self::Descriptors => {
                "no free descriptor here: raise ulimit -n and fs.file-max, or use more --threads"
            }
            Self::Memory => "no memory for sockets here: use fewer connections",
            Self::Refused => "nothing listens there: start the server, or correct the URL's port",
            Self::Timeout => "no answer: check address and firewall, or lower --connect-rate",
            Self::Unreachable => "no route to it: check the address",
            Self::Reset | Self::HttpEnded => {
                "the server hangs up: see its log, its limits, and whether it speaks TLS"
            }
            Self::TlsUnknown => {
                "nobody trusted issued its certificate: give the issuer's with --cacert"
            }
            Self::TlsName => "its certificate is for another name: use that name in the URL",
            Self::TlsExpired => "renew its certificate, or set this machine's clock",
            Self::TlsCertificate => "its certificate is no good: see the server's configuration",
            Self::TlsHandshake | Self::TlsEnded | Self::TlsTimeout => {
                "check that the port speaks TLS 1.2 or 1.3, or use ws:// or http://"
            }
            Self::TlsAlert | Self::TlsProtocol => "see the server's log for the handshake's fault",
            Self::UpgradeStatus(_) | Self::HttpStatus(_) => "check the URL's path and the headers",
            Self::UpgradeAnswer => "check that the path is a WebSocket and --subprotocol is known",
            Self::SseContentType => "the path is no event stream: check it, or --transport",
            Self::PollMalformed => "the path gives no poll answers: check it, or --transport",
            _ => "check that the URL and --transport are what the server speaks",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports => write!(f, "{LOCAL_ERROR_PREFIX}ports"),
            Self::Descriptors => write!(f, "{LOCAL_ERROR_PREFIX}descriptors"),
            Self::Memory => write!(f, "{LOCAL_ERROR_PREFIX}memory"),
            Self::Refused => f.write_str("tcp.refused"),
            Self::Reset => f.write_str("tcp.reset"),
            Self::Timeout => f.write_str("tcp.timeout"),
            Self::Unreachable => f.write_str("tcp.unreachable"),
            Self::Tcp(number) => write!(f, "tcp.errno.{number}"),
            Self::TlsHandshake => f.write_str("tls.handshake"),
            Self::TlsCertificate => f.write_str("tls.certificate"),
            Self::TlsUnknown => f.write_str("tls.certificate_unknown"),
            Self::TlsName => f.write_str("tls.name_mismatch"),
            Self::TlsExpired => f.write_str("tls.expired"),
            Self::TlsAlert => f.write_str("tls.alert"),
            Self::TlsProtocol => f.write_str("tls.protocol"),
            Self::TlsEnded => f.write_str("tls.ended"),
            Self::TlsTimeout => f.write_str("tls.timeout"),
            Self::UpgradeStatus(status) => write!(f, "upgrade.status.{status}"),
            Self::UpgradeAnswer => f.write_str("upgrade.answer"),
            Self::WsViolation(code) => write!(f, "ws.violation.{code}"),
            Self::WsClose(code) => write!(f, "ws.close.{code}"),
            Self::HttpStatus(status) => write!(f, "http.status.{status}"),
            Self::HttpMalformed => f.write_str("http.malformed"),
            Self::HttpTooLarge => f.write_str("http.too_large"),
            Self::HttpEnded => f.write_str("http.ended"),
            Self::SseContentType => f.write_str("sse.content_type"),
            Self::SseEnded => f.write_str("sse.ended"),
            Self::SseMalformed => f.write_str("sse.malformed"),
            Self::PositionLost => f.write_str("app.position_lost"),
            Self::PollMalformed => f.write_str("poll.malformed"),
            Self::PollOverlap => f.write_str("poll.overlap"),
            Self::PublishStatus(status) => write!(f, "publish.status.{status}"),
            Self::Unanswered => f.write_str("app.unanswered"),
            Self::Unsent => f.write_str("app.unsent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ringwire_ring::Errno;

    use super::ErrorCode;

    #[test]
    fn errors_of_this_machine_are_told_from_the_peers() {
        let code = |number| ErrorCode::of(Errno(number)).to_string();
        assert_eq!(
            [99, 24, 23, 105, 12].map(code),
            [
                "local.ports",
                "local.descriptors",
                "local.descriptors",
                "local.memory",
                "local.memory"
            ]
        );
        assert_eq!(
            [111, 104, 32, 110, 113, 101].map(code),
            [
                "tcp.refused",
                "tcp.reset",
                "tcp.reset",
                "tcp.timeout",
                "tcp.unreachable",
                "tcp.unreachable"
            ]
        );
        assert_eq!(code(71), "tcp.errno.71");
    }
}
