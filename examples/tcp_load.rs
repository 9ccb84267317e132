//! The load beside which a WebSocket echo is measured: fixed requests over raw TCP, one in flight
//! per connection, on the same ring layer as everything else here.
//!
//! The peer is to send back every byte (`tcp_echo`); or, with `--websocket`, every message of
//! `/echo`, so that one generator loads both. Not here: reading what comes back, which is counted.
//! Invariant: a connection sends its next request only when the whole of the last has come back.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use ringwire_ring::epoll::Epoll;
use ringwire_ring::uring::Uring;
use ringwire_ring::{
    Batch, Bells, Completion, Driver, EngineOptions, Permits, ProcessClock, Role, Slot,
    ThreadClock, pin, probe,
};

const SECOND_NS: u64 = 1_000_000_000;

const MASK_KEY_BYTES: usize = 4;

/// Masked frames whose length fits the first two bytes.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 6..=131;

const UPGRADE: &[u8] = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Measures a raw TCP echo: N connections, one fixed request in flight on each.
#[derive(Debug, Parser)]
struct Flags {
    /// Address of the echo
    address: SocketAddr,
    /// Connections
    #[arg(short, long, default_value_t = 200)]
    connections: u32,
    /// Bytes of a request; 26 is the size of a masked WebSocket frame of 20 bytes
    #[arg(long, default_value_t = 26)]
    size: usize,
    /// The peer is a WebSocket echo at /echo: the request is one masked frame
    #[arg(long)]
    websocket: bool,
    /// Measured time
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    duration: u64,
    /// Time under load before it
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    warmup: u64,
    /// Process of the echo, whose CPU time is measured
    #[arg(long)]
    server_pid: Option<u32>,
    /// CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
    /// What carries the load
    #[arg(long, default_value = "uring")]
    engine: Engine,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Engine {
    Uring,
    Epoll,
}

/// The clocks at one moment.
#[derive(Clone, Copy)]
struct Stamp {
    now_ns: u64,
    server_cpu_ns: Option<u64>,
    load_cpu_ns: Option<u64>,
}

/// What was measured.
struct Outcome {
    messages: u64,
    duration_ns: u64,
    server_cpu_ns: Option<u64>,
    load_cpu_ns: Option<u64>,
}

/// All connections and how many bytes each still waits for.
struct Load<D> {
    driver: D,
    batch: Batch,
    request: Vec<u8>,
    /// Bytes that come back for it.
    reply_bytes: usize,
    /// What has to be sent first, and ends with the first empty line that comes back.
    greeting: Option<Bytes>,
    /// By slot index.
    awaited: Vec<usize>,
    /// Connections whose reply is complete and whose next request is not yet in a batch.
    ready: Vec<Slot>,
    connected: u32,
    messages: u64,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(&flags) {
        Ok(outcome) => {
            println!("{}", report(&flags, &outcome));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("tcp_load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<Outcome, String> {
    if flags.size == 0 || flags.size > 64 * 1024 || flags.connections == 0 {
        return Err("--size is 1 to 65536, --connections at least 1".to_owned());
    }
    if flags.websocket && !FRAME_BYTES.contains(&flags.size) {
        return Err("--size with --websocket is 6 to 131, the frame with its header".to_owned());
    }
    if let Some(cpu) = flags.cpu
        && !pin(cpu)
    {
        return Err(format!("cannot run on CPU {cpu}"));
    }
    let bells = Bells::new(1).map_err(|error| error.to_string())?;
    let options = EngineOptions {
        worker: 0,
        bells: Arc::new(bells),
        slots_max: flags.connections,
        permits: Arc::new(Permits::new(flags.connections)),
        receive_buffers: None,
        features: probe().unwrap_or_default(),
        role: Role::Connects,
        peers: false,
    };
    match flags.engine {
        Engine::Uring => {
            measure(Uring::new(options).map_err(|refusal| refusal.to_string())?, flags)
        }
        Engine::Epoll => {
            measure(Epoll::new(options).map_err(|refusal| refusal.to_string())?, flags)
        }
    }
}

fn measure<D: Driver>(driver: D, flags: &Flags) -> Result<Outcome, String> {
    let server = flags.server_pid.map(ProcessClock::of).transpose();
    let server = server.map_err(|error| format!("--server-pid: {error}"))?;
    let thread = ThreadClock::current();
    let mut load = Load::new(driver, flags);
    load.connect(flags)?;
    load.run_until(load.driver.now_ns() + flags.warmup * SECOND_NS)?;
    let stamp = |load: &Load<D>| Stamp {
        now_ns: load.driver.clock_ns(),
        server_cpu_ns: server.as_ref().and_then(|clock| clock.cpu_ns().ok()),
        load_cpu_ns: thread.cpu_ns().ok(),
    };
    load.messages = 0;
    let began = stamp(&load);
    load.run_until(began.now_ns + flags.duration * SECOND_NS)?;
    let ended = stamp(&load);
    let spent = |from: Option<u64>, to: Option<u64>| Some(to? - from?);
    Ok(Outcome {
        messages: load.messages,
        duration_ns: ended.now_ns - began.now_ns,
        server_cpu_ns: spent(began.server_cpu_ns, ended.server_cpu_ns),
        load_cpu_ns: spent(began.load_cpu_ns, ended.load_cpu_ns),
    })
}

impl<D: Driver> Load<D> {
    fn new(driver: D, flags: &Flags) -> Self {
        Self {
            driver,
            batch: Batch::new(),
            request: if flags.websocket { frame(flags.size) } else { vec![b'.'; flags.size] },
            // A server's frame has no mask key.
            reply_bytes: if flags.websocket { flags.size - MASK_KEY_BYTES } else { flags.size },
            greeting: flags.websocket.then(|| Bytes::from_static(UPGRADE)),
            awaited: vec![0; flags.connections as usize],
            ready: Vec::new(),
            connected: 0,
            messages: 0,
        }
    }

    /// Opens every connection and waits until the last one stands.
    fn connect(&mut self, flags: &Flags) -> Result<(), String> {
        for _ in 0..flags.connections {
            let opened = self.driver.connect(&flags.address.into(), None);
            opened.map_err(|errno| format!("connect: {errno}"))?;
        }
        let deadline_ns = self.driver.clock_ns() + 10 * SECOND_NS;
        while self.connected < flags.connections {
            self.turn(deadline_ns)?;
            if self.driver.now_ns() >= deadline_ns {
                return Err(format!("{} of {} connected", self.connected, flags.connections));
            }
        }
        Ok(())
    }

    fn run_until(&mut self, deadline_ns: u64) -> Result<(), String> {
        while self.driver.now_ns() < deadline_ns {
            self.turn(deadline_ns)?;
        }
        Ok(())
    }

    fn turn(&mut self, deadline_ns: u64) -> Result<(), String> {
        let mut completions = Vec::new();
        self.driver.turn(deadline_ns, &mut completions).map_err(|errno| errno.to_string())?;
        for completion in completions {
            self.take(completion)?;
        }
        while !self.ready.is_empty() {
            self.send_requests()?;
        }
        Ok(())
    }

    fn take(&mut self, completion: Completion) -> Result<(), String> {
        match completion {
            Completion::Connected { slot, result } => {
                result.map_err(|errno| format!("connect: {errno}"))?;
                self.driver.receive(slot, true);
                match &self.greeting {
                    Some(greeting) => self.driver.send(slot, greeting.clone()),
                    None => self.begin(slot),
                }
            }
            Completion::Received { slot, lease }
                if self.greeting.is_some() && self.awaited[slot.index()] == 0 =>
            {
                if !lease.starts_with(b"HTTP/1.1 101 ") || !lease.ends_with(b"\r\n\r\n") {
                    return Err("the peer did not agree to speak WebSocket".to_owned());
                }
                self.begin(slot);
            }
            Completion::Received { slot, lease } => {
                let awaited = &mut self.awaited[slot.index()];
                *awaited = awaited
                    .checked_sub(lease.len())
                    .ok_or("the peer sent more than it was sent: is it an echo?")?;
                if *awaited == 0 {
                    self.messages += 1;
                    self.ready.push(slot);
                }
            }
            Completion::Ended { result, .. } => {
                return Err(format!("the peer closed a connection: {result:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, slot: Slot) {
        self.connected += 1;
        self.ready.push(slot);
    }

    /// One batch of requests, as many as fit.
    fn send_requests(&mut self) -> Result<(), String> {
        while !self.batch.is_full() && self.batch.arena().len() >= self.request.len() {
            let Some(slot) = self.ready.pop() else { break };
            self.batch.arena()[..self.request.len()].copy_from_slice(&self.request);
            self.batch.push(slot, self.request.len());
            self.awaited[slot.index()] = self.reply_bytes;
        }
        self.driver.batch(&mut self.batch);
        let failures = self.batch.take_failures();
        self.batch.clear();
        match failures.first() {
            // One request fits every socket's buffer: a full one is not to be expected.
            Some(failure) => Err(format!("a request was not taken whole: {:?}", failure.error)),
            None => Ok(()),
        }
    }
}

/// A binary frame of `bytes` in all, masked (RFC 6455 section 5.2).
fn frame(bytes: usize) -> Vec<u8> {
    let payload_bytes = u8::try_from(bytes - 2 - MASK_KEY_BYTES).expect("checked with the flags");
    let mut frame = vec![0x82, 0x80 | payload_bytes, 1, 2, 3, 4];
    frame.resize(bytes, b'.');
    frame
}

/// The figures under the names that `loadgen` gives them.
fn report(flags: &Flags, outcome: &Outcome) -> String {
    let per_message = |cpu_ns: Option<u64>| {
        cpu_ns
            .and_then(|ns| ns.checked_div(outcome.messages))
            .map_or_else(|| "null".to_owned(), |ns| ns.to_string())
    };
    format!(
        "{{\"transport\":\"tcp\",\"mode\":\"echo\",\"connections\":{},\"request_bytes\":{},\
         \"messages_received\":{},\"duration_ns\":{},\
         \"server\":{{\"cpu_ns_per_message\":{}}},\"loadgen\":{{\"cpu_ns_per_message\":{}}}}}",
        flags.connections,
        flags.size,
        outcome.messages,
        outcome.duration_ns,
        per_message(outcome.server_cpu_ns),
        per_message(outcome.load_cpu_ns),
    )
}
