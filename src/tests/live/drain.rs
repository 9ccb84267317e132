//! The program's life: its first lines, its signals, its exit codes.

use std::process::Command;

use ringwire_protocol::ws::Opcode;

use crate::client::{Client, get, post};
use crate::harness::{Engine, flags};
use crate::peers::{EventStream, Said, WebSocket, close_payload};
use crate::process::{Process, refusal, ringwire};

on_both_engines!(
    sigterm_tells_everybody_and_ends_with_0,
    those_who_queue_are_told_when_the_server_goes,
    a_second_signal_ends_at_once,
    the_drain_timeout_ends_those_who_stay,
    a_port_in_use_ends_with_78_and_the_cure,
    too_few_descriptors_end_with_78_and_the_cure,
);

fn is_ready(process: &Process) -> bool {
    let (status, body) = process.page("/readyz");
    assert_eq!(status, if body == "ready\n" { 200 } else { 503 }, "{body}");
    status == 200
}

fn sigterm_tells_everybody_and_ends_with_0(engine: Engine) {
    let mut process = Process::start(engine, 3, &[]);
    let address = process.address;
    let said = format!("engine={} kernel=", engine.name());
    assert!(process.first.starts_with(&said), "{}", process.first);
    assert!(process.first.contains(" workers=3 cpus="), "{}", process.first);
    assert!(process.first.contains(" max_connections="), "{}", process.first);
    assert!(is_ready(&process));

    let mut echo = WebSocket::open(address, "/echo");
    let mut subscriber = WebSocket::open(address, "/channels/a");
    let mut stream = EventStream::open(address, "/channels/a");
    let mut served = Client::connect(address);
    let position = served.ask(post("a", "", b"news")).published();
    assert_eq!(subscriber.hear_text(), "news");
    assert_eq!(stream.hear().data, "news");
    let mut poller = Client::connect(address);
    poller.send(get("/channels/a?wait=30", ""));
    let mut silent = Client::connect(address);
    process.await_metric("ringwire_connections_accepted_total", &[], 6);
    process.await_metric("ringwire_connections", &["longpoll", "open"], 1);

    process.signal("TERM");
    assert!(!echo.expect_close(1001).is_empty());
    subscriber.expect_close(1001);
    assert_eq!(stream.hear_or_end(), None);
    assert_eq!(stream.resumption(), (position.to_string(), Some(1000)));
    let answer = poller.answer();
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    let polled = answer.polled();
    assert_eq!((polled.position, polled.recovered, polled.items.len()), (position, true, 0));
    poller.expect_end();
    served.expect_end();
    let refused = silent.answer();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    silent.expect_end();
    drop((echo, subscriber, stream, poller, served, silent));
    assert_eq!(process.exit().code(), Some(0));
}

fn those_who_queue_are_told_when_the_server_goes(engine: Engine) {
    for workers in [1, 3] {
        let mut process = Process::start(engine, workers, &["--max-connections", "12"]);
        let address = process.address;
        let served: Vec<_> = (0..12).map(|_| WebSocket::open(address, "/echo")).collect();
        let mut queued: Vec<_> = (0..3).map(|_| Client::connect(address)).collect();
        // One of them says nothing.
        queued.iter_mut().skip(1).for_each(|client| client.send(get("/", "")));
        process.await_metric("ringwire_connections", &[], 12);
        process.signal("TERM");
        for mut socket in served {
            socket.expect_close(1001);
        }
        for mut client in queued {
            let refused = client.answer();
            assert_eq!(refused.status, 503, "{workers} workers: {refused:?}");
            client.expect_end();
        }
        assert_eq!(process.exit().code(), Some(0));
    }
}

fn a_second_signal_ends_at_once(engine: Engine) {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let mut process = Process::start(engine, 2, &[]);
        let mut socket = WebSocket::open(process.address, "/echo");
        assert!(is_ready(&process));
        process.signal(first);
        assert!(matches!(socket.hear(), Said::Close(Some((1001, _)))));
        // It does not answer the Close: the server waits for it, and says so.
        assert!(!is_ready(&process));
        assert_eq!(process.page("/healthz").0, 200);
        process.await_metric("ringwire_connections", &["websocket", "closing"], 1);
        process.signal(second);
        assert_eq!(process.exit().code(), Some(1));
    }
}

fn the_drain_timeout_ends_those_who_stay(engine: Engine) {
    let mut process = Process::start(engine, 2, &["--drain-timeout", "300ms"]);
    let mut socket = WebSocket::open(process.address, "/echo");
    process.signal("INT");
    assert!(matches!(socket.hear(), Said::Close(Some((1001, _)))));
    assert_eq!(process.exit().code(), Some(0));
    // Whoever answers in time still gets the server's end first.
    let mut process = Process::start(engine, 2, &[]);
    let mut socket = WebSocket::open(process.address, "/echo");
    process.signal("INT");
    assert!(matches!(socket.hear(), Said::Close(Some((1001, _)))));
    socket.send(Opcode::Close, &close_payload(1001, ""));
    assert_eq!(socket.hear_or_end(), None);
    drop(socket);
    assert_eq!(process.exit().code(), Some(0));
}

fn too_few_descriptors_end_with_78_and_the_cure(engine: Engine) {
    // Whichever it is that finds none left: a listener, a bell, a ring, the table.
    for limit in [8, 10, 12, 16] {
        let program = ringwire(&flags(engine, 4, &[]));
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut limited = Command::new("sh");
        limited.args(["-c", &script]).arg(program.get_program()).args(program.get_args());
        for (name, _) in program.get_envs() {
            limited.env_remove(name);
        }
        let line = refusal(&mut limited);
        assert!(line.contains("raise") && line.contains("ulimit -n"), "{limit}: {line}");
    }
}

fn a_port_in_use_ends_with_78_and_the_cure(engine: Engine) {
    // Workers share a port; another server must not join them.
    let process = Process::start(engine, 2, &[]);
    let address = process.address.to_string();
    let mut second = flags(engine, 2, &[]);
    let listen = second.iter().position(|flag| flag == "127.0.0.1:0").unwrap();
    second[listen] = address.clone();
    let line = refusal(&mut ringwire(&second));
    assert!(line.contains(&address), "{line}");
    // The first is none the worse.
    assert_eq!(Client::connect(process.address).ask(get("/", "")).status, 200);
}
