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
    /// The queue of a Unix socket's listener is full.
    Backlog,
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
    /// TCP was connected, and the first request not answered.
    HttpTimeout,
    /// The upgrade was answered with another status than 101.
    UpgradeStatus(u16),
    /// The 101's accept key is not the one to the request's key.
    UpgradeAccept,
    /// The 101 has a subprotocol that was not offered.
    UpgradeSubprotocol,
    /// The 101 has an extension, or parameters of one, that were not offered.
    UpgradeExtension,
    /// The 101 breaks RFC 6455 in another way.
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
    /// A long poll did not answer in time what it was asked first.
    PollSilent,
    /// A poll fell due while the one before was not answered.
    PollOverlap,
    /// A publication was answered with another status than 200.
    PublishStatus(u16),
    /// No reply within the time that replies are awaited.
    Unanswered,
    /// A reply without what `--expect` wants.
    Unexpected,
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
            (_, io::ErrorKind::WouldBlock) => Self::Backlog,
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

    /// What happened, for people.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ports => "this machine had no free port to connect from",
            Self::Descriptors => "this machine had no free descriptor",
            Self::Memory => "this machine had no memory for a socket",
            Self::Refused => "nothing listened at the address, or its queue was full",
            Self::Backlog => "the queue of the Unix socket's listener was full",
            Self::Reset => "the peer reset the connection",
            Self::Timeout => "the connection was not open in time",
            Self::Unreachable => "there was no route to the address",
            Self::Tcp(_) => "the kernel refused with this error number",
            Self::TlsHandshake => "the other side speaks no TLS, or none that both know",
            Self::TlsCertificate => "the server's certificate is no good",
            Self::TlsUnknown => "nobody trusted issued the server's certificate",
            Self::TlsName => "the server's certificate is for another name",
            Self::TlsExpired => "the server's certificate is not valid at this time",
            Self::TlsAlert => "the server gave up the TLS connection with an alert",
            Self::TlsProtocol => "the server broke TLS, or a record was changed on its way",
            Self::TlsEnded => "the server hung up during the TLS handshake",
            Self::TlsTimeout => "the TLS handshake was not over in time",
            Self::HttpTimeout => "the server took the connection and did not answer in time",
            Self::UpgradeStatus(_) => "the upgrade was answered with this status instead of 101",
            Self::UpgradeAccept => "the 101 has the wrong Sec-WebSocket-Accept",
            Self::UpgradeSubprotocol => "the 101 has a subprotocol that was not offered",
            Self::UpgradeExtension => "the 101 has an extension that was not offered so",
            Self::UpgradeAnswer => "the 101 is not one of RFC 6455",
            Self::WsViolation(1007) => "a text message was not valid UTF-8",
            Self::WsViolation(1009) => "a message was larger than loadgen takes",
            Self::WsViolation(_) => "a frame broke the WebSocket protocol",
            Self::WsClose(code) => close_meaning(code),
            Self::HttpStatus(_) => "a subscription or a poll was answered with this status",
            Self::HttpMalformed => "an answer was no HTTP response",
            Self::HttpTooLarge => "an HTTP response was larger than loadgen takes",
            Self::HttpEnded => "the connection ended before or within a response",
            Self::SseContentType => "the answer was no event stream",
            Self::SseEnded => "the server ended the event stream",
            Self::SseMalformed => "the event stream was malformed",
            Self::PositionLost => "the server had lost the position that was read from",
            Self::PollMalformed => "the answer to a poll was not the agreed JSON",
            Self::PollSilent => "a long poll was not answered in the time to open it",
            Self::PollOverlap => "a poll fell due before the one before it was answered",
            Self::PublishStatus(_) => "a publication was answered with this status",
            Self::Unexpected => "a reply did not hold what --expect wants",
            Self::Unanswered => "no reply came in the time that replies are awaited",
            Self::Unsent => "a message that was due was never sent: its connection was not free",
        }
    }

    /// What a person may do about it.
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
            Self::Backlog => "lower --connect-rate, or raise the server's listen backlog",
            Self::Timeout => "no answer: check address and firewall, or lower --connect-rate",
            Self::HttpTimeout => {
                "see what the server waits for, its load and its log, or lower --connect-rate"
            }
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
            Self::UpgradeStatus(429 | 503) | Self::HttpStatus(429 | 503) => {
                "the server is full: see its limits, or lower --connections or --connect-rate"
            }
            Self::UpgradeStatus(_) | Self::HttpStatus(_) => "check the URL's path and the headers",
            Self::UpgradeSubprotocol => "check that the server knows what --subprotocol says",
            Self::UpgradeAccept | Self::UpgradeExtension => {
                "see whether something between here and the server changes headers"
            }
            Self::UpgradeAnswer => "check that the path is a WebSocket and --subprotocol is known",
            Self::WsViolation(1009) | Self::HttpTooLarge => "send less at once, or see the server",
            Self::WsViolation(_) | Self::SseMalformed => "report it to who makes the server",
            Self::WsClose(code) => close_cure(code),
            Self::SseContentType => "the path is no event stream: check it, or --transport",
            Self::SseEnded => "see the server's log and the time-outs of proxies before it",
            Self::PollSilent => {
                "it answers only once there is news: say --poll-style nchan, or check the path"
            }
            Self::PollMalformed => "the path gives no poll answers: check it, or --transport",
            Self::PollOverlap => "the server answers slower than it is asked: see its load",
            Self::PositionLost => "the server keeps too little history for this --poll-interval",
            Self::PublishStatus(_) => "check the publishing URL, its method and its headers",
            Self::Unexpected => "look at what the server says: one connection, and a capture",
            Self::Unanswered => "the server lost it or is slow: see its load and its queues",
            Self::Unsent => "the server takes too little, or lost the connection: see its load",
            Self::HttpMalformed | Self::Tcp(_) => {
                "check that the URL and --transport are what the server speaks"
            }
        }
    }
}

/// RFC 6455, section 7.4.1, and what ringwire adds.
fn close_meaning(code: u16) -> &'static str {
    match code {
        1000 => "the server closed: it was done",
        1001 => "the server closed: it goes away",
        1002 => "the server closed: it sees a broken protocol",
        1003 => "the server closed: it takes no such messages",
        1005 => "the server closed without a code",
        1006 => "the connection ended without a Close frame",
        1007 => "the server closed: it sees invalid data",
        1008 => "the server closed: against its policy",
        1009 => "the server closed: the message is too large for it",
        1011 => "the server closed: it failed",
        1012 | 1013 => "the server closed: try again later",
        3008 => "the server closed: this connection reads too slowly",
        3010 => "the server closed: it lost the position",
        3012 => "the server closed: no pong in time",
        _ => "the server closed with this code",
    }
}

fn close_cure(code: u16) -> &'static str {
    match code {
        1000 | 1001 | 1012 => "see why the server ends connections: its log, its time-outs",
        1006 => "see the server's log, its limits and proxies before it",
        1008 | 1013 => "see the server's limits on rates and connections",
        1009 => "use a smaller --size, or raise the server's limit on messages",
        3008 => "receive less per connection, or raise the server's limit on what waits",
        _ => "see the server's log",
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports => write!(f, "{LOCAL_ERROR_PREFIX}ports"),
            Self::Descriptors => write!(f, "{LOCAL_ERROR_PREFIX}descriptors"),
            Self::Memory => write!(f, "{LOCAL_ERROR_PREFIX}memory"),
            Self::Refused => f.write_str("tcp.refused"),
            Self::Backlog => f.write_str("unix.backlog"),
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
            Self::HttpTimeout => f.write_str("http.timeout"),
            Self::UpgradeStatus(status) => write!(f, "upgrade.status.{status}"),
            Self::UpgradeAccept => f.write_str("upgrade.accept"),
            Self::UpgradeSubprotocol => f.write_str("upgrade.subprotocol"),
            Self::UpgradeExtension => f.write_str("upgrade.extension"),
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
            Self::PollSilent => f.write_str("poll.silent"),
            Self::PollOverlap => f.write_str("poll.overlap"),
            Self::PublishStatus(status) => write!(f, "publish.status.{status}"),
            Self::Unanswered => f.write_str("app.unanswered"),
            Self::Unexpected => f.write_str("app.unexpected"),
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
        assert_eq!((code(71), code(11)), ("tcp.errno.71".to_owned(), "unix.backlog".to_owned()));
    }
    #[test]
    fn every_code_says_what_happened_and_what_may_be_done() {
        let codes = [
            ErrorCode::UpgradeStatus(503),
            ErrorCode::UpgradeAccept,
            ErrorCode::WsViolation(1007),
            ErrorCode::WsViolation(1009),
            ErrorCode::WsClose(1006),
            ErrorCode::WsClose(4999),
            ErrorCode::Tcp(71),
        ];
        for code in codes {
            let (meaning, cure) = (code.meaning(), code.cure());
            let is_line = |text: &str| text.len() > 10 && !text.ends_with('.');
            assert!(is_line(meaning) && is_line(cure) && meaning != cure, "{code}: {meaning}");
        }
        assert!(ErrorCode::WsViolation(1007).meaning().contains("UTF-8"));
        assert!(ErrorCode::UpgradeStatus(503).cure().contains("full"));
    }
}
