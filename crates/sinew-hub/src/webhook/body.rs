//! What is said of any webhook over HTTP.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sinew::http::Problem;
use sinew::stream::{Paused, Secret};
use utoipa::ToSchema;

use super::endpoint::Last;
use crate::hub::Hub;
use crate::json;
use crate::stream::body::time;

/// Why a webhook is paused where nobody says why.
const REASON: &str = "paused over HTTP";

/// That a webhook is paused.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PausedBody {
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    pub(crate) reason: String,
}

impl From<Paused> for PausedBody {
    fn from(paused: Paused) -> Self {
        Self { since: time(paused.since), reason: paused.reason }
    }
}

/// A delivery.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LastBody {
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// The endpoint's status, or why it has none
    pub(crate) status: String,
    /// Whether it was a 2xx
    pub(crate) delivered: bool,
}

impl From<Last> for LastBody {
    fn from(last: Last) -> Self {
        Self { at: time(last.at), status: last.told, delivered: last.is_good }
    }
}

/// Why a webhook is to be paused.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseBody {
    /// As it is shown
    reason: Option<String>,
}

/// The same of a request, whose body may be left out.
pub(crate) struct Reason(pub(crate) String);

impl FromRequest<Hub> for Reason {
    type Rejection = Problem;

    async fn from_request(request: Request, hub: &Hub) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let whole = Request::from_parts(parts.clone(), body);
        let body: Result<Json<json::Object<PauseBody>>, JsonRejection> =
            match Bytes::from_request(whole, hub).await {
                Ok(bytes) if bytes.is_empty() => return Ok(Self(REASON.to_owned())),
                Ok(bytes) => {
                    Json::from_request(Request::from_parts(parts, Body::from(bytes)), hub).await
                }
                Err(rejection) => Err(rejection.into()),
            };
        let said = json::object(body, r#"like {"reason": "maintenance"}, or none"#)?.reason;
        Ok(Self(said.unwrap_or_else(|| REASON.to_owned())))
    }
}

/// Those with which deliveries are to be signed, and the one that was made for it: where none is said, those that were there
/// before stay.
pub(crate) fn secrets(
    said: Option<&str>,
    old: Option<&str>,
    before: Option<&[Secret]>,
) -> Result<(Vec<Secret>, Option<Secret>), Problem> {
    match (said, old, before) {
        (Some(said), old, _) => {
            let all = [Some(said), old].into_iter().flatten();
            Ok((all.map(Secret::parse).collect::<sinew::Result<_>>()?, None))
        }
        (None, Some(_), _) => {
            Err(Problem::bad_request("old_secret alone: expected secret beside it"))
        }
        (None, None, Some(before)) => Ok((before.to_vec(), None)),
        (None, None, None) => {
            let secret = Secret::generate()?;
            Ok((vec![secret.clone()], Some(secret)))
        }
    }
}
