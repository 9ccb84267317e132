//! WebSocket echo on tokio-uring: one runtime per core, SO_REUSEPORT, default ring flags.
//!
//! With DEFER_TASKRUN a plain echo on tokio-uring 0.5 hangs, because its ring is polled by epoll
//! and completions are only reaped after readiness; so it is measured as it comes.

#![forbid(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use ringwire_peers::echo::{Conversation, Then};
use ringwire_peers::{Flags, run};
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

const READ_BYTES: usize = 16 * 1024;

fn main() -> ExitCode {
    run(|listener, flags| tokio_uring::start(accept(listener, flags)))
}

async fn accept(listener: TcpListener, flags: Flags) -> io::Result<()> {
    let listener = tokio_uring::net::TcpListener::from_std(listener);
    let read_bytes = flags.read_buffer_bytes.unwrap_or(READ_BYTES);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio_uring::spawn(async move {
            // A connection that fails is a connection that ended.
            let _ = serve(stream, read_bytes).await;
        });
    }
}

async fn serve(stream: TcpStream, read_bytes: usize) -> io::Result<()> {
    let mut conversation = Conversation::default();
    let mut inbox = Vec::new();
    let mut outbox = Vec::new();
    loop {
        let held = inbox.len();
        inbox.reserve(read_bytes);
        let (result, slice) = stream.read(inbox.slice(held..)).await;
        inbox = slice.into_inner();
        if result? == 0 {
            return Ok(());
        }
        let then = conversation.feed(&mut inbox, &mut outbox);
        if !outbox.is_empty() {
            let (result, returned) = stream.write_all(outbox).await;
            outbox = returned;
            result?;
            outbox.clear();
        }
        if then == Then::End {
            return Ok(());
        }
    }
}
