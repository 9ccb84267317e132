//! Small drawings made of characters: bars, a line of blocks, a field of braille dots.
//!
//! Pure functions from numbers to text. Where the locale is not UTF-8, `#`, `|` and `.` stand for
//! blocks. Invariant: what was measured leaves a mark, however small.

use crate::report::progress::Second;

/// Eighths of a cell, from the left.
const EIGHTHS: [char; 8] = [
    '\u{258f}', '\u{258e}', '\u{258d}', '\u{258c}', '\u{258b}', '\u{258a}', '\u{2589}', '\u{2588}',
];
/// Eighths of a cell, from below.
const LEVELS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];
/// The same without blocks.
const LEVELS_ASCII: [char; 8] = ['.', '.', '.', '|', '|', '|', '#', '#'];
/// A rise to less than this is drawn as the ripple that it is.
const RISE_MIN: f64 = 8.0;

/// A bar of `share` of `cells`, with the axis it stands on.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few hundred eighths"
)]
pub(crate) fn bar(share: f64, cells: usize, is_utf8: bool) -> String {
    let share = share.clamp(0.0, 1.0);
    if !is_utf8 {
        let whole = (share * cells as f64).round() as usize;
        let least = usize::from(share > 0.0);
        return format!("|{}", "#".repeat(whole.max(least)));
    }
    let eighths = ((share * cells as f64 * 8.0).round() as usize).max(usize::from(share > 0.0));
    let mut text = String::from('\u{2595}');
    text.extend(std::iter::repeat_n(EIGHTHS[7], eighths / 8));
    if !eighths.is_multiple_of(8) {
        text.push(EIGHTHS[eighths % 8 - 1]);
    }
    text
}

/// One mark a second on a logarithmic scale, the newest to the right; a second without a sample is
/// empty.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "one of eight levels")]
pub(crate) fn marks(seconds: &[Second], is_utf8: bool) -> String {
    let Some(scale) = Scale::of(seconds) else { return String::new() };
    let levels = if is_utf8 { LEVELS } else { LEVELS_ASCII };
    let mark = |second: &Second| {
        second.p99_ns.map_or(' ', |ns| levels[1 + (scale.height(ns) * 6.0).round() as usize])
    };
    seconds.iter().map(mark).collect()
}

/// The worst second.
pub(crate) fn worst(seconds: &[Second]) -> Option<Second> {
    seconds.iter().filter(|second| second.p99_ns.is_some()).max_by_key(|s| s.p99_ns).copied()
}

/// A logarithmic axis over what there is to draw.
#[derive(Debug, Clone, Copy)]
struct Scale {
    floor: f64,
    rise: f64,
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
    fn of(seconds: &[Second]) -> Option<Self> {
        let values = || seconds.iter().filter_map(|second| second.p99_ns);
        let (low, high) = (values().min()?, values().max()?);
        let floor = low.max(1) as f64;
        Some(Self { floor, rise: (high as f64 / floor).max(RISE_MIN) })
    }

    /// Whole decades around what there is to draw.
    #[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
    fn decades(seconds: &[Second]) -> Option<Self> {
        let values = || seconds.iter().filter_map(|second| second.p99_ns);
        let (low, high) = (values().min()?.max(1), values().max()?);
        let floor = 10_f64.powi(low.ilog10().cast_signed());
        let mut rise = 10.0;
        while floor * rise < high as f64 {
            rise *= 10.0;
        }
        Some(Self { floor, rise })
    }

    /// From 0 at the floor to 1 at the top.
    #[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
    fn height(self, ns: u64) -> f64 {
        ((ns as f64 / self.floor).ln() / self.rise.ln()).clamp(0.0, 1.0)
    }
}

/// A field of dots, its labels, and at which row a threshold lies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    /// From above.
    pub(crate) rows: Vec<String>,
    /// The decades: row and nanoseconds.
    pub(crate) decades: Vec<(usize, f64)>,
    /// The row of the threshold, if it is in the field.
    pub(crate) threshold_row: Option<usize>,
}

/// Draws each second's p99 into `rows` x `columns` cells: whole decades, the newest to the right.
pub(crate) fn field(
    seconds: &[Second],
    (rows, columns): (usize, usize),
    threshold_ns: Option<u64>,
    is_utf8: bool,
) -> Option<Field> {
    let scale = Scale::decades(seconds)?;
    // Braille has two dots across and four down in each cell.
    let (across, down) = if is_utf8 { (2, 4) } else { (1, 1) };
    let seen = &seconds[seconds.len().saturating_sub(columns * across)..];
    let mut cells = vec![vec![0_u8; columns]; rows];
    for (column, second) in seen.iter().enumerate() {
        let Some(ns) = second.p99_ns else { continue };
        let from_above = place(scale, ns, rows * down);
        let dot = if is_utf8 { dot(column % across, from_above % down) } else { 1 };
        cells[from_above / down][column / across] |= dot;
    }
    let shown = |cell: &u8| match (*cell, is_utf8) {
        (0, _) => ' ',
        (dots, true) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
        (_, false) => '#',
    };
    let row_of = |ns: u64| place(scale, ns, rows * down) / down;
    let decades = (0..20).map(|index| 10_f64.powi(index) * scale.floor);
    let decades = decades.take_while(|ns| *ns <= scale.floor * scale.rise * 1.01);
    let in_field = threshold_ns.filter(|ns| scale.holds(*ns));
    Some(Field {
        rows: cells.iter().map(|row| row.iter().map(shown).collect()).collect(),
        decades: decades.map(|ns| (row_of(whole(ns)), ns)).collect(),
        threshold_row: in_field.map(row_of),
    })
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
    fn holds(self, ns: u64) -> bool {
        (self.floor..=self.floor * self.rise).contains(&(ns as f64))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time in range")]
fn whole(ns: f64) -> u64 {
    ns.round() as u64
}

/// Which of `steps`, counted from above, a time lies in.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few dozen steps"
)]
fn place(scale: Scale, ns: u64, steps: usize) -> usize {
    let from_below = (scale.height(ns) * (steps - 1) as f64).round() as usize;
    steps - 1 - from_below.min(steps - 1)
}

/// The bit of a braille dot.
const fn dot(across: usize, down: usize) -> u8 {
    const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    DOTS[across][down]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(values: &[Option<u64>]) -> Vec<Second> {
        let seconds = values.iter().zip(0..);
        seconds.map(|(p99_ns, second)| Second { second, p99_ns: *p99_ns }).collect()
    }

    #[test]
    fn a_bar_is_as_long_as_its_share_and_never_nothing() {
        assert_eq!(bar(1.0, 4, true), "▕████");
        assert_eq!(bar(0.5, 4, true), "▕██");
        assert_eq!(bar(0.53, 4, true), "▕██▏");
        assert_eq!(bar(0.000_1, 4, true), "▕▏");
        assert_eq!(bar(0.0, 4, true), "▕");
        assert_eq!(bar(0.5, 4, false), "|##");
        assert_eq!(bar(0.000_1, 4, false), "|#");
        assert_eq!(bar(7.0, 2, false), "|##");
    }

    #[test]
    fn a_stall_stands_out_and_a_ripple_does_not() {
        let steady = seconds(&[Some(6_000), Some(6_100), None, Some(5_900)]);
        assert_eq!(marks(&steady, true), "▂▂ ▂");
        let stalled = seconds(&[Some(6_000), Some(51_000), Some(6_000)]);
        assert_eq!(marks(&stalled, true), "▂█▂");
        assert_eq!(marks(&stalled, false), ".#.");
        assert_eq!(worst(&stalled).unwrap().second, 1);
        assert_eq!(marks(&[], true), "");
        assert_eq!(worst(&seconds(&[None])), None);
    }

    #[test]
    fn a_field_spans_whole_decades() {
        let stalled = seconds(&[Some(6_000_000), Some(51_000_000), Some(6_000_000)]);
        let field = field(&stalled, (6, 4), Some(20_000_000), true).unwrap();
        assert_eq!(field.rows.len(), 6);
        assert!(field.rows.iter().all(|row| row.chars().count() == 4));
        assert_eq!(field.decades, [(5, 1e6), (2, 1e7), (0, 1e8)]);
        assert_eq!(field.threshold_row, Some(2));
        let dots = field.rows.concat().chars().filter(|c| *c != ' ').count();
        assert_eq!(dots, 3);
    }

    #[test]
    fn a_field_without_braille_and_without_seconds() {
        let one = seconds(&[Some(1_000), Some(9_000)]);
        let field = field(&one, (3, 5), None, false).unwrap();
        assert_eq!(field.rows, [" #   ", "     ", "#    "]);
        assert_eq!(super::field(&[], (3, 5), None, true), None);
    }
}
