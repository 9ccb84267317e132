//! Receiving: echo, ends, on and off, and an empty pool.

use std::io::{Read, Write};
use std::net::Shutdown;

use ringwire_ring::{Features, ReceiveBuffers};

use crate::harness::{Engine, Options, Worker, client, exchange, pattern, reads_end};

crate::on_both_engines!(
    echoes_until_the_peer_ends,
    a_reset_is_an_error,
    off_means_off_and_on_brings_everything,
    an_empty_pool_pauses_and_nothing_is_lost,
    one_sender_gets_at_most_its_share_of_a_turn,
    bytes_and_end_together_both_arrive,
);

fn echoes_until_the_peer_ends<E: Engine>(features: Features) {
    let (mut worker, address) = Worker::<E>::listening(Options::new(features));
    (worker.echoes, worker.closes) = (true, true);
    worker.serve("echoes", || {
        let mut clients: Vec<_> = (0..40).map(|_| client(address)).collect();
        for (round, len) in [1, 20, 125, 4096, 60_000].into_iter().enumerate() {
            for (number, stream) in clients.iter_mut().enumerate() {
                exchange(stream, &pattern((round * 100 + number) as u64, len));
            }
        }
        for stream in &mut clients {
            stream.shutdown(Shutdown::Write).unwrap();
            assert!(reads_end(stream));
        }
    });
    worker.until("all closed", |worker| worker.closed.len() == 40);
    assert!(worker.seen.values().all(|seen| seen.ended == Some(Ok(()))));
    // The next tenants of the same entries have other generations.
    let mut stream = client(address);
    worker.serve("an echo", || exchange(&mut stream, b"again"));
    let slot = worker.accepted[40];
    assert!(worker.closed.iter().all(|old| *old != slot));
}

fn a_reset_is_an_error<E: Engine>(features: Features) {
    let (mut worker, mut stream, slot) = Worker::<E>::with_client(Options::new(features));
    // Closing a socket with unread bytes resets the connection.
    let (one, two) = (stream.try_clone().unwrap(), &mut stream);
    worker.driver.send(slot, bytes::Bytes::from_static(b"never read"));
    worker.until("a send", |worker| worker.seen[&slot].sent.len() == 1);
    let mut first = [0; 1];
    two.read_exact(&mut first).unwrap();
    drop(one);
    drop(stream);
    worker.until("an end", |worker| worker.seen[&slot].ended.is_some());
    let error = worker.seen[&slot].ended.unwrap().unwrap_err();
    assert_eq!(error.0, 104, "{error}");
    worker.close_and_wait(slot);
}

fn off_means_off_and_on_brings_everything<E: Engine>(features: Features) {
    let (mut worker, mut stream, slot) = Worker::<E>::with_client(Options::new(features));
    let sent = pattern(1, 200_000);
    stream.write_all(&sent[..1000]).unwrap();
    worker.until("the first part", |worker| worker.received(slot).len() == 1000);
    for round in 0..5_usize {
        worker.driver.receive(slot, false);
        // What was on its way may still come; after a turn that brought nothing, nothing does.
        worker.turn();
        worker.turn();
        let (from, to) = (1000 + round * 30_000, 1000 + (round + 1) * 30_000);
        let before = worker.received(slot).len();
        stream.write_all(&sent[from..to]).unwrap();
        worker.turn();
        worker.turn();
        assert_eq!(worker.received(slot).len(), before, "received while off");
        worker.driver.receive(slot, true);
        if round % 2 == 0 {
            worker.driver.receive(slot, false);
            worker.driver.receive(slot, true);
        }
        worker.until("the rest", |worker| worker.received(slot).len() == to);
    }
    assert!(worker.received(slot) == &sent[..151_000]);
    stream.shutdown(Shutdown::Write).unwrap();
    worker.until("the end", |worker| worker.seen[&slot].ended == Some(Ok(())));
}

fn an_empty_pool_pauses_and_nothing_is_lost<E: Engine>(features: Features) {
    const CLIENTS: usize = 12;
    const LEN: usize = 50_000;
    let receive_buffers = Some(ReceiveBuffers { count: 3, bytes: 1500 });
    let options = Options { receive_buffers, ..Options::new(features) };
    let (mut worker, address) = Worker::<E>::listening(options);
    worker.receives = false;
    let wanted: Vec<_> = (0..CLIENTS).map(|number| pattern(number as u64, LEN)).collect();
    // All have something to say before anybody is listened to.
    for bytes in &wanted {
        let mut stream = client(address);
        stream.write_all(bytes).unwrap();
    }
    worker.until("the clients", |worker| worker.accepted.len() == CLIENTS);
    for slot in worker.accepted.clone() {
        worker.driver.receive(slot, true);
    }
    worker.until("the ends", |worker| {
        worker.seen.len() == CLIENTS && worker.seen.values().all(|seen| seen.ended.is_some())
    });
    for seen in worker.seen.values() {
        assert!(wanted.contains(&seen.received), "{} bytes, not as sent", seen.received.len());
        assert_eq!(seen.ended, Some(Ok(())));
    }
    assert!(worker.driver.figures().buffers_exhausted > 0, "the pool was never empty");
}

fn one_sender_gets_at_most_its_share_of_a_turn<E: Engine>(features: Features) {
    const LEN: usize = 2_000_000;
    let sizes = ReceiveBuffers { count: 8, bytes: 8192 };
    let options = Options { receive_buffers: Some(sizes), ..Options::new(features) };
    let (mut worker, address) = Worker::<E>::listening(options);
    let mut light = client(address);
    worker.until("the light client", |worker| worker.accepted.len() == 1);
    let light_slot = worker.accepted[0];
    let mut heavy = client(address);
    worker.until("the heavy client", |worker| worker.accepted.len() == 2);
    let heavy_slot = worker.accepted[1];
    let sent = pattern(5, LEN);
    std::thread::scope(|scope| {
        scope.spawn(|| heavy.write_all(&sent).unwrap());
        worker.until("the light client's byte", |worker| {
            assert!(worker.seen[&heavy_slot].received_in_turn <= sizes.total_bytes() / 4);
            if worker.received(heavy_slot).len() > LEN / 4 && worker.received(light_slot).is_empty()
            {
                light.write_all(b"x").unwrap();
            }
            !worker.received(light_slot).is_empty()
        });
        worker.until("all of it", |worker| {
            assert!(worker.seen[&heavy_slot].received_in_turn <= sizes.total_bytes() / 4);
            worker.received(heavy_slot).len() == LEN
        });
    });
    assert!(worker.received(heavy_slot) == sent);
}

fn bytes_and_end_together_both_arrive<E: Engine>(features: Features) {
    let (mut worker, address) = Worker::<E>::listening(Options::new(features));
    worker.closes = true;
    for round in 0..50_u32 {
        let mut stream = client(address);
        let sent = pattern(round.into(), 1 + round as usize * 700);
        stream.write_all(&sent).unwrap();
        drop(stream);
        let done = round as usize + 1;
        worker.until("an end", |worker| worker.closed.len() == done);
        let slot = worker.closed[done - 1];
        assert!(worker.received(slot) == sent);
        assert_eq!(worker.seen[&slot].ended, Some(Ok(())));
    }
}
