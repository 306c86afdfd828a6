//! What handlers take from a request.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use sinew::http::{Problem, RequestTenant};
use sinew::lock::LockToken;
use sinew::{Locks, Tenant};

use crate::duration;
use crate::hub::Hub;

/// The locks of the request's tenant.
pub(super) struct OfLocks {
    pub(super) locks: Locks,
    pub(super) tenant: Option<Tenant>,
}

/// The same, and the name that the path has.
pub(super) struct OfLock {
    pub(super) locks: Locks,
    pub(super) tenant: Option<Tenant>,
    pub(super) name: String,
}

impl FromRequestParts<Hub> for OfLocks {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
        let tenant = tenant.map(|RequestTenant(tenant)| tenant);
        let locks = hub.locks(tenant.as_ref()).map_err(Problem::bad_request)?;
        Ok(Self { locks, tenant })
    }
}

impl FromRequestParts<Hub> for OfLock {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, hub)
            .await
            .map_err(|_| Problem::bad_request("the path is not text: expected UTF-8"))?;
        let OfLocks { locks, tenant } = OfLocks::from_request_parts(parts, hub).await?;
        Ok(Self { locks, tenant, name })
    }
}

pub(super) fn time(name: &str, text: &str) -> Result<Duration, Problem> {
    duration::parse(text).map_err(|what| Problem::bad_request(format!("{name}: {what}")))
}

/// The token of `If-Match`, if there is one.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<LockToken>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    let quoted = value.to_str().ok().filter(|_| more.is_none()).map(str::trim);
    let text = quoted.and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
    let token = text.and_then(|text| text.parse().ok());
    token.map(Some).ok_or_else(|| {
        Problem::bad_request(
            "If-Match is not what it should be: expected one token between quotes, as the lock was granted with",
        )
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, StatusCode};

    use super::*;

    #[test]
    fn one_token_between_quotes_is_taken_and_nothing_else() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::IF_MATCH, HeaderValue::from_str(line).unwrap());
            }
            token(&headers)
        };
        let text = "x.00000000deadbeef.0000000000000001";
        let quoted = format!("\"{text}\"");
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[&quoted]).unwrap().unwrap().to_string(), text);
        let (weak, two) = (format!("W/{quoted}"), format!("{quoted}, {quoted}"));
        let quoted = quoted.as_str();
        for bad in
            [&[text][..], &["*"], &[""], &[weak.as_str()], &[two.as_str()], &[quoted, quoted]]
        {
            assert_eq!(of(bad).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad:?}");
        }
    }
}
