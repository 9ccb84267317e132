//! Channels: named streams of publications, and who listens to them.
//!
//! A channel has one home worker ([`home_of`]). Its [`Home`] alone assigns positions and keeps
//! history; every worker has a [`Local`], the subscribers among its own connections. Both speak
//! through [`Request`] and [`Answer`], which a worker carries in queues that keep their order.
//!
//! Not here: bytes of a connection, the queues, clocks, entropy. Time, randomness and the way out
//! are arguments ([`Turn`]), so that the same calls give the same answers.
//!
//! Invariant: within an epoch a subscriber gets rising offsets, none twice; one it does not get is
//! announced by [`Slice::recovered`] being false or by [`Answer::Gap`].

mod audience;
mod encoding;
mod fanout;
mod home;
mod lanes;
mod limits;
mod local;
mod membership;
mod name;
mod order;
mod publication;
mod request;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

pub use encoding::Encoding;
pub use fanout::Fanout;
pub use home::{Home, Turn};
pub use limits::{ChannelLimits, HomeCounters};
pub use local::{Arrival, Local, Terms};
pub use name::{Name, home_of};
pub use publication::{Batch, Publication, join};
pub use request::{Answer, Busy, Items, Read, Receipt, Request, Seek, Slice};
