//! Why a TLS connection cannot go on, in few kinds and plain words.
//!
//! Not here: the alert that tells the peer; rustls writes it.

use std::borrow::Cow;
use std::fmt;

use rustls::unbuffered::EncryptError;
use rustls::{CertificateError, Error, InvalidMessage};

/// The kinds that are worth counting apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailureKind {
    /// What came is not TLS: plain HTTP on a port for TLS, a scanner.
    NotTls,
    /// No version, cipher suite or group in common.
    Incompatible,
    /// None of the application protocols that the peer offers is spoken.
    ApplicationProtocol,
    /// A certificate was not accepted, for none of the reasons below.
    Certificate,
    /// A certificate was issued by nobody who is trusted.
    CertificateIssuer,
    /// A certificate is for another name.
    CertificateName,
    /// A certificate is no longer, or not yet, valid.
    CertificateDates,
    /// The peer gave up and said so with an alert.
    PeerAlert,
    /// A record was changed on its way, or encrypted with another key.
    Decrypt,
    /// The peer broke the protocol.
    Protocol,
    /// A fault on this side.
    Internal,
}

/// Why a TLS connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFailure {
    kind: TlsFailureKind,
    what: Cow<'static, str>,
}

impl TlsFailure {
    pub(super) fn of(kind: TlsFailureKind, what: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, what: what.into() }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> TlsFailureKind {
        self.kind
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.what)
    }
}

impl std::error::Error for TlsFailure {}

impl From<Error> for TlsFailure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => TlsFailureKind::NotTls,
            Error::PeerIncompatible(_) => TlsFailureKind::Incompatible,
            Error::NoApplicationProtocol => TlsFailureKind::ApplicationProtocol,
            Error::InvalidCertificate(why) => match why {
                CertificateError::UnknownIssuer => TlsFailureKind::CertificateIssuer,
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    TlsFailureKind::CertificateName
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => TlsFailureKind::CertificateDates,
                _ => TlsFailureKind::Certificate,
            },
            Error::NoCertificatesPresented | Error::UnsupportedNameType => {
                TlsFailureKind::Certificate
            }
            Error::AlertReceived(_) => TlsFailureKind::PeerAlert,
            Error::DecryptError => TlsFailureKind::Decrypt,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord => TlsFailureKind::Protocol,
            _ => TlsFailureKind::Internal,
        };
        Self::of(kind, error.to_string())
    }
}

impl From<EncryptError> for TlsFailure {
    fn from(error: EncryptError) -> Self {
        Self::of(TlsFailureKind::Internal, error.to_string())
    }
}
