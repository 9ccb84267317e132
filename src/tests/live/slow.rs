//! A reader that stops reading is cut at its byte limit, and nobody else loses anything.

use ringwire::metrics::DropReason;

use crate::client::{Client, get, post};
use crate::harness::{Engine, Running, eventually};
use crate::peers::{EventStream, Said, WebSocket};

on_both_engines!(a_stopped_reader_is_cut_and_the_others_lose_nothing);

/// Payload of a publication.
const BYTES: usize = 60_000;

/// More publications than the kernel and the server together can hold for one reader: both
/// socket buffers at their default limits, and the byte limit.
const ROUNDS_MAX: usize = 400;

fn payload(number: usize) -> String {
    let mut text = format!("{number} ");
    text.extend(std::iter::repeat_n('x', BYTES - text.len()));
    text
}

fn a_stopped_reader_is_cut_and_the_others_lose_nothing(engine: Engine) {
    let flags = ["--send-buffer", "64k", "--max-backpressure", "128k", "--history-size", "1000"];
    let server = Running::start(engine, 3, &flags);
    let address = server.address;
    let mut stopped = WebSocket::open(address, "/channels/a");
    let mut stopped_stream = EventStream::open(address, "/channels/a");
    let mut socket = WebSocket::open(address, "/channels/a");
    let mut stream = EventStream::open(address, "/channels/a");
    let mut poller = Client::connect(address);
    let mut since = socket.position.unwrap();
    let mut client = Client::connect(address);
    let cut = || server.sum(|metrics| metrics.drops(DropReason::SlowConsumer));
    let mut published = 0;
    // Each round the others read before the next begins: only who stopped falls behind.
    while cut() < 2 {
        published += 1;
        assert!(published < ROUNDS_MAX, "{} of 2 are cut after {published} rounds", cut());
        let text = payload(published);
        client.ask(post("a", "", text.as_bytes())).published();
        assert!(socket.hear_text() == text, "round {published}");
        assert!(stream.hear().data == text, "round {published}");
        let path = format!("/channels/a?since={since}&wait=30");
        let polled = poller.ask(get(&path, "")).polled();
        assert!(polled.items == [(published as u64, text.into_bytes())], "round {published}");
        since = polled.position;
    }
    // What it was sent before is whole and in order, and then it is told.
    let mut read = 0;
    loop {
        match stopped.hear() {
            Said::Text(text) => {
                read += 1;
                assert!(text == payload(read), "message {read}");
            }
            Said::Close(Some((code, reason))) => {
                assert_eq!(code, 3008, "{reason}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(read < published, "it was not cut: {read} of {published}");
    let mut read = 0;
    while let Some(event) = stopped_stream.hear_or_end() {
        read += 1;
        assert!(event.data == payload(read), "event {read}");
    }
    assert!(read < published, "it was not cut: {read} of {published}");
    // It comes back where it left off, and misses nothing.
    let (last_id, _) = stopped_stream.resumption();
    let mut again =
        EventStream::open_with(address, "/channels/a", &format!("Last-Event-ID: {last_id}\r\n"));
    for number in read + 1..=published {
        assert!(again.hear().data == payload(number), "event {number}");
    }
    drop((stopped, stopped_stream));
    eventually(|| server.live() == 5, || format!("{} instead of 5 are left", server.live()));
    let text = payload(published + 1);
    client.ask(post("a", "", text.as_bytes())).published();
    assert!(socket.hear_text() == text && stream.hear().data == text && again.hear().data == text);
}
