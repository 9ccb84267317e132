//! Connecting, as the load generator does.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use ringwire_ring::{Features, Slot};

use crate::harness::{Engine, Options, Worker, listeners};

crate::on_both_engines!(
    a_watched_connection_tells_what_it_carried,
    connections_are_made_from_the_source_asked_for,
    refusals_are_reported_and_then_closed,
    a_full_table_says_so,
    a_connect_can_be_given_up,
);

fn a_watched_connection_tells_what_it_carried<E: Engine>(features: Features) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut worker = Worker::<E>::new(Options::connecting(features));
    worker.driver.watch_every(1);
    let slot = worker.driver.connect(&address.into(), None).unwrap();
    worker.seen.insert(slot, Default::default());
    worker.turn();
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"welcome").unwrap();
    worker.until("the welcome", |worker| worker.received(slot) == b"welcome");
    worker.batch.arena()[..6].copy_from_slice(b"thanks");
    worker.batch.push(slot, 6);
    worker.send_batch();
    let told = worker.driver.tcp_info(slot).unwrap();
    assert_eq!((told.bytes_sent, told.bytes_received), (6, 7));
    assert!(told.segments_sent >= 3, "SYN, acknowledgement, thanks: {told:?}");
    assert!(told.segments_received >= 2 && told.segments_retransmitted == 0, "{told:?}");
    worker.close_and_wait(slot);
    assert_eq!(worker.driver.tcp_info(slot), None);
    let mut read = Vec::new();
    peer.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"thanks", "watching does not keep it open");
}

fn connections_are_made_from_the_source_asked_for<E: Engine>(features: Features) {
    const COUNT: u8 = 50;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut worker = Worker::<E>::new(Options::connecting(features));
    for round in 0..2 {
        let mut slots: Vec<Slot> = Vec::new();
        for number in 0..COUNT {
            let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + number % 3));
            let source = (number % 4 != 0).then_some(source);
            let slot = worker.driver.connect(&address.into(), source).unwrap();
            assert!(worker.seen.insert(slot, Default::default()).is_none());
            slots.push(slot);
        }
        let mut sources = [0; 8];
        let mut peers = Vec::new();
        for _ in 0..COUNT {
            worker.turn();
            let (mut peer, from) = listener.accept().unwrap();
            let IpAddr::V4(ip) = from.ip() else { unreachable!() };
            sources[usize::from(ip.octets()[3])] += 1;
            peer.write_all(b"welcome").unwrap();
            peers.push(peer);
        }
        assert!(sources[1] == 13 && sources[2] > 0 && sources[3] > 0 && sources[4] > 0);
        worker.until("the welcomes", |worker| {
            slots.iter().all(|slot| worker.received(*slot) == b"welcome")
        });
        for slot in &slots {
            assert_eq!(worker.seen[slot].connected, Some(Ok(())));
            worker.batch.arena()[..6].copy_from_slice(b"thanks");
            worker.batch.push(*slot, 6);
        }
        worker.send_batch();
        for slot in slots {
            worker.close_and_wait(slot);
        }
        for mut peer in peers {
            let mut read = Vec::new();
            peer.read_to_end(&mut read).unwrap();
            assert_eq!(read, b"thanks", "round {round}");
        }
    }
}

fn refusals_are_reported_and_then_closed<E: Engine>(features: Features) {
    let mut worker = Worker::<E>::new(Options::connecting(features));
    // A port that was just free.
    let (address, _) = listeners(1);
    let slot = worker.driver.connect(&address.into(), None).unwrap();
    worker.seen.insert(slot, Default::default());
    worker.until("a refusal", |worker| worker.seen[&slot].connected.is_some());
    assert_eq!(worker.seen[&slot].connected.unwrap().unwrap_err().0, 111);
    worker.close_and_wait(slot);
    // An address that is not ours.
    let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let error = worker.driver.connect(&address.into(), Some(foreign)).unwrap_err();
    assert_eq!(error.0, 99, "{error}");
    // What failed took no place in the table.
    let again = worker.driver.connect(&address.into(), None).unwrap();
    assert_eq!(again, slot.successor());
}

fn a_full_table_says_so<E: Engine>(features: Features) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut worker = Worker::<E>::new(Options { slots_max: 3, ..Options::connecting(features) });
    let slots: Vec<_> =
        (0..3).map(|_| worker.driver.connect(&address.into(), None).unwrap()).collect();
    for slot in &slots {
        worker.seen.insert(*slot, Default::default());
    }
    assert_eq!(worker.driver.connect(&address.into(), None).unwrap_err().0, 23);
    worker.until("the connections", |worker| {
        slots.iter().all(|slot| worker.seen[slot].connected == Some(Ok(())))
    });
    worker.close_and_wait(slots[1]);
    let slot = worker.driver.connect(&address.into(), None).unwrap();
    assert_eq!(slot, slots[1].successor());
    // An engine that connects does not listen as well.
    let (_, mut unused) = listeners(1);
    assert!(worker.driver.listen(unused.remove(0)).is_err());
}

fn a_connect_can_be_given_up<E: Engine>(features: Features) {
    // A queue of one that nobody takes from: later connects stay unanswered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut worker = Worker::<E>::new(Options::connecting(features));
    let slots: Vec<_> =
        (0..200).map(|_| worker.driver.connect(&address.into(), None).unwrap()).collect();
    for slot in &slots {
        worker.seen.insert(*slot, Default::default());
    }
    worker.turn();
    for slot in slots {
        worker.close_and_wait(slot);
    }
}
