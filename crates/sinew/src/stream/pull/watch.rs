//! How far groups are that are pulled: told for as long as this process lives, also where nobody pulls any more.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::{Part, Puller};
use crate::kernel::error::Result;
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::stream::backend::Backend as _;
use crate::stream::engine::Engine;
use crate::stream::lags::OwnLag;

/// How often each is looked at, beside the time that it takes.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// More of them are not watched.
const GROUPS_MAX: usize = 1_000;

/// The groups that were pulled in this process and are still there.
#[derive(Default)]
pub(in crate::stream) struct Watched {
    // Looked at for a few steps, never over an await.
    inner: Mutex<Inner>,
    /// Where this was made, if it lasts as long as that does: that of whoever is the first may end before.
    runtime: Option<Handle>,
}

#[derive(Default)]
struct Inner {
    groups: HashMap<Box<str>, Arc<Group>>,
    /// Held by the task that looks; gone where there is none, or its runtime has ended.
    keeper: Weak<()>,
}

struct Group {
    keys: GroupKeys,
    partitions: Vec<PartitionKeys>,
    lag: OwnLag,
}

impl Group {
    /// Tells how far it is. Whether it is there.
    async fn tell(&self, engine: &Engine) -> Result<bool> {
        let (mut is_there, mut events, mut oldest_ms) = (false, 0_u64, 0);
        for keys in &self.partitions {
            let groups = engine.backend.look_at_groups(keys).await?;
            for own in groups.into_iter().filter(|one| one.name == self.keys.name().as_str()) {
                is_there = true;
                events = events.saturating_add(own.unfinished());
                oldest_ms = own.oldest_ms.unwrap_or_default().max(oldest_ms);
            }
        }
        self.lag.tell(events, oldest_ms);
        Ok(is_there)
    }
}

impl Watched {
    /// Of what ends with the runtime that this is called in.
    #[cfg(feature = "redis")]
    pub(in crate::stream) fn here() -> Self {
        Self { runtime: Handle::try_current().ok(), ..Self::default() }
    }

    /// Adds a group where it is new, and there is room; and sees to it that someone looks.
    fn add(
        &self,
        engine: &Arc<Engine>,
        keys: &GroupKeys,
        group: impl FnOnce() -> Group,
    ) -> Option<Arc<Group>> {
        let mut inner = self.inner.lock();
        if inner.keeper.strong_count() == 0 {
            let keeper = Arc::new(());
            inner.keeper = Arc::downgrade(&keeper);
            let keep = keep(Arc::downgrade(engine), keeper);
            match &self.runtime {
                Some(runtime) => runtime.spawn(keep),
                None => tokio::spawn(keep),
            };
        }
        if inner.groups.len() >= GROUPS_MAX || inner.groups.contains_key(keys.members()) {
            return None;
        }
        let group = Arc::new(group());
        inner.groups.insert(keys.members().into(), Arc::clone(&group));
        Some(group)
    }

    fn all(&self) -> Vec<Arc<Group>> {
        self.inner.lock().groups.values().cloned().collect()
    }

    fn remove(&self, group: &GroupKeys) {
        self.inner.lock().groups.remove(group.members());
    }
}

async fn keep(engine: Weak<Engine>, _keeper: Arc<()>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(engine) = engine.upgrade() else { return };
        for group in engine.watched.all() {
            // What is not known now is told another time. Who pulls again makes it again.
            if let Ok(false) = group.tell(&engine).await {
                engine.watched.remove(&group.keys);
            }
        }
    }
}

impl Puller {
    /// Has this group watched from now on.
    pub(super) async fn watch(&self, parts: &[Part]) {
        let engine = &self.streams.engine;
        let Some(Part { group: keys, .. }) = parts.first() else { return };
        let names = (self.topic.as_str(), self.group.as_str());
        let added = engine.watched.add(engine, keys, || Group {
            keys: keys.clone(),
            partitions: parts.iter().map(|part| part.keys.clone()).collect(),
            lag: OwnLag::new(&engine.lags, names, keys.members()),
        });
        if let Some(group) = added {
            // The first time at once; where there is no answer, in a while.
            let _ = group.tell(engine).await;
        }
    }
}
