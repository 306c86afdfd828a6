//! Requests that another site makes in a user's name, and how they are told from the user's own.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::http::header::CONTENT_TYPE;
use ::http::request::Parts;
use ::http::uri::Authority;
use ::http::{HeaderMap, Request, Response, StatusCode};
use ::http_body_util::Either;
use axum::body::{Body, to_bytes};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use tower_layer::Layer;
use tower_service::Service;

use super::extract::session_of;
use super::layer::SessionBody;
use crate::http::Problem;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::session::{Session, SessionToken};

/// The header field in which a script sends a session's CSRF token.
pub const CSRF_HEADER: &str = "X-CSRF-Token";
/// The field in which a form sends it.
pub const CSRF_FIELD: &str = "csrf_token";

/// The longest form that is looked into, in bytes.
const FORM_LEN_MAX: usize = 64 << 10;
/// What a session without anything of its own is begun with, to have a token.
const MARK: &str = "csrf";
/// No other hash of a secret begins so.
const LABEL: &[u8] = b"sinew csrf token\0";

impl Session {
    /// What forms and scripts of this session's pages send along: 43 characters of `A-Z a-z 0-9 - _`.
    ///
    /// It is a hash of the session's own token, so nothing is stored for it, it opens nothing, and it changes
    /// with a login: who knew it before does not know it after. A session that is not stored yet is begun, at
    /// once, with a datum `csrf`.
    ///
    /// # Errors
    /// `Conflict` for a session that has ended. Where Redis does not answer, `Unavailable` or `Timeout`.
    pub async fn csrf_token(&self) -> Result<String> {
        if !self.is_live().await? {
            self.set(MARK, &true)?;
            // Whatever comes of it, the session has a token then, or it has ended.
            let _ = self.save().await?;
        }
        let token = self.token().as_ref().map(csrf_token_of);
        token.ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                "the session has ended: expected one that is live, or new",
            )
        })
    }

    /// Whether a request has sent what [`Session::csrf_token`] says. `false` for a session that is not
    /// live.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` where Redis does not answer.
    pub async fn verify_csrf(&self, given: &str) -> Result<bool> {
        if !self.is_live().await? {
            return Ok(false);
        }
        let expected = self.token().as_ref().map(csrf_token_of);
        // How long comparing two hashes takes says nothing of what was hashed.
        Ok(expected.is_some_and(|expected| Sha256::digest(expected) == Sha256::digest(given)))
    }
}

fn csrf_token_of(token: &SessionToken) -> String {
    let digest = Sha256::new().chain_update(LABEL).chain_update(token.as_str()).finalize();
    URL_SAFE_NO_PAD.encode(digest)
}

/// Lets requests that change something pass only from the service's own pages.
///
/// `GET`, `HEAD`, `OPTIONS` and `TRACE` pass as they are, so they must change nothing, and a WebSocket, which begins
/// with a `GET`, has to compare its `Origin` itself. Any other needs all of these, and is answered 403 otherwise:
///
/// - It comes from the same origin: `Sec-Fetch-Site` says `same-origin` or `none`; or, where a browser
///   does not send that, `Origin` has the host of `Host`, which a proxy in front has to leave as it was.
/// - It carries the token of its session ([`Session::csrf_token`]): in the header [`CSRF_HEADER`], or as
///   [`CSRF_FIELD`] of a form (`application/x-www-form-urlencoded`) of at most 64 KiB, which the service
///   gets all the same.
///
/// It goes inside of the [`SessionLayer`](super::SessionLayer), so `.layer(CsrfLayer)` comes before it; without
/// one, requests that it looks at are answered 500. Where Redis does not answer, 503. For sessions in a cookie: what
/// a client has to put into `Authorization` itself, no other site can make a browser send.
#[derive(Clone, Copy, Debug, Default)]
pub struct CsrfLayer;

impl<S> Layer<S> for CsrfLayer {
    type Service = CsrfService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CsrfService { inner }
    }
}

/// A service that only its own pages change; see [`CsrfLayer`].
#[derive(Clone)]
pub struct CsrfService<S> {
    inner: S,
}

impl<S: fmt::Debug> fmt::Debug for CsrfService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsrfService").field("inner", &self.inner).finish()
    }
}

impl<S, R> Service<Request<Body>> for CsrfService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<SessionBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Ready when the service is, although it may not be needed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    /// # Cancellation
    /// A request whose client goes away before it was found to be good does not reach the service.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that was made ready is called, and its clone is made ready next.
        let next = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            match verified(request).await {
                Ok(request) => Ok(service.call(request).await?.map(Either::Right)),
                Err(problem) => Ok(problem.into_response().map(Either::Left)),
            }
        })
    }
}

async fn verified(request: Request<Body>) -> Result<Request<Body>, Problem> {
    if request.method().is_safe() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let session = session_of(&parts.extensions)?.clone();
    if !is_from_here(&parts) {
        return Err(refused("expected a request from this site's own pages"));
    }
    let (given, body) = token_sent(&parts.headers, body).await?;
    let is_own = match given {
        Some(given) => session.verify_csrf(&given).await?,
        None => false,
    };
    match is_own {
        true => Ok(Request::from_parts(parts, body)),
        false => Err(refused(
            "expected this session's CSRF token, in the header X-CSRF-Token or in a form's field csrf_token: reload the page, and try again",
        )),
    }
}

fn refused(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

fn is_from_here(parts: &Parts) -> bool {
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    // Without `://`, it is the `null` of a page that hides where it is from.
    let origin = text("origin").and_then(|origin| origin.split_once("://"));
    let host = text("host").or_else(|| parts.uri.authority().map(Authority::as_str));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => !host.is_empty() && origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// The token that a request carries, and its body, of which a form was read.
async fn token_sent(headers: &HeaderMap, body: Body) -> Result<(Option<String>, Body), Problem> {
    if let Some(value) = headers.get(CSRF_HEADER) {
        return Ok((value.to_str().ok().map(str::to_owned), body));
    }
    if !is_form(headers) {
        return Ok((None, body));
    }
    let form = to_bytes(body, FORM_LEN_MAX).await.map_err(|_| {
        refused("expected the header X-CSRF-Token where a form has more than 64 KiB, or all of a shorter form")
    })?;
    Ok((field_of(&form), Body::from(form)))
}

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The one field of the name. Neither it nor a token has anything in it that a form encodes.
fn field_of(form: &[u8]) -> Option<String> {
    let pairs = form.split(|byte| *byte == b'&');
    let mut values = pairs.filter_map(|pair| {
        let named = pair.strip_prefix(CSRF_FIELD.as_bytes())?;
        named.strip_prefix(b"=")
    });
    let value = values.next()?;
    match values.next() {
        Some(_) => None,
        None => String::from_utf8(value.to_vec()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/transfer");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_is_from_here_where_the_browser_says_so() {
        let (host, own, other) = (
            ("host", "a.example"),
            ("origin", "https://a.example"),
            ("origin", "https://b.example"),
        );
        for (fields, is_own) in [
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "none")], true),
            (vec![("sec-fetch-site", "same-site"), host, own], false),
            (vec![("sec-fetch-site", "cross-site"), host, own], false),
            (vec![("sec-fetch-site", ""), host, own], false),
            (vec![host, own], true),
            (vec![host, ("origin", "https://A.example")], true),
            (vec![("host", "a.example:8443"), ("origin", "https://a.example:8443")], true),
            (vec![("host", "a.example:8443"), own], false),
            (vec![host, other], false),
            (vec![host, ("origin", "https://a.example.b.example")], false),
            (vec![host, ("origin", "null")], false),
            (vec![("host", ""), ("origin", "https://")], false),
            (vec![host], false),
            (vec![own], false),
            (vec![], false),
        ] {
            assert_eq!(is_from_here(&parts(&fields)), is_own, "{fields:?}");
        }
    }

    #[test]
    fn a_forms_field_is_read_where_there_is_one_of_the_name() {
        for (form, expected) in [
            ("csrf_token=abc", Some("abc")),
            ("to=bob&csrf_token=abc&sum=1", Some("abc")),
            ("csrf_token=", Some("")),
            ("xcsrf_token=abc", None),
            ("csrf_tokens=abc", None),
            ("csrf_token", None),
            ("csrf_token=abc&csrf_token=abc", None),
            ("", None),
        ] {
            assert_eq!(field_of(form.as_bytes()).as_deref(), expected, "{form}");
        }
    }

    #[test]
    fn sessions_have_csrf_tokens_of_their_own_that_say_nothing_of_them() {
        let token = |last: char| -> SessionToken {
            let secret = format!("{}{last}", "A".repeat(42));
            format!("{}.{secret}", "A".repeat(22)).parse().unwrap()
        };
        let (one, other) = (token('A'), token('E'));
        let (csrf_one, csrf_other) = (csrf_token_of(&one), csrf_token_of(&other));
        assert_eq!(csrf_one, csrf_token_of(&one));
        assert_ne!(csrf_one, csrf_other);
        assert_eq!(csrf_one.len(), 43);
        assert!(csrf_one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert!(csrf_one.parse::<SessionToken>().is_err());
    }
}
