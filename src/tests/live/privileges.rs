//! What the program may still do once it serves: nothing that takes a privilege.

use std::fs;

use crate::client::{Client, get};
use crate::harness::Engine;
use crate::peers::WebSocket;
use crate::process::Process;

on_both_engines!(no_thread_keeps_a_privilege_while_it_serves);

/// What stands after `name` on its line of a status file.
fn field<'t>(status: &'t str, name: &str) -> &'t str {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap()
}

fn set(status: &str, name: &str) -> u64 {
    u64::from_str_radix(field(status, name), 16).unwrap()
}

fn no_thread_keeps_a_privilege_while_it_serves(engine: Engine) {
    const SETPCAP: u64 = 1 << 8;
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let may_bound = set(&own, "CapEff:") & SETPCAP != 0;
    let mut process = Process::start(engine, 2, &[]);
    let mut sockets: Vec<_> =
        (0..8).map(|_| WebSocket::open(process.address, "/channels/a")).collect();
    // A refusal ends with a shutdown, which the ring does on a thread of the kernel's.
    let mut refused = Client::connect(process.address);
    assert_eq!(refused.ask(get("/none", "")).status, 404);
    refused.expect_end();
    drop(refused);
    assert_eq!(process.page("/healthz").0, 200);
    let mut names = Vec::new();
    for thread in fs::read_dir(process.proc("task")).unwrap() {
        // A thread of the kernel's may have ended by now.
        let Ok(status) = fs::read_to_string(thread.unwrap().path().join("status")) else {
            continue;
        };
        for name in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(set(&status, name), 0, "{name} of\n{status}");
        }
        assert_eq!(field(&status, "NoNewPrivs:"), "1", "{status}");
        assert!(!may_bound || set(&status, "CapBnd:") == 0, "{status}");
        names.push(field(&status, "Name:").to_owned());
    }
    for name in ["ringwire", "worker-0", "worker-1", "signals", "admin"] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
    process.signal("TERM");
    sockets.iter_mut().for_each(|socket| {
        socket.expect_close(1001);
    });
    drop(sockets);
    assert_eq!(process.exit().code(), Some(0));
}
