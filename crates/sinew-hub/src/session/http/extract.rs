//! What handlers take from a request.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use sinew::Tenant;
use sinew::http::{Problem, RequestTenant};
use sinew::session::{Session, SessionId, SessionToken, Sessions};

use super::{TOKEN_HEADER, not_live};
use crate::hub::Hub;

/// The sessions of the request's tenant.
pub(super) struct OfSessions {
    pub(super) sessions: Sessions,
    pub(super) tenant: Option<Tenant>,
}

/// The session whose token the request has. It need not be live.
pub(super) struct Own {
    sessions: Sessions,
    token: SessionToken,
}

/// The sessions of the user whom the path names.
pub(super) struct OfUser {
    pub(super) sessions: Sessions,
    pub(super) tenant: Option<Tenant>,
    pub(super) user: String,
}

impl Own {
    /// As it is now: nothing of it is known yet.
    pub(super) fn open(&self) -> Session {
        self.sessions.open(self.token.clone())
    }
}

impl FromRequestParts<Hub> for OfSessions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
        let tenant = tenant.map(|RequestTenant(tenant)| tenant);
        let sessions = hub.sessions(tenant.as_ref()).map_err(Problem::bad_request)?;
        Ok(Self { sessions, tenant })
    }
}

impl FromRequestParts<Hub> for Own {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let OfSessions { sessions, .. } = OfSessions::from_request_parts(parts, hub).await?;
        Ok(Self { sessions, token: token(&parts.headers)? })
    }
}

impl FromRequestParts<Hub> for OfUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let user = from_path(parts, hub).await?;
        let OfSessions { sessions, tenant } = OfSessions::from_request_parts(parts, hub).await?;
        Ok(Self { sessions, tenant, user })
    }
}

/// What the path says.
pub(super) async fn from_path<T: DeserializeOwned + Send>(
    parts: &mut Parts,
    hub: &Hub,
) -> Result<T, Problem> {
    let Path(said) = Path::<T>::from_request_parts(parts, hub)
        .await
        .map_err(|_| Problem::bad_request("the path is not text: expected UTF-8"))?;
    Ok(said)
}

pub(super) fn id(text: &str) -> Result<SessionId, Problem> {
    // Without the library's words: what was sent may be a token.
    text.parse().map_err(|_| {
        Problem::bad_request(
            "that is no id of a session: expected one as the list of sessions has it",
        )
    })
}

fn token(headers: &HeaderMap) -> Result<SessionToken, Problem> {
    let mut values = headers.get_all(TOKEN_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            format!("the header {TOKEN_HEADER} is missing: expected the token of a session"),
        )),
        (Some(value), None) => {
            let token = value.to_str().ok().and_then(|text| text.parse().ok());
            token.ok_or_else(not_live)
        }
        (Some(_), Some(_)) => Err(Problem::bad_request(format!(
            "the header {TOKEN_HEADER} is given more than once: expected one token"
        ))),
    }
}

/// The version of `If-Match`, if one is expected.
pub(super) fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| more.is_none()).map(str::trim);
    // Any version: the session is live, or nothing is changed anyway.
    if text == Some("*") {
        return Ok(None);
    }
    let digits = text.and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let version = digits.and_then(|digits| digits.parse().ok());
    version.map(Some).ok_or_else(|| {
        Problem::bad_request(
            "If-Match is not what it should be: expected one version between quotes, as ETag has it, or *",
        )
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn one_version_between_quotes_is_taken_and_nothing_else() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::IF_MATCH, HeaderValue::from_str(line).unwrap());
            }
            expected_version(&headers).map_err(|problem| problem.status())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["*"]), Ok(None));
        assert_eq!(of(&[" \"17\""]), Ok(Some(17)));
        for bad in [
            &["17"][..],
            &[""],
            &["\"\""],
            &["W/\"1\""],
            &["\"1\", \"2\""],
            &["\"+1\""],
            &["\"1\"", "\"1\""],
        ] {
            assert_eq!(of(bad), Err(StatusCode::BAD_REQUEST), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_told_without_it() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TOKEN_HEADER, HeaderValue::from_str(line).unwrap());
            }
            token(&headers).map(|_| ()).unwrap_err()
        };
        let none: &[&str] = &[];
        for (bad, status) in [
            (none, StatusCode::UNAUTHORIZED),
            (&[""], StatusCode::UNAUTHORIZED),
            (&["hunter2"], StatusCode::UNAUTHORIZED),
            (&["hunter2", "hunter2"], StatusCode::BAD_REQUEST),
        ] {
            let problem = of(bad);
            assert_eq!(problem.status(), status, "{bad:?}");
            assert!(!format!("{problem:?}").contains("hunter2"), "{problem:?}");
        }
    }
}
