//! A source of values whose loads are counted, and held at a gate until the test opens it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sinew::{Cache, CacheKey, Error, LoadError, Loaded, Loading};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// What a loader of the source returns. All have one error type, so that they can share loads.
pub type Reading<T> = BoxFuture<'static, Result<T, Down>>;

/// The source's own error.
#[derive(Debug)]
pub struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database is down")
    }
}

impl std::error::Error for Down {}

#[derive(Clone)]
pub struct Database {
    /// The keys that each load was asked for, where its loader is told any.
    calls: watch::Sender<Vec<Vec<u64>>>,
    gate: Arc<Semaphore>,
}

impl Database {
    pub fn open() -> Self {
        Self::with_gate(Semaphore::MAX_PERMITS)
    }

    pub fn gated() -> Self {
        Self::with_gate(0)
    }

    fn with_gate(permits: usize) -> Self {
        Self { calls: watch::Sender::new(Vec::new()), gate: Arc::new(Semaphore::new(permits)) }
    }

    /// A loader that brings `value`.
    pub fn read(&self, value: u64) -> impl FnOnce() -> Reading<u64> + Send + use<> {
        self.bring(Ok(value))
    }

    /// A loader that may find that there is no such thing.
    pub fn find(&self, found: Option<u64>) -> impl FnOnce() -> Reading<Option<u64>> + Send + use<> {
        self.bring(Ok(found))
    }

    /// A loader that fails.
    pub fn fail(&self) -> impl FnOnce() -> Reading<u64> + Send + use<> {
        self.bring(Err(Down))
    }

    /// A loader that names tags before it asks.
    pub fn read_tagged(
        &self,
        value: u64,
        tags: &[&str],
    ) -> impl FnOnce(Loading<u64>) -> Reading<u64> + Send + use<> {
        tagging(tags, self.read(value))
    }

    /// The same of one that finds what was there before still right.
    pub fn confirm_tagged(
        &self,
        tags: &[&str],
    ) -> impl FnOnce(Loading<u64>) -> Reading<Loaded<u64>> + Send + use<> {
        tagging(tags, self.bring(Ok(Loaded::<u64>::Unchanged)))
    }

    /// A loader of many keys at once, which brings those that `value` knows.
    pub fn find_all(
        &self,
        value: fn(u64) -> Option<u64>,
    ) -> impl Fn(Vec<u64>) -> Reading<HashMap<u64, u64>> + Send + Sync + use<> {
        let database = self.clone();
        move |keys| {
            let database = database.clone();
            Box::pin(async move {
                database.passes_for(&keys).await;
                Ok(keys.into_iter().filter_map(|key| Some((key, value(key)?))).collect())
            })
        }
    }

    fn bring<T: Send + 'static>(
        &self,
        brought: Result<T, Down>,
    ) -> impl FnOnce() -> Reading<T> + Send + use<T> {
        let database = self.clone();
        move || {
            Box::pin(async move {
                database.passes().await;
                brought
            })
        }
    }

    /// What every load begins with: it is counted, and waits at the gate.
    pub async fn passes(&self) {
        self.passes_for(&[]).await;
    }

    /// The same of one that was told its keys.
    pub async fn passes_for(&self, keys: &[u64]) {
        let mut asked = keys.to_vec();
        asked.sort_unstable();
        self.calls.send_modify(|calls| calls.push(asked));
        let _passed = self.gate.acquire().await.expect("never closed");
    }

    /// Waits until so many loads have begun.
    pub async fn loading(&self, loads: usize) {
        let mut calls = self.calls.subscribe();
        calls.wait_for(|calls| calls.len() >= loads).await.expect("kept by self");
    }

    pub fn open_gate(&self) {
        self.gate.add_permits(1 << 20);
    }

    pub fn close_gate(&self) {
        self.gate.forget_permits(usize::MAX);
    }

    pub fn loads(&self) -> usize {
        self.calls.borrow().len()
    }

    /// The keys of each load that has begun, sorted.
    pub fn calls(&self) -> Vec<Vec<u64>> {
        self.calls.borrow().clone()
    }
}

fn tagging<T, L>(
    tags: &[&str],
    load: L,
) -> impl FnOnce(Loading<u64>) -> Reading<T> + Send + use<T, L>
where
    L: FnOnce() -> Reading<T> + Send,
{
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    move |loading: Loading<u64>| {
        for tag in tags {
            loading.tag(tag);
        }
        load()
    }
}

/// A load that has begun and waits for its source, and the caller that waits for it.
pub struct Begun {
    source: Database,
    caller: JoinHandle<u64>,
}

impl Begun {
    /// A load of `value`, once its source is asked.
    pub async fn load<K>(cache: &Cache<K, u64>, key: &'static K, value: u64) -> Self
    where
        K: CacheKey + Sync + ?Sized + 'static,
    {
        let source = Database::gated();
        let (cache, load) = (cache.clone(), source.read(value));
        let caller = tokio::spawn(async move { *cache.get_or_load(key, load).await.unwrap() });
        source.loading(1).await;
        Self { source, caller }
    }

    /// Lets it come to its end, and says what its caller is given.
    pub async fn lands(self) -> u64 {
        self.source.open_gate();
        self.caller.await.unwrap()
    }
}

/// Why a load was refused.
pub fn rejection<T: fmt::Debug>(outcome: Result<T, LoadError<Down>>) -> Error {
    match outcome {
        Err(LoadError::Rejected(error)) => error,
        other => panic!("expected a rejection: {other:?}"),
    }
}

/// Gives callers that were just spawned the time of many look-ups to ask the store.
pub async fn everyone_has_asked(cache: &Cache<str, u64>) {
    for _ in 0..300 {
        assert!(!cache.exists("nothing").await.unwrap());
        tokio::task::yield_now().await;
    }
}
