//! Sessions as a tower layer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use ::http::header::{
    AUTHORIZATION, CACHE_CONTROL, COOKIE, Entry, SET_COOKIE, USER_AGENT, WWW_AUTHENTICATE,
};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use ::http_body_util::Either;
use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::response::IntoResponse as _;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::Sinew;
use crate::http::{Problem, RequestTenant};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::limit::http::{TrustedProxies, client_ip};
use crate::session::{Saved, Session, SessionToken, Sessions, SessionsBuilder};

/// Opens the session of each request, and saves it before the response goes out; see
/// [the module](crate::session::http) for what clients get. [`Sessions::layer`] makes one.
///
/// What is shown of a session in lists is what the request that began it, or logged it in, said in
/// `User-Agent`, and the address of its client.
#[derive(Clone)]
pub struct SessionLayer(Front);

/// What all requests through one layer share.
#[derive(Clone)]
struct Front {
    tenants: Tenants,
    carrier: Carrier,
    proxies: TrustedProxies,
}

#[derive(Clone)]
enum Tenants {
    One(Sessions),
    Named { sinew: Sinew, settings: Settings },
}

type Settings = Arc<dyn Fn(SessionsBuilder) -> SessionsBuilder + Send + Sync>;

/// Where the token travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Cookie,
    Bearer,
}

impl Sessions {
    /// A layer in whose requests the token travels in a cookie, for browsers: see
    /// [`SessionCookie`](super::SessionCookie).
    #[must_use]
    pub fn layer(&self) -> SessionLayer {
        SessionLayer::of(Tenants::One(self.clone()))
    }

    /// A layer in whose requests the token travels in `Authorization: Bearer`, for other clients. A handler
    /// that logs in gives it to its client itself: [`Session::token`].
    #[must_use]
    pub fn bearer_layer(&self) -> SessionLayer {
        self.layer().bearer()
    }
}

impl SessionLayer {
    /// A layer where each request has a session of the tenant that it names in `X-Tenant-Id`. One that names
    /// none, a bad one or several is answered 400.
    ///
    /// A session of one tenant is none at another. Which tenant a request may name is for the layer in
    /// front to decide.
    ///
    /// # Errors
    /// `Misconfigured` in a single-tenant deployment, `Rejected` for a setting out of bounds.
    pub fn per_tenant(
        sinew: Sinew,
        settings: impl Fn(SessionsBuilder) -> SessionsBuilder + Send + Sync + 'static,
    ) -> Result<Self> {
        // Any tenant will do: what is wrong with the settings is said once, and not to each request.
        settings(sinew.tenant("any")?.sessions()).build()?;
        Ok(Self::of(Tenants::Named { sinew, settings: Arc::new(settings) }))
    }

    fn of(tenants: Tenants) -> Self {
        let proxies = TrustedProxies::default();
        Self(Front { tenants, carrier: Carrier::Cookie, proxies })
    }

    /// The same, with the token in `Authorization: Bearer`; see [`Sessions::bearer_layer`].
    #[must_use]
    pub fn bearer(mut self) -> Self {
        self.0.carrier = Carrier::Bearer;
        self
    }

    /// Whom to believe about a client's address, as [`client_ip`] does: nobody unless said, so behind a
    /// proxy it is the proxy's. It is shown in lists, and decides nothing. It needs a server that says who
    /// connects: `app.into_make_service_with_connect_info::<SocketAddr>()`.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.0.proxies = proxies;
        self
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer").field("carrier", &self.0.carrier).finish_non_exhaustive()
    }
}

/// A request under way, and what it came with.
struct Visit {
    sessions: Sessions,
    session: Session,
    presented: Option<SessionToken>,
    carrier: Carrier,
}

impl Front {
    async fn open(&self, parts: &mut Parts) -> Result<Visit, Problem> {
        let sessions = self.sessions(parts).await?;
        let (presented, carried_in) = match self.carrier {
            Carrier::Cookie => (sessions.cookie().read(&parts.headers), COOKIE),
            Carrier::Bearer => (bearer(&parts.headers), AUTHORIZATION),
        };
        if let Entry::Occupied(mut values) = parts.headers.entry(carried_in) {
            // What prints header fields is to leave it out.
            values.iter_mut().for_each(|value| value.set_sensitive(true));
        }
        let session = match &presented {
            Some(token) => sessions.open(token.clone()),
            None => sessions.begin(),
        };
        if let Some(agent) = parts.headers.get(USER_AGENT) {
            session.device(&String::from_utf8_lossy(agent.as_bytes()));
        }
        if let Some(address) = client_ip(parts, &self.proxies) {
            session.address(address);
        }
        Ok(Visit { sessions, session, presented, carrier: self.carrier })
    }

    async fn sessions(&self, parts: &mut Parts) -> Result<Sessions, Problem> {
        match &self.tenants {
            Tenants::One(sessions) => Ok(sessions.clone()),
            Tenants::Named { sinew, settings } => {
                let RequestTenant(tenant) = RequestTenant::from_request_parts(parts, &()).await?;
                Ok(settings(sinew.tenant(tenant.as_str())?.sessions()).build()?)
            }
        }
    }
}

/// The token in the one `Authorization` of a request (RFC 6750, 2.1).
fn bearer(headers: &HeaderMap) -> Option<SessionToken> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, other) = (values.next()?, values.next());
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let is_one = other.is_none() && scheme.eq_ignore_ascii_case("bearer");
    is_one.then(|| token.trim().parse().ok()).flatten()
}

impl Visit {
    /// Saves the session, and says so to the client.
    async fn close<R>(self, response: Response<R>) -> Response<SessionBody<R>> {
        let mut response = match self.session.save().await {
            Ok(saved) => {
                if matches!(saved, Saved::Gone) {
                    tracing::debug!("a session had ended before it was saved");
                }
                response.map(Either::Right)
            }
            Err(error) => unsaved(error).into_response().map(Either::Left),
        };
        let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
        let headers = response.headers_mut();
        match self.carrier {
            Carrier::Cookie => self.tell_cookie(headers).await,
            Carrier::Bearer => self.tell_bearer(headers, is_unauthorized),
        }
        response
    }

    async fn tell_cookie(&self, headers: &mut HeaderMap) {
        let field = self.cookie_field().await;
        self.tell_caches(headers, field.is_some());
        if let Some(field) = field {
            headers.append(SET_COOKIE, field);
        }
    }

    /// The token itself is for the handler to tell.
    fn tell_bearer(&self, headers: &mut HeaderMap, is_unauthorized: bool) {
        if is_unauthorized {
            headers.entry(WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
        }
        let now = self.session.token();
        self.tell_caches(headers, now.is_some() && now != self.presented);
    }

    fn tell_caches(&self, headers: &mut HeaderMap, brings_session: bool) {
        if brings_session {
            // Over what the service says: who is given this response is given the session.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        } else if self.presented.is_some() {
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
        }
    }

    /// What is said of the cookie, where anything has to be.
    async fn cookie_field(&self) -> Option<HeaderValue> {
        let cookie = self.sessions.cookie();
        match (&self.presented, self.session.token()) {
            (Some(before), Some(now)) if *before == now => None,
            (_, Some(now)) => {
                let lives = match cookie.is_persistent() {
                    true => self.lives().await,
                    false => None,
                };
                cookie.set(&now, lives)
            }
            // Where someone else has ended it, a login beside this request may have: its cookie stays.
            (Some(_), None) if self.session.was_logged_out() => cookie.remove(),
            (_, None) => None,
        }
    }

    /// For how long it can live. Unknown where Redis does not say: then the cookie ends with the browser.
    async fn lives(&self) -> Option<Duration> {
        let info = self.session.info().await.ok()??;
        info.ends_at.duration_since(SystemTime::now()).ok()
    }
}

fn unsaved(error: Error) -> Problem {
    match error.kind() {
        // What a handler has put into it is not the client's fault.
        ErrorKind::Rejected => {
            tracing::error!(%error, "a session cannot be saved");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the session cannot be saved")
        }
        _ => Problem::from(error),
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService { front: Arc::new(self.0.clone()), inner }
    }
}

/// A service with sessions; see [`SessionLayer`].
#[derive(Clone)]
pub struct SessionService<S> {
    front: Arc<Front>,
    inner: S,
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// The body of a response that came through a layer of sessions: a problem's, or the service's own.
pub type SessionBody<R> = Either<Body, R>;

impl<S, B, R> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<SessionBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Ready when the service is, although it may not be needed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    /// # Cancellation
    /// Where a client goes away, its handler is dropped, and what that had changed is not saved. Where it goes
    /// away while that is being saved, all of it is, or none.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was made ready is called, and its clone is made ready next.
        let next = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, next);
        let front = Arc::clone(&self.front);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let visit = match front.open(&mut parts).await {
                Ok(visit) => visit,
                Err(problem) => return Ok(problem.into_response().map(Either::Left)),
            };
            parts.extensions.insert(visit.session.clone());
            let response = service.call(Request::from_parts(parts, body)).await?;
            Ok(visit.close(response).await)
        })
    }
}
