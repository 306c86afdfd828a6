//! Whose request it is.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;

use super::problem::Problem;
use crate::kernel::name::Tenant;

/// The header that names the tenant of a request.
pub const TENANT_HEADER: &str = "X-Tenant-Id";

/// Extracts the tenant from `X-Tenant-Id`. A request without the header, or with a bad or
/// repeated one, is answered 400; `Option<RequestTenant>` takes one without.
#[derive(Clone, Debug)]
pub struct RequestTenant(pub Tenant);

fn read(parts: &Parts) -> Result<Option<RequestTenant>, Problem> {
    let mut values = parts.headers.get_all(TENANT_HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::bad_request(format!(
            "the header {TENANT_HEADER} is given more than once: expected one tenant"
        )));
    }
    let tenant = Tenant::new(String::from_utf8_lossy(value.as_bytes()))?;
    Ok(Some(RequestTenant(tenant)))
}

impl<S: Sync> FromRequestParts<S> for RequestTenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(parts)?.ok_or_else(|| {
            Problem::bad_request(format!(
                "the header {TENANT_HEADER} is missing: expected the name of a tenant"
            ))
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for RequestTenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        read(parts)
    }
}
