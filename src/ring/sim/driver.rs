//! The driver that a worker under test is given.
//!
//! Not here: what the kernel makes of the calls (`kernel.rs`). Invariant: a call that a real kernel
//! would punish silently (bytes out of order, buffers lost) panics with its reason.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::address::Address;
use crate::batch::Batch;
use crate::doorbell::Doorbell;
use crate::driver::{Accepting, Completion, Driver, Errno, Figures, Shutdown};
use crate::slot::Slot;

use super::DriverOptions;
use super::kernel::{Kernel, KernelId, Tenant};
use super::lender::Lender;
use super::random::Random;
use super::world::{ListenerId, World};

/// What a [`SimDriver`] listens on; made by [`crate::sim::Sim::listener`].
#[derive(Debug)]
pub struct SimListener {
    pub(super) id: ListenerId,
    pub(super) address: Address,
}

impl SimListener {
    /// The address that clients connect to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// A [`Driver`] in memory. Its turns never block: time passes between them.
pub struct SimDriver {
    world: Rc<RefCell<World>>,
    id: KernelId,
    lender: Lender,
    entropy: Random,
    now_ns: u64,
}

impl SimDriver {
    pub(super) fn new(world: &Rc<RefCell<World>>, options: DriverOptions) -> Self {
        let lender = Lender::new(options.receive_buffers.0, options.receive_buffers.1);
        let inner = &mut *world.borrow_mut();
        let entropy = Random::new(inner.random.word());
        inner.kernels.push(Kernel::new(options));
        let id = inner.kernels.len() - 1;
        Self { world: Rc::clone(world), id, lender, entropy, now_ns: inner.now_ns }
    }

    /// Connections whose [`Completion::Closed`] was not handed out yet.
    #[must_use]
    pub fn slots_live(&self) -> usize {
        self.world.borrow().kernels[self.id].live_count()
    }

    /// The deadline of the last turn: until when the worker would have slept.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        self.world.borrow().kernels[self.id].deadline_ns
    }

    fn with<T>(&self, act: impl FnOnce(&mut World, KernelId) -> T) -> T {
        act(&mut self.world.borrow_mut(), self.id)
    }
}

impl Driver for SimDriver {
    type Listener = SimListener;

    fn listen(&mut self, listener: SimListener) -> Result<(), Errno> {
        self.with(|world, id| {
            let kernel = &mut world.kernels[id];
            assert!(kernel.accepting != Accepting::Ended, "listen: accepting has ended");
            assert!(kernel.live_count() == 0, "listen: there are connections already");
            kernel.listeners.push(listener.id);
            world.listeners[listener.id].joined = kernel.accepting == Accepting::On;
            Ok(())
        })
    }

    fn accept(&mut self, accepting: Accepting) {
        self.with(|world, id| {
            let kernel = &mut world.kernels[id];
            assert!(!kernel.listeners.is_empty(), "accept: there is no listener");
            let ended = kernel.accepting == Accepting::Ended;
            assert!(!ended || accepting == Accepting::Ended, "accept: Ended is final");
            if kernel.accepting == accepting {
                return;
            }
            kernel.accepting = accepting;
            for &listener in &world.kernels[id].listeners {
                world.listeners[listener].joined = accepting == Accepting::On;
            }
            world.log.note(world.now_ns, "accepting", id as u64, accepting as u64);
        });
    }

    fn connect(&mut self, address: &Address, source: Option<IpAddr>) -> Result<Slot, Errno> {
        self.with(|world, id| {
            let is_v4 = address.tcp().map(|address| address.is_ipv4());
            if source.is_some_and(|source| is_v4 != Some(source.is_ipv4())) {
                return Err(Errno(libc::EAFNOSUPPORT));
            }
            if !world.kernels[id].has_room() {
                return Err(Errno(libc::ENFILE));
            }
            let source = source.map(|source| SocketAddr::new(source, 0));
            let socket = world.connect(address.clone(), source);
            Ok(world.kernels[id].settle_in(Tenant::new(socket, true)))
        })
    }

    fn receive(&mut self, slot: Slot, on: bool) {
        self.with(|world, id| {
            let stragglers = world.options.faults.stragglers;
            let straggling = !on && world.fault(stragglers);
            let rearms = world.options.faults.rearms;
            let late = if on && world.fault(rearms) { world.delay_ns() } else { 0 };
            let now_ns = world.now_ns;
            if let Some(tenant) = world.kernels[id].find(slot)
                && tenant.receiving != on
            {
                tenant.straggling = straggling;
                if on {
                    tenant.receive_at_ns = tenant.receive_at_ns.max(now_ns + late);
                }
                tenant.receiving = on;
                world.log.note(now_ns, "receive", slot.to_bits(), u64::from(on));
            }
        });
    }

    fn send(&mut self, slot: Slot, bytes: Bytes) {
        self.with(|world, id| {
            let now_ns = world.now_ns;
            if let Some(tenant) = world.kernels[id].find(slot) {
                assert!(!tenant.connecting, "send: {slot:?} is not connected yet");
                assert!(tenant.sending.is_none(), "send: {slot:?} has a send pending already");
                assert!(!tenant.fin_wanted, "send: {slot:?} was shut down for writing before");
                world.log.note(now_ns, "send", slot.to_bits(), bytes.len() as u64);
                tenant.sending = Some(bytes);
                tenant.send_at_ns = now_ns;
            }
        });
    }

    fn batch(&mut self, batch: &mut Batch) {
        self.with(|world, id| {
            let mut slots = BTreeSet::new();
            for slot in batch.slots() {
                assert!(slots.insert(slot), "batch: two sends for {slot:?} in one batch");
            }
            let mut order: Vec<usize> = (0..batch.len()).collect();
            let reorders = world.options.faults.reorders;
            if world.fault(reorders) {
                world.random.shuffle(&mut order);
            }
            for index in order {
                let (slot, bytes) = batch.send(index);
                let len = bytes.len();
                let Some(sent) = world.send_now(id, slot, bytes) else { continue };
                world.kernels[id].figures.batch_sends += 1;
                let count = sent.unwrap_or(0);
                world.log.note(world.now_ns, "batch", slot.to_bits(), count as u64);
                if count < len || sent.is_err() {
                    world.kernels[id].figures.batch_failures += 1;
                    batch.fail(index, count, sent.err());
                }
            }
            world.kernels[id].figures.enters += 1;
            let overflows = world.options.faults.queue_overflows;
            if world.fault(overflows) {
                // The failures filled the queue: everything else completes later.
                let quiet_until_ns = world.now_ns + world.delay_ns() / 16;
                world.kernels[id].figures.queue_overflows += 1;
                world.kernels[id].quiet_until_ns = quiet_until_ns;
            }
        });
    }

    fn shutdown(&mut self, slot: Slot, how: Shutdown) {
        self.with(|world, id| {
            let Some(tenant) = world.kernels[id].find(slot) else { return };
            if tenant.connecting {
                return;
            }
            let socket = tenant.socket;
            tenant.fin_wanted = true;
            let waits = tenant.sending.is_some();
            if how == Shutdown::Both {
                world.socket(socket).shut_read();
                world.shut_write(socket);
            } else if !waits {
                world.shut_write(socket);
            }
        });
    }

    fn close(&mut self, slot: Slot) {
        self.with(|world, id| world.close_slot(id, slot));
    }

    fn wake(&mut self, worker: usize) {
        self.with(|world, id| {
            let process = world.kernels[id].options.process;
            let found = world.kernels.iter().find(|kernel| {
                kernel.options.process == process && kernel.options.worker == worker && !kernel.gone
            });
            if let Some(kernel) = found {
                kernel.bell.store(true, Ordering::SeqCst);
                world.log.note(world.now_ns, "wake", id as u64, worker as u64);
            }
        });
    }

    fn doorbell(&self) -> Doorbell {
        self.with(|world, id| Doorbell::flag(Arc::clone(&world.kernels[id].bell)))
    }

    fn turn(&mut self, deadline_ns: u64, completions: &mut Vec<Completion>) -> Result<(), Errno> {
        self.lender.reclaim();
        let world = &mut *self.world.borrow_mut();
        world.turn(self.id, deadline_ns, &mut self.lender, completions);
        self.lender.seal();
        self.now_ns = world.now_ns;
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn clock_ns(&self) -> u64 {
        self.world.borrow().now_ns
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.entropy.fill(bytes);
    }

    fn figures(&self) -> Figures {
        self.world.borrow().kernels[self.id].figures
    }
}

impl Drop for SimDriver {
    /// The process is gone: its sockets and its listeners close as the kernel closes them.
    fn drop(&mut self) {
        // A panic may have left the world in use; then nobody asks any more.
        let Ok(mut world) = self.world.try_borrow_mut() else { return };
        world.kernels[self.id].gone = true;
        for socket in world.kernels[self.id].sockets() {
            world.close(socket, false);
        }
        for listener in world.kernels[self.id].listeners.clone() {
            if !world.listeners[listener].closed {
                world.unbind(listener);
            }
        }
    }
}

impl fmt::Debug for SimDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDriver({})", self.id)
    }
}
