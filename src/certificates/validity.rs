//! When a certificate ends: the one field that no library in use gives.
//!
//! Not here: judging the certificate. Invariant: whatever the bytes are, nothing panics.

/// DER's tags as far as they are met.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The last second in which the certificate is valid, in Unix time (RFC 5280 section 4.1.2.5).
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut fields, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    // Version (if any), serial number, signature algorithm, issuer.
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    time(tag, text)
}

/// Tag, content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first & 0x80 != 0 {
        len = 0;
        for _ in 0..first & 0x7f {
            let (&byte, after) = rest.split_first()?;
            len = len.checked_mul(256)?.checked_add(usize::from(byte))?;
            rest = after;
        }
    }
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from 2050 on.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let mut pairs = rest.chunks(2).map(number);
    let mut next = || pairs.next().flatten();
    let (month, day) = (next()?, next()?);
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    if !(1..=12).contains(&month) {
        return None;
    }
    Some(((days(year, month, day) * 24 + hours) * 60 + minutes) * 60 + seconds)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

/// Days from 1970-01-01 to a day of the Gregorian calendar: years that begin in March, so that the
/// leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::{GENERALIZED_TIME, UTC_TIME, not_after, time};

    fn ends(year: i32, month: u8, day: u8) -> i64 {
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = rcgen::KeyPair::generate().unwrap();
        not_after(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn the_end_of_real_certificates_is_found() {
        assert_eq!(ends(1999, 12, 31), 946_598_400);
        assert_eq!(ends(2024, 2, 29), 1_709_164_800);
        assert_eq!(ends(2049, 12, 31), 2_524_521_600);
        assert_eq!(ends(2050, 1, 1), 2_524_608_000);
        assert_eq!(ends(4096, 1, 1), 67_090_118_400);
    }

    #[test]
    fn a_second_counts() {
        assert_eq!(time(UTC_TIME, b"700101000001Z"), Some(1));
        assert_eq!(time(GENERALIZED_TIME, b"20260131235959Z"), Some(1_769_903_999));
        for wrong in
            [&b"7001010000Z"[..], b"700101000001", b"70010a000001Z", b"701301000001Z", b"Z"]
        {
            assert_eq!(time(UTC_TIME, wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn whatever_is_cut_off_or_changed_panics_nowhere() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let whole = made.cert.der().to_vec();
        for at in 0..whole.len() {
            assert!(at > 400 || not_after(&whole[..at]).is_none());
            let mut changed = whole.clone();
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                changed[at] = byte;
                let _whatever = not_after(&changed);
            }
        }
    }
}
