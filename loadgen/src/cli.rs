//! Flags as people type them, each also as `LOADGEN_*` in the environment.
//!
//! Here only form is checked: a flag that cannot be read is a usage error, exit code 2. Whether
//! the flags make sense together is decided by [`plan`], exit code 104.

pub(crate) mod agents;
pub(crate) mod file;
pub(crate) mod outputs;
pub(crate) mod plan;
pub(crate) mod server;
pub(crate) mod speech;
pub(crate) mod traffic;
pub(crate) mod units;
pub(crate) mod url;

use clap::{Args, Parser, Subcommand, ValueEnum};
use loadgen::scenario::{EngineChoice, Mode, Payload, Transport};
use loadgen::secure::Version;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use self::file::FileFlags;
pub(crate) use self::outputs::{DiffFlags, OutputFlags, RepeatFlags, ReportFlags};
use self::speech::{RouteFlags, SpeechFlags};
use self::units::Fraction;
use self::url::Url;

/// Measures real-time servers over WebSocket, Server-Sent Events, long polling and polling.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 2 usage, 96 invalid run (the generator could not keep \
    up), 99 a threshold was missed, 104 impossible plan, 105 interrupted, 107 the server could not \
    be reached.\n\
    Counts take k and m, sizes k and m (1,024), times us, ms, s, m and h."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure one scenario against one URL
    Run(Box<RunFlags>),
    /// Publish the same over all four transports of one server and compare what each costs
    Compare(Box<CompareFlags>),
    /// Show a stored result again, or the sum of several bundles, and write it in other kinds
    Report(Box<ReportFlags>),
    /// Say what a new result says about an old one, and how surely
    Diff(DiffFlags),
    /// Say what this machine limits, and the command that cures it
    Doctor,
    /// Take this machine's share of the plans that `run --nats URL` deals out
    Agent(agents::AgentFlags),
    /// Be the client that a conformance suite tests (Autobahn's protocol): echo, case by case
    Testee(Box<TesteeFlags>),
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunFlags {
    /// ws://HOST:PORT/PATH or wss://, or http:// or https:// with --transport
    #[arg(value_parser = url::parse)]
    pub(crate) url: Url,
    /// How subscribers receive, for http URLs
    #[arg(long, env = "LOADGEN_TRANSPORT")]
    pub(crate) transport: Option<TransportFlag>,
    /// echo: request and reply; fanout: publishers and subscribers; idle: hold; churn: connect and
    /// close [default: echo on ws, else fanout]
    #[arg(long, env = "LOADGEN_MODE")]
    pub(crate) mode: Option<ModeFlag>,
    /// Connections; in fanout the subscribers
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", default_value = "50", value_name = "N")]
    #[arg(value_parser = units::count_32, alias = "clients")]
    pub(crate) connections: u32,
    /// Length of the measured time, without --warmup [default: 10s]
    #[arg(short, long, env = "LOADGEN_DURATION", value_name = "TIME")]
    #[arg(value_parser = units::duration_ns)]
    pub(crate) duration: Option<u64>,
    /// Open loop: messages per second in total; without it each connection waits for its reply
    #[arg(short = 'R', long, env = "LOADGEN_RATE", value_name = "PER_SECOND")]
    #[arg(value_parser = units::rate, alias = "rps", alias = "qps")]
    pub(crate) rate: Option<Fraction>,
    /// Messages without a reply per connection [default: 1, with --rate unlimited]
    #[arg(long, env = "LOADGEN_IN_FLIGHT", value_name = "N", value_parser = units::count_32)]
    pub(crate) in_flight: Option<u32>,
    /// Time between two polls of one connection [default: 1s]
    #[arg(long, env = "LOADGEN_POLL_INTERVAL", value_name = "TIME", value_delimiter = ',')]
    #[arg(value_parser = units::duration_ns)]
    pub(crate) poll_interval: Vec<u64>,
    #[command(flatten)]
    pub(crate) server: server::ServerFlags,
    #[command(flatten)]
    pub(crate) traffic: traffic::TrafficFlags,
    #[command(flatten)]
    pub(crate) agents: agents::AgentsFlags,
    #[command(flatten)]
    pub(crate) tls: TlsFlags,
    #[command(flatten)]
    pub(crate) speech: SpeechFlags,
    #[command(flatten)]
    pub(crate) file: FileFlags,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) repeat: RepeatFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

/// Flags of `testee`.
#[derive(Debug, Args)]
pub(crate) struct TesteeFlags {
    /// ws://HOST:PORT or wss:// of the fuzzing server
    #[arg(value_parser = url::parse)]
    pub(crate) url: Url,
    /// What the reports call this client
    #[arg(long, env = "LOADGEN_AGENT", default_value = "loadgen", value_name = "NAME")]
    pub(crate) agent: String,
    /// Only these of the suite's cases, by number: 1-16,40 [default: all]
    #[arg(long, env = "LOADGEN_CASES", value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = units::cases)]
    pub(crate) cases: Vec<RangeInclusive<u32>>,
    /// Connect to this Unix socket; the URL still says host and path
    #[arg(long, env = "LOADGEN_UNIX_SOCKET", value_name = "PATH")]
    pub(crate) unix_socket: Option<PathBuf>,
    /// The largest message that is echoed; a larger one is answered with Close 1009
    #[arg(long, env = "LOADGEN_MAX_MESSAGE_SIZE", default_value = "64m", value_name = "BYTES")]
    #[arg(value_parser = units::size)]
    pub(crate) max_message_size: u64,
    /// What carries the client
    #[arg(long, env = "LOADGEN_ENGINE", default_value = "auto")]
    pub(crate) engine: EngineFlag,
    /// Offer permessage-deflate, and compress every message where it is accepted
    #[arg(long, env = "LOADGEN_COMPRESSION", default_value = "on")]
    pub(crate) compression: SwitchFlag,
    #[command(flatten)]
    pub(crate) tls: TlsFlags,
    /// Only the last line
    #[arg(long, env = "LOADGEN_QUIET")]
    pub(crate) quiet: bool,
}

/// What says where the server of `compare` is, beside its URL.
const SERVERS: [&str; 5] = ["server_command", "ws_url", "sse_url", "longpoll_url", "poll_url"];

/// Flags of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareFlags {
    /// http://HOST:PORT or https:// of a running server; not needed with --server-command
    #[arg(value_parser = url::parse)]
    #[arg(required_unless_present_any = SERVERS)]
    pub(crate) url: Option<Url>,
    /// Subscribers of each row
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", default_value = "200", value_name = "N")]
    #[arg(value_parser = units::count_32)]
    pub(crate) connections: u32,
    /// Measured time of one row in one round [default: 10s, with --quick 4s]
    #[arg(short, long, env = "LOADGEN_DURATION", value_name = "TIME")]
    #[arg(value_parser = units::duration_ns)]
    pub(crate) duration: Option<u64>,
    /// Publications per second in total
    #[arg(
        short = 'R',
        long,
        env = "LOADGEN_RATE",
        default_value = "20",
        value_name = "PER_SECOND"
    )]
    #[arg(value_parser = units::rate)]
    pub(crate) rate: Fraction,
    /// Poll intervals, a row each [default: 1s and 100ms]
    #[arg(long, env = "LOADGEN_POLL_INTERVAL", value_name = "TIME", value_delimiter = ',')]
    #[arg(value_parser = units::duration_ns)]
    pub(crate) poll_interval: Vec<u64>,
    /// Shorter blocks: under a minute
    #[arg(long, env = "LOADGEN_QUICK")]
    pub(crate) quick: bool,
    /// Process of a running server: its CPU time is measured
    #[arg(long, env = "LOADGEN_SERVER_PID", value_name = "PID")]
    #[arg(conflicts_with = "server_command")]
    pub(crate) server_pid: Option<u32>,
    /// Start this server afresh for every row of every round; {port} and {history} are filled in
    #[arg(long, env = "LOADGEN_SERVER_COMMAND", value_name = "COMMAND")]
    #[arg(conflicts_with_all = ["url", "unix_socket"])]
    pub(crate) server_command: Option<String>,
    /// Publications that the server keeps per channel [default: what {history} says, else 100]
    #[arg(long, env = "LOADGEN_HISTORY", value_name = "N", value_parser = units::count)]
    pub(crate) history: Option<u64>,
    #[command(flatten)]
    pub(crate) tls: TlsFlags,
    #[command(flatten)]
    pub(crate) routes: RouteFlags,
    #[command(flatten)]
    pub(crate) speech: SpeechFlags,
    #[command(flatten)]
    pub(crate) file: FileFlags,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

/// Flags about the load that both commands take.
#[derive(Debug, Args)]
pub(crate) struct LoadFlags {
    /// Time under load before the measured time [default: 0; in compare 1s, with --quick 100ms]
    #[arg(long, env = "LOADGEN_WARMUP", value_name = "TIME", value_parser = units::duration_ns)]
    pub(crate) warmup: Option<u64>,
    /// Bytes of a payload, at least 20
    #[arg(long, env = "LOADGEN_SIZE", default_value = "64", value_name = "BYTES")]
    #[arg(value_parser = units::size)]
    pub(crate) size: u64,
    /// What fills it: random digits, or text that compresses as JSON does
    #[arg(long, env = "LOADGEN_PAYLOAD", default_value = "random")]
    pub(crate) payload: PayloadFlag,
    /// Publishers in fanout, on top of --connections
    #[arg(long, env = "LOADGEN_PUBLISHERS", default_value = "1", value_name = "N")]
    #[arg(value_parser = units::count_32)]
    pub(crate) publishers: u32,
    /// Channels that subscribers and publications are dealt over
    #[arg(long, env = "LOADGEN_CHANNELS", default_value = "1", value_name = "N")]
    #[arg(value_parser = units::count_32)]
    pub(crate) channels: u32,
    /// Connect to this Unix socket; the URL still says host and path
    #[arg(long, env = "LOADGEN_UNIX_SOCKET", value_name = "PATH")]
    pub(crate) unix_socket: Option<PathBuf>,
    /// Connect to this address instead of the URL's; the URL still says host and path
    #[arg(long, env = "LOADGEN_CONNECT_TO", value_name = "HOST:PORT")]
    #[arg(value_parser = url::authority, conflicts_with = "unix_socket")]
    pub(crate) connect_to: Option<Url>,
    /// Connections opened per second [default: as fast as 1,000 pending allow]
    #[arg(long, env = "LOADGEN_CONNECT_RATE", value_name = "PER_SECOND")]
    #[arg(value_parser = units::count_32)]
    pub(crate) connect_rate: Option<u32>,
    /// Measuring threads
    #[arg(short, long, env = "LOADGEN_THREADS", default_value = "1", value_name = "N")]
    #[arg(value_parser = units::count_32)]
    pub(crate) threads: u32,
    /// Processors that the threads are pinned to: 0,2-3
    #[arg(long, env = "LOADGEN_CPUS", value_name = "LIST")]
    pub(crate) cpus: Option<String>,
    /// What carries the client
    #[arg(long, env = "LOADGEN_ENGINE", default_value = "auto")]
    pub(crate) engine: EngineFlag,
    /// Where the payloads come from
    #[arg(long, env = "LOADGEN_SEED", default_value = "1", value_name = "N")]
    pub(crate) seed: u64,
    /// A further request header, repeatable
    #[arg(short = 'H', long, env = "LOADGEN_HEADER", value_name = "NAME: VALUE")]
    #[arg(value_parser = units::header)]
    pub(crate) header: Vec<(String, String)>,
    /// A subprotocol to offer, repeatable
    #[arg(long, env = "LOADGEN_SUBPROTOCOL", value_name = "NAME", value_delimiter = ',')]
    pub(crate) subprotocol: Vec<String>,
    /// Offer permessage-deflate on WebSockets, and compress where it is accepted
    #[arg(long, env = "LOADGEN_COMPRESSION", default_value = "off")]
    pub(crate) compression: SwitchFlag,
    /// Messages of fewer bytes are sent as they are
    #[arg(long, env = "LOADGEN_COMPRESSION_THRESHOLD", default_value = "64", value_name = "BYTES")]
    #[arg(value_parser = units::size)]
    pub(crate) compression_threshold: u64,
}

/// Flags about wss:// and https://.
#[derive(Debug, Args)]
pub(crate) struct TlsFlags {
    /// Trust the certificates in this PEM file, and no others [default: the system's]
    #[arg(long, env = "LOADGEN_CACERT", value_name = "PEM", conflicts_with = "insecure")]
    pub(crate) cacert: Option<PathBuf>,
    /// Accept any certificate
    #[arg(short = 'k', long, env = "LOADGEN_INSECURE")]
    pub(crate) insecure: bool,
    /// The name that is asked for and checked [default: the URL's host]
    #[arg(long, env = "LOADGEN_SERVERNAME", value_name = "NAME")]
    pub(crate) servername: Option<String>,
    /// The oldest version of TLS
    #[arg(long, env = "LOADGEN_TLS_MIN", default_value = "1.2", value_name = "VERSION")]
    pub(crate) tls_min: VersionFlag,
    /// Whether a connection takes up the TLS session of an earlier one
    #[arg(long, env = "LOADGEN_TLS_RESUMPTION", default_value = "on")]
    pub(crate) tls_resumption: SwitchFlag,
}

/// `--transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportFlag {
    Ws,
    Sse,
    Longpoll,
    Poll,
}

impl From<TransportFlag> for Transport {
    fn from(flag: TransportFlag) -> Self {
        match flag {
            TransportFlag::Ws => Self::Ws,
            TransportFlag::Sse => Self::Sse,
            TransportFlag::Longpoll => Self::LongPoll,
            TransportFlag::Poll => Self::Poll,
        }
    }
}

/// `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeFlag {
    Echo,
    Fanout,
    Idle,
    Churn,
}

impl From<ModeFlag> for Mode {
    fn from(flag: ModeFlag) -> Self {
        match flag {
            ModeFlag::Echo => Self::Echo,
            ModeFlag::Fanout => Self::Fanout,
            ModeFlag::Idle => Self::Idle,
            ModeFlag::Churn => Self::Churn,
        }
    }
}

/// `--tls-min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum VersionFlag {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

impl From<VersionFlag> for Version {
    fn from(flag: VersionFlag) -> Self {
        match flag {
            VersionFlag::Tls12 => Self::Tls12,
            VersionFlag::Tls13 => Self::Tls13,
        }
    }
}

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SwitchFlag {
    On,
    Off,
}

impl SwitchFlag {
    pub(crate) const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// `--payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PayloadFlag {
    Random,
    Text,
}

impl From<PayloadFlag> for Payload {
    fn from(flag: PayloadFlag) -> Self {
        match flag {
            PayloadFlag::Random => Self::Random,
            PayloadFlag::Text => Self::Text,
        }
    }
}

/// `--engine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineFlag {
    Auto,
    Uring,
    Epoll,
}

impl From<EngineFlag> for EngineChoice {
    fn from(flag: EngineFlag) -> Self {
        match flag {
            EngineFlag::Auto => Self::Auto,
            EngineFlag::Uring => Self::Uring,
            EngineFlag::Epoll => Self::Epoll,
        }
    }
}
