//! What all requests through one layer share.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderName, StatusCode};

use super::answer::{self, Answer};
use super::change;
use super::courier::Forward;
use super::key::HttpKey;
use super::marks::Marks;
use super::policy::{Asked, Rules};
use super::request::{Handling, SendAs};
use super::stored::StoredResponse;
use super::visit::Visit;
use crate::cache::Cache;

/// What a user says of a layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    pub(super) key_by: Vec<HeaderName>,
    pub(super) tags_by_route: bool,
    pub(super) body_len_max: usize,
    /// How much longer what can be validated is kept than it can be served.
    pub(super) grace: Duration,
}

/// The cache behind the layers of one [`CacheLayer`](crate::CacheLayer).
#[derive(Clone)]
pub(super) struct Front {
    pub(super) cache: Cache<HttpKey, StoredResponse>,
    pub(super) settings: Settings,
    /// Keys whose last response was for one request only: there is no use in waiting for another.
    unshared: Arc<Marks>,
    /// Keys that this process validates in the background.
    pub(super) refreshing: Arc<Marks>,
}

impl Front {
    pub(super) fn new(cache: Cache<HttpKey, StoredResponse>, settings: Settings) -> Self {
        Self { cache, settings, unshared: Arc::default(), refreshing: Arc::default() }
    }

    pub(super) async fn answer<D, E>(
        self: Arc<Self>,
        handling: Handling,
        forward: Forward<D, E>,
    ) -> Result<Answer<D>, E>
    where
        D: Send + 'static,
        E: Send + 'static,
    {
        match handling {
            Handling::Cache(presented) => Visit::new(self, presented, forward).answer().await,
            Handling::Forward(fwd) => {
                let response = forward(SendAs::AsItCame).await?;
                Ok(answer::passed_on(response, fwd))
            }
            Handling::Change(target) => change::forwarded(self, target, forward).await,
            Handling::Refuse => Ok(answer::empty(StatusCode::BAD_REQUEST)),
        }
    }

    /// Whether a request should go alone to the service: what it would wait for is not for it. Those
    /// with credentials are told apart, since theirs is a different answer.
    pub(super) fn is_unshared(&self, key: &HttpKey, asked: &Asked) -> bool {
        self.unshared.has(&(key, asked.is_authorized))
    }

    pub(super) fn mark_unshared(&self, key: &HttpKey, asked: &Asked) {
        self.unshared.set(&(key, asked.is_authorized));
    }

    pub(super) fn mark_shared(&self, key: &HttpKey, asked: &Asked) {
        self.unshared.remove(&(key, asked.is_authorized));
    }
}
