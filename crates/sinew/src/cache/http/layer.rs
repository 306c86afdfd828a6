//! The cache as a tower layer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::{HeaderName, Request, Response};
use ::http_body::Body;
use ::http_body_util::combinators::UnsyncBoxBody;
use axum::extract::{MatchedPath, OriginalUri};
use bytes::Bytes;
use tower_layer::Layer;
use tower_service::Service;

use super::body::CacheBody;
use super::courier::Forward;
use super::fields;
use super::front::{Front, Settings};
use super::key::{HttpKey, route_tag};
use super::request::{SendAs, handling};
use super::stored::StoredResponse;
use crate::cache::{Cache, CacheBuilder, Invalidated};
use crate::kernel::error::Result;

/// What a response may have in the store beside its content: fields, times, the layout.
const HEAD_ROOM: usize = 16 << 10;

/// Answers GET and HEAD from a [`Cache`], as RFC 9111 allows a shared cache; see
/// [the module](crate::cache::http) for what it promises.
///
/// ```
/// # use axum::{Router, routing::get};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> sinew::Result<()> {
/// use std::time::Duration;
/// use sinew::{CacheLayer, Sinew};
///
/// let acme = Sinew::embedded().tenant("acme")?;
/// let pages = CacheLayer::new(acme.cache("pages").ttl(Duration::from_secs(300)))?;
///
/// let hello = || async { ([("cache-control", "max-age=60")], "hello") };
/// let app: Router = Router::new().route("/", get(hello)).layer(pages.clone().tag_by_route());
/// # drop(app);
/// pages.invalidate_route("/").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct CacheLayer(Front);

impl CacheLayer {
    /// A layer over a cache with these settings, which it makes tagged.
    ///
    /// How long a response is fresh, the response says. The cache's `ttl` is how much longer it is
    /// kept when it has an `ETag` or `Last-Modified`, so that the service can be asked whether it is
    /// still right. `local`, `on_outage`, `format`, `compress` and `encrypt` mean what they mean for
    /// any cache. Leave the others as they are: it is the response that says what may be served
    /// stale, and when it is refreshed.
    ///
    /// # Errors
    /// As [`CacheBuilder::build`].
    pub fn new(cache: CacheBuilder) -> Result<Self> {
        let cache: Cache<HttpKey, StoredResponse> = cache.tagged().build()?;
        let policy = &cache.shared.policy;
        let settings = Settings {
            body_len_max: body_len_max(cache.shared.engine.value_len_max),
            grace: policy.ttl.duration(),
            ..Settings::default()
        };
        Ok(Self(Front::new(cache, settings)))
    }

    /// Gives a response that does not say how long it is fresh a tenth of the time since its
    /// `Last-Modified`, a day at most (RFC 9111, 4.2.2). Off unless said: what a service did not mean
    /// to be cached is not.
    #[must_use]
    pub fn heuristics(mut self) -> Self {
        self.0.settings.rules.heuristics = true;
        self
    }

    /// Treats requests with `Authorization` like others. Only where every client may see what any
    /// client may: for a key that says which application calls, not who.
    ///
    /// Unless said, such a request is answered from the store, and its response stored, only where
    /// the response says `public`, `s-maxage` or `must-revalidate` (RFC 9111, 3.5).
    #[must_use]
    pub fn share_authorized(mut self) -> Self {
        self.0.settings.rules.share_authorized = true;
        self
    }

    /// What selects a response beside host, path and query: a header field of the request, one a
    /// call. For what a response does not name in `Vary`, above all the tenant: where one layer
    /// serves several, without `key_by(HeaderName::from_static("x-tenant-id"))` a page of one would
    /// reach another.
    ///
    /// A field that clients can choose freely must be checked by a layer in front of this one.
    #[must_use]
    pub fn key_by(mut self, field: HeaderName) -> Self {
        let key_by = &mut self.0.settings.key_by;
        key_by.push(field);
        fields::in_one_order(key_by);
        self
    }

    /// Tags each response with the route that it came from, for [`CacheLayer::invalidate_route`].
    /// Needs axum's `Router` around the layer.
    #[must_use]
    pub fn tag_by_route(mut self) -> Self {
        self.0.settings.tags_by_route = true;
        self
    }

    /// The longest content in bytes that is stored. Longer content passes, and no more of it is held
    /// in memory. Unless said, and at most: what fits into the largest value, less a quarter for
    /// base64.
    #[must_use]
    pub fn body_len_max(mut self, bytes: usize) -> Self {
        let settings = &mut self.0.settings;
        settings.body_len_max = bytes.min(settings.body_len_max);
        self
    }

    /// Drops all that a route has answered: `/users/{id}`, as in the router, with
    /// [`CacheLayer::tag_by_route`].
    ///
    /// # Errors
    /// As [`Cache::invalidate_tag`], which also says what becomes of it when Redis is down.
    pub async fn invalidate_route(&self, route: &str) -> Result<Invalidated> {
        self.0.cache.invalidate_tag(route_tag(route)).await
    }

    /// The cache behind it, to clear it or to read its statistics.
    #[must_use]
    pub fn cache(&self) -> &Cache<HttpKey, StoredResponse> {
        &self.0.cache
    }
}

fn body_len_max(value_len_max: usize) -> usize {
    let room = HEAD_ROOM.min(value_len_max / 4);
    (value_len_max - room) / 4 * 3
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer")
            .field("cache", &self.0.cache.name())
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheService { front: Arc::new(self.0.clone()), inner }
    }
}

/// A service behind a cache; see [`CacheLayer`].
#[derive(Clone)]
pub struct CacheService<S> {
    front: Arc<Front>,
    inner: S,
}

impl<S: fmt::Debug> fmt::Debug for CacheService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for CacheService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body + Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Send + 'static,
{
    type Response = Response<CacheBody<R::Error>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Ready when the service is, although it may not be needed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    /// # Cancellation
    /// A GET that others may wait for goes on when its client goes away, and is stored.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was made ready is called, and its clone is made ready next.
        let next = self.inner.clone();
        let mut service = std::mem::replace(&mut self.inner, next);
        let extensions = request.extensions();
        // In a nested router, the request's own is the end of it. Where it is another, someone has
        // rewritten it, and knows why.
        let original = extensions.get::<OriginalUri>().map(|OriginalUri(uri)| uri);
        let original = original.filter(|uri| uri.path().ends_with(request.uri().path()));
        let route = extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let uri = original.unwrap_or(request.uri());
        let handling = handling(&request, uri, route, &self.front.settings);
        let forward: Forward<R::Error, S::Error> = Box::new(move |send_as: SendAs| {
            let request = send_as.apply(request);
            Box::pin(async move {
                let outcome = service.call(request).await;
                outcome.map(|given| given.map(UnsyncBoxBody::new))
            })
        });
        Box::pin(Arc::clone(&self.front).answer(handling, forward))
    }
}
