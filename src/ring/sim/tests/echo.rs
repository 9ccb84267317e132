//! Two drivers exchange bytes over many connections under every fault.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use crate::sim::{DriverOptions, Faults, Random, Sim, SimDriver, SimOptions, each_seed};
use crate::{Accepting, Batch, Completion, Driver, Errno, Figures, Shutdown, Slot};

const CONNECTIONS: u32 = 100;

/// One connection of either side: what is to be sent, what came.
#[derive(Default)]
struct Link {
    name: u64,
    expected_bytes: usize,
    unsent: BytesMut,
    sending: bool,
    received: Vec<u8>,
    received_all: bool,
    ended: Option<Result<(), Errno>>,
    closed: bool,
}

/// A worker that sends by batch when it can and by a waiting send when it must.
struct Party {
    driver: SimDriver,
    batch: Batch,
    links: BTreeMap<Slot, Link>,
    echoes: bool,
    finished: Vec<Link>,
}

impl Party {
    fn new(driver: SimDriver, echoes: bool) -> Self {
        let (links, finished) = (BTreeMap::new(), Vec::new());
        Self { driver, batch: Batch::new(), links, echoes, finished }
    }

    fn turn(&mut self) {
        let mut completions = Vec::new();
        self.driver.turn(u64::MAX, &mut completions).unwrap();
        for completion in completions {
            self.handle(completion);
        }
        self.send();
        self.settle();
    }

    fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { slot, .. } => {
                self.driver.receive(slot, true);
                assert!(self.links.insert(slot, Link::default()).is_none(), "a slot let twice");
            }
            Completion::Connected { slot, result } => {
                let link = self.links.get_mut(&slot).unwrap();
                assert_eq!(result, Ok(()));
                link.unsent.extend_from_slice(&message(link.name));
                self.driver.receive(slot, true);
            }
            Completion::Received { slot, lease } => {
                let link = self.links.get_mut(&slot).unwrap();
                assert!(!lease.is_empty() && !link.received_all && !link.closed);
                link.received.extend_from_slice(&lease);
                if self.echoes {
                    link.unsent.extend_from_slice(&lease);
                }
            }
            Completion::Ended { slot, result } => {
                let link = self.links.get_mut(&slot).unwrap();
                assert!(!link.closed && !std::mem::replace(&mut link.received_all, true));
                link.ended = link.ended.or(Some(result));
            }
            Completion::Sent { slot, result } => {
                let link = self.links.get_mut(&slot).unwrap();
                assert!(link.sending && !link.closed);
                link.sending = false;
                link.ended = result.err().map(Err).or(link.ended);
            }
            Completion::Closed { slot } => {
                let link = self.links.remove(&slot).unwrap();
                assert!(link.closed);
                self.finished.push(link);
            }
            Completion::Woken | Completion::AcceptEnded => {}
        }
    }

    fn send(&mut self) {
        self.batch.clear();
        for (&slot, link) in &mut self.links {
            if !link.unsent.is_empty() && !link.sending && !link.closed {
                let shared = self.batch.share(link.unsent.split().freeze());
                self.batch.push_shared(slot, shared);
            }
        }
        self.driver.batch(&mut self.batch);
        for failure in self.batch.take_failures() {
            let link = self.links.get_mut(&failure.slot).unwrap();
            match failure.error {
                Some(errno) => link.ended = Some(Err(errno)),
                None => {
                    link.sending = true;
                    self.driver.send(failure.slot, failure.unsent);
                }
            }
        }
    }

    fn settle(&mut self) {
        for (&slot, link) in &mut self.links {
            if link.closed {
                continue;
            }
            let failed = matches!(link.ended, Some(Err(_)));
            let drained = link.unsent.is_empty() && !link.sending;
            let got_all = !self.echoes && link.received.len() == link.expected_bytes;
            if failed || link.ended.is_some() && drained {
                self.driver.close(slot);
                link.closed = true;
            } else if got_all && drained {
                self.driver.shutdown(slot, Shutdown::Write);
            }
        }
    }
}

fn message(name: u64) -> Vec<u8> {
    let mut random = Random::new(name);
    let mut bytes = vec![0; 1 + random.index(3000)];
    random.fill(&mut bytes);
    bytes
}

/// Client and server over many connections: the run's hash, the server's figures, and what the
/// client saw.
fn exchange(seed: u64, faults: Faults) -> (u64, Figures, Vec<Link>) {
    let sim = Sim::new(seed, SimOptions { faults, ..SimOptions::default() });
    let options = |process| DriverOptions { process, slots_max: 120, ..DriverOptions::default() };
    let mut server = Party::new(sim.driver(options(0)), true);
    let mut client = Party::new(sim.driver(options(1)), false);
    let listener = sim.listener("10.0.0.1:80".parse::<SocketAddr>().unwrap());
    let address = listener.address().clone();
    server.driver.listen(listener).unwrap();
    server.driver.accept(Accepting::On);
    for name in 0..u64::from(CONNECTIONS) {
        let slot = client.driver.connect(&address, None).unwrap();
        let expected_bytes = message(name).len();
        client.links.insert(slot, Link { name, expected_bytes, ..Link::default() });
    }
    let (server, client) = (RefCell::new(server), RefCell::new(client));
    let done = || {
        let finished = client.borrow().finished.len() + server.borrow().finished.len();
        finished == 2 * CONNECTIONS as usize
    };
    let mut steps: [&mut dyn FnMut(); 2] =
        [&mut || server.borrow_mut().turn(), &mut || client.borrow_mut().turn()];
    // A server that never got a byte of a connection may still wait for it: end the faults late.
    let _ = sim.try_run_until(done, &mut steps, 3_000);
    sim.heal();
    sim.run_until(done, &mut steps, 200_000);
    assert_eq!(sim.slots_live(), 0, "a slot leaked");
    let hash = sim.hash();
    let figures = server.borrow().driver.figures();
    (hash, figures, client.into_inner().finished)
}

#[test]
fn every_byte_comes_back_in_order_under_all_faults_but_resets() {
    each_seed(10, |seed| {
        let (_, figures, links) = exchange(seed, Faults::lossless());
        let counts = [
            figures.buffers_exhausted,
            figures.queue_overflows,
            figures.rearms,
            figures.batch_failures,
            figures.accept_backoffs,
        ];
        assert!(!counts.contains(&0), "a fault that never came: {figures:?}");
        for link in links {
            assert_eq!(link.received, message(link.name), "of connection {}", link.name);
            assert_eq!(link.ended, Some(Ok(())));
        }
    });
}

#[test]
fn under_resets_what_comes_back_is_a_prefix_and_no_slot_leaks() {
    let mut failed = 0;
    each_seed(10, |seed| {
        for link in exchange(seed, Faults::all()).2 {
            let message = message(link.name);
            assert!(message.starts_with(&link.received), "of connection {}", link.name);
            match link.ended {
                Some(Ok(())) => assert_eq!(link.received, message),
                _ => failed += 1,
            }
        }
    });
    assert!(failed > 0, "no connection met a reset");
}

#[test]
fn one_seed_is_one_run_and_another_seed_is_another() {
    let hashes: Vec<u64> = (0..3).map(|seed| exchange(seed, Faults::all()).0).collect();
    for (seed, &hash) in hashes.iter().enumerate() {
        assert_eq!(exchange(seed as u64, Faults::all()).0, hash);
    }
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

#[test]
fn without_faults_everything_goes_whole() {
    let (_, figures, links) = exchange(1, Faults::none());
    assert_eq!((figures.buffers_exhausted, figures.queue_overflows, figures.rearms), (0, 0, 0));
    assert!(links.iter().all(|link| link.received == message(link.name)));
}

#[test]
fn a_waiting_send_takes_any_size_as_the_reader_makes_room() {
    each_seed(10, |seed| {
        let options = SimOptions { faults: Faults::lossless(), ..SimOptions::default() };
        let sim = Sim::new(seed, SimOptions { socket_bytes: 1000, ..options });
        let mut driver = sim.driver(DriverOptions::default());
        let listener = sim.listener("10.0.0.1:80".parse::<SocketAddr>().unwrap());
        let peer = sim.connect(listener.address().clone());
        driver.listen(listener).unwrap();
        driver.accept(Accepting::On);
        let message = Bytes::from((0..20_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        let sent = std::cell::Cell::new(false);
        let mut worker = || {
            let mut completions = Vec::new();
            driver.turn(u64::MAX, &mut completions).unwrap();
            for completion in completions {
                match completion {
                    Completion::Accepted { slot, .. } => {
                        driver.send(slot, message.clone());
                        // FIN goes after the bytes, however long they take.
                        driver.shutdown(slot, Shutdown::Write);
                    }
                    Completion::Sent { result, .. } => sent.set(result.is_ok()),
                    _ => {}
                }
            }
        };
        peer.stop_reading();
        assert!(sim.try_run_until(|| sent.get(), &mut [&mut worker], 3_000).is_err());
        peer.start_reading();
        sim.run_until(|| peer.is_ended(), &mut [&mut worker], 100_000);
        assert!(sent.get());
        assert_eq!(peer.take_received(), message);
    });
}
