//! Percent-decoding of paths and query values, strict and linear.
//!
//! A percent sign that is not followed by two hexadecimal digits is refused, because two readers
//! of a lenient decoder disagree. `+` means itself: only HTML forms read it as a space.

use std::borrow::Cow;

use super::Refusal;

/// Decodes `%XX`; borrowed when there is nothing to decode.
pub fn percent_decode(text: &str) -> Result<Cow<'_, [u8]>, Refusal> {
    const BAD: Refusal =
        Refusal::new(400, "bad percent-encoding: a percent sign needs two hexadecimal digits");
    let bytes = text.as_bytes();
    let Some(first) = memchr::memchr(b'%', bytes) else {
        return Ok(Cow::Borrowed(bytes));
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(BAD) };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(BAD) };
        decoded.push(high << 4 | low);
        rest = after;
    }
    Ok(Cow::Owned(decoded))
}

/// The decoded value of one query parameter; `None` if the query does not have it.
///
/// A parameter given twice is refused: the two readers of such a URL would pick different ones.
pub fn query_value<'q>(
    query: Option<&'q str>,
    name: &str,
) -> Result<Option<Cow<'q, str>>, Refusal> {
    const TWICE: Refusal = Refusal::new(400, "a query parameter was given twice: give it once");
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (raw_name, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
        if *percent_decode(raw_name)? != *name.as_bytes() || pair.is_empty() {
            continue;
        }
        if found.replace(raw_value).is_some() {
            return Err(TWICE);
        }
    }
    found.map(decoded_text).transpose()
}

fn decoded_text(raw: &str) -> Result<Cow<'_, str>, Refusal> {
    match percent_decode(raw)? {
        // What was not decoded is the text that came in.
        Cow::Borrowed(_) => Ok(Cow::Borrowed(raw)),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| {
            Refusal::new(400, "a query value is not UTF-8: encode it as UTF-8 before escaping")
        }),
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_refuses() {
        assert!(matches!(percent_decode("plain+x"), Ok(Cow::Borrowed(b"plain+x"))));
        assert_eq!(&*percent_decode("a%2Fb%2f%00%fF").unwrap(), b"a/b/\0\xFF");
        assert_eq!(&*percent_decode("%25%32%35").unwrap(), b"%25");
        for bad in ["%", "%1", "a%", "%zz", "%1g", "%%41", "%-1", "%+1"] {
            assert_eq!(percent_decode(bad).expect_err(bad).status, 400);
        }
    }

    #[test]
    fn finds_query_values() {
        let query = Some("since=ab:1&wait=25&flag&a%62=x%20y");
        let value = |name| query_value(query, name).unwrap();
        assert_eq!(value("since").as_deref(), Some("ab:1"));
        assert_eq!(value("wait").as_deref(), Some("25"));
        assert_eq!(value("flag").as_deref(), Some(""));
        assert_eq!(value("ab").as_deref(), Some("x y"));
        assert_eq!(value("since2"), None);
        assert_eq!(query_value(None, "since"), Ok(None));
        assert_eq!(query_value(Some(""), ""), Ok(None));
        assert_eq!(query_value(Some("a=1&a=1"), "a").expect_err("twice").status, 400);
        assert_eq!(query_value(Some("a=%ff"), "a").expect_err("not text").status, 400);
        assert_eq!(query_value(Some("a=%"), "a").expect_err("cut short").status, 400);
    }
}
