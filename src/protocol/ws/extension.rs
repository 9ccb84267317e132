//! The value of `Sec-WebSocket-Extensions`, as far as permessage-deflate needs it.
//!
//! Reading is linear in the bytes and allocates nothing. An element that does not keep the grammar
//! is no element, and the others stand: RFC 6455 section 9.1 would fail the whole connection, but
//! an offer is a wish, and whoever cannot be understood is served without compression.

/// The name of the one extension that is spoken.
pub(super) const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

/// What an offer or an answer of permessage-deflate says, as it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) server_no_context_takeover: bool,
    pub(super) client_no_context_takeover: bool,
    /// 8 to 15.
    pub(super) server_max_window_bits: Option<u8>,
    /// 8 to 15, or no value at all.
    pub(super) client_max_window_bits: Option<Option<u8>>,
}

/// The elements of a list, which may contain empty ones.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    pieces(value, b',').filter(|element| !element.is_empty())
}

/// Whether the element names permessage-deflate, whatever its parameters are.
pub(super) fn is_deflate(element: &[u8]) -> bool {
    pieces(element, b';').next() == Some(PERMESSAGE_DEFLATE.as_bytes())
}

/// The parameters of an element that [`is_deflate`]; `None` if one of them is unknown, is there
/// twice, or has a value that it cannot have.
pub(super) fn parameters(element: &[u8]) -> Option<Parameters> {
    let mut found = Parameters::default();
    for piece in pieces(element, b';').skip(1) {
        let (name, value) = parameter(piece)?;
        match (name, value) {
            (b"server_no_context_takeover", None) => set(&mut found.server_no_context_takeover)?,
            (b"client_no_context_takeover", None) => set(&mut found.client_no_context_takeover)?,
            (b"server_max_window_bits", Some(value)) => {
                put(&mut found.server_max_window_bits, window_bits(value)?)?;
            }
            (b"client_max_window_bits", value) => {
                let bits = match value {
                    Some(value) => Some(window_bits(value)?),
                    None => None,
                };
                put(&mut found.client_max_window_bits, bits)?;
            }
            _ => return None,
        }
    }
    Some(found)
}

/// Says that a parameter is there, for the first time.
fn set(flag: &mut bool) -> Option<()> {
    (!std::mem::replace(flag, true)).then_some(())
}

fn put<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Cuts at separators outside of quotes; the blanks around a piece are not part of it.
fn pieces(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = unquoted(bytes, separator);
        rest = end.map(|end| &bytes[end + 1..]);
        Some(bytes[..end.unwrap_or(bytes.len())].trim_ascii())
    })
}

/// Where `wanted` first stands outside of quotes.
fn unquoted(bytes: &[u8], wanted: u8) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    bytes.iter().position(|&byte| {
        if escaped {
            escaped = false;
        } else if quoted && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        } else {
            return !quoted && byte == wanted;
        }
        false
    })
}

/// A parameter's name and its value with the quotes it may have.
fn parameter(piece: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    match piece.iter().position(|&byte| byte == b'=') {
        None => Some((piece, None)),
        Some(at) => {
            let value = piece[at + 1..].trim_ascii();
            (!value.is_empty()).then_some((piece[..at].trim_ascii(), Some(value)))
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.1
//# This parameter has a decimal integer value without leading zeroes
//# between 8 to 15, inclusive, indicating the base-2 logarithm of the
//# LZ77 sliding window size, and MUST conform to the ABNF below.
fn window_bits(value: &[u8]) -> Option<u8> {
    let mut digits = [0; 2];
    let mut len = 0;
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.3
    //# When using the quoted-string syntax variant, the value after quoted-string unescaping
    //# MUST conform to the 'token' ABNF.
    //= https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.2
    //# If a value is specified for this parameter, the value MUST conform to the ABNF below.
    let is_quoted = value.first() == Some(&b'"');
    let inner = if is_quoted { value[1..].strip_suffix(b"\"")? } else { value };
    let mut escaped = false;
    for &byte in inner {
        if is_quoted && !escaped && byte == b'\\' {
            escaped = true;
            continue;
        }
        escaped = false;
        *digits.get_mut(len)? = byte;
        len += 1;
    }
    match (digits, len, escaped) {
        ([digit @ b'8'..=b'9', _], 1, false) => Some(digit - b'0'),
        ([b'1', digit @ b'0'..=b'5'], 2, false) => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_outside_of_quotes() {
        let cut = |value: &'static str| -> Vec<&str> {
            elements(value.as_bytes()).map(|piece| std::str::from_utf8(piece).unwrap()).collect()
        };
        assert_eq!(cut("a; b=1 , c"), ["a; b=1", "c"]);
        assert_eq!(cut(", ,a,,"), ["a"]);
        assert_eq!(cut(r#"a; b="x,\",y", c"#), [r#"a; b="x,\",y""#, "c"]);
        assert_eq!(cut(r#"a; b="x, c"#), [r#"a; b="x, c"#], "an open quote takes the rest");
        assert_eq!(cut(""), [""; 0]);
    }

    //= https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.1
    //= type=test
    //# This parameter has a decimal integer value without leading zeroes
    //# between 8 to 15, inclusive, indicating the base-2 logarithm of the
    //# LZ77 sliding window size, and MUST conform to the ABNF below.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-4.3
    //= type=test
    //# When using the quoted-string syntax variant, the value after quoted-string unescaping
    //# MUST conform to the 'token' ABNF.
    //= https://www.rfc-editor.org/rfc/rfc7692#section-7.1.2.2
    //= type=test
    //# If a value is specified for this parameter, the value MUST conform to the ABNF below.
    #[test]
    fn window_bits_are_8_to_15() {
        for bits in 0..=300_u16 {
            let expected = u8::try_from(bits).ok().filter(|bits| (8..=15).contains(bits));
            let text = bits.to_string();
            assert_eq!(window_bits(text.as_bytes()), expected, "{text}");
            assert_eq!(window_bits(format!("\"{text}\"").as_bytes()), expected, "quoted {text}");
        }
        assert_eq!(window_bits(br#""1\5""#), Some(15), "an escaped digit is that digit");
        let bad = [
            "",
            "\"",
            "\"\"",
            "08",
            "012",
            "+9",
            "-9",
            "9 ",
            "0x9",
            "1_5",
            "15.",
            "\"9",
            "9\"",
            "\"9\\\"",
            "\\9",
            "\"\\\"",
            "\u{661}\u{665}",
        ];
        for bad in bad {
            assert_eq!(window_bits(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn parameters_are_known_and_single() {
        let all = "permessage-deflate; server_no_context_takeover ;client_no_context_takeover; \
                   server_max_window_bits = \"10\"; client_max_window_bits=8";
        assert!(is_deflate(all.as_bytes()));
        let expected = Parameters {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: Some(10),
            client_max_window_bits: Some(Some(8)),
        };
        assert_eq!(parameters(all.as_bytes()), Some(expected));
        let bare = b"permessage-deflate;client_max_window_bits";
        let expected = Parameters { client_max_window_bits: Some(None), ..Parameters::default() };
        assert_eq!(parameters(bare), Some(expected));
        for bad in [
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=\"\"",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits; client_max_window_bits=9",
            "server_max_window_bits=9; server_max_window_bits=9",
            "server_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=",
            "unknown",
            "unknown=1",
            "",
            "=9",
            "server max window bits=9",
            "server_max_window_bits=9=9",
            "server_max_window_bits=\"9\"9",
        ] {
            let element = format!("permessage-deflate; {bad}");
            assert_eq!(parameters(element.as_bytes()), None, "{element}");
        }
        for other in ["permessage-deflate2", "x-webkit-deflate-frame", "", "\"permessage-deflate\""]
        {
            assert!(!is_deflate(other.as_bytes()), "{other}");
        }
    }
}
