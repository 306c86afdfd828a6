//! The platform's routes, on every database.

mod billing;
mod databases;
mod gateway;
mod rent_tracker;

// One world for all crates' tests; each needs a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../../../crates/sinew/tests/it/world/mod.rs"]
mod world;
