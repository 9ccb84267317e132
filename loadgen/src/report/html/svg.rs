//! Charts by hand: scales, ticks, and the few shapes that the page draws.
//!
//! Not here: what is drawn. Lengths are units of the view box. Invariant: no number in the output
//! is infinite or not a number, whatever is drawn.

use maud::{Markup, html};
use std::fmt::Write as _;

/// Which of the two drawings of a chart: one scaled down would have text that nobody can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Wide,
    Narrow,
}

impl Size {
    pub(super) const BOTH: [Self; 2] = [Self::Wide, Self::Narrow];

    /// One of two values.
    pub(super) fn pick<T>(self, wide: T, narrow: T) -> T {
        match self {
            Self::Wide => wide,
            Self::Narrow => narrow,
        }
    }
}

/// The view box and the plot in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    pub(super) fn x_max(&self) -> f64 {
        self.width - self.right
    }

    pub(super) fn y_max(&self) -> f64 {
        self.height - self.bottom
    }

    /// From a share of the plot's width, from the left.
    pub(super) fn x(&self, share: f64) -> f64 {
        self.left + share * (self.x_max() - self.left)
    }

    /// From a share of the plot's height, from below.
    pub(super) fn y(&self, share: f64) -> f64 {
        self.y_max() - share * (self.y_max() - self.top)
    }
}

/// From a value to a share of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Linear { low: f64, high: f64 },
    Log { low: f64, high: f64 },
}

impl Scale {
    /// Where `value` lies: 0 at the low end, 1 at the high one; what is beyond stays at the end.
    pub(super) fn at(self, value: f64) -> f64 {
        let share = match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => (value / low).log10() / (high / low).log10(),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// A logarithmic axis for these values: whole decades below, some air above.
    pub(super) fn decades(least: f64, greatest: f64) -> Self {
        let least = if least.is_finite() && least >= 1.0 { least } else { 1.0 };
        let low = 10_f64.powf(least.log10().floor());
        let high = greatest.max(least) * 1.3;
        Self::Log { low, high: high.max(low * 10.0) }
    }

    /// A linear axis from 0 whose end is its last tick.
    pub(super) fn from_zero(greatest: f64) -> (Self, Vec<f64>) {
        let ticks = linear_ticks(greatest);
        let high = ticks.last().copied().unwrap_or(1.0);
        (Self::Linear { low: 0.0, high }, ticks)
    }

    /// Every power of ten on the axis; every second one where there would be more than seven.
    pub(super) fn decade_ticks(self) -> Vec<f64> {
        let (Self::Log { low, high } | Self::Linear { low, high }) = self;
        let mut ticks = Vec::new();
        let mut tick = low;
        while tick <= high && ticks.len() < 20 {
            ticks.push(tick);
            tick *= 10.0;
        }
        let step = ticks.len().div_ceil(7).max(1);
        ticks.into_iter().step_by(step).collect()
    }
}

/// Three to six round numbers from 0 to at least `greatest`.
pub(super) fn linear_ticks(greatest: f64) -> Vec<f64> {
    let greatest = if greatest.is_finite() && greatest > 0.0 { greatest } else { 1.0 };
    let magnitude = 10_f64.powf((greatest / 4.0).log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = steps.into_iter().map(|step| step * magnitude).find(|step| greatest / step <= 4.0);
    let step = step.unwrap_or(magnitude * 10.0);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < greatest) && ticks.len() < 8 {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        ticks.push(ticks.len() as f64 * step);
    }
    ticks
}

/// A coordinate: a tenth of a unit is finer than any screen.
pub(super) fn coordinate(value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A point of the view box.
pub(super) type Point = (f64, f64);

/// The `d` of a line through the points; where there is none, it breaks.
pub(super) fn path(points: &[Option<Point>]) -> String {
    let mut text = String::new();
    let mut is_drawing = false;
    for point in points {
        match point {
            Some((x, y)) => {
                let letter = if is_drawing { 'L' } else { 'M' };
                let _ = write!(text, "{letter}{} {}", coordinate(*x), coordinate(*y));
                is_drawing = true;
            }
            None => is_drawing = false,
        }
    }
    text
}

/// A line.
pub(super) fn line(class: &str, points: &[Option<Point>]) -> Markup {
    let d = path(points);
    html! { @if !d.is_empty() { path class=(class) d=(d) {} } }
}

/// A straight line.
pub(super) fn rule(class: &str, from: Point, to: Point) -> Markup {
    line(class, &[Some(from), Some(to)])
}

/// Straight lines across the plot, at these shares of its height, as one path.
pub(super) fn levels(class: &str, frame: &Frame, shares: impl Iterator<Item = f64>) -> Markup {
    let mut d = String::new();
    for share in shares {
        let [left, y, right] = [frame.left, frame.y(share), frame.x_max()].map(coordinate);
        let _ = write!(d, "M{left} {y}H{right}");
    }
    html! { path class=(class) d=(d) {} }
}

/// The surface between two lines, wherever both exist.
pub(super) fn band(class: &str, upper: &[Option<Point>], lower: &[Option<Point>]) -> Markup {
    let mut d = String::new();
    let pairs: Vec<_> = upper.iter().zip(lower).map(|(u, l)| u.zip(*l)).collect();
    for run in pairs.split(Option::is_none).filter(|run| run.len() > 1) {
        let there = run.iter().flatten().map(|(upper, _)| Some(*upper));
        let back = run.iter().flatten().rev().map(|(_, lower)| Some(*lower));
        d.push_str(&path(&there.chain(back).collect::<Vec<_>>()));
        d.push('Z');
    }
    html! { @if !d.is_empty() { path class=(class) d=(d) {} } }
}

/// Dots as one path of points with round ends: a fifth of the bytes of circles.
pub(super) fn dots(class: &str, points: impl Iterator<Item = Point>) -> Markup {
    let mut d = String::new();
    for (x, y) in points {
        let _ = write!(d, "M{} {}h0", coordinate(x), coordinate(y));
    }
    html! { @if !d.is_empty() { path class=(class) d=(d) {} } }
}

/// A rectangle.
pub(super) fn rectangle(class: &str, from: Point, to: Point) -> Markup {
    html! {
        rect class=(class) x=(coordinate(from.0)) y=(coordinate(from.1))
            width=(coordinate((to.0 - from.0).max(0.0)))
            height=(coordinate((to.1 - from.1).max(0.0))) {}
    }
}

/// An interval: a line with an end at each side.
pub(super) fn whisker(class: &str, x_low: f64, x_high: f64, y: f64) -> Markup {
    let [low, high, y] = [x_low, x_high, y].map(coordinate);
    let d = format!("M{low} {y}H{high}M{low} {y}m0-5v10M{high} {y}m0-5v10");
    html! { path class=(class) d=(d) {} }
}

/// The outline of a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// A marker of about `radius`.
pub(super) fn marker(class: &str, shape: Shape, (x, y): Point, radius: f64) -> Markup {
    let c = coordinate;
    let r = radius;
    let d = match shape {
        Shape::Circle => {
            let (double, r) = (c(2.0 * r), c(r));
            format!(
                "M{} {}a{r} {r} 0 1 0 {double} 0a{r} {r} 0 1 0-{double} 0z",
                c(x - radius),
                c(y)
            )
        }
        Shape::Square => {
            let (side, r) = (c(1.8 * r), 0.9 * r);
            format!("M{} {}h{side}v{side}h-{side}z", c(x - r), c(y - r))
        }
        Shape::Triangle => {
            let (left, top) = (x - r * 1.1, y - r * 1.05);
            format!("M{} {}L{} {}h{}z", c(x), c(top), c(left), c(y + r * 0.85), c(2.2 * r))
        }
        Shape::Diamond => {
            let r = r * 1.2;
            let side = c(r);
            format!("M{} {}l{side} {side}l-{side} {side}l-{side}-{side}z", c(x), c(y - r))
        }
    };
    html! { path class=(class) d=(d) {} }
}

/// Text; `class` says its anchor: none for the start, `m` for the middle, `e` for the end.
pub(super) fn text(class: &str, (x, y): Point, content: &str) -> Markup {
    let class = Some(class).filter(|class| !class.is_empty());
    html! { text class=[class] x=(coordinate(x)) y=(coordinate(y)) { (content) } }
}

/// Moves labels apart so that none is nearer than `gap` to the next, none leaves the range where
/// they fit, and their order stays.
pub(super) fn push_apart(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = wanted.to_vec();
    let mut least = low;
    for &index in &order {
        placed[index] = placed[index].max(least);
        least = placed[index] + gap;
    }
    let mut most = high;
    for &index in order.iter().rev() {
        placed[index] = placed[index].min(most);
        most = placed[index] - gap;
    }
    placed
}

/// The chart itself: its alternative text, and where its plot lies for the script.
pub(super) fn drawing(
    size: Size,
    frame: &Frame,
    title: &str,
    finding: &str,
    body: &Markup,
) -> Markup {
    let view = format!("0 0 {} {}", coordinate(frame.width), coordinate(frame.height));
    let edges = [frame.left, frame.x_max(), frame.top, frame.y_max()].map(coordinate).join(" ");
    html! {
        svg class=(size.pick("w", "n")) role="img" viewBox=(view) data-plot=(edges) {
            title { (title) }
            desc { (finding) }
            (body)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_map_their_ends_and_hold_what_is_beyond() {
        let log = Scale::Log { low: 1e6, high: 1e9 };
        for (value, expected) in [(1e6, 0.0), (1e7, 1.0 / 3.0), (1e9, 1.0), (1e12, 1.0)] {
            assert!((log.at(value) - expected).abs() < 1e-9, "{value}");
        }
        assert_eq!(log.at(0.0), 0.0);
        assert_eq!(log.at(f64::NAN), 0.0);
        let linear = Scale::Linear { low: 0.0, high: 4.0 };
        assert_eq!([linear.at(-1.0), linear.at(1.0), linear.at(9.0)], [0.0, 0.25, 1.0]);
        assert_eq!(Scale::Linear { low: 1.0, high: 1.0 }.at(1.0), 0.0);
    }

    #[test]
    fn decades_are_whole_below_and_airy_above() {
        let scale = Scale::decades(1.9e6, 212e6);
        assert_eq!(scale, Scale::Log { low: 1e6, high: 212e6 * 1.3 });
        assert_eq!(scale.decade_ticks(), [1e6, 1e7, 1e8]);
        assert_eq!(Scale::decades(0.0, 0.0).decade_ticks(), [1.0, 10.0]);
        assert_eq!(Scale::decades(5.0, 5.0), Scale::Log { low: 1.0, high: 10.0 });
        assert!(Scale::decades(1.0, 1e12).decade_ticks().len() <= 7);
    }

    #[test]
    fn linear_axes_end_on_a_tick() {
        assert_eq!(linear_ticks(25.4), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(linear_ticks(829.0), [0.0, 250.0, 500.0, 750.0, 1000.0]);
        assert_eq!(linear_ticks(4.0), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(linear_ticks(0.0), [0.0, 0.25, 0.5, 0.75, 1.0]);
        for greatest in [1e-9, 0.3, 7.0, 99.0, 5e12, f64::INFINITY, f64::NAN] {
            let ticks = linear_ticks(greatest);
            assert!((3..=6).contains(&ticks.len()), "{greatest}: {ticks:?}");
        }
    }

    #[test]
    fn lines_break_where_nothing_was_measured() {
        let points = [Some((0.0, 1.0)), Some((1.5, 2.25)), None, Some((3.0, 4.0))];
        assert_eq!(path(&points), "M0 1L1.5 2.2M3 4");
        assert_eq!(path(&[Some((f64::NAN, -0.01))]), "M0 0");
        assert_eq!(line("l", &[None]).into_string(), "");
        let surface = band("b", &points, &points).into_string();
        assert_eq!(surface, "<path class=\"b\" d=\"M0 1L1.5 2.2L1.5 2.2L0 1Z\"></path>");
    }

    #[test]
    fn labels_keep_their_order_their_distance_and_the_plot() {
        let placed = push_apart(&[50.0, 52.0, 10.0, 99.0], 20.0, 0.0, 100.0);
        assert_eq!(placed, [50.0, 70.0, 10.0, 99.0]);
        assert_eq!(push_apart(&[95.0, 99.0], 20.0, 0.0, 100.0), [80.0, 100.0]);
        assert!(push_apart(&[], 1.0, 0.0, 1.0).is_empty());
    }

    #[test]
    fn what_a_peer_says_cannot_leave_the_drawing() {
        let frame =
            Frame { width: 10.0, height: 9.0, left: 1.0, right: 2.0, top: 3.0, bottom: 4.0 };
        let bad = "</script><svg onload=alert(1)>";
        let drawn = drawing(Size::Wide, &frame, bad, bad, &text("", (1.0, 1.0), bad));
        let drawn = drawn.into_string();
        assert!(drawn.contains("viewBox=\"0 0 10 9\" data-plot=\"1 8 3 5\""), "{drawn}");
        assert!(!drawn.contains("<svg onload") && !drawn.contains("</script>"), "{drawn}");
    }
}
