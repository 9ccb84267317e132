//! Running out of descriptors: *epoll* backs off and recovers; *uring* does not need them.
//!
//! One test, because the limit belongs to the whole process.
#![expect(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "the whole file is a test"
)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwire_ring::epoll::Epoll;
use ringwire_ring::uring::Uring;
use ringwire_ring::{
    Accepting, Bells, Completion, Driver, EngineOptions, Features, ListenOptions, Listener,
    Permits, Role, bind, descriptors_max, probe,
};

const LIMIT: Duration = Duration::from_secs(20);

fn options(features: Features) -> EngineOptions {
    EngineOptions {
        worker: 0,
        bells: Arc::new(Bells::new(1).unwrap()),
        slots_max: 300,
        permits: Arc::new(Permits::new(300)),
        receive_buffers: None,
        features,
        role: Role::Accepts,
        peers: false,
    }
}

fn limit_descriptors(count: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = count;
    // SAFETY: `limit` outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

fn descriptors_open() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64
}

fn accept_until<D: Driver>(
    driver: &mut D,
    accepted: &mut usize,
    is_reached: impl Fn(usize) -> bool,
) {
    let started = Instant::now();
    let mut completions = Vec::new();
    while !is_reached(*accepted) {
        let deadline_ns = driver.clock_ns() + 10_000_000;
        driver.turn(deadline_ns, &mut completions).unwrap();
        let news = completions.drain(..);
        *accepted += news.filter(|news| matches!(news, Completion::Accepted { .. })).count();
        assert!(started.elapsed() < LIMIT, "{accepted} accepted, {:?}", driver.figures());
    }
}

fn listen<D: Driver<Listener = Listener>>(driver: &mut D) -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (address, mut listeners) = bind(any, 1, &ListenOptions::default()).unwrap();
    driver.listen(listeners.remove(0)).unwrap();
    driver.accept(Accepting::On);
    address
}

#[test]
fn running_out_of_descriptors_is_survived() {
    epoll_backs_off_and_recovers();
    uring_accepts_beyond_the_limit();
    uring_connects_beyond_the_limit();
}

fn epoll_backs_off_and_recovers() {
    const CLIENTS: usize = 40;
    let mut driver = Epoll::new(options(Features::default())).unwrap();
    let address = listen(&mut driver);
    let _clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
    limit_descriptors(descriptors_open() + 10);
    let mut accepted = 0;
    let mut turns = 0;
    let mut completions = Vec::new();
    while driver.figures().accept_backoffs < 4 {
        // No deadline: an engine that never tried again would hang here, and one that did not
        // wait would need few turns for this, but many below.
        driver.turn(u64::MAX, &mut completions).unwrap();
        accepted += completions.drain(..).count();
        turns += 1;
    }
    assert!((1..CLIENTS).contains(&accepted), "{accepted} accepted");
    assert!(turns < 50, "{turns} turns for four attempts");
    let _ = descriptors_max();
    accept_until(&mut driver, &mut accepted, |accepted| accepted == CLIENTS);
}

fn uring_accepts_beyond_the_limit() {
    const CLIENTS: usize = 100;
    let mut driver = Uring::new(options(probe().unwrap())).unwrap();
    let address = listen(&mut driver);
    let clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let before = descriptors_open();
    limit_descriptors(32);
    let mut accepted = 0;
    accept_until(&mut driver, &mut accepted, |accepted| accepted == CLIENTS);
    assert_eq!(driver.figures().accept_backoffs, 0);
    let _ = descriptors_max();
    assert_eq!(descriptors_open(), before);
    drop(clients);
}

fn uring_connects_beyond_the_limit() {
    const CONNECTIONS: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut driver =
        Uring::new(EngineOptions { role: Role::Connects, ..options(probe().unwrap()) }).unwrap();
    let before = descriptors_open();
    // Room for one at a time: what a connect needs while it is being made.
    limit_descriptors(before + 4);
    let mut connected = 0;
    let mut completions = Vec::new();
    for round in 0..CONNECTIONS {
        driver.connect(&address.into(), None).unwrap();
        while connected <= round {
            driver.turn(u64::MAX, &mut completions).unwrap();
            for completion in completions.drain(..) {
                let Completion::Connected { result, .. } = completion else { continue };
                result.unwrap();
                connected += 1;
            }
        }
        drop(listener.accept().unwrap());
    }
    let _ = descriptors_max();
    assert_eq!(descriptors_open(), before);
}
