//! A line of the screen, written from left to right at fixed columns.
//!
//! Invariant: nothing is said by colour alone; without colours bold and dim remain.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::report::duration;
use crate::report::number::INSUFFICIENT;
use crate::report::progress::Look;
use crate::result::Latency;
use crate::verdict::State;

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    /// Bold.
    Number,
    /// Dim.
    Label,
    /// Cyan.
    Progress,
    /// Yellow.
    Suspect,
    /// Magenta.
    Bad,
}

impl Ink {
    fn style(self, look: Look) -> Style {
        let coloured = |colour| {
            let style = Style::new().add_modifier(Modifier::BOLD);
            if look.is_coloured { style.fg(colour) } else { style }
        };
        match self {
            Self::Plain => Style::new(),
            Self::Number => Style::new().add_modifier(Modifier::BOLD),
            Self::Label => Style::new().add_modifier(Modifier::DIM),
            Self::Progress if look.is_coloured => Style::new().fg(Color::Cyan),
            Self::Progress => Style::new(),
            Self::Suspect => coloured(Color::Yellow),
            Self::Bad => coloured(Color::Magenta),
        }
    }

    /// How a state is written.
    pub(crate) const fn of(state: State) -> Self {
        match state {
            State::Valid => Self::Plain,
            State::Suspect => Self::Suspect,
            State::Invalid => Self::Bad,
        }
    }
}

/// A line that is being written.
#[derive(Debug, Clone)]
pub(crate) struct Pen {
    look: Look,
    spans: Vec<Span<'static>>,
    width: usize,
}

impl Pen {
    pub(crate) const fn new(look: Look) -> Self {
        Self { look, spans: Vec::new(), width: 0 }
    }

    /// Goes on at this column, or where it is if it is there already, a space apart.
    pub(crate) fn at(mut self, column: usize) -> Self {
        let spaces = match column.saturating_sub(self.width) {
            0 if self.width > 0 => 1,
            spaces => spaces,
        };
        self.width += spaces;
        self.spans.push(Span::raw(" ".repeat(spaces)));
        self
    }

    pub(crate) fn ink(mut self, ink: Ink, text: impl Into<String>) -> Self {
        let text = text.into();
        self.width += text.chars().count();
        self.spans.push(Span::styled(text, ink.style(self.look)));
        self
    }

    pub(crate) fn plain(self, text: impl Into<String>) -> Self {
        self.ink(Ink::Plain, text)
    }

    pub(crate) fn label(self, text: impl Into<String>) -> Self {
        self.ink(Ink::Label, text)
    }

    pub(crate) fn number(self, text: impl Into<String>) -> Self {
        self.ink(Ink::Number, text)
    }

    /// Text that ends before `column`.
    pub(crate) fn until(self, column: usize, ink: Ink, text: impl Into<String>) -> Self {
        let text = text.into();
        self.at(column.saturating_sub(text.chars().count())).ink(ink, text)
    }

    /// A percentile that ends before `column`.
    pub(crate) fn time(self, column: usize, latency: &Latency, value: Option<u64>) -> Self {
        let style = self.look.style;
        match value {
            Some(ns) => self.until(column, Ink::Number, duration(style, ns)),
            None if latency.count == 0 => self,
            None => self.until(column, Ink::Label, short(INSUFFICIENT)),
        }
    }

    /// The line, cut to `columns`.
    pub(crate) fn line(self, columns: usize) -> Line<'static> {
        Line::from(self.cut(columns).spans)
    }

    /// Cuts what stands beyond `columns`; two dots say so.
    pub(crate) fn cut(self, columns: usize) -> Self {
        let mut left = columns;
        let mut spans = Vec::with_capacity(self.spans.len());
        for span in self.spans {
            let width = span.content.chars().count();
            if width <= left {
                left -= width;
                spans.push(span);
                continue;
            }
            let mut text: String = span.content.chars().take(left.saturating_sub(2)).collect();
            text.push_str(&"..."[..left.min(2)]);
            left = left.saturating_sub(text.chars().count());
            spans.push(Span::styled(text, span.style));
            break;
        }
        Self { look: self.look, spans, width: columns - left }
    }
}

/// `insuff.`, where the whole word does not fit.
fn short(word: &str) -> String {
    format!("{}.", &word[..6])
}
