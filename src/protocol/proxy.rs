//! The PROXY protocol, versions 1 and 2, as a receiver reads it: whom a proxy speaks for.
//!
//! Not here: from whom such a header is believed (nobody, unless the server was told to).
//! Invariants: the same bytes cut anywhere give the same answer; what is not a PROXY header from
//! its first byte is left alone; a header has a bounded length.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::http::Refusal;

/// What may stand at the start of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// No PROXY header: these bytes are the connection's own.
    Absent,
    /// So far it could be one.
    Incomplete,
    /// A whole one.
    Whole {
        /// Its bytes; what follows is the connection's own.
        bytes: usize,
        /// The client spoken for; `None` where the proxy speaks for itself, or does not say.
        source: Option<SocketAddr>,
    },
}

/// Bytes of a line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
const LINE_START: &[u8] = b"PROXY ";

/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
/// Bytes behind the fixed part: addresses, and whatever a proxy has to add.
const ADDED_BYTES_MAX: usize = 4096;

const BAD_LINE: Refusal = Refusal::new(400, "bad PROXY line: see the PROXY protocol, version 1");
const BAD_HEADER: Refusal =
    Refusal::new(400, "bad PROXY header: see the PROXY protocol, version 2");

/// Reads what a connection begins with.
///
/// # Errors
/// A PROXY header that is none after all.
pub fn read(bytes: &[u8]) -> Result<Reading, Refusal> {
    let begins = |start: &[u8]| {
        let common = bytes.len().min(start.len());
        bytes[..common] == start[..common]
    };
    if begins(LINE_START) {
        read_line(bytes)
    } else if begins(SIGNATURE) {
        read_binary(bytes)
    } else {
        Ok(Reading::Absent)
    }
}

fn read_line(bytes: &[u8]) -> Result<Reading, Refusal> {
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        let may_grow = bytes.len() < LINE_BYTES_MAX;
        return if may_grow { Ok(Reading::Incomplete) } else { Err(BAD_LINE) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(BAD_LINE)?;
    let line = std::str::from_utf8(line).map_err(|_| BAD_LINE)?;
    let mut words = line.split(' ').skip(1);
    let source = match words.next() {
        Some("TCP4") => Some(read_words::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(read_words::<Ipv6Addr>(words)?),
        // What follows is to be ignored.
        Some("UNKNOWN") => None,
        _ => return Err(BAD_LINE),
    };
    Ok(Reading::Whole { bytes: end + 1, source })
}

/// Source and destination, of which only the first counts.
fn read_words<'l, A: std::str::FromStr + Into<IpAddr>>(
    words: impl Iterator<Item = &'l str>,
) -> Result<SocketAddr, Refusal> {
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return Err(BAD_LINE);
    };
    let port = |word: &str| {
        let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && !word.is_empty();
        let is_plain = is_plain && (word == "0" || !word.starts_with('0'));
        word.parse::<u16>().ok().filter(|_| is_plain).ok_or(BAD_LINE)
    };
    let address = |word: &str| word.parse::<A>().map_err(|_| BAD_LINE);
    address(destination)?;
    port(destination_port)?;
    Ok(SocketAddr::new(address(source)?.into(), port(source_port)?))
}

fn read_binary(bytes: &[u8]) -> Result<Reading, Refusal> {
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else { return Ok(Reading::Incomplete) };
    let [.., command, family, high, low] = *fixed;
    let added = usize::from(u16::from_be_bytes([high, low]));
    let is_known = matches!(command, 0x20 | 0x21);
    if !is_known || added > ADDED_BYTES_MAX {
        return Err(BAD_HEADER);
    }
    let Some(added) = bytes.get(FIXED_BYTES..FIXED_BYTES + added) else {
        return Ok(Reading::Incomplete);
    };
    let source = match (command, family) {
        // The proxy's own connection, such as one that looks whether the server lives.
        (0x20, _) => None,
        (_, 0x11) => {
            let parts = added.first_chunk::<12>().ok_or(BAD_HEADER)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *parts;
            let address = Ipv4Addr::new(a, b, c, d).into();
            Some(SocketAddr::new(address, u16::from_be_bytes([high, low])))
        }
        (_, 0x21) => {
            let parts = added.first_chunk::<36>().ok_or(BAD_HEADER)?;
            let mut octets = [0; 16];
            octets.copy_from_slice(&parts[..16]);
            let port = u16::from_be_bytes([parts[32], parts[33]]);
            Some(SocketAddr::new(Ipv6Addr::from(octets).into(), port))
        }
        // Unix sockets, datagrams, and what is unspecified name nobody.
        _ => None,
    };
    Ok(Reading::Whole { bytes: FIXED_BYTES + added.len(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No more bytes than these can be [`Reading::Incomplete`].
    const HEADER_BYTES_MAX: usize = FIXED_BYTES + ADDED_BYTES_MAX;

    /// What is read of the whole, if no part of it says anything else.
    fn read_however(bytes: &[u8]) -> Result<Reading, u16> {
        let whole = read(bytes).map_err(|refusal| refusal.status);
        for end in 0..bytes.len() {
            let part = read(&bytes[..end]).map_err(|refusal| refusal.status);
            let shown = bytes[..end].escape_ascii();
            match (part, whole) {
                (Ok(Reading::Incomplete), _) => assert!(end < HEADER_BYTES_MAX),
                (Ok(Reading::Whole { bytes, .. }), _) => {
                    assert!(end >= bytes && part == whole, "{shown}");
                }
                (part, whole) => assert_eq!(part, whole, "{shown}"),
            }
        }
        whole
    }

    fn source(bytes: &[u8]) -> Option<SocketAddr> {
        let Ok(Reading::Whole { bytes: length, source }) = read_however(bytes) else {
            panic!("{} is not whole", bytes.escape_ascii())
        };
        assert_eq!(length, bytes.len() - b"GET".len());
        source
    }

    fn binary(command: u8, family: u8, added: &[u8]) -> Vec<u8> {
        let length = u16::try_from(added.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, added].concat()
    }

    #[test]
    fn lines_of_version_1() {
        let v4 = source(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nGET");
        assert_eq!(v4, Some("192.0.2.7:4711".parse().unwrap()));
        let v6 = source(b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\nGET");
        assert_eq!(v6, Some("[2001:db8::7]:1".parse().unwrap()));
        assert_eq!(source(b"PROXY UNKNOWN\r\nGET"), None);
        assert_eq!(source(b"PROXY UNKNOWN ff:: ff:: 1 2\r\nGET"), None);
        for bad in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY tcp4 192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80 \r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\n",
            "PROXY TCP4 192.0.2.007 198.51.100.1 4711 80\r\n",
            "PROXY TCP4 ::1 ::1 4711 80\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 04711 80\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +4711 80\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 80\r\n",
            "PROXY TCP4 192.0.2.7 x 4711 80\r\n",
            "PROXY TCP4 \u{661}92.0.2.7 198.51.100.1 4711 80\r\n",
        ] {
            assert_eq!(read_however(bad.as_bytes()), Err(400), "{bad:?}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(read(long.as_bytes()).map_err(|refusal| refusal.status), Err(400));
    }

    #[test]
    fn headers_of_version_2() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        (v6[15], v6[33]) = (7, 9);
        let with_more = [&v4[..], b"\x04\0\x01x"].concat();
        for (header, expected) in [
            (binary(0x21, 0x11, &v4), Some("192.0.2.7:4711")),
            (binary(0x21, 0x11, &with_more), Some("192.0.2.7:4711")),
            (binary(0x21, 0x21, &v6), Some("[2001:db8::7]:9")),
            (binary(0x20, 0x11, &v4), None),
            (binary(0x20, 0, b""), None),
            (binary(0x21, 0, b"xyz"), None),
            (binary(0x21, 0x12, &v4), None),
            (binary(0x21, 0x31, &[b'/'; 216]), None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(source(&[&header[..], b"GET"].concat()), expected);
        }
        for bad in [
            binary(0x11, 0x11, &v4),
            binary(0x22, 0x11, &v4),
            binary(0x21, 0x11, &v4[..11]),
            binary(0x21, 0x21, &v6[..35]),
            binary(0x21, 0x11, &[0; 5000]),
        ] {
            assert_eq!(read_however(&bad), Err(400), "{}", bad[12..16].escape_ascii());
        }
    }

    #[test]
    fn anything_else_is_left_alone() {
        for other in [&b"GET / HTTP/1.1\r\n"[..], b"POST", b"PROXX", b"\r\n\r\nG", b"\x16\x03"] {
            assert_eq!(read(other), Ok(Reading::Absent), "{}", other.escape_ascii());
        }
        for undecided in [&b""[..], b"P", b"PROXY", b"\r", b"\r\n\r\n", b"\r\n\r\n\0\r\nQUIT"] {
            assert_eq!(read(undecided), Ok(Reading::Incomplete), "{}", undecided.escape_ascii());
        }
    }
}
