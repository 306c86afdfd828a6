//! The pages, for people.

mod assets;
mod overview;
mod series;

use axum::Router;
use axum::routing::get;

use crate::hub::Hub;

pub(crate) use series::Series;

pub(crate) fn routes() -> Router<Hub> {
    Router::new()
        .route("/", get(overview::page))
        .route("/overview/tiles", get(overview::tiles))
        .route("/overview/events", get(overview::events))
        .route("/assets/{*path}", get(assets::asset))
}
