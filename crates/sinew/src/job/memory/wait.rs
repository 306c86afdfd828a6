//! What waits for news in process.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::{Heard, Inner, MemoryBackend};
use crate::job::backend::Ending;
use crate::job::model::BLOCK;
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;

/// Waits for jobs, and takes none.
pub(crate) struct MemoryWaker {
    store: Arc<Inner>,
    keys: Vec<QueueKeys>,
    news: watch::Receiver<u64>,
}

/// Hears of the ends of jobs that someone waits for.
pub(crate) struct MemoryEndings {
    keys: QueueKeys,
    heard: Receiver<Heard>,
    is_listening: bool,
}

impl MemoryBackend {
    pub(in crate::job) fn waker(&self, keys: &[QueueKeys]) -> MemoryWaker {
        let news = self.0.news.subscribe();
        MemoryWaker { store: Arc::clone(&self.0), keys: keys.to_vec(), news }
    }

    pub(in crate::job) fn endings(&self, keys: &QueueKeys) -> MemoryEndings {
        let heard = self.0.ended.subscribe();
        MemoryEndings { keys: keys.clone(), heard, is_listening: false }
    }
}

impl MemoryWaker {
    /// As [`Waker::next`](crate::job::backend::Waker::next); here no token is lost when it is dropped.
    pub(in crate::job) async fn next(&mut self) -> Result<Option<usize>> {
        let Self { store, keys, news } = self;
        let over = store.clock.now().after(BLOCK);
        loop {
            // Before it is looked: what comes meanwhile is news.
            news.mark_unchanged();
            if let Some(at) = store.take_token(keys) {
                return Ok(Some(at));
            }
            tokio::select! {
                () = store.clock.sleep_until(over) => return Ok(None),
                // The sender lives in the store.
                _ = news.changed() => {}
            }
        }
    }
}

impl MemoryEndings {
    /// As [`Endings::next`](crate::job::backend::Endings::next).
    pub(in crate::job) async fn next(&mut self) -> Option<Ending> {
        if !std::mem::replace(&mut self.is_listening, true) {
            return Some(Ending::Listening);
        }
        loop {
            match self.heard.recv().await {
                Ok(heard) if heard.keys == self.keys => {
                    return Some(Ending::Of(heard.id, heard.told));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return Some(Ending::Listening),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
