//! What a reserve that waits is woken by.

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::job::backend::{Store, Waker};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;

/// Waits for tokens of partitions, parted into those that can be waited for together. One that waits goes on while jobs are
/// looked for: dropped, it would take its connection along, and a token that was on its way.
pub(super) struct Wakers {
    idle: Vec<(Waker, Vec<QueueKeys>)>,
    waiting: FuturesUnordered<BoxFuture<'static, Woken>>,
}

struct Woken {
    waker: Waker,
    of: Vec<QueueKeys>,
    token: Result<Option<usize>>,
}

impl Wakers {
    pub(super) fn new(store: &Store, all: &[QueueKeys]) -> Self {
        let together = store.together(all).into_iter();
        let idle = together.map(|of| (store.waker(&of), of)).collect();
        Self { idle, waiting: FuturesUnordered::new() }
    }

    /// Takes a token, and says of which partition it was; nothing where it is time to look anyway. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<u16>> {
        self.waiting.extend(self.idle.drain(..).map(wait));
        let Some(Woken { waker, of, token }) = self.waiting.next().await else {
            return std::future::pending().await;
        };
        let partition = token.map(|nth| partition_of(&of, nth));
        self.idle.push((waker, of));
        partition
    }

    /// Of which partitions tokens have come that nobody has asked for.
    pub(super) fn left(mut self) -> Vec<u16> {
        let mut left = Vec::new();
        while let Some(Some(Woken { of, token, .. })) = self.waiting.next().now_or_never() {
            left.extend(token.ok().and_then(|nth| partition_of(&of, nth)));
        }
        left
    }
}

fn wait((mut waker, of): (Waker, Vec<QueueKeys>)) -> BoxFuture<'static, Woken> {
    async move {
        let token = waker.next().await;
        Woken { waker, of, token }
    }
    .boxed()
}

fn partition_of(keys: &[QueueKeys], nth: Option<usize>) -> Option<u16> {
    nth.and_then(|nth| keys.get(nth)).map(QueueKeys::partition)
}
