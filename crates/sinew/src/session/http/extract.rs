//! What handlers take: the session of a request, who is signed in, and what its forms carry.

use std::fmt;
use std::sync::Arc;

use ::http::request::Parts;
use ::http::{Extensions, StatusCode};
use axum::extract::{FromRequestParts, OptionalFromRequestParts};

use crate::http::Problem;
use crate::session::Session;

/// The session that the layer around has opened; a problem, 500, where there is none.
pub(super) fn session_of(extensions: &Extensions) -> Result<&Session, Problem> {
    extensions.get::<Session>().ok_or_else(|| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "this route has no sessions: expected a SessionLayer around it",
        )
    })
}

/// The session of the request: a new one where it came with none. Answered 500 where no
/// [`SessionLayer`](super::SessionLayer) is around the route.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        session_of(&parts.extensions).cloned()
    }
}

/// Extracts who is signed in. A request of nobody is answered 401, and 503 where Redis does not say;
/// `Option<SessionUser>` takes one of nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUser(pub Arc<str>);

async fn user(parts: &Parts) -> Result<Option<SessionUser>, Problem> {
    let user = session_of(&parts.extensions)?.user().await?;
    Ok(user.map(SessionUser))
}

impl<S: Sync> FromRequestParts<S> for SessionUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        user(parts).await?.ok_or_else(|| {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "nobody is signed in: expected a session of a user",
            )
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for SessionUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        user(parts).await
    }
}

/// Extracts what the forms of a page carry, so that [`CsrfLayer`](super::CsrfLayer) takes them: a field
/// `csrf_token`, or a header `X-CSRF-Token` of a script's request.
///
/// It begins a session where there is none, as [`Session::csrf_token`] does.
#[derive(Clone)]
pub struct Csrf(String);

impl Csrf {
    /// 43 characters of `A-Z a-z 0-9 - _`, which need no escaping anywhere.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.0
    }
}

/// Without the token.
impl fmt::Debug for Csrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csrf").finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Csrf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(session_of(&parts.extensions)?.csrf_token().await?))
    }
}
