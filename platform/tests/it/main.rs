//! The platform's routes, on every database.

mod auth;
mod billing;
mod databases;
mod events;
mod fleet;
mod gateway;
mod generator;
mod jobs;
mod rent_tracker;
mod user;

// One world for all crates' tests; each needs a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../../../crates/sinew/tests/it/world/mod.rs"]
mod world;
