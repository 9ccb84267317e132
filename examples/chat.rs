//! A chat room: subprotocol `chat`, one room per path, everybody hears everybody.
//!
//! `cargo run --release --example chat`, then open WebSockets to `/rooms/NAME?name=ANN` that offer
//! the subprotocol `chat`. Rooms are channels: they span all workers, and
//! `curl -N -H 'Accept: text/event-stream' http://127.0.0.1:8080/channels/room-NAME` listens too.

use std::process::ExitCode;

use ringwire::{Access, Application, Context, Decision, Kind, Message, Name, UpgradeRequest};

/// The longest name a guest may have, in bytes.
const NAME_BYTES_MAX: usize = 32;

struct Chat {
    subprotocols: Vec<String>,
}

struct Guest {
    name: String,
    room: Name,
}

impl Application for Chat {
    type Session = Box<Guest>;

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_, Box<Guest>>) -> Decision<Box<Guest>> {
        let Some(subprotocol) = request.choose_subprotocol(&self.subprotocols) else {
            let reason = "this room speaks the subprotocol chat: offer it".to_owned();
            return Decision::Refuse { status: 400, reason };
        };
        let Some(room) = room_of(request.path()) else {
            let reason = "rooms are at /rooms/NAME, in letters and digits".to_owned();
            return Decision::Refuse { status: 404, reason };
        };
        let name = guest_of(request.query()).unwrap_or("somebody").to_owned();
        Decision::Join {
            session: Box::new(Guest { name, room: room.clone() }),
            subprotocol: Some(subprotocol),
            channel: room,
            since: None,
            positions: false,
        }
    }

    fn serves(&self, _room: &Name, access: Access) -> bool {
        // Anybody may listen; only guests, who have a name, may speak.
        access == Access::Read
    }

    fn on_open(&mut self, guest: &mut Box<Guest>, context: &mut Context<'_>) {
        let line = format!("{} is here", guest.name);
        context.publish(&guest.room, Kind::Text, line.as_bytes());
    }

    fn on_message(
        &mut self,
        guest: &mut Box<Guest>,
        message: Message<'_>,
        context: &mut Context<'_>,
    ) {
        match str::from_utf8(message.payload) {
            Ok("/quit") => context.close(1000, "bye"),
            Ok(text) => {
                let line = format!("{}: {text}", guest.name);
                context.publish(&guest.room, Kind::Text, line.as_bytes());
            }
            Err(_) => context.close(1003, "this room takes text only"),
        }
    }
}

/// `/rooms/NAME` as the channel `room-NAME`.
fn room_of(path: &str) -> Option<Name> {
    let name = path.strip_prefix("/rooms/")?;
    let is_plain = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain.then(|| Name::new(&format!("room-{name}")))
}

/// `name=ANN`, if it is a plain word.
fn guest_of(query: Option<&str>) -> Option<&str> {
    let name = query?.split('&').find_map(|pair| pair.strip_prefix("name="))?;
    let is_plain = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain.then_some(name)
}

fn main() -> ExitCode {
    ringwire::main_with(|_worker| Chat { subprotocols: vec!["chat".to_owned()] })
}
