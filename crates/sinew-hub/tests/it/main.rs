//! The binary as a user starts it: command line, HTTP, demonstration, dashboard.

mod api;
mod browser;
mod cache_api;
mod cache_cli;
mod cache_page;
mod cli;
mod dashboard;
mod demo;
mod hub;
mod limit_api;
mod limit_cli;
mod limit_page;
mod limit_rls;
mod lock_api;
mod lock_cli;
mod lock_page;

// One world for all crates' tests; each needs a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../../../sinew/tests/it/world/mod.rs"]
mod world;
