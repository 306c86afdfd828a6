//! The promises, as laws that every store has to keep.

#[macro_use]
mod laws;
mod world;

mod cache;
mod drift;
mod outage;
mod setup;
