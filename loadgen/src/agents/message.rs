//! What controller and agents say to each other, and how it becomes bytes: JSON in pieces.
//!
//! ```text
//! ringwire.loadgen/1 SENDER SERIAL PIECE PIECES\n
//! the piece's bytes
//! ```
//!
//! Not here: who is told what, and the server in between. Invariants: everything read here comes
//! from outside: sizes are bounded, another version or a foreign message is refused by a line that
//! says so, and nothing panics; what an agent says can be printed as it is.

use loadgen::outcome::Failure;
use loadgen::part::{Part, Ready, Start};
use loadgen::scenario::Scenario;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::now::Now;
use crate::result::Document;

/// How every piece begins, up to the version.
const PROTOCOL: &str = "ringwire.loadgen/";
/// The version that is spoken.
const VERSION: &str = "1";
/// Where all subjects are.
const SUBJECTS: &str = "ringwire.loadgen.1";
/// The longest head of a piece.
pub(super) const HEAD_BYTES_MAX: usize = 160;
/// The largest message: a day of intervals is a tenth of it.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The longest name of an agent, a run or a machine.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Where agents listen for controllers.
pub(super) fn call_subject() -> String {
    format!("{SUBJECTS}.call")
}

/// Where one agent listens.
pub(super) fn agent_subject(id: &str) -> String {
    format!("{SUBJECTS}.agent.{id}")
}

/// Where the controller of a run listens.
pub(super) fn run_subject(run: &str) -> String {
    format!("{SUBJECTS}.run.{run}")
}

/// One message of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Letter<T> {
    pub(super) run: String,
    pub(super) body: T,
}

/// What a controller says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum ToAgent {
    /// Who is there, and free?
    Call,
    /// What time is it?
    Ping(u64),
    /// Open your connections.
    Plan(Box<Assignment>),
    /// Begin, at a time of your own clock.
    Start(Start),
    /// The controller is alive.
    Beat,
    /// End now, and tell what was measured.
    Stop,
    /// All was received: you are free.
    Release,
}

/// One agent's part of a plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Assignment {
    /// The whole of it.
    pub(super) scenario: Scenario,
    /// What of it is the agent's.
    pub(super) part: Part,
}

/// What an agent says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum ToController {
    /// It is free.
    Offer(Offer),
    /// What time it was when a ping came, and when it was answered.
    Pong { number: u64, received_ns: u64, sent_ns: u64 },
    /// It does not take the plan, or could not carry it out.
    Failed { code: u8, line: String },
    /// Its connections are open or refused.
    Ready(Ready),
    /// How it is doing; once a second.
    Now(Box<Now>),
    /// Its part is over.
    Done(Box<Done>),
}

/// Who offers to take a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) name: String,
    /// What processes that share a clock have in common.
    pub(super) clock: String,
}

/// What one agent measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) document: Document,
    /// By channel: publications of the window that were accepted from this agent.
    pub(super) accepted: Vec<u64>,
    /// By channel: this agent's subscribers.
    pub(super) subscribed: Vec<u32>,
}

/// Whether a name can be part of a subject, and be printed.
pub(super) fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Cuts a message into pieces of at most `piece_bytes_max` bytes, heads included.
pub(super) fn pieces<T: Serialize>(
    sender: &str,
    serial: u64,
    message: &Letter<T>,
    piece_bytes_max: usize,
) -> Result<Vec<Vec<u8>>, Failure> {
    let text = serde_json::to_vec(message)
        .map_err(|error| Failure::other(format!("a message cannot be written: {error}")))?;
    if text.len() > MESSAGE_BYTES_MAX {
        let line = "a message above 64 MiB: give agents a smaller plan (feeds count)";
        return Err(Failure::configuration(line));
    }
    let body_bytes = piece_bytes_max.saturating_sub(HEAD_BYTES_MAX).max(1);
    let count = text.len().div_ceil(body_bytes);
    let piece = |(index, body): (usize, &[u8])| {
        let head = format!("{PROTOCOL}{VERSION} {sender} {serial} {index} {count}\n");
        [head.as_bytes(), body].concat()
    };
    Ok(text.chunks(body_bytes).enumerate().map(piece).collect())
}

/// One piece, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'b> {
    pub(super) sender: &'b str,
    serial: u64,
    index: u64,
    count: u64,
    body: &'b [u8],
}

impl<'b> Piece<'b> {
    /// Reads a piece's head.
    ///
    /// # Errors
    /// Why it is none, in one line.
    pub(super) fn parse(bytes: &'b [u8]) -> Result<Self, String> {
        let foreign = || "a message that is not loadgen's".to_owned();
        let head = bytes.get(..bytes.len().min(HEAD_BYTES_MAX)).unwrap_or_default();
        let end = head.iter().position(|byte| *byte == b'\n').ok_or_else(foreign)?;
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| foreign())?;
        let mut words = text.strip_prefix(PROTOCOL).ok_or_else(foreign)?.split(' ');
        let version = words.next().unwrap_or_default();
        if version != VERSION {
            let version: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
            return Err(format!(
                "a message of version {version:?} of the agents' protocol, and this loadgen \
                 speaks {VERSION}: use the same loadgen everywhere"
            ));
        }
        let sender = words.next().filter(|sender| is_name(sender)).ok_or_else(foreign)?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let (serial, index, count) = (number(), number(), number());
        match (serial, index, count, words.next()) {
            (Some(serial), Some(index), Some(count), None) if index < count => {
                Ok(Self { sender, serial, index, count, body: &bytes[end + 1..] })
            }
            _ => Err(foreign()),
        }
    }

    /// Whether it is a whole message.
    pub(super) fn is_whole(&self) -> bool {
        self.count == 1
    }
}

/// Puts the pieces of one sender together, one message after the other.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    serial: u64,
    count: u64,
    next: u64,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes the next piece; the message's bytes once it is whole.
    ///
    /// # Errors
    /// When a piece is missing, or the message too long: it is dropped.
    pub(super) fn take(&mut self, piece: &Piece<'_>) -> Result<Option<Vec<u8>>, String> {
        if piece.index == 0 {
            *self = Self { serial: piece.serial, count: piece.count, ..Self::default() };
        }
        let is_next = piece.serial == self.serial
            && piece.count == self.count
            && piece.index == self.next
            && self.count > 0;
        if !is_next {
            *self = Self::default();
            return Err("a message of which a piece is missing".to_owned());
        }
        if self.bytes.len() + piece.body.len() > MESSAGE_BYTES_MAX {
            *self = Self::default();
            return Err("a message above 64 MiB".to_owned());
        }
        self.bytes.extend_from_slice(piece.body);
        self.next += 1;
        if self.next < self.count {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).bytes))
    }
}

/// Reads what an agent is told.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_order(bytes: &[u8]) -> Result<Letter<ToAgent>, String> {
    read(bytes)
}

/// Reads what an agent says. Its words end up on a terminal and in files, so that none may hold
/// control characters.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_report(bytes: &[u8]) -> Result<Letter<ToController>, String> {
    let mut value: Value = read(bytes)?;
    blank_controls(&mut value);
    serde_json::from_value(value).map_err(|error| malformed(&error))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> String {
    plain(&format!("a message that makes no sense ({error})"))
}

/// The text without control characters.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn blank_controls(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(char::is_control) => *text = plain(text),
        Value::Array(values) => values.iter_mut().for_each(blank_controls),
        Value::Object(fields) => {
            // Names too: error codes are names.
            if fields.keys().any(|name| name.chars().any(char::is_control)) {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(name, value)| (plain(&name), value))
                    .collect();
            }
            fields.values_mut().for_each(blank_controls);
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn letter(text: &str) -> Letter<ToController> {
        let body = ToController::Failed { code: 104, line: text.to_owned() };
        Letter { run: "r1".to_owned(), body }
    }

    fn whole(pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut assembler = Assembler::default();
        let mut whole = None;
        for (index, bytes) in pieces.iter().enumerate() {
            let piece = Piece::parse(bytes).unwrap();
            assert_eq!((piece.sender, piece.is_whole()), ("a-1", pieces.len() == 1));
            whole = assembler.take(&piece).unwrap();
            assert_eq!(whole.is_some(), index + 1 == pieces.len());
        }
        whole.unwrap()
    }

    #[test]
    fn a_message_survives_pieces_of_any_size() {
        let mut random = Random::seeded();
        for _ in 0..100 {
            let line = "x".repeat(usize::try_from(random.below(3_000)).unwrap());
            let size = HEAD_BYTES_MAX + 1 + usize::try_from(random.below(2_000)).unwrap();
            let pieces = pieces("a-1", random.next(), &letter(&line), size).unwrap();
            assert!(pieces.iter().all(|piece| piece.len() <= size));
            let read = read_report(&whole(&pieces)).unwrap();
            assert_eq!(read.run, "r1");
            let ToController::Failed { code: 104, line: told } = read.body else { panic!() };
            assert_eq!(told, line);
        }
    }

    #[test]
    fn foreign_old_and_damaged_messages_are_refused_by_a_line() {
        let table: [(&[u8], &str); 9] = [
            (b"", "not loadgen's"),
            (b"hello\n", "not loadgen's"),
            (b"ringwire.loadgen/1 a-1 0 0 1", "not loadgen's"),
            (b"ringwire.loadgen/0 a-1 0 0 1\n{}", "version \"0\""),
            (b"ringwire.loadgen/2\n", "version \"2\""),
            (b"ringwire.loadgen/1 a.* 0 0 1\n", "not loadgen's"),
            (b"ringwire.loadgen/1 a-1 0 1 1\n", "not loadgen's"),
            (b"ringwire.loadgen/1 a-1 0 0 1 2\n", "not loadgen's"),
            (b"ringwire.loadgen/1 a-1 0 -1 1\n", "not loadgen's"),
        ];
        for (bytes, expected) in table {
            let refusal = Piece::parse(bytes).unwrap_err();
            assert!(refusal.contains(expected), "{refusal}");
            assert!(!refusal.contains('\n'));
        }
        for bytes in [&b"{}"[..], b"", b"[", b"{\"run\":\"r\",\"body\":{\"Start\":{}}}"] {
            assert!(read_order(bytes).unwrap_err().contains("makes no sense"));
            assert!(read_report(bytes).unwrap_err().contains("makes no sense"));
        }
    }

    #[test]
    fn a_missing_piece_loses_that_message_and_not_the_next() {
        let pieces = pieces("a-1", 3, &letter(&"y".repeat(900)), HEAD_BYTES_MAX + 300).unwrap();
        let mut assembler = Assembler::default();
        assert!(assembler.take(&Piece::parse(&pieces[0]).unwrap()).unwrap().is_none());
        assert!(assembler.take(&Piece::parse(&pieces[2]).unwrap()).is_err());
        assert!(assembler.take(&Piece::parse(&pieces[3]).unwrap()).is_err());
        assert!(read_report(&whole(&pieces)).is_ok());
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = Random::seeded();
        let good = pieces("a-1", 0, &letter("ok"), 1_000).unwrap().remove(0);
        let mut assembler = Assembler::default();
        for _ in 0..5_000 {
            let mut bytes = good.clone();
            for _ in 0..=random.below(4) {
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                bytes[at] = u8::try_from(random.below(256)).unwrap();
            }
            if let Ok(piece) = Piece::parse(&bytes)
                && let Ok(Some(whole)) = assembler.take(&piece)
            {
                let _ = read_report(&whole);
                let _ = read_order(&whole);
            }
        }
    }

    #[test]
    fn what_an_agent_says_can_be_printed() {
        let bytes = serde_json::to_vec(&letter("a\u{1b}[2Jb\nc")).unwrap();
        let ToController::Failed { line, .. } = read_report(&bytes).unwrap().body else { panic!() };
        assert_eq!(line, "a [2Jb c");
    }

    #[test]
    fn names_are_words_of_a_subject() {
        assert!(is_name("lab-3_b"));
        for name in ["", "a.b", "a b", "*", ">", "\u{e9}", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
