//! From the command line, the environment and the file to a [`Config`], in two stages: first what
//! was written (`flags`, `sources`), then what it comes to on this machine.
//!
//! Not here: printing and exiting. Invariant: a [`Config`] is made in one place, `resolve`, and
//! only after every source was read to its end.

use std::ffi::OsString;
use std::iter;
use std::path::Path;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};

use crate::config::{self, Config};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::tokens::Tokens;

mod flags;
mod peer_flags;
mod sources;
mod values;

use flags::{Flags, Other};

/// What the program is to do.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
    /// Say what this machine limits.
    Doctor,
}

/// Why it is to do nothing.
#[derive(Debug)]
pub enum Stop {
    /// Wrong usage (exit code 2), or `--help` and `--version` (exit code 0); prints itself.
    Usage(clap::Error),
    /// A configuration that cannot be used.
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

/// Reads `arguments` (the program's name first), then `environment`, then the file they name.
///
/// # Errors
/// [`Stop::Usage`] blames the command line, [`Stop::Failure`] anything else.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
    machine: &Machine,
) -> Result<Command, Stop> {
    parse_with(arguments, environment, &sources::read, machine)
}

/// As [`parse`], with the file's text from elsewhere.
pub(crate) fn parse_with(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
    read: &dyn Fn(&Path) -> Result<String, Failure>,
    machine: &Machine,
) -> Result<Command, Stop> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = Flags::command().try_get_matches_from(&arguments)?;
    if matches.subcommand_name().is_none() {
        let added = sources::arguments(&matches, environment, read)?;
        // Before the user's own, which may end in `--`.
        let begin = arguments.len().min(1);
        arguments.splice(begin..begin, added);
    }
    let matches = Flags::command().try_get_matches_from(&arguments)?;
    let flags = Flags::from_arg_matches(&matches)?;
    Ok(match flags.command {
        Some(Other::Doctor) => Command::Doctor,
        None => Command::Serve(Box::new(resolve(flags, machine)?)),
    })
}

/// What `flags` alone come to on this machine, without environment and file: for tests and for
/// programs that bring their own settings. `config_of(["--listen", "127.0.0.1:0"])`
///
/// # Errors
/// What `ringwire` would say to these flags.
pub fn config_of<'f>(flags: impl IntoIterator<Item = &'f str>) -> Result<Config, Failure> {
    let arguments = iter::once("ringwire").chain(flags).map(OsString::from);
    match parse(arguments, &|_| None, &Machine::this()) {
        Ok(Command::Serve(config)) => Ok(*config),
        Ok(Command::Doctor) => Err(Failure::configuration("doctor is not a setting")),
        Err(Stop::Failure(failure)) => Err(failure),
        Err(Stop::Usage(error)) => Err(Failure::configuration(error.to_string())),
    }
}

fn read_tokens(path: &Path) -> Result<Arc<Tokens>, Failure> {
    Tokens::read(path).map(Arc::new)
}

fn resolve(flags: Flags, machine: &Machine) -> Result<Config, Failure> {
    let certificates = config::pair_certificates(flags.tls_cert, flags.tls_key)?;
    let listeners = config::listeners(flags.listen, flags.tls_listen);
    config::check_addresses(&listeners, flags.admin_listen)?;
    config::check_certificates(&listeners, &certificates)?;
    let cpus = config::assign_cpus(flags.workers, flags.cpus.map(|list| list.0), machine)?;
    Ok(Config {
        listeners,
        certificates,
        workers: cpus.len(),
        cpus,
        engine: flags.engine,
        connections_max: flags.max_connections,
        receive_buffers: flags.receive_buffers,
        send_buffer_bytes: flags.send_buffer,
        message_bytes_max: flags.max_message_size,
        compression: flags.compression,
        compression_threshold_bytes: flags.compression_threshold,
        window_bits_max: flags.max_window_bits,
        backpressure_bytes_max: flags.max_backpressure,
        header_timeout: flags.header_timeout,
        tls_handshake_timeout: flags.tls_handshake_timeout,
        ping_interval: flags.ping_interval,
        pong_timeout: flags.pong_timeout,
        close_timeout: flags.close_timeout,
        keepalive_timeout: flags.keepalive_timeout,
        drain_timeout: flags.drain_timeout,
        history_size: flags.history_size,
        history_ttl: flags.history_ttl,
        recovery_publications_max: flags.recovery_max_publication_limit,
        channels_max: flags.max_channels,
        history_bytes_max: flags
            .history_bytes_max
            .unwrap_or_else(|| config::history_bytes_default(machine)),
        subprotocols: flags.subprotocol,
        allowed_origins: flags.allowed_origin,
        publish_tokens: flags.publish_token.as_deref().map(read_tokens).transpose()?,
        client_publish: flags.client_publish,
        peers: flags.peers.resolve(flags.max_message_size),
        log_level: flags.log_level,
        log_format: flags.log_format,
        admin_listen: flags.admin_listen,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::config::{Compression, EngineChoice, Listen, PeerLimits};
    use crate::log::{Format, Level};

    fn two_cpus() -> Machine {
        Machine::of(&[
            ("proc/self/status", "Cpus_allowed_list:\t0,3\n"),
            ("proc/meminfo", "MemTotal: 4096 kB\nMemAvailable: 1 kB\n"),
        ])
    }

    fn config(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, Stop> {
        let arguments = iter::once("ringwire").chain(flags.iter().copied()).map(OsString::from);
        let variable = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        };
        match parse(arguments, &variable, &two_cpus())? {
            Command::Serve(config) => Ok(*config),
            Command::Doctor => panic!("doctor was not asked for"),
        }
    }

    fn failure(flags: &[&str], environment: &[(&str, &str)]) -> String {
        match config(flags, environment) {
            Err(Stop::Failure(failure)) => {
                assert_eq!(failure.code, 78);
                assert!(!failure.line.contains('\n'), "{}", failure.line);
                failure.line
            }
            other => panic!("a failure was expected, not {other:?}"),
        }
    }

    #[test]
    fn the_parser_is_well_formed() {
        Flags::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let expected = Config {
            listeners: vec![Listen::plain(SocketAddr::from(([127, 0, 0, 1], 8080)))],
            certificates: Vec::new(),
            workers: 2,
            cpus: vec![0, 3],
            engine: EngineChoice::Auto,
            connections_max: None,
            receive_buffers: None,
            send_buffer_bytes: None,
            message_bytes_max: 65_536,
            compression: Compression::Off,
            compression_threshold_bytes: 256,
            window_bits_max: 15,
            backpressure_bytes_max: 262_144,
            header_timeout: Duration::from_secs(10),
            tls_handshake_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            close_timeout: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(30),
            history_size: 100,
            history_ttl: Duration::from_secs(300),
            recovery_publications_max: 300,
            channels_max: 100_000,
            history_bytes_max: 1 << 20,
            subprotocols: Vec::new(),
            allowed_origins: Vec::new(),
            publish_tokens: None,
            client_publish: true,
            peers: PeerLimits {
                request_head_bytes_max: 16_384,
                request_headers_max: 100,
                request_line_bytes_max: 8_192,
                request_body_bytes_max: 65_536,
                message_rate: None,
                control_frame_rate: None,
                connections_per_address_max: 0,
                connection_rate: None,
                message_timeout: Duration::from_secs(30),
                empty_fragments_max: 1_024,
                trusted_proxies: Vec::new(),
            },
            log_level: Level::Info,
            log_format: Format::Text,
            admin_listen: None,
        };
        assert_eq!(config(&[], &[]).unwrap(), expected);
    }

    #[test]
    fn workers_take_the_cpus_in_turn() {
        assert_eq!(config(&["--workers", "5"], &[]).unwrap().cpus, [0, 3, 0, 3, 0]);
        assert_eq!(config(&["--cpus", "3"], &[]).unwrap().cpus, [3]);
        assert_eq!(config(&["--cpus", "3,0", "--workers", "1"], &[]).unwrap().cpus, [3]);
        let line = failure(&["--cpus", "0-3"], &[]);
        assert!(line.contains("CPU 1 is not allowed") && line.contains("among 0,3"), "{line}");
    }

    #[test]
    fn the_flag_comes_before_the_environment_and_lists_are_not_mixed() {
        let environment = [("RINGWIRE_SUBPROTOCOL", "a,b"), ("RINGWIRE_HISTORY_SIZE", "7")];
        let both = config(&["--subprotocol", "c", "--subprotocol=d"], &environment).unwrap();
        assert_eq!((both.subprotocols, both.history_size), (vec!["c".into(), "d".into()], 7));
        assert_eq!(config(&[], &environment).unwrap().subprotocols, ["a", "b"]);
        let empty = [("RINGWIRE_HISTORY_SIZE", "")];
        assert_eq!(config(&[], &empty).unwrap().history_size, 100, "empty counts as unset");
    }

    #[test]
    fn there_may_be_several_public_addresses() {
        let tcp = |port| Listen::plain(SocketAddr::from(([127, 0, 0, 1], port)));
        let unix = Listen::plain(PathBuf::from("/run/r.sock"));
        let flags = ["--listen", "127.0.0.1:1", "--listen=unix:/run/r.sock"];
        assert_eq!(config(&flags, &[]).unwrap().listeners, [tcp(1), unix.clone()]);
        let environment = [("RINGWIRE_LISTEN", "unix:/run/r.sock,127.0.0.1:2")];
        assert_eq!(config(&[], &environment).unwrap().listeners, [unix, tcp(2)]);
        // Any number of free ports.
        assert!(config(&["--listen", "127.0.0.1:0,127.0.0.1:0"], &[]).is_ok());
        for twice in ["127.0.0.1:1,0.0.0.0:1", "unix:/a,127.0.0.1:2,unix:/a", "[::]:1,[::1]:1"] {
            let line = failure(&["--listen", twice], &[]);
            assert!(line.contains("overlaps") && line.contains("; leave one"), "{line}");
        }
        let line = failure(&["--listen", "unix:/a,[::]:9", "--admin-listen", "[::1]:9"], &[]);
        assert!(line.contains("--listen [::]:9; give it another port"), "{line}");
        let long = format!("unix:/{}", "p".repeat(107));
        for wrong in ["unix:", "unix:/a\0b", long.as_str(), "/run/r.sock"] {
            assert!(matches!(config(&["--listen", wrong], &[]), Err(Stop::Usage(_))), "{wrong}");
        }
        let many: Vec<String> = (1..=65).map(|port| format!("127.0.0.1:{port}")).collect();
        assert!(failure(&["--listen", &many.join(",")], &[]).contains("at most 64"));
    }

    #[test]
    fn tls_needs_certificates_with_their_keys_and_a_listener() {
        let pair = ["--tls-cert", "a.pem", "--tls-key", "a.key"];
        let both = [&["--tls-listen", "127.0.0.1:8443"][..], &pair].concat();
        let secure = config(&both, &[]).unwrap();
        assert_eq!(secure.listeners.len(), 1, "no plain one was asked for");
        assert_eq!(secure.listeners[0].to_string(), "127.0.0.1:8443 (tls)");
        assert_eq!(secure.certificates[0].key, PathBuf::from("a.key"));
        let beside = config(&[&both[..], &["--listen", "127.0.0.1:8080"]].concat(), &[]).unwrap();
        assert_eq!(beside.listeners.iter().map(|l| l.tls).collect::<Vec<_>>(), [false, true]);
        let two = [&both[..], &["--tls-cert", "b.pem", "--tls-key", "b.key"]].concat();
        assert_eq!(config(&two, &[]).unwrap().certificates[1].certificate, PathBuf::from("b.pem"));
        assert!(failure(&both[..4], &[]).contains("1 --tls-cert and 0 --tls-key do not pair"));
        assert!(failure(&both[..2], &[]).contains("has no certificate; give"));
        assert!(failure(&pair, &[]).contains("serves nobody; give --tls-listen"));
        let line = failure(&[&both[..], &["--listen", "0.0.0.0:8443"]].concat(), &[]);
        assert!(line.contains("overlaps"), "{line}");
    }

    #[test]
    fn each_mistake_is_blamed_on_its_source() {
        assert!(matches!(config(&["--workers", "0"], &[]), Err(Stop::Usage(_))));
        assert!(matches!(config(&["--workers", "1", "--workers", "2"], &[]), Err(Stop::Usage(_))));
        assert!(matches!(config(&["stray"], &[]), Err(Stop::Usage(_))));
        assert_eq!(
            failure(&[], &[("RINGWIRE_PING_INTERVAL", "25")]),
            "RINGWIRE_PING_INTERVAL: \"25\" is not a time (such as 500us, 250ms, 10s, 5m or 1h)"
        );
        let line = failure(&["--admin-listen", "0.0.0.0:8080"], &[]);
        assert!(line.contains("give it another port"), "{line}");
        assert!(config(&["--admin-listen", "127.0.0.2:8080"], &[]).is_ok());
    }

    #[test]
    fn doctor_takes_no_settings_and_needs_none_to_be_right() {
        let arguments = ["ringwire", "doctor"].map(OsString::from);
        let broken = |_: &str| Some(OsString::from("nonsense"));
        assert!(matches!(parse(arguments, &broken, &two_cpus()), Ok(Command::Doctor)));
        let mixed = ["ringwire", "--workers", "1", "doctor"].map(OsString::from);
        assert!(matches!(parse(mixed, &broken, &two_cpus()), Err(Stop::Usage(_))));
    }
}
