//! Quantities as people type them: `10k`, `64`, `1.5s`, `0.5`.
//!
//! Everything is read as an exact decimal fraction, so that `0.1` is one tenth and a schedule made
//! from it never drifts. Nothing here rounds: what does not come out whole is refused.

use std::ops::RangeInclusive;

/// An exact fraction, in lowest terms, with a denominator that is never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fraction {
    pub(crate) numerator: u64,
    pub(crate) denominator: u64,
}

impl Fraction {
    /// The fraction in lowest terms; `None` for a zero denominator.
    pub(crate) fn new(numerator: u64, denominator: u64) -> Option<Self> {
        if denominator == 0 {
            return None;
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        Some(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    /// The whole number it is, if it is one.
    pub(crate) fn whole(self) -> Option<u64> {
        (self.denominator == 1).then_some(self.numerator)
    }

    /// The fraction times a whole number, if that fits.
    pub(crate) fn times(self, factor: u64) -> Option<Self> {
        let wide = u128::from(self.numerator) * u128::from(factor);
        let divisor = greatest_common_divisor(factor, self.denominator);
        let denominator = self.denominator / divisor;
        let numerator = wide / u128::from(divisor);
        Self::new(u64::try_from(numerator).ok()?, denominator)
    }

    /// The nearest floating-point number, for text and estimates only.
    #[expect(clippy::cast_precision_loss, reason = "for display; the schedule uses the fraction")]
    pub(crate) fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// Splits `12.5k` into its exact number and what follows it.
fn decimal(text: &str) -> Result<(Fraction, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let refusal = || format!("`{text}` is not a number");
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return Err(refusal());
    }
    let part = part.trim_end_matches('0');
    let scale = u32::try_from(part.len())
        .ok()
        .and_then(|digits| 10_u64.checked_pow(digits))
        .ok_or_else(|| format!("`{text}` has too many decimals"))?;
    let digits = format!("{whole}{part}");
    let numerator = if digits.is_empty() { Ok(0) } else { digits.parse() };
    let numerator: u64 = numerator.map_err(|_| format!("`{text}` is too large"))?;
    Ok((Fraction::new(numerator, scale).ok_or_else(refusal)?, suffix))
}

fn scaled(text: &str, units: &[(&str, u64)], hint: &str) -> Result<Fraction, String> {
    let (number, suffix) = decimal(text)?;
    let suffix = suffix.trim_start();
    let (_, factor) = units
        .iter()
        .find(|(unit, _)| unit.eq_ignore_ascii_case(suffix))
        .ok_or_else(|| format!("`{text}`: {hint}"))?;
    number.times(*factor).ok_or_else(|| format!("`{text}` is too large"))
}

fn whole(fraction: Fraction, text: &str) -> Result<u64, String> {
    fraction.whole().ok_or_else(|| format!("`{text}` is not a whole number"))
}

/// A count: `200`, `10k`, `1.5m` (k = 1,000).
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let units = [("", 1), ("k", 1_000), ("m", 1_000_000)];
    whole(scaled(text, &units, "a count ends in nothing, k or m")?, text)
}

/// A count that must fit 32 bits.
pub(crate) fn count_32(text: &str) -> Result<u32, String> {
    u32::try_from(count(text)?).map_err(|_| format!("`{text}` is too large"))
}

/// A size in bytes: `64`, `16k`, `1m` (k = 1,024).
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let units = [("", 1), ("b", 1), ("k", 1 << 10), ("m", 1 << 20)];
    whole(scaled(text, &units, "a size ends in nothing, k or m (1,024)")?, text)
}

/// A time in nanoseconds: `500us`, `10ms`, `1.5s`, `2m`, `1h`, or a bare `0`.
pub(crate) fn duration_ns(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    let units = [
        ("ns", 1),
        ("us", 1_000),
        ("\u{b5}s", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    whole(scaled(text, &units, "a time ends in us, ms, s, m or h")?, text)
}

/// A rate per second, exact: `20`, `0.5`, `50k`, `1/3`; an ending `/s` is allowed.
pub(crate) fn rate(text: &str) -> Result<Fraction, String> {
    let bare = text.strip_suffix("/s").unwrap_or(text);
    let units = [("", 1), ("k", 1_000), ("m", 1_000_000)];
    let hint = "a rate is a number per second: 20, 0.5, 50k or 1/3";
    let Some((above, below)) = bare.split_once('/') else {
        return scaled(bare, &units, hint);
    };
    let parts = (above.parse(), below.parse());
    let (Ok(numerator), Ok(denominator)) = parts else {
        return Err(format!("`{text}`: {hint}"));
    };
    Fraction::new(numerator, denominator).ok_or_else(|| format!("`{text}`: {hint}"))
}

/// A request header `Name: value`, as `-H` takes it.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is `Name: value`")?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return Err(format!("`{name}` is not a header name"));
    }
    let value = value.trim();
    if !value.chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
        return Err(format!("the value of `{name}` holds a control character"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// A processor list: `0,2-3`.
pub(crate) fn cpus(text: &str) -> Result<Vec<usize>, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let refusal = |_| format!("`{part}` is not a processor or a range: use 0,2-3");
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let from: usize = from.trim().parse().map_err(refusal)?;
        let to: usize = to.trim().parse().map_err(refusal)?;
        if from > to || to >= 4096 {
            return Err(format!("`{part}` is not a range of processors"));
        }
        all.extend(from..=to);
    }
    Ok(all)
}

/// One case or a range of them, counted from 1: `7`, `1-16`.
pub(crate) fn cases(text: &str) -> Result<RangeInclusive<u32>, String> {
    let refusal = |_| format!("`{text}` is not a case or a range: use 1-16,40");
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let from: u32 = from.trim().parse().map_err(refusal)?;
    let to: u32 = to.trim().parse().map_err(refusal)?;
    if from == 0 || from > to {
        return Err(format!("`{text}` is not a range of cases: they count from 1"));
    }
    Ok(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(numerator: u64, denominator: u64) -> Fraction {
        Fraction::new(numerator, denominator).unwrap()
    }

    #[test]
    fn counts_take_thousands() {
        let table = [("0", 0), ("200", 200), ("10k", 10_000), ("1.5K", 1_500), ("2m", 2_000_000)];
        for (text, expected) in table {
            assert_eq!(count(text), Ok(expected), "{text}");
        }
        for text in ["", "k", "1.5", "-1", "1g", "1.2.3", ".", "99999999999999999999", "1 0"] {
            assert!(count(text).is_err(), "{text}");
        }
        assert!(count_32("5000m").is_err());
    }

    #[test]
    fn sizes_take_powers_of_two() {
        let table = [("64", 64), ("1k", 1_024), ("1.5k", 1_536), ("2M", 2 << 20), ("20b", 20)];
        for (text, expected) in table {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        assert!(size("0.0001k").is_err());
        assert!(size("1g").is_err());
    }

    #[test]
    fn times_need_a_unit() {
        let table = [
            ("0", 0),
            ("1us", 1_000),
            ("250ms", 250_000_000),
            ("1.5s", 1_500_000_000),
            ("0.1s", 100_000_000),
            ("2m", 120_000_000_000),
            ("1h", 3_600_000_000_000),
        ];
        for (text, expected) in table {
            assert_eq!(duration_ns(text), Ok(expected), "{text}");
        }
        for text in ["30", "1.5", "5d", "s", "0.0000000001s", "99999999999h"] {
            assert!(duration_ns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_exact() {
        assert_eq!(rate("20"), Ok(fraction(20, 1)));
        assert_eq!(rate("0.1"), Ok(fraction(1, 10)));
        assert_eq!(rate("50k"), Ok(fraction(50_000, 1)));
        assert_eq!(rate("2.5k/s"), Ok(fraction(2_500, 1)));
        assert_eq!(rate("1/3"), Ok(fraction(1, 3)));
        assert_eq!(rate("2/6"), Ok(fraction(1, 3)));
        for text in ["", "1/0", "a", "1/3k", "-2", "1/2/3"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_multiply_without_rounding() {
        assert_eq!(fraction(1, 3).times(9), Some(fraction(3, 1)));
        assert_eq!(fraction(u64::MAX, 10).times(10), Some(fraction(u64::MAX, 1)));
        assert_eq!(fraction(u64::MAX, 1).times(2), None);
    }

    #[test]
    fn headers_cannot_smuggle_lines() {
        assert_eq!(header("X-A:  b c "), Ok(("X-A".to_owned(), "b c".to_owned())));
        for text in ["X", ": v", "a b: c", "X: a\r\nY: b", "X\n: a"] {
            assert!(header(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn cases_count_from_one() {
        assert_eq!(cases("7"), Ok(7..=7));
        assert_eq!(cases("1-16"), Ok(1..=16));
        for text in ["", "0", "0-3", "5-4", "1-", "x", "1-2-3"] {
            assert!(cases(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors() {
        assert_eq!(cpus("0,2-3"), Ok(vec![0, 2, 3]));
        for text in ["", "a", "3-1", "0-99999"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }
}
