//! What the server runs with, resolved and checked: the end of the two stages of the command line.
//!
//! Not here: flags, environment and files ([`crate::cli`] reads those). Invariant: a [`Config`]
//! exists only after every value was found within its bounds and the values were found to agree
//! with each other and with the machine; there is no default for the whole, only for each value.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod peers;

pub use peers::{PeerLimits, TrustedProxy};
pub use ringwire_ring::Address;
use ringwire_transport::WORKERS_MAX;

use crate::failure::Failure;
use crate::log;
use crate::machine::Machine;
use crate::tokens::Tokens;

/// Which engine drives the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring where the kernel allows it, else epoll; said loudly which and why.
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// Where the server listens, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address; port 0 asks for any free one.
    pub address: Address,
    /// Whether clients speak TLS there.
    pub tls: bool,
}

impl Listen {
    /// A listener without TLS.
    pub fn plain(address: impl Into<Address>) -> Self {
        Self { address: address.into(), tls: false }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, if self.tls { " (tls)" } else { "" })
    }
}

/// Whether messages are compressed with permessage-deflate, where the client offers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Never.
    Off,
    /// Each message stands for itself: no memory per connection.
    Shared,
    /// Each connection has contexts of its own, as it wants: shorter messages for more memory.
    Dedicated,
}

/// Where a certificate with its key lies, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl fmt::Display for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.certificate.display(), self.key.display())
    }
}

/// Everything the server can be told. Sizes are bytes, times are [`Duration`]s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The public addresses, 1 to 64.
    pub listeners: Vec<Listen>,
    /// The certificates of listeners with TLS; the first is the default. Some if one has TLS.
    pub certificates: Vec<CertificateFiles>,
    /// Worker threads, 1 to 1024; may exceed the CPUs.
    pub workers: usize,
    /// The CPU of each worker: as many entries as workers, each allowed to the process.
    pub cpus: Vec<usize>,
    /// Which engine drives the sockets.
    pub engine: EngineChoice,
    /// Connections of the whole process, at least 1; `None`: what descriptors and memory allow.
    pub connections_max: Option<u32>,
    /// Receive buffers of each worker, count (a power of two, at most 32768) and bytes of each
    /// (64 to 16 Mi); `None`: the engine's choice.
    pub receive_buffers: Option<(u16, u32)>,
    /// `SO_SNDBUF` in bytes, 1 Ki to 1 Gi; `None`: the kernel's choice.
    pub send_buffer_bytes: Option<u32>,
    /// Longest message taken from a client, in bytes after inflating, 1 to 1 Gi.
    pub message_bytes_max: usize,
    /// Whether messages are compressed.
    pub compression: Compression,
    /// Shorter messages are not compressed, bytes, at most 1 Gi.
    pub compression_threshold_bytes: usize,
    /// The largest window of compression, 9 to 15 bits.
    pub window_bits_max: u8,
    /// Bytes queued for one connection before it counts as slow, 1 to 1 Gi. Tested before
    /// queueing, so one message may overshoot it.
    pub backpressure_bytes_max: usize,
    /// From the first byte of a request to the end of its head, in total. 1 ms to 24 h, as every
    /// time below that says nothing else.
    pub header_timeout: Duration,
    /// From the accept to the end of a TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// Between two pings of a WebSocket.
    pub ping_interval: Duration,
    /// From a ping to its pong.
    pub pong_timeout: Duration,
    /// From our Close, or our FIN, to the end of the connection.
    pub close_timeout: Duration,
    /// How long a connection may wait between two requests.
    pub keepalive_timeout: Duration,
    /// From the signal to the exit, whoever is still connected. May be 0.
    pub drain_timeout: Duration,
    /// Publications kept per channel, 1 to 1 M.
    pub history_size: usize,
    /// How long a publication is kept, and a stream nobody reads. At most 30 days.
    pub history_ttl: Duration,
    /// Publications replayed to one reader at most, 1 to 1 M; more counts as position lost.
    pub recovery_publications_max: usize,
    /// Channels of the whole process, 1 to 100 M.
    pub channels_max: usize,
    /// Bytes of history of the whole process, at least 1 Ki.
    pub history_bytes_max: u64,
    /// WebSocket subprotocols spoken, the preferred first.
    pub subprotocols: Vec<String>,
    /// Origins let in beside the request's own host: `scheme://host[:port]`, lower case.
    pub allowed_origins: Vec<String>,
    /// Tokens one of which a POST must carry to publish; `None`: none is needed.
    pub publish_tokens: Option<Arc<Tokens>>,
    /// Whether what a client sends to its channel's WebSocket is published without a token.
    pub client_publish: bool,
    /// What one peer may do.
    pub peers: PeerLimits,
    /// Least important level that is written.
    pub log_level: log::Level,
    /// How log lines look.
    pub log_format: log::Format,
    /// The admin listener; `None`: off.
    pub admin_listen: Option<SocketAddr>,
}

impl Config {
    /// Whether the server must know where connections come from, which costs a little for each.
    #[must_use]
    pub fn needs_addresses(&self) -> bool {
        self.peers.need_addresses() || self.log_level >= log::Level::Debug
    }
}

/// History where the machine does not say how much memory it has.
const HISTORY_BYTES_FALLBACK: u64 = 256 << 20;

/// A quarter of the memory this process may use.
pub(crate) fn history_bytes_default(machine: &Machine) -> u64 {
    machine.memory_bytes().map_or(HISTORY_BYTES_FALLBACK, |bytes| bytes / 4)
}

/// The CPU of each worker: as many workers as CPUs if not said otherwise, and the CPUs in turn
/// when there are more workers.
pub(crate) fn assign_cpus(
    workers: Option<usize>,
    chosen: Option<Vec<usize>>,
    machine: &Machine,
) -> Result<Vec<usize>, Failure> {
    let allowed = machine.cpus_allowed().filter(|cpus| !cpus.is_empty());
    if let (Some(chosen), Some(allowed)) = (&chosen, &allowed)
        && let Some(cpu) = chosen.iter().find(|cpu| !allowed.contains(cpu))
    {
        let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        return Err(Failure::configuration(format!(
            "--cpus: CPU {cpu} is not allowed to this process; choose among {}, or start it with \
             more (taskset --cpu-list, or the container's cpuset)",
            names.join(",")
        )));
    }
    let cpus = chosen.or(allowed).unwrap_or_else(|| vec![0]);
    let workers = workers.unwrap_or_else(|| cpus.len().min(WORKERS_MAX));
    Ok(cpus.into_iter().cycle().take(workers).collect())
}

/// The public addresses: without any that was asked for, one on loopback.
pub(crate) fn listeners(plain: Vec<Address>, secure: Vec<Address>) -> Vec<Listen> {
    if plain.is_empty() && secure.is_empty() {
        return vec![Listen::plain(SocketAddr::from(([127, 0, 0, 1], 8080)))];
    }
    let secure = secure.into_iter().map(|address| Listen { address, tls: true });
    plain.into_iter().map(Listen::plain).chain(secure).collect()
}

/// Each certificate with its key.
pub(crate) fn pair_certificates(
    certificates: Vec<PathBuf>,
    keys: Vec<PathBuf>,
) -> Result<Vec<CertificateFiles>, Failure> {
    if certificates.len() != keys.len() {
        return Err(Failure::configuration(format!(
            "{} --tls-cert and {} --tls-key do not pair; give a key for each certificate, in the \
             same order",
            certificates.len(),
            keys.len()
        )));
    }
    let pairs = certificates.into_iter().zip(keys);
    Ok(pairs.map(|(certificate, key)| CertificateFiles { certificate, key }).collect())
}

/// A listener with TLS needs a certificate, and a certificate a listener.
pub(crate) fn check_certificates(
    listeners: &[Listen],
    certificates: &[CertificateFiles],
) -> Result<(), Failure> {
    let is_secure = listeners.iter().any(|listen| listen.tls);
    match (is_secure, certificates.is_empty()) {
        (true, true) => Err(Failure::configuration(
            "--tls-listen has no certificate; give --tls-cert FILE and --tls-key FILE",
        )),
        (false, false) => Err(Failure::configuration(
            "--tls-cert serves nobody; give --tls-listen ADDR, or leave it out",
        )),
        _ => Ok(()),
    }
}

/// Most public addresses.
const LISTENERS_MAX: usize = 64;

/// No two addresses may overlap, the public ones and that of the admin listener.
pub(crate) fn check_addresses(
    listeners: &[Listen],
    admin: Option<SocketAddr>,
) -> Result<(), Failure> {
    if listeners.len() > LISTENERS_MAX {
        return Err(Failure::configuration(format!(
            "{} public addresses are too many; give at most {LISTENERS_MAX}",
            listeners.len()
        )));
    }
    for (index, listen) in listeners.iter().enumerate() {
        let public = &listen.address;
        if let (Some(public), Some(admin)) = (public.tcp(), admin)
            && overlap(public, admin)
        {
            return Err(Failure::configuration(format!(
                "--admin-listen {admin} overlaps --listen {public}; give it another port"
            )));
        }
        let clash = listeners[..index].iter().map(|other| &other.address).find(|&other| {
            match (other.tcp(), public.tcp()) {
                (Some(other), Some(public)) => overlap(other, public),
                _ => other == public,
            }
        });
        if let Some(other) = clash {
            return Err(Failure::configuration(format!(
                "{public} overlaps {other}, which is listened on as well; leave one of them out"
            )));
        }
    }
    Ok(())
}

/// Whether a client of one address could mean the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_same = one.ip() == other.ip();
    one.port() != 0
        && one.port() == other.port()
        && (is_same || one.ip().is_unspecified() || other.ip().is_unspecified())
}
