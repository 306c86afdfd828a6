//! `/v1/limits/…`.

mod check;
mod definition;
mod extract;
mod headers;
mod subject;

use axum::http::StatusCode;
use sinew::ErrorKind;
use sinew::http::Problem;
use sinew::limit::Limit;
use utoipa_axum::router::OpenApiRouter;

use crate::hub::Hub;
use crate::limit::check_name;

pub(crate) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().merge(definition::routes()).merge(check::routes()).merge(subject::routes())
}

/// A limit to check by.
async fn defined(hub: &Hub, name: &str) -> Result<Limit, Problem> {
    hub.limits().get(name).await?.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Problem {
    // Names are short; what is not one may be anything, and cannot be defined.
    let shown: String = name.chars().take(64).collect();
    let path = check_name(name).map_or("NAME", |()| name);
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "no limit {shown:?} is defined: PUT /v1/limits/{path} defines one, GET /v1/limits lists those that are"
        ),
    )
}

/// An error of a definition. There, a conflict is another revision.
pub(crate) fn problem(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => Problem::new(StatusCode::PRECONDITION_FAILED, error.to_string()),
        _ => error.into(),
    }
}
