//! TLS between a connection and its socket.
//!
//! Not here: certificates and trust (`crate::secure`). Invariants: what TLS itself has to say
//! leaves before anything that is sealed after it; bytes are sealed in the order in which they
//! leave; nothing is spoken before the handshake is over.

use bytes::Bytes;
use ringwire_ring::{Driver, Slot};
use ringwire_transport::{Opened, Plain, Tls, TlsFailure};

use super::Client;
use super::say::ARENA_MESSAGE_BYTES_MAX;
use crate::engine::error::ErrorCode;
use crate::engine::member::Secured;

impl<D: Driver> Client<D> {
    /// Says the first words of the handshake.
    pub(super) fn begin_tls(&mut self, position: usize) {
        let (_, secure) = self.plan.destination(self.members[position].part);
        let Some(secure) = secure else { return };
        let mut words = Vec::new();
        //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
        //# If /secure/ is true, the client MUST perform a TLS handshake over the connection
        //# after opening the connection and before sending the handshake data [RFC2818].
        match secure.begin(&mut words) {
            Ok(tls) => {
                let since_ns = self.driver.clock_ns();
                self.members[position].tls = Some(Box::new(Secured { tls, since_ns }));
                self.write_records(position, &words);
            }
            Err(failure) => self.fail_tls(position, &failure),
        }
    }

    /// Takes in bytes of the wire: hears what is in them, and answers what TLS itself asks.
    pub(super) fn open_records(&mut self, position: usize, bytes: &mut [u8]) {
        let slot = self.members[position].slot;
        let mut used = 0;
        while used < bytes.len() {
            let Some(secured) = self.members[position].tls.as_deref_mut() else { return };
            let was_established = secured.tls.is_established();
            let mut wire = std::mem::take(&mut self.wire);
            wire.clear();
            let opened = secured.tls.open(&mut bytes[used..], &mut self.joined, &mut wire);
            let is_new = secured.tls.is_established() && !was_established;
            if is_new {
                let spent_ns = self.driver.clock_ns().saturating_sub(secured.since_ns);
                self.ledger.tls.record(spent_ns);
                self.ledger.tls_resumed += u64::from(secured.tls.is_resumed());
            }
            self.write_records(position, &wire);
            self.wire = wire;
            let Opened { used: more, plain } = match opened {
                Ok(opened) => opened,
                //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
                //# If this fails (e.g., the server's certificate could not be verified), then
                //# the client MUST _Fail the WebSocket Connection_ and abort the connection.
                Err(failure) => return self.fail_tls(position, &failure),
            };
            if is_new {
                //= https://www.rfc-editor.org/rfc/rfc6455#section-4.1
                //# Otherwise, all further communication on this channel MUST run through the
                //# encrypted tunnel [RFC5246].
                self.begin_speech(position);
            }
            match plain {
                Plain::None => {}
                Plain::Here(range) => {
                    self.hear(position, &mut bytes[used + range.start..used + range.end]);
                }
                Plain::Joined(range) => {
                    let mut joined = std::mem::take(&mut self.joined);
                    self.hear(position, &mut joined[range]);
                    self.joined = joined;
                }
            }
            used += more;
            if self.members[position].slot != slot {
                return;
            }
        }
        let tls = self.members[position].tls.as_ref();
        if tls.is_some_and(|secured| secured.tls.is_peer_closed()) {
            self.ended(position, Ok(()));
        }
    }

    /// What `plain_bytes` are on the wire at most.
    pub(super) fn wire_bytes_max(&self, position: usize, plain_bytes: usize) -> usize {
        match self.members[position].tls {
            Some(_) => Tls::sealed_bytes_max(plain_bytes),
            None => plain_bytes,
        }
    }

    /// Sends `bytes` encrypted: in the batch where there is room for `slot`, else behind what
    /// waits.
    pub(super) fn send_sealed(&mut self, position: usize, slot: Option<Slot>, bytes: &[u8]) {
        let Some(secured) = self.members[position].tls.as_deref_mut() else { return };
        let fits = Tls::sealed_bytes_max(bytes.len()) <= ARENA_MESSAGE_BYTES_MAX;
        let sealed = match slot.filter(|_| fits) {
            Some(slot) => secured
                .tls
                .seal_into(bytes, self.batch.arena())
                .map(|len| self.push(position, slot, len)),
            None => {
                let mut sealed = Vec::new();
                let done = secured.tls.seal(bytes, &mut sealed);
                done.map(|()| self.queue(position, sealed.into()))
            }
        };
        if let Err(failure) = sealed {
            self.fail_tls(position, &failure);
        }
    }

    /// Says that nothing more comes.
    pub(super) fn notify_close(&mut self, position: usize) {
        let Some(secured) = self.members[position].tls.as_deref_mut() else { return };
        let mut words = Vec::new();
        secured.tls.close_notify(&mut words);
        self.write_records(position, &words);
    }

    /// Sends what is encrypted, or needs no encryption.
    fn write_records(&mut self, position: usize, records: &[u8]) {
        if records.is_empty() {
            return;
        }
        match self.prepare(position, records.len()) {
            Some(slot) if records.len() <= ARENA_MESSAGE_BYTES_MAX => {
                self.batch.arena()[..records.len()].copy_from_slice(records);
                self.push(position, slot, records.len());
            }
            _ => self.queue(position, Bytes::copy_from_slice(records)),
        }
    }

    /// The connection cannot go on; the alert that says so to the server is written.
    fn fail_tls(&mut self, position: usize, failure: &TlsFailure) {
        self.flush();
        let code = ErrorCode::of_tls(failure);
        if !self.members[position].was_open {
            self.control.refuse(code, || failure.to_string());
        }
        self.lose(position, code);
    }
}
