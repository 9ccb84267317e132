//! The suite's connections, one after the other, on a driver.
//!
//! Not here: what the bytes mean (`dialogue`). Invariants: at most one connection; bytes leave in
//! order by sends that wait; while more than [`QUEUED_BYTES_MAX`] wait to be sent, nothing further
//! is taken in.

use std::collections::VecDeque;

use bytes::Bytes;
use ringwire_protocol::ws::{End, client_key};
use ringwire_ring::{Completion, Driver, Errno, Shutdown, Slot};
use ringwire_transport::{Opened, Outbox, Plain, Tls, TlsFailure};

use super::dialogue::{Dialogue, Hand, Manner, Terms};
use super::{Plan, Tally};
use crate::engine::broken;
use crate::engine::codec::Workshop;
use crate::engine::error::ErrorCode;
use crate::engine::keys::Keys;
use crate::outcome::Failure;

/// What may wait to be sent before reading stops. One message may be above it.
const QUEUED_BYTES_MAX: usize = 1 << 20;

/// How long a connection may take to open.
const OPEN_NS: u64 = 15_000_000_000;
/// How long nothing may move before this side ends the case.
const SILENCE_NS: u64 = 60_000_000_000;
/// How long the peer may take to end the connection once both have said Close.
const CLOSE_NS: u64 = 10_000_000_000;

/// The longest wait, so that a wish to stop is noticed.
const LOOK_NS: u64 = 200_000_000;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Count,
    Case(u32),
    Report,
}

/// The connection under way.
#[derive(Debug)]
struct Talk {
    slot: Slot,
    errand: Errand,
    dialogue: Dialogue,
    tls: Option<Box<Tls>>,
    /// What is said first, until TLS is established.
    first: Vec<u8>,
    is_connected: bool,
    outbox: Outbox,
    /// What was received and not taken in, from `held_start` on.
    held: Vec<u8>,
    held_start: usize,
    is_receiving: bool,
    /// Our direction is ended.
    is_shut: bool,
    /// When this side gives up.
    until_ns: u64,
}

/// Goes through a suite.
#[derive(Debug)]
pub(crate) struct Client<D> {
    driver: D,
    plan: Plan,
    keys: Keys,
    workshop: Workshop,
    completions: Vec<Completion>,
    /// What is written next, on its way to the outbox.
    out: Vec<u8>,
    errands: VecDeque<Errand>,
    talk: Option<Talk>,
    tally: Tally,
}

impl<D: Driver> Client<D> {
    pub(crate) fn new(driver: D, plan: Plan) -> Self {
        Self {
            driver,
            plan,
            keys: Keys::new(),
            workshop: Workshop::default(),
            completions: Vec::new(),
            out: Vec::new(),
            errands: VecDeque::from([Errand::Count]),
            talk: None,
            tally: Tally::default(),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// What is held for the peer, both ways.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.talk.as_ref().map_or(0, |talk| {
            talk.held.len() + talk.outbox.queued_bytes() + talk.dialogue.held_bytes()
        })
    }

    /// Does what there is to do, and says whether the suite is done with.
    pub(crate) fn turn(&mut self) -> Result<bool, Failure> {
        if self.talk.is_none() {
            match self.errands.pop_front() {
                Some(errand) => self.begin(errand)?,
                None => return Ok(true),
            }
        }
        let until_ns = self.talk.as_ref().map_or(0, |talk| talk.until_ns);
        let look_ns = self.driver.clock_ns().saturating_add(LOOK_NS);
        let mut completions = std::mem::take(&mut self.completions);
        self.driver.turn(until_ns.min(look_ns), &mut completions).map_err(broken)?;
        for completion in completions.drain(..) {
            self.complete(completion)?;
        }
        self.completions = completions;
        self.pump()?;
        if self.talk.as_ref().is_some_and(|talk| self.driver.now_ns() >= talk.until_ns) {
            self.give_up()?;
        }
        Ok(self.talk.is_none() && self.errands.is_empty())
    }

    /// Opens the connection of an errand.
    fn begin(&mut self, errand: Errand) -> Result<(), Failure> {
        let Plan { target, agent, .. } = &self.plan;
        let base = target.path.trim_end_matches('/');
        let agent = escaped(agent);
        let (path, manner) = match errand {
            Errand::Count => (format!("{base}/getCaseCount"), Manner::Listen),
            Errand::Case(case) => {
                (format!("{base}/runCase?case={case}&agent={agent}"), Manner::Echo)
            }
            Errand::Report => (format!("{base}/updateReports?agent={agent}"), Manner::Listen),
        };
        let mut nonce = [0; 16];
        self.driver.entropy(&mut nonce);
        let terms = Terms {
            manner,
            message_bytes_max: self.plan.message_bytes_max,
            compression: self.plan.compression,
        };
        let key = client_key(nonce);
        let mut request = Vec::new();
        let dialogue = Dialogue::open(&target.host, &path, key, terms, &mut request);
        let slot =
            self.driver.connect(&target.address, None).map_err(|e| self.unreachable(errand, e))?;
        let mut outbox = Outbox::new();
        let tls = match &self.plan.secure {
            None => {
                outbox.push(std::mem::take(&mut request).into());
                None
            }
            Some(secure) => {
                let mut words = Vec::new();
                let tls = secure.begin(&mut words);
                let tls = tls.map_err(|failure| insecure(errand, &failure))?;
                outbox.push(words.into());
                Some(Box::new(tls))
            }
        };
        self.talk = Some(Talk {
            slot,
            errand,
            dialogue,
            tls,
            first: request,
            is_connected: false,
            outbox,
            held: Vec::new(),
            held_start: 0,
            is_receiving: false,
            is_shut: false,
            until_ns: self.driver.clock_ns().saturating_add(OPEN_NS),
        });
        Ok(())
    }

    fn complete(&mut self, completion: Completion) -> Result<(), Failure> {
        let now_ns = self.driver.now_ns();
        let Some(talk) = &mut self.talk else { return Ok(()) };
        match completion {
            Completion::Connected { slot, result } if slot == talk.slot => {
                let errand = talk.errand;
                talk.is_connected = true;
                result.map_err(|errno| self.unreachable(errand, errno))?;
            }
            Completion::Received { slot, mut lease } if slot == talk.slot => {
                match talk.tls {
                    None => self.take_in_or_hold(&mut lease)?,
                    Some(_) => self.open_records(&mut lease)?,
                }
                self.moved(now_ns);
            }
            Completion::Ended { slot, result } if slot == talk.slot => {
                self.ended(result)?;
            }
            Completion::Sent { slot, result } if slot == talk.slot => {
                talk.outbox.sent();
                match result {
                    Ok(()) => self.moved(now_ns),
                    Err(errno) => self.ended(Err(errno))?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Something moved: the peer is not silent.
    fn moved(&mut self, now_ns: u64) {
        let Some(talk) = &mut self.talk else { return };
        talk.until_ns = match (talk.dialogue.is_open(), talk.dialogue.end()) {
            (false, _) => talk.until_ns,
            (true, End::Stay) => now_ns.saturating_add(SILENCE_NS),
            // From the Close on its time runs, whatever else the peer has to say.
            (true, _) => talk.until_ns.min(now_ns.saturating_add(CLOSE_NS)),
        };
    }

    /// Takes in bytes of the wire, and answers what TLS itself asks.
    fn open_records(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        let (mut joined, mut used) = (Vec::new(), 0);
        while used < bytes.len() {
            let Some(talk) = &mut self.talk else { return Ok(()) };
            let Some(tls) = &mut talk.tls else { return Ok(()) };
            let mut words = Vec::new();
            let opened = tls.open(&mut bytes[used..], &mut joined, &mut words);
            talk.outbox.push(words.into());
            let Opened { used: more, plain } = match opened {
                Ok(opened) => opened,
                Err(failure) if talk.dialogue.is_open() => {
                    let name = talk.errand.name();
                    return Err(Failure::unreachable(format!("{name} ended with {failure}")));
                }
                Err(failure) => return Err(insecure(talk.errand, &failure)),
            };
            if tls.is_established() && !talk.first.is_empty() {
                let first = std::mem::take(&mut talk.first);
                talk.push(&first)?;
            }
            match plain {
                Plain::None => {}
                Plain::Here(range) => {
                    self.take_in_or_hold(&mut bytes[used + range.start..used + range.end])?;
                }
                Plain::Joined(range) => self.take_in_or_hold(&mut joined[range])?,
            }
            used += more;
        }
        let tls = self.talk.as_ref().and_then(|talk| talk.tls.as_ref());
        // As good as FIN, which follows.
        if tls.is_some_and(|tls| tls.is_peer_closed()) { self.ended(Ok(())) } else { Ok(()) }
    }

    /// Takes in what there is room to answer, and keeps the rest.
    fn take_in_or_hold(&mut self, bytes: &mut [u8]) -> Result<(), Failure> {
        let is_behind = self.talk.as_ref().is_some_and(|talk| !talk.held.is_empty());
        let used = if is_behind { 0 } else { self.take_in(bytes)? };
        if let Some(talk) = &mut self.talk {
            talk.held.extend_from_slice(&bytes[used..]);
        }
        Ok(())
    }

    /// Takes in what there is room to answer; says how many bytes that was.
    fn take_in(&mut self, bytes: &mut [u8]) -> Result<usize, Failure> {
        let Self { talk, out, keys, driver, workshop, .. } = self;
        let Some(talk) = talk else { return Ok(0) };
        out.clear();
        let out_bytes_max = QUEUED_BYTES_MAX.saturating_sub(talk.outbox.queued_bytes());
        let mut hand = Hand { out, out_bytes_max, workshop, mask_key: &mut || keys.next(driver) };
        match talk.dialogue.hear(bytes, &mut hand) {
            Ok(used) => {
                match talk.tls {
                    None => talk.outbox.push(Bytes::from(std::mem::take(out))),
                    Some(_) => talk.push(out)?,
                }
                Ok(used)
            }
            Err(refused) => {
                let errand = talk.errand;
                Err(Failure::unreachable(format!(
                    "{} was refused (\"{refused}\"): check that the URL is a fuzzing server's",
                    errand.name()
                )))
            }
        }
    }

    fn take_in_held(&mut self) -> Result<(), Failure> {
        let Some(talk) = &mut self.talk else { return Ok(()) };
        let (mut held, start) = (std::mem::take(&mut talk.held), talk.held_start);
        let used = self.take_in(&mut held[start..])?;
        if let Some(talk) = &mut self.talk
            && start + used < held.len()
        {
            talk.held = held;
            talk.held_start = start + used;
        } else if let Some(talk) = &mut self.talk {
            talk.held_start = 0;
        }
        Ok(())
    }

    /// Sends what waits, takes in what was held, and turns reading on or off.
    fn pump(&mut self) -> Result<(), Failure> {
        let has_room = |talk: &Talk| talk.outbox.queued_bytes() < QUEUED_BYTES_MAX;
        if self.talk.as_ref().is_some_and(|talk| !talk.held.is_empty() && has_room(talk)) {
            self.take_in_held()?;
        }
        let Some(talk) = self.talk.as_mut().filter(|talk| talk.is_connected) else {
            return Ok(());
        };
        let may_receive = talk.held.is_empty() && has_room(talk);
        if may_receive != talk.is_receiving {
            talk.is_receiving = may_receive;
            self.driver.receive(talk.slot, may_receive);
        }
        if talk.dialogue.end() == End::Finish && talk.outbox.is_empty() && !talk.is_shut {
            let mut words = Vec::new();
            if let Some(tls) = &mut talk.tls {
                // The second time there is nothing left to say.
                tls.close_notify(&mut words);
            }
            if words.is_empty() {
                talk.is_shut = true;
                self.driver.shutdown(talk.slot, Shutdown::Write);
            } else {
                talk.outbox.push(words.into());
            }
        }
        if let Some(bytes) = talk.outbox.take() {
            self.driver.send(talk.slot, bytes);
        }
        Ok(())
    }

    /// The peer sent FIN, or the connection failed: the errand is over.
    fn ended(&mut self, result: Result<(), Errno>) -> Result<(), Failure> {
        let Some(talk) = self.talk.take() else { return Ok(()) };
        self.driver.close(talk.slot);
        if !talk.dialogue.is_open() {
            let name = talk.errand.name();
            return match result {
                Err(errno) => Err(self.unreachable(talk.errand, errno)),
                Ok(()) => Err(Failure::unreachable(format!(
                    "{name} was not answered: check that the URL is a fuzzing server's"
                ))),
            };
        }
        match talk.errand {
            Errand::Count => self.plan_cases(talk.dialogue.told()),
            Errand::Case(_) => {
                self.tally.done += 1;
                Ok(())
            }
            Errand::Report => Ok(()),
        }
    }

    /// Nothing moves any more: ends the connection from this side.
    fn give_up(&mut self) -> Result<(), Failure> {
        let Some(talk) = &self.talk else { return Ok(()) };
        if matches!(talk.errand, Errand::Case(_)) && talk.dialogue.is_open() {
            self.tally.silent += 1;
        }
        self.ended(Ok(()))
    }

    /// The suite has said how many cases it has.
    fn plan_cases(&mut self, told: Option<&[u8]>) -> Result<(), Failure> {
        let told = String::from_utf8_lossy(told.unwrap_or_default());
        let count: u32 = told.trim().parse().map_err(|_| {
            Failure::unreachable(format!(
                "getCaseCount said \"{}\", not a number: check that the URL is a fuzzing server's",
                told.escape_debug()
            ))
        })?;
        if let Some(beyond) = self.plan.cases.iter().find(|range| *range.end() > count) {
            let (first, last) = (beyond.start(), beyond.end());
            return Err(Failure::configuration(format!(
                "--cases {first}-{last}: the suite has {count} cases"
            )));
        }
        let cases = (1..=count).filter(|case| self.plan.has(*case));
        self.errands.extend(cases.map(Errand::Case));
        self.tally.cases = count;
        self.tally.chosen = u32::try_from(self.errands.len()).unwrap_or(u32::MAX);
        self.errands.push_back(Errand::Report);
        Ok(())
    }

    fn unreachable(&self, errand: Errand, errno: Errno) -> Failure {
        let (name, code) = (errand.name(), ErrorCode::of(errno));
        let address = &self.plan.target.address;
        Failure::unreachable(format!("{name} at {address} failed ({code}): {}", code.cure()))
    }
}

impl Talk {
    /// Sends `bytes` encrypted.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(tls) = self.tls.as_mut().filter(|_| !bytes.is_empty()) else { return Ok(()) };
        let mut sealed = Vec::new();
        tls.seal(bytes, &mut sealed).map_err(|failure| insecure(self.errand, &failure))?;
        self.outbox.push(sealed.into());
        Ok(())
    }
}

/// TLS did not come about, or broke down.
fn insecure(errand: Errand, failure: &TlsFailure) -> Failure {
    let (name, code) = (errand.name(), ErrorCode::of_tls(failure));
    let cure = code.cure();
    Failure::unreachable(format!("{name} failed ({code} \"{failure}\"): {cure}"))
}

impl Errand {
    fn name(self) -> String {
        match self {
            Self::Count => "getCaseCount".to_owned(),
            Self::Case(case) => format!("case {case}"),
            Self::Report => "updateReports".to_owned(),
        }
    }
}

/// `text` as a value in a query.
fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut out = String::new();
    for byte in text.bytes() {
        match is_plain(byte) {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
