//! Where the server is, as a URL; no more of URLs than a load generator needs.
//!
//! Invariant: host, port and path hold nothing that could break a request line or a header.

use loadgen::outcome::Failure;
use loadgen::scenario::Target;
use ringwire_ring::Address;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

/// The scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Ws,
    Wss,
    Http,
    Https,
}

/// A URL taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query; at least `/`.
    pub(crate) path: String,
    /// Host and port as they were written.
    pub(crate) authority: String,
}

/// Reads `scheme://host[:port][/path][?query]`.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("a URL begins with ws:// or http://".to_owned());
    };
    let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "ws" => (Scheme::Ws, 80),
        "wss" => (Scheme::Wss, 443),
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        other => return Err(format!("`{other}` is not ws or http")),
    };
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The components of the WebSocket URI passed into this algorithm (/host/, /port/,
    //# /resource name/, and /secure/ flag) MUST be valid according to the specification of
    //# WebSocket URIs specified in Section 3.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# If any of the components are invalid, the client MUST _Fail the WebSocket Connection_
    //# and abort these steps.
    if !rest.chars().all(|c| ('!'..='~').contains(&c)) {
        return Err("a URL is printable ASCII without spaces".to_owned());
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("no user or password in the URL: use -H 'Authorization: ..'".to_owned());
    }
    let (host, port) = split_port(authority)?;
    let port = match port {
        None => default_port,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(format!("`{port}` is not a port")),
            Ok(port) => port,
        },
    };
    if host.is_empty() {
        return Err("the URL names no host".to_owned());
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Url {
        scheme,
        host: host.to_owned(),
        port,
        path: format!("{slash}{path}"),
        authority: authority.to_owned(),
    })
}

/// Reads `HOST:PORT`.
pub(crate) fn authority(text: &str) -> Result<Url, String> {
    match split_port(text)? {
        (_, Some(_)) if !text.contains(['/', '?', '#']) => parse(&format!("http://{text}")),
        _ => Err("say where to connect: HOST:PORT".to_owned()),
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err("an IPv6 address stands in [ ]".to_owned());
        };
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!("`{after}` after the address is not a port")),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("an IPv6 address stands in [ ]".to_owned()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

impl Scheme {
    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Whether a WebSocket is what it names, encrypted or not.
    pub(crate) const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    /// Whether TLS stands around it.
    pub(crate) const fn is_secure(self) -> bool {
        matches!(self, Self::Wss | Self::Https)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority, self.path)
    }
}

impl Url {
    /// Looks the host up, of which the first address is taken; or it is `socket`.
    pub(crate) fn target(&self, socket: Option<&Path>) -> Result<Target, Failure> {
        let address = match socket {
            Some(path) => Address::Unix(path.to_owned()),
            None => Address::Tcp(self.look_up()?),
        };
        Ok(Target { address, host: self.authority.clone(), path: self.path.clone() })
    }

    /// Host and path alone, at no address.
    pub(crate) fn named(&self) -> Target {
        let address = Address::Tcp(([0, 0, 0, 0], self.port).into());
        Target { address, host: self.authority.clone(), path: self.path.clone() }
    }

    fn look_up(&self) -> Result<SocketAddr, Failure> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let unknown = |why: String| {
            let host = &self.host;
            Failure::unreachable(format!("{host}: no address found ({why}); check the name"))
        };
        let mut addresses = addresses.map_err(|error| unknown(error.to_string()))?;
        addresses.next().ok_or_else(|| unknown("empty answer".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Scheme, String, u16, String, String) {
        let url = parse(text).unwrap();
        (url.scheme, url.host, url.port, url.path, url.authority)
    }

    #[test]
    fn urls_are_taken_apart() {
        let own = |scheme, host: &str, port, path: &str, authority: &str| {
            (scheme, host.to_owned(), port, path.to_owned(), authority.to_owned())
        };
        let table = [
            ("ws://h:8080/echo", own(Scheme::Ws, "h", 8080, "/echo", "h:8080")),
            ("HTTP://h", own(Scheme::Http, "h", 80, "/", "h")),
            ("https://h/", own(Scheme::Https, "h", 443, "/", "h")),
            ("wss://h?a=b", own(Scheme::Wss, "h", 443, "/?a=b", "h")),
            ("ws://[::1]:9/x?y#z", own(Scheme::Ws, "::1", 9, "/x?y", "[::1]:9")),
            ("ws://[::1]", own(Scheme::Ws, "::1", 80, "/", "[::1]")),
        ];
        for (text, expected) in table {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //= type=test
    //# The components of the WebSocket URI passed into this algorithm (/host/, /port/,
    //# /resource name/, and /secure/ flag) MUST be valid according to the specification of
    //# WebSocket URIs specified in Section 3.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //= type=test
    //# If any of the components are invalid, the client MUST _Fail the WebSocket Connection_
    //# and abort these steps.
    #[test]
    fn what_is_not_a_url_is_refused() {
        let table = [
            "localhost:8080",
            "ftp://h/",
            "ws://",
            "ws:///x",
            "ws://h:0/",
            "ws://h:99999/",
            "ws://h:/",
            "ws://u:p@h/",
            "ws://::1/",
            "ws://[::1/",
            "ws://[::1]8/",
            "ws://h/a b",
            "ws://h/\r\nX: y",
            "ws://h\u{e9}/",
        ];
        for text in table {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses_need_no_lookup() {
        let target = parse("ws://127.0.0.1:8080/echo").unwrap().target(None).unwrap();
        assert_eq!(target.address.to_string(), "127.0.0.1:8080");
        assert_eq!(target.host, "127.0.0.1:8080");
        assert_eq!(target.path, "/echo");
    }
}
