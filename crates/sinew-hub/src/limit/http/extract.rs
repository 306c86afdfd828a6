//! What handlers take from a request.

use axum::extract::{FromRequestParts, Path, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use sinew::Tenant;
use sinew::http::{Problem, RequestTenant};
use sinew::limit::{Expected, Limit, Limiter};

use super::{defined, problem};
use crate::cache::WrittenKey;
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

/// On which condition a change is made.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Of(Expected),
    /// Some limit of the name is defined.
    Defined,
}

/// What a change is to find, by `If-Match` and `If-None-Match`.
pub(super) async fn expected(
    hub: &Hub,
    name: &str,
    headers: &HeaderMap,
) -> Result<Expected, Problem> {
    match condition(headers)? {
        Condition::Of(expected) => Ok(expected),
        Condition::Defined => match hub.limits().row(name).await.map_err(problem)? {
            Some(row) => Ok(row.revision.map_or(Expected::Absent, Expected::Revision)),
            None => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "no limit of this name is defined: expected one, as If-Match: * says",
            )),
        },
    }
}

fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let condition = match (value(headers, header::IF_MATCH), value(headers, header::IF_NONE_MATCH))
    {
        (Ok(None), Ok(None)) => Some(Condition::Of(Expected::Any)),
        (Ok(None), Ok(Some("*"))) => Some(Condition::Of(Expected::Absent)),
        (Ok(Some("*")), Ok(None)) => Some(Condition::Defined),
        (Ok(Some(tag)), Ok(None)) => revision(tag).map(Condition::Of),
        _ => None,
    };
    condition.ok_or_else(|| {
        Problem::bad_request(
            "the conditions are not what they should be: expected If-Match with one revision between quotes or *, or If-None-Match: *, or neither",
        )
    })
}

/// The one value of a header; an error where there is more, or no text.
fn value(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// `"0"` is the tag of a definition that is not in the store.
fn revision(tag: &str) -> Option<Expected> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    Some(match digits.parse::<u64>().ok()? {
        0 => Expected::Absent,
        revision => Expected::Revision(revision),
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn condition_of(lines: &[(HeaderName, &str)]) -> Result<Condition, StatusCode> {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        condition(&headers).map_err(|problem| problem.status())
    }

    #[test]
    fn one_revision_or_any_or_none_at_all_is_taken_and_nothing_else() {
        let (is, is_not) = (header::IF_MATCH, header::IF_NONE_MATCH);
        let of = |expected| Ok(Condition::Of(expected));
        assert_eq!(condition_of(&[]), of(Expected::Any));
        assert_eq!(condition_of(&[(is.clone(), "\"7\"")]), of(Expected::Revision(7)));
        assert_eq!(condition_of(&[(is.clone(), " \"0\"")]), of(Expected::Absent));
        assert_eq!(condition_of(&[(is.clone(), "*")]), Ok(Condition::Defined));
        assert_eq!(condition_of(&[(is_not.clone(), "*")]), of(Expected::Absent));
        for bad in
            ["7", "\"*\"", "", "W/\"7\"", "\"7\", \"8\"", "\"a\"", "\"+7\"", "\"\"", "\"-1\""]
        {
            let refused = condition_of(&[(is.clone(), bad)]);
            assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        for bad in [
            [(is.clone(), "\"7\""), (is.clone(), "\"7\"")],
            [(is, "\"7\""), (is_not.clone(), "*")],
            [(is_not.clone(), "*"), (is_not, "\"7\"")],
        ] {
            assert_eq!(condition_of(&bad), Err(StatusCode::BAD_REQUEST), "{bad:?}");
        }
    }
}
