//! The simulated kernel, by what its users see of it.

mod contract;
mod echo;
mod network;
