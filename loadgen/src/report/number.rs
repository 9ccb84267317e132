//! Numbers for people: three significant digits, the unit chosen for each value.
//!
//! One rule for every surface. What was not measured prints `not measured`, a percentile with too
//! few samples prints `insufficient`; neither ever prints as 0 or as a dash.

/// How numbers look where they are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Narrow spaces and a micro sign; otherwise plain ASCII.
    pub(crate) is_utf8: bool,
}

/// A value that was never measured.
pub(crate) const NOT_MEASURED: &str = "not measured";
/// A percentile that the samples do not support.
pub(crate) const INSUFFICIENT: &str = "insufficient";

impl Style {
    /// What the locale in the environment can show.
    pub(crate) fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(variable)
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_ascii_lowercase();
        Self { is_utf8: locale.contains("utf-8") || locale.contains("utf8") }
    }

    fn with_unit(self, number: &str, unit: &str) -> String {
        let space = if self.is_utf8 { '\u{a0}' } else { ' ' };
        format!("{number}{space}{unit}")
    }

    /// A time: `812 ns`, `1.90 ms`, `12.6 s`.
    pub(crate) fn duration(self, ns: f64) -> String {
        let micro = if self.is_utf8 { "\u{b5}s" } else { "us" };
        self.scaled(ns, &[("ns", 1.0), (micro, 1e3), ("ms", 1e6), ("s", 1e9)])
    }

    /// Memory: `512 B`, `1.50 KiB`, `22.0 MiB`.
    pub(crate) fn memory(self, bytes: f64) -> String {
        let units = [("B", 1.0), ("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0)];
        self.scaled(bytes, &units)
    }

    /// Bytes on the wire, always in `B`.
    pub(crate) fn wire(self, bytes: f64) -> String {
        self.with_unit(&self.amount(bytes), "B")
    }

    /// An exact count with its thousands set apart: `3 000 060`.
    pub(crate) fn count(self, value: u64) -> String {
        let digits = value.to_string();
        let space = if self.is_utf8 { '\u{202f}' } else { ' ' };
        let mut text = String::with_capacity(digits.len() * 2);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(space);
            }
            text.push(digit);
        }
        text
    }

    /// Three significant digits without a unit; whole thousands are set apart.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is rounded, not negative and below 2^53 here"
    )]
    pub(crate) fn amount(self, value: f64) -> String {
        if value < 0.0 {
            return format!("-{}", self.amount(-value));
        }
        let is_whole = value.fract() == 0.0 || value >= 999.5;
        if is_whole && value < 9e15 {
            return self.count(value.round() as u64);
        }
        significant(value)
    }

    /// A ratio: `x1.08` below 2, `x7.9` below 20, whole above.
    pub(crate) fn ratio(self, value: f64) -> String {
        let decimals = if value < 2.0 {
            2
        } else if value < 20.0 {
            1
        } else {
            0
        };
        format!("x{value:.decimals$}")
    }

    /// A share of one as a percentage.
    pub(crate) fn share(self, value: f64) -> String {
        self.with_unit(&significant(value * 100.0), "%")
    }

    fn scaled(self, value: f64, units: &[(&str, f64)]) -> String {
        if value < 0.0 {
            return format!("-{}", self.scaled(-value, units));
        }
        let mut chosen = units[0];
        for unit in units {
            // 999.5 of the smaller unit would print as 1000: it is 1.00 of the larger one.
            let is_reached = value >= unit.1 * 0.9995;
            if is_reached || unit.1 <= chosen.1 {
                chosen = *unit;
            }
        }
        let number = value / chosen.1;
        let text = if chosen.1 <= 1.0 {
            self.amount(number.round())
        } else if number >= 999.5 {
            self.amount(number)
        } else {
            significant(number)
        };
        self.with_unit(&text, chosen.0)
    }
}

/// Three significant digits of a number from 0 to 999.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        v if v >= 0.09995 => 3,
        v if v >= 0.009995 => 4,
        _ => 5,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASCII: Style = Style { is_utf8: false };
    const UTF8: Style = Style { is_utf8: true };

    #[test]
    fn times_keep_three_digits_and_pick_their_unit() {
        let table = [
            (0.0, "0 ns"),
            (7.0, "7 ns"),
            (812.4, "812 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 us"),
            (1_900.0, "1.90 us"),
            (999_400.0, "999 us"),
            (999_600.0, "1.00 ms"),
            (12_649_000.0, "12.6 ms"),
            (990e6, "990 ms"),
            (73.7e9, "73.7 s"),
            (5_000e9, "5 000 s"),
            (-1_500.0, "-1.50 us"),
        ];
        for (ns, expected) in table {
            assert_eq!(ASCII.duration(ns), expected, "{ns}");
        }
        assert_eq!(UTF8.duration(1_900.0), "1.90\u{a0}\u{b5}s");
    }

    #[test]
    fn memory_counts_and_ratios() {
        assert_eq!(ASCII.memory(512.0), "512 B");
        assert_eq!(ASCII.memory(1536.0), "1.50 KiB");
        assert_eq!(ASCII.memory(23_068_672.0), "22.0 MiB");
        assert_eq!(ASCII.wire(72.04), "72.0 B");
        assert_eq!(ASCII.wire(66.0), "66 B");
        assert_eq!(ASCII.wire(1_286.2), "1 286 B");
        assert_eq!(ASCII.count(0), "0");
        assert_eq!(ASCII.count(999), "999");
        assert_eq!(ASCII.count(1_000), "1 000");
        assert_eq!(ASCII.count(3_000_060), "3 000 060");
        assert_eq!(UTF8.count(50_001), "50\u{202f}001");
        assert_eq!(ASCII.ratio(1.084), "x1.08");
        assert_eq!(ASCII.ratio(7.92), "x7.9");
        assert_eq!(ASCII.ratio(31.4), "x31");
        assert_eq!(ASCII.share(0.630_1), "63.0 %");
        assert_eq!(ASCII.share(0.0), "0 %");
        assert_eq!(ASCII.share(1.0), "100 %");
    }

    #[test]
    fn amounts_round_at_their_borders() {
        let table = [
            (0.0, "0"),
            (0.000_12, "0.00012"),
            (0.05, "0.0500"),
            (0.5, "0.500"),
            (1.0, "1"),
            (3.125, "3.12"),
            (9.996, "10.0"),
            (20.0, "20"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1 000"),
            (3_999.7, "4 000"),
            (-2.5, "-2.50"),
        ];
        for (value, expected) in table {
            assert_eq!(ASCII.amount(value), expected, "{value}");
        }
    }

    #[test]
    fn the_locale_decides_on_spaces_and_micro() {
        let with = |name: &'static str, value: &'static str| {
            Style::of_locale(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(with("LANG", "en_GB.UTF-8"), UTF8);
        assert_eq!(with("LC_ALL", "C.utf8"), UTF8);
        assert_eq!(with("LC_ALL", "C"), ASCII);
        assert_eq!(with("LC_ALL", ""), ASCII);
    }
}
