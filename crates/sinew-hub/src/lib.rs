//! The hub: what the `sinew` library gives Rust services, for services in any language.
//!
//! | Module | Holds |
//! | --- | --- |
//! | [`cli`] | the command line of the binary `sinew` |
//! | [`config`] | file, environment and flags, and what is wrong with them |
//! | [`dashboard`] | the pages |
//! | [`cache`] | the cache over HTTP and on the command line |
//! | [`flag`] | feature flags over HTTP, OFREP included, and on the command line |
//! | [`job`] | background jobs over HTTP and on the command line |
//! | [`limit`] | rate limits over HTTP |
//! | [`lock`] | locks over HTTP and on the command line |
//! | [`redis`] | Redis itself: its circuit breakers |
//! | [`session`] | sessions over HTTP and on the command line |
//! | [`stream`] | event streams over HTTP and on the command line |
//!
//! It is built from the library's public handles only.

mod audit;
mod auth;
mod body;
mod busy;
pub mod cache;
pub mod cli;
pub mod config;
pub mod dashboard;
#[cfg(feature = "demo")]
mod demo;
mod duration;
mod etag;
pub mod flag;
mod health;
mod hub;
pub mod job;
mod json;
pub mod limit;
pub mod lock;
mod openapi;
mod places;
pub mod redis;
mod serve;
pub mod session;
mod size;
pub mod stream;
mod telemetry;
mod unseen;
mod webhook;

pub use hub::Hub;
