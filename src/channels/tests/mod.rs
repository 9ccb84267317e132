//! Tests of the channel logic: homes and subscribers by themselves, and whole worlds of workers.

mod home;
mod local;
mod model;
mod random;
mod world;
