//! Saying no: a status and one line of plain text that says what and the cure.
//!
//! Every refusal closes the connection. A proxy that took a refused upgrade for a tunnel, or a
//! sender whose body nobody will read, must not get another request answered on it.

use super::response::encode_response;

/// A request is answered with this status and reason, and the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// One line: what is wrong and the cure.
    pub reason: &'static str,
}

impl Refusal {
    /// A refusal with this status and reason.
    #[must_use]
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.reason)
    }
}

impl std::error::Error for Refusal {}

/// Appends the whole answer for a refusal.
///
/// What the status itself demands is added unless `extra_headers` has it: `Upgrade` and
/// `Sec-WebSocket-Version` for 426, `Allow` for 405, `WWW-Authenticate` for 401.
pub fn encode_refusal(out: &mut Vec<u8>, refusal: &Refusal, extra_headers: &[(&str, &str)]) {
    let mut headers = vec![("Content-Type", "text/plain; charset=utf-8")];
    headers.extend_from_slice(extra_headers);
    //= https://www.rfc-editor.org/rfc/rfc9110#section-15.5.22
    //# The server MUST send an Upgrade header field in a 426 response to
    //# indicate the required protocol(s)
    let demanded: &[(&str, &str)] = match refusal.status {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-4.4
        //# If the server doesn't support the requested version, it MUST respond with a
        //# |Sec-WebSocket-Version| header field
        426 => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
        //= https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6
        //# The origin server MUST generate an Allow header field in a 405
        //# response containing a list of the target resource's currently
        //# supported methods.
        405 => &[("Allow", "GET")],
        //= https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
        //# The server generating a 401 response MUST send a
        //# WWW-Authenticate header field (Section 11.6.1) containing at least one
        //# challenge applicable to the target resource.
        401 => &[("WWW-Authenticate", "Bearer realm=\"ringwire\"")],
        _ => &[],
    };
    for header in demanded {
        if !extra_headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(header.0)) {
            headers.push(*header);
        }
    }
    let body = format!("{}\n", refusal.reason);
    encode_response(out, refusal.status, &headers, body.as_bytes(), false);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(refusal: &Refusal, extra: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        encode_refusal(&mut out, refusal, extra);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_refusal_is_one_line_and_closes() {
        let text = encoded(&Refusal::new(400, "no"), &[]);
        assert_eq!(
            text,
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\nno\n"
        );
    }

    //= https://www.rfc-editor.org/rfc/rfc9110#section-15.5.22
    //= type=test
    //# The server MUST send an Upgrade header field in a 426 response to
    //# indicate the required protocol(s)
    #[test]
    fn statuses_bring_the_headers_they_demand() {
        let text = encoded(&Refusal::new(426, "upgrade"), &[]);
        assert!(text.contains("\r\nUpgrade: websocket\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert!(encoded(&Refusal::new(405, "no"), &[]).contains("\r\nAllow: GET\r\n"));
        let text = encoded(&Refusal::new(401, "no"), &[]);
        assert!(text.contains("\r\nWWW-Authenticate: Bearer realm=\"ringwire\"\r\n"));
        let text = encoded(&Refusal::new(405, "no"), &[("Allow", "GET, POST")]);
        assert!(text.contains("\r\nAllow: GET, POST\r\n"));
        assert!(!text.contains("\r\nAllow: GET\r\n"));
    }
}
