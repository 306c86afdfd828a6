//! The reference platform: systems that once wrote their Redis layer by hand, on Sinew.
//!
//! | Module | Shows |
//! | --- | --- |
//! | [`rent_tracker`] | tenants in every key, cached reads, an invalidation map, row versions |
//!
//! It is also the example to copy: routes, service, repository and cache keys, a file each.

mod database;
pub mod demo;
mod migration;
pub mod rent_tracker;

use axum::Router;
use axum::http::StatusCode;
use sinew::Sinew;
use sinew::http::Problem;

pub use database::{Database, OpenError};

/// All modules, on one database and one Sinew.
pub fn router(sinew: Sinew, database: Database) -> Router {
    rent_tracker::router(sinew, database).fallback(|| async {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no such route: expected /api/properties, or a path below it",
        )
    })
}
