//! The door: who is let in, by what their route asks for.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use sinew::http::Problem;

use super::actor::Actor;
use super::refusal::is_a_browsers;
use super::routes::{Need, Reach, need};
use super::scope::Verb;
use super::{bearer, page};
use crate::hub::Hub;

/// Lets in who may come in, and leaves their [`Actor`] with the request.
pub(crate) async fn guard(State(hub): State<Hub>, mut request: Request, next: Next) -> Response {
    let Some(auth) = hub.auth() else {
        request.extensions_mut().insert(Actor::anyone());
        return next.run(request).await;
    };
    // What no route takes is answered so, whoever asks.
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else {
        return next.run(request).await;
    };
    let path = path.as_str();
    match need(request.method().as_str(), path, request.uri()) {
        Some(Need::Nothing) => next.run(request).await,
        Some(Need::Token(scope, reach)) => {
            bearer::admit(auth, path, scope, reach, request, next).await
        }
        Some(Need::Either(_)) if is_a_browsers(request.headers()) => {
            page::admit(&hub, Some((Verb::Read, Reach::All)), request, next).await
        }
        Some(Need::Either(scope)) => {
            bearer::admit(auth, path, scope, Reach::All, request, next).await
        }
        Some(Need::User(verb, reach)) => {
            page::admit(&hub, Some((verb, reach)), request, next).await
        }
        Some(Need::Session) => page::admit(&hub, None, request, next).await,
        None => {
            tracing::error!(path, "nothing says who may use this route");
            Problem::new(StatusCode::FORBIDDEN, "nothing says who may use this route")
                .into_response()
        }
    }
}

/// What only some may see is in no cache.
pub(super) fn keep_to_oneself(response: &mut Response) {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
