//! How many jobs of a queue one hub has under way, under whatever definition of its webhook.

use std::sync::Arc;

use tokio::sync::watch;

/// How many are under way. A definition that takes the place of another counts those that it finds: where they may not be as
/// many, it waits for their end.
#[derive(Clone)]
pub(super) struct UnderWay(Arc<watch::Sender<usize>>);

/// One that is under way; until it is dropped.
pub(super) struct One(Arc<watch::Sender<usize>>);

impl UnderWay {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// One more, as soon as there are fewer than this.
    pub(super) async fn one(&self, max: usize) -> One {
        let mut count = self.0.subscribe();
        loop {
            if let Some(one) = self.one_now(max) {
                return one;
            }
            // It is there as long as this.
            let _ = count.wait_for(|count| *count < max).await;
        }
    }

    /// The same, if there are fewer now.
    pub(super) fn one_now(&self, max: usize) -> Option<One> {
        let is_one_more = self.0.send_if_modified(|count| {
            let is_free = *count < max;
            *count += usize::from(is_free);
            is_free
        });
        is_one_more.then(|| One(Arc::clone(&self.0)))
    }

    /// Whether nothing that runs has a part in it.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn no_more_are_under_way_than_may_be_though_their_webhook_changes() {
        let of_queue = UnderWay::new();
        let mut old: Vec<One> = std::iter::from_fn(|| of_queue.one_now(3)).collect();
        assert_eq!(old.len(), 3);
        // A definition that allows fewer, and one that allows more.
        assert!(of_queue.one(2).now_or_never().is_none());
        assert!(of_queue.one_now(4).is_some());
        let waits = of_queue.one(2);
        let ends = async {
            old.pop();
            tokio::task::yield_now().await;
            assert!(of_queue.one_now(2).is_none(), "two of the old ones are left");
            old.pop();
        };
        let (new, ()) = tokio::join!(waits, ends);
        assert!(of_queue.one_now(2).is_none());
        drop((old, new));
        assert!(of_queue.is_unused());
    }
}
