//! Arguments, environment and file from any bytes: a configuration within its bounds, or one line
//! that says why not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use crate::cli::{Command, Stop, parse_with};
use crate::config::Config;
use crate::failure::{CODE_CONFIGURATION, Failure};
use crate::limits::Limits;
use crate::machine::Machine;

/// Reads three parts that end with a zero byte: arguments and variables, one to a line, then the
/// file, which is found under every name.
pub(crate) fn config(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == 0).map(<[u8]>::to_vec);
    let mut part = || parts.next().unwrap_or_default();
    let (arguments, environment, file) = (part(), part(), part());
    let arguments = arguments.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let arguments = [&b"ringwire"[..]].into_iter().chain(arguments);
    let arguments = arguments.map(|line| OsStr::from_bytes(line).to_owned());
    let variable = |name: &str| -> Option<OsString> {
        environment.split(|&byte| byte == b'\n').find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(OsStr::from_bytes(value).to_owned())
        })
    };
    let text = |_: &std::path::Path| {
        String::from_utf8(file.clone()).map_err(|_| Failure::configuration("it is not UTF-8"))
    };
    let machine = Machine::of(&[
        ("proc/self/status", "Cpus_allowed_list:\t0,3\n"),
        ("proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 1000 kB\n"),
    ]);
    match parse_with(arguments, &variable, &text, &machine) {
        Ok(Command::Doctor) => {}
        Ok(Command::Serve(config)) => check(&config),
        Err(Stop::Failure(failure)) => {
            assert_eq!(failure.code, CODE_CONFIGURATION);
            assert!(!failure.line.is_empty() && !failure.line.contains('\n'), "{failure:?}");
        }
        Err(Stop::Usage(error)) => assert!(!error.to_string().is_empty()),
    }
}

/// What the fields of a configuration say of their bounds.
fn check(config: &Config) {
    let one_giga = 1 << 30;
    assert!((1..=1024).contains(&config.workers) && config.cpus.len() == config.workers);
    assert!(config.cpus.iter().all(|cpu| [0, 3].contains(cpu)));
    assert!(config.connections_max != Some(0));
    assert!((1..=one_giga).contains(&config.message_bytes_max));
    assert!((1..=one_giga).contains(&config.backpressure_bytes_max));
    if let Some((count, bytes)) = config.receive_buffers {
        assert!(count.is_power_of_two() && count <= 32_768, "{count}");
        assert!((64..=16 << 20).contains(&bytes), "{bytes}");
    }
    assert!(config.send_buffer_bytes.is_none_or(|bytes| (1 << 10..=1 << 30).contains(&bytes)));
    let day = Duration::from_secs(24 * 3600);
    for time in [
        config.header_timeout,
        config.ping_interval,
        config.pong_timeout,
        config.close_timeout,
        config.keepalive_timeout,
    ] {
        assert!((Duration::from_millis(1)..=day).contains(&time), "{time:?}");
    }
    assert!(config.drain_timeout <= day && config.history_ttl <= 30 * day);
    assert!((1..=1_000_000).contains(&config.history_size));
    assert!((1..=1_000_000).contains(&config.recovery_publications_max));
    assert!((1..=100_000_000).contains(&config.channels_max));
    assert!(config.history_bytes_max >= 1024);
    // The loop's units have room for all of it.
    let _ = Limits::new(config);
}
