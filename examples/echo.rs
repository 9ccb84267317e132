//! The smallest application: says every message back.
//!
//! `cargo run --release --example echo -- --listen 127.0.0.1:8080`, then open a WebSocket to any
//! path. Takes the flags of the `ringwire` binary.

use std::process::ExitCode;

use ringwire::{Application, Context, Decision, Message, UpgradeRequest};

struct Echo;

impl Application for Echo {
    type Session = ();

    fn on_upgrade(&mut self, _request: &UpgradeRequest<'_, ()>) -> Decision<()> {
        Decision::Accept { session: (), subprotocol: None }
    }

    fn on_message(&mut self, (): &mut (), message: Message<'_>, context: &mut Context<'_>) {
        // A peer that reads too slowly is closed with 3008; there is nothing more to do here.
        let _sent = context.send(message.kind, message.payload);
    }
}

fn main() -> ExitCode {
    ringwire::main_with(|_worker| Echo)
}
