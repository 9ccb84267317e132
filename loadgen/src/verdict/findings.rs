//! What a run found out about the server and the way to it: for people, never against the run.
//!
//! Pure. Invariant: each finding names the side it is about and the figures it rests on.

use super::{Evidence, percent, shown};

/// A server below this share of one processor was not at its limit.
const BUSY_SHARE: f64 = 0.90;

/// Everything found, worst first.
pub(crate) fn findings(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((answered, expected)) = evidence.answered.filter(|_| evidence.is_server_full()) {
        let mut text = format!(
            "the server was full: {answered} of {expected} messages that were due were there by \
             the window's end"
        );
        if let [first, .., last] = evidence.p50_ns[..]
            && last > first
        {
            let (first, last) = (shown(first), shown(last));
            text.push_str(&format!("; the median went from {first} to {last}"));
        }
        found.push(text);
    }
    if evidence.is_open_loop && evidence.is_blocked() {
        let p99 = shown(evidence.blocked_p99_ns as f64);
        found.push(format!("sends waited for the server: p99 {p99} from picked up to sent"));
    }
    if evidence.refused > 0 {
        let count = evidence.refused;
        found.push(format!("{count} connections were refused; see the errors for why"));
    }
    if evidence.lost > 0 {
        let count = evidence.lost;
        found.push(format!("{count} connections were lost in the window; see the errors for why"));
    }
    let idle = evidence.server_busy_share.filter(|share| *share < BUSY_SHARE);
    if let (false, true, Some(share)) = (evidence.is_open_loop, evidence.samples.is_some(), idle) {
        found.push(format!(
            "the server used only {} of one processor: not its limit, but that of the round trip; \
             raise --in-flight or --connections to find it",
            percent(share)
        ));
    }
    let around = &evidence.surroundings;
    let queues = [
        (
            around.listen_overflows,
            "connects found the accept queue full",
            "raise somaxconn and the \
          server's backlog, or lower --connect-rate",
        ),
        (around.backlog_drops, "segments found a socket's queue full", "the receiver is busy"),
        (around.retransmits, "segments were sent again", "see the network for losses"),
    ];
    for (count, what, cure) in queues {
        if let Some(count) = count.filter(|count| *count > 0) {
            found.push(format!("{count} {what} on this machine in the window: {cure}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::*;
    use crate::verdict::State;
    use loadgen::outcome::Surroundings;

    #[test]
    fn a_full_server_is_found_and_the_run_stays_valid() {
        let full = Evidence {
            is_open_loop: true,
            offered_count: 100_000,
            picked_up_count: 100_000,
            answered: Some((80_000, 100_000)),
            blocked_p99_ns: 3_000_000_000,
            intended_p99_ns: 9_000_000_000,
            intended_p99_9_ns: 9_900_000_000,
            p50_ns: (1..=20).map(|n| f64::from(n) * 4e8).collect(),
            samples: Some(80_000),
            ..Evidence::default()
        };
        let found = findings(&full);
        assert!(found[0].starts_with("the server was full: 80000 of 100000"), "{found:?}");
        assert!(found[0].contains("the median went from 400 ms to 8.00 s"), "{found:?}");
        assert!(found[1].starts_with("sends waited for the server: p99 3.00 s"), "{found:?}");
        assert_eq!(judge(&full).state, State::Valid);
        assert!(findings(&Evidence { answered: Some((99, 100)), ..full }).len() < 2);
    }

    #[test]
    fn each_side_is_named() {
        let idle = Evidence {
            samples: Some(9_000),
            server_busy_share: Some(0.4),
            refused: 3,
            lost: 2,
            surroundings: Surroundings {
                listen_overflows: Some(7),
                retransmits: Some(0),
                ..Surroundings::default()
            },
            ..Evidence::default()
        };
        let found = findings(&idle);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[2].contains("40.0 % of one processor"), "{found:?}");
        assert!(found[3].starts_with("7 connects found the accept queue full"), "{found:?}");
        assert_eq!(findings(&Evidence::default()), Vec::<String>::new());
    }
}
