//! What the jobs of one client share.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::backend::{Backend as _, Store};
use super::handle::Listeners;
use super::look::sum;
use super::memory::MemoryBackend;
use super::model::{Declaring, PARTITIONS_MAX, QUEUES_MAX, QueueLook};
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use crate::kernel::clock::Clock;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{QueueKeys, Scope};
use crate::kernel::name::{Prefix, QueueName};
#[cfg(feature = "redis")]
use crate::kernel::redis::Link;
use crate::stream::webhook::{self, store::Of};

/// What one embedded store keeps of jobs, in bytes.
const MEMORY_MAX: usize = 64 << 20;

/// The partitions of queues.
type Known = HashMap<(Scope, QueueName), Arc<[QueueKeys]>>;

/// What the jobs of one client share.
pub(crate) struct Engine {
    pub(super) backend: Store,
    pub(super) clock: Clock,
    pub(super) value_len_max: usize,
    pub(super) listeners: Listeners,
    pub(super) webhooks: webhook::Store,
    /// Closed where no lane of a reserve is to be given back.
    pub(super) lanes: watch::Sender<()>,
    /// Read with each enqueueing, and hardly ever written.
    known: RwLock<Known>,
}

impl Engine {
    /// Jobs of this process.
    pub(crate) fn embedded(clock: Clock, prefix: &Prefix, value_len_max: usize) -> Arc<Self> {
        Arc::new(Self {
            backend: Store::Memory(MemoryBackend::new(clock.clone(), MEMORY_MAX)),
            clock,
            value_len_max,
            listeners: Listeners::default(),
            webhooks: webhook::Store::embedded(Of::Queues, prefix),
            lanes: watch::Sender::new(()),
            known: RwLock::default(),
        })
    }

    /// Jobs of all who are connected to this Redis, by its own time.
    #[cfg(feature = "redis")]
    pub(crate) fn on_redis(
        link: Link,
        clock: Clock,
        prefix: &Prefix,
        value_len_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            webhooks: webhook::Store::on_redis(Of::Queues, link.clone(), prefix),
            backend: Store::Redis(RedisBackend::new(link)),
            clock,
            value_len_max,
            listeners: Listeners::default(),
            lanes: watch::Sender::new(()),
            known: RwLock::default(),
        })
    }

    /// Which tenants have, or had, webhooks of queues; `None` is what belongs to no tenant.
    pub(crate) async fn webhook_tenants(&self) -> Result<Vec<Option<String>>> {
        self.webhooks.tenants().await
    }

    /// The partitions of a queue. One that is not there is declared, with one.
    pub(super) async fn partitions(
        &self,
        scope: &Scope,
        queue: &QueueName,
    ) -> Result<Vec<QueueKeys>> {
        Ok(self.all(scope, queue).await?.to_vec())
    }

    /// The same, as this process keeps them.
    pub(super) async fn all(&self, scope: &Scope, queue: &QueueName) -> Result<Arc<[QueueKeys]>> {
        if let Some(known) = self.known(scope, queue) {
            return Ok(known);
        }
        let one = Declaring { partitions: Some(1), ..Declaring::default() };
        let look = self.declare(scope, queue, one).await?;
        Ok(self.learn(scope, queue, look.partitions))
    }

    /// The partitions of a queue that is there. Nothing is made.
    pub(super) async fn partitions_there(
        &self,
        scope: &Scope,
        queue: &QueueName,
    ) -> Result<Option<Arc<[QueueKeys]>>> {
        if let Some(known) = self.known(scope, queue) {
            return Ok(Some(known));
        }
        let look = self.backend.look(&scope.job(queue, 0)).await?;
        Ok(look.map(|look| keys_of(scope, queue, look.partitions)))
    }

    /// Declares all partitions of a queue, as many as the first has. Limits are given for the whole queue: each partition
    /// gets its part of how many may run and may start, since it cannot know of the others.
    ///
    /// # Errors
    /// `Rejected` where there is less than one for each.
    pub(super) async fn declare(
        &self,
        scope: &Scope,
        queue: &QueueName,
        declaring: Declaring,
    ) -> Result<QueueLook> {
        // Before anything is divided, it has to be known by how many.
        let first = Declaring { partitions: declaring.partitions, ..Declaring::default() };
        let first = self.backend.declare(&scope.job(queue, 0), first).await?;
        let count = first.partitions;
        // Who is wrong about it changes nothing.
        let is_wrong = declaring.partitions.is_some_and(|partitions| partitions != count);
        let declaring = if is_wrong { Declaring::default() } else { declaring };
        check_divided(declaring, count)?;
        let all = keys_of(scope, queue, count);
        let declared = all.iter().map(|keys| {
            let part = part_of(declaring, count, keys.partition());
            self.backend.declare(keys, part)
        });
        let looks = try_join_all(declared).await?;
        self.note(scope, queue).await?;
        self.learn(scope, queue, count);
        Ok(sum(looks).unwrap_or(first))
    }

    /// Notes that there is a queue, for those who list them.
    pub(super) async fn note(&self, scope: &Scope, queue: &QueueName) -> Result<()> {
        if !self.backend.note_queue(&scope.job_queues(), queue.as_str()).await? {
            tracing::warn!(queue = queue.as_str(), "too many queues: this one is in no list");
        }
        Ok(())
    }

    /// Takes it that a queue has so many partitions.
    pub(super) fn learn(
        &self,
        scope: &Scope,
        queue: &QueueName,
        partitions: u16,
    ) -> Arc<[QueueKeys]> {
        let all = keys_of(scope, queue, partitions);
        let mut known = self.known.write();
        if known.len() >= QUEUES_MAX {
            known.clear();
        }
        known.insert((scope.clone(), queue.clone()), Arc::clone(&all));
        all
    }

    fn known(&self, scope: &Scope, queue: &QueueName) -> Option<Arc<[QueueKeys]>> {
        self.known.read().get(&(scope.clone(), queue.clone())).cloned()
    }
}

fn keys_of(scope: &Scope, queue: &QueueName, partitions: u16) -> Arc<[QueueKeys]> {
    let partitions = 0..partitions.clamp(1, PARTITIONS_MAX);
    partitions.map(|partition| scope.job(queue, partition)).collect()
}

/// Whether a limit of the whole queue has at least one for each partition: none could run anything else, or more would run
/// than was said.
///
/// # Errors
/// `Rejected` where it has not.
pub(super) fn check_divided(whole: Declaring, partitions: u16) -> Result<()> {
    let limits = [whole.global, whole.rate.map(|(starts, _)| starts)].into_iter().flatten();
    match limits.filter(|limit| *limit > 0).min() {
        Some(least) if least < u64::from(partitions) => Err(Error::rejected(format!(
            "a limit of {least} cannot be divided among {partitions} partitions: expected {partitions} or more, or 0 for none"
        ))),
        _ => Ok(()),
    }
}

/// What one partition is declared with.
fn part_of(whole: Declaring, partitions: u16, partition: u16) -> Declaring {
    let share = |whole: u64| {
        let (count, more) = (u64::from(partitions.max(1)), u64::from(partition));
        whole / count + u64::from(more < whole % count)
    };
    Declaring {
        partitions: Some(partitions),
        global: whole.global.map(share),
        rate: whole.rate.map(|(starts, per_ms)| (share(starts), per_ms)),
        ..whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_divided_and_none_is_lost() {
        let whole = Declaring {
            global: Some(10),
            per_key: Some(3),
            rate: Some((6, 1_000)),
            ..Declaring::default()
        };
        assert!(check_divided(whole, 4).is_ok());
        let parts: Vec<Declaring> = (0..4).map(|partition| part_of(whole, 4, partition)).collect();
        assert_eq!(parts.iter().filter_map(|part| part.global).sum::<u64>(), 10);
        assert_eq!(parts[3].global, Some(2));
        let starts = parts.iter().filter_map(|part| part.rate).map(|(starts, _)| starts);
        assert_eq!(starts.sum::<u64>(), 6);
        assert!(parts.iter().all(|part| (part.per_key, part.partitions) == (Some(3), Some(4))));
        let none = Declaring { global: Some(0), ..Declaring::default() };
        assert_eq!(part_of(none, 4, 1).global, Some(0));
        assert!(check_divided(none, 4).is_ok());
        for few in [
            Declaring { global: Some(3), ..Declaring::default() },
            Declaring { rate: Some((1, 1_000)), ..Declaring::default() },
        ] {
            assert!(check_divided(few, 4).is_err() && check_divided(few, 1).is_ok());
        }
        assert_eq!(part_of(Declaring::default(), 4, 1).rate, None);
    }
}
