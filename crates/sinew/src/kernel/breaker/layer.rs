//! The breaker around a tower service.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use super::{Breaker, BreakerError, Permit};

/// Puts a [`Breaker`] before a tower service: every error of the service counts as a failure.
///
/// ```
/// # use tower::{ServiceBuilder, ServiceExt, service_fn};
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use sinew::{Breaker, BreakerLayer};
///
/// let breaker = Breaker::new("billing api");
/// let client = ServiceBuilder::new()
///     .layer(BreakerLayer::new(breaker.clone()))
///     .service(service_fn(|id: u64| async move { Ok::<_, std::io::Error>(id) }));
/// assert_eq!(client.oneshot(7).await.unwrap(), 7);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct BreakerLayer(Breaker);

impl BreakerLayer {
    /// A layer whose services share this breaker.
    #[must_use]
    pub fn new(breaker: Breaker) -> Self {
        Self(breaker)
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = BreakerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService { breaker: self.0.clone(), inner }
    }
}

/// A service behind a [`Breaker`]; see [`BreakerLayer`].
#[derive(Clone, Debug)]
pub struct BreakerService<S> {
    breaker: Breaker,
    inner: S,
}

impl<S, Request> Service<Request> for BreakerService<S>
where
    S: Service<Request>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BreakerError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    /// Ready when the service is. Whether the breaker is open, the call says: readiness is asked
    /// for long before the call, or for a call that never comes.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let ready = ready!(self.inner.poll_ready(cx));
        if ready.is_err() {
            self.breaker.incident();
        }
        Poll::Ready(ready.map_err(BreakerError::Inner))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let permit: Permit = match self.breaker.permit() {
            Ok(permit) => permit,
            Err(retry_after) => {
                return Box::pin(async move { Err(BreakerError::Open { retry_after }) });
            }
        };
        let calling = self.inner.call(request);
        Box::pin(async move {
            let outcome = calling.await;
            match outcome {
                Ok(_) => permit.succeeded(),
                Err(_) => permit.failed(),
            }
            outcome.map_err(BreakerError::Inner)
        })
    }
}
