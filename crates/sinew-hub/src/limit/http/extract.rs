//! What handlers take from a request.

use axum::extract::{FromRequestParts, Path, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use sinew::Tenant;
use sinew::http::{Problem, RequestTenant};
use sinew::limit::{Expected, Limit, Limiter};

use super::{defined, problem};
use crate::cache::WrittenKey;
use crate::etag::{Condition, condition};
use crate::hub::Hub;

/// The limits of the request's tenant.
pub(super) struct OfLimits {
    pub(super) limiter: Limiter,
    pub(super) tenant: Option<Tenant>,
}

/// The name of a limit, from the path.
pub(super) struct LimitName(pub(super) String);

/// A subject of a limit, both from the path.
pub(super) struct OfSubject {
    pub(super) limiter: Limiter,
    pub(super) tenant: Option<Tenant>,
    pub(super) limit: Limit,
    pub(super) subject: WrittenKey,
}

impl FromRequestParts<Hub> for OfLimits {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
        let tenant = tenant.map(|RequestTenant(tenant)| tenant);
        let limiter = hub.limiter(tenant.as_ref()).map_err(Problem::bad_request)?;
        Ok(Self { limiter, tenant })
    }
}

impl FromRequestParts<Hub> for LimitName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let path = RawPathParams::from_request_parts(parts, hub).await.map_err(|_| not_text())?;
        let name = path.iter().find_map(|(part, value)| (part == "name").then_some(value));
        // The path of checks has no such part, and a limit may be called that.
        Ok(Self(name.unwrap_or("check").to_owned()))
    }
}

impl FromRequestParts<Hub> for OfSubject {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let Path((name, subject)) = Path::<(String, String)>::from_request_parts(parts, hub)
            .await
            .map_err(|_| not_text())?;
        let subject = WrittenKey::new(subject).map_err(Problem::bad_request)?;
        let OfLimits { limiter, tenant } = OfLimits::from_request_parts(parts, hub).await?;
        let limit = defined(hub, &name).await?;
        Ok(Self { limiter, tenant, limit, subject })
    }
}

fn not_text() -> Problem {
    Problem::bad_request("the path is not text: expected UTF-8")
}

/// What a change is to find, by `If-Match` and `If-None-Match`.
pub(super) async fn expected(
    hub: &Hub,
    name: &str,
    headers: &HeaderMap,
) -> Result<Expected, Problem> {
    match condition(headers)? {
        Condition::Of(expected) => Ok(expected),
        Condition::There => match hub.limits().row(name).await.map_err(problem)? {
            Some(row) => Ok(row.revision.map_or(Expected::Absent, Expected::Revision)),
            None => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "no limit of this name is defined: expected one, as If-Match: * says",
            )),
        },
    }
}
