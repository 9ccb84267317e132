//! Certificates, configurations and connected pairs for the tests of TLS.

#![expect(clippy::unwrap_used, reason = "for tests only")]

use std::sync::Arc;

use ringwire_transport::{Plain, Tls, TlsFailure};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};

/// The name in the certificate.
pub(crate) const NAME: &str = "localhost";

/// A server's and a client's configuration that trust each other.
pub(crate) struct Terms {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// What a pair of configurations is to speak.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) suite: SupportedCipherSuite,
    pub(crate) version: &'static SupportedProtocolVersion,
}

/// Every suite of the provider that a certificate with an ECDSA key can be used with.
pub(crate) fn wishes() -> Vec<Wish> {
    let suites = ring::default_provider().cipher_suites;
    let suites = suites.into_iter().filter(|suite| !format!("{:?}", suite.suite()).contains("RSA"));
    suites.map(|suite| Wish { suite, version: suite.version() }).collect()
}

impl Terms {
    pub(crate) fn new(wish: Wish) -> Self {
        Self::with(wish, |_| {}, |_| {})
    }

    pub(crate) fn with(
        wish: Wish,
        server_extra: impl FnOnce(&mut ServerConfig),
        client_extra: impl FnOnce(&mut ClientConfig),
    ) -> Self {
        let provider = ring::default_provider();
        let provider = Arc::new(CryptoProvider { cipher_suites: vec![wish.suite], ..provider });
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let certificate = made.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[wish.version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[wish.version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        server_extra(&mut server);
        client_extra(&mut client);
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    pub(crate) fn server(&self) -> End {
        End::new(Tls::server(&self.server).unwrap())
    }

    pub(crate) fn client(&self) -> End {
        let name = ServerName::try_from(NAME).unwrap();
        let mut end = End::new(Tls::client(&self.client, name).unwrap());
        end.take(&mut []).unwrap();
        end
    }

    /// Both ends, their handshake done.
    pub(crate) fn pair(&self) -> (End, End) {
        let (mut server, mut client) = (self.server(), self.client());
        exchange(&mut client, &mut server).unwrap();
        assert!(server.tls.is_established() && client.tls.is_established());
        (server, client)
    }
}

/// One end, what it wants sent, and the plaintext it received.
pub(crate) struct End {
    pub(crate) tls: Tls,
    pub(crate) out: Vec<u8>,
    pub(crate) plain: Vec<u8>,
    joined: Vec<u8>,
}

impl End {
    fn new(tls: Tls) -> Self {
        Self { tls, out: Vec::new(), plain: Vec::new(), joined: Vec::new() }
    }

    /// Receives `bytes` as a server would. Bounded: every call uses something.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Result<(), TlsFailure> {
        let mut at = 0;
        loop {
            let opened = self.tls.open(&mut bytes[at..], &mut self.joined, &mut self.out)?;
            match opened.plain {
                Plain::None => {}
                Plain::Here(place) => self.plain.extend_from_slice(&bytes[at..][place]),
                Plain::Joined(place) => self.plain.extend_from_slice(&self.joined[place]),
            }
            at += opened.used;
            if at == bytes.len() {
                return Ok(());
            }
            assert!(opened.used > 0, "a call that used nothing");
        }
    }

    pub(crate) fn say(&mut self, plain: &[u8]) {
        self.tls.seal(plain, &mut self.out).unwrap();
    }

    pub(crate) fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// Carries what each end wants sent to the other until both are silent.
pub(crate) fn exchange(one: &mut End, other: &mut End) -> Result<(), TlsFailure> {
    while !one.out.is_empty() || !other.out.is_empty() {
        other.take(&mut one.take_out())?;
        one.take(&mut other.take_out())?;
    }
    Ok(())
}
