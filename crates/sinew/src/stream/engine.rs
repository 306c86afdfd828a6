//! What the streams of one client share.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::backend::Store;
use super::broadcast::Channels;
use super::lags::Lags;
use super::later::Timers;
use super::memory::MemoryBackend;
use super::model::TOPICS_MAX;
use super::pull::watch::Watched;
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use super::webhook::{self, store::Of};
use crate::kernel::clock::Clock;
use crate::kernel::error::Result;
use crate::kernel::key::PartitionKeys;
use crate::kernel::name::Prefix;
#[cfg(feature = "redis")]
use crate::kernel::redis::Link;

/// What one embedded store keeps of events, in bytes.
const MEMORY_MAX: usize = 64 << 20;

/// What the streams of one client share.
pub(crate) struct Engine {
    pub(super) backend: Store,
    pub(super) clock: Clock,
    pub(super) value_len_max: usize,
    pub(super) channels: Channels,
    pub(super) timers: Timers,
    pub(super) webhooks: webhook::Store,
    pub(super) lags: Arc<Lags>,
    pub(super) watched: Watched,
    #[cfg(feature = "redis")]
    pub(super) link: Option<Link>,
    /// How many partitions topics have, by the log of their first. Read with each publish, and hardly ever written.
    known: RwLock<HashMap<Box<str>, u16>>,
}

impl Engine {
    /// Streams of this process.
    pub(crate) fn embedded(clock: Clock, prefix: &Prefix, value_len_max: usize) -> Arc<Self> {
        let backend = Store::Memory(MemoryBackend::new(clock.clone(), MEMORY_MAX));
        Arc::new(Self {
            backend,
            clock,
            value_len_max,
            channels: Channels::embedded(),
            timers: Timers::default(),
            webhooks: webhook::Store::embedded(Of::Topics, prefix),
            lags: Arc::default(),
            watched: Watched::default(),
            #[cfg(feature = "redis")]
            link: None,
            known: RwLock::default(),
        })
    }

    /// Streams of all who are connected to this Redis, by its own time.
    #[cfg(feature = "redis")]
    pub(crate) fn on_redis(
        link: Link,
        clock: Clock,
        prefix: &Prefix,
        value_len_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            backend: Store::Redis(RedisBackend::new(link.clone())),
            clock,
            value_len_max,
            channels: Channels::on_redis(link.clone()),
            timers: Timers::here(),
            webhooks: webhook::Store::on_redis(Of::Topics, link.clone(), prefix),
            lags: Arc::default(),
            watched: Watched::here(),
            link: Some(link),
            known: RwLock::default(),
        })
    }

    /// How many partitions a topic had when this process last looked.
    pub(super) fn known(&self, first: &PartitionKeys) -> Option<u16> {
        self.known.read().get(first.log()).copied()
    }

    pub(super) fn learn(&self, first: &PartitionKeys, partitions: u16) {
        let mut known = self.known.write();
        if known.len() >= TOPICS_MAX {
            known.clear();
        }
        known.insert(first.log().into(), partitions);
    }

    pub(super) fn forget(&self, first: &PartitionKeys) {
        self.known.write().remove(first.log());
    }

    /// Which tenants have, or had, webhooks; `None` is what belongs to no tenant.
    pub(crate) async fn webhook_tenants(&self) -> Result<Vec<Option<String>>> {
        self.webhooks.tenants().await
    }
}

/// Tells when another server takes the place of one that was written to: it may not know of the last writes.
#[derive(Clone)]
pub(super) struct Moves(Option<watch::Receiver<u64>>);

impl Moves {
    #[cfg_attr(not(feature = "redis"), allow(unused_variables))]
    pub(super) fn of(engine: &Engine) -> Self {
        #[cfg(feature = "redis")]
        return Self(engine.link.as_ref().map(crate::kernel::redis::Link::successions));
        #[cfg(not(feature = "redis"))]
        Self(None)
    }

    /// Whether one has, since this was asked last.
    pub(super) fn have_come(&mut self) -> bool {
        let Some(moves) = &mut self.0 else { return false };
        let have_come = moves.has_changed().unwrap_or(false);
        moves.mark_unchanged();
        have_come
    }

    /// Waits for the next one. Cancel-safe.
    pub(super) async fn next(&mut self) {
        let has_come = match &mut self.0 {
            Some(moves) => moves.changed().await.is_ok(),
            None => false,
        };
        if !has_come {
            std::future::pending::<()>().await;
        }
    }

    /// Whether there was one since this was made, without taking note of it.
    pub(super) fn is_due(&self) -> bool {
        self.0.as_ref().is_some_and(|moves| moves.has_changed().unwrap_or(false))
    }
}
