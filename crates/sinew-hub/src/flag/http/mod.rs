//! `/v1/flags/…` and `/v1/flag-segments/…`.

mod act;
mod definition;
pub(crate) mod extract;
mod segment;
mod why;

use axum::http::StatusCode;
use sinew::ErrorKind;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;

use super::ofrep;
use crate::auth::Actor;
use crate::hub::Hub;

/// Of a flag or a segment: ten thousand users fit.
const FLAG_LEN_MAX: usize = 1 << 20;

pub(crate) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .merge(definition::routes())
        .merge(act::routes())
        .merge(why::routes())
        .merge(segment::routes())
        .merge(ofrep::routes())
}

/// Who makes a change, as the audit has it.
fn by(actor: &Actor) -> &str {
    actor.by("http")
}

fn unknown(key: &str) -> Problem {
    let shown: String = key.chars().take(100).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "no flag {shown:?}: PUT /v1/flags/KEY makes one, GET /v1/flags lists those that are"
        ),
    )
}

/// An error of a flag. There, a conflict is another revision.
pub(crate) fn problem(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => Problem::new(StatusCode::PRECONDITION_FAILED, error.to_string()),
        _ => error.into(),
    }
}
