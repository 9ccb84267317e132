//! Channels: named streams of publications, each with one home worker that alone assigns
//! positions and keeps history, and the subscribers that every worker serves.
//!
//! Not here: bytes of a connection, clocks, entropy, queues between workers. Time, randomness and
//! the way out are arguments.
