//! Events as bytes. Each call writes whole events, each ended by its empty line.

use std::fmt;
use std::io::Write as _;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;

use crate::position::Position;

/// Appends a publication.
///
/// Text goes as one `data:` line for each of its lines. Binary, text with a CR, and what claims
/// to be text and is not UTF-8 go as base64 in an event of type `binary`.
pub fn encode_event(out: &mut Vec<u8>, position: Position, payload: &[u8], text: bool) {
    put(out, format_args!("id: {position}\n"));
    let is_carried = text
        && memchr::memchr(b'\r', payload).is_none()
        && simdutf8::basic::from_utf8(payload).is_ok();
    if is_carried {
        for line in payload.split(|&byte| byte == b'\n') {
            // With the space: without it a payload that starts with one would lose it.
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    } else {
        put(out, format_args!("event: binary\ndata: {}\n", Base64Display::new(payload, &STANDARD)));
    }
    out.push(b'\n');
}

/// Appends the announcement that the position asked for is lost and the stream goes on from here.
pub fn encode_reset(out: &mut Vec<u8>, position: Position) {
    let Position { epoch, offset } = position;
    put(
        out,
        format_args!(
            "id: {position}\nevent: reset\ndata: {{\"epoch\":\"{epoch}\",\"offset\":{offset}}}\n\n"
        ),
    );
}

/// Appends an id alone: no event comes of it, but a reader that reconnects resumes from there
/// (HTML, section 9.2.6: the last event ID is set before an event without data is dropped).
pub fn encode_position(out: &mut Vec<u8>, position: Position) {
    put(out, format_args!("id: {position}\n\n"));
}

/// Appends a comment, which readers ignore: a heartbeat.
pub fn encode_comment(out: &mut Vec<u8>, text: &str) {
    for line in text.split(['\r', '\n']) {
        put(out, format_args!(": {line}\n"));
    }
    out.push(b'\n');
}

/// Appends how long a reader should wait before it connects again.
pub fn encode_retry(out: &mut Vec<u8>, retry_ms: u64) {
    put(out, format_args!("retry: {retry_ms}\n\n"));
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}
