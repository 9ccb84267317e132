//! The JSON of polls, of publishing, and of the subprotocol `ringwire.json.1`.
//!
//! Items are encoded once and joined with commas by whoever answers, so that a hundred answers
//! share them. Strings are escaped by `serde_json`; nothing here builds one by hand.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::position::{Epoch, Position};

/// Goes between two items of an answer.
pub const ITEM_SEPARATOR: u8 = b',';

/// The end of an answer.
pub const ANSWER_TAIL: &[u8] = b"]}";

/// Appends one publication: `{"offset":N,"data":".."}`, or `data_base64` if it is not text.
///
/// What claims to be text and is not UTF-8 goes as binary: JSON could not carry it.
pub fn encode_item(out: &mut Vec<u8>, offset: u64, payload: &[u8], text: bool) {
    put(out, format_args!("{{\"offset\":{offset},"));
    match simdutf8::basic::from_utf8(payload) {
        Ok(data) if text => {
            out.extend_from_slice(b"\"data\":");
            serde_json::to_writer(&mut *out, data).expect("writing to memory does not fail");
        }
        _ => {
            out.extend_from_slice(b"\"data_base64\":\"");
            put(out, format_args!("{}", base64::display::Base64Display::new(payload, &STANDARD)));
            out.push(b'"');
        }
    }
    out.push(b'}');
}

/// Appends the start of an answer, up to the first item.
pub fn encode_answer_head(out: &mut Vec<u8>, position: Position, recovered: bool) {
    let Position { epoch, offset } = position;
    put(
        out,
        format_args!(
            "{{\"epoch\":\"{epoch}\",\"offset\":{offset},\"recovered\":{recovered},\"items\":["
        ),
    );
}

/// Appends the end of an answer.
pub fn encode_answer_tail(out: &mut Vec<u8>) {
    out.extend_from_slice(ANSWER_TAIL);
}

/// Appends the first message of `ringwire.json.1`, also sent after every gap:
/// `{"epoch":"..","offset":N,"recovered":true}`.
pub fn encode_position(out: &mut Vec<u8>, position: Position, recovered: bool) {
    let Position { epoch, offset } = position;
    put(
        out,
        format_args!("{{\"epoch\":\"{epoch}\",\"offset\":{offset},\"recovered\":{recovered}}}"),
    );
}

/// Appends the answer to a publication: `{"epoch":"..","offset":N}`.
pub fn encode_published(out: &mut Vec<u8>, position: Position) {
    let Position { epoch, offset } = position;
    put(out, format_args!("{{\"epoch\":\"{epoch}\",\"offset\":{offset}}}"));
}

fn put(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}

/// A poll's answer, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'b> {
    /// What to pass next as `since`.
    pub position: Position,
    /// False if what lies between is lost.
    pub recovered: bool,
    /// The publications, in order.
    pub items: Vec<Item<'b>>,
}

/// One publication, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'b> {
    /// Its offset.
    pub offset: u64,
    /// The payload; borrowed if it is text without escapes.
    pub payload: Cow<'b, [u8]>,
    /// Whether it was published as text.
    pub is_text: bool,
}

/// The JSON is not what was expected; the text says where.
#[derive(Debug)]
pub struct BadAnswer(String);

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadAnswer {}

impl From<serde_json::Error> for BadAnswer {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

#[derive(Deserialize)]
struct RawAnswer<'b> {
    epoch: &'b str,
    offset: u64,
    #[serde(default)]
    recovered: Option<bool>,
    #[serde(borrow, default)]
    items: Vec<RawItem<'b>>,
}

#[derive(Deserialize)]
struct RawItem<'b> {
    offset: u64,
    #[serde(borrow)]
    data: Option<Text<'b>>,
    #[serde(borrow)]
    data_base64: Option<Text<'b>>,
}

/// `Option<Cow<str>>` alone would copy every string.
#[derive(Deserialize)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

impl<'b> RawItem<'b> {
    fn read(self) -> Result<Item<'b>, BadAnswer> {
        let offset = self.offset;
        match (self.data, self.data_base64) {
            (Some(Text(Cow::Borrowed(text))), None) => {
                Ok(Item { offset, payload: Cow::Borrowed(text.as_bytes()), is_text: true })
            }
            (Some(Text(Cow::Owned(text))), None) => {
                Ok(Item { offset, payload: Cow::Owned(text.into_bytes()), is_text: true })
            }
            (None, Some(Text(text))) => {
                let payload =
                    STANDARD.decode(&*text).map_err(|error| BadAnswer(error.to_string()))?;
                Ok(Item { offset, payload: Cow::Owned(payload), is_text: false })
            }
            _ => Err(BadAnswer("an item needs either data or data_base64".to_string())),
        }
    }
}

impl RawAnswer<'_> {
    fn position(&self) -> Result<Position, BadAnswer> {
        let epoch: Epoch =
            self.epoch.parse().map_err(|_| BadAnswer("the epoch is malformed".to_string()))?;
        Ok(Position { epoch, offset: self.offset })
    }
}

/// Reads a poll's answer.
pub fn parse_answer(body: &[u8]) -> Result<Answer<'_>, BadAnswer> {
    let raw: RawAnswer<'_> = serde_json::from_slice(body)?;
    let position = raw.position()?;
    let recovered = raw.recovered.ok_or_else(|| BadAnswer("recovered is missing".to_string()))?;
    let items = raw.items.into_iter().map(RawItem::read).collect::<Result<_, _>>()?;
    Ok(Answer { position, recovered, items })
}

/// Reads the answer to a publication.
pub fn parse_published(body: &[u8]) -> Result<Position, BadAnswer> {
    serde_json::from_slice::<RawAnswer<'_>>(body)?.position()
}

/// Reads a publication of `ringwire.json.1`.
pub fn parse_item(message: &[u8]) -> Result<Item<'_>, BadAnswer> {
    serde_json::from_slice::<RawItem<'_>>(message)?.read()
}

/// Reads a position message of `ringwire.json.1`, and whether all before it was recovered.
pub fn parse_position(message: &[u8]) -> Result<(Position, bool), BadAnswer> {
    let answer = parse_answer(message)?;
    Ok((answer.position, answer.recovered))
}
