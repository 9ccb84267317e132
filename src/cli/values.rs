//! How values are spelled: counts, sizes, times, addresses, lists. The same words serve flags,
//! environment and file.
//!
//! Not here: which setting takes which. Invariant: a number out of its bounds is an error that
//! names the bounds, never cut to fit.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Address, Compression, EngineChoice, TrustedProxy};
use crate::log::{Format, Level};
use crate::machine;
use crate::networks::NotANetwork;

const KIBI: u64 = 1024;

/// Digits and the unit after them. No sign, no space, no fraction.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn scaled(text: &str, units: &[(&str, u64)], what: &str) -> Result<u64, String> {
    let number = split(text).and_then(|(number, unit)| {
        let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*factor)
    });
    number.ok_or_else(|| format!("{text:?} is not {what}"))
}

fn within<T: TryFrom<u64>>(
    number: u64,
    (min, max): (u64, u64),
    text: &str,
    unit: &str,
) -> Result<T, String> {
    let converted = T::try_from(number).ok().filter(|_| (min..=max).contains(&number));
    converted.ok_or_else(|| format!("{text} is out of bounds: {min} to {max}{unit}"))
}

/// A count: digits, then nothing, `k` (1000) or `m` (1000000).
pub(super) fn count<T: TryFrom<u64>, const MIN: u64, const MAX: u64>(
    text: &str,
) -> Result<T, String> {
    let units = [("", 1), ("k", 1_000), ("m", 1_000_000)];
    let number = scaled(text, &units, "a count (such as 100, 20k or 1m)")?;
    within(number, (MIN, MAX), text, "")
}

/// A size in bytes: digits, then nothing, `k` (1024), `m` or `g`.
pub(super) fn size<T: TryFrom<u64>, const MIN: u64, const MAX: u64>(
    text: &str,
) -> Result<T, String> {
    let units = [("", 1), ("k", KIBI), ("m", KIBI * KIBI), ("g", KIBI * KIBI * KIBI)];
    let number = scaled(text, &units, "a size (such as 512, 64k or 1m)")?;
    within(number, (MIN, MAX), text, " bytes")
}

/// A time: digits and `us`, `ms`, `s`, `m` or `h`; bounds in milliseconds.
pub(super) fn time<const MIN_MS: u64, const MAX_MS: u64>(text: &str) -> Result<Duration, String> {
    const SECOND_US: u64 = 1_000_000;
    let units = [
        ("us", 1),
        ("ms", 1_000),
        ("s", SECOND_US),
        ("m", 60 * SECOND_US),
        ("h", 3_600 * SECOND_US),
    ];
    let us = scaled(text, &units, "a time (such as 500us, 250ms, 10s, 5m or 1h)")?;
    if us < MIN_MS * 1_000 || us > MAX_MS * 1_000 {
        let (min, max) = (Duration::from_millis(MIN_MS), MAX_MS / 3_600_000);
        return Err(format!("{text} is out of bounds: {min:?} to {max}h"));
    }
    Ok(Duration::from_micros(us))
}

/// `IP:PORT`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not an address (such as 127.0.0.1:8080, 0.0.0.0:80 or [::1]:8080)")
    })
}

/// `IP:PORT` or `unix:PATH`.
pub(super) fn listen(text: &str) -> Result<Address, String> {
    let Some(path) = text.strip_prefix("unix:") else { return address(text).map(Address::Tcp) };
    if path.is_empty() || path.contains('\0') || path.len() > Address::PATH_BYTES_MAX {
        let most = Address::PATH_BYTES_MAX;
        return Err(format!(
            "{text:?}: a Unix socket's path has 1 to {most} bytes, none of them 0"
        ));
    }
    Ok(Address::Unix(path.into()))
}

/// `COUNTxBYTES`: buffers, a power of two, and the size of each.
pub(super) fn receive_buffers(text: &str) -> Result<(u16, u32), String> {
    let parts = text.split_once('x');
    let (buffers, bytes) =
        parts.ok_or_else(|| format!("{text:?} is not COUNTxBYTES (such as 8x256k)"))?;
    let buffers: u16 = count::<_, 1, 32_768>(buffers)?;
    if !buffers.is_power_of_two() {
        return Err(format!("{buffers} buffers: the count must be a power of two"));
    }
    Ok((buffers, size::<_, 64, { 16 * KIBI * KIBI }>(bytes)?))
}

/// CPUs, as the kernel writes them: `0,2-3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cpus(pub(super) Vec<usize>);

/// A list of CPUs.
pub(super) fn cpus(text: &str) -> Result<Cpus, String> {
    machine::cpu_list(text).map(Cpus)
}

/// An engine's name.
pub(super) fn engine(text: &str) -> Result<EngineChoice, String> {
    match text {
        "auto" => Ok(EngineChoice::Auto),
        "uring" => Ok(EngineChoice::Uring),
        "epoll" => Ok(EngineChoice::Epoll),
        other => Err(format!("{other:?} is not an engine: auto, uring or epoll")),
    }
}

/// A network of proxies, or `unix`.
pub(super) fn proxy(text: &str) -> Result<TrustedProxy, String> {
    text.parse().map_err(|error: NotANetwork| error.to_string())
}

/// On or off.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("{other:?} is neither on nor off")),
    }
}

/// A mode of compression.
pub(super) fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "off" => Ok(Compression::Off),
        "shared" => Ok(Compression::Shared),
        "dedicated" => Ok(Compression::Dedicated),
        other => Err(format!("{other:?} is not a mode of compression: off, shared or dedicated")),
    }
}

/// A level's name.
pub(super) fn level(text: &str) -> Result<Level, String> {
    let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
    let level = levels.into_iter().find(|level| level.name() == text);
    level.ok_or_else(|| format!("{text:?} is not a log level: error, warn, info or debug"))
}

/// A format's name.
pub(super) fn format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        other => Err(format!("{other:?} is not a log format: text or json")),
    }
}

/// A subprotocol's name.
pub(super) fn subprotocol(text: &str) -> Result<String, String> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The elements that comprise this value MUST be non-empty strings with characters in the
    //# range U+0021 to U+007E not including separator characters as defined in [RFC2616]
    let separators = "()<>@,;:\\\"/[]?={} \t";
    let fits = |c: char| c.is_ascii_graphic() && !separators.contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        return Err(format!("{text:?} is not a subprotocol (letters, digits, '.', '-', '_')"));
    }
    Ok(text.to_owned())
}

/// An origin to let in.
pub(super) fn origin(text: &str) -> Result<String, String> {
    // What does not even let itself in would never match, and nobody would be told.
    let itself = if text.contains("://") { text.to_owned() } else { format!("any://{text}") };
    let entry = [text.to_owned()];
    if text == "*" || ringwire_protocol::http::origin_allowed(&itself, "", &entry) {
        let [entry] = entry;
        return Ok(entry);
    }
    Err(format!("{text:?} is not an origin (such as https://app.example, app.example:8443 or *)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_decimal_and_bounded() {
        let count = count::<u32, 1, 2_000_000>;
        assert_eq!(count("7"), Ok(7));
        assert_eq!(count("20k"), Ok(20_000));
        assert_eq!(count("2m"), Ok(2_000_000));
        assert_eq!(count("0"), Err("0 is out of bounds: 1 to 2000000".to_owned()));
        assert_eq!(count("3m"), Err("3m is out of bounds: 1 to 2000000".to_owned()));
        for bad in ["", "k", "-1", "+1", "1 k", "1K", "1g", "1.5k", "0x10", "99999999999999999999"]
        {
            assert!(count(bad).unwrap_err().contains("is not a count"), "{bad:?}");
        }
        assert!(count("18446744073709551615m").unwrap_err().contains("is not a count"));
    }

    #[test]
    fn sizes_are_binary_and_bounded() {
        let size = size::<usize, 1, { 1 << 31 }>;
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("64k"), Ok(65_536));
        assert_eq!(size("1m"), Ok(1 << 20));
        assert_eq!(size("2g"), Ok(1 << 31));
        assert!(size("3g").unwrap_err().contains("out of bounds"));
        assert!(size("1kb").unwrap_err().contains("is not a size"));
    }

    #[test]
    fn times_need_a_unit() {
        let time = time::<1, 86_400_000>;
        assert_eq!(time("1500us"), Ok(Duration::from_micros(1500)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(time("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(time("25h"), Err("25h is out of bounds: 1ms to 24h".to_owned()));
        assert!(time("999us").unwrap_err().contains("out of bounds"));
        for bad in ["10", "0", "s", "1d", "1 s", "-1s"] {
            assert!(time(bad).unwrap_err().contains("is not a time"), "{bad:?}");
        }
    }

    #[test]
    fn receive_buffers_are_count_and_bytes() {
        assert_eq!(receive_buffers("8x256k"), Ok((8, 262_144)));
        assert_eq!(receive_buffers("64x64k"), Ok((64, 65_536)));
        assert!(receive_buffers("8").unwrap_err().contains("COUNTxBYTES"));
        assert!(receive_buffers("6x64k").unwrap_err().contains("power of two"));
        assert!(receive_buffers("0x64k").unwrap_err().contains("out of bounds"));
        assert!(receive_buffers("65536x64k").unwrap_err().contains("out of bounds"));
        assert!(receive_buffers("8x1g").unwrap_err().contains("out of bounds"));
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpus("0,2-4"), Ok(Cpus(vec![0, 2, 3, 4])));
        assert_eq!(cpus("5,1"), Ok(Cpus(vec![5, 1])));
        for bad in ["", "a", "1-", "3-1", "0,0", "0-2,1", "99999999"] {
            assert!(cpus(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_could_never_match_are_refused() {
        for good in ["https://app.example", "http://[::1]:8080", "app.example:8443", "*"] {
            assert_eq!(origin(good), Ok(good.to_owned()));
        }
        for bad in ["", "null", "https://app.example/", "https://", "a b", "https://u@app"] {
            // `null` alone is a possible host name, and matches as one.
            assert_eq!(origin(bad).is_ok(), bad == "null", "{bad:?}");
        }
        assert_eq!(subprotocol("ringwire.json.1"), Ok("ringwire.json.1".to_owned()));
        for bad in ["", "a b", "a/b", "\u{e4}", "a,b", "a;b"] {
            assert!(subprotocol(bad).is_err(), "{bad:?}");
        }
    }
}
