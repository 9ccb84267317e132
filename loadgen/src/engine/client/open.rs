//! Opening connections: how many at once, how fast, and what is said first.
//!
//! Invariant: every member ends up open or refused, at latest when its time is over; the thread
//! reports itself settled once that is so for all.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use ringwire_protocol::ws::{client_key, encode_upgrade_request};
use ringwire_ring::{Driver, Slot};

use super::{Client, NOBODY};
use crate::engine::answer::Reader;
use crate::engine::error::ErrorCode;
use crate::engine::hear::opening;
use crate::engine::member::{Member, Part, Phase, Speech};
use crate::engine::pacer::Pacer;
use crate::engine::plan::Plan;
use crate::part::dealt;
use crate::scenario::{Mode, Rate, Transport};
use crate::speech::PollStyle;

/// Connections that may be opening at once, over all threads.
const PENDING_MAX: usize = 1_000;

/// How long a connection may take to open.
pub(super) const OPEN_TIMEOUT_NS: u64 = 15_000_000_000;

/// A thread that was refused this often, and never let in, asks no more.
const REFUSED_MAX: u32 = 2_000;

/// How far a thread is with opening its connections.
#[derive(Debug)]
pub(super) struct Connecting {
    /// The next member to connect.
    next: usize,
    /// Where the members end that are opened before the run: in churn one tries for all.
    end: usize,
    /// Members that are opening, with the time they have; in the order begun.
    pending: VecDeque<(u64, u32)>,
    /// Those of `pending` that are neither open nor refused.
    pub(super) opening: usize,
    opening_max: usize,
    /// When the connects of all threads are due.
    pacer: Option<Pacer>,
    subscribers: usize,
    is_settled: bool,
    next_due_ns: u64,
    /// Subscribers and publishers that were open when all were settled.
    pub(super) rosters: [Vec<u32>; 2],
}

impl Connecting {
    pub(super) fn new(plan: &Plan, members: usize, subscribers: usize, now_ns: u64) -> Self {
        let end = if plan.scenario.mode == Mode::Churn { members.min(1) } else { members };
        let rate = plan.scenario.connect_rate_per_s.and_then(|n| Rate::per_second(n.into()));
        Self {
            next: 0,
            end,
            pending: VecDeque::new(),
            opening: 0,
            opening_max: (PENDING_MAX / plan.scenario.threads).max(1),
            pacer: rate.map(|rate| Pacer::new(now_ns, rate)),
            subscribers,
            is_settled: false,
            next_due_ns: 0,
            rosters: [Vec::new(), Vec::new()],
        }
    }

    pub(super) fn deadline_ns(&self) -> u64 {
        let timeout_ns = self.pending.front().map_or(u64::MAX, |(until_ns, _)| *until_ns);
        timeout_ns.min(if self.is_settled { u64::MAX } else { self.next_due_ns })
    }

    /// Whether another connection may be begun.
    pub(super) fn has_room(&self) -> bool {
        self.opening < self.opening_max
    }
}

/// The number, among those of all threads and parts, of a thread's member `own` of its kind.
pub(super) fn number(plan: &Plan, thread: usize, own: usize) -> u32 {
    let number = thread + own * plan.scenario.threads;
    plan.part.number(u32::try_from(number).expect("below the total"))
}

/// The members of one thread, dealt in turn: subscribers, then publishers.
pub(super) fn members(plan: &Plan, thread: usize) -> Vec<Member> {
    let threads = plan.scenario.threads;
    let channels = u32::try_from(plan.channels.len()).expect("channels are counted in 32 bits");
    let deal = |total: u32, part: Part| {
        (0..dealt(total, thread, threads)).map(move |own| {
            let number = number(plan, thread, own as usize);
            let mut member = Member::new(part, number, number % channels);
            let slow = plan.scenario.traffic.slow.filter(|_| part == Part::Subscriber);
            member.is_slow = slow.is_some_and(|slow| slow.includes(number));
            member
        })
    };
    deal(plan.connections(), Part::Subscriber)
        .chain(deal(plan.publishers(), Part::Publisher))
        .collect()
}

impl<D: Driver> Client<D> {
    /// Opens what may be opened now, and gives up on what takes too long.
    pub(super) fn connect_more(&mut self) {
        self.expire_opening();
        if self.connecting.is_settled {
            return;
        }
        if self.control.is_connecting_over() {
            self.refuse_rest();
            self.refuse_opening();
        } else if self.open == 0 && self.ledger.refused >= REFUSED_MAX {
            self.refuse_rest();
        }
        self.connecting.next_due_ns = u64::MAX;
        while self.connecting.next < self.connecting.end && self.connecting.has_room() {
            let member = self.connecting.next;
            if let Some(pacer) = &self.connecting.pacer {
                let due_ns = pacer.intended_ns(self.members[member].number.into());
                if member < self.connecting.subscribers && due_ns > self.now_ns {
                    self.connecting.next_due_ns = due_ns;
                    break;
                }
            }
            self.connecting.next += 1;
            self.connect(member);
        }
        if self.connecting.next == self.connecting.end && self.connecting.opening == 0 {
            self.settle();
        }
    }

    /// Counts as refused what was not tried.
    fn refuse_rest(&mut self) {
        for member in &mut self.members[self.connecting.next..self.connecting.end] {
            member.phase = Phase::Ended;
            self.ledger.refused += u32::from(member.part == Part::Subscriber);
        }
        self.connecting.next = self.connecting.end;
    }

    /// Gives up on what is opening.
    fn refuse_opening(&mut self) {
        for member in 0..self.members.len() {
            if self.members[member].is_opening() {
                self.lose(member, ErrorCode::Timeout);
            }
        }
    }

    /// Gives up on those whose time is over.
    fn expire_opening(&mut self) {
        while let Some(&(until_ns, member)) = self.connecting.pending.front() {
            let begun = &self.members[member as usize];
            let is_opening = begun.is_opening() && begun.since_ns + OPEN_TIMEOUT_NS == until_ns;
            if is_opening && until_ns > self.now_ns {
                break;
            }
            self.connecting.pending.pop_front();
            if is_opening {
                let position = member as usize;
                let member = &self.members[position];
                let is_tls = member.is_shaking_hands();
                let is_asking = member.is_asking && member.phase == Phase::Opening;
                let is_long_poll = self.plan.scenario.transport == Transport::LongPoll;
                let code = match is_tls {
                    true => ErrorCode::TlsTimeout,
                    false if is_asking && is_long_poll => ErrorCode::PollSilent,
                    false if member.phase == Phase::Opening => ErrorCode::HttpTimeout,
                    false => ErrorCode::Timeout,
                };
                self.lose(position, code);
            }
        }
    }

    /// Begins a connection for a member.
    pub(super) fn connect(&mut self, member: usize) {
        self.members[member].since_ns = self.driver.clock_ns();
        if self.connect_socket(member) {
            self.connecting.opening += 1;
            let until_ns = self.members[member].since_ns + OPEN_TIMEOUT_NS;
            let number = u32::try_from(member).expect("members are counted in 32 bits");
            self.connecting.pending.push_back((until_ns, number));
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
    //# it MUST open a connection, send an opening handshake, and read
    pub(super) fn connect_socket(&mut self, member: usize) -> bool {
        let (target, _) = self.plan.destination(self.members[member].part);
        let sources = &self.plan.scenario.traffic.sources;
        let is_fitting = |source: &std::net::IpAddr| {
            target.address.tcp().is_some_and(|to| to.is_ipv4() == source.is_ipv4())
        };
        // Every part has all addresses, and takes them in its own turn.
        let own = self.members[member].source / self.plan.part.of;
        let source = sources.of(own).filter(is_fitting);
        match self.driver.connect(&target.address, source) {
            Ok(slot) => {
                if self.owners.len() <= slot.index() {
                    self.owners.resize(slot.index() + 1, NOBODY);
                }
                self.owners[slot.index()] =
                    u32::try_from(member).expect("members are counted in 32 bits");
                self.members[member].slot = Some(slot);
                self.members[member].phase = Phase::Connecting;
                true
            }
            Err(errno) => {
                self.lose(member, ErrorCode::of(errno));
                false
            }
        }
    }

    /// TCP is connected: receives, and begins with the handshake, or with the first request.
    pub(super) fn connected(&mut self, position: usize, slot: Slot) {
        self.driver.receive(slot, true);
        let member = &self.members[position];
        if member.part == Part::Subscriber && !member.was_open {
            self.ledger.tcp.record(self.now_ns.saturating_sub(member.since_ns));
        }
        match self.plan.destination(member.part) {
            (_, Some(_)) => self.begin_tls(position),
            (_, None) => self.begin_speech(position),
        }
    }

    /// Nothing stands between this and the server: says the first thing.
    pub(super) fn begin_speech(&mut self, position: usize) {
        let publishes_by_websocket = self.plan.publishes_by_websocket();
        let member = &mut self.members[position];
        let transport = match member.part {
            Part::Publisher if publishes_by_websocket => Transport::Ws,
            _ => self.plan.scenario.transport,
        };
        let is_publisher = member.part == Part::Publisher && !publishes_by_websocket;
        let is_polling = matches!(transport, Transport::LongPoll | Transport::Poll);
        if is_publisher || (member.was_open && is_polling) {
            member.speech = Speech::Http(Reader::default());
            self.connecting.opening -= usize::from(member.is_opening());
            member.phase = Phase::Open;
            member.was_open = true;
            if member.is_returning {
                self.returned(position);
            }
            let member = &self.members[position];
            if member.part == Part::Subscriber && member.is_asking {
                self.ask(position);
            }
            self.make_ready(position);
            return;
        }
        member.phase = Phase::Opening;
        member.awaits_since_ns = self.driver.clock_ns();
        match transport {
            Transport::Ws => {
                //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
                //# Once a connection to the server has been established (including a connection
                //# via a proxy or over a TLS-encrypted tunnel), the client MUST send an opening
                //# handshake to the server.
                //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
                //# The nonce MUST be selected randomly for each connection.
                self.ask_upgrade(position);
            }
            Transport::Sse => {
                member.speech = opening(String::new());
                self.ask(position);
            }
            Transport::LongPoll | Transport::Poll => {
                member.speech = Speech::Http(Reader::default());
                self.ask(position);
                // Such a server answers when there is news, and not before.
                let is_nchan = self.plan.scenario.speech.poll_style == Some(PollStyle::Nchan);
                if is_nchan && transport == Transport::LongPoll {
                    self.opened(position);
                }
            }
        }
    }

    fn ask_upgrade(&mut self, position: usize) {
        let mut nonce = [0; 16];
        self.driver.entropy(&mut nonce);
        let key = client_key(nonce);
        let who = self.who(position);
        let member = &mut self.members[position];
        let (target, _) = self.plan.destination(member.part);
        let (subprotocols, headers) =
            (&self.plan.scenario.subprotocols, &self.plan.upgrade_headers);
        let mut out = Vec::new();
        match &self.plan.script {
            None => {
                let path = &self.plan.channels[member.channel as usize].path;
                encode_upgrade_request(&mut out, &target.host, path, &key, subprotocols, headers);
            }
            Some(script) => {
                let (path, mut own) = script.upgrade(who);
                if member.part == Part::Subscriber {
                    own.extend(headers[self.plan.scenario.headers.len()..].iter().cloned());
                }
                encode_upgrade_request(&mut out, &target.host, &path, &key, subprotocols, &own);
            }
        }
        member.speech = opening(key);
        self.write(position, &out);
    }

    /// A subscription, or an upgrade, is there.
    pub(super) fn opened(&mut self, position: usize) {
        let member = &mut self.members[position];
        self.connecting.opening -= usize::from(member.is_opening());
        member.phase = Phase::Open;
        let was_open = std::mem::replace(&mut member.was_open, true);
        if member.part == Part::Publisher || (was_open && !member.is_returning) {
            self.make_ready(position);
            return;
        }
        self.ledger.connect.record(self.now_ns.saturating_sub(member.since_ns));
        if member.is_returning {
            return self.returned(position);
        }
        self.open += 1;
        if member.is_slow {
            return self.opened_slow(position);
        }
        self.control.subscribed[member.channel as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Opens a polling connection again, where the server ended keep-alive.
    pub(super) fn reconnect(&mut self, position: usize) {
        self.close(position);
        self.ledger.reconnects += u64::from(!self.plan.closes_after_answer());
        let member = &mut self.members[position];
        member.must_reconnect = false;
        member.since_ns = self.now_ns;
        member.is_proven = false;
        if member.part == Part::Publisher && member.outstanding() > 0 {
            // Whether it was taken is unknown, and saying it again might say it twice.
            member.answered = member.sent;
            self.pending = self.pending.saturating_sub(1);
            self.ledger.error(ErrorCode::HttpEnded);
        }
        self.connect_socket(position);
    }

    /// Closes a polling connection until its next poll is due.
    pub(super) fn park(&mut self, position: usize) {
        self.close(position);
        let member = &mut self.members[position];
        member.must_reconnect = false;
        member.is_proven = false;
        member.phase = Phase::Parked;
    }

    /// Opens a parked connection, with its next poll as the first thing said.
    pub(super) fn unpark(&mut self, position: usize) {
        let member = &mut self.members[position];
        member.since_ns = self.now_ns;
        member.is_asking = true;
        self.connect_socket(position);
    }

    /// All members are open or refused: says how many, and keeps who.
    fn settle(&mut self) {
        self.connecting.is_settled = true;
        if self.churn.is_on() && self.ledger.refused > 0 {
            // One tried for all.
            self.members.iter_mut().for_each(|member| member.phase = Phase::Ended);
        }
        self.connecting.pending = VecDeque::new();
        let roster = |part: Part| -> Vec<u32> {
            let members = (0_u32..).zip(&self.members);
            let open = members.filter(|(_, m)| m.part == part && m.phase != Phase::Ended);
            open.map(|(position, _)| position).collect()
        };
        self.connecting.rosters = [roster(Part::Subscriber), roster(Part::Publisher)];
        let count = |roster: &Vec<u32>| u32::try_from(roster.len()).expect("counted in 32 bits");
        let report = &self.control.reports[self.thread];
        let [subscribers, publishers] = &self.connecting.rosters;
        report.subscribers.store(count(subscribers), Ordering::Release);
        report.publishers.store(count(publishers), Ordering::Release);
        report.is_settled.store(true, Ordering::Release);
        self.control.ring_conductor();
    }
}
