//! RentTracker: properties and the rent paid for them, by tenant.
//!
//! | Route | Cached under | Evicted by |
//! | --- | --- | --- |
//! | `GET /api/properties` | `property:list` | any write of a property |
//! | `GET /api/properties/{id}` | `property:{id}` | a write of this property |
//! | `GET /api/properties/{id}/payments` | `property:{id}:payments:list` | any write of its payments |
//! | `GET /api/properties/{id}/payments/{paymentId}` | `payment:{paymentId}` | a write of this payment |
//!
//! Every key is under `RentTracker_{tenant}:`. `cache_keys.rs` has this table as code.

mod cache_keys;
mod error;
pub(crate) mod payment;
pub(crate) mod property;
mod repository;
mod routes;
mod service;

pub use cache_keys::PREFIX;
pub(crate) use repository::Repository;

use axum::Router;
use sinew::Sinew;

use crate::database::Database;

/// The module's routes.
pub(crate) fn router(sinew: Sinew, database: Database) -> Router {
    routes::router(service::RentTracker::new(sinew, Repository::new(database)))
}
