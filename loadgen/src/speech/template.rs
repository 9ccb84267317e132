//! Text with placeholders: `{"id":{sequence},"data":"{stamp}"}`.
//!
//! Not here: where texts come from, and who fills them when. Invariants: a template is parsed once;
//! filling allocates nothing as long as the buffer has room; what is filled in follows from the
//! run's seed and the message's numbers alone, so that a reply can be told from its message.

use std::io::Write as _;
use std::ops::RangeInclusive;

use super::feed::Feed;

/// Digits of `{random:N}` at most.
const RANDOM_DIGITS_MAX: u32 = 18;

/// Digits of a number.
const NUMBER_BYTES_MAX: usize = 20;

/// What a template may hold.
pub(crate) const KNOWN: &str = "{sequence} {connection} {channel} {publisher} {random:N} \
     {random:A-B} {feed.COLUMN} {stamp} {time_ms} {run}";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<[u8]>),
    Sequence,
    Connection,
    Channel,
    Publisher,
    /// A number, padded with zeros to so many digits.
    Random {
        range: RangeInclusive<u64>,
        digits: usize,
    },
    /// The column with this index.
    Feed(usize),
    Stamp,
    TimeMs,
    Run,
    /// Of requests only: the body's length, and where the last answer left off.
    BodyBytes,
    Place,
}

/// What a template may hold beside what messages hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message, or a part of one.
    Message,
    /// A whole HTTP request: `{@body}` and `{@place}` are ours.
    Request,
}

/// A parsed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Box<[Part]>,
}

/// What one message fills in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blanks<'a> {
    pub(crate) feed: Option<&'a Feed>,
    /// The feed's row.
    pub(crate) row: usize,
    pub(crate) seed: u64,
    pub(crate) sequence: u64,
    pub(crate) connection: u64,
    pub(crate) channel: u64,
    pub(crate) publisher: u64,
    pub(crate) stamp: &'a [u8],
    pub(crate) run: &'a [u8],
    pub(crate) time_ms: u64,
    pub(crate) body_bytes: usize,
    pub(crate) place: &'a [u8],
}

impl Template {
    /// Reads `text`. The error says at which column, and what there could be.
    pub(crate) fn parse(text: &[u8], kind: Kind, feed: Option<&Feed>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let is_open = text[at] == b'{';
            let next = text.get(at + 1).copied();
            if is_open && next == Some(b'{') {
                plain.push(b'{');
                at += 2;
                continue;
            }
            // JSON opens with a quote, a brace or nothing: only names are placeholders.
            let is_ours = kind == Kind::Request && next == Some(b'@');
            if !is_open || !(is_ours || next.is_some_and(|byte| byte.is_ascii_alphabetic())) {
                plain.push(text[at]);
                at += 1;
                continue;
            }
            let wrong = |what: String| format!("column {}: {what}", column(text, at));
            let name = text[at + 1..].split(|&byte| byte == b'}').next().unwrap_or_default();
            if at + 1 + name.len() == text.len() {
                let line = "`{` has no `}`: write `{{` for the character itself";
                return Err(wrong(line.to_owned()));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            let spelled = String::from_utf8_lossy(name);
            parts.push(part(&spelled, kind, feed).map_err(wrong)?);
            at += name.len() + 2;
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// Our stamp, and `padding` behind it.
    pub(crate) fn of_stamp(padding: &[u8]) -> Self {
        Self { parts: [Part::Stamp, Part::Text(padding.into())].into() }
    }

    /// Whether it holds our stamp.
    pub(crate) fn is_stamped(&self) -> bool {
        self.parts.contains(&Part::Stamp)
    }

    /// Whether it names the channel.
    pub(crate) fn names_channel(&self) -> bool {
        self.parts.contains(&Part::Channel)
    }

    /// Whether it takes something from the feed.
    pub(crate) fn is_fed(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Feed(_)))
    }

    /// Whether it holds what nobody can know afterwards.
    pub(crate) fn is_unrepeatable(&self) -> bool {
        let is = |part: &Part| matches!(part, Part::Random { .. } | Part::TimeMs | Part::Stamp);
        self.parts.iter().any(is)
    }

    /// The columns of the feed that it takes.
    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Part::Feed(column) => Some(*column),
            _ => None,
        })
    }

    /// How long it may become, the place of a request apart.
    pub(crate) fn bytes_max(&self, feed: Option<&Feed>, stamp_bytes: usize) -> usize {
        let bytes = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Feed(column) => feed.map_or(0, |feed| feed.value_bytes_max(*column)),
            Part::Stamp => stamp_bytes,
            Part::Place => 0,
            _ => NUMBER_BYTES_MAX,
        };
        self.parts.iter().map(bytes).sum()
    }

    /// Appends it to `out`, filled in.
    pub(crate) fn fill(&self, out: &mut Vec<u8>, blanks: &Blanks<'_>) {
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Sequence => number(out, blanks.sequence),
                Part::Connection => number(out, blanks.connection),
                Part::Channel => number(out, blanks.channel),
                Part::Publisher => number(out, blanks.publisher),
                Part::Random { range, digits } => {
                    let drawn = blanks.draw(index as u64);
                    let span = (range.end() - range.start()).wrapping_add(1);
                    let offset = if span == 0 { drawn } else { drawn % span };
                    let written = write!(out, "{:0digits$}", range.start() + offset);
                    debug_assert!(written.is_ok(), "a vector takes everything");
                }
                Part::Feed(column) => {
                    let value = blanks.feed.map(|feed| feed.value(blanks.row, *column));
                    out.extend_from_slice(value.unwrap_or_default());
                }
                Part::Stamp => out.extend_from_slice(blanks.stamp),
                Part::TimeMs => number(out, blanks.time_ms),
                Part::Run => out.extend_from_slice(blanks.run),
                Part::BodyBytes => number(out, blanks.body_bytes as u64),
                Part::Place => out.extend_from_slice(blanks.place),
            }
        }
    }
}

impl Blanks<'_> {
    /// A number that nothing but the message and the seed decides.
    fn draw(&self, index: u64) -> u64 {
        let who = self.connection.wrapping_mul(2).wrapping_add(self.publisher << 32);
        mix(mix(mix(self.seed ^ index) ^ who) ^ self.sequence)
    }
}

/// Spreads `value` over all bits (the finaliser of splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn number(out: &mut Vec<u8>, value: u64) {
    let written = write!(out, "{value}");
    debug_assert!(written.is_ok(), "a vector takes everything");
}

/// The column of byte `at`, in characters, from 1.
fn column(text: &[u8], at: usize) -> usize {
    let line = text[..at].rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).chars().count() + 1
}

fn part(name: &str, kind: Kind, feed: Option<&Feed>) -> Result<Part, String> {
    Ok(match name {
        "sequence" => Part::Sequence,
        "connection" => Part::Connection,
        "channel" => Part::Channel,
        "publisher" => Part::Publisher,
        "stamp" => Part::Stamp,
        "time_ms" => Part::TimeMs,
        "run" => Part::Run,
        "@body" if kind == Kind::Request => Part::BodyBytes,
        "@place" if kind == Kind::Request => Part::Place,
        _ => match (name.strip_prefix("random:"), name.strip_prefix("feed.")) {
            (Some(range), _) => random(range)?,
            (_, Some(column)) => fed(column, feed)?,
            _ => {
                let name: String = name.chars().take(40).collect();
                return Err(format!(
                    "`{{{name}}}` is no placeholder; known: {KNOWN}; write `{{{{` for the \
                     character itself"
                ));
            }
        },
    })
}

fn random(text: &str) -> Result<Part, String> {
    let wrong = || {
        format!(
            "`{{random:{text}}}`: write {{random:N}} for 1 to {RANDOM_DIGITS_MAX} digits, or \
             {{random:A-B}} with A at most B"
        )
    };
    if let Some((low, high)) = text.split_once('-') {
        let bounds = (low.parse::<u64>().ok(), high.parse::<u64>().ok());
        let (Some(low), Some(high)) = bounds else { return Err(wrong()) };
        if low > high {
            return Err(wrong());
        }
        return Ok(Part::Random { range: low..=high, digits: 0 });
    }
    let digits = text.parse::<u32>().ok().filter(|n| (1..=RANDOM_DIGITS_MAX).contains(n));
    let digits = digits.ok_or_else(wrong)?;
    Ok(Part::Random { range: 0..=10_u64.pow(digits) - 1, digits: digits as usize })
}

fn fed(name: &str, feed: Option<&Feed>) -> Result<Part, String> {
    let Some(feed) = feed else {
        return Err(format!("`{{feed.{name}}}` needs --feed FILE"));
    };
    let column = feed.columns().iter().position(|column| column == name);
    column.map(Part::Feed).ok_or_else(|| {
        let known: Vec<_> = feed.columns().iter().take(20).map(String::as_str).collect();
        format!("the feed has no column `{name}`; it has: {}", known.join(", "))
    })
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of the test's own making")]
pub(crate) mod tests {
    use super::{Blanks, Kind, Template, random};
    use crate::speech::feed::Feed;
    use crate::tests::Random;

    pub(crate) const BLANKS: Blanks<'static> = Blanks {
        feed: None,
        row: 0,
        seed: 1,
        sequence: 7,
        connection: 3,
        channel: 2,
        publisher: 5,
        stamp: b"STAMP",
        run: b"RUN",
        time_ms: 1_700_000_000_000,
        body_bytes: 42,
        place: b"&p=1",
    };

    fn parse(text: &str) -> Result<Template, String> {
        Template::parse(text.as_bytes(), Kind::Message, None)
    }

    fn filled(text: &str) -> String {
        let mut out = Vec::new();
        parse(text).unwrap().fill(&mut out, &BLANKS);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_placeholder_is_filled_and_everything_else_stays() {
        let table = [
            ("", ""),
            ("{sequence}/{connection}/{channel}/{publisher}", "7/3/2/5"),
            (
                r#"42["m",{"s":"{stamp}","t":{time_ms}}]"#,
                r#"42["m",{"s":"STAMP","t":1700000000000}]"#,
            ),
            (r#"{"a":{"b":{}}}"#, r#"{"a":{"b":{}}}"#),
            ("{}", "{}"),
            ("{{stamp}", "{stamp}"),
            ("{{{run}}", "{RUN}"),
            ("{ stamp}", "{ stamp}"),
            ("{", "{"),
            ("a{", "a{"),
            ("{random:9-9}", "9"),
            ("{@body}", "{@body}"),
        ];
        for (text, expected) in table {
            assert_eq!(filled(text), expected, "{text}");
        }
        let mut out = Vec::new();
        let request = Template::parse(b"{@body}{@place}", Kind::Request, None).unwrap();
        request.fill(&mut out, &BLANKS);
        assert_eq!(out, b"42&p=1");
    }

    #[test]
    fn an_error_names_the_column_and_what_is_known() {
        let table = [
            ("ab{sequense}", "column 3: `{sequense}` is no placeholder; known: {sequence}"),
            ("\u{e9}{x}", "column 2: `{x}`"),
            ("line\n{x}", "column 1: `{x}`"),
            ("{stamp", "column 1: `{` has no `}`"),
            ("{random:0}", "1 to 18 digits"),
            ("{random:19}", "1 to 18 digits"),
            ("{random:9-1}", "A at most B"),
            ("{random:-}", "A at most B"),
            ("{random:1-99999999999999999999}", "A at most B"),
            ("{feed.user}", "needs --feed"),
        ];
        for (text, expected) in table {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains('\n'));
        }
        let feed = Feed::of_csv(b"user,room\nann,1\n").unwrap();
        let error = Template::parse(b"{feed.usr}", Kind::Message, Some(&feed)).unwrap_err();
        assert!(error.contains("no column `usr`; it has: user, room"), "{error}");
    }

    #[test]
    fn random_numbers_lie_in_their_range_and_follow_from_the_message() {
        let mut source = Random::seeded();
        for _ in 0..2_000 {
            let (a, b) = (source.next() >> source.below(64), source.next() >> source.below(64));
            let (low, high) = (a.min(b), a.max(b));
            let template = parse(&format!("{{random:{low}-{high}}}")).unwrap();
            let blanks = Blanks { sequence: source.next(), seed: source.next(), ..BLANKS };
            let draw = || {
                let mut out = Vec::new();
                template.fill(&mut out, &blanks);
                String::from_utf8(out).unwrap()
            };
            let drawn: u64 = draw().parse().unwrap();
            assert!((low..=high).contains(&drawn), "{low} {drawn} {high}");
            assert_eq!(draw(), drawn.to_string());
            let digits = 1 + source.below(18) as usize;
            let mut out = Vec::new();
            parse(&format!("{{random:{digits}}}")).unwrap().fill(&mut out, &blanks);
            assert_eq!(out.len(), digits);
            assert!(out.iter().all(u8::is_ascii_digit));
        }
        assert_ne!(filled("{random:18}"), filled("x{random:18}")[1..], "each its own");
        assert!(random("0-18446744073709551615").is_ok());
        filled("{random:0-18446744073709551615}");
    }

    #[test]
    fn any_text_is_a_template_or_an_error_and_what_is_escaped_comes_back() {
        let mut source = Random::seeded();
        let letters = b"{}}{{ab:.\"@-019 \xff\xc3\n".as_slice();
        for _ in 0..20_000 {
            let len = source.below(24);
            let text: Vec<u8> =
                (0..len).map(|_| letters[source.below(letters.len() as u64) as usize]).collect();
            for kind in [Kind::Message, Kind::Request] {
                if let Ok(template) = Template::parse(&text, kind, None) {
                    let mut out = Vec::new();
                    template.fill(&mut out, &BLANKS);
                    let is_message = kind == Kind::Message;
                    assert!(!is_message || out.len() <= template.bytes_max(None, 5));
                }
            }
            let escaped: Vec<u8> = text
                .iter()
                .flat_map(|&byte| std::iter::repeat_n(byte, 1 + usize::from(byte == b'{')))
                .collect();
            let mut out = Vec::new();
            let template = Template::parse(&escaped, Kind::Message, None).unwrap();
            template.fill(&mut out, &BLANKS);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn filling_a_buffer_with_room_does_not_move_it() {
        let feed = Feed::of_csv(b"a\nfirst\nsecond-and-longer\n").unwrap();
        let text = br#"{"i":{sequence},"r":{random:4},"f":"{feed.a}","s":"{stamp}","t":{time_ms}}"#;
        let template = Template::parse(text, Kind::Message, Some(&feed)).unwrap();
        let mut out = Vec::with_capacity(template.bytes_max(Some(&feed), 5));
        let (place, capacity) = (out.as_ptr(), out.capacity());
        for sequence in [0, 1, u64::MAX] {
            out.clear();
            let row = usize::from(sequence == 1);
            template.fill(&mut out, &Blanks { sequence, row, feed: Some(&feed), ..BLANKS });
        }
        assert_eq!((out.as_ptr(), out.capacity()), (place, capacity));
    }
}
