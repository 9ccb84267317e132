//! A blocking client with TLS, and pairs of certificate and key in a folder of a test's own.
//!
//! Not here: any test. Invariant: it is rustls' own buffered connection, not the stage of the
//! programs, so that both are judged by something else.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};

use crate::harness::LIMIT;

/// A folder of a test's own, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringwire-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// Writes a new pair for `name` to `file`.crt and `file`.key.
    pub(crate) fn pair(&self, file: &str, name: &str) -> Pair {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let pair = self.named(file);
        fs::write(&pair.certificate, made.cert.pem()).unwrap();
        fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        pair
    }

    pub(crate) fn named(&self, file: &str) -> Pair {
        let path = |ending: &str| self.0.join(format!("{file}.{ending}")).display().to_string();
        Pair { certificate: path("crt"), key: path("key") }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Where a certificate and its key lie.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Pair {
    /// The flags that name it.
    pub(crate) fn flags(&self) -> [&str; 4] {
        ["--tls-cert", &self.certificate, "--tls-key", &self.key]
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_file(&self.certificate).unwrap().to_vec()
    }

    /// Takes the place of another, the certificate first.
    pub(crate) fn replace(&self, other: &Self) {
        fs::rename(&self.certificate, &other.certificate).unwrap();
        fs::rename(&self.key, &other.key).unwrap();
    }
}

/// A client's configuration that trusts these certificates, as they are now.
pub(crate) fn trusting(pairs: &[&Pair]) -> ClientConfig {
    speaking(pairs, ALL_VERSIONS)
}

/// The same for these versions only.
pub(crate) fn speaking(
    pairs: &[&Pair],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        let certificate = CertificateDer::from_pem_file(Path::new(&pair.certificate)).unwrap();
        roots.add(certificate).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A client whose handshake is done.
pub(crate) struct SecureClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

impl SecureClient {
    pub(crate) fn connect(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> Self {
        Self::try_connect(address, name, config).unwrap()
    }

    pub(crate) fn try_connect(
        address: SocketAddr,
        name: &str,
        config: &Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_nodelay(true)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, received: Vec::new() })
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Takes `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            assert!(self.read_more(), "the end, after {:?}", self.received);
        }
        self.received.drain(..len).collect()
    }

    /// False at the end that the server has announced; one that it has not fails the test.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let len = self.stream.read(&mut buffer).unwrap();
        self.received.extend_from_slice(&buffer[..len]);
        len > 0
    }

    /// Everything up to the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.received)
    }

    /// The head of an answer.
    pub(crate) fn head(&mut self) -> String {
        let end = loop {
            let found = self.received.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = found {
                break end + 4;
            }
            assert!(self.read_more(), "the end, after {:?}", self.received);
        };
        String::from_utf8(self.take(end)).unwrap()
    }

    /// Head and body of the answer to a request.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> (String, Vec<u8>) {
        self.send(request);
        let head = self.head();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        let body = self.take(length);
        (head, body)
    }
}
