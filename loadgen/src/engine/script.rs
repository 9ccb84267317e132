//! What a run says and understands when it is not our payload on ringwire's routes.
//!
//! Not here: when anything is said, or what is made of a reply. Invariants: immutable and shared by
//! all threads; filling in allocates nothing while the buffer has room; of what a server sends only
//! a stamp with this run's marker and the right check digits counts as one.
//!
//! A stamp inside a foreign message is 28 characters that need no escape in JSON, SSE or a URL: `~`
//! and three digits that are the run's marker, the twenty of our payload, four of a checksum.

use std::sync::Arc;

use memchr::memmem::Finder;
use ringwire_protocol::http::encode_request;

use crate::engine::payload::{STAMP_BYTES, Stamp, write_digits};
use crate::outcome::Failure;
use crate::scenario::{Mode, SIZE_BYTES_MAX, Scenario, Target, Transport};
use crate::speech::feed::{Feed, FeedOrder};
use crate::speech::template::{Blanks, Kind, Template, mix};
use crate::speech::{Publishing, Speech};

const MARKER_BYTES: usize = 4;
const CHECK_BYTES: usize = 4;

/// A stamp with its marker and its check digits.
pub(crate) const MARKED_BYTES: usize = MARKER_BYTES + STAMP_BYTES + CHECK_BYTES;

/// Characters of `{run}`.
const RUN_BYTES: usize = 8;

/// Who says something, and what: everything that decides how a template is filled in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Who {
    /// Its number among the connections, or the publishers.
    pub(crate) number: u64,
    pub(crate) is_publisher: bool,
    pub(crate) channel: u64,
    /// Messages that it said before.
    pub(crate) count: u64,
    pub(crate) time_ms: u64,
}

/// What stands between two marks of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Stamp(Stamp),
    /// The marker is there, and what follows was changed on its way.
    Damaged,
}

/// A run's own words.
#[derive(Debug)]
pub(crate) struct Script {
    speech: Speech,
    seed: u64,
    marker: [u8; MARKER_BYTES],
    run: [u8; RUN_BYTES],
    finder: Finder<'static>,
    /// `None`: our payload, as it is.
    message: Option<Template>,
    first: Box<[Template]>,
    ready: Option<Finder<'static>>,
    expect: Option<Template>,
    /// The sender's part of the rows, and where those of publishers begin.
    senders: u64,
    connections: u64,
    /// Of a subscriber: the path alone, the headers' values, whole requests.
    path: Template,
    headers: Box<[(String, Template)]>,
    subscribe: Template,
    poll: Template,
    /// Of a publisher: the path and headers of an upgrade, or a request up to its body.
    publish_path: Template,
    publish_headers: Box<[(String, Template)]>,
    publish_head: Template,
}

/// Reads the texts of one scenario.
struct Reader<'a> {
    feed: Option<&'a Feed>,
}

impl Reader<'_> {
    fn text(&self, name: &str, text: &str, kind: Kind) -> Result<Template, Failure> {
        Template::parse(text.as_bytes(), kind, self.feed)
            .map_err(|wrong| Failure::configuration(format!("{name}, {wrong}")))
    }

    /// A text whose values must not end a line or a word of a request.
    fn part(&self, name: &str, text: &str, is_path: bool) -> Result<Template, Failure> {
        let template = self.text(name, text, Kind::Message)?;
        let fits = |byte: &u8| byte.is_ascii_graphic() || (!is_path && *byte == b' ');
        for column in template.columns() {
            let Some(feed) = self.feed else { continue };
            if let Some(row) = feed.first_bad(column, |value| value.iter().all(fits)) {
                let column = &feed.columns()[column];
                return Err(Failure::configuration(format!(
                    "{name}: column `{column}` of the feed, row {row}, holds what cannot stand \
                     there: percent-encode it"
                )));
            }
        }
        Ok(template)
    }

    fn headers(
        &self,
        name: &str,
        headers: &[(String, String)],
    ) -> Result<Box<[(String, Template)]>, Failure> {
        let read = |(header, value): &(String, String)| {
            Ok((header.clone(), self.part(&format!("{name} {header}"), value, false)?))
        };
        headers.iter().map(read).collect()
    }
}

/// Whether a text asks to be filled in.
fn holds_placeholder(text: &str) -> bool {
    let is_letter = |rest: &str| rest[1..].starts_with(|c: char| c.is_ascii_alphabetic());
    text.match_indices('{').any(|(at, _)| is_letter(&text[at..]))
}

/// The bytes of a request as a text to be filled in.
fn request_text(target: &Target, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    encode_request(&mut out, method, &target.host, path, headers, b"");
    String::from_utf8_lossy(&out).into_owned()
}

fn borrowed(headers: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

impl Script {
    /// The words of `scenario`; `None` if they are our payload on ringwire's routes. `padding`
    /// follows our stamp where no message is given.
    ///
    /// # Errors
    /// Code 104 with the text, the column and what there could be.
    pub(crate) fn of(scenario: &Scenario, padding: &[u8]) -> Result<Option<Self>, Failure> {
        let speech = &scenario.speech;
        let is_filled = holds_placeholder(&scenario.target.path)
            || scenario.headers.iter().any(|(_, value)| holds_placeholder(value));
        if !speech.is_foreign() && !is_filled {
            return Ok(None);
        }
        let reader = Reader { feed: speech.feed.as_deref() };
        let message = match &speech.message {
            Some(text) => Some(reader.text("--message", text, Kind::Message)?),
            None if speech.is_foreign() => Some(Template::of_stamp(padding)),
            None => None,
        };
        let first = speech.first.iter();
        let first = first.map(|text| reader.text("--first-message", text, Kind::Message));
        let expect = speech.expect.as_ref();
        let expect = expect.map(|text| reader.text("--expect", text, Kind::Message)).transpose()?;
        let run = mix(speech.run);
        let mut marker = *b"~000";
        write_digits(&mut marker[1..], run >> 40);
        let mut own_run = [0; RUN_BYTES];
        write_digits(&mut own_run, run);
        let path_text = subscriber_path(scenario);
        let requests = SubscriberTexts::new(scenario, &path_text);
        let publishing = PublisherTexts::new(scenario, &path_text);
        let is_echo = scenario.mode == Mode::Echo;
        let senders = if is_echo { scenario.connections } else { scenario.publishers };
        let script = Self {
            seed: scenario.seed,
            marker,
            run: own_run,
            finder: Finder::new(&marker).into_owned(),
            message,
            first: first.collect::<Result<_, _>>()?,
            ready: speech.ready.as_ref().map(|text| Finder::new(text.as_bytes()).into_owned()),
            expect,
            senders: senders.into(),
            connections: scenario.connections.into(),
            path: reader.part("the URL", &path_text, true)?,
            headers: reader.headers("-H", &scenario.headers)?,
            subscribe: reader.text("the URL or -H", &requests.subscribe, Kind::Request)?,
            poll: reader.text("the URL or -H", &requests.poll, Kind::Request)?,
            publish_path: reader.part("--publish-url", &publishing.path, true)?,
            publish_headers: reader.headers("--publish-header", &publishing.headers)?,
            publish_head: reader.text("--publish-url", &publishing.head, Kind::Request)?,
            speech: speech.clone(),
        };
        script.check(scenario)?;
        Ok(Some(script))
    }

    /// Whether the texts make sense together.
    fn check(&self, scenario: &Scenario) -> Result<(), Failure> {
        let wrong = |line: String| Err(Failure::configuration(line));
        if self.message_bytes_max() > SIZE_BYTES_MAX {
            return wrong("--message must be at most 16m".to_owned());
        }
        let is_fanout = scenario.mode == Mode::Fanout;
        if is_fanout && !self.is_stamped() {
            let line = "--publish-body (or --message) needs {stamp} in fanout: without it nobody \
                        can tell which delivery is whose";
            return wrong(line.to_owned());
        }
        if self.expect.as_ref().is_some_and(Template::is_unrepeatable) {
            let line = "--expect cannot hold {stamp}, {time_ms} or {random}: nobody can tell \
                        afterwards what they were";
            return wrong(line.to_owned());
        }
        let all = self.first.iter().chain(&self.message).chain([&self.publish_path, &self.path]);
        let is_fed = all.chain(self.headers.iter().map(|(_, value)| value)).any(Template::is_fed);
        let publishers = if is_fanout { u64::from(scenario.publishers) } else { 0 };
        let needed = self.connections + publishers;
        let rows = self.speech.feed.as_ref().map_or(0, |feed| feed.rows() as u64);
        if is_fed && self.speech.feed_order == FeedOrder::Unique && rows < needed {
            return wrong(format!(
                "--feed-order unique needs a row for each of {needed} connections; the feed has \
                 {rows}: add rows, or use --feed-order sequential"
            ));
        }
        let subscribes =
            self.path.names_channel() || self.first.iter().any(Template::names_channel);
        let publishes = self.publish_path.names_channel()
            || self.message.as_ref().is_some_and(Template::names_channel);
        if is_fanout && scenario.channels > 1 && !(subscribes && publishes) {
            let line = "--channels above 1 needs {channel} in the URL or --first-message, and in \
                        --publish-url or --publish-body: nothing else says which one is meant";
            return wrong(line.to_owned());
        }
        Ok(())
    }

    /// Where publishers go, if not where subscribers do.
    pub(crate) fn publishing(&self) -> Option<&Publishing> {
        self.speech.publishing.as_ref()
    }

    /// Whether publications are messages of a WebSocket.
    pub(crate) fn publishes_by_websocket(&self) -> bool {
        self.publishing().is_some_and(|publishing| publishing.is_websocket)
    }

    /// Whether messages are templates, and received ones looked into.
    pub(crate) fn is_foreign(&self) -> bool {
        self.message.is_some()
    }

    /// Whether messages can be told from each other.
    pub(crate) fn is_stamped(&self) -> bool {
        self.message.as_ref().is_none_or(Template::is_stamped)
    }

    pub(crate) fn replies(&self) -> u32 {
        self.speech.replies()
    }

    /// Whether a connection is open only once it was told so.
    pub(crate) fn awaits_ready(&self) -> bool {
        self.ready.is_some()
    }

    pub(crate) fn is_ready(&self, message: &[u8]) -> bool {
        self.ready.as_ref().is_some_and(|ready| ready.find(message).is_some())
    }

    /// The number of the answer that `message` wants.
    pub(crate) fn answer_to(&self, message: &[u8]) -> Option<usize> {
        let mut rules = self.speech.reply_to.iter();
        rules.position(|(heard, _)| heard.as_bytes() == message)
    }

    /// The answer with this number; an empty one is none.
    pub(crate) fn answer(&self, number: usize) -> &[u8] {
        self.speech.reply_to.get(number).map_or(&[], |(_, answer)| answer.as_bytes())
    }

    /// How long a message may become.
    pub(crate) fn body_bytes_max(&self) -> Option<usize> {
        let feed = self.speech.feed.as_deref();
        self.message.as_ref().map(|message| message.bytes_max(feed, MARKED_BYTES))
    }

    /// How long a message, or a publication with its head, may become.
    pub(crate) fn message_bytes_max(&self) -> usize {
        let head = self.publish_head.bytes_max(self.speech.feed.as_deref(), MARKED_BYTES);
        self.body_bytes_max().unwrap_or(0) + head
    }

    /// Appends a message to `out`; `false` if it is our payload that is to be said.
    pub(crate) fn message(&self, out: &mut Vec<u8>, who: Who, stamp: Stamp) -> bool {
        let Some(message) = &self.message else { return false };
        let mut marked = [0; MARKED_BYTES];
        self.mark(&mut marked, stamp);
        message.fill(out, &Blanks { stamp: &marked, ..self.blanks(who) });
        true
    }

    /// Appends the head of a publication of `body_bytes`.
    pub(crate) fn publish_head(&self, out: &mut Vec<u8>, who: Who, body_bytes: usize) {
        self.publish_head.fill(out, &Blanks { body_bytes, ..self.blanks(who) });
    }

    /// Appends the request of a subscriber; `place` is where it left off.
    pub(crate) fn request(&self, out: &mut Vec<u8>, who: Who, place: Option<&[u8]>) {
        match place {
            None => self.subscribe.fill(out, &self.blanks(who)),
            Some(place) => self.poll.fill(out, &Blanks { place, ..self.blanks(who) }),
        }
    }

    /// Path and headers of an upgrade.
    pub(crate) fn upgrade(&self, who: Who) -> (String, Vec<(String, String)>) {
        let (path, headers) = match who.is_publisher {
            true => (&self.publish_path, &self.publish_headers),
            false => (&self.path, &self.headers),
        };
        let fill = |template: &Template| {
            let mut out = Vec::new();
            template.fill(&mut out, &self.blanks(who));
            String::from_utf8_lossy(&out).into_owned()
        };
        let headers = headers.iter().map(|(name, value)| (name.clone(), fill(value)));
        (fill(path), headers.collect())
    }

    /// How many first messages there are.
    pub(crate) fn first_count(&self) -> usize {
        self.first.len()
    }

    /// Appends a first message.
    pub(crate) fn first(&self, out: &mut Vec<u8>, number: usize, who: Who) {
        if let Some(first) = self.first.get(number) {
            first.fill(out, &self.blanks(who));
        }
    }

    /// Whether a reply to the message of `who` holds what it must; `scratch` is overwritten.
    pub(crate) fn is_expected(&self, reply: &[u8], who: Who, scratch: &mut Vec<u8>) -> bool {
        let Some(expect) = &self.expect else { return true };
        scratch.clear();
        expect.fill(scratch, &self.blanks(who));
        memchr::memmem::find(reply, scratch).is_some()
    }

    /// The stamps in `message`, in their order.
    pub(crate) fn marks<'m>(&'m self, message: &'m [u8]) -> impl Iterator<Item = Mark> + 'm {
        self.finder.find_iter(message).map(|at| {
            let marked = message.get(at..at + MARKED_BYTES);
            marked.and_then(unmark).map_or(Mark::Damaged, Mark::Stamp)
        })
    }

    fn mark(&self, out: &mut [u8; MARKED_BYTES], stamp: Stamp) {
        out[..MARKER_BYTES].copy_from_slice(&self.marker);
        stamp.encode(&mut out[MARKER_BYTES..MARKER_BYTES + STAMP_BYTES]);
        let (content, check) = out.split_at_mut(MARKER_BYTES + STAMP_BYTES);
        write_digits(check, checksum(content));
    }

    fn blanks(&self, who: Who) -> Blanks<'_> {
        Blanks {
            feed: self.speech.feed.as_deref(),
            row: self.row(who),
            seed: self.seed,
            sequence: who.count + 1,
            connection: who.number,
            channel: who.channel,
            publisher: if who.is_publisher { who.number } else { 0 },
            stamp: b"",
            run: &self.run,
            time_ms: who.time_ms,
            body_bytes: 0,
            place: b"",
        }
    }

    /// The feed's row for the message of `who`.
    fn row(&self, who: Who) -> usize {
        let rows = self.speech.feed.as_ref().map_or(1, |feed: &Arc<Feed>| feed.rows() as u64);
        let own = who.number + if who.is_publisher { self.connections } else { 0 };
        let row = match self.speech.feed_order {
            FeedOrder::Sequential => who.number + who.count * self.senders,
            FeedOrder::Random => mix(mix(self.seed ^ own) ^ who.count),
            FeedOrder::Unique => own,
        };
        usize::try_from(row % rows).unwrap_or(0)
    }
}

/// The stamp of what begins with a marker, if nothing of it was changed.
fn unmark(marked: &[u8]) -> Option<Stamp> {
    let (content, check) = marked.split_at(MARKER_BYTES + STAMP_BYTES);
    let mut expected = [0; CHECK_BYTES];
    write_digits(&mut expected, checksum(content));
    if check != expected {
        return None;
    }
    Stamp::decode(&content[MARKER_BYTES..])
}

/// Twenty-four bits that a change of any one byte changes, but for one time in sixteen million.
fn checksum(bytes: &[u8]) -> u64 {
    // FNV-1a; its high bits depend on every byte.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash) >> 40
}

/// Path and query of subscribers as a text. On our own routes several channels are told apart as
/// always: the channel's number after the path.
fn subscriber_path(scenario: &Scenario) -> String {
    let path = &scenario.target.path;
    let speech = &scenario.speech;
    let is_own = speech.publishing.is_none()
        && speech.first.is_empty()
        && !path.contains("{channel}")
        && scenario.mode != Mode::Echo;
    match path.split_once('?') {
        _ if !is_own || scenario.channels <= 1 => path.clone(),
        Some((bare, query)) => format!("{bare}-{{channel}}?{query}"),
        None => format!("{path}-{{channel}}"),
    }
}

struct SubscriberTexts {
    subscribe: String,
    poll: String,
}

impl SubscriberTexts {
    fn new(scenario: &Scenario, path: &str) -> Self {
        let target = &scenario.target;
        let accept = accept(scenario.transport);
        let headers: Vec<_> =
            [("Accept", accept)].into_iter().chain(borrowed(&scenario.headers)).collect();
        let since = if path.contains('?') { "&since={@place}" } else { "?since={@place}" };
        let wait = wait(scenario.transport);
        Self {
            subscribe: request_text(target, "GET", path, &headers),
            poll: request_text(target, "GET", &format!("{path}{since}{wait}"), &headers),
        }
    }
}

struct PublisherTexts {
    path: String,
    headers: Vec<(String, String)>,
    head: String,
}

impl PublisherTexts {
    fn new(scenario: &Scenario, path: &str) -> Self {
        let bare = path.split_once('?').map_or(path, |(bare, _)| bare);
        let (target, method, path, own) = match &scenario.speech.publishing {
            Some(to) => (&to.target, to.method.as_str(), to.target.path.as_str(), &to.headers),
            None => (&scenario.target, "POST", bare, &scenario.headers),
        };
        let has_type = own.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let message = scenario.speech.message.as_deref().unwrap_or_default();
        let is_json = message.starts_with("{\"") || message.starts_with('[');
        let kind = if is_json { "application/json" } else { "text/plain" };
        let kind = (!has_type).then_some(("Content-Type", kind));
        let headers: Vec<_> = kind.into_iter().chain(borrowed(own)).collect();
        let head = request_text(target, method, path, &headers);
        // A POST has a length of its own already, that of no body.
        let head = head.replacen("Content-Length: 0\r\n", "", 1);
        let head = head.strip_suffix("\r\n").unwrap_or(&head);
        Self {
            path: path.to_owned(),
            headers: own.clone(),
            head: format!("{head}Content-Length: {{@body}}\r\n\r\n"),
        }
    }
}

/// What kind of answer a subscriber asks for.
pub(crate) fn accept(transport: Transport) -> &'static str {
    match transport {
        Transport::Sse => "text/event-stream",
        Transport::Ws | Transport::LongPoll | Transport::Poll => "application/json",
    }
}

/// How long a long poll asks the server to wait.
pub(crate) fn wait(transport: Transport) -> &'static str {
    if transport == Transport::LongPoll { "&wait=25" } else { "" }
}
