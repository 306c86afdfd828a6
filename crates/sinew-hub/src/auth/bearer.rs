//! Programs, by a token.

use axum::extract::{FromRequestParts as _, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use sinew::Tenant;
use sinew::http::{Problem, RequestTenant, TENANT_HEADER};

use super::Auth;
use super::actor::Actor;
use super::guard::keep_to_oneself;
use super::routes::Reach;
use super::scope::Scope;

/// As clients of OpenFeature may send their token.
pub(crate) const API_KEY: &str = "x-api-key";
const EXPECTED: &str = "expected the header Authorization: Bearer TOKEN, with a token that this hub's configuration names";

/// Lets a request pass whose token may do what the route is for.
pub(super) async fn admit(
    auth: &Auth,
    path: &str,
    scope: Scope,
    reach: Reach,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Err(refusal) = judge(auth, path, scope, reach, &mut parts).await {
        return refusal.into_response();
    }
    let mut response = next.run(Request::from_parts(parts, body)).await;
    keep_to_oneself(&mut response);
    response
}

/// Why a request may not pass.
struct Refusal {
    problem: Problem,
    /// What is said of it in `WWW-Authenticate` (RFC 6750, 3).
    challenge: Option<String>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, challenge: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        let challenge = self.challenge.and_then(|text| HeaderValue::try_from(text).ok());
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        keep_to_oneself(&mut response);
        response
    }
}

async fn judge(
    auth: &Auth,
    path: &str,
    scope: Scope,
    reach: Reach,
    parts: &mut Parts,
) -> Result<(), Refusal> {
    let Some(presented) = presented(path, &parts.headers) else {
        return Err(unknown("there is no token", ""));
    };
    let Some(token) = auth.token(presented) else {
        return Err(unknown("no one has this token", ", error=\"invalid_token\""));
    };
    if token.has_expired(Timestamp::now()) {
        return Err(unknown("this token has expired", ", error=\"invalid_token\""));
    }
    if !token.may(scope) {
        let problem = Problem::new(
            StatusCode::FORBIDDEN,
            format!("this token may not do that: expected one with the scope {scope}"),
        );
        let challenge =
            format!("Bearer realm=\"sinew\", error=\"insufficient_scope\", scope=\"{scope}\"");
        return Err(Refusal { problem, challenge: Some(challenge) });
    }
    if let Some(own) = &token.tenant {
        hold_to(own, reach, parts).await?;
    }
    parts.extensions.insert(Actor::named(&token.name, token.tenant.as_ref()));
    Ok(())
}

fn unknown(what: &str, error: &str) -> Refusal {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, format!("{what}: {EXPECTED}"));
    Refusal { problem, challenge: Some(format!("Bearer realm=\"sinew\"{error}")) }
}

/// The one token of a request.
fn presented<'a>(path: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    };
    if !headers.contains_key(header::AUTHORIZATION) && path.starts_with("/ofrep/") {
        return one(HeaderName::from_static(API_KEY));
    }
    let (scheme, token) = one(header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Keeps a request to the tenant of its token, also where it names none.
async fn hold_to(own: &Tenant, reach: Reach, parts: &mut Parts) -> Result<(), Problem> {
    let refused = |what: String| Err(Problem::new(StatusCode::FORBIDDEN, what));
    if reach == Reach::All {
        return refused(
            "this is about all tenants, and this token is one tenant's: expected one that has no tenant"
                .to_owned(),
        );
    }
    match Option::<RequestTenant>::from_request_parts(parts, &()).await? {
        Some(RequestTenant(named)) if named == *own => Ok(()),
        Some(_) => refused(format!(
            "this token is for another tenant: expected {TENANT_HEADER}: {}, or no such header",
            own.as_str()
        )),
        None => {
            let name = HeaderValue::try_from(own.as_str())
                .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))?;
            parts.headers.insert(TENANT_HEADER, name);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_is_taken_from_where_it_belongs_and_from_nowhere_else() {
        let of = |path: &str, lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, line) in lines {
                headers.append(*name, HeaderValue::from_str(line).unwrap());
            }
            presented(path, &headers).map(str::to_owned)
        };
        let (api, ofrep) = ("/v1/cache", "/ofrep/v1/evaluate/flags");
        for line in ["Bearer snw_a", "bearer  snw_a", "BEARER snw_a "] {
            assert_eq!(of(api, &[("authorization", line)]).as_deref(), Some("snw_a"), "{line}");
        }
        assert_eq!(of(ofrep, &[(API_KEY, "snw_a")]).as_deref(), Some("snw_a"));
        let both = [("authorization", "Bearer snw_b"), (API_KEY, "snw_a")];
        assert_eq!(of(ofrep, &both).as_deref(), Some("snw_b"));
        for lines in [
            &[][..],
            &[("authorization", "snw_a")],
            &[("authorization", "Basic snw_a")],
            &[("authorization", "Bearer snw_a"), ("authorization", "Bearer snw_a")],
            &[(API_KEY, "snw_a")],
        ] {
            assert_eq!(of(api, lines), None, "{lines:?}");
        }
        assert_eq!(of(ofrep, &[("authorization", "Basic snw_a"), (API_KEY, "snw_a")]), None);
    }
}
