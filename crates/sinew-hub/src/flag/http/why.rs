//! What someone sees of a flag, and why.

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use sinew::flag::{EvalContext, Flags};
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Found, expect_known, flags_of, key_of};
use super::unknown;
use crate::flag::body::WhyBody;
use crate::flag::context;
use crate::hub::Hub;
use crate::openapi::ProblemBody;

/// Attributes that are looked at: more make no rule.
const ATTRIBUTES_MAX: usize = 64;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(why))
}

/// A flag, and someone who sees it.
struct Asked {
    flags: Flags,
    key: String,
    cx: EvalContext,
}

impl FromRequestParts<Hub> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let key = key_of(parts, hub).await?;
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)?;
        let Words { env, user, attributes } = Words::read(pairs).map_err(Problem::bad_request)?;
        let Found { tenant, flags, .. } = flags_of(parts, hub, env).await?;
        let cx = context::written(user.as_deref(), &attributes, tenant.as_ref());
        Ok(Self { flags, key, cx: cx.map_err(Problem::bad_request)? })
    }
}

/// What the query says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    env: Option<String>,
    user: Option<String>,
    attributes: Vec<String>,
}

impl Words {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut words = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "env" if words.env.is_none() => words.env = Some(value),
                "user" if words.user.is_none() => words.user = Some(value),
                "attribute" if words.attributes.len() < ATTRIBUTES_MAX => {
                    words.attributes.push(value);
                }
                "attribute" => {
                    return Err(format!("too many attributes: expected {ATTRIBUTES_MAX} at most"));
                }
                "env" | "user" => {
                    return Err(format!("{name} is given more than once: expected it once"));
                }
                unknown => {
                    let shown: String = unknown.chars().take(64).collect();
                    return Err(format!(
                        "unknown parameter {shown:?}: expected env, user or attribute, like user=ada&attribute=plan%3Dpro"
                    ));
                }
            }
        }
        Ok(words)
    }
}

/// What someone sees of a flag, and which rule decided.
#[utoipa::path(get, path = "/v1/flags/{key}/why", tag = "flag",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("user" = Option<String>, Query, description = "Who asks: OpenFeature's targetingKey"),
        ("attribute" = Option<Vec<String>>, Query, description = "What is known of them, like plan=pro; may be repeated. A value that reads as a number, true, false or an array of strings is that, and a text otherwise"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
    ),
    responses(
        (status = 200, body = WhyBody, description = "What they would see now"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such flag, and no plain key that is for this user"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, and was never asked"),
    ))]
async fn why(Asked { flags, key, cx }: Asked) -> Result<Response, Problem> {
    expect_known(&flags)?;
    let why = WhyBody::new(&key, &flags, flags.explain(&key, &cx));
    if why.is_of_nothing() {
        return Err(unknown(&key));
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(why)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Words, String> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Words::read(owned.collect())
    }

    #[test]
    fn who_asks_is_said_once_and_what_is_known_of_them_as_often_as_it_takes() {
        let pairs = [("user", "ada"), ("attribute", "plan=pro"), ("attribute", "seats=3")];
        let words = read(&pairs).unwrap();
        assert_eq!((words.user.as_deref(), words.attributes.len()), (Some("ada"), 2));
        assert_eq!(read(&[]), Ok(Words::default()));
        assert!(read(&[("user", "a"), ("user", "b")]).unwrap_err().contains("more than once"));
        assert!(read(&[("usr", "a")]).unwrap_err().contains("expected env, user or attribute"));
        assert!(read(&[("attribute", "a=1"); ATTRIBUTES_MAX + 1]).is_err());
    }
}
