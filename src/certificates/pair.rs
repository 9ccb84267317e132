//! One certificate with its key, out of two PEM files.
//!
//! Not here: choosing and replacing. Invariant: a [`Pair`] can be used for handshakes; what the
//! files hold is never shown, only their names.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::Error;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::validity::not_after;
use crate::config::CertificateFiles;

/// A file longer than this holds no certificate.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate chain and its key, which fit each other.
pub(super) struct Pair {
    pub(super) key: CertifiedKey,
    /// The last second in which the certificate is valid, in Unix time.
    pub(super) not_after: i64,
}

/// Why there is no pair.
#[derive(Debug)]
pub(super) struct Refusal {
    path: PathBuf,
    why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl Pair {
    pub(super) fn read(files: &CertificateFiles) -> Result<Self, Refusal> {
        let CertificateFiles { certificate, key } = files;
        let chain = read(certificate)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<_, _>>()
            .map_err(|error| refusal(certificate, &format!("it is not PEM: {error}")))?;
        let Some(first) = chain.first() else {
            return Err(refusal(certificate, "there is no CERTIFICATE in it, in PEM"));
        };
        let Some(not_after) = not_after(first) else {
            return Err(refusal(certificate, "its first certificate cannot be understood"));
        };
        let private = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|_| refusal(key, "there is no PRIVATE KEY in it, in PEM"))?;
        let key =
            CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| {
                match error {
                    Error::InconsistentKeys(_) => {
                        refusal(key, &format!("it is not the key of {}", certificate.display()))
                    }
                    Error::InvalidCertificate(error) => {
                        refusal(certificate, &format!("the certificate cannot be used: {error}"))
                    }
                    error => refusal(key, &format!("the key cannot be used: {error}")),
                }
            })?;
        Ok(Self { key, not_after })
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

fn refusal(path: &Path, why: &str) -> Refusal {
    Refusal { path: path.to_owned(), why: why.to_owned() }
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error: io::Error| refusal(path, &format!("it cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refusal(path, "it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// By what is seen that a pair's files have changed, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace([Option<[u64; 5]>; 2]);

impl Trace {
    pub(super) fn of(files: &CertificateFiles) -> Self {
        let of = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            let (seconds, nanoseconds) = (found.mtime(), found.mtime_nsec());
            let [seconds, nanoseconds] = [seconds, nanoseconds].map(i64::cast_unsigned);
            Some([found.dev(), found.ino(), found.len(), seconds, nanoseconds])
        };
        Self([of(&files.certificate), of(&files.key)])
    }
}
