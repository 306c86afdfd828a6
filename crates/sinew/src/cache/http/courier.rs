//! A request's way to the service: once, for itself or for all who wait for the same.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use ::http::{Response, StatusCode};
use ::http_body_util::combinators::UnsyncBoxBody;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::answer::Answer;
use super::fetch::Fetch;
use super::front::Front;
use super::key::HttpKey;
use super::request::{Presented, SendAs};
use super::stored::{Stored, StoredResponse};
use crate::cache::{LoadError, Loaded, Loading, Source, Traced};

/// How often a stored response is refused before the request goes its own way.
const REFUSALS_MAX: u32 = 3;
/// The store tells ages in whole milliseconds: what is younger cannot be refused yet.
const REFUSAL_PAUSE: Duration = Duration::from_millis(1);

/// What the service gives.
pub(super) type Given<D> = Response<UnsyncBoxBody<Bytes, D>>;

/// Calls the service with the request. `D` is its error in the middle of a body, `E` instead of a
/// response.
pub(super) type Forward<D, E> =
    Box<dyn FnOnce(SendAs) -> BoxFuture<'static, Result<Given<D>, E>> + Send>;

/// What the service gave to a request that was sent so that it can be stored.
pub(super) struct Fetched<D> {
    /// For the client whose request it was.
    pub(super) answer: Answer<D>,
    /// The service's own.
    pub(super) status: StatusCode,
    /// Seconds of freshness, if it is for others too.
    pub(super) ttl: Option<i64>,
}

/// How the call of the service ended: as such, or in its panic.
pub(super) type Reply<D, E> = thread::Result<Result<Fetched<D>, E>>;

/// The service was called and has nothing to share, or was called already.
#[derive(Debug)]
pub(super) struct Failed;

pub(super) type Look = Result<Traced<StoredResponse>, LoadError<Failed>>;
type Load = BoxFuture<'static, Result<Loaded<StoredResponse>, Failed>>;

/// Carries a request to the service, at most once, whoever asks. Its clones are one.
pub(super) struct Courier<D, E> {
    pub(super) front: Arc<Front>,
    pub(super) presented: Arc<Presented>,
    parcel: Arc<Mutex<Option<Parcel<D, E>>>>,
}

struct Parcel<D, E> {
    forward: Forward<D, E>,
    reply: oneshot::Sender<Reply<D, E>>,
}

impl<D, E> Clone for Courier<D, E> {
    fn clone(&self) -> Self {
        Self {
            front: Arc::clone(&self.front),
            presented: Arc::clone(&self.presented),
            parcel: Arc::clone(&self.parcel),
        }
    }
}

impl<D: Send + 'static, E: Send + 'static> Courier<D, E> {
    pub(super) fn new(
        front: Arc<Front>,
        presented: Arc<Presented>,
        forward: Forward<D, E>,
        reply: oneshot::Sender<Reply<D, E>>,
    ) -> Self {
        let parcel = Arc::new(Mutex::new(Some(Parcel { forward, reply })));
        Self { front, presented, parcel }
    }

    /// Whether the request is on its way: then its reply will come.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.parcel.lock().is_none()
    }

    /// For a way of its own. `None` once the request is on its way.
    pub(super) fn take(&self) -> Option<Forward<D, E>> {
        self.take_parcel().map(|parcel| parcel.forward)
    }

    fn take_parcel(&self) -> Option<Parcel<D, E>> {
        self.parcel.lock().take()
    }

    /// What is stored under a key; else what this request, or another that is under way, brings.
    pub(super) async fn look(&self, key: &HttpKey) -> Look {
        self.front.cache.get_or_load_with(key, self.loader(key, None)).await
    }

    /// What was stored after `stale` was; else what this request, or another that is under way,
    /// brings when the service is asked whether `stale` is still right.
    pub(super) async fn revalidate(&self, key: &HttpKey, stale: &Arc<Stored>) -> Look {
        // What replaced it meanwhile is younger by far.
        let cache = self.front.cache.fresh_within(stale.stored_for(SystemTime::now()) / 2);
        let mut refusals = 0;
        loop {
            let look = cache.get_or_load_with(key, self.loader(key, Some(stale))).await;
            refusals += 1;
            if refusals == REFUSALS_MAX || !is_the_same(&look, stale) {
                return look;
            }
            tokio::time::sleep(REFUSAL_PAUSE).await;
        }
    }

    fn loader(
        &self,
        key: &HttpKey,
        stale: Option<&Arc<Stored>>,
    ) -> impl FnOnce(Loading<StoredResponse>) -> Load + Send + 'static + use<D, E> {
        let (courier, key, stale) = (self.clone(), key.clone(), stale.cloned());
        move |loading| courier.load(key, stale, loading).boxed()
    }

    async fn load(
        self,
        key: HttpKey,
        stale: Option<Arc<Stored>>,
        loading: Loading<StoredResponse>,
    ) -> Result<Loaded<StoredResponse>, Failed> {
        let Some(Parcel { forward, reply }) = self.take_parcel() else { return Err(Failed) };
        let fetch = Fetch { front: self.front, presented: self.presented, key, stale, loading };
        // A panic is the caller's to see, as without a cache. If the caller has gone away, no one
        // hears of it.
        match AssertUnwindSafe(fetch.run(forward)).catch_unwind().await {
            Ok((fetched, loaded)) => {
                let _ = reply.send(Ok(fetched));
                loaded
            }
            Err(panic) => {
                let _ = reply.send(Err(panic));
                Err(Failed)
            }
        }
    }
}

fn is_the_same(look: &Look, stale: &Stored) -> bool {
    let Ok(Traced { value, source }) = look else { return false };
    *source != Source::Loaded && value.stored().is_some_and(|stored| stored.is_same_as(stale))
}
