//! The reference platform: systems that once wrote their Redis layer by hand, on Sinew.
//!
//! | Module | Shows |
//! | --- | --- |
//! | [`rent_tracker`] | tenants in every key, cached reads, an invalidation map, row versions |
//! | [`billing`] | a run under a lock, writes with its fence, a tagged cache; each month by a recurring job |
//! | `auth` | sessions behind bearer tokens, passwords, limits on guessing |
//! | `user` | cached profiles and preferences, a list of where one is signed in |
//! | `generator` | a flag that chooses the model, watched and never asked for; images by a job that tells how far it is |
//! | `customers` | a job under a lock, with a fence, that is tried again where somebody else is away |
//! | [`events`] | what these tell each other: an outbox, consumers, effects that happen once |
//! | [`jobs`] | what these have done in the background: letters, bills, images |
//! | [`gateway`] | rate limits per user, per address and against floods, over all instances |
//!
//! It is also the example to copy: routes, service, repository and cache keys, a file each.

mod auth;
pub mod billing;
mod commit;
mod customers;
mod database;
mod date;
pub mod demo;
pub mod events;
pub mod gateway;
mod generator;
pub mod jobs;
mod migration;
pub mod remote;
pub mod rent_tracker;
mod user;
mod web;

use axum::Router;
use axum::http::StatusCode;
use sinew::http::Problem;
use sinew::limit::http::TrustedProxies;
use sinew::{Result, Sinew};

use billing::Billing;
pub use database::{Database, OpenError};

/// The routes of all modules, on one database and one Sinew. The [`gateway`] goes in front of it, or of each module in
/// a process of its own; of a client's address, the word of those that are `trusted` counts. What the modules tell each
/// other is published and heard by [`events::Workers`], which are started beside the routes, and do what they enqueue.
///
/// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: who logs in has to have an address,
/// and is answered 500 otherwise.
///
/// # Errors
/// `Misconfigured` in a single-tenant deployment.
pub fn router(sinew: Sinew, database: Database, trusted: &TrustedProxies) -> Result<Router> {
    let billing = Billing::new(sinew.clone(), database.clone());
    let signed_in = auth::router(&sinew, database.clone(), trusted)?
        .merge(user::router(sinew.clone(), database.clone()))
        .merge(generator::router(sinew.clone(), database.clone()))
        .layer(auth::sessions::layer(&sinew, trusted)?);
    let app = rent_tracker::router(sinew.clone(), database.clone())
        .merge(customers::router(sinew, database))
        .merge(billing::router(billing));
    Ok(app.merge(signed_in).fallback(|| async {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no such route: expected one below /api/properties, /api/customers, /api/billing, /api/auth, /api/users/me or /api/generator",
        )
    }))
}
