//! Response heads, written (server) and read (client).
//!
//! What the server writes always says where it ends: by Content-Length, or, for a stream of
//! events, by `Connection: close`. What the client reads may come from any server.

use std::mem::MaybeUninit;

use super::head::{HEADERS_MAX, HeadLimits, HeadScanner, Headers};
use super::{has_token, list, write_header};

/// The response is not one that a client can go on with; the text says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadResponse(pub &'static str);

impl std::fmt::Display for BadResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadResponse {}

/// A whole response head, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug)]
pub struct Response<'b> {
    /// The status code.
    pub status: u16,
    /// The header lines.
    pub headers: Headers<'b>,
    /// How many bytes of body follow; `None` if it is chunked or ends with the connection.
    pub content_length: Option<u64>,
    /// The body comes in chunks (RFC 9112, section 7.1).
    pub is_chunked: bool,
    /// Whether another request may be sent on this connection.
    pub keep_alive: bool,
}

impl<'b> Response<'b> {
    /// The value of the first header of this name, without outer whitespace.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers.first(name)
    }
}

/// Parses a response head that [`HeadScanner::find_end`] has found; it ends with its empty line.
pub fn parse_response(head: &[u8]) -> Result<Response<'_>, BadResponse> {
    const LIMITS: HeadLimits = HeadLimits {
        head_bytes_max: usize::MAX,
        headers_max: HEADERS_MAX,
        request_line_bytes_max: usize::MAX,
    };
    let end = HeadScanner::new().find_end(head, &LIMITS).map_err(|no| BadResponse(no.reason))?;
    if end != Some(head.len()) {
        return Err(BadResponse("the response head is not complete"));
    }
    let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
    let head = &head[start..];
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(BadResponse("the status line is cut short")),
        Err(_) => return Err(BadResponse("the response head is malformed")),
    }
    let status = parsed.code.unwrap_or_default();
    let headers = Headers::of(head);
    let connection = |token| headers.all("connection").any(|value| has_token(value, token));
    let is_http_11 = parsed.version == Some(1);
    let is_chunked = headers
        .all("transfer-encoding")
        .flat_map(list)
        .last()
        .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let content_length = body_length(status, headers, is_chunked)?;
    let ends_itself = is_chunked || content_length.is_some();
    Ok(Response {
        status,
        headers,
        content_length,
        is_chunked,
        keep_alive: ends_itself && !connection("close") && (is_http_11 || connection("keep-alive")),
    })
}

fn body_length(
    status: u16,
    headers: Headers<'_>,
    is_chunked: bool,
) -> Result<Option<u64>, BadResponse> {
    //= https://www.rfc-editor.org/rfc/rfc9112#section-6.3
    //# any response with a 1xx (Informational), 204 (No Content), or 304 (Not Modified)
    //# status code is always terminated by the first empty line after the header fields
    if matches!(status, 100..=199 | 204 | 304) {
        return Ok(Some(0));
    }
    let mut length = None;
    for value in headers.all("content-length").flat_map(list) {
        if is_chunked {
            return Err(BadResponse("the response has both a length and chunks"));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(BadResponse("Content-Length of the response is not a number"));
        }
        let text = std::str::from_utf8(value).unwrap_or_default();
        let number: u64 =
            text.parse().map_err(|_| BadResponse("Content-Length of the response is too large"))?;
        if length.is_some_and(|other| other != number) {
            return Err(BadResponse("the response has two different lengths"));
        }
        length = Some(number);
    }
    Ok(length)
}

/// Appends a whole response; its length is always announced.
pub fn encode_response(
    out: &mut Vec<u8>,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    keep_alive: bool,
) {
    encode_response_head(out, status, headers, Some(body.len()), keep_alive);
    out.extend_from_slice(body);
}

/// Appends a response head alone: for HEAD, with the length the body would have, and for a
/// stream (`None`), which ends when the connection does.
pub fn encode_response_head(
    out: &mut Vec<u8>,
    status: u16,
    headers: &[(&str, &str)],
    content_length: Option<usize>,
    keep_alive: bool,
) {
    debug_assert!(keep_alive <= content_length.is_some(), "only an end lets another one begin");
    encode_status_line(out, status);
    if let Some(bytes) = content_length {
        write_header(out, "Content-Length", &bytes.to_string());
    }
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    for (name, value) in headers {
        write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `100 Continue`: the client may send its body now.
pub fn encode_continue(out: &mut Vec<u8>) {
    encode_status_line(out, 100);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn encode_status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The words that go with a status; empty for one that has none here.
#[must_use]
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
