//! The pages, for people.

mod assets;
mod cache;
mod entry;
mod events;
mod extract;
mod flag;
mod job;
mod keys;
mod limit;
mod limit_definition;
mod lock;
mod overview;
mod series;
mod session;
mod show;
mod stream;

use axum::Router;
use axum::routing::get;

use crate::hub::Hub;

pub(crate) use extract::OurPage;
pub(crate) use series::Series;
pub(crate) use show::{in_words, render};
pub(crate) use stream::Histories;

pub(crate) fn routes() -> Router<Hub> {
    Router::new()
        .route("/", get(overview::page))
        .route("/overview/tiles", get(overview::tiles))
        .route("/overview/events", get(overview::events))
        .route("/caches", get(cache::list))
        .route("/caches/{cache}", get(cache::page))
        .route("/caches/{cache}/now", get(cache::now))
        .route("/caches/{cache}/events", get(cache::events))
        .route("/caches/{cache}/keys/largest", get(keys::largest))
        .route("/caches/{cache}/keys/hottest", get(keys::hottest))
        .route("/caches/{cache}/entry", get(entry::look).delete(entry::evict))
        .route("/caches/{cache}/evict", get(entry::confirm))
        .route("/locks", get(lock::page))
        .route("/locks/held", get(lock::held))
        .route("/locks/release", get(lock::confirm).delete(lock::release))
        .route("/limits", get(limit::list))
        .route("/limits/{limit}", get(limit::page))
        .route("/limits/{limit}/now", get(limit::now))
        .route("/limits/{limit}/events", get(limit::events))
        .route("/limits/{limit}/busiest", get(limit::busiest))
        .route(
            "/limits/{limit}/definition",
            get(limit_definition::definition).put(limit_definition::change),
        )
        .route("/limits/{limit}/definition/change", get(limit_definition::confirm))
        .route("/limits/{limit}/changes", get(limit_definition::changes))
        .route("/sessions", get(session::page))
        .route("/sessions/found", get(session::found))
        .route("/sessions/end", get(session::confirm).delete(session::end))
        .merge(flag::routes())
        .merge(stream::routes())
        .merge(job::routes())
        .route("/assets/{*path}", get(assets::asset))
}
