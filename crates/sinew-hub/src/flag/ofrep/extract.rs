//! What handlers take from a request, and refuse in the words of OFREP.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde_json::{Map, Value};
use sinew::Tenant;
use sinew::flag::{EvalContext, EvalError, Flags};
use sinew::http::Problem;

use super::body::{OfrepFailure, Refusal};
use crate::flag::context;
use crate::flag::http::extract::{Found, flags_of, key_of};
use crate::hub::Hub;
use crate::json::BODY_LEN_MAX;

/// The flags of the request's tenant, in the environment that it names.
pub(super) struct OfFlags {
    pub(super) flags: Flags,
    pub(super) tenant: Option<Tenant>,
    /// As the query or the header has it.
    pub(super) env: Option<String>,
    /// By the event that has led to this request.
    pub(super) told: Option<Told>,
}

/// The same, and a key from the path.
pub(super) struct OfFlag {
    pub(super) of: OfFlags,
    pub(super) key: String,
}

/// A slip in `env` would be another environment, in silence: what is not known is refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    env: Option<String>,
    flag_config_etag: Option<String>,
    /// Comes with the tag, which says more.
    #[serde(rename = "flagConfigLastModified")]
    _last_modified: Option<String>,
}

impl FromRequestParts<Hub> for OfFlags {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Refusal> {
        Self::of(parts, hub).await.map_err(|problem| Refusal::of(None, problem))
    }
}

impl OfFlags {
    async fn of(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let query = Query::<Asked>::try_from_uri(&parts.uri).map_err(|_| {
            Problem::bad_request("the query is not what it should be: expected env=NAME, flagConfigEtag=TAG and flagConfigLastModified=SECONDS, or less")
        })?;
        let Asked { env, flag_config_etag, .. } = query.0;
        let told = flag_config_etag.and_then(|tag| Told::read(&tag));
        let Found { tenant, env, flags } = flags_of(parts, hub, env).await?;
        Ok(Self { flags, tenant, env, told })
    }
}

impl FromRequestParts<Hub> for OfFlag {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Refusal> {
        let key = key_of(parts, hub).await.map_err(|problem| Refusal::of(None, problem))?;
        match OfFlags::of(parts, hub).await {
            Ok(of) => Ok(Self { of, key }),
            Err(problem) => Err(Refusal::of(Some(&key), problem)),
        }
    }
}

/// What a client was told of: flags of a version, and with the plain keys of then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    version: u64,
    revision: String,
}

impl Told {
    pub(super) fn of(flags: &Flags) -> Self {
        Self { version: flags.version(), revision: flags.revision() }
    }

    pub(super) fn tag(&self) -> String {
        format!("\"{}.{}\"", self.version, self.revision)
    }

    fn read(tag: &str) -> Option<Self> {
        let (version, revision) = tag.trim_matches('"').split_once('.')?;
        Some(Self { version: version.parse().ok()?, revision: revision.to_owned() })
    }

    /// Whether these flags may be those before it.
    pub(super) fn is_ahead_of(&self, flags: &Flags) -> bool {
        self.version >= flags.version() && self.revision != flags.revision()
    }
}

/// Who the flags are evaluated for, and that as it was sent.
pub(super) fn context_of(
    body: Result<Bytes, BytesRejection>,
    key: Option<&str>,
    tenant: Option<&Tenant>,
) -> Result<(EvalContext, Map<String, Value>), Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let what = format!("the body is too large: expected at most {BODY_LEN_MAX} bytes");
            OfrepFailure::general(key, what).with(StatusCode::PAYLOAD_TOO_LARGE)
        }
        status => {
            OfrepFailure::general(key, "the body ended too early: expected all of it").with(status)
        }
    })?;
    let refused = |error: &EvalError| OfrepFailure::new(key, error).with(StatusCode::BAD_REQUEST);
    let body = serde_json::from_slice(&body).ok();
    let Some(Value::Object(mut body)) = body else {
        let what = r#"expected a JSON body, like {"context": {"targetingKey": "ada"}}"#;
        return Err(refused(&EvalError::InvalidContext(what.to_owned())));
    };
    let context = match body.remove("context") {
        None => Map::new(),
        Some(Value::Object(context)) => context,
        Some(_) => {
            let what = "context: expected an object".to_owned();
            return Err(refused(&EvalError::InvalidContext(what)));
        }
    };
    let cx = context::read(&context, tenant).map_err(|error| refused(&error))?;
    Ok((cx, context))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn status(body: &'static str) -> Result<Option<String>, StatusCode> {
        let read = context_of(Ok(Bytes::from_static(body.as_bytes())), Some("new-ui"), None);
        let read = read.map_err(|refusal| refusal.into_response().status());
        read.map(|(cx, _)| cx.targeting_key().map(str::to_owned))
    }

    #[test]
    fn a_context_may_be_empty_and_has_to_be_one() {
        let ada = r#"{"context": {"targetingKey": "ada", "deep": {"is": ["kept", 1]}}}"#;
        assert_eq!(status(ada), Ok(Some("ada".to_owned())));
        for anyone in ["{}", r#"{"context": {}}"#, r#"{"context": {}, "later": 1}"#] {
            assert_eq!(status(anyone), Ok(None), "{anyone}");
        }
        for bad in ["", "{", "[]", "7", r#"{"context": 7}"#, r#"{"context": {"targetingKey": 7}}"#]
        {
            assert_eq!(status(bad), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
    }

    #[test]
    fn a_tag_is_read_with_and_without_its_quotes() {
        let told = Told { version: 1_795_300_000_000, revision: "1a2-0-3f".to_owned() };
        for text in [told.tag().as_str(), "1795300000000.1a2-0-3f"] {
            assert_eq!(Told::read(text).as_ref(), Some(&told));
        }
        for bad in ["", "\"abc\"", "a.b", "1795300000000"] {
            assert_eq!(Told::read(bad), None, "{bad}");
        }
    }
}
