//! The application that the `ringwire` binary serves: `/echo` and `/channels/NAME`.
//!
//! Not here: the channels themselves, nor their HTTP forms (`worker::request`). Invariant: a
//! session is 8 bytes.

use ringwire_protocol::Position;
use ringwire_protocol::http;

use super::{Access, Application, Context, Decision, Message, UpgradeRequest};
use crate::channels::Name;
use crate::target::{Target, since, target};

/// The subprotocol that carries positions beside payloads.
const POSITIONS: &str = "ringwire.json.1";

/// What `GET /` says.
const INDEX: &str = concat!(
    "ringwire ",
    env!("CARGO_PKG_VERSION"),
    "\n\n\
     GET  /echo           WebSocket: says each message back\n\
     GET  /channels/NAME  WebSocket: subscribes and publishes\n\
     GET  /channels/NAME  Accept: text/event-stream: Server-Sent Events\n\
     GET  /channels/NAME?since=E:O&wait=25  long poll\n\
     GET  /channels/NAME?since=E:O          poll\n\
     POST /channels/NAME  publishes the body\n"
);

/// Says back on `/echo`, publishes and subscribes on `/channels/NAME`.
#[derive(Clone, Debug)]
pub struct Surface {
    subprotocols: Vec<String>,
    channel_subprotocols: Vec<String>,
}

impl Surface {
    /// Speaks the given subprotocols, the first that the client offers; on channels
    /// `ringwire.json.1` too.
    #[must_use]
    pub fn new(subprotocols: Vec<String>) -> Self {
        let mut channel_subprotocols = subprotocols.clone();
        if !channel_subprotocols.iter().any(|name| name == POSITIONS) {
            channel_subprotocols.push(POSITIONS.to_owned());
        }
        Self { subprotocols, channel_subprotocols }
    }
}

/// What a connection of [`Surface`] is for.
#[derive(Debug)]
pub enum SurfaceSession {
    /// Says each message back.
    Echo,
    /// Publishes each message to the channel.
    Channel(Box<Name>),
}

impl Application for Surface {
    type Session = SurfaceSession;

    fn index(&self) -> &'static str {
        INDEX
    }

    fn serves(&self, _channel: &Name, _access: Access) -> bool {
        true
    }

    fn is_websocket_path(&self, path: &str) -> bool {
        path == "/echo"
    }

    fn on_upgrade(
        &mut self,
        request: &UpgradeRequest<'_, SurfaceSession>,
    ) -> Decision<SurfaceSession> {
        if request.path() == "/echo" {
            let subprotocol = request.choose_subprotocol(&self.subprotocols);
            return Decision::Accept { session: SurfaceSession::Echo, subprotocol };
        }
        match channel_of(request) {
            Ok((channel, since)) => {
                let subprotocol = request.choose_subprotocol(&self.channel_subprotocols);
                Decision::Join {
                    positions: subprotocol.as_deref() == Some(POSITIONS),
                    session: SurfaceSession::Channel(Box::new(channel.clone())),
                    subprotocol,
                    channel,
                    since,
                }
            }
            Err(refusal) => {
                Decision::Refuse { status: refusal.status, reason: refusal.reason.to_owned() }
            }
        }
    }

    #[inline]
    fn on_message(
        &mut self,
        session: &mut SurfaceSession,
        message: Message<'_>,
        context: &mut Context<'_>,
    ) {
        match session {
            SurfaceSession::Echo => {
                // A peer that does not read its echoes is not read from either.
                if context.send(message.kind, message.payload).is_ok() && context.queued_bytes() > 0
                {
                    context.pause();
                }
            }
            SurfaceSession::Channel(name) => context.publish(name, message.kind, message.payload),
        }
    }

    fn on_drain(&mut self, _session: &mut SurfaceSession, context: &mut Context<'_>) {
        context.resume();
    }
}

/// The channel and the position that an upgrade's target names.
fn channel_of<S>(
    request: &UpgradeRequest<'_, S>,
) -> Result<(Name, Option<Position>), http::Refusal> {
    if let Target::Channel(name) = target(request.path())? {
        return Ok((name, since(request.query())));
    }
    let reason = "no such path: WebSocket is at /echo and /channels/NAME";
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2
    //# If the requested service is not available, the server MUST send an appropriate HTTP
    //# error code (such as 404 Not Found) and abort the WebSocket handshake.
    Err(http::Refusal { status: 404, reason })
}

const _: () = assert!(size_of::<SurfaceSession>() == 8, "sessions over 8 bytes are boxed");
