//! Both ends of TLS against each other and against rustls' own buffered connection, over random
//! cuts; and the scripts of peers that mean harm.

#![cfg(not(loom))]

mod ends;
mod random;

#[cfg(test)]
mod tests {
    use ringwire_transport::{TLS_RECORD_BYTES_MAX, Tls, TlsFailureKind};
    use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
    use rustls::pki_types::ServerName;
    use rustls::{
        ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
        SupportedCipherSuite,
    };

    use crate::ends::{End, NAME, Terms, Wish, exchange, wishes};
    use crate::random::{Random, each_seed};

    /// The most that a record in progress and the parts of a handshake message come to.
    const HELD_BYTES_MAX: usize = 64 * 1024;

    fn tls13() -> Wish {
        *wishes().iter().find(|wish| wish.version == &rustls::version::TLS13).unwrap()
    }

    fn tls12() -> Wish {
        *wishes().iter().find(|wish| wish.version == &rustls::version::TLS12).unwrap()
    }

    fn below(random: &mut Random, bound: usize) -> usize {
        usize::try_from(random.below(bound as u64)).unwrap()
    }

    /// Gives `bytes` to `end` in pieces.
    fn take_cut(end: &mut End, bytes: &[u8], random: &mut Random, longest: usize) {
        let mut rest = bytes.to_vec();
        while !rest.is_empty() {
            let len = (1 + below(random, longest)).min(rest.len());
            let mut piece: Vec<u8> = rest.drain(..len).collect();
            end.take(&mut piece).unwrap();
        }
    }

    #[test]
    fn every_suite_carries_every_byte_over_any_cuts() {
        for wish in wishes() {
            each_seed(12, |seed| {
                let mut random = Random::new(seed);
                let terms = Terms::new(wish);
                let (mut server, mut client) = (terms.server(), terms.client());
                let longest = [1, 7, 300, 40_000][below(&mut random, 4)];
                while !client.out.is_empty() || !server.out.is_empty() {
                    take_cut(&mut server, &client.take_out(), &mut random, longest);
                    take_cut(&mut client, &server.take_out(), &mut random, longest);
                }
                assert!(server.tls.is_established() && client.tls.is_established());
                let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
                for _ in 0..20 {
                    let len = [1, 15, 125, 4000, 16_384, 16_385, 50_000][below(&mut random, 7)];
                    let message: Vec<u8> =
                        (0..len).map(|_| random.next().to_le_bytes()[0]).collect();
                    client.say(&message);
                    from_client.extend(message);
                    if random.below(3) == 0 {
                        take_cut(&mut server, &client.take_out(), &mut random, longest.max(5));
                        let reply =
                            vec![random.next().to_le_bytes()[0]; 1 + below(&mut random, 999)];
                        server.say(&reply);
                        from_server.extend(reply);
                    }
                }
                take_cut(&mut server, &client.take_out(), &mut random, longest.max(5));
                client.take(&mut server.take_out()).unwrap();
                assert!(server.plain == from_client, "the client's bytes changed");
                assert!(client.plain == from_server, "the server's bytes changed");
                assert_eq!((server.tls.held_bytes(), client.tls.held_bytes()), (0, 0));
            });
        }
    }

    #[test]
    fn what_is_sealed_keeps_its_bound() {
        for wish in wishes() {
            let (mut server, _client) = Terms::new(wish).pair();
            for len in [1, 100, 16_383, 16_384, 16_385, 3 * 16_384, 100_000] {
                let plain = vec![7; len];
                server.say(&plain);
                assert!(server.take_out().len() <= Tls::sealed_bytes_max(len));
            }
            assert!(server.tls.seal_into(&[1; 100], &mut [0; 50]).is_err(), "no room");
        }
        assert_eq!(TLS_RECORD_BYTES_MAX, 16_384);
    }

    #[test]
    fn close_notify_ends_one_direction_and_is_said_once() {
        for wish in [tls12(), tls13()] {
            let (mut server, mut client) = Terms::new(wish).pair();
            client.say(b"last words");
            client.tls.close_notify(&mut client.out);
            let said = client.out.len();
            client.tls.close_notify(&mut client.out);
            assert_eq!(client.out.len(), said);
            server.take(&mut client.take_out()).unwrap();
            assert_eq!(server.plain, b"last words");
            assert!(server.tls.is_peer_closed());
            // Whatever follows is swallowed.
            server.take(&mut [0x17; 100_000]).unwrap();
            assert_eq!((server.plain.len(), server.tls.held_bytes()), (10, 0));
            if wish.version == &rustls::version::TLS13 {
                server.say(b"an answer");
                server.tls.close_notify(&mut server.out);
                client.take(&mut server.take_out()).unwrap();
                assert_eq!(client.plain, b"an answer");
                assert!(client.tls.is_peer_closed());
            }
        }
    }

    #[test]
    fn sessions_are_taken_up_again() {
        for wish in [tls12(), tls13()] {
            let ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
            let terms = Terms::with(wish, |server| server.ticketer = ticketer, |_| {});
            let (server, _client) = terms.pair();
            assert!(!server.tls.is_resumed());
            let (server, client) = terms.pair();
            assert!(server.tls.is_resumed() && client.tls.is_resumed());
        }
    }

    #[test]
    fn only_another_application_protocol_is_refused_with_an_alert() {
        let terms = Terms::with(
            tls13(),
            |server| server.alpn_protocols = vec![b"http/1.1".to_vec()],
            |client| client.alpn_protocols = vec![b"h2".to_vec()],
        );
        let (mut server, mut client) = (terms.server(), terms.client());
        let failure = server.take(&mut client.take_out()).unwrap_err();
        assert_eq!(failure.kind(), TlsFailureKind::ApplicationProtocol);
        let failure = client.take(&mut server.take_out()).unwrap_err();
        assert_eq!(failure.kind(), TlsFailureKind::PeerAlert);
        assert!(failure.to_string().contains("NoApplicationProtocol"), "{failure}");
    }

    #[test]
    fn what_is_not_tls_fails_at_its_first_bytes() {
        for first in
            [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"SSH-2.0-x\r\n", b"\x16\x09\x09\0\x01"]
        {
            let mut end = Terms::new(tls13()).server();
            let failure = end.take(&mut first[..5].to_vec()).unwrap_err();
            assert_eq!(failure.kind(), TlsFailureKind::NotTls);
            assert_eq!(end.out.first(), Some(&21), "an alert");
            assert!(end.out.len() <= 7, "one alert");
            // It is over: nothing is kept of what follows.
            end.take(&mut [b'a'; 1000]).unwrap();
            assert_eq!(end.tls.held_bytes(), 0);
        }
    }

    #[test]
    fn a_changed_record_fails_with_an_alert() {
        for wish in wishes() {
            let (mut server, mut client) = Terms::new(wish).pair();
            client.say(b"something");
            let mut wire = client.take_out();
            *wire.last_mut().unwrap() ^= 1;
            let failure = server.take(&mut wire).unwrap_err();
            assert_eq!(failure.kind(), TlsFailureKind::Decrypt);
            assert!(!server.out.is_empty() && server.plain.is_empty());
            assert!(server.tls.seal(b"x", &mut Vec::new()).is_err());
        }
    }

    /// CVE-2024-32650: a close_notify right behind the ClientHello made a loop that waits for the
    /// handshake's end spin.
    #[test]
    fn a_close_notify_behind_the_client_hello_does_not_spin() {
        for wish in [tls12(), tls13()] {
            let (mut server, mut client) = {
                let terms = Terms::new(wish);
                (terms.server(), terms.client())
            };
            let mut script = client.take_out();
            script.extend_from_slice(&[21, 3, 3, 0, 2, 1, 0]);
            // TLS 1.2 bears a few such warnings.
            let mut failed = server.take(&mut script).is_err();
            for _ in 0..10 {
                failed |= server.take(&mut [21, 3, 3, 0, 2, 1, 0]).is_err();
            }
            assert!(failed && !server.tls.is_established());
            assert_eq!(server.tls.held_bytes(), 0);
            assert!(server.out.len() < 4096);
        }
    }

    /// A record for each byte of the handshake message, and a segment for each byte of a record.
    #[test]
    fn a_client_hello_in_records_of_one_byte_is_understood() {
        let terms = Terms::new(tls13());
        let (mut server, mut client) = (terms.server(), terms.client());
        let hello = client.take_out();
        for &byte in &hello[5..] {
            for piece in [22, 3, 1, 0, 1, byte] {
                server.take(&mut [piece]).unwrap();
            }
        }
        client.take(&mut server.take_out()).unwrap();
        exchange(&mut client, &mut server).unwrap();
        assert!(server.tls.is_established());
        assert_eq!(server.tls.held_bytes(), 0);
    }

    #[test]
    fn a_handshake_message_without_end_is_given_up() {
        let mut server = Terms::new(tls13()).server();
        // The header of a ClientHello of 65,535 bytes, and then one byte a record.
        server.take(&mut [22, 3, 1, 0, 4, 1, 0, 0xff, 0xff]).unwrap();
        let mut records = 0;
        let failure = loop {
            records += 1;
            match server.take(&mut [22, 3, 1, 0, 1, 0]) {
                Ok(()) => assert!(server.tls.held_bytes() <= HELD_BYTES_MAX),
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure.kind(), TlsFailureKind::Protocol);
        assert!(records > 5000, "{records}: too early");
        assert_eq!(server.tls.held_bytes(), 0);
    }

    /// A client whose keys are known, to encrypt what no client would.
    struct Forger {
        encrypter: Box<dyn MessageEncrypter>,
        sequence: u64,
    }

    impl Forger {
        fn new(wish: Wish) -> (End, Self) {
            let terms = Terms::with(wish, |_| {}, |client| client.enable_secret_extraction = true);
            let (server, client) = handshake(&terms);
            let secrets = client.dangerous_extract_secrets().unwrap();
            let (sequence, secrets) = secrets.tx;
            let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
            else {
                panic!("a new suite");
            };
            let SupportedCipherSuite::Tls13(suite) = wish.suite else { panic!("TLS 1.3 only") };
            (server, Self { encrypter: suite.aead_alg.encrypter(key, iv), sequence })
        }

        fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
            let payload = OutboundChunks::Single(payload);
            let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
            let record = self.encrypter.encrypt(message, self.sequence).unwrap().encode();
            self.sequence += 1;
            record
        }
    }

    /// A server's end against rustls' buffered client.
    fn handshake(terms: &Terms) -> (End, ClientConnection) {
        let name = ServerName::try_from(NAME).unwrap();
        let mut client = ClientConnection::new(terms.client.clone(), name).unwrap();
        let mut server = terms.server();
        while client.is_handshaking() || client.wants_write() {
            server.take(&mut wire_of(&mut client)).unwrap();
            give(&mut client, &server.take_out());
        }
        assert!(server.tls.is_established());
        (server, client)
    }

    fn wire_of(client: &mut ClientConnection) -> Vec<u8> {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        wire
    }

    fn give(client: &mut ClientConnection, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets().unwrap();
        }
    }

    /// rustls' place in what is kept must not be lost by a write between the halves: with an empty
    /// buffer it panics.
    #[test]
    fn half_a_key_update_does_not_stop_the_writing() {
        let (mut server, mut forger) = Forger::new(tls13());
        server.take(&mut forger.record(ContentType::Handshake, &[24, 0])).unwrap();
        assert!(server.tls.held_bytes() > 0);
        server.say(b"meanwhile");
        server.tls.close_notify(&mut server.out);
        let mut rest = forger.record(ContentType::Handshake, &[0, 1, 1]);
        let (one, two) = rest.split_at_mut(3);
        server.take(one).unwrap();
        server.take(two).unwrap();
        assert_eq!(server.tls.held_bytes(), 0);
    }

    #[test]
    fn application_data_within_a_handshake_message_is_refused() {
        let (mut server, mut forger) = Forger::new(tls13());
        server.take(&mut forger.record(ContentType::Handshake, &[24, 0])).unwrap();
        let failure =
            server.take(&mut forger.record(ContentType::ApplicationData, b"x")).unwrap_err();
        assert_eq!(failure.kind(), TlsFailureKind::Protocol);
        assert!(server.plain.is_empty());
    }

    #[test]
    fn empty_records_without_end_are_refused() {
        let (mut server, mut forger) = Forger::new(tls13());
        let mut records = 0;
        let failure = loop {
            records += 1;
            assert!(records < 1000, "they went on");
            let mut record = forger.record(ContentType::ApplicationData, b"");
            if let Err(failure) = server.take(&mut record) {
                break failure;
            }
            assert_eq!(server.tls.held_bytes(), 0);
        };
        assert_eq!(failure.kind(), TlsFailureKind::Protocol);
    }

    #[test]
    fn data_in_records_of_one_byte_is_all_there_and_nothing_is_kept() {
        let (mut server, mut forger) = Forger::new(tls13());
        let mut wire = Vec::new();
        for number in 0..3000_u32 {
            wire.extend(forger.record(ContentType::ApplicationData, &[number.to_le_bytes()[0]]));
        }
        server.take(&mut wire).unwrap();
        assert_eq!(server.plain.len(), 3000);
        assert_eq!(server.tls.held_bytes(), 0);
        assert!(server.out.is_empty());
    }

    #[test]
    fn key_updates_are_answered_by_one_and_a_flood_is_refused() {
        let (mut server, mut client) = handshake(&Terms::new(tls13()));
        for _ in 0..20 {
            client.refresh_traffic_keys().unwrap();
        }
        server.take(&mut wire_of(&mut client)).unwrap();
        server.say(b"x");
        // One key update and the record: twenty would be some 500 bytes.
        assert!(server.out.len() < 100, "{}", server.out.len());
        give(&mut client, &server.take_out());
        let mut updates = 0;
        let failure = loop {
            updates += 1;
            assert!(updates < 1000, "they went on");
            client.refresh_traffic_keys().unwrap();
            if let Err(failure) = server.take(&mut wire_of(&mut client)) {
                break failure;
            }
            assert_eq!(server.tls.held_bytes(), 0);
        };
        assert_eq!(failure.kind(), TlsFailureKind::Protocol);
        assert!(server.out.len() < 100, "it answers nothing but an alert");
    }

    #[test]
    fn random_bytes_never_panic_and_keep_little() {
        each_seed(300, |seed| {
            let mut random = Random::new(seed);
            let (mut server, mut client) = {
                let terms = Terms::new(if seed % 2 == 0 { tls12() } else { tls13() });
                (terms.server(), terms.client())
            };
            let mut wire = client.take_out();
            for _ in 0..1 + random.below(20) {
                let at = below(&mut random, wire.len());
                match random.below(3) {
                    0 => wire[at] = random.next().to_le_bytes()[0],
                    1 => drop(wire.drain(at..(at + 3).min(wire.len()))),
                    _ => wire.insert(at, random.next().to_le_bytes()[0]),
                }
                if wire.is_empty() {
                    return;
                }
            }
            for byte in wire {
                drop(server.take(&mut [byte]));
                drop(server.tls.seal(b"x", &mut Vec::new()));
                assert!(server.tls.held_bytes() <= HELD_BYTES_MAX);
            }
        });
    }
}
