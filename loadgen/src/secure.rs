//! TLS as a client's user chooses it: whom to trust, and whether sessions are taken up again.
//!
//! Not here: the connection's side (`ringwire_transport::Tls`). Invariant: what is made here can be
//! used: a file that is not there, or holds nothing, is refused before anything is opened.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringwire_transport::{Tls, TlsFailure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use serde::{Deserialize, Serialize};

use crate::outcome::Failure;

/// Where systems keep the certificates that they trust, in one file.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The one application protocol that is spoken.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Sessions that are kept: all connections go to one server.
const SESSIONS_MAX: usize = 256;

/// Whose certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// Those that the system trusts.
    System,
    /// Those in this PEM file, and no others.
    File(PathBuf),
    /// Those in this text of PEM, and no others.
    Pem(String),
    /// Anybody's, for any name: whoever stands in between can read everything.
    Anyone,
}

/// TLS to one server, shared by all connections to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Wish", into = "Wish")]
pub struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    wish: Wish,
}

/// What it was made from: what travels to agents. A file travels as what is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wish {
    host: String,
    trust: Trust,
    resumption: bool,
    #[serde(default)]
    oldest: Version,
}

/// Newest first.
static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// 1.2, and whatever is newer.
    #[default]
    Tls12,
    /// 1.3, and whatever is newer.
    Tls13,
}

impl Version {
    fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => &VERSIONS,
            Self::Tls13 => &VERSIONS[..1],
        }
    }
}

impl TryFrom<Wish> for Secure {
    type Error = Failure;

    fn try_from(Wish { host, trust, resumption, oldest }: Wish) -> Result<Self, Failure> {
        if let Trust::File(path) = trust {
            let path = path.display();
            let line = format!("{path} is a file of another machine, which is not looked for");
            return Err(Failure::configuration(line));
        }
        Self::from_version(oldest, &host, &trust, resumption)
    }
}

impl From<Secure> for Wish {
    fn from(secure: Secure) -> Self {
        secure.wish
    }
}

impl Secure {
    /// TLS to `host`, a name or an address. `resumption` says whether a connection may take up an
    /// earlier one's session.
    ///
    /// # Errors
    /// Code 104 with what is wrong and the cure.
    pub fn new(host: &str, trust: &Trust, resumption: bool) -> Result<Self, Failure> {
        Self::from_version(Version::default(), host, trust, resumption)
    }

    /// The same, over `oldest` or a newer version only.
    ///
    /// # Errors
    /// Code 104 with what is wrong and the cure.
    pub fn from_version(
        oldest: Version,
        host: &str,
        trust: &Trust,
        resumption: bool,
    ) -> Result<Self, Failure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            let cure = "use a host name or an address";
            Failure::configuration(format!("{host}: not a name that a certificate has; {cure}"))
        })?;
        let pem = match trust {
            Trust::File(path) => Some(read_pem(path)?),
            Trust::Pem(pem) => Some(pem.clone()),
            Trust::System | Trust::Anyone => None,
        };
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Anyone => Arc::new(Credulous(provider.signature_verification_algorithms)),
            Trust::System => verifier(system_roots()?, &provider)?,
            Trust::File(_) | Trust::Pem(_) => {
                verifier(roots(pem.as_deref().unwrap_or_default().as_bytes()), &provider)?
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(oldest.and_newer())
            .map_err(|error| Failure::other(format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        config.resumption = match resumption {
            true => Resumption::in_memory_sessions(SESSIONS_MAX),
            false => Resumption::disabled(),
        };
        let trust = pem.map_or_else(|| trust.clone(), Trust::Pem);
        let wish = Wish { host: host.to_owned(), trust, resumption, oldest };
        Ok(Self { config: Arc::new(config), name, wish })
    }

    /// The start of a connection, and its first words.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) -> Result<Tls, TlsFailure> {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
        //# Clients MUST use the Server Name Indication extension in the TLS handshake
        //# [RFC6066].
        let mut tls = Tls::client(&self.config, self.name.clone())?;
        tls.open(&mut [], &mut Vec::new(), out)?;
        Ok(tls)
    }
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Failure> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Failure::configuration(format!("the trusted certificates: {error}")))
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let bundle = SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    let roots = bundle.and_then(|path| fs::read(path).ok()).map(|pem| roots(&pem));
    roots.filter(|roots| !roots.is_empty()).ok_or_else(|| {
        let cure = "install ca-certificates, or use --cacert or --insecure";
        Failure::configuration(format!("this system has no certificates to trust: {cure}"))
    })
}

/// The text of a file that holds certificates.
fn read_pem(path: &Path) -> Result<String, Failure> {
    let wrong =
        |what: String| Failure::configuration(format!("--cacert {}: {what}", path.display()));
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    if roots(&pem).is_empty() {
        let line = "no certificate in it; use a PEM file with BEGIN CERTIFICATE";
        return Err(wrong(line.to_owned()));
    }
    Ok(String::from_utf8_lossy(&pem).into_owned())
}

/// What can be used of a PEM file; a system's bundle may hold what rustls cannot read.
fn roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    roots
}

/// Accepts every certificate, but not a handshake that was tampered with.
#[derive(Debug)]
struct Credulous(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //= type=test
    //# Clients MUST use the Server Name Indication extension in the TLS handshake [RFC6066].
    #[test]
    fn the_first_words_name_the_server() {
        let first_words = |host: &str| {
            let mut words = Vec::new();
            Secure::new(host, &Trust::Anyone, false).unwrap().begin(&mut words).unwrap();
            words
        };
        let holds = |words: &[u8], name: &[u8]| words.windows(name.len()).any(|w| w == name);
        assert!(holds(&first_words("chat.example"), b"chat.example"));
        // An address is no name (RFC 6066 section 3).
        assert!(!holds(&first_words("127.0.0.1"), b"127.0.0.1"));
    }
}
