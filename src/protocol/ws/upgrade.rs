//! From HTTP to WebSocket: the request that asks, the rules it must keep, the 101 that answers.
//!
//! Nothing else in this crate writes a 101, and it is to be written only for the key of an
//! [`Upgrade`], which exists only for a request that kept all the rules: a proxy that sees a 101
//! believes in a tunnel.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest as _, Sha1};

use super::negotiation::{Deflate, DeflateOffer, check_answer};
use crate::http::{
    BadResponse, Body, Headers, Method, Refusal, Request, Response, has_token, is_token_byte, list,
    write_header,
};

const KEY_CHARS: usize = 24;
const KEY_BYTES: usize = 16;
const ACCEPT_CHARS: usize = 28;

/// The spare bits of the last character mean nothing; some clients do not clear them.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A request for a WebSocket that kept all the rules.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'b> {
    /// The value of `Sec-WebSocket-Key`.
    pub key: &'b [u8],
    headers: Headers<'b>,
}

impl<'b> Upgrade<'b> {
    /// The subprotocols the client offers, in its order.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'b str> + Clone + use<'b> {
        self.headers
            .all("sec-websocket-protocol")
            .flat_map(list)
            .map(|token| std::str::from_utf8(token).unwrap_or_default())
    }

    /// The raw values of `Sec-WebSocket-Extensions`, for [`super::negotiate_deflate`].
    pub fn extensions(&self) -> impl Iterator<Item = &'b [u8]> + Clone + use<'b> {
        self.headers.all("sec-websocket-extensions")
    }
}

/// The value of `Sec-WebSocket-Accept` for a key.
#[must_use]
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# concatenating the value for /key/ with the string
    //# "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", taking the SHA-1 hash of this concatenated value
    //# to obtain a 20-byte value and base64-encoding
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let mut accept = [0; ACCEPT_CHARS];
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(ACCEPT_CHARS), "20 bytes are 28 characters");
    accept
}

/// Checks a request that wants an upgrade against the rules of RFC 6455, section 4.2.1.
pub fn check_upgrade<'b>(request: &Request<'b>) -> Result<Upgrade<'b>, Refusal> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The method of the request MUST be GET, and the HTTP version MUST
    //# be at least 1.1.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
    //# the server MUST stop processing the client's handshake and return an HTTP response with
    //# an appropriate error code (such as 400 Bad Request).
    if request.method != Method::Get {
        return Err(Refusal::new(405, "a WebSocket is opened by GET"));
    }
    if !request.wants_upgrade() {
        return Err(Refusal::new(426, "this is a WebSocket: send Upgrade: websocket"));
    }
    let headers = request.headers;
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
    //# A |Connection| header field that includes the token "Upgrade",
    //# treated as an ASCII case-insensitive value.
    if !headers.all("connection").any(|value| has_token(value, "upgrade")) {
        return Err(Refusal::new(400, "an upgrade needs Connection: Upgrade"));
    }
    // Whoever is on the way may have chosen another one of them: `h2c` carries requests past it.
    if request.wants_other_upgrade() {
        return Err(Refusal::new(400, "ask for one protocol: send Upgrade: websocket alone"));
    }
    // A proxy that does not see the upgrade would take the body for the next request.
    if !matches!(request.body, Body::None | Body::Length(0)) {
        let reason = "an upgrade request has no body: drop Content-Length and Transfer-Encoding";
        return Err(Refusal::new(400, reason));
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.5
    //# |Sec-WebSocket-Version| header field MUST NOT appear
    let mut versions = headers.all("sec-websocket-version");
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# If this version does not
    //# match a version understood by the server, the server MUST
    //# abort the WebSocket handshake described in this section and
    //# instead send an appropriate HTTP error code (such as 426
    //# Upgrade Required) and a |Sec-WebSocket-Version| header field
    //# indicating the version(s) the server is capable of
    //# understanding.
    if (versions.next(), versions.next()) != (Some(b"13"), None) {
        return Err(Refusal::new(426, "send one Sec-WebSocket-Version: 13"));
    }
    let key = check_key(headers)?;
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The elements that comprise this value MUST be non-empty strings with characters in the
    //# range U+0021 to U+007E not including separator characters as defined in [RFC2616]
    let mut offered = headers.all("sec-websocket-protocol").flat_map(list);
    if !offered.all(is_token) {
        return Err(Refusal::new(
            400,
            "bad Sec-WebSocket-Protocol: send names with commas between",
        ));
    }
    Ok(Upgrade { key, headers })
}

fn check_key(headers: Headers<'_>) -> Result<&[u8], Refusal> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1
    //# A |Sec-WebSocket-Key| header field with a base64-encoded (see
    //# Section 4 of [RFC4648]) value that, when decoded, is 16 bytes in
    //# length.
    const BAD: Refusal =
        Refusal::new(400, "bad Sec-WebSocket-Key: send it once, 16 bytes in base64");
    //= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.1
    //# The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP request.
    let mut keys = headers.all("sec-websocket-key");
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(BAD) };
    let mut decoded = [0; KEY_BYTES + 2];
    let is_key = key.len() == KEY_CHARS && LENIENT.decode_slice(key, &mut decoded) == Ok(KEY_BYTES);
    if is_key { Ok(key) } else { Err(BAD) }
}

fn is_token(element: &[u8]) -> bool {
    !element.is_empty() && element.iter().all(|&byte| is_token_byte(byte))
}

/// The first of the supported subprotocols that is offered: the server's order decides.
pub fn choose_subprotocol<'s, 'o>(
    offered: impl Iterator<Item = &'o str> + Clone,
    supported: &'s [String],
) -> Option<&'s str> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# The value chosen MUST be derived
    //# from the client's handshake, specifically by selecting one of
    //# the values from the |Sec-WebSocket-Protocol| field that the
    //# server is willing to use for this connection (if any).
    let is_offered = |name: &&str| offered.clone().any(|other| other == *name);
    supported.iter().map(String::as_str).find(is_offered)
}

/// Appends the 101 that accepts the upgrade that had `key`.
pub fn encode_switching(
    out: &mut Vec<u8>,
    key: &[u8],
    subprotocol: Option<&str>,
    extra_headers: &[(&str, &str)],
) {
    out.extend_from_slice(
        //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
        //# If the server chooses to accept the incoming connection, it MUST reply with a valid
        //# HTTP response indicating the following.
        //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
        //# the server MUST complete the following steps to accept the connection
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# Extensions not listed by the client MUST NOT be listed.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-9
    //# A server MUST NOT respond with any extension not requested by the client.
    out.extend_from_slice(&accept_key(key));
    out.extend_from_slice(b"\r\n");
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# it MUST NOT send back a |Sec-WebSocket-Protocol| header field in its response
    if let Some(name) = subprotocol {
        write_header(out, "Sec-WebSocket-Protocol", name);
    }
    for (name, value) in extra_headers {
        write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// The value of `Sec-WebSocket-Key` for a nonce, which must be new for each connection.
#[must_use]
pub fn client_key(nonce: [u8; 16]) -> String {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The value of this header field MUST be a nonce consisting of a randomly selected 16-byte
    //# value that has been base64-encoded (see Section 4 of [RFC4648]).
    STANDARD.encode(nonce)
}

/// What of `subprotocols` can be offered: names that are tokens, each once, in their order.
fn unique_tokens(subprotocols: &[String]) -> Vec<&str> {
    let mut offered: Vec<&str> = Vec::new();
    for name in subprotocols {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
        //# MUST all be unique strings.
        if is_token(name.as_bytes()) && !offered.contains(&name.as_str()) {
            offered.push(name);
        }
    }
    offered
}

/// Appends the request that opens a WebSocket, for the client role. A subprotocol that is no
/// token, or is named twice, is left out.
pub fn encode_upgrade_request(
    out: &mut Vec<u8>,
    host: &str,
    target: &str,
    key: &str,
    subprotocols: &[String],
    extra_headers: &[(String, String)],
) {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The handshake MUST be a valid HTTP request as specified by [RFC2616].
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The "Request-URI" part of the request MUST match the /resource name/ defined in Section
    //# 3 (a relative URI) or be an absolute http/https URI that, when parsed, has a /resource
    //# name/, /host/, and /port/ that match the corresponding ws/wss URI.
    crate::http::encode_request_line(out, "GET", target);
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The request MUST contain a |Host| header field whose value contains /host/ plus
    //# optionally ":" followed by /port/ (when not using the default port).
    write_header(out, "Host", host);
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The request MUST contain an |Upgrade| header field whose value MUST include the
    //# "websocket" keyword.
    write_header(out, "Upgrade", "websocket");
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The request MUST contain a |Connection| header field whose value MUST include the
    //# "Upgrade" token.
    write_header(out, "Connection", "Upgrade");
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The request MUST include a header field with the name |Sec-WebSocket-Key|.
    write_header(out, "Sec-WebSocket-Key", key);
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The request MUST include a header field with the name |Sec-WebSocket-Version|.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The value of this header field MUST be 13.
    write_header(out, "Sec-WebSocket-Version", "13");
    let offered = unique_tokens(subprotocols);
    if !offered.is_empty() {
        write_header(out, "Sec-WebSocket-Protocol", &offered.join(", "));
    }
    for (name, value) in extra_headers {
        write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// What the server chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switched {
    /// One of the subprotocols that were offered.
    pub subprotocol: Option<String>,
    /// How messages may be compressed.
    pub deflate: Option<Deflate>,
}

/// Checks the answer to an upgrade request that offered these subprotocols and this compression,
/// for the client role.
pub fn check_switching(
    response: &Response<'_>,
    key: &str,
    offered: &[String],
    offer: Option<&DeflateOffer>,
) -> Result<Switched, BadResponse> {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# The client MUST validate the server's response as follows:
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# If the server's response does not conform to the requirements for the server's handshake
    //# as defined in this section and in Section 4.2.2, the client MUST _Fail the WebSocket
    //# Connection_.
    if response.status != 101 {
        return Err(BadResponse("the server did not switch protocols"));
    }
    let headers = response.headers;
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# If the response lacks an |Upgrade| header field or the |Upgrade|
    //# header field contains a value that is not an ASCII case-
    //# insensitive match for the value "websocket", the client MUST
    //# _Fail the WebSocket Connection_.
    if !headers.first("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")) {
        return Err(BadResponse("the 101 is not for websocket"));
    }
    if !headers.all("connection").any(|value| has_token(value, "upgrade")) {
        //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
        //# If the response lacks a |Connection| header field or the |Connection| header field
        //# doesn't contain a token that is an ASCII case-insensitive match for the value
        //# "Upgrade", the client MUST _Fail the WebSocket Connection_.
        return Err(BadResponse("the 101 lacks Connection: Upgrade"));
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# If the response lacks a |Sec-WebSocket-Accept| header field or
    //# the |Sec-WebSocket-Accept| contains a value other than the
    //# base64-encoded SHA-1 of the concatenation of the |Sec-WebSocket-
    //# Key| (as a string, not base64-decoded) with the string "258EAFA5-
    //# E914-47DA-95CA-C5AB0DC85B11" but ignoring any leading and
    //# trailing whitespace, the client MUST _Fail the WebSocket
    //# Connection_.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.3
    //# The |Sec-WebSocket-Accept| header MUST NOT appear more than once in an HTTP response.
    let mut accepts = headers.all("sec-websocket-accept");
    if (accepts.next(), accepts.next()) != (Some(&accept_key(key.as_bytes())), None) {
        return Err(BadResponse("the 101 has the wrong Sec-WebSocket-Accept"));
    }
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# If the response includes a |Sec-WebSocket-Extensions| header
    //# field and this header field indicates the use of an extension
    //# that was not present in the client's handshake (the server has
    //# indicated an extension not requested by the client), the client
    //# MUST _Fail the WebSocket Connection_.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.2
    //# |Sec-WebSocket-Extensions| header field MUST NOT appear
    let deflate = check_answer(headers.all("sec-websocket-extensions"), offer)?;
    let subprotocol = chosen_subprotocol(headers, offered)?;
    Ok(Switched { subprotocol, deflate })
}

fn chosen_subprotocol(
    headers: Headers<'_>,
    offered: &[String],
) -> Result<Option<String>, BadResponse> {
    let mut values = headers.all("sec-websocket-protocol");
    let Some(value) = values.next() else { return Ok(None) };
    let chosen = offered.iter().find(|name| name.as_bytes() == value);
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# If the response includes a |Sec-WebSocket-Protocol| header field
    //# and this header field indicates the use of a subprotocol that was
    //# not present in the client's handshake (the server has indicated a
    //# subprotocol not requested by the client), the client MUST _Fail
    //# the WebSocket Connection_.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-11.3.4
    //# |Sec-WebSocket-Protocol| header field MUST NOT appear
    match (chosen, values.next()) {
        (Some(name), None) => Ok(Some(name.clone())),
        _ => Err(BadResponse("the 101 has a subprotocol that was not asked for")),
    }
}
