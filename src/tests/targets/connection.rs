//! Whole connections on *sim*: the bytes choose the flags, what is sent and how it is cut, and
//! what the kernel does meanwhile.
//!
//! Held: nothing panics; what is kept for a peer is bounded at every moment; what the server says
//! is well-formed; and once the peers are gone everything ends and nothing is kept.

use ringwire_protocol::http::{HeadLimits, HeadScanner, parse_response};
use ringwire_protocol::sse;
use ringwire_protocol::ws::{
    Cursor, Deflate, DeflateOffer, Deflator, Direction, Effort, Event, Inbound, Inflator, Limits,
    Opcode, Role, check_switching, encode_frame, set_compressed,
};
use ringwire_ring::sim::{Faults, RawPeer};

use super::input::Input;
use crate::tests::world::{Plan, World};

/// Connections of one run.
const PEERS_MAX: usize = 4;

/// Steps of one run.
const STEPS_MAX: usize = 200;

/// What may be kept for one peer. In: a head and a body, or a message; what waits behind an answer;
/// and what one receive brought on top of it. Out: a full queue, and one answer that overshoots it.
const HELD_BYTES_MAX: usize = (16 + 64 + 16 + 2 * 16) * 1024 + 1024 + (256 + 2 * 64) * 1024;

/// The start of a request that becomes something else than one answer.
const KEY: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The key in it.
const KEY_TEXT: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A client, and whether its answers may have no body though they announce one.
struct Client {
    peer: RawPeer,
    asked_for_heads: bool,
    /// What it may still send: through small buffers everything takes its steps.
    sends_bytes_max: usize,
}

/// Runs a world as the bytes say.
pub(crate) fn connection(data: &[u8]) {
    let mut input = Input::new(data);
    let seed = input.word();
    let plan = Plan {
        workers: usize::from(input.byte() % 2) + 1,
        faults: faults(&mut input),
        mesh_capacity: input.pick(&[64, 1, 2, 16]),
        slots_max: input.pick(&[16, 3, 2]),
        socket_bytes: input.pick(&[64 * 1024, 20, 300, 4096]),
        flags: flags(&mut input, seed),
        ..Plan::new(seed)
    };
    let world = World::new(&plan);
    let is_fast = plan.faults == Faults::none();
    let sends_bytes_max = if is_fast { plan.socket_bytes * 10 } else { 4096 }.clamp(1000, 100_000);
    let mut clients: Vec<Client> = Vec::new();
    let mut drains = false;
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        drains |= step(&world, &mut clients, &mut input, sends_bytes_max);
        let held = world.held_bytes();
        assert!(held <= HELD_BYTES_MAX * clients.len(), "{held} bytes are held");
    }
    world.sim.heal();
    for client in &clients {
        client.peer.start_reading();
        client.peer.fin();
    }
    if drains {
        world.run_until(|| world.is_done());
        assert_eq!((world.live(), world.held_bytes()), (0, 0), "left behind");
    } else {
        world.run_until(|| clients.iter().all(|client| client.peer.is_ended()));
        world.run_empty();
    }
    for client in &clients {
        check(client);
    }
}

fn faults(input: &mut Input<'_>) -> Faults {
    match input.byte() % 4 {
        0 => Faults::none(),
        1 => Faults::lossless(),
        2 => Faults::all(),
        _ => {
            let mut chance = || f64::from(input.byte()) / 512.0;
            Faults {
                short_receives: chance(),
                short_sends: chance(),
                full_sends: chance(),
                buffers_exhausted: chance(),
                rearms: chance(),
                queue_overflows: chance(),
                delays: chance(),
                reorders: chance(),
                stragglers: chance(),
                small_buffers: chance(),
                ..Faults::none()
            }
        }
    }
}

fn flags(input: &mut Input<'_>, seed: u64) -> Vec<&'static str> {
    let choices: [&[&str]; 8] = [
        &[],
        &["--max-message-size", "10"],
        &["--max-backpressure", "100"],
        &["--history-size", "1", "--recovery-max-publication-limit", "1"],
        &["--max-channels", "1"],
        &["--header-timeout", "100ms", "--keepalive-timeout", "100ms"],
        &["--ping-interval", "10ms", "--pong-timeout", "10ms", "--close-timeout", "10ms"],
        &["--subprotocol", "ringwire.json.1", "--allowed-origin", "http://b"],
    ];
    let chosen = input.byte();
    let chosen = choices.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
    let compression: &[&str] = match seed >> 56 & 3 {
        0 => &[],
        1 => &["--compression", "shared", "--compression-threshold", "1"],
        2 => &["--compression", "dedicated", "--compression-threshold", "10"],
        _ => &["--compression", "dedicated", "--max-window-bits", "9"],
    };
    let chosen = chosen.flat_map(|(_, flags)| flags.iter().copied());
    chosen.chain(compression.iter().copied()).collect()
}

/// One thing that happens; whether it is the end of the server.
fn step(
    world: &World,
    clients: &mut Vec<Client>,
    input: &mut Input<'_>,
    sends_bytes_max: usize,
) -> bool {
    let what = input.byte();
    if clients.is_empty() || (what.is_multiple_of(16) && clients.len() < PEERS_MAX) {
        let peer = world.connect();
        clients.push(Client { peer, asked_for_heads: false, sends_bytes_max });
        return false;
    }
    let count = clients.len();
    let client = &mut clients[usize::from(what >> 4) % count];
    match what % 16 {
        0 => world.pass_ms(1),
        1..=3 => {
            let len = usize::from(input.byte());
            client.send(input.take(len));
        }
        4 | 5 => client.send(request(input).as_bytes()),
        6..=8 => client.send(&frame(input)),
        9 => {
            let repeated = [input.byte()].repeat(usize::from(input.byte()) * 257);
            client.send(&repeated);
        }
        10 => world.pass_ms(u64::from(input.byte())),
        11 => world.pass(u64::from(input.byte() % 40)),
        12 => client.peer.stop_reading(),
        13 => client.peer.start_reading(),
        14 => client.peer.fin(),
        _ if input.byte().is_multiple_of(4) => {
            world.drain();
            return true;
        }
        _ => client.peer.reset(),
    }
    false
}

fn request(input: &mut Input<'_>) -> String {
    let choice = input.byte();
    let name = ["a", "b", "%61", "c"][usize::from(choice % 4)];
    let extra = match choice >> 4 & 3 {
        0 => "",
        1 => "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        2 => "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n",
        _ => "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n",
    };
    let channel = format!("/channels/{name}");
    match input.byte() {
        200.. => format!(
            "POST {channel} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;x\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\n"
        ),
        kind => match kind % 10 {
            0 => format!("GET /echo HTTP/1.1\r\nHost: h\r\n{extra}{KEY}\r\n"),
            1 => format!("GET {channel} HTTP/1.1\r\nHost: h\r\n{extra}{KEY}\r\n"),
            2 => format!(
                "GET {channel} HTTP/1.1\r\nHost: h\r\n{extra}\
                 Sec-WebSocket-Protocol: ringwire.json.1\r\n{KEY}\r\n"
            ),
            3 => format!("GET {channel} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"),
            4 => format!("GET {channel} HTTP/1.1\r\nHost: h\r\n\r\n"),
            5 => format!(
                "GET {channel}?since=00000000000000ab:1&wait={} HTTP/1.1\r\nHost: h\r\n\r\n",
                input.byte() % 32
            ),
            6 | 7 => {
                let len = usize::from(input.byte());
                let body = "x".repeat(len);
                format!("POST {channel} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n{body}")
            }
            8 => "GET / HTTP/1.1\r\nHost: h\r\nOrigin: http://b\r\n\r\n".to_owned(),
            _ => "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned(),
        },
    }
}

/// A frame as a client sends it, its first byte as it comes.
fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let first = input.byte();
    let len = usize::from(input.byte()) * if first & 0x40 == 0 { 1 } else { 257 };
    let key = [input.byte(), 0, 1, 0xFF];
    let mut payload = input.take(len).to_vec();
    payload.resize(len, b'.');
    let is_compressed = first & 0x80 != 0;
    if is_compressed {
        let direction = Direction { window_bits: 9, context_takeover: false };
        let mut compressed = Vec::new();
        Deflator::new(direction, Effort::Quick).deflate(&payload, &mut compressed);
        payload = compressed;
    }
    let mut out = Vec::new();
    encode_frame(&mut out, Opcode::Text, &payload, Some(key));
    // Mostly whole texts and binaries, and everything else too.
    out[0] = match first & 0x3F {
        0..=15 => 0x81,
        16..=23 => 0x82,
        24..=31 => 0x80 | (first & 0x0F),
        _ => (first & 0x0F) | (first & 0x10) << 3,
    };
    if is_compressed {
        set_compressed(&mut out);
    }
    out
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.asked_for_heads |= bytes.contains(&b'D');
        let len = bytes.len().min(self.sends_bytes_max);
        self.sends_bytes_max -= len;
        self.peer.send(&bytes[..len]);
    }
}

/// What the server said is well-formed, as far as it goes.
fn check(client: &Client) {
    let all = client.peer.received();
    let mut rest = &all[..];
    while let Ok(Some(end)) = HeadScanner::new().find_end(rest, &HeadLimits::default()) {
        let (head, behind) = rest.split_at(end);
        let response = parse_response(head).expect("a well-formed answer");
        if response.status == 101 {
            let offered = ["ringwire.json.1".to_owned()];
            let offer = DeflateOffer::default();
            // Whoever did not offer compression is not answered with it: then there is nothing
            // to be too generous with here.
            let switched = check_switching(&response, KEY_TEXT, &offered, Some(&offer));
            let deflate = switched.expect("a 101 as it should be").deflate;
            return check_frames(behind, deflate);
        }
        let is_stream = response.header("Content-Type") == Some(b"text/event-stream");
        if is_stream && response.status == 200 {
            let mut parser = sse::Parser::new(1 << 20);
            let mut bytes = behind;
            while parser.next(&mut bytes).expect("small events").is_some() {}
            return;
        }
        if client.asked_for_heads {
            return;
        }
        let len = response.content_length.expect("every body has a length");
        let len = usize::try_from(len).expect("a body in memory");
        // A peer that does not read in time is cut off, in the middle of a body too.
        let Some(after) = behind.get(len..) else { return };
        rest = after;
    }
}

fn check_frames(bytes: &[u8], deflate: Option<Deflate>) {
    let limits = Limits { message_bytes_max: 1 << 20, empty_fragments_max: 0 };
    let mut bytes = bytes.to_vec();
    let mut inbound = match deflate {
        Some(_) => Inbound::with_deflate(Role::Client),
        None => Inbound::new(Role::Client),
    };
    let mut inflator = deflate.map(|deflate| Inflator::new(deflate.incoming(Role::Client)));
    let mut scratch = Vec::new();
    let mut cursor = Cursor::new(&mut bytes);
    while let Some(event) = inbound.next(&mut cursor, &limits).expect("well-formed frames") {
        if let (Event::Compressed { kind, payload }, Some(inflator)) = (event, &mut inflator) {
            inflator.inflate(payload, kind, &limits, &mut scratch).expect("an unbroken context");
        }
    }
}
