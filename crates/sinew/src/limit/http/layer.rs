//! Limits as a tower layer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::request::Parts;
use ::http::{HeaderMap, Request, Response};
use ::http_body_util::Either;
use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::response::IntoResponse as _;
use tower_layer::Layer;
use tower_service::Service;

use super::denial::too_many_requests;
use super::fields::{HeaderStyle, merge, rate_limit_headers};
use super::pattern::path_of;
use super::rule::Rule;
use crate::client::Sinew;
use crate::http::{Problem, RequestTenant};
use crate::kernel::error::{Error, Result};
use crate::limit::{Check, Limiter};

/// What one check may name.
const RULES_MAX: usize = 16;

/// Lets requests pass as their limits say; see [the module](crate::limit::http) for what clients get.
///
/// ```
/// # use axum::{Router, http::request::Parts, routing::get};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> sinew::Result<()> {
/// use sinew::limit::http::{Rule, TrustedProxies};
/// use sinew::limit::{Limit, MINUTE, Per, SECOND};
/// use sinew::{RateLimitLayer, Sinew};
///
/// #[derive(Clone)]
/// struct User(String);
///
/// /// As the layer in front leaves it, which knows who signed in.
/// fn user(request: &Parts) -> Option<String> {
///     request.extensions.get::<User>().map(|User(id)| id.clone())
/// }
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8", "::1"])?;
/// let per_user = Rule::of(Limit::gcra("per-user", 100.per(MINUTE))).by(user);
/// let anonymous = Rule::of(Limit::gcra("anonymous", 10.per(MINUTE)))
///     .by_client_ip(proxies.clone())
///     .on("/api/{*rest}")
///     .unless(|request| user(request).is_some());
/// let flood = Rule::of(Limit::fixed_window("flood", 50.per(30 * SECOND))).by_client_ip(proxies);
///
/// let limiter = Sinew::embedded().tenant("acme")?.limiter();
/// let limits = RateLimitLayer::new(limiter).rule(per_user)?.rule(anonymous)?.rule(flood)?;
/// let app: Router = Router::new().route("/api/hello", get(|| async { "hello" })).layer(limits);
/// # drop(app);
/// # Ok(()) }
/// ```
///
/// Limits by client address need a server that tells the service who connects:
/// `app.into_make_service_with_connect_info::<SocketAddr>()`.
#[derive(Clone)]
pub struct RateLimitLayer(Front);

/// What all requests through one layer share.
#[derive(Clone)]
struct Front {
    tenants: Tenants,
    rules: Vec<Rule>,
    style: HeaderStyle,
}

#[derive(Clone)]
enum Tenants {
    One(Limiter),
    Named(Sinew),
}

impl RateLimitLayer {
    /// A layer with the limits of one tenant, and no rule yet.
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self::of(Tenants::One(limiter))
    }

    /// A layer where each request is limited as of the tenant that it names in `X-Tenant-Id`. One that
    /// falls under a rule and names none, a bad one or several is answered 400.
    ///
    /// The header must be one that clients cannot choose freely: each tenant has its own limits.
    ///
    /// # Errors
    /// `Misconfigured` in a single-tenant deployment.
    pub fn per_tenant(sinew: Sinew) -> Result<Self> {
        // Any tenant will do: whether there are some is said once, and not to each request.
        sinew.tenant("any")?;
        Ok(Self::of(Tenants::Named(sinew)))
    }

    fn of(tenants: Tenants) -> Self {
        Self(Front { tenants, rules: Vec::new(), style: HeaderStyle::default() })
    }

    /// Adds a rule: 16 at most.
    ///
    /// A request is charged to all limits of which a rule applies, and once to each: where several
    /// rules are of one limit, the first that applies counts. So a rule for a path that costs more goes
    /// before the rule for all.
    ///
    /// # Errors
    /// `Rejected` for a limit that cannot be, a path that is none, a rule too many, or a limit that
    /// another rule defines otherwise.
    pub fn rule(mut self, rule: Rule) -> Result<Self> {
        rule.validate()?;
        let rules = &mut self.0.rules;
        if rules.len() == RULES_MAX {
            return Err(Error::rejected(format!("a rule too many: expected at most {RULES_MAX}")));
        }
        let limit = rule.limit();
        if rules.iter().map(Rule::limit).any(|other| other.name() == limit.name() && other != limit)
        {
            return Err(Error::rejected(format!(
                "limit {:?} is defined in two ways: expected another name for the other one",
                limit.name()
            )));
        }
        rules.push(rule);
        Ok(self)
    }

    /// In which header fields responses say how limits stand: [`HeaderStyle::Both`] unless said.
    #[must_use]
    pub fn headers(mut self, style: HeaderStyle) -> Self {
        self.0.style = style;
        self
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("rules", &self.0.rules)
            .field("headers", &self.0.style)
            .finish_non_exhaustive()
    }
}

/// What becomes of a request.
enum Verdict {
    /// It goes to the service, and its response gets these fields.
    Pass(HeaderMap),
    Answer(Response<Body>),
}

impl Front {
    async fn judge(&self, parts: &mut Parts) -> Verdict {
        match self.ask(parts).await {
            Ok(verdict) => verdict,
            Err(problem) => Verdict::Answer(problem.into_response()),
        }
    }

    async fn ask(&self, parts: &mut Parts) -> Result<Verdict, Problem> {
        let checks = self.checks(parts)?;
        if checks.is_empty() {
            return Ok(Verdict::Pass(HeaderMap::new()));
        }
        let limiter = self.limiter(parts).await?;
        let decision = limiter.check(&checks).await?;
        Ok(match decision.is_allowed() {
            true => Verdict::Pass(rate_limit_headers(&decision, &checks, self.style)),
            false => Verdict::Answer(too_many_requests(&decision, &checks, self.style)),
        })
    }

    /// What is asked of the limits that the request falls under.
    fn checks<'a>(&'a self, parts: &Parts) -> Result<Vec<Check<'a>>, Problem> {
        let path = path_of(parts);
        let mut checks: Vec<Check<'a>> = Vec::new();
        for rule in &self.rules {
            let is_asked = checks.iter().any(|check| check.limit.name() == rule.limit().name());
            if !is_asked && let Some(check) = rule.check(parts, path)? {
                checks.push(check);
            }
        }
        Ok(checks)
    }

    async fn limiter(&self, parts: &mut Parts) -> Result<Limiter, Problem> {
        match &self.tenants {
            Tenants::One(limiter) => Ok(limiter.clone()),
            Tenants::Named(sinew) => {
                let RequestTenant(tenant) = RequestTenant::from_request_parts(parts, &()).await?;
                Ok(sinew.tenant(tenant.as_str())?.limiter())
            }
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService { front: Arc::new(self.0.clone()), inner }
    }
}

/// A service behind limits; see [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimitService<S> {
    front: Arc<Front>,
    inner: S,
}

impl<S: fmt::Debug> fmt::Debug for RateLimitService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// The body of a response that came through a [`RateLimitLayer`]: a problem's, or the service's own.
pub type RateLimitBody<R> = Either<Body, R>;

impl<S, B, R> Service<Request<B>> for RateLimitService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<RateLimitBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Ready when the service is, although it may not be needed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    /// # Cancellation
    /// A request whose client goes away may be charged all the same.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was made ready is called, and its clone is made ready next.
        let next = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, next);
        let front = Arc::clone(&self.front);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match front.judge(&mut parts).await {
                Verdict::Pass(fields) => {
                    let response = service.call(Request::from_parts(parts, body)).await?;
                    let mut response = response.map(Either::Right);
                    merge(response.headers_mut(), &fields);
                    Ok(response)
                }
                Verdict::Answer(response) => Ok(response.map(Either::Left)),
            }
        })
    }
}
