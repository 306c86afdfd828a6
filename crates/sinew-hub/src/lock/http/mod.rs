//! `/v1/locks/…`
//!
//! A lock over HTTP is held by its token and not by a connection: no hub renews it, and the end of a
//! hub does not free it.

mod extract;
mod list;
mod token;

use axum::http::StatusCode;
use sinew::ErrorKind;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;

use crate::hub::{BUSY, Hub};

pub(crate) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().merge(list::routes()).merge(token::routes())
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY)
}

/// An error of the library. A 409 means that someone else holds the lock, and nothing else does.
fn problem(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => Problem::new(
            StatusCode::BAD_GATEWAY,
            "what the store has under the keys of this lock is no lock",
        ),
        _ => error.into(),
    }
}
