//! `/v1/cache/…`

mod entries;
mod entry;
mod extract;
mod look;
mod stats;
mod warm;

use axum::http::StatusCode;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;

use crate::hub::{BUSY, Hub};

pub(crate) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .merge(entry::routes(value_len_max))
        .merge(entries::routes())
        .merge(warm::routes())
        .merge(look::routes())
        .merge(stats::routes())
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY)
}
