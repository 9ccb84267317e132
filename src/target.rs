//! What a request's path and query name on this server.
//!
//! Not here: what is done about it. Invariant: a channel name that leaves here is decoded and
//! valid.

use ringwire_protocol::http::{Refusal, percent_decode, query_value};
use ringwire_protocol::{Epoch, Position, channel_name};

use crate::channels::Name;

/// Longest a long poll waits, in seconds: longer wishes are clamped.
pub(crate) const WAIT_SECONDS_MAX: u64 = 30;

/// A place of the public surface.
#[derive(Debug)]
pub(crate) enum Target {
    /// `/`
    Index,
    /// `/channels/NAME`
    Channel(Name),
    /// Any other path: only an application may know it.
    Other,
}

/// Reads `path`, percent-encoded as sent.
///
/// # Errors
/// 400 for a channel name that is not 1-255 bytes of printable ASCII.
pub(crate) fn target(path: &str) -> Result<Target, Refusal> {
    if path == "/" {
        return Ok(Target::Index);
    }
    let Some(raw) = path.strip_prefix("/channels/") else { return Ok(Target::Other) };
    let decoded = percent_decode(raw)?;
    Ok(Target::Channel(Name::new(channel_name(&decoded)?)))
}

/// The position that `text` names. What does not parse is a position that no stream ever had, so
/// that it gets the announced reset of every lost position.
pub(crate) fn position(text: &str) -> Position {
    text.parse().unwrap_or(Position { epoch: Epoch(0), offset: 0 })
}

/// `since=E:O`.
pub(crate) fn since(query: Option<&str>) -> Option<Position> {
    match query_value(query, "since") {
        Ok(value) => Some(position(&value?)),
        Err(_) => Some(position("")),
    }
}

/// `wait=SECONDS`, clamped; `None` where it is absent.
///
/// # Errors
/// 400 for anything but a whole number.
pub(crate) fn wait_seconds(query: Option<&str>) -> Result<Option<u64>, Refusal> {
    let Some(value) = query_value(query, "wait")? else { return Ok(None) };
    // Digits only: a sign or a blank is no number here.
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::new(400, "wait is a whole number of seconds: write wait=25"));
    }
    Ok(Some(value.parse().unwrap_or(u64::MAX).min(WAIT_SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use ringwire_protocol::{Epoch, Position};

    use super::{Target, since, target, wait_seconds};

    #[test]
    fn channel_names_are_decoded_and_checked() {
        assert!(matches!(target("/"), Ok(Target::Index)));
        assert!(matches!(target("/echo"), Ok(Target::Other)));
        assert!(matches!(target("/channels/a%2Fb"), Ok(Target::Channel(_))));
        for bad in ["/channels/", "/channels/a%20b", "/channels/%zz", "/channels/a%00"] {
            assert_eq!(target(bad).map(drop).map_err(|refusal| refusal.status), Err(400), "{bad}");
        }
    }

    #[test]
    fn an_unreadable_position_is_a_lost_one() {
        let lost = Some(Position { epoch: Epoch(0), offset: 0 });
        assert_eq!(since(Some("since=nonsense")), lost);
        assert_eq!(since(Some("since=")), lost);
        assert_eq!(since(Some("since=%zz")), lost);
        assert_eq!(since(Some("wait=1")), None);
        assert_eq!(since(None), None);
        let known = Position { epoch: Epoch(0xabc), offset: 7 };
        assert_eq!(since(Some(&format!("since={known}"))), Some(known));
        assert_eq!(since(Some("wait=1&since=0000000000000abc%3A7")), Some(known));
    }

    #[test]
    fn a_wait_is_clamped_and_must_be_a_number() {
        assert_eq!(wait_seconds(Some("wait=25")).ok(), Some(Some(25)));
        assert_eq!(wait_seconds(Some("wait=99999999999999999999999")).ok(), Some(Some(30)));
        assert_eq!(wait_seconds(Some("since=1:2")).ok(), Some(None));
        for bad in ["wait=", "wait=-1", "wait=1.5", "wait=x"] {
            assert!(wait_seconds(Some(bad)).is_err(), "{bad}");
        }
    }
}
