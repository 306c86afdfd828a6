//! The reference platform: systems that once wrote their Redis layer by hand, on Sinew.
//!
//! | Module | Shows |
//! | --- | --- |
//! | [`rent_tracker`] | tenants in every key, cached reads, an invalidation map, row versions |
//! | [`billing`] | a job under a lock, writes with its fence, a tagged cache |
//! | [`gateway`] | rate limits per user, per address and against floods, over all instances |
//!
//! It is also the example to copy: routes, service, repository and cache keys, a file each.

pub mod billing;
mod database;
mod date;
pub mod demo;
pub mod gateway;
mod migration;
pub mod rent_tracker;
mod web;

use axum::Router;
use axum::http::StatusCode;
use sinew::Sinew;
use sinew::http::Problem;

use billing::Billing;
pub use database::{Database, OpenError};

/// All modules, on one database and one Sinew. The [`gateway`] goes in front of it, or of each module in
/// a process of its own.
pub fn router(sinew: Sinew, database: Database) -> Router {
    let billing = Billing::new(sinew.clone(), database.clone());
    rent_tracker::router(sinew, database).merge(billing::router(billing)).fallback(|| async {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no such route: expected /api/properties, /api/billing, or a path below them",
        )
    })
}
