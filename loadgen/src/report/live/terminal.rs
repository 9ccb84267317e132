//! The terminal itself: taken, drawn on, and given back whatever happens.
//!
//! Not here: what is drawn. Invariant: from `take` to `give_back` nothing else writes to stderr,
//! and after `give_back` nothing is drawn any more.

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::prelude::CrosstermBackend;
use ratatui::{Frame, Terminal};
use std::io::{BufWriter, Stderr, stderr};
use std::sync::{Mutex, Once, PoisonError, TryLockError};
use std::time::Duration;

use super::{Choices, screen};
use crate::report::progress::{Look, Shown, View};

/// The name of the thread that draws.
pub(crate) const DRAWING: &str = "drawing";
/// A large screen is about this many bytes: one write a frame.
const FRAME_BYTES: usize = 32 * 1024;

/// Whether the terminal is ours. Held while a frame is drawn.
static IS_TAKEN: Mutex<bool> = Mutex::new(false);

/// The terminal while it is ours.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stderr>>>,
    /// Keys cannot be read: the terminal is only looked at.
    is_deaf: bool,
}

impl Screen {
    /// Takes the terminal: raw, its other screen, no cursor.
    pub(crate) fn take() -> std::io::Result<Self> {
        give_back_on_panic();
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, stderr()));
        let terminal = Terminal::new(backend)?;
        let mut is_taken = IS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        enable_raw_mode()?;
        *is_taken = true;
        drop(is_taken);
        if let Err(error) = execute!(stderr(), EnterAlternateScreen, Hide) {
            give_back();
            return Err(error);
        }
        Ok(Self { terminal, is_deaf: false })
    }

    /// Draws one frame, unless the terminal was given back.
    pub(crate) fn draw(&mut self, view: &View, look: Look, choices: Choices) {
        let is_taken = IS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_taken {
            let draw = |frame: &mut Frame<'_>| screen::draw(frame, view, look, choices);
            // Nobody to tell if the terminal is gone; the measurement goes on.
            let _ = self.terminal.draw(draw);
        }
    }

    /// Waits for a key or a new size, or for `at_most`.
    pub(crate) fn event(&mut self, shown: &Shown, at_most: Duration) -> Option<Event> {
        if self.is_deaf {
            let _ = shown.wait_for_end(at_most);
            return None;
        }
        match event::poll(at_most) {
            Ok(true) => event::read().ok(),
            Ok(false) => None,
            Err(_) => {
                self.is_deaf = true;
                None
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was; for the second time it does nothing.
pub(crate) fn give_back() {
    match IS_TAKEN.try_lock() {
        Ok(mut is_taken) => leave(&mut is_taken),
        Err(TryLockError::Poisoned(poisoned)) => leave(&mut poisoned.into_inner()),
        // The thread that draws has panicked in the middle of it, and holds the lock.
        Err(TryLockError::WouldBlock) if std::thread::current().name() == Some(DRAWING) => {
            leave(&mut true);
        }
        Err(TryLockError::WouldBlock) => {
            leave(&mut IS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

fn leave(is_taken: &mut bool) {
    if *is_taken {
        *is_taken = false;
        let _ = execute!(stderr(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// What a panic says is to be read on the terminal's own screen.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}
