//! The table of requests: reading `requests.txt`, and judging what came back.
//!
//! Not here: any connection; *sim* and the live tests bring their own. Invariant: a line of the
//! table that is not understood ends the test.

use ringwire_protocol::http::{HeadLimits, HeadScanner, parse_response};

/// What must become of the connection after the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It answers another request.
    Kept,
    /// It ends.
    Closed,
    /// It is a WebSocket, which has echoed "hi".
    Socket,
}

/// One request, or several, and what they get.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// Status, and whether the answer has no body because it answers HEAD.
    answers: Vec<(u16, bool)>,
    pub(crate) then: Then,
}

/// The table.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let text = include_str!("requests.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        match line.strip_prefix("=== ") {
            Some(head) => cases.push(case(head)),
            None => {
                let case = cases.last_mut().expect("bytes before the first case");
                case.bytes.extend(unescape(line));
            }
        }
    }
    assert!(cases.len() > 100, "the table is cut short: {} cases", cases.len());
    cases
}

fn case(head: &'static str) -> Case {
    let parts: Vec<_> = head.split(" | ").collect();
    let [name, statuses, then] = parts[..] else { panic!("{head:?} has not three parts") };
    let status = |word: &str| {
        let number = word.trim_end_matches('h');
        (number.parse().expect("a status"), number.len() < word.len())
    };
    let then = match then {
        "kept" => Then::Kept,
        "closed" => Then::Closed,
        "socket" => Then::Socket,
        other => panic!("{other:?} in {head:?}"),
    };
    Case { name, bytes: Vec::new(), answers: statuses.split(' ').map(status).collect(), then }
}

/// The bytes of a line.
fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        bytes.extend(rest[..at].bytes());
        rest = &rest[at + 1..];
        let escape = rest.chars().next().expect("something behind a backslash");
        rest = &rest[escape.len_utf8()..];
        match escape {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '\\' => bytes.push(b'\\'),
            'x' => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).expect("two digits"));
                rest = &rest[2..];
            }
            '{' => {
                let (inside, behind) = rest.split_once('}').expect("a closing brace");
                let (text, times) = inside.rsplit_once('*').expect("a number of times");
                bytes.extend(unescape(text).repeat(times.parse().expect("a number")));
                rest = behind;
            }
            other => panic!("\\{other} in {line:?}"),
        }
    }
    bytes.extend(rest.bytes());
    bytes
}

impl Case {
    /// Whether so much has come back that the answers can be judged.
    pub(crate) fn is_answered(&self, received: &[u8]) -> bool {
        self.read(received).is_some()
    }

    /// Judges the answers; gives what came behind them.
    pub(crate) fn judge<'r>(&self, received: &'r [u8], how: &str) -> &'r [u8] {
        let name = self.name;
        let shown = received.escape_ascii().to_string();
        let Some((statuses, rest)) = self.read(received) else {
            panic!("{name}, {how}: answers are missing: {shown}")
        };
        let expected: Vec<u16> = self.answers.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, expected, "{name}, {how}: {shown}");
        match self.then {
            Then::Kept => assert!(rest.is_empty(), "{name}, {how}: too much: {shown}"),
            Then::Socket => assert_eq!(rest, b"\x81\x02hi", "{name}, {how}: {shown}"),
            // What a WebSocket says before it ends is a Close.
            Then::Closed if statuses.last() == Some(&101) => {
                assert_eq!(rest.first(), Some(&0x88), "{name}, {how}: {shown}");
            }
            Then::Closed => assert!(rest.is_empty(), "{name}, {how}: too much: {shown}"),
        }
        rest
    }

    /// The statuses of the whole answers, and what is behind them; `None` if some are missing.
    fn read<'r>(&self, received: &'r [u8]) -> Option<(Vec<u16>, &'r [u8])> {
        let mut statuses = Vec::new();
        let mut rest = received;
        while let Some(&(_, is_head)) = self.answers.get(statuses.len()) {
            let end = HeadScanner::new().find_end(rest, &HeadLimits::default()).expect("a head")?;
            let (head, behind) = rest.split_at(end);
            let response = parse_response(head).expect("a response");
            rest = behind;
            if response.status == 100 {
                continue;
            }
            statuses.push(response.status);
            let length = response.content_length.filter(|_| !is_head).unwrap_or(0);
            rest = rest.get(usize::try_from(length).expect("a short answer")..)?;
            if response.status >= 400 {
                self.check_refusal(head, &received[received.len() - rest.len()..]);
            }
        }
        let is_whole = self.then != Then::Socket || rest.len() >= 4;
        is_whole.then_some((statuses, rest))
    }

    /// A refusal says that the connection ends, and why in one line.
    fn check_refusal(&self, head: &[u8], behind: &[u8]) {
        let name = self.name;
        let response = parse_response(head).expect("a response");
        assert_eq!(response.header("Connection"), Some(&b"close"[..]), "{name}");
        assert!(response.content_length.is_some_and(|length| length > 10), "{name}: no reason");
        assert!(behind.is_empty(), "{name}: something behind a refusal");
    }
}
