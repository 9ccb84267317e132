//! A request head: what one means, and what is refused before anyone asks what it means.
//!
//! `httparse` does the parsing; this file adds the rules on which two servers behind one another
//! must agree, because where they do not, one of them can be made to see another request: one
//! Host, one length, no coding we do not speak, no junk in an authority.

use std::mem::MaybeUninit;

use super::head::{HEADERS_MAX, HeadLimits, HeadScanner, Headers};
use super::{Refusal, has_token, list, write_header};

/// What the request wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'b> {
    /// Read.
    Get,
    /// Read, without the body.
    Head,
    /// Publish.
    Post,
    /// Ask what may be asked.
    Options,
    /// Any other method token.
    Other(&'b str),
}

/// How the request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// No body: the next request starts after the head.
    None,
    /// This many bytes follow the head.
    Length(u64),
    /// Chunks follow the head, which [`ChunkedBody`](super::ChunkedBody) reads.
    Chunked,
}

/// A whole request head, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    /// The method.
    pub method: Method<'b>,
    /// The path as it was sent, percent-encoded; it starts with `/`, or is `*` for `OPTIONS *`.
    pub path: &'b str,
    /// What follows the question mark, percent-encoded.
    pub query: Option<&'b str>,
    /// The header lines.
    pub headers: Headers<'b>,
    /// How the body is framed.
    pub body: Body,
    /// Whether the client means to send another request after this one.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    host: &'b str,
    origin: Option<&'b str>,
    upgrade: Protocols,
}

/// The protocols that `Upgrade` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Protocols {
    websocket: bool,
    other: bool,
}

impl<'b> Request<'b> {
    /// The value of the first header of this name, without outer whitespace.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers.first(name)
    }

    /// Whether an upgrade to `websocket` is asked for. Other protocols, `h2c` among them, are
    /// not heard; but `keep_alive` is false then, as a proxy may already believe in a tunnel.
    #[must_use]
    pub const fn wants_upgrade(&self) -> bool {
        self.upgrade.websocket
    }

    /// Whether the upgrade to `websocket` is one wish among several.
    #[must_use]
    pub const fn wants_other_upgrade(&self) -> bool {
        self.upgrade.other
    }

    /// Host and port the request is for: that of an absolute target, else of the Host header.
    #[must_use]
    pub const fn host(&self) -> &'b str {
        self.host
    }

    /// The page that makes the request, if a browser sent one.
    #[must_use]
    pub const fn origin(&self) -> Option<&'b str> {
        self.origin
    }

    /// Whether `text/event-stream` is accepted by name; `*/*` does not count.
    #[must_use]
    pub fn accepts_event_stream(&self) -> bool {
        self.headers.all("accept").flat_map(list).any(|range| {
            let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let is_named =
                parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
            is_named && !parts.any(is_zero_quality)
        })
    }
}

fn is_zero_quality(parameter: &[u8]) -> bool {
    let Some([b'q' | b'Q', b'=', value @ ..]) = parameter.get(..) else { return false };
    !value.is_empty() && value.iter().all(|byte| matches!(byte, b'0' | b'.'))
}

/// What one walk over the header lines finds.
#[derive(Default)]
struct Seen<'b> {
    host: Option<&'b [u8]>,
    origin: Option<&'b [u8]>,
    content_length: Option<u64>,
    coding: Option<Coding>,
    close: bool,
    upgrade: Protocols,
    expects_continue: bool,
}

/// What the transfer codings seen so far come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// `chunked`, once and alone.
    Chunked,
    /// `chunked` is the last, behind others.
    ChunkedOther,
    /// The last is not `chunked`, or something stands behind it.
    Endless,
}

const BAD_LENGTH: Refusal =
    Refusal::new(400, "bad Content-Length: send it once, as a plain decimal number");
const BAD_HOST: Refusal =
    Refusal::new(400, "bad Host: send one Host header, a name or address with an optional port");
const TWO_ORIGINS: Refusal = Refusal::new(400, "bad Origin: send it once, as plain ASCII");
const BAD_TARGET: Refusal =
    Refusal::new(400, "bad request target: use an absolute path, such as /channels/NAME");
const BAD_VERSION: Refusal =
    Refusal::new(505, "this HTTP version is not spoken here: use HTTP/1.1");
const BAD_LINE: Refusal =
    Refusal::new(400, "bad request line: send METHOD, target and HTTP/1.1, one space between");

/// Parses a head that [`HeadScanner::find_end`] has found; `head` ends with its empty line.
pub fn parse_request<'b>(head: &'b [u8], limits: &HeadLimits) -> Result<Request<'b>, Refusal> {
    // The scanner's rules are part of the grammar, so they hold whoever calls.
    if HeadScanner::new().find_end(head, limits)? != Some(head.len()) {
        return Err(Refusal::new(400, "the request head is not complete: end it with CR LF CR LF"));
    }
    let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
    let head = &head[start..];
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(BAD_LINE),
        Err(error) => return Err(refusal_of(error, head)),
    }
    //= https://www.rfc-editor.org/rfc/rfc9110#section-15.6.6
    //# The 505 (HTTP Version Not Supported) status code indicates that the
    //# server does not support, or refuses to support, the major version of
    //# HTTP that was used in the request message.
    if parsed.version != Some(1) {
        return Err(BAD_VERSION);
    }
    let mut seen = Seen::default();
    for header in parsed.headers.iter() {
        seen.note(header.name, header.value)?;
    }
    let method = method_of(parsed.method.unwrap_or_default());
    let target = Target::parse(method, parsed.path.unwrap_or_default())?;
    seen.into_request(method, target, Headers::of(head))
}

fn refusal_of(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::HeaderName => Refusal::new(
            400,
            "bad header name: letters, digits and - only, no space before the colon",
        ),
        httparse::Error::HeaderValue => {
            Refusal::new(400, "bad header value: no control characters")
        }
        httparse::Error::TooManyHeaders => Refusal::new(431, "too many headers: send fewer"),
        httparse::Error::Version => {
            let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
            let mut words = line.split(|&byte| byte == b' ');
            // `HTTP/2.0` is another version, `HTPT/1.1` and a fourth word are nothing.
            match (words.nth(2).and_then(|word| word.strip_prefix(b"HTTP/")), words.next()) {
                (Some([b'0'..=b'9', ..]), None) => BAD_VERSION,
                _ => BAD_LINE,
            }
        }
        _ => BAD_LINE,
    }
}

fn method_of(method: &str) -> Method<'_> {
    match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        other => Method::Other(other),
    }
}

impl<'b> Seen<'b> {
    fn note(&mut self, name: &str, value: &'b [u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // By length first: most headers of a browser are none of these.
        match name.len() {
            //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2
            //# A server MUST respond with a 400 (Bad Request) status code to any
            //# HTTP/1.1 request message that lacks a Host header field and to any
            //# request message that contains more than one Host header field line
            //# or a Host header field with an invalid field value.
            4 if is("host") && self.host.replace(value).is_some() => return Err(BAD_HOST),
            6 if is("origin") && self.origin.replace(value).is_some() => return Err(TWO_ORIGINS),
            6 if is("expect") => {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
                if !self.expects_continue {
                    return Err(Refusal::new(417, "unknown Expect: only 100-continue is known"));
                }
            }
            7 if is("upgrade") => {
                for protocol in list(value) {
                    let is_websocket = protocol.eq_ignore_ascii_case(b"websocket");
                    // Twice is not once: somebody on the way has added one.
                    self.upgrade.other |= !is_websocket || self.upgrade.websocket;
                    self.upgrade.websocket |= is_websocket;
                }
            }
            10 if is("connection") => self.close |= has_token(value, "close"),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-6.3
            //# If a message is received without Transfer-Encoding and with an invalid
            //# Content-Length header field, then the message framing is invalid and
            //# the recipient MUST treat it as an unrecoverable error
            14 if is("content-length")
                && self.content_length.replace(parse_length(value)?).is_some() =>
            {
                return Err(BAD_LENGTH);
            }
            17 if is("transfer-encoding") => {
                for coding in list(value) {
                    self.coding = Some(Coding::behind(self.coding, coding));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn into_request(
        self,
        method: Method<'b>,
        target: Target<'b>,
        headers: Headers<'b>,
    ) -> Result<Request<'b>, Refusal> {
        let host = authority(self.host.ok_or(BAD_HOST)?)?;
        let body = self.body()?;
        let origin = match self.origin {
            None => None,
            Some(value) if value.is_ascii() => std::str::from_utf8(value).ok(),
            Some(_) => return Err(TWO_ORIGINS),
        };
        Ok(Request {
            method,
            path: target.path,
            query: target.query,
            headers,
            body,
            //= https://www.rfc-editor.org/rfc/rfc9110#section-7.8
            //# A server MAY ignore a received Upgrade header field if it wishes to
            //# continue using the current protocol on that connection.
            keep_alive: !self.close && !self.upgrade.other,
            expects_continue: self.expects_continue,
            //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
            //# When an origin server receives a request with an absolute-form of
            //# request-target, the origin server MUST ignore the received Host
            //# header field (if any) and instead use the host information of the
            //# request-target.
            host: target.authority.unwrap_or(host),
            origin,
            upgrade: self.upgrade,
        })
    }

    /// How the body is framed, if that can be said in one way only.
    fn body(&self) -> Result<Body, Refusal> {
        let Some(coding) = self.coding else {
            return Ok(self.content_length.map_or(Body::None, Body::Length));
        };
        //= https://www.rfc-editor.org/rfc/rfc9112#section-6.1
        //# A server MAY reject a request that contains both Content-Length and
        //# Transfer-Encoding or process such a request in accordance with the
        //# Transfer-Encoding alone.
        if self.content_length.is_some() {
            return Err(Refusal::new(
                400,
                "Content-Length with Transfer-Encoding: send one of them",
            ));
        }
        match coding {
            Coding::Chunked => Ok(Body::Chunked),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-6.3
            //# If a Transfer-Encoding header field is present in a request and the chunked
            //# transfer coding is not the final encoding, the message body length cannot be
            //# determined reliably; the server MUST respond with the 400 (Bad Request) status
            //# code and then close the connection.
            Coding::Endless => Err(Refusal::new(
                400,
                "bad Transfer-Encoding: send chunked, once and last, or Content-Length",
            )),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-6.1
            //# A server that receives a request message with a transfer coding it
            //# does not understand SHOULD respond with 501 (Not Implemented).
            Coding::ChunkedOther => Err(Refusal::new(
                501,
                "only the transfer coding chunked is spoken here: send no other",
            )),
        }
    }
}

impl Coding {
    /// What the codings are when `next` stands behind those that came to `before`.
    fn behind(before: Option<Self>, next: &[u8]) -> Self {
        match (before, next.eq_ignore_ascii_case(b"chunked")) {
            (None, true) => Self::Chunked,
            (Some(Self::Endless), true) => Self::ChunkedOther,
            _ => Self::Endless,
        }
    }
}

/// Digits only: `u64::from_str` alone would take a plus sign.
fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(BAD_LENGTH);
    }
    let text = std::str::from_utf8(value).map_err(|_| BAD_LENGTH)?;
    text.parse().map_err(|_| Refusal::new(413, "Content-Length is beyond any limit: send less"))
}

/// Checks `name[:port]` or `[address][:port]`: nothing that another reader could split elsewhere.
fn authority(value: &[u8]) -> Result<&str, Refusal> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let is_address = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
    let (is_host, port) = if let [b'[', inside @ ..] = value {
        let end = memchr::memchr(b']', inside).ok_or(BAD_HOST)?;
        (end > 0 && inside[..end].iter().all(is_address), &inside[end + 1..])
    } else {
        let end = memchr::memchr(b':', value).unwrap_or(value.len());
        (end > 0 && value[..end].iter().all(is_name), &value[end..])
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !is_host || !is_port {
        return Err(BAD_HOST);
    }
    std::str::from_utf8(value).map_err(|_| BAD_HOST)
}

struct Target<'b> {
    path: &'b str,
    query: Option<&'b str>,
    authority: Option<&'b str>,
}

impl<'b> Target<'b> {
    fn parse(method: Method<'_>, target: &'b str) -> Result<Self, Refusal> {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-3
        //# Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT
        //# be used on these URIs.
        //= https://www.rfc-editor.org/rfc/rfc6455#section-3
        //# As with any URI scheme, the character "#", when not indicating the start of a
        //# fragment, MUST be escaped as %23.
        if !target.is_ascii() || target.contains('#') {
            return Err(BAD_TARGET);
        }
        if target == "*" && method == Method::Options {
            return Ok(Self { path: target, query: None, authority: None });
        }
        let (origin_form, authority) = match target.split_once("://") {
            _ if target.starts_with('/') => (target, None),
            Some((scheme, rest)) if is_web_scheme(scheme) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                (&rest[end..], Some(authority(&rest.as_bytes()[..end]).map_err(|_| BAD_TARGET)?))
            }
            _ => return Err(BAD_TARGET),
        };
        let (path, query) = match origin_form.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (origin_form, None),
        };
        Ok(Self { path: if path.is_empty() { "/" } else { path }, query, authority })
    }
}

fn is_web_scheme(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// Appends a whole request, for the client role. A body is announced by its length.
pub fn encode_request(
    out: &mut Vec<u8>,
    method: &str,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) {
    encode_request_line(out, method, target);
    write_header(out, "Host", host);
    for (name, value) in headers {
        write_header(out, name, value);
    }
    if !body.is_empty() || method == "POST" {
        write_header(out, "Content-Length", &body.len().to_string());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

pub(crate) fn encode_request_line(out: &mut Vec<u8>, method: &str, target: &str) {
    debug_assert!(
        target.bytes().chain(method.bytes()).all(|byte| byte.is_ascii_graphic()),
        "a method or target that is not one word makes another request"
    );
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}
