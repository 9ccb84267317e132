//! Several public addresses of one server, Unix sockets among them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use ringwire::config::{Address, Listen};
use ringwire_protocol::ws::Opcode;

use crate::client::{Client, get};
use crate::harness::{Engine, LIMIT, Running, eventually, flags};
use crate::peers::{WebSocket, frame, upgrade};
use crate::process::{Process, refusal, ringwire};

on_both_engines!(
    every_address_is_served_and_closed_by_the_drain,
    a_socket_left_by_the_dead_is_replaced_and_one_of_the_living_is_not,
    clients_of_a_unix_socket_reach_every_worker,
    a_full_house_lets_those_at_each_address_in_when_one_leaves,
);

/// A path of the test's own.
fn path(engine: Engine, name: &str) -> PathBuf {
    let name = format!("{name}-{}-{}.sock", engine.name(), std::process::id());
    // The kernel's limit of 107 bytes leaves little for a build directory.
    std::env::temp_dir().join(name)
}

fn unix(path: &PathBuf) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// What comes up to the end.
fn rest(mut stream: UnixStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// A WebSocket on a Unix socket that has said something and heard it again.
fn echo(path: &PathBuf) -> UnixStream {
    let mut stream = unix(path);
    stream.write_all(&upgrade("/echo", &[])).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream.write_all(&frame(Opcode::Text, b"hello")).unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[2..], b"hello");
    stream
}

fn every_address_is_served_and_closed_by_the_drain(engine: Engine) {
    let path = path(engine, "every");
    let listen = format!("127.0.0.1:0,unix:{}", path.display());
    for workers in [1, 3] {
        let mut process = Process::start(engine, workers, &["--listen", &listen]);
        let [first, second, third] = &process.listening[..] else {
            panic!("{:?}", process.listening)
        };
        let (first, second) = (first.parse().unwrap(), second.parse().unwrap());
        assert_eq!(*third, format!("unix:{}", path.display()));
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        let mut sockets = [first, second].map(|address| WebSocket::open(address, "/echo"));
        let mut by_file = echo(&path);
        by_file.write_all(&frame(Opcode::Text, b"again")).unwrap();
        let mut answer = [0; 7];
        by_file.read_exact(&mut answer).unwrap();
        let mut silent = unix(&path);
        silent.write_all(get("/", "").as_bytes()).unwrap();
        silent.read_exact(&mut [0; 12]).unwrap();
        process.signal("TERM");
        for socket in &mut sockets {
            socket.expect_close(1001);
        }
        let mut close = [0; 4];
        by_file.read_exact(&mut close).unwrap();
        assert_eq!((close[0], &close[2..]), (0x88, &1001_u16.to_be_bytes()[..]));
        by_file.write_all(&frame(Opcode::Close, &1001_u16.to_be_bytes())).unwrap();
        rest(by_file);
        rest(silent);
        drop(sockets);
        assert_eq!(process.exit().code(), Some(0));
        assert!(fs::symlink_metadata(&path).is_err(), "the socket's file stayed");
        for address in [first, second] {
            assert!(std::net::TcpStream::connect(address).is_err(), "{address} still listens");
        }
    }
}

fn a_socket_left_by_the_dead_is_replaced_and_one_of_the_living_is_not(engine: Engine) {
    let path = path(engine, "stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(UnixStream::connect(&path).is_err());
    let listen = format!("unix:{}", path.display());
    let mut process = Process::start(engine, 2, &["--listen", &listen]);
    echo(&path);
    // Another one is refused, and leaves this one alone.
    let line = refusal(&mut ringwire(&flags(engine, 1, &["--listen", &listen])));
    assert!(line.contains(&listen) && line.contains("stop the server that listens"), "{line}");
    echo(&path);
    // Killed, it leaves the file to whoever comes next.
    process.signal("KILL");
    assert_eq!(process.exit().code(), None);
    let mut process = Process::start(engine, 2, &["--listen", &listen]);
    echo(&path);
    process.signal("TERM");
    assert_eq!(process.exit().code(), Some(0));
    // What is no socket is not touched.
    fs::write(&path, "precious").unwrap();
    let line = refusal(&mut ringwire(&flags(engine, 1, &["--listen", &listen])));
    assert!(line.contains("not a socket") || line.contains("no socket"), "{line}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    let nowhere = "unix:/nonexistent/r.sock";
    let line = refusal(&mut ringwire(&flags(engine, 1, &["--listen", nowhere])));
    assert!(line.contains(nowhere) && line.contains("make the directory first"), "{line}");
}

fn clients_of_a_unix_socket_reach_every_worker(engine: Engine) {
    let path = path(engine, "workers");
    let listen = format!("unix:{}", path.display());
    let server = Running::start(engine, 2, &["--listen", &listen]);
    assert_eq!(server.listeners[1], Listen::plain(Address::Unix(path.clone())));
    let mut clients = Vec::new();
    // Each comes when the workers are asleep again, so that neither is always the first to look.
    while server.each(|metrics| metrics.accepted.value()).contains(&0) {
        assert!(clients.len() < 500, "one worker takes all");
        clients.push(echo(&path));
    }
    // A crowd at once, more than there are accepts under way.
    clients.extend((0..200).map(|_| unix(&path)));
    for client in clients.iter_mut().rev().take(200) {
        client.write_all(get("/", "").as_bytes()).unwrap();
        client.read_exact(&mut [0; 12]).unwrap();
    }
}

fn a_full_house_lets_those_at_each_address_in_when_one_leaves(engine: Engine) {
    const MOST: usize = 4;
    let path = path(engine, "full");
    let listen = format!("127.0.0.1:0,unix:{}", path.display());
    for workers in [1, 3] {
        let most = MOST.to_string();
        let given = ["--listen", &listen, "--max-connections", &most];
        let server = Running::start(engine, workers, &given);
        let addresses: Vec<_> =
            server.listeners.iter().filter_map(|listen| listen.address.tcp()).collect();
        // Some at each address, one after the other, while nobody else comes.
        for round in 0..5 {
            for &address in &addresses {
                let mut client = Client::connect(address);
                assert_eq!(client.ask(get("/", "")).status, 200, "round {round}");
            }
            drop(echo(&path));
        }
        server.await_empty();
        let served: Vec<_> = (0..MOST).map(|_| WebSocket::open(addresses[0], "/echo")).collect();
        let mut waiting: Vec<_> = addresses.iter().map(|&to| Client::connect(to)).collect();
        waiting.iter_mut().for_each(|client| client.send(get("/", "")));
        let mut by_file = unix(&path);
        by_file.write_all(get("/", "Connection: close\r\n").as_bytes()).unwrap();
        eventually(|| server.live() == MOST as u64, || format!("{} live", server.live()));
        drop(served);
        for client in &mut waiting {
            assert_eq!(client.answer().status, 200, "{workers} workers");
        }
        assert!(rest(by_file).starts_with("HTTP/1.1 200 "));
    }
}
