//! Certificates: read at the start, chosen by the name a client asks for, replaced while serving.
//!
//! Not here: when to look again ([`crate::server`]). Invariants: a pair that cannot be used never
//! takes the place of one that can; a handshake uses one pair from its beginning to its end; nobody
//! waits for files on a worker's thread.

mod pair;
mod validity;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider as _};
use rustls::{ALL_VERSIONS, ServerConfig};

use crate::config::CertificateFiles;
use crate::failure::Failure;
use crate::log::Logger;
use pair::{Pair, Trace};

/// The one protocol that is spoken inside TLS.
const APPLICATION_PROTOCOL: &[u8] = b"http/1.1";

/// The pairs of a server, and where they come from. Kept by whoever looks after the files.
#[derive(Debug)]
pub struct Certificates {
    entries: Vec<Entry>,
    chooser: Arc<Chooser>,
    figures: Arc<CertificateFigures>,
}

/// One pair's files.
#[derive(Debug)]
struct Entry {
    files: CertificateFiles,
    /// The state of the files that was read last, or refused last.
    tried: Trace,
    /// The state at the last look: one that changes from look to look is not read.
    seen: Trace,
}

/// What the metrics page shows of certificates.
#[derive(Debug)]
pub struct CertificateFigures {
    /// The certificate's file, and the end of its validity in seconds of the Unix time.
    not_after: Vec<(String, AtomicI64)>,
    replaced: AtomicU64,
    refused: AtomicU64,
}

impl CertificateFigures {
    /// Each certificate's file, and the last second in which it is valid.
    pub(crate) fn not_after(&self) -> impl Iterator<Item = (&str, i64)> {
        self.not_after.iter().map(|(name, at)| (name.as_str(), at.load(Ordering::Relaxed)))
    }

    /// Pairs replaced while serving, and pairs refused.
    pub(crate) fn reloads(&self) -> (u64, u64) {
        (self.replaced.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

impl Certificates {
    /// Reads all pairs. The first is for clients that ask for no name, or for one that none has.
    ///
    /// # Errors
    /// A pair that cannot be used: which, why, and the cure.
    pub fn read(files: &[CertificateFiles], logger: &Logger) -> Result<Self, Failure> {
        let mut entries = Vec::with_capacity(files.len());
        let mut keys = Vec::with_capacity(files.len());
        let mut not_after = Vec::with_capacity(files.len());
        for files in files {
            let trace = Trace::of(files);
            let pair = Pair::read(files).map_err(|refusal| {
                Failure::configuration(format!("{refusal}; give --tls-cert and --tls-key a pair"))
            })?;
            warn_if_expired(files, &pair, logger);
            not_after.push((files.certificate.display().to_string(), pair.not_after.into()));
            keys.push(Arc::new(pair.key));
            entries.push(Entry { files: files.clone(), tried: trace, seen: trace });
        }
        let figures = CertificateFigures { not_after, replaced: 0.into(), refused: 0.into() };
        let chooser = Chooser { keys: RwLock::new(keys.into()) };
        Ok(Self { entries, chooser: Arc::new(chooser), figures: Arc::new(figures) })
    }

    /// What the metrics page shows.
    #[must_use]
    pub fn figures(&self) -> Arc<CertificateFigures> {
        Arc::clone(&self.figures)
    }

    /// What every handshake of the server is made with; pairs replaced later count at once.
    ///
    /// # Errors
    /// When the system gives no randomness for the keys of tickets.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, Failure> {
        let unusable = |error: rustls::Error| Failure::other(format!("TLS: {error}"));
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(ALL_VERSIONS)
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.chooser) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![APPLICATION_PROTOCOL.to_vec()];
        // Sessions are taken up by tickets, under keys that change every few hours; no early data.
        config.ticketer = ring::Ticketer::new().map_err(unusable)?;
        Ok(Arc::new(config))
    }

    /// Reads pairs whose files have changed and have then kept still from one look to the next.
    pub fn look(&mut self, logger: &Logger) {
        for index in 0..self.entries.len() {
            let entry = &mut self.entries[index];
            let now = Trace::of(&entry.files);
            let is_still = now == std::mem::replace(&mut entry.seen, now);
            if is_still && now != entry.tried {
                self.reload(index, logger);
            }
        }
    }

    /// Reads all pairs again, changed or not.
    pub fn reload_all(&mut self, logger: &Logger) {
        for index in 0..self.entries.len() {
            self.reload(index, logger);
        }
    }

    fn reload(&mut self, index: usize, logger: &Logger) {
        let entry = &mut self.entries[index];
        entry.tried = Trace::of(&entry.files);
        entry.seen = entry.tried;
        match Pair::read(&entry.files) {
            Ok(pair) => {
                warn_if_expired(&entry.files, &pair, logger);
                self.figures.not_after[index].1.store(pair.not_after, Ordering::Relaxed);
                self.figures.replaced.fetch_add(1, Ordering::Relaxed);
                logger.info(format_args!("{}: new handshakes use it", entry.files));
                self.chooser.replace(index, pair.key);
            }
            Err(refusal) => {
                self.figures.refused.fetch_add(1, Ordering::Relaxed);
                logger.error(format_args!("{refusal}; the pair before stays in use"));
            }
        }
    }
}

fn warn_if_expired(files: &CertificateFiles, pair: &Pair, logger: &Logger) {
    let now = DefaultTimeProvider.current_time().map_or(0, |now| now.as_secs());
    if i64::try_from(now).is_ok_and(|now| now > pair.not_after) {
        logger.warn(format_args!("{files}: the certificate has expired; clients will refuse it"));
    }
}

/// Gives each handshake its pair.
struct Chooser {
    keys: RwLock<Arc<[Arc<CertifiedKey>]>>,
}

impl Chooser {
    fn keys(&self) -> Arc<[Arc<CertifiedKey>]> {
        // Nothing panics while it is held; and if it did, what is in there is whole.
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, index: usize, key: CertifiedKey) {
        let mut keys: Vec<_> = self.keys().to_vec();
        keys[index] = Arc::new(key);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        self.choose(wanted.as_ref())
    }
}

impl Chooser {
    /// The first pair whose certificate has the name, else the first of all.
    fn choose(&self, wanted: Option<&ServerName<'_>>) -> Option<Arc<CertifiedKey>> {
        let keys = self.keys();
        let fits = |key: &&Arc<CertifiedKey>| {
            let certificate = key.cert.first().map(ParsedCertificate::try_from);
            match (certificate, wanted) {
                (Some(Ok(certificate)), Some(name)) => {
                    verify_server_name(&certificate, name).is_ok()
                }
                _ => false,
            }
        };
        keys.iter().find(fits).or_else(|| keys.first()).cloned()
    }
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chooser({} pairs)", self.keys().len())
    }
}

#[cfg(test)]
#[path = "certificates/tests.rs"]
mod tests;
