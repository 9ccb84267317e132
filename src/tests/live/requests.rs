//! The table of requests against the running kernel: whole, in two pieces, and byte by byte.
//!
//! Not here: the table (`../requests.txt`), and every other cut (`../whole.rs`, on *sim*).

use crate::client::{Client, get};
use crate::harness::{Engine, Running};
use crate::table::{Case, Then, cases};

on_both_engines!(requests_get_what_the_table_says, requests_in_pieces_get_what_the_table_says,);

/// Sends the case's bytes in pieces of `piece` and judges what comes back.
fn play(server: &Running, case: &Case, piece: usize) {
    let mut client = Client::connect(server.address);
    for piece in case.bytes.chunks(piece) {
        // Who is refused early may not hear the rest; what it is told is to be read all the same.
        if !client.try_send(piece) {
            break;
        }
    }
    while !case.is_answered(&client.received) && client.read_more() {}
    if case.then == Then::Closed {
        while client.read_more() {}
    }
    case.judge(&client.received, &format!("{piece} bytes at a time"));
    if case.then == Then::Kept {
        client.received.clear();
        assert_eq!(client.ask(get("/", "Connection: close\r\n")).status, 200, "{}", case.name);
        client.expect_end();
    }
}

fn requests_get_what_the_table_says(engine: Engine) {
    let server = Running::start(engine, 2, &[]);
    for case in cases() {
        play(&server, &case, usize::MAX);
    }
}

fn requests_in_pieces_get_what_the_table_says(engine: Engine) {
    let server = Running::start(engine, 2, &[]);
    for case in cases() {
        play(&server, &case, case.bytes.len().div_ceil(2));
        if case.bytes.len() < 1000 {
            play(&server, &case, 1);
        }
    }
}
