//! What RFC 6455 asks of a client that only its bytes on the wire can show.
//!
//! Not here: how frames are read (`ringwire_protocol`). The server is a script on a simulated
//! kernel that keeps every byte it is sent.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ringwire_protocol::http::{HeadLimits, HeadScanner, parse_request};
use ringwire_protocol::ws::{check_upgrade, encode_switching};
use ringwire_ring::sim::{DriverOptions, Faults, Sim, SimDriver, SimOptions};
use ringwire_ring::{Accepting, Completion, Driver};

use super::sim::{SERVER, scenario, simulate_against};
use crate::scenario::Scenario;

/// What the server does with a whole request.
#[derive(Clone, Copy)]
enum Answer {
    Nothing,
    /// Says this, for ever the same.
    Fixed(&'static [u8]),
    /// Accepts, and says these frames behind the 101.
    Frames(&'static [u8]),
    /// Breaks the connection off.
    End,
}

/// One connection as the server saw it.
#[derive(Default)]
struct Seen {
    /// The request, then what came behind it.
    head: Vec<u8>,
    rest: Vec<u8>,
    ended_by_client: bool,
}

struct Script {
    driver: SimDriver,
    answer: Answer,
    /// By slot index and generation.
    seen: BTreeMap<u64, Seen>,
}

impl Script {
    fn new(sim: &Sim, answer: Answer) -> Self {
        let mut driver = sim.driver(DriverOptions::default());
        driver.listen(sim.listener(SERVER.parse::<std::net::SocketAddr>().unwrap())).unwrap();
        driver.accept(Accepting::On);
        Self { driver, answer, seen: BTreeMap::new() }
    }

    fn turn(&mut self) {
        let mut completions = Vec::new();
        self.driver.turn(u64::MAX, &mut completions).unwrap();
        for completion in completions {
            match completion {
                Completion::Accepted { slot, .. } => self.driver.receive(slot, true),
                Completion::Received { slot, lease } => {
                    let seen = self.seen.entry(slot.to_bits()).or_default();
                    let Some(out) = seen.receive(&lease, self.answer) else { continue };
                    drop(lease);
                    match self.answer {
                        Answer::End => self.driver.close(slot),
                        _ if out.is_empty() => {}
                        _ => self.driver.send(slot, out.into()),
                    }
                }
                Completion::Ended { slot, .. } => {
                    self.seen.entry(slot.to_bits()).or_default().ended_by_client = true;
                    self.driver.close(slot);
                }
                _ => {}
            }
        }
    }
}

impl Seen {
    /// What to say now that the request is whole; `None` at any other time.
    fn receive(&mut self, bytes: &[u8], answer: Answer) -> Option<Vec<u8>> {
        if self.head.ends_with(b"\r\n\r\n") {
            self.rest.extend_from_slice(bytes);
            return None;
        }
        self.head.extend_from_slice(bytes);
        let limits = HeadLimits::default();
        let end = HeadScanner::new().find_end(&self.head, &limits).expect("a good head")?;
        self.rest = self.head.split_off(end);
        let request = parse_request(&self.head, &limits).expect("a good request");
        let mut out = Vec::new();
        match answer {
            Answer::Nothing | Answer::End => {}
            Answer::Fixed(bytes) => out.extend_from_slice(bytes),
            Answer::Frames(frames) => {
                let upgrade = check_upgrade(&request).expect("a good upgrade");
                encode_switching(&mut out, upgrade.key, None, &[]);
                out.extend_from_slice(frames);
            }
        }
        Some(out)
    }

    fn key(&self) -> Vec<u8> {
        let request = parse_request(&self.head, &HeadLimits::default()).unwrap();
        request.header("Sec-WebSocket-Key").unwrap().to_vec()
    }

    /// Opcode and masking key of every frame, whose lengths are all short.
    fn frames(&self) -> Vec<(u8, [u8; 4])> {
        let mut frames = Vec::new();
        let mut rest = &self.rest[..];
        while let [first, second, key @ ..] = rest {
            assert!(second & 0x80 != 0, "a frame without a mask");
            let (&key, payload) = key.split_first_chunk::<4>().expect("whole frames");
            frames.push((first & 0x0F, key));
            rest = &payload[usize::from(second & 0x7F)..];
        }
        frames
    }
}

/// What a server that answers so sees of a run.
fn play(scenario: &Scenario, answer: Answer) -> Vec<Seen> {
    let sim = Sim::new(1, SimOptions { faults: Faults::none(), ..SimOptions::default() });
    let script = RefCell::new(Script::new(&sim, answer));
    // Whether it is called a success is not the question here.
    let _ = simulate_against(&sim, &mut || script.borrow_mut().turn(), scenario);
    // What the clients did last is on its way.
    sim.advance(1_000_000_000);
    script.borrow_mut().turn();
    let seen: Vec<Seen> = script.into_inner().seen.into_values().collect();
    assert_eq!(seen.len(), 7, "every connection was made");
    seen
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# When the client is to _Establish a WebSocket Connection_ given a set of (/host/, /port/,
//# /resource name/, and /secure/ flag), along with a list of /protocols/ and /extensions/ to be
//# used, and an /origin/ in the case of web browsers, it MUST open a connection, send an
//# opening handshake, and read the server's handshake in response.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# Once a connection to the server has been established (including a connection via a proxy or
//# over a TLS-encrypted tunnel), the client MUST send an opening handshake to the server.
//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# Once the client's opening handshake has been sent, the client MUST wait for a response from
//# the server before sending any further data.
#[test]
fn a_client_asks_and_waits_for_the_answer() {
    for seen in play(&scenario(), Answer::Nothing) {
        assert!(seen.head.starts_with(b"GET /echo HTTP/1.1\r\nHost: h\r\n"));
        assert_eq!(seen.rest, b"", "nothing is said before the answer");
        assert!(seen.ended_by_client, "nobody waits for ever");
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
//= type=test
//# The nonce MUST be selected randomly for each connection.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.1
//= type=test
//# To avoid confusing network intermediaries (such as intercepting proxies) and for security
//# reasons that are further discussed in Section 10.3, a client MUST mask all frames that it
//# sends to the server (see Section 5.3 for further details).
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
//= type=test
//# When preparing a masked frame, the client MUST pick a fresh masking key from the set of
//# allowed 32-bit values.
//= https://www.rfc-editor.org/rfc/rfc6455#section-5.3
//= type=test
//# The masking key needs to be unpredictable; thus, the masking key MUST be derived from a
//# strong source of entropy, and the masking key for a given frame MUST NOT make it simple for
//# a server/proxy to predict the masking key for a subsequent frame.
//= https://www.rfc-editor.org/rfc/rfc6455#section-6.1
//= type=test
//# If the data is being sent by the client, the frame(s) MUST be masked as defined in Section
//# 5.3.
//= https://www.rfc-editor.org/rfc/rfc6455#section-10.3
//= type=test
//# Clients MUST choose a new masking key for each frame, using an algorithm that cannot be
//# predicted by end applications that provide data.
#[test]
fn every_frame_of_a_client_has_a_mask_of_its_own() {
    // A ping, so that pongs are among them.
    let seen = play(&scenario(), Answer::Frames(b"\x89\x02hi"));
    let mut keys = BTreeSet::new();
    let mut frames = 0;
    let mut opcodes = BTreeSet::new();
    for (opcode, key) in seen.iter().flat_map(Seen::frames) {
        keys.insert(key);
        opcodes.insert(opcode);
        frames += 1;
    }
    assert_eq!(opcodes, BTreeSet::from([1, 8, 10]), "texts, pongs and Close");
    assert!(frames > 180, "{frames} frames");
    assert_eq!(keys.len(), frames, "no key twice");
    let differences: BTreeSet<u32> = seen
        .iter()
        .flat_map(|seen| {
            let keys: Vec<u32> =
                seen.frames().iter().map(|(_, key)| u32::from_be_bytes(*key)).collect();
            keys.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect::<Vec<_>>()
        })
        .collect();
    assert!(differences.len() > frames - 2 * seen.len(), "and no step from one to the next");
    let nonces: BTreeSet<Vec<u8>> = seen.iter().map(Seen::key).collect();
    assert_eq!(nonces.len(), seen.len(), "no nonce twice");
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-7.1.7
//= type=test
//# To do so, the client MUST _Close the WebSocket Connection_, and MAY report the problem to
//# the user (which would be especially useful for developers) in an appropriate manner.
//= https://www.rfc-editor.org/rfc/rfc6455#section-7.2.1
//= type=test
//# To do so, the client MUST _Fail the WebSocket Connection_ as defined in Section 7.1.7.
#[test]
fn a_client_ends_what_broke_the_rules() {
    for answer in [
        // A masked frame; a reserved bit; a text that is none; a Close of one byte.
        Answer::Frames(b"\x81\x81\0\0\0\0x"),
        Answer::Frames(b"\xC1\x01x"),
        Answer::Frames(b"\x81\x01\xFF"),
        Answer::Frames(b"\x88\x01x"),
        // An answer that is none.
        Answer::Fixed(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
        Answer::Fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        Answer::Fixed(b"220 smtp.example ESMTP\r\n\r\n"),
    ] {
        for seen in play(&scenario(), answer) {
            assert!(seen.ended_by_client);
            let said = seen.frames();
            let closes = said.iter().filter(|(opcode, _)| *opcode == 8).count();
            assert_eq!(said.len(), closes, "nothing but a Close is said to it");
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc6455#section-7.2.1
//= type=test
//# If at any point the underlying transport layer connection is unexpectedly lost, the client
//# MUST _Fail the WebSocket Connection_.
#[test]
fn a_lost_connection_is_over() {
    for seen in play(&scenario(), Answer::End) {
        assert_eq!(seen.rest, b"", "nothing was said on it");
    }
}
