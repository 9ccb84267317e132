//! permessage-deflate on whole workers: who is answered how, who pays, and what goes wrong.
//!
//! Not here: the streams and the negotiation by themselves (`protocol`'s tests).

use ringwire_protocol::ws::{
    DeflateOffer, Deflator, Direction, Effort, Opcode, encode_compressed_frame,
};
use ringwire_ring::sim::{Faults, each_seed};

use super::speaker::{OFFER, Said, Speaker, request};
use super::wire::post;
use super::world::{Plan, World};
use crate::app::{Access, Application, Context, Decision, Message, UpgradeRequest};
use crate::channels::Name;
use crate::metrics::DropReason;

const SHARED: [&str; 2] = ["--compression", "shared"];
const DEDICATED: [&str; 2] = ["--compression", "dedicated"];

/// Some JSON of about this many bytes.
fn json(len: usize, salt: usize) -> String {
    let mut text = String::from("[");
    while text.len() < len - 12 {
        let number = (text.len() + salt) * 7919 % 10_007;
        text.push_str(&format!("{{\"id\":{number},\"name\":\"user {salt}\",\"on\":true}},"));
    }
    text.push_str("{\"end\":0}]");
    text
}

fn plan(flags: &[&'static str]) -> Plan {
    let mut flags = flags.to_vec();
    flags.extend(["--ping-interval", "1h"]);
    Plan { flags, ..Plan::new(1) }
}

fn compressions(world: &World<impl Application>) -> (u64, u64) {
    let sum = |value: fn(&crate::metrics::WorkerMetrics) -> u64| -> u64 {
        world.metrics.iter().map(|metrics| value(metrics)).sum()
    };
    (sum(|m| m.publications_compressed.value()), sum(|m| m.messages_compressed.value()))
}

/// The answer's value of `Sec-WebSocket-Extensions`.
fn answer(flags: &[&'static str], offer: &str) -> Option<String> {
    let world = World::new(&plan(flags));
    let peer = world.connect();
    let head = world.exchange(&peer, &request("/echo", offer, ""));
    assert!(head.starts_with("HTTP/1.1 101 "), "{offer} is answered {head}");
    let line = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    line.map(str::to_owned)
}

#[test]
fn offers_are_answered_as_the_mode_says() {
    let browser = "permessage-deflate; client_max_window_bits";
    assert_eq!(answer(&[], browser), None, "off by default");
    let alone = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(answer(&SHARED, browser).as_deref(), Some(alone));
    assert_eq!(answer(&DEDICATED, browser).as_deref(), Some("permessage-deflate"));
    let narrow = [&DEDICATED[..], &["--max-window-bits", "11"]].concat();
    let expected = "permessage-deflate; server_max_window_bits=11; client_max_window_bits=11";
    assert_eq!(answer(&narrow, browser).as_deref(), Some(expected));
    for bad in ["permessage-deflate; server_max_window_bits=8", "permessage-deflate; x", "\"", ","]
    {
        assert_eq!(answer(&DEDICATED, bad), None, "{bad}");
    }
}

#[test]
fn messages_come_back_compressed_in_kind_and_from_the_threshold_on() {
    for flags in [SHARED, DEDICATED] {
        for server_window_bits in [9, 12, 15] {
            let world = World::new(&plan(&flags));
            let mut speaker =
                Speaker::open(&world, "/echo", DeflateOffer { server_window_bits, ..OFFER });
            for (len, compressed) in [(20, false), (255, false), (256, true), (60_000, true)] {
                for round in 0..3 {
                    let text = &json(len, round).into_bytes()[..len.min(json(len, round).len())];
                    let text = [text, &vec![b' '; len - text.len()]].concat();
                    speaker.send(&text);
                    assert_eq!(speaker.wait(&world), Said::Message(text.clone(), true));
                    speaker.send_plain(&text);
                    assert_eq!(speaker.wait(&world), Said::Message(text, compressed));
                }
            }
            speaker.send(b"");
            assert_eq!(speaker.wait(&world), Said::Message(Vec::new(), true));
            speaker.peer.fin();
            world.run_empty();
        }
    }
}

#[test]
fn what_does_not_shrink_goes_as_it_is_unless_asked_in_kind() {
    let mut word = 1_u64;
    let mut letter = || {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b' ' + (word >> 57).to_le_bytes()[0] % 95)
    };
    let noise: String = (0..2000).map(|_| letter()).collect();
    let world = World::new(&plan(&SHARED));
    let mut speaker = Speaker::open(&world, "/echo", OFFER);
    for (in_kind, calls) in [(false, 1), (true, 2)] {
        if in_kind {
            speaker.send(noise.as_bytes());
        } else {
            speaker.send_plain(noise.as_bytes());
        }
        let Said::Message(said, compressed) = speaker.wait(&world) else { panic!("a message") };
        assert_eq!(said, noise.as_bytes());
        assert_eq!(compressed, in_kind, "it was tried and became longer");
        assert_eq!(compressions(&world), (0, calls));
    }
}

#[test]
fn every_message_comes_back_under_every_lossless_fault() {
    each_seed(8, |seed| {
        let mode = if seed % 2 == 0 { SHARED } else { DEDICATED };
        let plan = Plan { workers: 2, faults: Faults::lossless(), ..plan(&mode) };
        let world = World::new(&Plan { seed, ..plan });
        let mut speakers: Vec<_> = (0..4).map(|_| Speaker::open(&world, "/echo", OFFER)).collect();
        for round in 0..6 {
            for (salt, speaker) in speakers.iter_mut().enumerate() {
                speaker.send(json(100 + 300 * round, salt).as_bytes());
            }
            for (salt, speaker) in speakers.iter_mut().enumerate() {
                let Said::Message(text, _) = speaker.wait(&world) else { panic!("a message") };
                assert_eq!(text, json(100 + 300 * round, salt).as_bytes());
            }
        }
        speakers.iter().for_each(|speaker| speaker.peer.fin());
        world.run_empty();
    });
}

/// A fan-out of 1 KiB of JSON to 1,000 subscribers on two workers.
fn fan_out(flags: &[&'static str], json_subprotocol: bool) {
    let plan = Plan { workers: 2, slots_max: 1024, ..plan(flags) };
    let world = World::new(&plan);
    let extra = if json_subprotocol { "Sec-WebSocket-Protocol: ringwire.json.1\r\n" } else { "" };
    let peers: Vec<_> = (0..1000).map(|_| world.connect()).collect();
    let head = request("/channels/a", "permessage-deflate; client_max_window_bits", extra);
    peers.iter().for_each(|peer| peer.send(head.as_bytes()));
    let first = if json_subprotocol { b"\"recovered\":true}" } else { b"\r\n\r\n" as &[u8] };
    let mut waiting: Vec<_> = peers.iter().collect();
    world.run_until(|| {
        waiting.retain(|peer| !peer.received().ends_with(first));
        waiting.is_empty()
    });
    peers.iter().for_each(|peer| drop(peer.take_received()));
    let live: Vec<u64> = world.metrics.iter().map(|m| m.subscriptions.value()).collect();
    assert!(live.iter().all(|&live| live > 0), "a worker without subscribers: {live:?}");
    let publisher = world.connect();
    for round in 1..=3 {
        let text = json(1024, round);
        world.exchange(&publisher, &post("a", &text));
        let mut waiting: Vec<_> = peers.iter().collect();
        world.run_until(|| {
            waiting.retain(|peer| peer.received().is_empty());
            waiting.is_empty()
        });
        let frames: Vec<_> = peers.iter().map(|peer| peer.take_received()).collect();
        assert!(frames.iter().all(|frame| *frame == frames[0]), "all get the same bytes");
        assert_eq!(frames[0][0], 0xC1, "RSV1, one whole text");
        assert!(frames[0].len() < text.len() / 2, "{} bytes of {}", frames[0].len(), text.len());
        assert_eq!(compressions(&world), (round as u64, 0), "once for all, not for each");
    }
}

#[test]
fn a_publication_is_compressed_once_for_a_thousand_subscribers() {
    fan_out(&SHARED, false);
    fan_out(&DEDICATED, false);
}

#[test]
fn a_publication_with_its_position_is_compressed_once_too() {
    fan_out(&SHARED, true);
    fan_out(&DEDICATED, true);
}

#[test]
fn subscribers_with_narrow_windows_share_a_frame_of_their_own() {
    let world = World::new(&Plan { workers: 2, ..plan(&DEDICATED) });
    let mut speakers: Vec<_> = [15, 9, 10, 14, 15, 9, 12]
        .into_iter()
        .map(|server_window_bits| DeflateOffer { server_window_bits, ..OFFER })
        .map(|offer| Speaker::open(&world, "/channels/a", offer))
        .collect();
    let plain = world.open(&super::wire::upgrade("a", ""));
    let _ = plain.take_received();
    let publisher = world.connect();
    for round in 1..=3 {
        let text = json(4000, round);
        world.exchange(&publisher, &post("a", &text));
        for speaker in &mut speakers {
            assert_eq!(speaker.wait(&world), Said::Message(text.clone().into_bytes(), true));
        }
        world.run_until(|| plain.received().len() >= text.len());
        assert!(plain.take_received().ends_with(text.as_bytes()));
        assert_eq!(compressions(&world), (2 * round as u64, 0), "wide and narrow");
    }
    // Below the threshold nobody compresses, and nobody tries.
    world.exchange(&publisher, &post("a", "short"));
    for speaker in &mut speakers {
        assert_eq!(speaker.wait(&world), Said::Message(b"short".to_vec(), false));
    }
    assert_eq!(compressions(&world), (6, 0));
}

/// Subscribes everybody to one channel, and says back to each what it sends.
struct Both;

impl Application for Both {
    type Session = ();

    fn serves(&self, _channel: &Name, _access: Access) -> bool {
        true
    }

    fn on_upgrade(&mut self, _request: &UpgradeRequest<'_, ()>) -> Decision<()> {
        Decision::Join {
            session: (),
            subprotocol: None,
            channel: Name::new("a"),
            since: None,
            positions: false,
        }
    }

    fn on_message(&mut self, _session: &mut (), message: Message<'_>, context: &mut Context<'_>) {
        let _ = context.send(message.kind, message.payload);
    }
}

/// Publications and own messages in turn, through one window at the client.
fn mix(flags: &[&'static str], offer: DeflateOffer) {
    let world = World::of(&plan(flags), |_| Both);
    let mut speaker = Speaker::open(&world, "/", offer);
    let publisher = world.connect();
    // The same words everywhere: whatever could refer to an earlier message does.
    for round in 0..20 {
        let text = json(600 + 100 * (round % 5), 7);
        let own = |speaker: &mut Speaker, text: &str| {
            speaker.send(text.as_bytes());
            assert_eq!(speaker.wait(&world), Said::Message(text.into(), true), "round {round}");
        };
        world.exchange(&publisher, &post("a", &text));
        let said = speaker.wait(&world);
        assert_eq!(said, Said::Message(text.clone().into_bytes(), true), "round {round}");
        own(&mut speaker, &text);
        if round % 3 > 0 {
            own(&mut speaker, &text[..500]);
        }
        if round % 4 == 0 {
            // What is not compressed moves no window.
            world.exchange(&publisher, &post("a", "short"));
            assert_eq!(speaker.wait(&world), Said::Message(b"short".to_vec(), false));
            own(&mut speaker, &text);
        }
    }
    speaker.peer.fin();
    publisher.fin();
    world.run_empty();
}

#[test]
fn shared_frames_between_own_messages_corrupt_no_context() {
    for bits in [9, 11, 15] {
        mix(&DEDICATED, DeflateOffer { server_window_bits: bits, ..OFFER });
        mix(&SHARED, DeflateOffer { server_window_bits: bits, ..OFFER });
    }
    mix(&DEDICATED, DeflateOffer { server_no_context_takeover: true, ..OFFER });
    mix(&DEDICATED, DeflateOffer { client_no_context_takeover: true, ..OFFER });
}

#[test]
fn a_context_shortens_what_repeats_until_a_shared_frame_comes() {
    let world = World::of(&plan(&DEDICATED), |_| Both);
    let mut speaker = Speaker::open(&world, "/", OFFER);
    let publisher = world.connect();
    let text = json(2000, 3);
    let own = |speaker: &mut Speaker| {
        speaker.send(text.as_bytes());
        world.run_until(|| !speaker.peer.received().is_empty());
        let len = speaker.peer.received().len();
        assert_eq!(speaker.hear(), [Said::Message(text.clone().into_bytes(), true)]);
        len
    };
    let (first, second) = (own(&mut speaker), own(&mut speaker));
    assert!(second * 4 < first, "{second} bytes after {first}");
    world.exchange(&publisher, &post("a", &text));
    assert_eq!(speaker.wait(&world), Said::Message(text.clone().into_bytes(), true));
    assert_eq!(own(&mut speaker), first, "a new start");
    assert!(own(&mut speaker) * 4 < first, "and a context again");
    world.exchange(&publisher, &post("a", "short"));
    assert_eq!(speaker.wait(&world), Said::Message(b"short".to_vec(), false));
    assert!(own(&mut speaker) * 4 < first, "a plain frame is none of the window's");
}

#[test]
fn what_was_missed_is_replayed_compressed_and_not_compressed_again() {
    for flags in [SHARED, DEDICATED] {
        let world = World::new(&Plan { workers: 2, ..plan(&flags) });
        let publisher = world.connect();
        let first = world.exchange(&publisher, &post("a", &json(1024, 0)));
        let epoch = first.split("\"epoch\":\"").nth(1).and_then(|rest| rest.get(..16));
        let epoch = epoch.expect("an epoch");
        for salt in 1..6 {
            world.exchange(&publisher, &post("a", &json(1024, salt)));
        }
        assert_eq!(compressions(&world), (0, 0), "nobody wants it yet");
        for round in 0..3 {
            let target = format!("/channels/a?since={epoch}:1");
            let mut speaker = Speaker::open(&world, &target, OFFER);
            let mut said = Vec::new();
            world.run_until(|| {
                said.extend(speaker.hear());
                said.len() == 5
            });
            let expected: Vec<_> =
                (1..6).map(|salt| Said::Message(json(1024, salt).into_bytes(), true)).collect();
            assert_eq!(said, expected, "round {round}");
            assert_eq!(compressions(&world), (5, 0), "each once");
            speaker.peer.fin();
        }
    }
}

#[test]
fn several_publications_at_once_are_their_frames_in_a_row() {
    let world = World::new(&Plan { workers: 2, ..plan(&SHARED) });
    let mut speaker = Speaker::open(&world, "/channels/a", OFFER);
    let publisher = world.connect();
    let texts: Vec<_> = (0..10).map(|salt| json(1024, salt)).collect();
    let all: String = texts.iter().map(|text| post("a", text)).collect();
    publisher.send(all.as_bytes());
    let mut said = Vec::new();
    world.run_until(|| {
        said.extend(speaker.hear());
        said.len() == 10
    });
    let expected: Vec<_> =
        texts.into_iter().map(|text| Said::Message(text.into_bytes(), true)).collect();
    assert_eq!(said, expected);
    assert_eq!(compressions(&world), (10, 0));
}

/// Sends compressed bytes as a text; the Close that comes, and the reason it is counted by.
fn closed(flags: &[&'static str], compressed: &[u8], reason: DropReason) -> (u16, String) {
    let world = World::new(&plan(flags));
    let mut speaker = Speaker::open(&world, "/echo", OFFER);
    speaker.send(&json(500, 1).into_bytes());
    assert!(matches!(speaker.wait(&world), Said::Message(_, true)));
    speaker.send_compressed(compressed);
    let Said::Close(code, words) = speaker.wait(&world) else { panic!("a Close") };
    assert_eq!(world.drops(reason), 1);
    speaker.peer.fin();
    world.run_empty();
    (code, words)
}

#[test]
fn what_cannot_be_inflated_is_closed_with_the_reason() {
    let direction = Direction { window_bits: 15, context_takeover: false };
    let compress = |bytes: &[u8]| {
        let mut out = Vec::new();
        Deflator::new(direction, Effort::Thorough).deflate(bytes, &mut out);
        out
    };
    let bomb = compress(&vec![0; 4 << 20]);
    assert!(bomb.len() < 5 << 10, "a thousand to one: {} bytes", bomb.len());
    for flags in [SHARED, DEDICATED] {
        let (code, words) = closed(&flags, &bomb, DropReason::MessageSize);
        assert_eq!((code, words.as_str()), (1009, "the message is too big"));
        let (code, words) = closed(&flags, &compress(&vec![b'x'; 65_537]), DropReason::MessageSize);
        assert_eq!((code, words.as_str()), (1009, "the message is too big"));
        let (code, words) = closed(&flags, &[0x07], DropReason::Protocol);
        assert_eq!((code, words.as_str()), (1007, "the compressed message cannot be inflated"));
        let (code, words) = closed(&flags, &compress(b"caf\xC3"), DropReason::Utf8);
        assert_eq!((code, words.as_str()), (1007, "the text is not UTF-8"));
    }
}

#[test]
fn a_compressed_frame_without_an_agreement_is_a_reserved_bit() {
    for (flags, extensions) in [(&[][..], "permessage-deflate"), (&SHARED[..], "other")] {
        let world = World::new(&plan(flags));
        let peer = world.open(&request("/echo", extensions, ""));
        let _ = peer.take_received();
        peer.send(&[0xC1, 0x81, 0, 0, 0, 0, 0]);
        world.run_until(|| !peer.received().is_empty());
        assert_eq!(peer.received()[2..4], 1002_u16.to_be_bytes());
        peer.fin();
        world.run_empty();
    }
}

#[test]
fn contexts_are_counted_and_given_back() {
    let world = World::new(&plan(&DEDICATED));
    let mut listener = Speaker::open(&world, "/channels/a", OFFER);
    let publisher = world.connect();
    let text = json(1024, 1);
    world.exchange(&publisher, &post("a", &text));
    assert!(matches!(listener.wait(&world), Said::Message(_, true)));
    let idle = world.held_bytes();
    assert!(idle < 1024, "one that listens has no context: {idle} bytes");
    let mut speaker = Speaker::open(&world, "/echo", OFFER);
    speaker.send(text.as_bytes());
    assert!(matches!(speaker.wait(&world), Said::Message(_, true)));
    let held = world.held_bytes() - idle;
    assert!(held > 400 << 10 && held < 430 << 10, "{held} bytes for both directions");
    let shared = World::new(&plan(&SHARED));
    let mut other = Speaker::open(&shared, "/echo", OFFER);
    other.send(text.as_bytes());
    assert!(matches!(other.wait(&shared), Said::Message(_, true)));
    assert_eq!(shared.held_bytes(), 0, "a shared one has nothing");
    [listener.peer, speaker.peer, publisher].iter().for_each(ringwire_ring::sim::RawPeer::fin);
    world.run_empty();
}

#[test]
fn a_drain_closes_compressed_connections_as_others() {
    for flags in [SHARED, DEDICATED] {
        let world = World::new(&Plan { workers: 2, ..plan(&flags) });
        let mut speakers: Vec<_> = (0..6).map(|_| Speaker::open(&world, "/echo", OFFER)).collect();
        for speaker in &mut speakers {
            speaker.send(&json(2000, 1).into_bytes());
        }
        world.drain();
        for speaker in &mut speakers {
            let mut said = Vec::new();
            world.run_until(|| {
                said.extend(speaker.hear());
                matches!(said.last(), Some(Said::Close(1001, _)))
            });
            // After our Close a message is not looked at any more, not inflated either.
            speaker.send_compressed(&[0x07]);
            speaker
                .peer
                .send(&super::wire::frame(Opcode::Close, &super::wire::close_payload(1001)));
        }
        world.run_until(|| speakers.iter().all(|speaker| speaker.peer.is_ended()));
        speakers.iter().for_each(|speaker| speaker.peer.fin());
        world.run_until(|| world.is_done());
        assert_eq!(world.drops(DropReason::Protocol), 0);
        assert_eq!(world.held_bytes(), 0);
    }
}

/// Whoever makes little of much to read does not keep the worker from the others.
#[test]
fn a_turn_inflates_no_more_than_its_share() {
    let world = World::new(&plan(&SHARED));
    let mut bomber = Speaker::open(&world, "/echo", OFFER);
    let text = vec![b' '; 60_000];
    let mut compressed = Vec::new();
    let direction = Direction { window_bits: 15, context_takeover: false };
    Deflator::new(direction, Effort::Quick).deflate(&text, &mut compressed);
    let count = 600;
    let mut frame = Vec::new();
    encode_compressed_frame(&mut frame, Opcode::Text, &compressed, Some([7, 8, 9, 10]));
    bomber.peer.send(&frame.repeat(count));
    let (mut said, mut received, mut most) = (0, 0, 0);
    world.run_until(|| {
        let now = world.metrics[0].messages_received.value();
        most = most.max(now - received);
        received = now;
        said += bomber.hear().len();
        said == count
    });
    let share = crate::limits::INFLATED_BYTES_MAX / text.len() + 2;
    assert!(most > 1 && most <= share as u64, "{most} messages in a turn, {share} are its share");
    bomber.peer.fin();
    world.run_empty();
}
