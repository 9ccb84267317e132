//! An application that does what its clients tell it to, and remembers what happened.
//!
//! Not here: any test.

use std::cell::RefCell;
use std::rc::Rc;

use ringwire_protocol::ws::{Kind, Opcode};
use ringwire_ring::sim::RawPeer;

use super::wire::{Heard, frame};
use super::world::{Plan, World};
use crate::app::{Access, Application, Context, Decision, Later, Message, UpgradeRequest};
use crate::channels::Name;

/// What happened to the sessions of all workers, by the sessions' numbers.
#[derive(Default)]
pub(super) struct Story {
    pub(super) undecided: Vec<Later<Box<u32>>>,
    pub(super) sessions: u32,
    pub(super) opened: Vec<u32>,
    pub(super) closed: Vec<u32>,
    pub(super) drained: Vec<u32>,
    pub(super) messages: Vec<String>,
    pub(super) overruns: u32,
}

/// Does what its clients tell it to.
pub(super) struct Puppet {
    pub(super) story: Rc<RefCell<Story>>,
}

impl Application for Puppet {
    type Session = Box<u32>;

    fn serves(&self, _channel: &Name, _access: Access) -> bool {
        true
    }

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_, Box<u32>>) -> Decision<Box<u32>> {
        let mut story = self.story.borrow_mut();
        match request.path() {
            "/later" => {
                story.undecided.push(request.later());
                Decision::Later
            }
            "/refuse" => Decision::Refuse { status: 402, reason: "pay first".to_owned() },
            _ => {
                story.sessions += 1;
                let subprotocol = request.choose_subprotocol(&["chat".to_owned()]);
                Decision::Accept { session: Box::new(story.sessions), subprotocol }
            }
        }
    }

    fn on_open(&mut self, session: &mut Box<u32>, _context: &mut Context<'_>) {
        self.story.borrow_mut().opened.push(**session);
    }

    fn on_message(
        &mut self,
        _session: &mut Box<u32>,
        message: Message<'_>,
        context: &mut Context<'_>,
    ) {
        let text = String::from_utf8_lossy(message.payload).into_owned();
        let words: Vec<_> = text.split(' ').collect();
        match words[..] {
            ["close", code, reason] => context.close(code.parse().expect("a code"), reason),
            ["subscribe", name] => context.subscribe(&Name::new(name), None),
            ["resume", name, since] => {
                context.subscribe(&Name::new(name), Some(since.parse().expect("a position")));
            }
            ["unsubscribe", name] => context.unsubscribe(&Name::new(name)),
            ["publish", name, text] => {
                context.publish(&Name::new(name), Kind::Text, text.as_bytes());
            }
            ["send", bytes] => {
                let payload = vec![b'x'; bytes.parse().expect("a number")];
                let _ = context.send(Kind::Binary, &payload);
            }
            ["wait", bytes] => {
                let payload = vec![b'x'; bytes.parse().expect("a number")];
                context.send(Kind::Binary, &payload).expect("an empty outbox");
                context.pause();
            }
            ["blink"] => {
                context.pause();
                context.resume();
            }
            ["flood"] => {
                while context.send(Kind::Binary, &[b'x'; 1000]).is_ok() {}
                assert!(context.send(Kind::Text, b"more").is_err());
                self.story.borrow_mut().overruns += 1;
            }
            _ => {
                let _ = context.send(message.kind, message.payload);
                self.story.borrow_mut().messages.push(text);
            }
        }
    }

    fn on_drain(&mut self, session: &mut Box<u32>, context: &mut Context<'_>) {
        self.story.borrow_mut().drained.push(**session);
        context.resume();
    }

    fn on_close(&mut self, session: Box<u32>) {
        self.story.borrow_mut().closed.push(*session);
    }
}

/// A world of puppets, and what happens to them.
pub(super) struct Theatre {
    pub(super) world: World<Puppet>,
    pub(super) story: Rc<RefCell<Story>>,
}

impl Theatre {
    pub(super) fn new(plan: &Plan) -> Self {
        let story = Rc::<RefCell<Story>>::default();
        let world = World::of(plan, |_| Puppet { story: Rc::clone(&story) });
        Self { world, story }
    }

    /// A client that asked for `path` and waits.
    pub(super) fn ask(&self, path: &str) -> RawPeer {
        let peer = self.world.connect();
        peer.send(request(path).as_bytes());
        let undecided = self.story.borrow().undecided.len();
        self.world.run_until(|| self.story.borrow().undecided.len() > undecided);
        peer
    }

    pub(super) fn open(&self) -> RawPeer {
        self.world.open(&request("/"))
    }

    pub(super) fn decide(&self) -> Later<Box<u32>> {
        self.story.borrow_mut().undecided.remove(0)
    }

    pub(super) fn messages(&self) -> Vec<String> {
        self.story.borrow().messages.clone()
    }

    /// Every session that was opened has been closed once, and no other.
    pub(super) fn assert_each_closed_once(&self) {
        let story = self.story.borrow();
        let (mut opened, mut closed) = (story.opened.clone(), story.closed.clone());
        opened.sort_unstable();
        closed.sort_unstable();
        assert_eq!(opened, closed);
    }

    /// Lets the clients go and the server forget them.
    pub(super) fn end(&self, peers: &[&RawPeer]) {
        peers.iter().for_each(|peer| peer.fin());
        self.world.run_empty();
        self.assert_each_closed_once();
    }
}

pub(super) fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Protocol: talk, chat\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

pub(super) fn say(peer: &RawPeer, text: &str) {
    peer.send(&frame(Opcode::Text, text.as_bytes()));
}

pub(super) fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

pub(super) fn answer_of(peer: &RawPeer) -> String {
    String::from_utf8_lossy(&peer.received()).into_owned()
}
