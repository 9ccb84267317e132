//! What may change while the server runs: publish tokens and certificates.
//!
//! Not here: reading them. Invariant: what cannot be read leaves in use what was read before.

use std::sync::Arc;
use std::time::Duration;

use ringwire_ring::{Signal, Signals};

use crate::certificates::Certificates;
use crate::log::Logger;
use crate::tokens::Tokens;

/// How often the files of certificates are looked at. Two looks must agree, so that new ones are in
/// use within a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(450);

/// What is read again.
pub(super) struct Reload {
    pub(super) tokens: Option<Arc<Tokens>>,
    pub(super) certificates: Option<Certificates>,
    pub(super) logger: Logger,
}

impl Reload {
    /// Reads again on SIGHUP, and certificates when their files change, until another signal comes.
    pub(super) fn until_told_to_go(&mut self, signals: &Signals) {
        loop {
            let interval = self.certificates.as_ref().map(|_| LOOK_INTERVAL);
            match (signals.wait(interval), &mut self.certificates) {
                (Some(Signal::Hangup), _) => self.now(),
                (Some(Signal::Terminate | Signal::Interrupt), _) => return,
                (None, Some(certificates)) => certificates.look(&self.logger),
                (None, None) => {}
            }
        }
    }

    fn now(&mut self) {
        let logger = &self.logger;
        if self.tokens.is_none() && self.certificates.is_none() {
            logger.info(format_args!("nothing to read again"));
        }
        match self.tokens.as_deref().map(Tokens::reload) {
            None => {}
            Some(Ok(count)) => logger.info(format_args!("{count} publish tokens read")),
            Some(Err(failure)) => logger.error(format_args!("the old tokens stay: {failure}")),
        }
        if let Some(certificates) = &mut self.certificates {
            certificates.reload_all(logger);
        }
    }
}
