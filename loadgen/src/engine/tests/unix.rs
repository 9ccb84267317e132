//! Runs over a Unix socket, carried on to the test's server.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use ringwire_ring::Address;

use super::live::{ENGINES, assert_whole, measure, scenario};
use super::server::{Mischief, Server};
use crate::scenario::{Mode, Target, Transport};

/// Carries one connection to `server`, both ways.
fn carry(near: UnixStream, server: &Server) -> Option<()> {
    let far = TcpStream::connect(server.address).ok()?;
    far.set_nodelay(true).ok()?;
    let (mut from_far, mut to_near) = (far.try_clone().ok()?, near.try_clone().ok()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_far, &mut to_near);
        to_near.shutdown(Shutdown::Write)
    });
    let _ = io::copy(&mut &near, &mut &far);
    far.shutdown(Shutdown::Write).ok()
}

#[test]
fn a_unix_socket_carries_a_run_as_tcp_does() {
    let server = Server::start(Mischief::None);
    let name = format!("loadgen-{}.socket", std::process::id());
    let path: PathBuf = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).expect("a path of this test's own");
    let carried = server.clone();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let server = carried.clone();
            thread::spawn(move || carry(near, &server));
        }
    });
    for engine in ENGINES {
        for (mode, transport) in [(Mode::Echo, Transport::Ws), (Mode::Fanout, Transport::LongPoll)]
        {
            let mut scenario = scenario(&server, engine, mode, transport);
            let address = Address::Unix(path.clone());
            scenario.target = Target { address, ..scenario.target };
            assert_whole(&measure(&scenario), &format!("{engine:?} {mode}"));
        }
    }
    std::fs::remove_file(path).expect("it can be removed");
}
