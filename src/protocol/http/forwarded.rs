//! `X-Forwarded-For`: whom a proxy speaks for, as far as the proxies on the way are trusted.
//!
//! Not here: which proxies those are. Invariant: what an untrusted sender wrote is never believed:
//! the list is read from its end, where the nearest proxy adds what it has seen itself.

use core::net::{IpAddr, SocketAddr};

use super::Headers;

/// The client that a request from a trusted proxy is made for: the rightmost address that is not
/// a trusted proxy's own; if all are, the leftmost. `None` without an address to go by.
#[must_use]
pub fn forwarded_for(headers: Headers<'_>, is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let lines: Vec<&[u8]> = headers.all("X-Forwarded-For").collect();
    let elements = lines.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    let mut client = None;
    for element in elements {
        // Behind what is no address nobody knows who has written the rest.
        let Some(address) = parse(element.trim_ascii()) else { return client };
        client = Some(address);
        if !is_trusted(address) {
            return client;
        }
    }
    client
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[::1]:80`.
fn parse(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match inside {
        Some(address) => address.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok(),
    };
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is taken for the client; proxies are 10.0.0.0/8.
    fn client(lines: &[&str]) -> Option<String> {
        let lines: String =
            lines.iter().map(|line| format!("X-Forwarded-For: {line}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let is_trusted =
            |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10);
        let found = forwarded_for(Headers::of(head.as_bytes()), is_trusted);
        found.map(|address| address.to_string())
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_of_ours_counts() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["203.0.113.9, 192.0.2.1"], Some("192.0.2.1")),
            (&["203.0.113.9,192.0.2.1 , 10.0.0.1"], Some("192.0.2.1")),
            (&["203.0.113.9", "192.0.2.1, 10.0.0.2", "10.0.0.1"], Some("192.0.2.1")),
            (&["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            (&["192.0.2.1:4711"], Some("192.0.2.1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]:80"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            (&["spoofed, 192.0.2.1"], Some("192.0.2.1")),
            (&["192.0.2.1, unknown, 10.0.0.1"], Some("10.0.0.1")),
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1,"], None),
            (&["[192.0.2.1]"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(client(lines).as_deref(), expected, "{lines:?}");
        }
    }
}
