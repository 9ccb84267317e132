//! Streams of events: any bytes are read the same however they are cut, and no payload breaks out.

use ringwire_protocol::sse::{
    EventTooLarge, Parser, encode_comment, encode_event, encode_position, encode_reset,
    encode_retry,
};
use ringwire_protocol::{Epoch, Position};

use super::cuts::Cuts;
use super::input::Input;

/// An event that owns its bytes: id, name, data.
type Seen = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Reads the bytes as a stream, or writes them as payloads and reads them back.
pub fn sse(data: &[u8]) {
    let mut input = Input::new(data);
    let writes = input.byte() & 1 == 1;
    let mut cuts = Cuts::new(&mut input);
    if writes {
        round_trip(&mut input, &mut cuts);
    } else {
        let event_bytes_max = input.pick(&[1 << 16, 1000, 10, 0]);
        let stream = input.take(usize::MAX);
        let whole = read(event_bytes_max, [stream]);
        assert_eq!(read(event_bytes_max, cuts.pieces(stream)), whole, "cut into pieces");
        assert_eq!(read(event_bytes_max, stream.chunks(1)), whole, "byte by byte");
    }
}

/// The events, how it ended, and what is remembered: the last id and the time to wait.
type Read = (Vec<Seen>, Result<(), EventTooLarge>, Option<(Vec<u8>, Option<u64>)>);

fn read<'b>(event_bytes_max: usize, pieces: impl IntoIterator<Item = &'b [u8]>) -> Read {
    let mut parser = Parser::new(event_bytes_max);
    let mut seen = Vec::new();
    for mut piece in pieces {
        loop {
            match parser.next(&mut piece) {
                Ok(Some(event)) => {
                    let _ = (event.position(), event.binary());
                    seen.push((event.id.to_vec(), event.name.to_vec(), event.data.to_vec()));
                }
                Ok(None) => break,
                Err(too_large) => return (seen, Err(too_large), None),
            }
        }
        assert!(piece.is_empty(), "None means that all is consumed");
        // The data's line ends are counted after their lines.
        assert!(parser.held_bytes() <= 2 * event_bytes_max + 2, "{} held", parser.held_bytes());
    }
    (seen, Ok(()), Some((parser.last_id().to_vec(), parser.retry_ms())))
}

fn round_trip(input: &mut Input<'_>, cuts: &mut Cuts) {
    let mut stream = Vec::new();
    let mut expected = Vec::new();
    let mut id = Vec::new();
    for offset in 1..32 {
        if input.is_empty() {
            break;
        }
        let position = Position { epoch: Epoch(input.word()), offset };
        let kind = input.byte();
        let len = usize::from(input.byte());
        let payload = input.take(len);
        match kind % 8 {
            0 => encode_comment(&mut stream, &String::from_utf8_lossy(payload)),
            1 => encode_retry(&mut stream, position.epoch.0),
            2 => {
                encode_position(&mut stream, position);
                id = position.to_string().into_bytes();
            }
            3 => {
                encode_reset(&mut stream, position);
                id = position.to_string().into_bytes();
                expected.push((id.clone(), None));
            }
            kind => {
                encode_event(&mut stream, position, payload, kind & 1 == 0);
                id = position.to_string().into_bytes();
                expected.push((id.clone(), Some((payload.to_vec(), kind & 1 == 0))));
            }
        }
    }
    let (seen, end, told) = read(1 << 16, cuts.pieces(&stream));
    assert_eq!((end, told.map(|(last, _)| last)), (Ok(()), Some(id)));
    assert_eq!(seen.len(), expected.len(), "{}", String::from_utf8_lossy(&stream));
    for ((id, name, data), (own_id, payload)) in seen.into_iter().zip(expected) {
        assert_eq!(id, own_id);
        match payload {
            None => assert_eq!(name, b"reset"),
            Some((payload, text)) if name.is_empty() => assert!(text && data == payload),
            Some((payload, _)) => {
                assert_eq!(name, b"binary");
                let mut again = Vec::new();
                let position = String::from_utf8(id).expect("ASCII").parse().expect("our own");
                encode_event(&mut again, position, &payload, false);
                let lines = [b"event: binary\ndata: ", &data[..], b"\n\n"].concat();
                assert!(again.ends_with(&lines), "another payload");
            }
        }
    }
}
