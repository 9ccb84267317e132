//! Accepting at the edge of the room, and the end of it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use ringwire_ring::{Accepting, Bells, Features, Permits};

use crate::harness::{Engine, Options, Worker, client, exchange, listeners, reads_end};

crate::on_both_engines!(
    a_full_table_keeps_clients_waiting_and_drops_none,
    multishot_gives_way_before_the_table_is_full,
    permits_bound_all_workers_together,
    a_full_worker_leaves_the_port_to_the_others,
    what_is_queued_is_answered_before_the_listener_closes,
    paused_means_that_the_queue_stays,
);

fn a_full_table_keeps_clients_waiting_and_drops_none<E: Engine>(features: Features) {
    let options = Options { slots_max: 4, ..Options::new(features) };
    let (mut worker, address) = Worker::<E>::listening(options);
    (worker.echoes, worker.closes) = (true, true);
    let mut streams: Vec<_> = (0..20).map(|_| client(address)).collect();
    worker.until("a full table", |worker| worker.accepted.len() == 4);
    for _ in 0..5 {
        worker.turn();
    }
    assert_eq!(worker.accepted.len(), 4, "more than the table holds");
    // Whoever leaves makes room for one of those who wait; each is answered.
    worker.serve("all answered", || {
        for stream in &mut streams {
            exchange(stream, b"am I in?");
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(reads_end(stream));
        }
    });
    worker.until("all closed", |worker| worker.closed.len() == 20);
}

fn multishot_gives_way_before_the_table_is_full<E: Engine>(features: Features) {
    if features != E::variants()[0] && features.completions > 16 {
        // The other features have nothing to do with accepting.
        return;
    }
    let options = Options { slots_max: 1024, ..Options::new(features) };
    let (mut worker, address) = Worker::<E>::listening(options);
    (worker.echoes, worker.closes) = (true, true);
    let mut streams =
        worker.serve("the clients", || (0..1024).map(|_| client(address)).collect::<Vec<_>>());
    worker.until("a full table", |worker| worker.accepted.len() == 1024);
    // These wait in the listener's queue.
    streams.extend((0..3).map(|_| client(address)));
    for _ in 0..5 {
        worker.turn();
    }
    assert_eq!(worker.accepted.len(), 1024, "more than the table holds");
    worker.serve("all answered", || {
        for stream in &mut streams {
            exchange(stream, b"am I in?");
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(reads_end(stream));
        }
    });
    worker.until("all closed", |worker| worker.closed.len() == 1027);
}

/// Two workers of one port, run in turn.
fn two_workers<E: Engine>(options: [Options; 2]) -> (Vec<Worker<E>>, std::net::SocketAddr) {
    let (address, listeners) = listeners(2);
    let bells = Arc::new(Bells::new(2).unwrap());
    let workers = options
        .into_iter()
        .zip(listeners)
        .enumerate()
        .map(|(number, (options, listener))| {
            let bells = Arc::clone(&bells);
            let mut worker = Worker::<E>::new(Options { worker: number, bells, ..options });
            worker.echoes = true;
            worker.driver.listen(listener).unwrap();
            worker.driver.accept(Accepting::On);
            worker
        })
        .collect();
    (workers, address)
}

fn turns<E: Engine>(workers: &mut [Worker<E>]) {
    for worker in workers {
        worker.turn();
    }
}

fn accepted<E: Engine>(workers: &[Worker<E>]) -> usize {
    workers.iter().map(|worker| worker.accepted.len()).sum()
}

fn permits_bound_all_workers_together<E: Engine>(features: Features) {
    const CLIENTS: usize = 12;
    let permits = Arc::new(Permits::new(5));
    let options = Options { permits: Arc::clone(&permits), ..Options::new(features) };
    let (mut workers, address) = two_workers::<E>([options.clone(), options]);
    let mut streams: Vec<TcpStream> = (0..CLIENTS).map(|_| client(address)).collect();
    for stream in &mut streams {
        stream.write_all(b"am I in?").unwrap();
    }
    while accepted(&workers) < 5 {
        turns(&mut workers);
    }
    for _ in 0..10 {
        turns(&mut workers);
    }
    assert_eq!(accepted(&workers), 5, "more than the process may have");
    // Each that is closed lets one of the waiting in, whichever worker it waits at.
    let mut closed = 0;
    while closed < CLIENTS {
        turns(&mut workers);
        for worker in &mut workers {
            let open = worker.accepted.iter().find(|slot| {
                let seen = &worker.seen[*slot];
                !seen.is_closed && !seen.received.is_empty()
            });
            if let Some(slot) = open.copied() {
                worker.close_and_wait(slot);
                closed += 1;
            }
        }
        let open = accepted(&workers) - closed;
        assert!(open <= 5, "{open} open");
    }
    for stream in &mut streams {
        let mut answer = [0; 8];
        std::io::Read::read_exact(stream, &mut answer).unwrap();
        assert_eq!(&answer, b"am I in?");
    }
    drop(workers);
    assert_eq!(permits.available(), 5);
}

fn a_full_worker_leaves_the_port_to_the_others<E: Engine>(features: Features) {
    let options = Options::new(features);
    let small = Options { slots_max: 2, ..options.clone() };
    let (mut workers, address) = two_workers::<E>([small, options]);
    let mut streams = Vec::new();
    for count in 0..60 {
        let mut stream = client(address);
        stream.write_all(b"hello").unwrap();
        streams.push(stream);
        // Whom the kernel gives to a full worker waits for ever, and this never ends.
        while accepted(&workers) < count + 1 {
            turns(&mut workers);
        }
        // A worker that is full says so at its next turn.
        turns(&mut workers);
    }
    assert_eq!(workers[0].accepted.len(), 2, "the small worker never filled");
    // When it has room again, clients come back to it.
    let slot = workers[0].accepted[0];
    workers[0].close_and_wait(slot);
    turns(&mut workers);
    while workers[0].accepted.len() < 3 {
        let before = accepted(&workers);
        assert!(before < 150, "nobody comes to the first worker any more");
        streams.push(client(address));
        while accepted(&workers) == before {
            turns(&mut workers);
        }
        turns(&mut workers);
    }
}

fn what_is_queued_is_answered_before_the_listener_closes<E: Engine>(features: Features) {
    let (mut worker, address) = Worker::<E>::listening(Options::new(features));
    worker.echoes = true;
    let mut streams = vec![client(address)];
    worker.until("a client", |worker| worker.accepted.len() == 1);
    worker.driver.accept(Accepting::Paused);
    worker.turn();
    worker.turn();
    streams.extend((0..9).map(|_| client(address)));
    for _ in 0..3 {
        worker.turn();
    }
    worker.driver.accept(Accepting::Ended);
    worker.until("the end", |worker| worker.accept_ended == 1);
    assert_eq!(worker.accepted.len(), 10, "the queue was not answered");
    worker.serve("all answered", || {
        for stream in &mut streams {
            exchange(stream, b"am I in?");
        }
    });
    assert!(TcpStream::connect(address).is_err(), "somebody still listens");
    // It is final, and reported once.
    worker.driver.accept(Accepting::On);
    worker.turn();
    worker.turn();
    assert_eq!(worker.accept_ended, 1);
    for slot in worker.accepted.clone() {
        worker.close_and_wait(slot);
    }
}

fn paused_means_that_the_queue_stays<E: Engine>(features: Features) {
    let (mut workers, address) = two_workers::<E>([Options::new(features), Options::new(features)]);
    workers[1].driver.accept(Accepting::Paused);
    turns(&mut workers);
    turns(&mut workers);
    let mut streams = Vec::new();
    for count in 0..30 {
        streams.push(client(address));
        while workers[0].accepted.len() < count + 1 {
            turns(&mut workers);
        }
    }
    assert_eq!(workers[1].accepted.len(), 0);
    workers[0].driver.accept(Accepting::Paused);
    turns(&mut workers);
    turns(&mut workers);
    // Nobody takes this one until accepting is on again.
    let mut late = client(address);
    late.write_all(b"anybody?").unwrap();
    for _ in 0..5 {
        turns(&mut workers);
    }
    assert_eq!(accepted(&workers), 30);
    for worker in &mut workers {
        worker.driver.accept(Accepting::On);
    }
    while accepted(&workers) < 31 {
        turns(&mut workers);
    }
}
