//! The load beside which a compressed fan-out is measured: one publisher of JSON, many subscribers
//! over WebSocket, on the same ring layer as everything else here.
//!
//! Not here: inflating what comes, which would cost this side more than the server, and latency.
//! Invariant: with `--compressed` every publication arrives compressed, and without none does;
//! anything else ends the run.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Limits, Opcode, Role, client_key, encode_frame, encode_upgrade_request,
};
use ringwire_ring::uring::Uring;
use ringwire_ring::{
    Bells, Completion, Driver, EngineOptions, Permits, ProcessClock, Slot, ThreadClock, pin, probe,
};

const SECOND_NS: u64 = 1_000_000_000;
const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 0 };
/// Different publications, sent in turn.
const TEXTS: usize = 64;

/// Measures a fan-out: one publisher of JSON, N subscribers.
#[derive(Debug, Parser)]
struct Flags {
    /// Address of the server
    address: SocketAddr,
    /// Subscribers
    #[arg(short, long, default_value_t = 1000)]
    connections: u32,
    /// Publications per second
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Bytes of JSON in a publication
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Offer permessage-deflate, and insist on it
    #[arg(long)]
    compressed: bool,
    /// Measured time
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    duration: u64,
    /// Time under load before it
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    warmup: u64,
    /// Process of the server, whose CPU time is measured
    #[arg(long)]
    server_pid: Option<u32>,
    /// CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
}

/// What was counted and what it cost.
struct Outcome {
    sent: u64,
    received: u64,
    received_bytes: u64,
    server_cpu_ns: Option<u64>,
    load_cpu_ns: Option<u64>,
}

/// One connection, by slot index.
enum Speech {
    Upgrading(Vec<u8>),
    Open(Inbound),
}

struct Load {
    driver: Uring,
    compressed: bool,
    speeches: Vec<Speech>,
    /// The first connection that stands publishes, and subscribes as all others.
    speaker: Option<Slot>,
    /// A publication that the kernel has not taken yet.
    is_publishing: bool,
    texts: Vec<Bytes>,
    sent: u64,
    opened: u32,
    received: u64,
    received_bytes: u64,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(&flags) {
        Ok(outcome) => {
            println!("{}", report(&flags, &outcome));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("fanout_load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<Outcome, String> {
    if flags.rate == 0 || flags.connections == 0 || !(64..=60_000).contains(&flags.size) {
        return Err("--rate and --connections are at least 1, --size is 64 to 60000".to_owned());
    }
    if let Some(cpu) = flags.cpu
        && !pin(cpu)
    {
        return Err(format!("cannot run on CPU {cpu}"));
    }
    let options = EngineOptions {
        worker: 0,
        bells: Arc::new(Bells::new(1).map_err(|error| error.to_string())?),
        slots_max: flags.connections,
        permits: Arc::new(Permits::new(flags.connections)),
        receive_buffers: None,
        features: probe().unwrap_or_default(),
        peers: false,
        role: ringwire_ring::Role::Connects,
    };
    let driver = Uring::new(options).map_err(|refusal| refusal.to_string())?;
    let server = flags.server_pid.map(ProcessClock::of).transpose();
    let server = server.map_err(|error| format!("--server-pid: {error}"))?;
    let thread = ThreadClock::current();
    let mut load = Load::new(driver, flags);
    load.connect(flags)?;
    load.publish_until(flags, load.driver.clock_ns() + flags.warmup * SECOND_NS)?;
    let cpu = || (server.as_ref().and_then(|clock| clock.cpu_ns().ok()), thread.cpu_ns().ok());
    let before = (load.sent, load.received, load.received_bytes);
    let (server_before, load_before) = cpu();
    load.publish_until(flags, load.driver.clock_ns() + flags.duration * SECOND_NS)?;
    let (server_after, load_after) = cpu();
    let spent = |from: Option<u64>, to: Option<u64>| Some(to? - from?);
    Ok(Outcome {
        sent: load.sent - before.0,
        received: load.received - before.1,
        received_bytes: load.received_bytes - before.2,
        server_cpu_ns: spent(server_before, server_after),
        load_cpu_ns: spent(load_before, load_after),
    })
}

impl Load {
    fn new(driver: Uring, flags: &Flags) -> Self {
        let text = |number| {
            let mut frame = Vec::new();
            encode_frame(&mut frame, Opcode::Text, &json(flags.size, number), Some([7; 4]));
            Bytes::from(frame)
        };
        Self {
            driver,
            compressed: flags.compressed,
            speeches: (0..flags.connections).map(|_| Speech::Upgrading(Vec::new())).collect(),
            speaker: None,
            is_publishing: false,
            texts: (0..TEXTS).map(text).collect(),
            sent: 0,
            opened: 0,
            received: 0,
            received_bytes: 0,
        }
    }

    fn connect(&mut self, flags: &Flags) -> Result<(), String> {
        for _ in 0..flags.connections {
            let opened = self.driver.connect(&flags.address.into(), None);
            opened.map_err(|errno| format!("connect: {errno}"))?;
        }
        let deadline_ns = self.driver.clock_ns() + 10 * SECOND_NS;
        while self.opened < flags.connections {
            self.turn(deadline_ns)?;
            if self.driver.now_ns() >= deadline_ns {
                return Err(format!("{} of {} are open", self.opened, flags.connections));
            }
        }
        Ok(())
    }

    /// Publishes at the rate, then waits for what is still on its way.
    fn publish_until(&mut self, flags: &Flags, deadline_ns: u64) -> Result<(), String> {
        let mut next_ns = self.driver.clock_ns();
        let wanted = |load: &Self| load.sent * u64::from(flags.connections);
        while next_ns < deadline_ns {
            self.turn(next_ns)?;
            if self.driver.now_ns() >= next_ns && !self.is_publishing {
                self.publish();
                next_ns += SECOND_NS / flags.rate;
            }
        }
        let give_up_ns = self.driver.clock_ns() + 10 * SECOND_NS;
        while self.received < wanted(self) {
            self.turn(give_up_ns)?;
            if self.driver.now_ns() >= give_up_ns {
                return Err(format!("{} of {} arrived", self.received, wanted(self)));
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        let Some(slot) = self.speaker else { return };
        let turn = usize::try_from(self.sent).unwrap_or(0) % TEXTS;
        self.driver.send(slot, self.texts[turn].clone());
        self.is_publishing = true;
        self.sent += 1;
    }

    fn turn(&mut self, deadline_ns: u64) -> Result<(), String> {
        let mut completions = Vec::new();
        self.driver.turn(deadline_ns, &mut completions).map_err(|errno| errno.to_string())?;
        for completion in completions {
            self.take(completion)?;
        }
        Ok(())
    }

    fn take(&mut self, completion: Completion) -> Result<(), String> {
        match completion {
            Completion::Connected { slot, result } => {
                result.map_err(|errno| format!("connect: {errno}"))?;
                self.driver.receive(slot, true);
                self.driver.send(slot, upgrade(self.compressed));
            }
            Completion::Received { slot, mut lease } => self.hear(slot, &mut lease)?,
            Completion::Sent { slot, result } => {
                result.map_err(|errno| format!("send: {errno}"))?;
                if self.speaker == Some(slot) {
                    self.is_publishing = false;
                }
            }
            Completion::Ended { result, .. } => {
                return Err(format!("the server closed a connection: {result:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn hear(&mut self, slot: Slot, bytes: &mut [u8]) -> Result<(), String> {
        match &mut self.speeches[slot.index()] {
            Speech::Upgrading(head) => {
                head.extend_from_slice(bytes);
                if !head.ends_with(b"\r\n\r\n") {
                    return Ok(());
                }
                let head = String::from_utf8_lossy(head);
                let agreed = head.contains("Sec-WebSocket-Extensions: permessage-deflate");
                if !head.starts_with("HTTP/1.1 101 ") || agreed != self.compressed {
                    return Err(format!("not what was asked for: {head}"));
                }
                self.speeches[slot.index()] = Speech::Open(Inbound::with_deflate(Role::Client));
                self.opened += 1;
                self.speaker.get_or_insert(slot);
            }
            Speech::Open(inbound) => {
                self.received_bytes += bytes.len() as u64;
                let mut cursor = Cursor::new(bytes);
                while let Some(event) =
                    inbound.next(&mut cursor, &LIMITS).map_err(|bad| bad.to_string())?
                {
                    match (event, self.compressed) {
                        (Event::Compressed { .. }, true) | (Event::Message { .. }, false) => {
                            self.received += 1;
                        }
                        (Event::Ping(_) | Event::Pong(_), _) => {}
                        (other, _) => return Err(format!("not expected: {other:?}")),
                    }
                }
            }
        }
        Ok(())
    }
}

fn upgrade(compressed: bool) -> Bytes {
    let offer = "permessage-deflate; client_max_window_bits".to_owned();
    let extra = [("Sec-WebSocket-Extensions".to_owned(), offer)];
    let extra = if compressed { &extra[..] } else { &[] };
    let mut out = Vec::new();
    let key = client_key(*b"sixteen bytes of");
    encode_upgrade_request(&mut out, "localhost", "/channels/fanout", &key, &[], extra);
    Bytes::from(out)
}

/// Something like a page of an interface's answer, exactly `size` bytes.
fn json(size: usize, number: usize) -> Vec<u8> {
    let mut state = number as u64;
    let mut text = format!("{{\"page\":{number},\"items\":[");
    while text.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x9e37_79b9);
        let (id, price, user) = (state >> 44, state >> 30 & 0x3FFF, state >> 20 & 0xFFF);
        text.push_str(&format!("{{\"id\":{id},\"user\":\"user-{user:x}\",\"price\":{price},"));
        text.push_str(if state >> 63 == 0 { "\"open\":true}," } else { "\"open\":false}," });
    }
    text.truncate(size - 2);
    text.push_str("]}");
    text.into_bytes()
}

/// The figures under the names that `loadgen` gives them.
fn report(flags: &Flags, outcome: &Outcome) -> String {
    let per = |total: Option<u64>, count: u64| {
        let figure = total.and_then(|total| total.checked_div(count));
        figure.map_or_else(|| "null".to_owned(), |figure| figure.to_string())
    };
    format!(
        "{{\"transport\":\"ws\",\"mode\":\"fanout\",\"compressed\":{},\"connections\":{},\
         \"payload_bytes\":{},\"messages_sent\":{},\"messages_received\":{},\
         \"wire_bytes_per_message\":{},\
         \"server\":{{\"cpu_ns_per_message\":{}}},\"loadgen\":{{\"cpu_ns_per_message\":{}}}}}",
        flags.compressed,
        flags.connections,
        flags.size,
        outcome.sent,
        outcome.received,
        per(Some(outcome.received_bytes), outcome.received),
        per(outcome.server_cpu_ns, outcome.received),
        per(outcome.load_cpu_ns, outcome.received),
    )
}
