//! What one completion says: the only place where its flags are read.
//!
//! Not here: what follows from it.

use io_uring::cqueue;

use super::token::Token;
use crate::driver::Errno;

/// A decoded completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// Which operation.
    pub(super) token: Token,
    /// Its count or its error.
    pub(super) result: Result<u32, Errno>,
    /// The operation goes on: this is not its last completion.
    pub(super) more: bool,
    /// The receive buffer it used.
    pub(super) buffer: Option<UsedBuffer>,
}

/// A buffer named by a completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsedBuffer {
    pub(super) index: u16,
    /// The kernel goes on filling it, behind what it filled now.
    pub(super) more: bool,
}

impl From<cqueue::Entry> for Done {
    fn from(entry: cqueue::Entry) -> Self {
        let flags = entry.flags();
        let buffer = cqueue::buffer_select(flags)
            .map(|index| UsedBuffer { index, more: cqueue::buffer_more(flags) });
        let result = entry.result();
        Self {
            token: Token::from_bits(entry.user_data()),
            result: u32::try_from(result).map_err(|_| Errno(result.wrapping_neg())),
            more: cqueue::more(flags),
            buffer,
        }
    }
}
