//! A raw TCP echo on the ring layer: what the server's cost per message is measured against.
//!
//! The same loop as the server's worker, without any protocol: take a turn, answer what arrived
//! with one batch, close who ended.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use clap::{Parser, ValueEnum};
use ringwire_ring::epoll::Epoll;
use ringwire_ring::uring::Uring;
use ringwire_ring::{
    Accepting, Batch, Bells, Completion, Driver, EngineOptions, Features, ListenOptions, Listener,
    Permits, Role, Slot, bind, descriptors_max, pin, probe,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections at most; fewer where the process may have fewer descriptors.
const CONNECTIONS_MAX: u32 = 19_000;

/// Descriptors that are not connections.
const DESCRIPTORS_OTHER: u64 = 100;

/// Bytes kept for one peer that does not read; beyond that its connection is closed.
const LEFT_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Uring,
    Epoll,
}

/// Sends back whatever arrives.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 is any that is free.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How to talk to the kernel.
    #[arg(long, value_enum, default_value = "uring")]
    engine: Engine,
    /// The processor to run on.
    #[arg(long)]
    cpu: Option<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some(cpu) = arguments.cpu
        && !pin(cpu)
    {
        return Err(format!("cannot run on processor {cpu}; see --cpu").into());
    }
    let room = descriptors_max().saturating_sub(DESCRIPTORS_OTHER);
    let slots_max = u32::try_from(room).unwrap_or(u32::MAX).clamp(1, CONNECTIONS_MAX);
    let options = |features| -> Result<EngineOptions, Box<dyn Error>> {
        Ok(EngineOptions {
            worker: 0,
            bells: Arc::new(Bells::new(1)?),
            slots_max,
            permits: Arc::new(Permits::new(slots_max)),
            receive_buffers: None,
            features,
            role: Role::Accepts,
            peers: false,
        })
    };
    let (address, mut listeners) = bind(arguments.listen, 1, &ListenOptions::default())?;
    let listener = listeners.remove(0);
    match arguments.engine {
        Engine::Uring => {
            let driver = Uring::new(options(probe()?)?)?;
            serve(driver, listener, address, slots_max)
        }
        Engine::Epoll => {
            let driver = Epoll::new(options(Features::default())?)?;
            serve(driver, listener, address, slots_max)
        }
    }
}

fn serve(
    mut driver: impl Driver<Listener = Listener>,
    listener: Listener,
    address: SocketAddr,
    slots_max: u32,
) -> Result<(), Box<dyn Error>> {
    driver.listen(listener).map_err(std::io::Error::from)?;
    driver.accept(Accepting::On);
    println!("listening on {address}");
    let batched = vec![0; slots_max as usize];
    let mut echo = Echo { driver, batch: Batch::new(), number: 1, batched, left: HashMap::new() };
    let mut completions = Vec::new();
    loop {
        echo.driver.turn(u64::MAX, &mut completions).map_err(std::io::Error::from)?;
        for completion in completions.drain(..) {
            echo.handle(completion);
        }
        echo.send();
    }
}

/// The echo's state: nothing per connection unless its peer does not read.
struct Echo<D: Driver> {
    driver: D,
    batch: Batch,
    /// The number of this batch, and for each slot that of the last it was in.
    number: u64,
    batched: Vec<u64>,
    /// What waits behind a connection's waiting send.
    left: HashMap<Slot, BytesMut>,
}

impl<D: Driver> Echo<D> {
    fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { slot, .. } => self.driver.receive(slot, true),
            Completion::Received { slot, lease } => self.answer(slot, &lease),
            Completion::Ended { slot, .. } => {
                self.send();
                self.close(slot);
            }
            Completion::Sent { slot, result: Ok(()) } => self.send_rest(slot),
            Completion::Sent { slot, result: Err(_) } => self.close(slot),
            _ => {}
        }
    }

    fn answer(&mut self, slot: Slot, bytes: &[u8]) {
        if !self.left.is_empty() && self.left.contains_key(&slot) {
            return self.keep(slot, bytes);
        }
        // A batch has one send per connection; another piece joins it only at the batch's end.
        let is_in = self.batched[slot.index()] == self.number && !self.batch.ends_with(slot);
        if is_in || self.batch.is_full() || self.batch.arena().len() < bytes.len() {
            self.send();
            if self.left.contains_key(&slot) {
                return self.keep(slot, bytes);
            }
        }
        self.batch.arena()[..bytes.len()].copy_from_slice(bytes);
        self.batch.push(slot, bytes.len());
        self.batched[slot.index()] = self.number;
    }

    /// Keeps what must wait; a peer that never reads is let go.
    fn keep(&mut self, slot: Slot, bytes: &[u8]) {
        let left = self.left.entry(slot).or_default();
        left.extend_from_slice(bytes);
        if left.len() > LEFT_BYTES_MAX {
            self.close(slot);
        }
    }

    fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.driver.batch(&mut self.batch);
        let failures = self.batch.take_failures();
        for failure in &failures {
            if failure.error.is_some() {
                self.close(failure.slot);
            } else if let Some(left) = self.left.get_mut(&failure.slot) {
                left.extend_from_slice(&failure.unsent);
            } else {
                self.driver.send(failure.slot, failure.unsent.clone());
                self.left.insert(failure.slot, BytesMut::new());
            }
        }
        self.batch.clear();
        self.number += 1;
        self.batch.reuse_failures(failures);
    }

    fn send_rest(&mut self, slot: Slot) {
        let Some(left) = self.left.get_mut(&slot) else { return };
        let rest: Bytes = std::mem::take(left).freeze();
        if rest.is_empty() {
            self.left.remove(&slot);
        } else {
            self.driver.send(slot, rest);
        }
    }

    fn close(&mut self, slot: Slot) {
        self.left.remove(&slot);
        self.driver.close(slot);
    }
}
