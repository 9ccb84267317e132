//! Publish tokens of the built program: asked for, read again on SIGHUP, and never written.

use std::fs;
use std::path::PathBuf;

use crate::client::{Client, post};
use crate::harness::{Engine, eventually};
use crate::peers::WebSocket;
use crate::process::Process;

on_both_engines!(tokens_are_asked_for_and_read_again_and_never_written,);

/// A file that goes when the test does.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

fn publish(server: &Process, token: &str) -> u16 {
    let mut client = Client::connect(server.address);
    let header = format!("Authorization: Bearer {token}\r\nConnection: close\r\n");
    client.ask(post("a", &header, b"text")).status
}

fn tokens_are_asked_for_and_read_again_and_never_written(engine: Engine) {
    let name = format!("ringwire-live-{}-{}", engine.name(), std::process::id());
    let file = Scratch(std::env::temp_dir().join(name));
    fs::write(&file.0, "old-canary\n").unwrap();
    let path = file.0.to_str().unwrap();
    let mut server = Process::start(
        engine,
        2,
        &["--publish-token", path, "--client-publish", "off", "--log-level", "debug"],
    );
    assert_eq!((publish(&server, "old-canary"), publish(&server, "new-canary")), (200, 401));
    let mut socket = WebSocket::open(server.address, "/channels/a");
    socket.text("hello");
    socket.expect_close(1008);

    fs::write(&file.0, "new-canary\n").unwrap();
    server.signal("HUP");
    eventually(|| publish(&server, "new-canary") == 200, || "not read again".to_owned());
    assert_eq!(publish(&server, "old-canary"), 401);
    // A file that cannot be used changes nothing, and does not end the server.
    fs::write(&file.0, "two words\n").unwrap();
    server.signal("HUP");
    server.await_line("the old tokens stay");
    assert_eq!(publish(&server, "new-canary"), 200);

    drop(socket);
    server.signal("TERM");
    assert!(server.exit().success());
    let said = server.said().join("\n");
    assert!(said.contains("401") && !said.contains("canary"), "{said}");
}
