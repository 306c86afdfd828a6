//! The binary as a user starts it: command line, HTTP, demonstration, dashboard.

mod api;
mod auth_api;
mod auth_page;
mod browser;
mod cache_api;
mod cache_cli;
mod cache_page;
mod cli;
mod dashboard;
mod demo;
mod flag_api;
mod flag_cli;
mod flag_loss;
mod flag_page;
mod hub;
mod job_api;
mod job_cli;
mod job_page;
mod job_recurring;
mod job_watch;
mod job_webhook;
mod job_worker;
mod limit_api;
mod limit_cli;
mod limit_page;
mod limit_rls;
mod lock_api;
mod lock_cli;
mod lock_page;
mod ofrep;
mod session_api;
mod session_cli;
mod session_page;
mod stream_api;
mod stream_cli;
mod stream_page;
mod webhook;

// One world for all crates' tests; each needs a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../../../sinew/tests/it/world/mod.rs"]
mod world;
