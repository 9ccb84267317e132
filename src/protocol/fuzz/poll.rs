//! The JSON of polls: any bytes are an answer or none, and what was written is what is read.

use ringwire_protocol::poll::{
    ITEM_SEPARATOR, encode_answer_head, encode_answer_tail, encode_item, encode_position,
    encode_published, parse_answer, parse_item, parse_position, parse_published,
};
use ringwire_protocol::{Epoch, Position, channel_name};

use super::input::Input;

/// Reads the bytes as JSON and as a position, or writes them as payloads and reads them back.
pub fn poll(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte() & 1 == 0 {
        read(input.take(usize::MAX));
    } else {
        round_trip(&mut input);
    }
}

fn read(bytes: &[u8]) {
    if let Ok(answer) = parse_answer(bytes) {
        let mut out = Vec::new();
        encode_answer_head(&mut out, answer.position, answer.recovered);
        for (index, item) in answer.items.iter().enumerate() {
            if index > 0 {
                out.push(ITEM_SEPARATOR);
            }
            encode_item(&mut out, item.offset, &item.payload, item.is_text);
        }
        encode_answer_tail(&mut out);
        assert_eq!(parse_answer(&out).expect("our own"), answer);
    }
    let _ = parse_published(bytes);
    let _ = parse_position(bytes);
    let _ = parse_item(bytes);
    let _ = channel_name(bytes);
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(position) = text.parse::<Position>()
    {
        assert_eq!(position.to_string(), text, "one spelling of each position");
    }
}

fn round_trip(input: &mut Input<'_>) {
    let position = Position { epoch: Epoch(input.word()), offset: input.word() };
    assert_eq!(position.to_string().parse(), Ok(position));
    let recovered = input.byte() & 1 == 1;
    let mut out = Vec::new();
    encode_position(&mut out, position, recovered);
    assert_eq!(parse_position(&out).expect("our own"), (position, recovered));
    out.clear();
    encode_published(&mut out, position);
    assert_eq!(parse_published(&out).expect("our own"), position);
    out.clear();
    encode_answer_head(&mut out, position, recovered);
    let mut payloads = Vec::new();
    while !input.is_empty() && payloads.len() < 16 {
        let (offset, text) = (input.word(), input.byte() & 1 == 1);
        let len = usize::from(input.byte());
        let payload = input.take(len);
        let at = out.len();
        if !payloads.is_empty() {
            out.push(ITEM_SEPARATOR);
        }
        encode_item(&mut out, offset, payload, text);
        let alone = &out[at + usize::from(!payloads.is_empty())..];
        assert_eq!(parse_item(alone).expect("our own").payload, payload);
        payloads.push((offset, payload, text && std::str::from_utf8(payload).is_ok()));
    }
    encode_answer_tail(&mut out);
    let answer = parse_answer(&out).expect("our own");
    assert_eq!((answer.position, answer.recovered), (position, recovered));
    let read: Vec<(u64, &[u8], bool)> =
        answer.items.iter().map(|item| (item.offset, &*item.payload, item.is_text)).collect();
    assert_eq!(read, payloads);
}
