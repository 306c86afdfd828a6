//! A request, on its way to an upstream and back.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::header::{EXPECT, HOST, TRANSFER_ENCODING};
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Extensions, HeaderValue, Method, StatusCode, Uri, Version};
use axum::response::Response;
use http_body_util::{LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use sinew::http::Problem;
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutBody;

use super::Settings;
use super::caller::Caller;
use super::fields::{host_of, remove_hop_by_hop, tell_origin};
use super::upstream::{Upstream, Upstreams};

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: less than upstreams keep them as a rule.
const IDLE_MAX: Duration = Duration::from_secs(20);
const IDLE_PER_UPSTREAM_MAX: usize = 128;

/// Passes requests on. What all of them share.
pub(super) struct Forwarder {
    upstreams: Upstreams,
    client: Client<HttpConnector, Body>,
    body_len_max: usize,
    answer_max: Duration,
    silence_max: Duration,
}

/// The handler of all paths.
pub(super) async fn forward(
    State(forwarder): State<Arc<Forwarder>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    forwarder.forward(&caller, request).await
}

impl Forwarder {
    pub(super) fn new(upstreams: Upstreams, settings: &Settings) -> Arc<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_UPSTREAM_MAX)
            .build(connector);
        Arc::new(Self {
            upstreams,
            client,
            body_len_max: settings.body_len_max,
            answer_max: settings.answer_max,
            silence_max: settings.silence_max,
        })
    }

    async fn forward(&self, caller: &Caller, request: Request) -> Result<Response, Problem> {
        check(&request)?;
        let upstream = self.upstreams.of(request.uri().path());
        let upstream =
            upstream.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no such route"))?;
        let request = self.outgoing(caller, request)?;
        let answer = async {
            match upstream {
                Upstream::Url(authority) => self.send(authority, request).await,
                Upstream::Router(router) => {
                    let Ok(response) = router.clone().oneshot(request).await;
                    Ok(response)
                }
            }
        };
        let answer = tokio::time::timeout(self.answer_max, answer).await;
        let mut response = answer.unwrap_or_else(|_| {
            let detail = "the service behind the gateway did not answer in time";
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
        })?;
        remove_hop_by_hop(response.headers_mut());
        Ok(response.map(|body| Body::new(TimeoutBody::new(self.silence_max, body))))
    }

    /// The request as upstreams get it. What was of the client's connection is gone already.
    fn outgoing(&self, caller: &Caller, request: Request) -> Result<Request, Problem> {
        if request.body().size_hint().lower() > self.body_len_max as u64 {
            return Err(self.too_large());
        }
        let (mut parts, body) = request.into_parts();
        let host = host_of(&parts.uri, &parts.headers)?;
        if body.size_hint().exact().is_none() {
            // Unless told, the client takes a GET for one without a body.
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // The client is told to go on as soon as its body is read, and that is here.
        parts.headers.remove(EXPECT);
        tell_origin(&mut parts.headers, caller.peer, host.as_ref());
        Ok(Request::from_parts(parts, Body::new(Limited::new(body, self.body_len_max))))
    }

    async fn send(&self, authority: &Authority, mut request: Request) -> Result<Response, Problem> {
        *request.uri_mut() = target(authority, request.uri())?;
        *request.version_mut() = Version::HTTP_11;
        // What this side of the gateway knows of its connection.
        *request.extensions_mut() = Extensions::new();
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.map_err(|_| unreachable_upstream(authority, "its name is no host"))?;
        request.headers_mut().insert(HOST, host);
        match self.client.request(request).await {
            // Upgrades are not passed on, so nobody has asked for one.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Err(unreachable_upstream(authority, "it changed the protocol"))
            }
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) if is_too_large(&error) => Err(self.too_large()),
            Err(error) => Err(unreachable_upstream(authority, &told(&error))),
        }
    }

    fn too_large(&self) -> Problem {
        let detail = format!("the body is too large: expected at most {} bytes", self.body_len_max);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }
}

/// Refuses what an upstream might take for something else than the gateway does.
fn check(request: &Request) -> Result<(), Problem> {
    if [Method::CONNECT, Method::TRACE].contains(request.method()) {
        // Not 405: that says which methods the resource takes, and only its upstream knows.
        let detail = "the gateway does not take this method";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail));
    }
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(HOST) {
        return Err(Problem::bad_request("no Host: expected one, as of any request of HTTP/1.1"));
    }
    match is_plain(request.uri().path()) {
        true => Ok(()),
        false => Err(Problem::bad_request(
            "invalid path: expected one that begins with a slash, without . or .. in it",
        )),
    }
}

/// Whether no one can take the path for one outside its prefix.
fn is_plain(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/");
    let path = path.replace("%5c", "/").replace('\\', "/");
    // Some servers take what is behind a semicolon for no part of the name.
    path.starts_with('/') && !path.split(['/', ';']).any(|name| [".", ".."].contains(&name))
}

/// The same path at an upstream.
fn target(authority: &Authority, uri: &Uri) -> Result<Uri, Problem> {
    let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let target = Uri::builder().scheme(Scheme::HTTP).authority(authority.clone());
    let target = target.path_and_query(path).build();
    target.map_err(|_| Problem::bad_request("invalid path: expected one that can be passed on"))
}

fn unreachable_upstream(authority: &Authority, reason: &str) -> Problem {
    tracing::warn!(upstream = %authority, reason, "an upstream cannot be reached");
    // Where it is, is nobody's business.
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "the service behind the gateway cannot be reached: try again soon",
    )
}

/// Whether it was the gateway that ended the body.
fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<LengthLimitError>)
}

/// An error with its causes, in a line.
fn told(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_lead_elsewhere_is_not_plain() {
        for good in ["/", "/api/a..b/...", "/api/.well-known", "/api//a", "/api/%2Ea"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in [
            "*",
            "/api/..",
            "/api/../admin",
            "/api/./a",
            "/api/%2e%2E/admin",
            "/api/.%2e/admin",
            "/api/..%2Fadmin",
            "/api/..%5cadmin",
            "/api/..\\admin",
            "/api/..;a/admin",
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
