//! What an application is: it decides at the upgrade, is handed whole messages, and answers
//! through its [`Context`].
//!
//! Not here: sockets, frames, bytes on the wire, threads. Each worker has one application value
//! of its own, so nothing in it needs a lock. Invariant: a handler's effects happen after it
//! returns, in the order it asked for them; only [`Context::send`] writes at once.

mod context;
mod later;
mod surface;

use std::fmt;

use ringwire_protocol::Position;
use ringwire_protocol::http::Request;
use ringwire_protocol::ws::{Kind, Upgrade, choose_subprotocol};

use crate::channels::Name;

pub use context::{Context, Overrun};
pub(crate) use context::{Effect, Reply};
pub use later::Later;
pub(crate) use later::{Command, Remote, Verdict};
pub use surface::{Publisher, Surface, SurfaceSession};

/// A whole message, in the receive buffer it arrived in.
#[derive(Debug)]
pub struct Message<'b> {
    /// Text (then the payload is valid UTF-8) or binary.
    pub kind: Kind,
    /// The payload, unmasked; the application's to change in place.
    pub payload: &'b mut [u8],
}

/// What an application does with its connections. One value per worker, on the worker's thread.
pub trait Application {
    /// What the application keeps per connection. Over 8 bytes: box it.
    type Session;

    /// What `GET /` says: plain text.
    fn index(&self) -> &'static str {
        concat!("ringwire ", env!("CARGO_PKG_VERSION"), "\n")
    }

    /// Whether anybody may read the channel by Server-Sent Events and polls, or publish to it by
    /// POST, at `/channels/NAME`. WebSockets ask [`Application::on_upgrade`] instead.
    fn serves(&self, channel: &Name, access: Access) -> bool {
        let _ = (channel, access);
        false
    }

    /// Whether a plain request to this path should be told to upgrade (426) rather than that the
    /// path is unknown (404).
    fn is_websocket_path(&self, path: &str) -> bool {
        let _ = path;
        false
    }

    /// Decides about a WebSocket upgrade whose form is already checked (RFC 6455 section 4.2.1)
    /// and whose Origin is allowed.
    fn on_upgrade(
        &mut self,
        request: &UpgradeRequest<'_, Self::Session>,
    ) -> Decision<Self::Session>;

    /// The 101 is on its way; what is sent from here on follows it.
    fn on_open(&mut self, session: &mut Self::Session, context: &mut Context<'_>) {
        let _ = (session, context);
    }

    /// A message arrived.
    fn on_message(
        &mut self,
        session: &mut Self::Session,
        message: Message<'_>,
        context: &mut Context<'_>,
    );

    /// Everything that had been queued is with the kernel.
    fn on_drain(&mut self, session: &mut Self::Session, context: &mut Context<'_>) {
        let _ = (session, context);
    }

    /// A connection that [`Application::on_open`] was told of is over, for whatever reason. A
    /// session that never opened is dropped without a word.
    fn on_close(&mut self, session: Self::Session) {
        drop(session);
    }
}

/// What somebody without a WebSocket wants of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its publications.
    Read,
    /// To add one.
    Publish,
}

/// What [`Application::on_upgrade`] decided.
#[derive(Debug)]
pub enum Decision<S> {
    /// 101 now.
    Accept {
        /// The connection's session.
        session: S,
        /// One of the subprotocols the client offered.
        subprotocol: Option<String>,
    },
    /// 101 once the connection is subscribed to `channel`: what is published after the client
    /// sees it arrives.
    Join {
        /// The connection's session.
        session: S,
        /// One of the subprotocols the client offered.
        subprotocol: Option<String>,
        /// The channel.
        channel: Name,
        /// Where the client left off.
        since: Option<Position>,
        /// Whether the client speaks `ringwire.json.1` instead of bare payloads.
        positions: bool,
    },
    /// An HTTP status of 400 and above, one line of plain text, and the end of the connection.
    Refuse {
        /// The status.
        status: u16,
        /// What is wrong, and the cure.
        reason: String,
    },
    /// [`UpgradeRequest::later`] was called; its handle decides, from any thread.
    Later,
}

/// A client's wish to speak WebSocket.
pub struct UpgradeRequest<'r, S> {
    request: &'r Request<'r>,
    upgrade: &'r Upgrade<'r>,
    remote: &'r Remote<S>,
    connection: u64,
    has_token: bool,
}

impl<'r, S> UpgradeRequest<'r, S> {
    pub(crate) fn new(
        request: &'r Request<'r>,
        upgrade: &'r Upgrade<'r>,
        remote: &'r Remote<S>,
        connection: u64,
        has_token: bool,
    ) -> Self {
        Self { request, upgrade, remote, connection, has_token }
    }

    /// The path as sent, percent-encoded, without the query.
    #[must_use]
    pub fn path(&self) -> &'r str {
        self.request.path
    }

    /// The query as sent, without its question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'r str> {
        self.request.query
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'r [u8]> {
        self.request.header(name)
    }

    /// Whether the client brings one of the tokens of `--publish-token`.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        self.has_token
    }

    /// Picks the first of `supported` that the client offers.
    #[must_use]
    pub fn choose_subprotocol(&self, supported: &[String]) -> Option<String> {
        choose_subprotocol(self.upgrade.subprotocols(), supported).map(str::to_owned)
    }

    /// A handle that decides after this call has returned [`Decision::Later`], from any thread.
    #[must_use]
    pub fn later(&self) -> Later<S> {
        Later::new(self.remote.clone(), self.connection)
    }
}

impl<S> fmt::Debug for UpgradeRequest<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest").field("path", &self.path()).finish_non_exhaustive()
    }
}
