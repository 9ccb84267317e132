//! The application that the `ringwire` binary serves: `/echo` and `/channels/NAME`.
//!
//! Not here: the channels themselves, nor their HTTP forms (`worker::request`). Invariant: a
//! session is 8 bytes.

use ringwire_protocol::Position;
use ringwire_protocol::http;

use super::{Access, Application, Context, Decision, Message, UpgradeRequest};
use crate::channels::Name;
use crate::config::Config;
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
    client_publish: bool,
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
        Self { subprotocols, channel_subprotocols, client_publish: true }
    }

    /// What the `ringwire` binary serves with this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let client_publish = config.client_publish;
        Self { client_publish, ..Self::new(config.subprotocols.clone()) }
    }
}

/// What a connection of [`Surface`] is for.
#[derive(Debug)]
pub enum SurfaceSession {
    /// Says each message back.
    Echo,
    /// Publishes each message to the channel, if it may.
    Channel(Box<Publisher>),
}

/// What a connection to a channel may do there.
#[derive(Debug)]
pub struct Publisher {
    channel: Name,
    may_publish: bool,
}

/// A rule of this server was broken: RFC 6455 section 7.4.1.
const POLICY: u16 = 1008;

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
                let may_publish = self.client_publish || request.has_token();
                let publisher = Publisher { channel: channel.clone(), may_publish };
                Decision::Join {
                    positions: subprotocol.as_deref() == Some(POSITIONS),
                    session: SurfaceSession::Channel(Box::new(publisher)),
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
            SurfaceSession::Channel(publisher) if publisher.may_publish => {
                context.publish(&publisher.channel, message.kind, message.payload);
            }
            SurfaceSession::Channel(_) => {
                context.close(POLICY, "clients do not publish here: open with a publish token");
            }
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
