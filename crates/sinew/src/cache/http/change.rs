//! Requests that may change what is stored (RFC 9111, 4.4).

use std::sync::Arc;

use ::http::header::{CONTENT_LOCATION, LOCATION};
use ::http::{HeaderMap, StatusCode};
use tokio::runtime::Handle;

use super::answer::{self, Answer};
use super::cache_status::Fwd;
use super::courier::Forward;
use super::fields;
use super::front::Front;
use super::key::Target;
use super::request::SendAs;

/// Forwards a request, and drops what it has changed before its client hears of it.
pub(super) async fn forwarded<D, E>(
    front: Arc<Front>,
    target: Target,
    forward: Forward<D, E>,
) -> Result<Answer<D>, E> {
    let mut outdated = Outdated { front, tags: vec![target.tag()] };
    let outcome = forward(SendAs::AsItCame).await;
    match &outcome {
        Ok(given) if has_changed(given.status()) => {
            outdated.tags.extend(named(&target, given.headers()));
        }
        Ok(_) => outdated.tags.clear(),
        // It may have got as far as the change.
        Err(_) => {}
    }
    outdated.drop_now().await;
    outcome.map(|given| answer::passed_on(given, Fwd::Method))
}

fn has_changed(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// What the response says that it has changed besides.
fn named(target: &Target, headers: &HeaderMap) -> impl Iterator<Item = String> {
    [LOCATION, CONTENT_LOCATION].into_iter().filter_map(move |field| {
        let named = target.resolve(fields::text(headers, field)?)?;
        Some(named.tag())
    })
}

/// Tags of what is out of date. Dropped with it: a client that goes away in the middle of a
/// request does not keep what was changed.
struct Outdated {
    front: Arc<Front>,
    tags: Vec<String>,
}

impl Outdated {
    async fn drop_now(mut self) {
        let tags = std::mem::take(&mut self.tags);
        // In a task of its own, which runs to its end even if this future does not.
        let _ = tokio::spawn(invalidate(Arc::clone(&self.front), tags)).await;
    }
}

impl Drop for Outdated {
    fn drop(&mut self) {
        let tags = std::mem::take(&mut self.tags);
        // Without a runtime, the process is on its way down.
        if !tags.is_empty()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(invalidate(Arc::clone(&self.front), tags));
        }
    }
}

async fn invalidate(front: Arc<Front>, tags: Vec<String>) {
    for tag in tags {
        if let Err(error) = front.cache.invalidate_tag(&tag).await {
            // It ends with its freshness.
            let cache = front.cache.name();
            tracing::warn!(cache, error = format!("{error:#}"), "a changed page was not dropped");
        }
    }
}
