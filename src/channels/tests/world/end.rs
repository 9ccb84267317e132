//! How a world comes to rest, and what must be true then.

use std::collections::VecDeque;

use ringwire_protocol::Position;

use super::super::super::{Answer, Name, Request};
use super::{CONNECTIONS, Message, World};

impl World {
    /// Lets everything settle with queues that take all, and checks that nobody misses anything.
    pub(in super::super) fn settle(&mut self) {
        self.queue_items_max = usize::MAX;
        for _ in 0..1_000 {
            for worker in 0..self.homes.len() {
                for from in 0..self.homes.len() {
                    while !self.queues[from][worker].is_empty() {
                        let message = self.queues[from][worker].pop_front();
                        match message.expect("it is not empty") {
                            Message::Ask(request) => self.with_home(worker, |home, turn| {
                                home.handle(from, request, turn);
                            }),
                            Message::Tell(answer) => self.hear(worker, answer),
                        }
                    }
                }
                for connection in 0..CONNECTIONS {
                    let mut requests = Vec::new();
                    self.locals[worker].advance(connection, 50, |home, request| {
                        requests.push((home, request));
                    });
                    for (home, request) in requests {
                        self.ask(worker, home, request);
                    }
                }
                self.flush(worker);
            }
            let is_quiet = self.queues.iter().flatten().all(VecDeque::is_empty)
                && self.homes.iter().all(|home| !home.is_waiting());
            if is_quiet {
                return self.check_settled();
            }
        }
        panic!("it never settles");
    }

    fn check_settled(&mut self) {
        assert!(self.readers.is_empty(), "a reader was never answered");
        for worker in 0..self.locals.len() {
            let members = self.subscribers.keys().filter(|(at, ..)| *at == worker).count();
            assert_eq!(self.locals[worker].live(), members);
        }
        let keys: Vec<_> = self.subscribers.keys().cloned().collect();
        for key in keys {
            let head = self.head(&Name::new(&key.2));
            let subscriber = &self.subscribers[&key];
            assert!(subscriber.live, "{key:?} never went live");
            assert_eq!(subscriber.position, Some(head), "{key:?} misses the end");
        }
        for (channel, position, receipt) in &self.acknowledged {
            let key = (channel.clone(), position.epoch, position.offset);
            if let Some(publication) = self.publications.get(&key) {
                assert_eq!(publication.payload(), &self.published[receipt]);
            }
        }
    }

    fn head(&mut self, channel: &Name) -> Position {
        let home = self.locals[0].home(channel);
        let request =
            Request::Read { channel: channel.clone(), reader: u64::MAX, since: None, bytes_max: 0 };
        self.with_home(home, |home, turn| home.handle(0, request, turn));
        match self.queues[home][0].pop_back() {
            Some(Message::Tell(Answer::Read(read))) => read.position,
            _ => panic!("a read is answered at once"),
        }
    }

    /// Lets everybody leave; then nothing may be left once the time is over.
    pub(in super::super) fn end(&mut self) {
        for worker in 0..self.locals.len() {
            for connection in 0..CONNECTIONS {
                let mut requests = Vec::new();
                self.locals[worker].leave_all(connection, |home, request| {
                    requests.push((home, request));
                });
                for (home, request) in requests {
                    self.ask(worker, home, request);
                }
            }
            assert_eq!((self.locals[worker].live(), self.locals[worker].channels()), (0, 0));
        }
        self.subscribers.clear();
        self.settle();
        self.now_ns += self.limits.history_ttl_ns;
        for home in &mut self.homes {
            home.expire(self.now_ns);
            assert_eq!((home.channels(), home.history_bytes()), (0, 0));
            assert_eq!(home.next_expiry_ns(), None);
        }
    }
}
