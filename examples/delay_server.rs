//! A WebSocket echo that keeps each message for a time it chooses, and writes down how long that
//! was: what a load generator's percentiles are compared with.
//!
//! A line of the log is one reply: when the message had been received and when its reply was
//! handed over, in nanoseconds of `CLOCK_MONOTONIC`. It is complete once the last connection has
//! gone. Not here: speed, or defence against bad clients.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use ringwire_protocol::http::{HeadLimits, HeadScanner, parse_request};
use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Limits, Role, check_upgrade, encode_close, encode_frame,
    encode_switching,
};
use ringwire_ring::epoll::Epoll;
use ringwire_ring::sim::Random;
use ringwire_ring::{
    Accepting, Bells, Completion, Driver, EngineOptions, Features, ListenOptions, Listener,
    Permits, Role as Side, Slot, bind,
};

const CONNECTIONS_MAX: u32 = 900;
const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 16 };
const NS_PER_MS: u64 = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Law {
    /// All alike: `--least-ms`.
    Constant,
    /// Anything from `--least-ms` up to `--most-ms`.
    Uniform,
    /// `--most-ms` for seven of a hundred, `--least-ms` for the others.
    Bimodal,
}

/// Says back each message after a while.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 is any that is free.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How long each message is kept.
    #[arg(long, value_enum, default_value = "constant")]
    law: Law,
    #[arg(long, default_value_t = 20)]
    least_ms: u64,
    #[arg(long, default_value_t = 60)]
    most_ms: u64,
    /// Stand still once, this long after the first message.
    #[arg(long)]
    stall_after_ms: Option<u64>,
    /// For how long.
    #[arg(long, default_value_t = 1_000)]
    stall_ms: u64,
    /// Where chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write what was done.
    #[arg(long)]
    log: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if arguments.law != Law::Constant && arguments.most_ms <= arguments.least_ms {
        return Err("--most-ms must be above --least-ms".into());
    }
    let log = File::create(&arguments.log)
        .map_err(|error| format!("cannot write {} ({error})", arguments.log.display()))?;
    let options = EngineOptions {
        worker: 0,
        bells: Arc::new(Bells::new(1)?),
        slots_max: CONNECTIONS_MAX,
        permits: Arc::new(Permits::new(CONNECTIONS_MAX)),
        receive_buffers: None,
        features: Features::default(),
        role: Side::Accepts,
        peers: false,
    };
    let (address, mut listeners) = bind(arguments.listen, 1, &ListenOptions::default())?;
    let mut driver = Epoll::new(options)?;
    driver.listen(listeners.remove(0)).map_err(std::io::Error::from)?;
    driver.accept(Accepting::On);
    println!("listening on {address}");
    let random = Random::new(arguments.seed);
    let mut server = DelayServer {
        driver,
        arguments,
        random,
        log,
        first_ns: None,
        peers: HashMap::new(),
        kept: BTreeMap::new(),
        serial: 0,
        done: Vec::new(),
    };
    loop {
        server.turn()?;
    }
}

struct Peer {
    /// Before the upgrade, the head.
    bytes: Vec<u8>,
    inbound: Option<Inbound>,
    out: Vec<u8>,
    is_sending: bool,
    is_closing: bool,
}

/// A message that waits for its time.
struct Kept {
    slot: Slot,
    received_ns: u64,
    payload: Vec<u8>,
}

struct DelayServer<D> {
    driver: D,
    arguments: Arguments,
    random: Random,
    log: File,
    first_ns: Option<u64>,
    peers: HashMap<Slot, Peer>,
    /// By the time it is due, then by arrival.
    kept: BTreeMap<(u64, u64), Kept>,
    serial: u64,
    /// When each reply's message came, and when the reply went.
    done: Vec<(u64, u64)>,
}

impl<D: Driver<Listener = Listener>> DelayServer<D> {
    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        let deadline_ns = self.kept.first_key_value().map_or(u64::MAX, |((due_ns, _), _)| *due_ns);
        let mut completions = Vec::new();
        self.driver.turn(deadline_ns, &mut completions).map_err(std::io::Error::from)?;
        for completion in completions {
            match completion {
                Completion::Accepted { slot, .. } => self.accept(slot),
                Completion::Received { slot, lease } => self.receive(slot, &lease),
                Completion::Sent { slot, result } => match self.peers.get_mut(&slot) {
                    Some(peer) if result.is_ok() => {
                        peer.is_sending = false;
                        self.flush(slot);
                    }
                    _ => self.close(slot)?,
                },
                Completion::Ended { slot, .. } => self.close(slot)?,
                _ => {}
            }
        }
        self.reply();
        let closing = self.peers.iter().filter(|(_, peer)| peer.is_closing && !peer.is_sending);
        for slot in closing.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            self.close(slot)?;
        }
        Ok(())
    }

    fn accept(&mut self, slot: Slot) {
        let peer = Peer {
            bytes: Vec::new(),
            inbound: None,
            out: Vec::new(),
            is_sending: false,
            is_closing: false,
        };
        self.peers.insert(slot, peer);
        self.driver.receive(slot, true);
    }

    fn receive(&mut self, slot: Slot, bytes: &[u8]) {
        let received_ns = self.driver.clock_ns();
        let Some(mut peer) = self.peers.remove(&slot) else { return };
        peer.bytes.extend_from_slice(bytes);
        if peer.inbound.is_none() {
            peer.upgrade();
        }
        for payload in peer.read() {
            self.keep(Kept { slot, received_ns, payload });
        }
        self.peers.insert(slot, peer);
        self.flush(slot);
    }

    fn keep(&mut self, kept: Kept) {
        let first_ns = *self.first_ns.get_or_insert(kept.received_ns);
        let Arguments { law, least_ms, most_ms, stall_after_ms, stall_ms, .. } = self.arguments;
        let delay_ns = match law {
            Law::Constant => least_ms * NS_PER_MS,
            Law::Uniform => {
                least_ms * NS_PER_MS + self.random.below((most_ms - least_ms) * NS_PER_MS)
            }
            Law::Bimodal if self.random.below(100) < 7 => most_ms * NS_PER_MS,
            Law::Bimodal => least_ms * NS_PER_MS,
        };
        let stall = stall_after_ms.map(|after_ms| {
            let from_ns = first_ns + after_ms * NS_PER_MS;
            from_ns..from_ns + stall_ms * NS_PER_MS
        });
        let hold = |at_ns| match &stall {
            Some(stall) if stall.contains(&at_ns) => stall.end,
            _ => at_ns,
        };
        let due_ns = hold(hold(kept.received_ns) + delay_ns);
        self.serial += 1;
        self.kept.insert((due_ns, self.serial), kept);
    }

    /// Sends what is due.
    fn reply(&mut self) {
        loop {
            let now_ns = self.driver.clock_ns();
            let first = self.kept.first_entry().filter(|entry| entry.key().0 <= now_ns);
            let Some(Kept { slot, received_ns, payload }) = first.map(|entry| entry.remove())
            else {
                return;
            };
            let Some(peer) = self.peers.get_mut(&slot) else { continue };
            encode_frame(&mut peer.out, ringwire_protocol::ws::Opcode::Text, &payload, None);
            self.done.push((received_ns, now_ns));
            self.flush(slot);
        }
    }

    fn flush(&mut self, slot: Slot) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        if !peer.is_sending && !peer.out.is_empty() {
            peer.is_sending = true;
            self.driver.send(slot, Bytes::from(std::mem::take(&mut peer.out)));
        }
    }

    /// Forgets a connection; after the last of them the log is complete.
    fn close(&mut self, slot: Slot) -> Result<(), Box<dyn Error>> {
        if self.peers.remove(&slot).is_none() {
            return Ok(());
        }
        self.driver.close(slot);
        if self.peers.is_empty() && !self.done.is_empty() {
            let mut text = String::new();
            for (received_ns, sent_ns) in self.done.drain(..) {
                text.push_str(&format!("{received_ns}\t{sent_ns}\n"));
            }
            self.log.write_all(text.as_bytes())?;
            self.log.flush()?;
        }
        Ok(())
    }
}

impl Peer {
    /// Answers the upgrade once its head is whole.
    fn upgrade(&mut self) {
        let limits = HeadLimits::default();
        let end = match HeadScanner::new().find_end(&self.bytes, &limits) {
            Ok(Some(end)) => end,
            Ok(None) => return,
            Err(_) => return self.is_closing = true,
        };
        let rest = self.bytes.split_off(end);
        let request = parse_request(&self.bytes, &limits);
        match request.as_ref().map(check_upgrade) {
            Ok(Ok(upgrade)) => {
                encode_switching(&mut self.out, upgrade.key, None, &[]);
                self.inbound = Some(Inbound::new(Role::Server));
            }
            _ => self.is_closing = true,
        }
        self.bytes = rest;
    }

    /// The payloads that came.
    fn read(&mut self) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        let Some(inbound) = &mut self.inbound else { return payloads };
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut cursor = Cursor::new(&mut bytes);
        loop {
            match inbound.next(&mut cursor, &LIMITS) {
                Ok(Some(Event::Message { payload, .. })) => payloads.push(payload.to_vec()),
                Ok(Some(Event::Close(frame))) => {
                    let mut close = [0; 131];
                    let code = frame.map_or(1005, |frame| frame.code.0);
                    let len = encode_close(&mut close, code, "", None);
                    self.out.extend_from_slice(&close[..len]);
                    self.is_closing = true;
                }
                Ok(Some(_)) => {}
                Ok(None) => return payloads,
                Err(_) => {
                    self.is_closing = true;
                    return payloads;
                }
            }
        }
    }
}
