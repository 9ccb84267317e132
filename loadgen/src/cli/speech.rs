//! Flags about what is said and understood, so that any server can be driven.
//!
//! Not here: whether the texts can be understood; the engine says so. Invariant: without any of
//! these flags the speech is the default one.

use clap::{Args, ValueEnum};
use loadgen::outcome::Failure;
use loadgen::scenario::{Target, Transport};
use loadgen::speech::feed::{Feed, FeedOrder};
use loadgen::speech::{PollStyle, Publishing, Speech};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan;
use super::url::{self, Url};
use super::{TlsFlags, units};

/// The largest `--message-file`.
const FILE_BYTES_MAX: u64 = loadgen::speech::TEXT_BYTES_MAX as u64;

/// Flags about what is said and understood.
#[derive(Debug, Args)]
pub(crate) struct SpeechFlags {
    /// What every message is, with placeholders: {stamp} {sequence} {connection} {channel}
    /// {publisher} {random:N} {random:A-B} {feed.COLUMN} {time_ms} {run} [default: our payload]
    #[arg(
        short,
        long,
        env = "LOADGEN_MESSAGE",
        value_name = "TEMPLATE",
        allow_hyphen_values = true
    )]
    #[arg(conflicts_with = "message_file")]
    pub(crate) message: Option<String>,
    /// The same from a file
    #[arg(short = 'f', long, env = "LOADGEN_MESSAGE_FILE", value_name = "FILE")]
    pub(crate) message_file: Option<PathBuf>,
    /// What every connection says once after it opened, repeatable: subscribe messages
    #[arg(short = '1', long, env = "LOADGEN_FIRST_MESSAGE", value_name = "TEMPLATE")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) first_message: Vec<String>,
    /// A connection counts as open once a message holds TEXT [default: with the upgrade]
    #[arg(long, env = "LOADGEN_READY", value_name = "TEXT")]
    pub(crate) ready: Option<String>,
    /// Rows for {feed.COLUMN}: a .csv or .jsonl file
    #[arg(long, env = "LOADGEN_FEED", value_name = "FILE")]
    pub(crate) feed: Option<PathBuf>,
    /// Which row a message takes; unique: one of its own for each connection
    #[arg(long, env = "LOADGEN_FEED_ORDER", default_value = "sequential")]
    pub(crate) feed_order: FeedOrderFlag,
    /// What every reply must hold, with placeholders; else it is an error
    #[arg(long, env = "LOADGEN_EXPECT", value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) expect: Option<String>,
    /// Replies to each message: each counts, and the message is answered with the last
    #[arg(long, env = "LOADGEN_REPLIES", value_name = "N", default_value = "1")]
    pub(crate) replies: u32,
    /// Say ANSWER whenever a message is TEXT: 2=3 for Engine.IO; repeatable
    #[arg(long, env = "LOADGEN_REPLY_TO", value_name = "TEXT=ANSWER", value_parser = pair)]
    pub(crate) reply_to: Vec<(String, String)>,
    /// Where publications go: http://, https://, or ws:// to publish by WebSocket
    #[arg(long, env = "LOADGEN_PUBLISH_URL", value_name = "URL", value_parser = url::parse)]
    pub(crate) publish_url: Option<Url>,
    /// The method of a publication
    #[arg(long, env = "LOADGEN_PUBLISH_METHOD", default_value = "POST", value_name = "METHOD")]
    #[arg(value_parser = method)]
    pub(crate) publish_method: String,
    /// A header of publications to --publish-url, repeatable
    #[arg(long, env = "LOADGEN_PUBLISH_HEADER", value_name = "NAME: VALUE")]
    #[arg(value_parser = units::header)]
    pub(crate) publish_header: Vec<(String, String)>,
    /// What every publication is, in fanout: as --message
    #[arg(long, env = "LOADGEN_PUBLISH_BODY", value_name = "TEMPLATE")]
    #[arg(conflicts_with_all = ["message", "message_file"], allow_hyphen_values = true)]
    pub(crate) publish_body: Option<String>,
    /// How polls say where they left off [default: as the first answer does]
    #[arg(long, env = "LOADGEN_POLL_STYLE")]
    pub(crate) poll_style: Option<PollStyleFlag>,
}

/// URLs of a server whose routes differ by transport.
#[derive(Debug, Args)]
pub(crate) struct RouteFlags {
    /// Where the row ws subscribes, instead of the server's URL; {run} is new for every block
    #[arg(long, env = "LOADGEN_WS_URL", value_name = "URL", value_parser = url::parse)]
    pub(crate) ws_url: Option<Url>,
    /// Where the row sse subscribes
    #[arg(long, env = "LOADGEN_SSE_URL", value_name = "URL", value_parser = url::parse)]
    pub(crate) sse_url: Option<Url>,
    /// Where the row longpoll asks
    #[arg(long, env = "LOADGEN_LONGPOLL_URL", value_name = "URL", value_parser = url::parse)]
    pub(crate) longpoll_url: Option<Url>,
    /// Where the rows poll ask
    #[arg(long, env = "LOADGEN_POLL_URL", value_name = "URL", value_parser = url::parse)]
    pub(crate) poll_url: Option<Url>,
}

impl RouteFlags {
    /// The URL of a row's own.
    pub(crate) fn of(&self, transport: Transport) -> Option<&Url> {
        match transport {
            Transport::Ws => self.ws_url.as_ref(),
            Transport::Sse => self.sse_url.as_ref(),
            Transport::LongPoll => self.longpoll_url.as_ref(),
            Transport::Poll => self.poll_url.as_ref(),
        }
    }

    /// Whether there is any.
    pub(crate) fn first(&self) -> Option<&Url> {
        let all = [&self.ws_url, &self.sse_url, &self.longpoll_url, &self.poll_url];
        all.into_iter().find_map(Option::as_ref)
    }
}

/// `--feed-order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FeedOrderFlag {
    Sequential,
    Random,
    Unique,
}

/// `--poll-style`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PollStyleFlag {
    Ringwire,
    Nchan,
}

/// `TEXT=ANSWER`, parted at the first `=`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((heard, answer)) if !heard.is_empty() => Ok((heard.to_owned(), answer.to_owned())),
        _ => Err("say what is heard and what is answered: TEXT=ANSWER".to_owned()),
    }
}

fn method(text: &str) -> Result<String, String> {
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_word { Ok(text.to_owned()) } else { Err(format!("`{text}` is not a method")) }
}

impl SpeechFlags {
    /// The speech that the flags describe. `run` tells this run from all others.
    pub(crate) fn speech(&self, tls: &TlsFlags, run: u64) -> Result<Speech, Failure> {
        let message = match (&self.message, &self.publish_body, &self.message_file) {
            (Some(text), _, _) | (_, Some(text), _) => Some(text.clone()),
            (None, None, Some(path)) => Some(read(path)?),
            (None, None, None) => None,
        };
        let is_publishing = self.publish_url.is_some();
        if !is_publishing && !self.publish_header.is_empty() {
            let line = "--publish-header needs --publish-url; -H is for all other requests";
            return Err(Failure::configuration(line));
        }
        let feed = self.feed.as_deref().map(Feed::read).transpose()?;
        Ok(Speech {
            message,
            first: self.first_message.clone(),
            ready: self.ready.clone(),
            expect: self.expect.clone(),
            replies: self.replies,
            reply_to: self.reply_to.clone(),
            feed: feed.map(Arc::new),
            feed_order: match self.feed_order {
                FeedOrderFlag::Sequential => FeedOrder::Sequential,
                FeedOrderFlag::Random => FeedOrder::Random,
                FeedOrderFlag::Unique => FeedOrder::Unique,
            },
            publishing: self
                .publish_url
                .as_ref()
                .map(|url| self.publishing(url, tls))
                .transpose()?,
            poll_style: self.poll_style.map(|style| match style {
                PollStyleFlag::Ringwire => PollStyle::Ringwire,
                PollStyleFlag::Nchan => PollStyle::Nchan,
            }),
            run,
        })
    }

    fn publishing(&self, url: &Url, tls: &TlsFlags) -> Result<Publishing, Failure> {
        let target: Target = url.target(None)?;
        let secure = if url.scheme.is_secure() { plan::secure(url, tls)? } else { None };
        Ok(Publishing {
            target,
            secure,
            is_websocket: url.scheme.is_websocket(),
            method: self.publish_method.clone(),
            headers: self.publish_header.clone(),
        })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let wrong =
        |what: String| Failure::configuration(format!("--message-file {}: {what}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("{size} bytes are more than the 1m a message may have")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // An editor ends every file with a line end, which nobody means to send.
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text.trim_end_matches('\r')).to_owned())
}
