//! A TLS terminator for tests: rustls' own buffered connection before a plain server, so that the
//! client's TLS is not only tested against itself.
#![allow(dead_code, reason = "shared by test targets that need different parts of it")]

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What is wrong with the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    OtherName,
    Expired,
}

/// A terminator that runs until the test's process ends.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    /// Its certificate, for whoever is to trust it.
    pub(crate) pem: String,
}

impl Front {
    /// Before the server at `plain`.
    pub(crate) fn start(plain: SocketAddr, flaw: Flaw) -> Self {
        let name = if flaw == Flaw::OtherName { "elsewhere.example" } else { "127.0.0.1" };
        let mut wanted = CertificateParams::new([name.to_owned()]).expect("a good name");
        // Issuers are found by name, and each of these is its own.
        wanted.distinguished_name.push(DnType::CommonName, format!("{flaw:?} before {plain}"));
        if flaw == Flaw::Expired {
            wanted.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = wanted.self_signed(&key).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            );
        let mut config = config.expect("a key of its certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                std::thread::spawn(move || terminate(client, plain, config));
            }
        });
        Self { address, pem: certificate.pem() }
    }

    /// The certificate in a file of its own.
    pub(crate) fn write_pem(&self, folder: PathBuf) -> PathBuf {
        let path = folder.join(format!("{}-{}.pem", std::process::id(), self.address.port()));
        std::fs::write(&path, &self.pem).expect("the file can be written");
        path
    }
}

/// Carries one connection, both ways; `None` is an end.
fn terminate(client: TcpStream, plain: SocketAddr, config: Arc<ServerConfig>) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let server = TcpStream::connect(plain).ok()?;
    server.set_nodelay(true).ok()?;
    let mut tls = ServerConnection::new(config).ok()?;
    tls.set_buffer_limit(None);
    let tls = Arc::new(Mutex::new(tls));
    let (to_client, from_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let other = Arc::clone(&tls);
    std::thread::spawn(move || encrypt(from_server, to_client, &other));
    let done = decrypt(&client, &server, &tls);
    let _ = server.shutdown(Shutdown::Write);
    done
}

fn decrypt(
    mut client: &TcpStream,
    mut server: &TcpStream,
    tls: &Mutex<ServerConnection>,
) -> Option<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = client.read(&mut buffer).ok().filter(|len| *len > 0)?;
        let mut bytes = &buffer[..len];
        let mut plain = Vec::new();
        let mut tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_good = true;
        while !bytes.is_empty() && is_good {
            tls.read_tls(&mut bytes).ok()?;
            is_good = tls.process_new_packets().is_ok();
            // Ends with "would block" once all is read.
            let _ = tls.reader().read_to_end(&mut plain);
        }
        while tls.wants_write() {
            tls.write_tls(&mut client).ok()?;
        }
        drop(tls);
        server.write_all(&plain).ok()?;
        if !is_good {
            let _ = client.shutdown(Shutdown::Both);
            return None;
        }
    }
}

fn encrypt(
    mut server: TcpStream,
    mut client: TcpStream,
    tls: &Mutex<ServerConnection>,
) -> Option<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = server.read(&mut buffer).unwrap_or(0);
        let mut tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
        match len {
            0 => tls.send_close_notify(),
            _ => tls.writer().write_all(&buffer[..len]).ok()?,
        }
        while tls.wants_write() {
            tls.write_tls(&mut client).ok()?;
        }
        if len == 0 {
            return client.shutdown(Shutdown::Write).ok();
        }
    }
}
