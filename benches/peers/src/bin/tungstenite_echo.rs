//! WebSocket echo on tokio-tungstenite: one single-threaded tokio runtime per core, SO_REUSEPORT.
//!
//! Its default read buffer of 128 KiB costs a good part of its throughput at small messages:
//! measure with `--read-buffer 4096` as well.

#![forbid(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use futures_util::{SinkExt, StreamExt};
use ringwire_peers::{Flags, run};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

fn main() -> ExitCode {
    run(|listener, flags| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(accept(listener, flags))
    })
}

async fn accept(listener: TcpListener, flags: Flags) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut config = WebSocketConfig::default();
    if let Some(bytes) = flags.read_buffer_bytes {
        config = config.read_buffer_size(bytes);
    }
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, config));
    }
}

async fn serve(stream: TcpStream, config: WebSocketConfig) {
    let Ok(mut socket) = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await
    else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        let is_payload = message.is_text() || message.is_binary();
        if is_payload && socket.send(message).await.is_err() {
            return;
        }
    }
}
