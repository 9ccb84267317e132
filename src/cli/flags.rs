//! The command line as it is written: one field per flag, nothing checked against anything else.
//!
//! Not here: environment and file, which are spelled as flags too ([`super::sources`]). The text
//! of each field is what `--help` says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand};

use super::peer_flags::PeerFlags;
use super::values::{self, Cpus};
use crate::config::{Address, Compression, EngineChoice};
use crate::log::{Format, Level};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
const MONTH_MS: u64 = 30 * DAY_MS;
const KIBI: u64 = 1024;
const GIBI: u64 = 1 << 30;
const MILLION: u64 = 1_000_000;

const AFTER_HELP: &str = "\
Each flag is also read from the environment (--max-channels as RINGWIRE_MAX_CHANNELS) and from the
file given by --config (max-channels = \"100k\"). A flag comes before the environment, the
environment before the file. Lists are separated by commas, in the file they are arrays.

Sizes take k, m, g (1024), counts k, m (1000), times us, ms, s, m, h.

Exit codes: 0 stopped after a drain; 2 usage; 78 configuration, machine or kernel cannot, with the
cure (a bad value from environment or file included); 1 anything else.";

/// Real-time message server: WebSocket, Server-Sent Events, long polling and polling on io_uring.
#[derive(Debug, Parser)]
#[command(
    name = "ringwire",
    version,
    about,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub(super) struct Flags {
    #[command(subcommand)]
    pub(super) command: Option<Other>,

    /// Settings in TOML, keys spelled as the flags
    #[arg(long, value_name = "FILE", help_heading = "Operation")]
    pub(super) config: Option<PathBuf>,

    /// Public address, or unix:PATH; port 0: any free one; repeatable; beside --tls-listen none
    /// is needed [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = values::listen)]
    #[arg(help_heading = "Listening")]
    pub(super) listen: Vec<Address>,

    /// Public address for TLS, as --listen; repeatable
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = values::listen)]
    #[arg(help_heading = "Listening")]
    pub(super) tls_listen: Vec<Address>,

    /// Certificate chain, PEM; repeatable, chosen by the names in it, the first by default
    #[arg(long, value_name = "FILE", value_delimiter = ',', help_heading = "Listening")]
    pub(super) tls_cert: Vec<PathBuf>,

    /// Private key of the certificate in the same place, PEM; repeatable
    #[arg(long, value_name = "FILE", value_delimiter = ',', help_heading = "Listening")]
    pub(super) tls_key: Vec<PathBuf>,

    /// Address of /metrics, /healthz and /readyz [default: off]
    #[arg(long, value_name = "ADDR", value_parser = values::address)]
    #[arg(help_heading = "Listening")]
    pub(super) admin_listen: Option<SocketAddr>,

    /// Origin let in beside the request's own host; repeatable
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = values::origin)]
    #[arg(help_heading = "Listening")]
    pub(super) allowed_origin: Vec<String>,

    /// Subprotocol spoken, the preferred first; repeatable
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::subprotocol)]
    #[arg(help_heading = "Listening")]
    pub(super) subprotocol: Vec<String>,

    /// Worker threads, 1 to 64 [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = values::count::<usize, 1, 64>)]
    #[arg(help_heading = "Workers")]
    pub(super) workers: Option<usize>,

    /// CPUs the workers are pinned to, as 0,2-3 [default: those allowed to the process]
    #[arg(long, value_name = "LIST", value_parser = values::cpus)]
    #[arg(help_heading = "Workers")]
    pub(super) cpus: Option<Cpus>,

    /// Engine; auto takes uring, or else epoll and says why
    #[arg(long, value_name = "auto|uring|epoll", default_value = "auto")]
    #[arg(value_parser = values::engine, help_heading = "Workers")]
    pub(super) engine: EngineChoice,

    /// Receive buffers of each worker [default: 8x256k, before Linux 6.18 64x64k]
    #[arg(long, value_name = "COUNTxBYTES", value_parser = values::receive_buffers)]
    #[arg(help_heading = "Workers")]
    pub(super) receive_buffers: Option<(u16, u32)>,

    /// Send buffer of each socket (SO_SNDBUF) [default: the kernel's]
    #[arg(long, value_name = "BYTES", value_parser = values::size::<u32, KIBI, GIBI>)]
    #[arg(help_heading = "Workers")]
    pub(super) send_buffer: Option<u32>,

    /// Connections of the process [default: what descriptors and memory allow]
    #[arg(long, value_name = "N", value_parser = values::count::<u32, 1, { 100 * MILLION }>)]
    #[arg(help_heading = "Limits")]
    pub(super) max_connections: Option<u32>,

    /// Whether messages are compressed where the client offers it: off; shared, each message by
    /// itself; dedicated, a context per connection
    #[arg(long, value_name = "MODE", default_value = "off", value_parser = values::compression)]
    #[arg(help_heading = "Compression")]
    pub(super) compression: Compression,

    /// Shorter messages are not compressed
    #[arg(long, value_name = "BYTES", default_value = "256")]
    #[arg(value_parser = values::size::<usize, 0, GIBI>, help_heading = "Compression")]
    pub(super) compression_threshold: usize,

    /// Largest window of compression, 9 to 15 bits
    #[arg(long, value_name = "BITS", default_value = "15")]
    #[arg(value_parser = values::count::<u8, 9, 15>, help_heading = "Compression")]
    pub(super) max_window_bits: u8,

    /// Longest message of a client, inflated
    #[arg(long, value_name = "BYTES", default_value = "64k")]
    #[arg(value_parser = values::size::<usize, 1, GIBI>, help_heading = "Limits")]
    pub(super) max_message_size: usize,

    /// Bytes queued for a connection before it counts as slow; one message may overshoot it
    #[arg(long, value_name = "BYTES", default_value = "256k")]
    #[arg(value_parser = values::size::<usize, 1, GIBI>, help_heading = "Limits")]
    pub(super) max_backpressure: usize,

    #[command(flatten)]
    pub(super) peers: PeerFlags,

    /// For a whole request, head and body
    #[arg(long, value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = values::time::<1, DAY_MS>, help_heading = "Timeouts")]
    pub(super) header_timeout: Duration,

    /// From the accept to the end of the TLS handshake
    #[arg(long, value_name = "TIME", default_value = "5s")]
    #[arg(value_parser = values::time::<1, DAY_MS>, help_heading = "Timeouts")]
    pub(super) tls_handshake_timeout: Duration,

    /// Between two pings
    #[arg(long, value_name = "TIME", default_value = "25s")]
    #[arg(value_parser = values::time::<1, DAY_MS>, help_heading = "Timeouts")]
    pub(super) ping_interval: Duration,

    /// From a ping to its pong
    #[arg(long, value_name = "TIME", default_value = "8s")]
    #[arg(value_parser = values::time::<1, DAY_MS>, help_heading = "Timeouts")]
    pub(super) pong_timeout: Duration,

    /// From the server's Close to the end
    #[arg(long, value_name = "TIME", default_value = "5s")]
    #[arg(value_parser = values::time::<1, DAY_MS>, help_heading = "Timeouts")]
    pub(super) close_timeout: Duration,

    /// Between two requests
    #[arg(long, value_name = "TIME", default_value = "15s")]
    #[arg(value_parser = values::time::<1, DAY_MS>, help_heading = "Timeouts")]
    pub(super) keepalive_timeout: Duration,

    /// From SIGTERM to the exit at latest; may be 0s
    #[arg(long, value_name = "TIME", default_value = "30s")]
    #[arg(value_parser = values::time::<0, DAY_MS>, help_heading = "Timeouts")]
    pub(super) drain_timeout: Duration,

    /// Publications kept per channel
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = values::count::<usize, 1, MILLION>, help_heading = "Channels")]
    pub(super) history_size: usize,

    /// How long publications, and channels nobody reads, are kept
    #[arg(long, value_name = "TIME", default_value = "300s")]
    #[arg(value_parser = values::time::<1, MONTH_MS>, help_heading = "Channels")]
    pub(super) history_ttl: Duration,

    /// Publications replayed to one reader; more count as position lost
    #[arg(long, value_name = "N", default_value = "300")]
    #[arg(value_parser = values::count::<usize, 1, MILLION>, help_heading = "Channels")]
    pub(super) recovery_max_publication_limit: usize,

    /// Channels of the process; each worker takes an equal share
    #[arg(long, value_name = "N", default_value = "100k")]
    #[arg(value_parser = values::count::<usize, 1, { 100 * MILLION }>, help_heading = "Channels")]
    pub(super) max_channels: usize,

    /// Bytes of history of the process [default: a quarter of memory]
    #[arg(long, value_name = "BYTES", value_parser = values::size::<u64, KIBI, { u64::MAX }>)]
    #[arg(help_heading = "Channels")]
    pub(super) history_bytes_max: Option<u64>,

    /// File of tokens, one a line: a POST must carry one (Authorization: Bearer) to publish
    #[arg(long, value_name = "FILE", help_heading = "Channels")]
    pub(super) publish_token: Option<PathBuf>,

    /// Whether messages of WebSocket clients are published; off: only with a token
    #[arg(long, value_name = "on|off", default_value = "on", action = ArgAction::Set)]
    #[arg(value_parser = values::switch, help_heading = "Channels")]
    pub(super) client_publish: bool,

    /// Least important lines written
    #[arg(long, value_name = "error|warn|info|debug", default_value = "info")]
    #[arg(value_parser = values::level, help_heading = "Operation")]
    pub(super) log_level: Level,

    /// How lines look
    #[arg(long, value_name = "text|json", default_value = "text")]
    #[arg(value_parser = values::format, help_heading = "Operation")]
    pub(super) log_format: Format,
}

/// What the program does instead of serving.
#[derive(Debug, Subcommand)]
pub(super) enum Other {
    /// Say what this machine limits, and the command that cures it
    Doctor,
}
