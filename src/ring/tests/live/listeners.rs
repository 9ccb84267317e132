//! Several listeners of one engine, ports and files.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ringwire_ring::{
    Accepting, Address, Bells, Features, ListenOptions, Listener, Permits, RefusalKind, bind,
    bind_unix,
};

use crate::harness::{Engine, LIMIT, Options, Seen, Worker, client, listeners};

crate::on_both_engines!(
    each_client_is_told_by_its_listener,
    scarce_room_is_shared_by_the_listeners,
    whoever_waits_at_the_second_listener_is_not_forgotten,
    what_is_queued_at_any_listener_is_answered_before_they_close,
    a_full_worker_leaves_a_shared_queue_to_the_others,
    an_engine_connects_to_a_file,
    addresses_are_told_where_asked_for,
    an_address_of_ipv4_is_told_as_such_over_ipv6,
);

/// A path that no other test uses.
fn path() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("ring-{}-{number}.sock", std::process::id()))
}

fn file(path: &Path, workers: usize) -> Vec<Listener> {
    bind_unix(path, workers, &ListenOptions::default()).unwrap()
}

fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// An engine that accepts on two ports and a file.
fn of_three<E: Engine>(options: Options) -> (Worker<E>, [SocketAddr; 2], PathBuf) {
    let path = path();
    let mut worker = Worker::<E>::new(options);
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let (address, mut port) = listeners(1);
        assert_eq!(port[0].address(), &Address::from(address));
        worker.driver.listen(port.remove(0)).unwrap();
        addresses.push(address);
    }
    worker.driver.listen(file(&path, 1).remove(0)).unwrap();
    worker.driver.accept(Accepting::On);
    worker.echoes = true;
    (worker, [addresses[0], addresses[1]], path)
}

fn say(stream: &mut (impl Read + Write)) {
    stream.write_all(b"am I in?").unwrap();
}

fn hear(stream: &mut (impl Read + Write)) {
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"am I in?");
}

fn each_client_is_told_by_its_listener<E: Engine>(features: Features) {
    // With room for multishot accepts, and without.
    for slots_max in [256, 4096] {
        let options = Options { slots_max, ..Options::new(features) };
        let (mut worker, ports, path) = of_three::<E>(options);
        let (mut streams, mut files) = (Vec::new(), Vec::new());
        for round in 0..6 {
            streams.extend(ports.map(client));
            files.push(unix(&path));
            worker.until("three more", |worker| worker.accepted.len() == (round + 1) * 3);
            let mut came_to = worker.came_to.split_off(round * 3);
            came_to.sort_unstable();
            assert_eq!(came_to, [0, 1, 2]);
            worker.came_to.resize(worker.accepted.len(), 0);
        }
        streams.iter_mut().for_each(say);
        files.iter_mut().for_each(say);
        worker.serve("all answered", || {
            streams.iter_mut().for_each(hear);
            files.iter_mut().for_each(hear);
        });
    }
}

fn scarce_room_is_shared_by_the_listeners<E: Engine>(features: Features) {
    for (slots_max, permits) in [(2, 1000), (1000, 2)] {
        let permits = Arc::new(Permits::new(permits));
        let options = Options { slots_max, permits, ..Options::new(features) };
        let (mut worker, ports, path) = of_three::<E>(options);
        worker.closes = true;
        let mut streams: Vec<_> = (0..8).map(|count| client(ports[count % 2])).collect();
        let mut files: Vec<_> = (0..4).map(|_| unix(&path)).collect();
        for _ in 0..20 {
            worker.turn();
        }
        assert_eq!(worker.accepted.len(), 2, "more than there is room for");
        streams.iter_mut().for_each(say);
        files.iter_mut().for_each(say);
        // Whoever leaves lets another in; in the end everybody was in, wherever it came.
        worker.serve("all answered", || {
            std::thread::scope(|scope| {
                for mut stream in streams.drain(..) {
                    scope.spawn(move || hear(&mut stream));
                }
                for mut stream in files.drain(..) {
                    scope.spawn(move || hear(&mut stream));
                }
            });
        });
        worker.until("all closed", |worker| worker.closed.len() == 12);
    }
}

fn whoever_waits_at_the_second_listener_is_not_forgotten<E: Engine>(features: Features) {
    // Room for one at a time, and nobody ever comes to the first listener.
    for (slots_max, permits) in [(1, 1000), (1000, 1)] {
        let permits = Arc::new(Permits::new(permits));
        let options = Options { slots_max, permits, ..Options::new(features) };
        let (mut worker, ports, path) = of_three::<E>(options);
        worker.closes = true;
        for _ in 0..3 {
            let mut stream = client(ports[1]);
            say(&mut stream);
            worker.serve("an answer", move || hear(&mut stream));
            let mut stream = unix(&path);
            say(&mut stream);
            worker.serve("an answer", move || hear(&mut stream));
        }
    }
}

fn what_is_queued_at_any_listener_is_answered_before_they_close<E: Engine>(features: Features) {
    let (mut worker, ports, path) = of_three::<E>(Options::new(features));
    let first = client(ports[0]);
    worker.until("a client", |worker| worker.accepted.len() == 1);
    worker.driver.accept(Accepting::Paused);
    worker.turn();
    worker.turn();
    let mut streams: Vec<_> = (0..6).map(|count| client(ports[count % 2])).collect();
    let mut files: Vec<_> = (0..3).map(|_| unix(&path)).collect();
    for _ in 0..3 {
        worker.turn();
    }
    assert_eq!(worker.accepted.len(), 1, "accepted while paused");
    worker.driver.accept(Accepting::Ended);
    worker.until("the end", |worker| worker.accept_ended == 1);
    assert_eq!(worker.accepted.len(), 10, "a queue was not answered");
    streams.iter_mut().for_each(say);
    files.iter_mut().for_each(say);
    worker.serve("all answered", || {
        streams.iter_mut().for_each(hear);
        files.iter_mut().for_each(hear);
    });
    for address in ports {
        assert!(TcpStream::connect(address).is_err(), "somebody still listens on {address}");
    }
    assert!(UnixStream::connect(&path).is_err(), "somebody still listens on the file");
    assert!(!path.exists());
    worker.turn();
    worker.turn();
    assert_eq!(worker.accept_ended, 1);
    assert!(worker.driver.listen(listeners(1).1.remove(0)).is_err());
    drop(first);
}

fn a_full_worker_leaves_a_shared_queue_to_the_others<E: Engine>(features: Features) {
    let path = path();
    let bells = Arc::new(Bells::new(2).unwrap());
    let mut workers: Vec<Worker<E>> = Vec::new();
    for (number, listener) in file(&path, 2).into_iter().enumerate() {
        let slots_max = if number == 0 { 2 } else { 256 };
        let bells = Arc::clone(&bells);
        let options = Options { worker: number, bells, slots_max, ..Options::new(features) };
        let mut worker = Worker::<E>::new(options);
        worker.driver.listen(listener).unwrap();
        worker.driver.accept(Accepting::On);
        workers.push(worker);
    }
    let mut streams = Vec::new();
    for count in 0..60 {
        streams.push(unix(&path));
        // Whom the kernel gives to a full worker waits for ever, and this never ends.
        while workers.iter().map(|worker| worker.accepted.len()).sum::<usize>() < count + 1 {
            workers.iter_mut().for_each(Worker::turn);
        }
    }
    assert!((1..=2).contains(&workers[0].accepted.len()), "{}", workers[0].accepted.len());
}

fn an_engine_connects_to_a_file<E: Engine>(features: Features) {
    let path = path();
    let server = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut worker = Worker::<E>::new(Options::connecting(features));
    worker.echoes = true;
    let address = Address::from(path.clone());
    let slot = worker.driver.connect(&address, None).unwrap();
    worker.seen.insert(slot, Seen::default());
    worker.until("the connection", |worker| worker.seen[&slot].connected == Some(Ok(())));
    let (mut stream, _) = server.accept().unwrap();
    say(&mut stream);
    worker.serve("an answer", || hear(&mut stream));
    worker.close_and_wait(slot);
    let source = Some([127, 0, 0, 1].into());
    assert!(worker.driver.connect(&address, source).is_err(), "a file has no source address");
    std::fs::remove_file(&path).unwrap();
    // Nobody is there.
    match worker.driver.connect(&address, None) {
        Err(errno) => assert_eq!(errno.0, 2),
        Ok(slot) => {
            worker.seen.insert(slot, Seen::default());
            worker.until("the refusal", |worker| worker.seen[&slot].connected.is_some());
            assert_eq!(worker.seen[&slot].connected.unwrap().unwrap_err().0, 2);
        }
    }
}

#[test]
fn a_file_is_made_replaced_and_removed_with_care() {
    let path = path();
    let bind = || bind_unix(&path, 2, &ListenOptions::default());
    let listeners = bind().unwrap();
    let refusal = bind().unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::Address);
    assert!(refusal.to_string().contains("stop the server"), "{refusal}");
    drop(listeners);
    assert!(!path.exists(), "the file stayed");
    // Somebody else's file at the same place is not ours to remove.
    let listeners = bind().unwrap();
    std::fs::remove_file(&path).unwrap();
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(listeners);
    assert!(path.exists(), "another server's file was removed");
    drop(other);
    // Nobody listens on it any more.
    drop(bind().unwrap());
    let long = PathBuf::from(format!("/tmp/{}", "p".repeat(200)));
    let refusal = bind_unix(&long, 1, &ListenOptions::default()).unwrap_err();
    assert!(refusal.to_string().contains("107 bytes"), "{refusal}");
}

/// Two listeners of one engine and a file, and who comes to them.
fn peers_of<E: Engine>(features: Features, peers: bool, slots_max: u32) {
    let options = Options { peers, slots_max, ..Options::new(features) };
    let (mut worker, ports, path) = of_three::<E>(options);
    worker.closes = true;
    for round in 0..3 {
        let mut streams: Vec<_> = (0..100).map(|count| client(ports[count % 2])).collect();
        let file = unix(&path);
        let before = round * 101;
        worker.until("all of them", |worker| worker.accepted.len() == before + 101);
        let mut told: Vec<_> =
            worker.accepted[before..].iter().map(|slot| worker.peer_of[slot]).collect();
        let mut wanted: Vec<_> =
            streams.iter().map(|stream| peers.then(|| stream.local_addr().unwrap())).collect();
        wanted.push(None);
        told.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(told, wanted);
        streams.iter_mut().for_each(say);
        worker.serve("all answered", || streams.iter_mut().for_each(hear));
        drop((streams, file));
        worker.until("all closed", |worker| worker.closed.len() == worker.accepted.len());
    }
}

fn addresses_are_told_where_asked_for<E: Engine>(features: Features) {
    for (peers, slots_max) in [(false, 256), (true, 256), (true, 4096)] {
        peers_of::<E>(features, peers, slots_max);
    }
}

fn an_address_of_ipv4_is_told_as_such_over_ipv6<E: Engine>(features: Features) {
    let any = SocketAddr::from(([0_u16; 8], 0));
    // Not every machine has IPv6.
    let Ok((address, mut port)) = bind(any, 1, &ListenOptions::default()) else { return };
    let mut worker = Worker::<E>::new(Options { peers: true, ..Options::new(features) });
    worker.driver.listen(port.remove(0)).unwrap();
    worker.driver.accept(Accepting::On);
    let stream = client(SocketAddr::from(([127, 0, 0, 1], address.port())));
    worker.until("a client", |worker| worker.accepted.len() == 1);
    assert_eq!(worker.peer_of[&worker.accepted[0]], Some(stream.local_addr().unwrap()));
}
