//! Which web pages may speak to this server.
//!
//! A browser sends `Origin` and cannot be made to lie about it; whoever is not a browser sends
//! what it likes, so this is no authentication. The rule: the page came from the host it now
//! talks to, or from one that was allowed by name. Forwarded headers play no part.

/// The parts of an origin that count: `scheme://host[:port]`, nothing after.
#[derive(Clone, Copy)]
struct Origin<'t> {
    scheme: &'t str,
    host: &'t str,
    /// `None` where it is absent or the scheme's own.
    port: Option<u16>,
}

/// Whether a request with this `Origin` may go on.
///
/// `host` is the request's Host. An entry of `allowed` is an origin (`https://app.example`), an
/// authority (`app.example`, `app.example:8443`), or `*` for every origin. `null` (a sandboxed
/// page, a local file) is never allowed: it names nobody.
#[must_use]
pub fn origin_allowed(origin: &str, host: &str, allowed: &[String]) -> bool {
    let Some(origin) = parse(origin) else { return false };
    if origin.is_at(without_web_port(host)) {
        return true;
    }
    allowed.iter().any(|entry| match entry.as_str() {
        "*" => true,
        entry if entry.contains("://") => parse(entry).is_some_and(|other| origin.equals(other)),
        authority => origin.is_at(without_web_port(authority)),
    })
}

impl Origin<'_> {
    /// Whether this origin's host and port are spelled by `authority`.
    fn is_at(self, authority: &str) -> bool {
        match (split_port(authority), self.port) {
            (Some((host, port)), own) => host.eq_ignore_ascii_case(self.host) && own == port,
            (None, _) => false,
        }
    }

    fn equals(self, other: Origin<'_>) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
    }
}

fn parse(text: &str) -> Option<Origin<'_>> {
    let (scheme, authority) = text.split_once("://")?;
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return None;
    }
    let (host, port) = split_port(authority)?;
    let port = port.filter(|&port| Some(port) != own_port(scheme));
    Some(Origin { scheme, host, port })
}

/// Host and port of an authority without userinfo; `None` if it is anything else.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // The colons of an IPv6 address are inside its brackets.
    let after_host = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after_host..].find(':') {
        None => (authority, None),
        Some(at) => {
            let (host, port) = authority.split_at(after_host + at);
            (host, Some(parse_port(&port[1..])?))
        }
    };
    // Anything else could hide another host: `user@`, a path, a second bracket.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_address = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match inside {
        Some(address) => !address.is_empty() && address.bytes().all(is_address),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    is_host.then_some((host, port))
}

fn parse_port(text: &str) -> Option<u16> {
    let is_plain = !text.is_empty() && !text.starts_with('0') && text.len() <= 5;
    if !is_plain || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn own_port(scheme: &str) -> Option<u16> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("http") || is("ws") {
        Some(80)
    } else if is("https") || is("wss") {
        Some(443)
    } else {
        None
    }
}

/// Host without `:80` or `:443`: this server may be behind a TLS terminator, so both are its own.
fn without_web_port(host: &str) -> &str {
    host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::origin_allowed;

    #[test]
    fn a_page_from_the_same_host_may() {
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("http://example.com:80", "example.com"),
            ("http://example.com", "example.com:80"),
            ("https://example.com", "example.com"),
            ("https://example.com:443", "example.com"),
            ("https://example.com", "example.com:443"),
            // TLS ended before this server: the page is https, Host has the port of plain HTTP.
            ("https://example.com", "example.com:80"),
            ("HTTP://EXAMPLE.com", "Example.Com"),
            ("http://example.com:8080", "example.com:8080"),
            ("https://example.com:8443", "EXAMPLE.COM:8443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "[::1]:80"),
            ("http://[2001:DB8::1]", "[2001:db8::1]"),
        ] {
            assert!(origin_allowed(origin, host, &[]), "{origin} at {host}");
        }
    }

    #[test]
    fn a_page_from_elsewhere_may_not() {
        for (origin, host) in [
            ("null", "example.com"),
            ("null", "null"),
            ("", "example.com"),
            ("http://", "example.com"),
            ("example.com", "example.com"),
            ("//example.com", "example.com"),
            ("://example.com", "example.com"),
            ("http://example.org", "example.com"),
            ("http://example.com.evil.org", "example.com"),
            ("http://evilexample.com", "example.com"),
            ("http://sub.example.com", "example.com"),
            ("http://example.com", "sub.example.com"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com", "example.com:8080"),
            ("http://example.com:8081", "example.com:8080"),
            ("http://example.com:443", "example.com"),
            ("https://example.com:80", "example.com"),
            ("http://example.com@evil.org", "example.com"),
            ("http://evil.org@example.com", "example.com"),
            ("http://user:pass@example.com", "example.com"),
            ("http://example.com:80@evil.org", "example.com"),
            ("http://example.com/", "example.com"),
            ("http://example.com/path", "example.com"),
            ("http://example.com?x", "example.com"),
            ("http://example.com#x", "example.com"),
            ("http://example.com\\.evil.org", "example.com"),
            ("http://example.com:", "example.com"),
            ("http://example.com:080", "example.com"),
            ("http://example.com:+80", "example.com"),
            ("http://example.com:65616", "example.com"),
            ("http://example.com:80:80", "example.com"),
            ("http://example.com http://evil.org", "example.com"),
            ("http://example.com, http://evil.org", "example.com"),
            ("http://[::1]evil", "[::1]"),
            ("http://[::1", "[::1]"),
            ("http://::1", "::1"),
            ("http://example.com.", "example.com"),
        ] {
            assert!(!origin_allowed(origin, host, &[]), "{origin} at {host}");
        }
    }

    #[test]
    fn allowed_by_name() {
        let allowed = ["https://app.example".to_string(), "b.example:8443".to_string()];
        let may = |origin| origin_allowed(origin, "api.example", &allowed);
        assert!(may("https://app.example"));
        assert!(may("https://APP.example:443"));
        assert!(!may("http://app.example"));
        assert!(!may("https://app.example:8443"));
        assert!(!may("https://x.app.example"));
        assert!(may("https://b.example:8443"));
        assert!(may("http://b.example:8443"));
        assert!(!may("https://b.example"));
        assert!(may("https://api.example"));
        let all = ["*".to_string()];
        assert!(origin_allowed("http://any.example:1", "api.example", &all));
        assert!(!origin_allowed("null", "api.example", &all));
        assert!(!origin_allowed("http://u@any.example", "api.example", &all));
    }
}
