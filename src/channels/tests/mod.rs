//! Tests of the channel logic: homes and subscribers by themselves, and whole worlds of workers.

mod behind;
mod bounds;
mod desk;
mod local;
mod model;
mod random;
mod replay;
mod world;
