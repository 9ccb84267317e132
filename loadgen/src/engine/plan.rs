//! What a run says, prepared once: requests and frames with holes for what changes.
//!
//! Not here: when anything is said. Invariant: immutable and shared by all threads; filling a hole
//! allocates nothing.

use std::sync::Arc;

use ringwire_protocol::http::encode_request;
use ringwire_protocol::ws::{
    DeflateOffer, HEADER_BYTES_MAX, Opcode, encode_deflate_offer, encode_header, frame_len, mask,
};

use crate::engine::control::Begin;
use crate::engine::curve::Curve;
use crate::engine::member;
use crate::engine::pacer::{Pacer, Timetable};
use crate::engine::payload::{Format, STAMP_BYTES, Stamp};
use crate::engine::script::{Script, accept, wait};
use crate::outcome::Failure;
use crate::part::Part;
use crate::scenario::{Arrival, Mode, Payload, Rate, Scenario, Target, Transport};
use crate::secure::Secure;

/// The requests of one channel.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Path and query to subscribe at.
    pub(crate) path: String,
    /// The whole first request of a subscriber; empty over WebSocket.
    pub(crate) subscribe: Box<[u8]>,
    /// A later poll up to where the position goes, and from there on.
    pub(crate) poll_head: Box<[u8]>,
    pub(crate) poll_tail: Box<[u8]>,
    /// A publication up to its payload.
    publish_head: Box<[u8]>,
}

/// What a run says.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    /// What of it is this process's.
    pub(crate) part: Part,
    pub(crate) format: Format,
    /// What is said in other words than ours; `None` where nothing is.
    pub(crate) script: Option<Box<Script>>,
    pub(crate) channels: Box<[Channel]>,
    /// Messages one connection may have without a reply.
    pub(crate) in_flight_max: u64,
    /// Further headers of an upgrade.
    pub(crate) upgrade_headers: Vec<(String, String)>,
    /// Payloads are compressed where that is agreed on.
    pub(crate) is_worth_compressing: bool,
    /// The rate over time, if it is not constant.
    curve: Option<Arc<Curve>>,
}

impl Plan {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let format = format(scenario);
        let script = Script::of(scenario, format.padding()).expect("the scenario was checked");
        let channel = |number| Channel::new(scenario, number, format.size_bytes());
        let count = if scenario.mode == Mode::Echo { 1 } else { scenario.channels };
        let channels = (0..count).map(channel).collect();
        let in_flight_max = match (scenario.mode, scenario.in_flight, scenario.rate_per_s) {
            (Mode::Fanout, _, _) | (_, None, None) => 1,
            (_, Some(in_flight), _) => u64::from(in_flight),
            (_, None, Some(_)) => u64::MAX,
        };
        let is_worth_compressing = scenario
            .compression
            .is_some_and(|compression| scenario.size_bytes >= compression.threshold_bytes);
        let offer = scenario.compression.map(|_| encode_deflate_offer(&DeflateOffer::default()));
        let offer = offer.map(|offer| ("Sec-WebSocket-Extensions".to_owned(), offer));
        Self {
            scenario: scenario.clone(),
            part: Part::WHOLE,
            format,
            script: script.map(Box::new),
            channels,
            in_flight_max,
            upgrade_headers: scenario.headers.iter().cloned().chain(offer).collect(),
            is_worth_compressing,
            curve: curve(scenario),
        }
    }

    /// The same for one part of it.
    pub(crate) fn of_part(scenario: &Scenario, part: Part) -> Self {
        Self { part, ..Self::new(scenario) }
    }

    pub(crate) fn is_open_loop(&self) -> bool {
        self.scenario.rate_per_s.is_some()
    }

    /// Where a connection goes, and over which TLS.
    pub(crate) fn destination(&self, part: member::Part) -> (&Target, Option<&Secure>) {
        let publishing = self.script.as_ref().and_then(|script| script.publishing());
        match (part, publishing) {
            (member::Part::Publisher, Some(to)) => (&to.target, to.secure.as_ref()),
            _ => (&self.scenario.target, self.scenario.secure.as_ref()),
        }
    }

    /// Whether publications are messages of a WebSocket.
    pub(crate) fn publishes_by_websocket(&self) -> bool {
        self.script.as_ref().is_some_and(|script| script.publishes_by_websocket())
    }

    /// Over all parts of the run: who of `begin` sends, by thread.
    pub(crate) fn senders<'b>(&self, begin: &'b Begin) -> &'b [u32] {
        match self.scenario.mode {
            Mode::Fanout => &begin.publishers,
            Mode::Echo | Mode::Idle | Mode::Churn => &begin.subscribers,
        }
    }

    /// When the open loop's messages are due.
    pub(crate) fn timetable(&self, begin: &Begin) -> Option<Timetable> {
        let Scenario { rate_per_s, seed, traffic, .. } = &self.scenario;
        let rate = rate_per_s.map(|rate| self.rate_of_open(rate, begin))?;
        let pacer = match &self.curve {
            Some(curve) => Pacer::changing(begin.origin_ns, Arc::clone(curve)),
            None => Pacer::new(begin.origin_ns, rate),
        };
        Some(match traffic.arrival {
            Arrival::Constant => Timetable::even(pacer),
            Arrival::Poisson => Timetable::poisson(pacer, *seed),
        })
    }

    /// Of a rate per connection, what is left of it without those that did not open.
    fn rate_of_open(&self, rate: Rate, begin: &Begin) -> Rate {
        let Scenario { connections, publishers, mode, traffic, .. } = &self.scenario;
        let planned = if *mode == Mode::Fanout { *publishers } else { *connections };
        let open: u64 = self.senders(begin).iter().map(|&count| u64::from(count)).sum();
        if !traffic.is_rate_per_connection || open == u64::from(planned) {
            return rate;
        }
        let events = rate.events().checked_mul(open);
        let period_ns = rate.period_ns().checked_mul(planned.into());
        events.zip(period_ns).and_then(|(e, p)| Rate::new(e, p)).unwrap_or(rate)
    }

    /// Messages of the window that this part of a closed loop may send.
    pub(crate) fn budget(&self) -> Option<u64> {
        let count = self.scenario.traffic.count.filter(|_| !self.is_open_loop())?;
        let (index, of) = (u64::from(self.part.index), u64::from(self.part.of));
        Some(count / of + u64::from(index < count % of))
    }

    /// Whether polls close their connection.
    pub(crate) fn closes_after_answer(&self) -> bool {
        !self.scenario.traffic.is_keep_alive || self.scenario.mode == Mode::Churn
    }

    /// This part's connections, without publishers.
    pub(crate) fn connections(&self) -> u32 {
        self.part.own(self.scenario.connections)
    }

    /// This part's publishers, on top of its connections.
    pub(crate) fn publishers(&self) -> u32 {
        if self.scenario.mode == Mode::Fanout { self.part.own(self.scenario.publishers) } else { 0 }
    }

    /// Trackers that one connection needs: one per publisher that it may hear.
    pub(crate) fn trackers_per_connection(&self) -> usize {
        match self.scenario.mode {
            Mode::Echo => self.script.as_ref().map_or(1, |script| script.replies() as usize),
            Mode::Fanout => self.scenario.publishers as usize,
            Mode::Idle | Mode::Churn => 0,
        }
    }

    /// Bytes of one echo frame at most: compressed it may be a little longer.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        let size = self.format.size_bytes();
        let growth = if self.is_worth_compressing { size / 8 + 64 } else { 0 };
        frame_len(size + growth, true)
    }

    /// Writes an echo frame to the start of `out`; its bytes.
    pub(crate) fn write_frame(&self, out: &mut [u8], stamp: Stamp, key: [u8; 4]) -> usize {
        let size = self.format.size_bytes();
        let mut header = [0; HEADER_BYTES_MAX];
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
        //# a client MUST mask all frames that it sends to the server
        //= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
        //# If the data is being sent by the client, the frame(s) MUST be masked as defined in
        //# Section 5.3.
        let header_bytes = encode_header(&mut header, Opcode::Text, true, size, Some(key));
        out[..header_bytes].copy_from_slice(&header[..header_bytes]);
        let payload = &mut out[header_bytes..header_bytes + size];
        self.write_payload(payload, stamp);
        mask(payload, key, 0);
        header_bytes + size
    }

    /// Bytes of one publication to `channel`.
    pub(crate) fn publication_bytes(&self, channel: usize) -> usize {
        self.channels[channel].publish_head.len() + self.format.size_bytes()
    }

    /// Writes a publication to the start of `out`; its bytes.
    pub(crate) fn write_publication(&self, out: &mut [u8], channel: usize, stamp: Stamp) -> usize {
        let head = &self.channels[channel].publish_head;
        let len = head.len() + self.format.size_bytes();
        out[..head.len()].copy_from_slice(head);
        self.write_payload(&mut out[head.len()..len], stamp);
        len
    }

    /// Fills `payload`, which has the size of one.
    pub(crate) fn write_payload(&self, payload: &mut [u8], stamp: Stamp) {
        stamp.encode(payload);
        payload[STAMP_BYTES..].copy_from_slice(self.format.padding());
    }
}

/// The payloads of a scenario; where messages are templates, at least our stamp.
fn format(scenario: &Scenario) -> Format {
    let size_bytes = scenario.size_bytes.max(STAMP_BYTES);
    match scenario.payload {
        Payload::Random => Format::new(size_bytes, scenario.seed),
        Payload::Text => Format::of_text(size_bytes, scenario.seed),
    }
}

/// Whether the texts of a scenario can be understood.
pub(crate) fn check_texts(scenario: &Scenario) -> Result<(), Failure> {
    Script::of(scenario, format(scenario).padding()).map(drop)
}

/// The longest that a template becomes.
pub(crate) fn text_bytes(scenario: &Scenario) -> Option<usize> {
    let script = Script::of(scenario, format(scenario).padding()).ok()??;
    script.body_bytes_max()
}

impl Channel {
    fn new(scenario: &Scenario, number: u32, size_bytes: usize) -> Self {
        let (bare, query) = match scenario.target.path.split_once('?') {
            Some((bare, query)) => (bare, Some(query)),
            None => (scenario.target.path.as_str(), None),
        };
        let bare = if scenario.channels > 1 { format!("{bare}-{number}") } else { bare.to_owned() };
        let path = query.map_or_else(|| bare.clone(), |query| format!("{bare}?{query}"));
        let accept = accept(scenario.transport);
        let is_polling = matches!(scenario.transport, Transport::LongPoll | Transport::Poll);
        let is_kept = scenario.traffic.is_keep_alive && scenario.mode != Mode::Churn;
        let close = (is_polling && !is_kept).then_some(("Connection", "close"));
        let headers: Vec<_> = [("Accept", accept)].into_iter().chain(close).collect();
        let get = |target: &str| request(scenario, "GET", target, &headers, b"");
        let subscribe = match scenario.transport {
            Transport::Ws => Vec::new(),
            Transport::Sse | Transport::LongPoll | Transport::Poll => get(&path),
        };
        let since = format!("{path}{}since=", if query.is_some() { '&' } else { '?' });
        let wait = wait(scenario.transport);
        let mut poll_head = get(&format!("{since}{wait}"));
        let poll_tail = poll_head.split_off("GET ".len() + since.len());
        let mut publish_head = request(
            scenario,
            "POST",
            &bare,
            &[("Content-Type", "text/plain")],
            &vec![0; size_bytes],
        );
        publish_head.truncate(publish_head.len() - size_bytes);
        Self {
            path,
            subscribe: subscribe.into(),
            poll_head: poll_head.into(),
            poll_tail: poll_tail.into(),
            publish_head: publish_head.into(),
        }
    }
}

/// The rate over time; scenarios whose stages make none are refused before.
fn curve(scenario: &Scenario) -> Option<Arc<Curve>> {
    let stages = &scenario.traffic.stages;
    let stages = (!stages.is_empty()).then_some(stages)?;
    Curve::new(scenario.warmup, stages).map(Arc::new)
}

fn request(
    scenario: &Scenario,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let own = scenario.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<_> = headers.iter().copied().chain(own).collect();
    let mut out = Vec::new();
    encode_request(&mut out, method, &scenario.target.host, target, &headers, body);
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringwire_ring::Address;

    use super::Plan;
    use crate::engine::payload::Stamp;
    use crate::scenario::{EngineChoice, Mode, Payload, Scenario, Target, Traffic, Transport};
    use crate::speech::Speech;

    fn scenario(transport: Transport, path: &str, channels: u32) -> Scenario {
        Scenario {
            target: Target {
                address: Address::Tcp("127.0.0.1:80".parse().unwrap()),
                host: "h".into(),
                path: path.into(),
            },
            transport,
            mode: Mode::Fanout,
            connections: 1,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            rate_per_s: None,
            in_flight: None,
            connect_rate_per_s: None,
            threads: 1,
            cpus: vec![],
            size_bytes: 20,
            payload: Payload::Random,
            publishers: 1,
            channels,
            poll_interval: Duration::from_secs(1),
            seed: 0,
            headers: vec![("X-A".into(), "b".into())],
            subprotocols: vec![],
            compression: None,
            secure: None,
            engine: EngineChoice::Auto,
            server_pid: None,
            server_gauged: None,
            traffic: Traffic::default(),
            speech: Speech::default(),
        }
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_long_poll_has_its_hole_where_the_position_goes() {
        let plan = Plan::new(&scenario(Transport::LongPoll, "/channels/a?x=1", 1));
        let channel = &plan.channels[0];
        assert!(text(&channel.subscribe).starts_with("GET /channels/a?x=1 HTTP/1.1\r\n"));
        assert_eq!(text(&channel.poll_head), "GET /channels/a?x=1&since=");
        assert!(text(&channel.poll_tail).starts_with("&wait=25 HTTP/1.1\r\nHost: h\r\n"));
        assert!(text(&channel.poll_tail).ends_with("X-A: b\r\n\r\n"));
    }

    #[test]
    fn a_publication_goes_to_the_bare_path_with_the_payloads_length() {
        let plan = Plan::new(&scenario(Transport::Sse, "/channels/a?since=0", 3));
        let mut out = [0; 512];
        let stamp = Stamp { publisher: 0, sequence: 0, intended_ns: 0, delay_ns: 0 };
        let len = plan.write_publication(&mut out, 2, stamp);
        assert_eq!(len, plan.publication_bytes(2));
        let told = text(&out[..len]);
        assert!(told.starts_with("POST /channels/a-2 HTTP/1.1\r\n"), "{told}");
        assert!(told.contains("\r\nContent-Length: 20\r\n"));
        assert!(told.ends_with("\r\n\r\n--------------------"));
        assert!(text(&plan.channels[0].subscribe).contains("Accept: text/event-stream\r\n"));
    }
}
