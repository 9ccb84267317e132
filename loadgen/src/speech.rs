//! What is said and understood beside our own payload, so that any server can be driven.
//!
//! Not here: how it is said (`engine::script`). Everything is text as people typed it; what cannot
//! be understood is refused by `Speech::check`, which a scenario's own check calls. Invariant: a
//! default speech changes nothing: payloads and routes are ringwire's.

pub mod feed;
pub(crate) mod template;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::outcome::Failure;
use crate::scenario::{Mode, Scenario, Target, Transport};
use crate::secure::Secure;
use feed::{Feed, FeedOrder};

/// The most replies that one message may have.
pub const REPLIES_MAX: u32 = 64;

/// The largest template, and the longest text that is looked for.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// How polls say where they left off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PollStyle {
    /// `?since=`, and answers in JSON that say what to pass next.
    Ringwire,
    /// `If-Modified-Since` and `If-None-Match` of what the last answer's `Last-Modified` and `Etag`
    /// were; a body is one message, and 204, 304 and 408 say that there is none.
    Nchan,
}

/// Where publications go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publishing {
    /// The server, and a path that may hold placeholders.
    pub target: Target,
    /// TLS, for `wss` and `https`.
    pub secure: Option<Secure>,
    /// Each a message of a WebSocket, instead of a request.
    pub is_websocket: bool,
    /// The request's method.
    pub method: String,
    /// The request's or the upgrade's headers; values may hold placeholders.
    pub headers: Vec<(String, String)>,
}

/// What is said and understood. The default is our own payload, on ringwire's routes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Speech {
    /// What every message is; `None`: our payload.
    pub message: Option<String>,
    /// What every subscriber says first, over WebSocket.
    pub first: Vec<String>,
    /// The connection counts as open once a message holds this.
    pub ready: Option<String>,
    /// A reply (in fan-out: a delivery) without this is an error.
    pub expect: Option<String>,
    /// Replies to each message; 0 is 1.
    pub replies: u32,
    /// Messages that are answered at once, each with its answer; an empty one is none.
    pub reply_to: Vec<(String, String)>,
    /// Rows that placeholders take values from.
    #[serde(with = "shared")]
    pub feed: Option<Arc<Feed>>,
    /// Which row a message takes.
    pub feed_order: FeedOrder,
    /// Where publications go; `None`: to the channel by POST.
    pub publishing: Option<Publishing>,
    /// How polls say where they left off; `None`: as the first answer does.
    pub poll_style: Option<PollStyle>,
    /// What tells this run's messages from another's, and fills in `{run}`.
    pub run: u64,
}

/// A feed that is shared here, and is another's once it was sent.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Feed;

    pub(super) fn serialize<S: Serializer>(
        feed: &Option<Arc<Feed>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        feed.as_deref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<Feed>>, D::Error> {
        Ok(Option::<Feed>::deserialize(from)?.map(Arc::new))
    }
}

impl Speech {
    /// Replies to each message.
    #[must_use]
    pub fn replies(&self) -> u32 {
        self.replies.max(1)
    }

    /// Whether messages are other than our payload on ringwire's routes: templates, or a server
    /// that answers in its own way.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.message.is_some()
            || !self.first.is_empty()
            || self.ready.is_some()
            || self.expect.is_some()
            || self.replies() > 1
            || !self.reply_to.is_empty()
            || self.feed.is_some()
            || self.publishing.is_some()
    }

    /// Whether it makes sense for `scenario`, as far as single flags go.
    pub(crate) fn check(&self, scenario: &Scenario) -> Result<(), Failure> {
        let wrong = |line: &str| Err(Failure::configuration(line));
        let is_ws = scenario.transport == Transport::Ws;
        if !is_ws && (!self.first.is_empty() || self.ready.is_some()) {
            return wrong(
                "--first-message and --ready need a ws:// URL: only WebSocket talks back",
            );
        }
        if self.ready.as_deref() == Some("") {
            return wrong("--ready must not be empty");
        }
        if !(1..=REPLIES_MAX).contains(&self.replies()) {
            return wrong("--replies must be from 1 to 64");
        }
        if self.replies() > 1 && scenario.mode != Mode::Echo {
            return wrong("--replies needs --mode echo: in fanout every delivery is one");
        }
        if self.reply_to.iter().any(|(heard, _)| heard.is_empty()) {
            return wrong("--reply-to TEXT=ANSWER: TEXT must not be empty");
        }
        let is_poll = matches!(scenario.transport, Transport::Poll | Transport::LongPoll);
        if self.poll_style.is_some() && !is_poll {
            return wrong("--poll-style needs --transport poll or longpoll");
        }
        if self.publishing.is_some() && scenario.mode != Mode::Fanout {
            return wrong("--publish-url needs --mode fanout");
        }
        let is_silent = self.publishing.as_ref().is_some_and(|publishing| publishing.is_websocket);
        if is_silent && scenario.rate_per_s.is_none() {
            let line = "--publish-url with ws:// needs --rate: nothing answers a publication there";
            return wrong(line);
        }
        Ok(())
    }
}
