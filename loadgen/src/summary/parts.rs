//! The parts of a result beside its table: fairness, where the bytes go, errors for people.
//!
//! Pure functions. Invariant: what was not measured is absent.

use loadgen::outcome::Outcome;

use crate::result::{ErrorDetail, Fairness, Latency, Tcp, WireShare, per};

/// How alike connections were served, if there is more than one to compare.
pub(super) fn fairness(outcome: &Outcome) -> Option<Fairness> {
    let p99_of_connections_ns = Latency::of(&outcome.p99_of_connections);
    let is_told = p99_of_connections_ns.count > 1;
    is_told.then_some(Fairness { p99_of_connections_ns, jain_index: outcome.jain_index })
}

/// What the kernel counted on the sockets.
pub(super) fn tcp(outcome: &Outcome) -> Option<Tcp> {
    let sockets = outcome.sockets?;
    let wire_bytes =
        per(outcome.wire_bytes_sent + outcome.wire_bytes_received, outcome.deliveries_in_window);
    Some(Tcp {
        connections: sockets.connections,
        bytes_sent: sockets.bytes_sent,
        bytes_received: sockets.bytes_received,
        segments_sent: sockets.segments_sent,
        segments_received: sockets.segments_received,
        segments_retransmitted: sockets.segments_retransmitted,
        wire_bytes_per_message: wire_bytes
            .zip(tcp_ip_bytes(outcome))
            .map(|(stream, headers)| stream + headers),
    })
}

/// Bytes of TCP's and IP's headers for each message. Of a sample of the sockets: as many times
/// more as all carried more bytes.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn tcp_ip_bytes(outcome: &Outcome) -> Option<f64> {
    let sockets = outcome.sockets?;
    let carried = sockets.bytes_sent + sockets.bytes_received;
    let all = outcome.wire_bytes_sent + outcome.wire_bytes_received;
    let is_all = sockets.connections >= u64::from(outcome.connections_open);
    let scale = if is_all { 1.0 } else { per(all, carried)? };
    let headers = sockets.header_bytes(outcome.is_ipv6) as f64 * scale;
    (outcome.deliveries_in_window > 0).then(|| headers / outcome.deliveries_in_window as f64)
}

/// Where the bytes of a message go. Compressed, a payload's share cannot be told.
pub(super) fn wire_share(outcome: &Outcome) -> Option<WireShare> {
    let messages = outcome.deliveries_in_window;
    let stream = outcome.wire_bytes_sent + outcome.wire_bytes_received;
    let is_plain = outcome.compression.is_none_or(|compressed| compressed.connections == 0);
    let payload = Some(outcome.payload_bytes).filter(|_| is_plain);
    let protocol = payload.and_then(|payload| stream.checked_sub(payload));
    (messages > 0).then(|| WireShare {
        payload_bytes: payload.and_then(|bytes| per(bytes, messages)),
        protocol_bytes: protocol.and_then(|bytes| per(bytes, messages)),
        tcp_ip_bytes: tcp_ip_bytes(outcome),
    })
}

/// Every kind of error for people, and what messages suffered that is counted apart.
pub(super) fn error_details(outcome: &Outcome) -> Vec<ErrorDetail> {
    let of = |detail: &loadgen::outcome::ErrorDetail| ErrorDetail {
        code: detail.code.clone(),
        count: detail.count,
        first_at_ns: detail.first_at_ns,
        last_at_ns: detail.last_at_ns,
        meaning: detail.meaning.to_owned(),
        cure: detail.cure.to_owned(),
    };
    let suffered = [
        ("app.missing", outcome.gaps, "an expected message never came", LOST),
        ("app.duplicate", outcome.duplicates, "a message came again", REPEATED),
        ("app.reordered", outcome.reordered, "a message came after a later one", REPEATED),
        ("app.corrupted", outcome.corrupted, "a payload was not one of ours, or damaged", DAMAGED),
        ("app.impossible", outcome.impossible, "a payload that was never sent so", DAMAGED),
    ];
    let suffered = suffered.into_iter().filter(|(_, count, ..)| *count > 0);
    let suffered = suffered.map(|(code, count, meaning, cure)| ErrorDetail {
        code: code.to_owned(),
        count,
        first_at_ns: None,
        last_at_ns: None,
        meaning: meaning.to_owned(),
        cure: cure.to_owned(),
    });
    outcome.error_details.iter().map(of).chain(suffered).collect()
}

const LOST: &str = "the server drops under load, or lost a connection: see its queues and log";
const REPEATED: &str = "the server delivers more than once or out of order: see its guarantees";
const DAMAGED: &str = "see that nobody else publishes there, and what the server does to payloads";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::tests::scenario;
    use crate::result::Run;
    use crate::samples;
    use loadgen::outcome::Sockets;

    fn run(outcome: &Outcome) -> Run {
        crate::summary::run(&scenario(), outcome)
    }

    #[test]
    fn headers_of_sampled_sockets_stand_for_all() {
        let sockets = Sockets {
            connections: 200,
            bytes_received: 1_056_000,
            segments_sent: 16_000,
            segments_received: 16_000,
            segments_with_timestamps: 32_000,
            ..Sockets::default()
        };
        let whole = Outcome { sockets: Some(sockets), ..samples::outcome() };
        let told = run(&whole);
        // 66 bytes of the stream, and 52 of headers for the message and for its acknowledgement.
        assert_eq!(told.tcp.unwrap().wire_bytes_per_message, Some(66.0 + 104.0));
        let share = told.wire_share.unwrap();
        assert_eq!((share.payload_bytes, share.protocol_bytes), (Some(64.0), Some(2.0)));
        assert_eq!(share.tcp_ip_bytes, Some(104.0));
        let half = Sockets {
            connections: 100,
            bytes_received: 528_000,
            segments_sent: 8_000,
            segments_received: 8_000,
            segments_with_timestamps: 16_000,
            ..sockets
        };
        let sample = Outcome { sockets: Some(half), ..samples::outcome() };
        assert_eq!(run(&sample).wire_share.unwrap().tcp_ip_bytes, Some(104.0));
        let ipv6 = Outcome { is_ipv6: true, ..whole };
        assert_eq!(run(&ipv6).wire_share.unwrap().tcp_ip_bytes, Some(144.0));
        let none = run(&samples::outcome());
        assert_eq!((none.tcp, none.wire_share.unwrap().tcp_ip_bytes), (None, None));
    }

    #[test]
    fn what_messages_suffered_is_told_with_its_cure() {
        let bad = Outcome { gaps: 2, corrupted: 1, ..samples::outcome() };
        let details = run(&bad).error_details;
        let codes: Vec<_> = details.iter().map(|d| (d.code.as_str(), d.count)).collect();
        assert_eq!(codes, [("app.missing", 2), ("app.corrupted", 1)]);
        assert!(run(&samples::outcome()).error_details.is_empty());
    }
}
