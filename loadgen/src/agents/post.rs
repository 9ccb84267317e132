//! How messages get from one process to another: a few subjects, bytes, and when they came.
//!
//! Here are what the controller and the agents need of it, and the way over a NATS server, with a
//! thread of its own, so that neither tokio nor a slow server is ever in a measuring thread's way.
//! Not here: what is said. Invariant: nothing is waited for longer than the caller says.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr};
use futures_util::StreamExt;
use loadgen::outcome::Failure;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long a server may take to answer the first time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A piece is no larger than this, whatever the server takes: others wait behind it.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// The smallest limit that still has room for a piece.
const PIECE_BYTES_MIN: usize = 1 << 10;

/// Bytes that came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    /// When, by this process's monotonic clock.
    pub(super) at_ns: u64,
}

/// The way to the others.
pub(super) trait Post {
    /// Sends without waiting.
    fn send(&mut self, subject: &str, bytes: Vec<u8>);

    /// The next that came, for at most `wait`.
    ///
    /// # Errors
    /// When nothing can come any more.
    fn receive(&mut self, wait: Duration) -> Result<Option<Received>, Failure>;

    /// The most bytes of one send.
    fn piece_bytes_max(&self) -> usize;

    /// This process's monotonic clock.
    fn now_ns(&self) -> u64;
}

/// The way over a NATS server.
#[derive(Debug)]
pub(super) struct Nats {
    /// `None` only while it is dropped.
    outgoing: Option<UnboundedSender<(String, Vec<u8>)>>,
    incoming: Receiver<Received>,
    payload_bytes_max: usize,
    server: String,
    thread: Option<JoinHandle<()>>,
}

impl Nats {
    /// Connects to the server at `url` and subscribes to `subjects`.
    ///
    /// # Errors
    /// Code 107 with the cure if there is no such server, 104 if the URL is none.
    pub(super) fn connect(url: &str, subjects: Vec<String>) -> Result<Self, Failure> {
        let server = shown(url);
        let address = address(url)?;
        let (outgoing, orders) = unbounded_channel();
        let (inbox, incoming) = std::sync::mpsc::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let name = server.clone();
        let spawned = std::thread::Builder::new().name("nats".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(serve(address, name, subjects, orders, inbox, tell));
                }
                Err(error) => {
                    let line = format!("the thread for NATS cannot be set up: {error}");
                    // Whoever asked waits for it.
                    let _ = tell.send(Err(Failure::other(line)));
                }
            }
        });
        let thread = spawned
            .map_err(|error| Failure::other(format!("no thread for NATS can be had: {error}")))?;
        let gone = || Err(Failure::other("the thread for NATS ended"));
        let payload_bytes_max = told.recv().unwrap_or_else(|_| gone())?;
        if payload_bytes_max < PIECE_BYTES_MIN {
            return Err(Failure::configuration(format!(
                "the NATS server at {server} takes {payload_bytes_max} bytes a message: raise \
                 its max_payload to 1MB"
            )));
        }
        Ok(Self {
            outgoing: Some(outgoing),
            incoming,
            payload_bytes_max,
            server,
            thread: Some(thread),
        })
    }
}

impl Post for Nats {
    fn send(&mut self, subject: &str, bytes: Vec<u8>) {
        if let Some(outgoing) = &self.outgoing {
            // A thread that is gone shows in `receive`.
            let _ = outgoing.send((subject.to_owned(), bytes));
        }
    }

    fn receive(&mut self, wait: Duration) -> Result<Option<Received>, Failure> {
        match self.incoming.recv_timeout(wait) {
            Ok(received) => Ok(Some(received)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::unreachable(format!(
                "the connection to the NATS server at {} is gone",
                self.server
            ))),
        }
    }

    fn piece_bytes_max(&self) -> usize {
        self.payload_bytes_max.min(PIECE_BYTES_MAX)
    }

    fn now_ns(&self) -> u64 {
        ringwire_ring::monotonic_ns()
    }
}

impl Drop for Nats {
    /// What was sent still goes out.
    fn drop(&mut self) {
        self.outgoing = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// The server's address.
fn address(url: &str) -> Result<ServerAddr, Failure> {
    let wrong = |what: &str| {
        let cure = "use nats://HOST:4222 or tls://HOST:4222, with USER:PASSWORD@ where needed";
        Failure::configuration(format!("--nats {}: {what}; {cure}", shown(url)))
    };
    let scheme = url.split_once("://").map_or("nats", |(scheme, _)| scheme);
    if scheme != "nats" && scheme != "tls" {
        return Err(wrong("not the URL of a NATS server"));
    }
    if shown(url).ends_with("://") {
        return Err(wrong("it names no host"));
    }
    url.parse().map_err(|_| wrong("not a URL"))
}

/// A URL as it may be printed: without user and password.
pub(crate) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

/// Everything that the thread does: tells the most bytes of a message or why there is no
/// connection, then passes messages on until nobody sends any more.
async fn serve(
    address: ServerAddr,
    server: String,
    subjects: Vec<String>,
    mut orders: UnboundedReceiver<(String, Vec<u8>)>,
    inbox: Sender<Received>,
    tell: Sender<Result<usize, Failure>>,
) {
    let connected = connect(address, &server, subjects, inbox).await;
    let client = match connected {
        Ok(client) => client,
        Err(failure) => {
            // Whoever asked waits for it.
            let _ = tell.send(Err(failure));
            return;
        }
    };
    if tell.send(Ok(client.max_payload())).is_err() {
        return;
    }
    while let Some((subject, bytes)) = orders.recv().await {
        // What cannot be sent is missed by the other side, which says so.
        let _ = client.publish(subject, bytes.into()).await;
    }
    // A server that is gone keeps nobody waiting.
    let _ = tokio::time::timeout(CONNECT_TIMEOUT, client.flush()).await;
}

async fn connect(
    address: ServerAddr,
    server: &str,
    subjects: Vec<String>,
    inbox: Sender<Received>,
) -> Result<Client, Failure> {
    let unreachable = |what: &str| {
        Failure::unreachable(format!(
            "no NATS server at {server} ({what}): start one with `nats-server -a 127.0.0.1 -p \
             4222`, or name another with --nats"
        ))
    };
    let options = ConnectOptions::new().name("loadgen").connection_timeout(CONNECT_TIMEOUT);
    let client = options.connect(address).await.map_err(|error| unreachable(&error.to_string()))?;
    for subject in subjects {
        let mut letters = client
            .subscribe(subject)
            .await
            .map_err(|error| unreachable(&format!("it refuses a subscription: {error}")))?;
        let inbox = inbox.clone();
        tokio::spawn(async move {
            while let Some(letter) = letters.next().await {
                let at_ns = ringwire_ring::monotonic_ns();
                let received = Received { bytes: letter.payload.into(), at_ns };
                if inbox.send(received).is_err() {
                    return;
                }
            }
        });
    }
    // Subscriptions stand once the server has answered what comes after them.
    let flushed = tokio::time::timeout(CONNECT_TIMEOUT, client.flush()).await;
    match flushed {
        Ok(Ok(())) => Ok(client),
        Ok(Err(error)) => Err(unreachable(&error.to_string())),
        Err(_) => Err(unreachable("it does not answer")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A subject, and somebody who listens to it.
    type Line = (String, Sender<Received>);

    /// A server in memory: everyone who listens to a subject gets what is sent to it.
    #[derive(Debug, Clone, Default)]
    pub(in crate::agents) struct Exchange {
        lines: Arc<Mutex<Vec<Line>>>,
    }

    /// One process's way over it, with a clock of its own.
    #[derive(Debug)]
    pub(in crate::agents) struct Memory {
        exchange: Exchange,
        incoming: Receiver<Received>,
        /// Kept, so that `incoming` lives.
        _own: Sender<Received>,
        piece_bytes_max: usize,
    }

    impl Exchange {
        pub(in crate::agents) fn post(
            &self,
            subjects: &[String],
            piece_bytes_max: usize,
        ) -> Memory {
            let (sender, incoming) = std::sync::mpsc::channel();
            let mut lines = self.lines.lock().unwrap();
            for subject in subjects {
                lines.push((subject.clone(), sender.clone()));
            }
            drop(lines);
            Memory { exchange: self.clone(), incoming, _own: sender, piece_bytes_max }
        }
    }

    impl Post for Memory {
        fn send(&mut self, subject: &str, bytes: Vec<u8>) {
            assert!(bytes.len() <= self.piece_bytes_max);
            for (line, sender) in self.exchange.lines.lock().unwrap().iter() {
                if line == subject {
                    let received = Received { bytes: bytes.clone(), at_ns: self.now_ns() };
                    // Somebody who left hears nothing.
                    let _ = sender.send(received);
                }
            }
        }

        fn receive(&mut self, wait: Duration) -> Result<Option<Received>, Failure> {
            Ok(self.incoming.recv_timeout(wait).ok())
        }

        fn piece_bytes_max(&self) -> usize {
            self.piece_bytes_max
        }

        fn now_ns(&self) -> u64 {
            ringwire_ring::monotonic_ns()
        }
    }

    #[test]
    fn no_server_is_one_line_with_the_cure() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("nats://a:secret@{}", listener.local_addr().unwrap());
        drop(listener);
        let failure = Nats::connect(&url, vec![call()]).unwrap_err();
        assert_eq!(failure.code, 107);
        assert!(failure.line.contains("nats-server -a 127.0.0.1"), "{failure}");
        assert!(!failure.line.contains("secret"), "{failure}");
    }

    fn call() -> String {
        "call".to_owned()
    }

    #[test]
    fn what_is_no_nats_url_is_a_matter_of_configuration() {
        for url in ["http://h:1", "nats://", "ws://h:1"] {
            let failure = Nats::connect(url, vec![call()]).unwrap_err();
            assert_eq!(failure.code, 104, "{failure}");
        }
        assert_eq!(shown("nats://u:p@ss@h:1"), "nats://h:1");
        assert_eq!(shown("h:1"), "nats://h:1");
    }
}
