//! Three decisions at the upgrade: accept, refuse with a status, or later, from another thread.
//!
//! `cargo run --release --example decide`, then open WebSockets with a header `Token: open`
//! (accepted at once), `Token: ask` (decided by a thread that takes its time, as a database would),
//! or anything else (401). If the client has gone by the time of a late decision, nothing happens.

use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use ringwire::{Application, Context, Decision, Later, Message, UpgradeRequest};

/// How long the imaginary database takes.
const LOOKUP: Duration = Duration::from_millis(200);

/// What each connection's messages are greeted with.
type Greeting = Box<String>;

struct Doorkeeper {
    lookups: Sender<Later<Greeting>>,
}

impl Doorkeeper {
    fn new() -> Self {
        let (lookups, asked) = mpsc::channel::<Later<Greeting>>();
        thread::spawn(move || {
            for later in asked {
                thread::sleep(LOOKUP);
                later.accept(Box::new("known to the database".to_owned()), None);
            }
        });
        Self { lookups }
    }
}

impl Application for Doorkeeper {
    type Session = Greeting;

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_, Greeting>) -> Decision<Greeting> {
        match request.header("Token") {
            Some(b"open") => {
                Decision::Accept { session: Box::new("welcome".to_owned()), subprotocol: None }
            }
            Some(b"ask") => {
                // Should the thread be gone, the handle is dropped and refuses with 503 by itself.
                drop(self.lookups.send(request.later()));
                Decision::Later
            }
            _ => Decision::Refuse {
                status: 401,
                reason: "who are you? send the header Token: open".to_owned(),
            },
        }
    }

    fn on_message(
        &mut self,
        greeting: &mut Greeting,
        message: Message<'_>,
        context: &mut Context<'_>,
    ) {
        let mut answer = format!("{greeting}: ").into_bytes();
        answer.extend_from_slice(message.payload);
        let _sent = context.send(message.kind, &answer);
    }
}

fn main() -> ExitCode {
    ringwire::main_with(|_worker| Doorkeeper::new())
}
