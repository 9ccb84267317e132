//! A publication, and several of them on their way to one worker after another.
//!
//! Not here: who keeps them. Invariants: a publication never changes; each encoding of it, and
//! each joined form of a batch, is made at most once, whoever asks first.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ringwire_protocol::{Position, ws};

use super::encoding::Encoding;
use crate::press::Press;

/// The compressed forms of a publication, which only those have that somebody wants.
type Compressed = [OnceLock<Bytes>; Encoding::COUNT - Encoding::PLAIN_COUNT];

/// What the first compressed form of a publication adds to its memory besides its bytes.
pub(super) const COMPRESSED_BYTES: usize = size_of::<Compressed>();

/// One message of a channel, at its position.
#[derive(Debug)]
pub struct Publication {
    position: Position,
    text: bool,
    payload: Bytes,
    encoded: [OnceLock<Bytes>; Encoding::PLAIN_COUNT],
    compressed: OnceLock<Box<Compressed>>,
}

impl Publication {
    pub(super) fn new(position: Position, text: bool, payload: Bytes) -> Self {
        let encoded = Default::default();
        Self { position, text, payload, encoded, compressed: OnceLock::new() }
    }

    /// Where it stands in its channel.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its place within its epoch.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.position.offset
    }

    /// Whether the payload was published as text.
    #[must_use]
    pub fn text(&self) -> bool {
        self.text
    }

    /// What was published.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The publication as `encoding` writes it. The home has made what its subscribers need
    /// before it hands a publication over, so this finds it; a compressed form that is not there
    /// is not made here, and the plain one says the same.
    #[must_use]
    pub fn encoded(&self, encoding: Encoding) -> &Bytes {
        self.found(encoding).unwrap_or_else(|| {
            self.encoded[encoding.plain().index()]
                .get_or_init(|| encoding.encode(self.position, self.text, &self.payload))
        })
    }

    /// Whether that encoding has been made.
    #[must_use]
    pub fn is_encoded(&self, encoding: Encoding) -> bool {
        self.found(encoding).is_some()
    }

    fn found(&self, encoding: Encoding) -> Option<&Bytes> {
        match encoding.index().checked_sub(Encoding::PLAIN_COUNT) {
            None => self.encoded[encoding.index()].get(),
            Some(place) => self.compressed.get()?[place].get(),
        }
    }

    /// Makes an encoding that is not there; says what it adds to the memory, and how many were
    /// made for it.
    pub(super) fn make(&self, encoding: Encoding, press: &mut Press) -> (usize, u64) {
        let Some(place) = encoding.index().checked_sub(Encoding::PLAIN_COUNT) else {
            return (self.encoded(encoding).len(), 1);
        };
        let (mut bytes, mut made) = (0, 1);
        let form = encoding.compress(self.position, self.text, &self.payload, press);
        let form = form.inspect(|form| bytes += form.len()).unwrap_or_else(|| {
            let plain = encoding.plain();
            if !self.is_encoded(plain) {
                bytes += self.encoded(plain).len();
                made += 1;
            }
            self.encoded(plain).clone()
        });
        let forms = self.compressed.get_or_init(|| {
            bytes += COMPRESSED_BYTES;
            Box::default()
        });
        // Nobody but the home makes any, so that the place is free.
        let _ = forms[place].set(form);
        (bytes, made)
    }

    /// Whether the frame in this encoding is a compressed one.
    pub(crate) fn is_compressed(&self, encoding: Encoding) -> bool {
        encoding.window().is_some() && ws::is_compressed(self.encoded(encoding))
    }
}

/// Publications of one channel in order, handed to every worker that has subscribers.
#[derive(Debug)]
pub struct Batch {
    items: Box<[Arc<Publication>]>,
    joined: [OnceLock<Bytes>; Encoding::COUNT],
}

impl Batch {
    /// # Panics
    /// When there is nothing in it.
    pub(super) fn new(items: Vec<Arc<Publication>>) -> Self {
        assert!(!items.is_empty(), "a batch of nothing");
        Self { items: items.into(), joined: Default::default() }
    }

    /// What is in it, in order; never empty.
    #[must_use]
    pub fn items(&self) -> &[Arc<Publication>] {
        &self.items
    }

    /// Where a subscriber stands that has the whole batch.
    #[must_use]
    pub fn position(&self) -> Position {
        self.items[self.items.len() - 1].position
    }

    /// Whether any frame in this encoding is a compressed one.
    pub(crate) fn is_compressed(&self, encoding: Encoding) -> bool {
        self.items.iter().any(|item| item.is_compressed(encoding))
    }

    /// All of it in one buffer, made by the first worker that asks; see [`join`].
    #[must_use]
    pub fn joined(&self, encoding: Encoding) -> Bytes {
        if let [only] = &*self.items {
            return only.encoded(encoding).clone();
        }
        self.joined[encoding.index()].get_or_init(|| join(&self.items, encoding)).clone()
    }
}

/// Publications one behind the other in one buffer, poll items with commas between. A single one
/// is shared, not copied.
#[must_use]
pub fn join(items: &[Arc<Publication>], encoding: Encoding) -> Bytes {
    if let [only] = items {
        return only.encoded(encoding).clone();
    }
    let separator = encoding.separator();
    let len: usize = items.iter().map(|item| item.encoded(encoding).len() + separator.len()).sum();
    let mut bytes = Vec::with_capacity(len);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            bytes.extend_from_slice(separator);
        }
        bytes.extend_from_slice(item.encoded(encoding));
    }
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use ringwire_protocol::Epoch;

    use super::*;

    fn publications(payloads: &[&'static str]) -> Vec<Arc<Publication>> {
        (1..)
            .zip(payloads)
            .map(|(offset, payload)| {
                let position = Position { epoch: Epoch(7), offset };
                Arc::new(Publication::new(position, true, Bytes::from_static(payload.as_bytes())))
            })
            .collect()
    }

    #[test]
    fn a_single_publication_is_shared_not_copied() {
        let items = publications(&["one"]);
        let batch = Batch::new(items.clone());
        for encoding in Encoding::ALL {
            let single = items[0].encoded(encoding);
            assert_eq!(batch.joined(encoding).as_ptr(), single.as_ptr());
            assert_eq!(join(&items, encoding).as_ptr(), single.as_ptr());
        }
    }

    #[test]
    fn several_are_one_buffer_made_once() {
        let items = publications(&["one", "two", "three"]);
        let batch = Batch::new(items.clone());
        assert_eq!(batch.position(), items[2].position());
        for encoding in Encoding::ALL {
            let parts: Vec<_> = items.iter().map(|item| item.encoded(encoding).to_vec()).collect();
            let separator: &[u8] = if encoding == Encoding::Poll { b"," } else { b"" };
            let joined = batch.joined(encoding);
            assert_eq!(joined, parts.join(separator));
            assert_eq!(joined.as_ptr(), batch.joined(encoding).as_ptr());
        }
        assert_eq!(batch.joined(Encoding::Ws), &b"\x81\x03one\x81\x03two\x81\x05three"[..]);
    }

    #[test]
    fn joining_nothing_is_nothing() {
        assert!(join(&[], Encoding::Poll).is_empty());
    }

    #[test]
    fn text_and_binary_keep_their_kind() {
        let position = Position { epoch: Epoch(1), offset: 9 };
        let text = Publication::new(position, true, Bytes::from_static(b"hi"));
        let binary = Publication::new(position, false, Bytes::from_static(b"hi"));
        assert_eq!(text.encoded(Encoding::Ws), &b"\x81\x02hi"[..]);
        assert_eq!(binary.encoded(Encoding::Ws), &b"\x82\x02hi"[..]);
        assert_eq!(text.encoded(Encoding::Poll), &br#"{"offset":9,"data":"hi"}"#[..]);
        assert_eq!(binary.encoded(Encoding::Poll), &br#"{"offset":9,"data_base64":"aGk="}"#[..]);
        assert_eq!(text.encoded(Encoding::Json)[0], 0x81);
        assert_eq!(text.encoded(Encoding::Json)[2..], text.encoded(Encoding::Poll)[..]);
        assert!(!text.is_encoded(Encoding::Sse));
    }
}
