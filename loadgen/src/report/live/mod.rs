//! The live view: the whole terminal, drawn a few times a second by a thread of its own.
//!
//! It draws what the engine's conductor has told last and reads keys; it measures nothing and asks
//! nobody. Invariant: work per frame does not grow with the run.

mod comparison;
mod pen;
mod plot;
mod screen;
pub(crate) mod terminal;
#[cfg(test)]
mod tests;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use self::terminal::Screen;
use super::progress::{Look, Shown, View};

/// How long a key or the end may wait to be noticed.
const SLICE: Duration = Duration::from_millis(50);
/// Slices from one frame to the next.
const SLICES_PER_FRAME: u32 = 5;
const SLICES_PER_SLOW_FRAME: u32 = 20;

/// What keys have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Choices {
    /// The histogram's bars are spaced evenly, not by 1, 2, 5, 10.
    pub(crate) is_linear: bool,
    pub(crate) is_frozen: bool,
    pub(crate) are_keys_shown: bool,
}

impl Choices {
    /// Takes a key; whether it is the wish to stop.
    fn take(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return true,
            KeyCode::Char('q') if !is_control => return true,
            KeyCode::Char('p') if !is_control => self.is_frozen = !self.is_frozen,
            KeyCode::Char('l') if !is_control => self.is_linear = !self.is_linear,
            KeyCode::Char('?') => self.are_keys_shown = !self.are_keys_shown,
            KeyCode::Esc => self.are_keys_shown = false,
            _ => {}
        }
        false
    }
}

/// Draws for as long as `body` runs.
pub(crate) fn show<T>(
    shown: &Shown,
    look: Look,
    stop: &AtomicBool,
    body: impl FnOnce(&Shown) -> T,
) -> T {
    // Whoever has no keyboard, or a terminal that cannot be drawn on, is measured all the same.
    let Ok(screen) = Screen::take() else { return body(shown) };
    std::thread::scope(|scope| {
        // Ends the drawing also when `body` panics, as the scope waits for it.
        let _end = End(shown);
        let drawing = std::thread::Builder::new().name(terminal::DRAWING.to_owned());
        let _ = drawing.spawn_scoped(scope, move || draw_until_end(shown, screen, look, stop));
        body(shown)
    })
}

struct End<'s>(&'s Shown);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn draw_until_end(shown: &Shown, mut screen: Screen, look: Look, stop: &AtomicBool) {
    let slices = if look.is_slow { SLICES_PER_SLOW_FRAME } else { SLICES_PER_FRAME };
    let mut choices = Choices::default();
    let mut frozen: Option<View> = None;
    let mut slices_left = 0;
    while !shown.wait_for_end(Duration::ZERO) {
        if slices_left == 0 {
            shown.note_stop(stop);
            let view = frozen.clone().unwrap_or_else(|| shown.view());
            screen.draw(&view, look, choices);
            slices_left = slices;
        }
        slices_left -= 1;
        let Some(event) = screen.event(shown, SLICE) else { continue };
        // A key is answered, and a new size filled, at once.
        slices_left = 0;
        if let Event::Key(key) = event {
            if choices.take(key) {
                crate::stop::wish(stop);
            }
            frozen = choices.is_frozen.then(|| frozen.unwrap_or_else(|| shown.view()));
        }
    }
}
