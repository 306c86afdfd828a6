//! Delayed events come in time although no group may read their topic: whoever publishes one looks after it, and who
//! reads along.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backend::Backend as _;
use super::engine::Engine;
use super::model::{DUE_MAX, TOPICS_MAX};
use crate::kernel::key::PartitionKeys;

/// How soon a partition is looked at again whose next event is due, by this machine's clock.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// The same where the store did not answer.
const AGAIN_AFTER_ERROR: Duration = Duration::from_secs(1);
/// And whenever that is long: the clocks may differ.
const AGAIN_AT_LAST: Duration = Duration::from_secs(60);

/// When partitions are to be looked at, as far as this process publishes to them, or reads along.
#[derive(Default)]
pub(super) struct Timers {
    // Looked at for a few steps, never over an await.
    due: Mutex<Due>,
    changed: Arc<Notify>,
    /// Where this was made, if it lasts as long as that does: that of whoever is the first may end before.
    runtime: Option<Handle>,
}

#[derive(Default)]
struct Due {
    partitions: HashMap<Box<str>, (Instant, PartitionKeys)>,
    /// Held by the task that looks; gone where there is none, or its runtime has ended.
    keeper: Weak<()>,
}

impl Timers {
    /// Of what ends with the runtime that this is called in.
    #[cfg(feature = "redis")]
    pub(super) fn here() -> Self {
        Self { runtime: Handle::try_current().ok(), ..Self::default() }
    }

    /// A partition is to be looked at after this time, at the latest, or after a minute.
    pub(super) fn set(&self, engine: &Arc<Engine>, keys: &PartitionKeys, after: Duration) {
        let at = Instant::now() + after.min(AGAIN_AT_LAST);
        let mut due = self.due.lock();
        let is_full = due.partitions.len() >= TOPICS_MAX;
        let is_kept = due.keeper.strong_count() > 0;
        match due.partitions.get_mut(keys.log()) {
            Some((known, _)) if is_kept && *known <= at => return,
            Some((known, _)) => *known = at.min(*known),
            // Subscribers look after the others.
            None if is_full => return,
            None => {
                due.partitions.insert(keys.log().into(), (at, keys.clone()));
            }
        }
        if !is_kept {
            let keeper = Arc::new(());
            due.keeper = Arc::downgrade(&keeper);
            let keep = keep(Arc::downgrade(engine), Arc::clone(&self.changed), keeper);
            match &self.runtime {
                Some(runtime) => runtime.spawn(keep),
                None => tokio::spawn(keep),
            };
        }
        drop(due);
        self.changed.notify_one();
    }

    /// The one that is due first; nothing where there is none, and then no one looks.
    fn first(&self) -> Option<(Instant, PartitionKeys)> {
        let mut due = self.due.lock();
        let first = due.partitions.values().min_by_key(|(at, _)| *at).cloned();
        if first.is_none() {
            due.keeper = Weak::new();
        }
        first
    }

    fn remove(&self, keys: &PartitionKeys) {
        self.due.lock().partitions.remove(keys.log());
    }
}

async fn keep(engine: Weak<Engine>, changed: Arc<Notify>, _keeper: Arc<()>) {
    while let Some((at, keys)) = engine.upgrade().and_then(|engine| engine.timers.first()) {
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            () = changed.notified() => continue,
        }
        let Some(engine) = engine.upgrade() else { return };
        // Before it is looked at: what is published meanwhile is set again.
        engine.timers.remove(&keys);
        match engine.backend.promote(&keys, DUE_MAX).await {
            Ok(promoted) => {
                if let Some(next_ms) = promoted.next_later_ms {
                    let left_ms = next_ms.saturating_sub(engine.clock.wall().0);
                    let after = Duration::from_millis(left_ms).max(AGAIN_AFTER);
                    engine.timers.set(&engine, &keys, after);
                }
            }
            Err(error) if error.is_retryable() => {
                engine.timers.set(&engine, &keys, AGAIN_AFTER_ERROR);
            }
            Err(error) => {
                tracing::warn!(topic = keys.topic().as_str(), %error, "delayed events are left to subscribers");
            }
        }
    }
}
