//! A source of values whose loads are counted, and held at a gate until the test opens it.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sinew::{Cache, Error, LoadError};
use tokio::sync::{Semaphore, watch};

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
    /// How many have begun.
    loads: watch::Sender<usize>,
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
        Self { loads: watch::Sender::new(0), gate: Arc::new(Semaphore::new(permits)) }
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
        self.loads.send_modify(|loads| *loads += 1);
        let _passed = self.gate.acquire().await.expect("never closed");
    }

    /// Waits until so many loads have begun.
    pub async fn loading(&self, loads: usize) {
        let mut begun = self.loads.subscribe();
        begun.wait_for(|begun| *begun >= loads).await.expect("kept by self");
    }

    pub fn open_gate(&self) {
        self.gate.add_permits(1 << 20);
    }

    pub fn loads(&self) -> usize {
        *self.loads.borrow()
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
