//! Listening, limits on every route, and stopping.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sinew::http::Problem;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::busy::again_soon;
use crate::hub::Hub;
use crate::json::BODY_LEN_MAX;
use crate::openapi::{Api, with_limits, with_scopes};
use crate::{
    audit, auth, cache, dashboard, flag, health, job, limit, lock, redis, session, stream,
};

/// Who waits for a job may do so for 30 seconds.
const REQUEST_MAX: Duration = Duration::from_secs(35);
const REQUESTS_AT_ONCE_MAX: usize = 4_096;
/// How long requests under way may take once the hub is to stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The routes for programs, with what they say of themselves.
pub(crate) fn api(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::with_openapi(Api::openapi())
        .merge(cache::http::routes(value_len_max))
        .merge(limit::http::routes())
        .merge(flag::http::routes())
        .merge(audit::routes())
        .merge(lock::http::routes())
        .merge(redis::http::routes())
        .merge(session::http::routes())
        .merge(stream::http::routes(value_len_max))
        .merge(job::http::routes(value_len_max))
}

/// All routes of a hub.
pub(crate) fn router(hub: Hub) -> Router {
    let (api, document) = api(hub.sinew().value_len_max()).split_for_parts();
    let (health, health_document) = OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .split_for_parts();
    let document = with_scopes(with_limits(document)).merge_from(health_document);
    let document = document.to_pretty_json().unwrap_or_default();
    let routes = api
        .route("/metrics", get(metrics))
        .route(
            "/openapi.json",
            get(|| async move { ([(header::CONTENT_TYPE, "application/json")], document) }),
        )
        .merge(dashboard::routes())
        .merge(auth::login::routes())
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method")
        })
        .fallback(|| async {
            Problem::new(
                StatusCode::NOT_FOUND,
                "no such route: the API is described at /openapi.json; a / in a key is written %2F",
            )
        })
        .layer(middleware::from_fn_with_state(hub.clone(), auth::guard));
    bounded(routes, REQUESTS_AT_ONCE_MAX)
        // Asked most when there is least room.
        .merge(health)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .layer(middleware::from_fn(within_time))
        .layer(middleware::map_response(harden))
        .layer(CatchPanicLayer::custom(|_| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
        }))
        .with_state(hub)
}

/// So many requests at once, and whoever comes while there is no room, or no store, is told when to ask again.
fn bounded<S: Clone + Send + Sync + 'static>(routes: Router<S>, at_once_max: usize) -> Router<S> {
    let places = Arc::new(Semaphore::new(at_once_max));
    routes
        .layer(middleware::from_fn_with_state(places, while_there_is_room))
        .layer(middleware::map_response(again_soon))
}

async fn metrics(State(hub): State<Hub>) -> Response {
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (text, hub.metrics()).into_response()
}

/// Turns away at once what could only wait.
async fn while_there_is_room(
    State(places): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    match places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("more than {REQUESTS_AT_ONCE_MAX} requests at once: try again soon"),
        )
        .into_response(),
    }
}

/// The time until a reply begins. A stream of events goes on after that.
async fn within_time(request: Request, next: Next) -> Response {
    let reply = tokio::time::timeout(REQUEST_MAX, next.run(request)).await;
    reply.unwrap_or_else(|_| {
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "the request took too long").into_response()
    })
}

/// Pages run our own scripts and styles, and nothing of anyone else's.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Takes an address.
///
/// # Errors
/// A sentence that names the address and the way out.
pub(crate) async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error}; choose another address with {flag}")
    })
}

/// No name but this machine's own leads to a server on loopback, unless a page of someone else's has
/// bound its own name to it, to be taken for a page of ours.
async fn as_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    // HTTP/2 has it in the URI.
    let host = host.or_else(|| Some(request.uri().authority()?.as_str().as_bytes()));
    match host.is_none_or(is_this_machine) {
        true => next.run(request).await,
        false => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this server listens on loopback only: expected localhost or an IP address as its host",
        )
        .into_response(),
    }
}

fn is_this_machine(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    let host = authority.host();
    let number = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    number.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
}

/// Serves until `stopping` turns true, then until the requests under way are done.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stopping: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let router = match listener.local_addr()?.ip().is_loopback() {
        true => router.layer(middleware::from_fn(as_this_machine)),
        false => router,
    };
    // Limits go by who connects.
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(stopped(stopping.clone()))
        .into_future();
    until_drained(serving, stopping).await
}

/// Turns ready when `stopping` turns true.
pub(crate) async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Waits for a server that ends with its last request, and cuts off what takes too long.
pub(crate) async fn until_drained(
    serving: impl Future<Output = std::io::Result<()>>,
    stopping: watch::Receiver<bool>,
) -> std::io::Result<()> {
    tokio::select! {
        result = serving => result,
        () = async { stopped(stopping).await; tokio::time::sleep(DRAIN_MAX).await } => {
            tracing::warn!("requests still under way after {DRAIN_MAX:?} are cut off");
            Ok(())
        }
    }
}

/// Ctrl-C and SIGTERM, heard from the moment this is made: before that, they end the process at once.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn hear() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn who_is_turned_away_is_told_when_to_ask_again() {
        let asked = async |at_once_max| {
            let routes: Router = bounded(Router::new().route("/", get(|| async {})), at_once_max);
            let reply = routes.oneshot(Request::new(Body::empty())).await.unwrap();
            (reply.status(), reply.headers().contains_key(header::RETRY_AFTER))
        };
        assert_eq!(asked(0).await, (StatusCode::SERVICE_UNAVAILABLE, true));
        assert_eq!(asked(1).await, (StatusCode::OK, false));
    }

    #[test]
    fn a_name_that_anyone_can_bind_is_not_this_machine() {
        for own in ["localhost", "LocalHost:7463", "127.0.0.1:7463", "[::1]:7463", "a.localhost"] {
            assert!(is_this_machine(own.as_bytes()), "{own}");
        }
        for other in
            ["evil.example", "localhost.evil.example:7463", "127.0.0.1.evil.example", "", "a b"]
        {
            assert!(!is_this_machine(other.as_bytes()), "{other}");
        }
    }
}
