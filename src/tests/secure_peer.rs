//! Clients with TLS for whole-worker tests.
//!
//! Not here: any test. Invariant: what such a client sends and receives goes through the same
//! stage as in both programs.

use std::cell::RefCell;
use std::sync::Arc;

use ringwire_ring::sim::RawPeer;
use ringwire_transport::{Plain, Tls, TlsFailure};
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
};

use super::world::{World, is_whole};
use crate::app::Application;

/// A server's and a client's configuration that trust each other.
#[derive(Clone)]
pub(crate) struct Terms {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Terms {
    pub(crate) fn new() -> Self {
        Self::speaking(ALL_VERSIONS)
    }

    /// Both speak these versions only.
    pub(crate) fn speaking(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let provider = Arc::new(ring::default_provider());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let certificate = made.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate");
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("versions of the provider")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a pair");
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions of the provider")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), client: Arc::new(client) }
    }
}

/// A scripted client that speaks TLS.
pub(crate) struct SecurePeer {
    pub(crate) raw: RawPeer,
    inner: RefCell<Inner>,
}

struct Inner {
    tls: Tls,
    plain: Vec<u8>,
    joined: Vec<u8>,
    failure: Option<TlsFailure>,
    /// Records received, whole or not.
    wire: Vec<u8>,
}

impl SecurePeer {
    /// Says its first words.
    pub(crate) fn new(raw: RawPeer, terms: &Terms) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = Tls::client(&terms.client, name).expect("a configuration");
        let (plain, joined, wire) = (Vec::new(), Vec::new(), Vec::new());
        let inner = RefCell::new(Inner { tls, plain, joined, failure: None, wire });
        let peer = Self { raw, inner };
        peer.open(&mut []);
        peer
    }

    fn open(&self, bytes: &mut [u8]) {
        let mut inner = self.inner.borrow_mut();
        let Inner { tls, plain, joined, failure, .. } = &mut *inner;
        let mut out = Vec::new();
        let mut at = 0;
        loop {
            match tls.open(&mut bytes[at..], joined, &mut out) {
                Ok(opened) => {
                    match opened.plain {
                        Plain::None => {}
                        Plain::Here(place) => plain.extend_from_slice(&bytes[at..][place]),
                        Plain::Joined(place) => plain.extend_from_slice(&joined[place]),
                    }
                    at += opened.used;
                }
                Err(error) => *failure = Some(error),
            }
            if at == bytes.len() || failure.is_some() {
                break;
            }
        }
        if !out.is_empty() {
            self.raw.send(&out);
        }
    }

    /// Takes what has arrived.
    pub(crate) fn pump(&self) {
        let mut bytes = self.raw.take_received();
        self.inner.borrow_mut().wire.extend_from_slice(&bytes);
        self.open(&mut bytes);
    }

    pub(crate) fn send(&self, plain: &[u8]) {
        self.raw.send(&self.sealed(plain));
    }

    /// What `plain` is on the wire.
    pub(crate) fn sealed(&self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.inner.borrow_mut().tls.seal(plain, &mut out).expect("established");
        out
    }

    pub(crate) fn close_notify(&self) {
        let mut out = Vec::new();
        self.inner.borrow_mut().tls.close_notify(&mut out);
        self.raw.send(&out);
    }

    pub(crate) fn is_established(&self) -> bool {
        self.pump();
        self.inner.borrow().tls.is_established()
    }

    /// Whether the server has said within TLS that nothing more comes.
    pub(crate) fn is_closed(&self) -> bool {
        self.pump();
        self.inner.borrow().tls.is_peer_closed()
    }

    pub(crate) fn failure(&self) -> Option<TlsFailure> {
        self.pump();
        self.inner.borrow().failure.clone()
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        self.pump();
        self.inner.borrow().plain.clone()
    }

    pub(crate) fn take_received(&self) -> Vec<u8> {
        self.pump();
        std::mem::take(&mut self.inner.borrow_mut().plain)
    }

    /// Lengths of the records received since last asked.
    pub(crate) fn take_records(&self) -> Vec<usize> {
        let wire = std::mem::take(&mut self.inner.borrow_mut().wire);
        let (mut records, mut at) = (Vec::new(), 0);
        while let Some(&[_, _, _, high, low]) = wire[at..].first_chunk::<5>() {
            records.push(usize::from(u16::from_be_bytes([high, low])));
            at += 5 + records[records.len() - 1];
            if at > wire.len() {
                break;
            }
        }
        records
    }
}

/// A client on rustls' own buffered connection, for what the stage does not do by itself.
pub(crate) struct BufferedPeer {
    pub(crate) raw: RawPeer,
    connection: RefCell<ClientConnection>,
}

impl BufferedPeer {
    /// One whose handshake is done.
    pub(crate) fn connect<A: Application>(world: &World<A>, terms: &Terms) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&terms.client), name);
        let connection = RefCell::new(connection.expect("a configuration"));
        let peer = Self { raw: world.sim.connect(world.secure_address), connection };
        world.run_until(|| {
            peer.pump();
            !peer.connection.borrow().is_handshaking()
        });
        peer
    }

    fn pump(&self) {
        let mut connection = self.connection.borrow_mut();
        let received = self.raw.take_received();
        let mut bytes = &received[..];
        while !bytes.is_empty() {
            connection.read_tls(&mut bytes).expect("a slice");
            connection.process_new_packets().expect("what the server says is right");
        }
        let mut out = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut out).expect("a vector");
        }
        if !out.is_empty() {
            self.raw.send(&out);
        }
    }

    /// Asks the server to change its keys, and changes its own.
    pub(crate) fn update_keys(&self) {
        self.connection.borrow_mut().refresh_traffic_keys().expect("TLS 1.3");
        let mut out = Vec::new();
        let mut connection = self.connection.borrow_mut();
        while connection.wants_write() {
            connection.write_tls(&mut out).expect("a vector");
        }
        self.raw.send(&out);
    }
}

impl<A: Application> World<A> {
    /// A client whose handshake is done.
    pub(crate) fn connect_secure(&self, terms: &Terms) -> SecurePeer {
        let peer = SecurePeer::new(self.sim.connect(self.secure_address), terms);
        self.run_until(|| peer.is_established());
        peer
    }

    /// Sends a request and waits until the answer's head and body are there.
    pub(crate) fn exchange_secure(&self, peer: &SecurePeer, request: &str) -> String {
        peer.send(request.as_bytes());
        self.run_until(|| is_whole(&peer.received()) || peer.raw.is_ended());
        String::from_utf8(peer.take_received()).expect("an answer in ASCII")
    }
}
