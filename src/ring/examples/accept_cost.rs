//! What learning the peer's address costs per accepted client, in processor time of the accepting
//! thread: `cargo run --release -p ringwire-ring --example accept_cost [ROUNDS]`.
//!
//! Not here: the engine; this is the bare ring, so that the ways can be told apart. The ways take
//! turns, forwards and backwards, and the median of the rounds is printed. Two patterns: a queue
//! of clients that is already there, and clients that come one at a time to a thread that sleeps.

use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use io_uring::types::{DestinationSlot, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use ringwire_ring::ThreadClock;

const CLIENTS: u32 = 256;

/// The size of a `sockaddr_in`.
const ADDRESS_BYTES: libc::socklen_t = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One multishot accept: no addresses.
    Multishot,
    /// The same; then a descriptor of the process for each, `getpeername`, `close`.
    Installed,
    /// Single accepts without addresses, as many as there are clients.
    Singles,
    /// Single accepts, each with room for an address.
    SinglesWithAddress,
}

const WAYS: [Way; 4] = [Way::Multishot, Way::Installed, Way::Singles, Way::SinglesWithAddress];

struct Server {
    ring: IoUring,
    listener: TcpListener,
    rooms: Box<[Room]>,
    /// Single accepts under way.
    armed: u32,
    addresses: u32,
}

/// Where the kernel writes an address.
#[derive(Clone, Copy)]
struct Room {
    address: libc::sockaddr_in,
    len: libc::socklen_t,
}

impl Server {
    fn new() -> Self {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(4096)
            .build(1024)
            .expect("io_uring works here");
        ring.submitter().register_files_sparse(2 * CLIENTS).expect("a table");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        // SAFETY: takes no pointers.
        let listening = unsafe { libc::listen(listener.as_raw_fd(), 1024) };
        assert_eq!(listening, 0);
        // SAFETY: plain integers, for which all-zero is a value.
        let room: Room = unsafe { mem::zeroed() };
        let rooms = vec![room; CLIENTS as usize].into_boxed_slice();
        Self { ring, listener, rooms, armed: 0, addresses: 0 }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what the operations point at is in `rooms`, which outlives the ring's use.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().expect("the ring takes it");
        }
    }

    fn next(&mut self) -> cqueue::Entry {
        loop {
            if let Some(done) = self.ring.completion().next() {
                return done;
            }
            self.ring.submit_and_wait(1).expect("the ring works");
        }
    }

    fn arm(&mut self, way: Way, count: u32) {
        let fd = Fd(self.listener.as_raw_fd());
        if matches!(way, Way::Multishot | Way::Installed) {
            if self.armed == 0 {
                let entry = opcode::AcceptMulti::new(fd).allocate_file_index(true).build();
                self.push(&entry.user_data(u64::MAX));
                self.armed = 1;
            }
            return;
        }
        for index in 0..count {
            self.arm_single(way, u64::from(index));
        }
    }

    fn arm_single(&mut self, way: Way, index: u64) {
        let fd = Fd(self.listener.as_raw_fd());
        let (address, len) = if way == Way::SinglesWithAddress {
            let room = &mut self.rooms[usize::try_from(index).expect("few")];
            room.len = ADDRESS_BYTES;
            ((&raw mut room.address).cast(), &raw mut room.len)
        } else {
            (std::ptr::null_mut(), std::ptr::null_mut())
        };
        let entry = opcode::Accept::new(fd, address, len)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        self.armed += 1;
        self.push(&entry.user_data(index));
    }

    /// Takes one client; says its place in the table.
    fn take(&mut self, way: Way, rearms: bool) -> u32 {
        let done = self.next();
        let slot = u32::try_from(done.result()).expect("accepted");
        match way {
            Way::Multishot => {}
            Way::Installed => self.install(slot),
            Way::Singles | Way::SinglesWithAddress => {
                self.armed -= 1;
                if way == Way::SinglesWithAddress {
                    let room = &self.rooms[usize::try_from(done.user_data()).expect("few")];
                    self.addresses += u32::from(room.address.sin_port != 0);
                }
                if rearms {
                    self.arm_single(way, done.user_data());
                }
            }
        }
        slot
    }

    fn install(&mut self, slot: u32) {
        let entry = opcode::FixedFdInstall::new(Fixed(slot), 0).build();
        self.push(&entry.user_data(u64::MAX - 1));
        let fd: RawFd = loop {
            self.ring.submit().expect("the ring takes it");
            // Other clients may be reported in between; here all of them are known beforehand.
            if let Some(done) = self.ring.completion().next() {
                break done.result();
            }
        };
        // SAFETY: the operation just made this descriptor.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: plain integers, for which all-zero is a value.
        let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
        let mut len = ADDRESS_BYTES;
        let pointer: *mut libc::sockaddr_in = &raw mut address;
        // SAFETY: pointer and length describe `address`, which outlives the call.
        let result = unsafe { libc::getpeername(socket.as_raw_fd(), pointer.cast(), &raw mut len) };
        assert_eq!(result, 0);
        self.addresses += u32::from(address.sin_port != 0);
    }

    fn close(&mut self, slots: Vec<u32>) {
        for slot in &slots {
            self.push(&opcode::Close::new(Fixed(*slot)).build().user_data(7));
        }
        for _ in slots {
            assert_eq!(self.next().result(), 0);
        }
    }
}

fn clients(address: SocketAddr) -> Vec<TcpStream> {
    (0..CLIENTS).map(|_| TcpStream::connect(address).expect("a queue with room")).collect()
}

/// Nanoseconds per client of a queue that is already there.
fn queued(way: Way) -> u64 {
    let mut server = Server::new();
    let address = server.listener.local_addr().expect("bound");
    let streams = clients(address);
    let clock = ThreadClock::current();
    let begun_ns = clock.cpu_ns().expect("this thread's clock");
    server.arm(way, CLIENTS);
    // The multishot's own completions first, then what is done with each: no reports in between.
    let accepts = if way == Way::Installed { Way::Multishot } else { way };
    let slots: Vec<u32> = (0..CLIENTS).map(|_| server.take(accepts, false)).collect();
    if way == Way::Installed {
        slots.iter().for_each(|slot| server.install(*slot));
    }
    let spent_ns = clock.cpu_ns().expect("this thread's clock") - begun_ns;
    finish(server, way, slots, streams);
    spent_ns / u64::from(CLIENTS)
}

/// Nanoseconds per client when each comes to a thread that sleeps.
fn single_file(way: Way) -> u64 {
    let mut server = Server::new();
    let address = server.listener.local_addr().expect("bound");
    server.arm(way, 64);
    server.ring.submit().expect("the ring takes it");
    let (said, asked) = std::sync::mpsc::channel();
    let comer = std::thread::spawn(move || {
        let mut streams = Vec::new();
        while asked.recv().is_ok() {
            streams.push(TcpStream::connect(address).expect("a queue with room"));
        }
        streams
    });
    let clock = ThreadClock::current();
    let (mut spent_ns, mut slots) = (0, Vec::new());
    for _ in 0..CLIENTS {
        said.send(()).expect("somebody connects");
        let begun_ns = clock.cpu_ns().expect("this thread's clock");
        slots.push(server.take(way, true));
        spent_ns += clock.cpu_ns().expect("this thread's clock") - begun_ns;
    }
    drop(said);
    let streams = comer.join().expect("the clients connect");
    finish(server, way, slots, streams);
    spent_ns / u64::from(CLIENTS)
}

fn finish(mut server: Server, way: Way, slots: Vec<u32>, streams: Vec<TcpStream>) {
    let knows = matches!(way, Way::Installed | Way::SinglesWithAddress);
    assert_eq!(server.addresses, if knows { CLIENTS } else { 0 });
    drop(streams);
    server.close(slots);
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(15, |text| text.parse().expect("a number"));
    for (name, pattern) in [("queued", queued as fn(Way) -> u64), ("one at a time", single_file)] {
        let mut spent: Vec<(Way, Vec<u64>)> = WAYS.map(|way| (way, Vec::new())).into();
        for round in 0..2 * rounds {
            let mut order: Vec<usize> = (0..WAYS.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let (way, values) = &mut spent[index];
                values.push(pattern(*way));
            }
        }
        for (way, values) in spent {
            let (least, most) = (values.iter().min().copied(), values.iter().max().copied());
            println!(
                "{name}: {way:?}: {} ns per accept (least {:?}, most {:?})",
                median(values),
                least.unwrap_or(0),
                most.unwrap_or(0)
            );
        }
    }
}
