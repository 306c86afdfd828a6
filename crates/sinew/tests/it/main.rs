//! The promises, as laws that every store has to keep.

#[macro_use]
mod laws;
// One world for all crates' tests; each needs a part of it.
#[allow(dead_code, unused_imports)]
mod world;

mod cache;
mod drift;
mod faults;
mod local_copies;
mod outage;
mod setup;
mod topology;
mod torture;
