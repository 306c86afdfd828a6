//! The atomic steps that sessions need from a store.

use std::time::Duration;

use bytes::Bytes;

use super::memory::MemoryBackend;
use super::model::{
    Beginning, Begun, Found, Listed, Outcome, Replicas, Rotated, Rotation, Row, Saving,
};
#[cfg(feature = "redis")]
use super::redis::RedisBackend;
use crate::kernel::backend::backend;
use crate::kernel::error::Result;
use crate::kernel::key::{SessionKeys, SlotKeys};

/// Whose a session is, hence what has to be kept in step with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Nobodys,
    Users,
}

/// How what ends sessions is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// How long the epoch of a user is kept.
    pub(super) epoch_kept: Duration,
    pub(super) replicas: Option<Replicas>,
}

/// What a datum was when it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Took {
    Datum { json: Option<Bytes>, version: u64 },
    Gone,
}

/// The stores that there are.
pub(super) enum Store {
    Memory(MemoryBackend),
    #[cfg(feature = "redis")]
    Redis(RedisBackend),
}

backend! {
    /// Looks for a session, in one round trip. `idle_ms` is for how long it may go unused by whoever asks.
    async fn load(&self, keys: &SessionKeys, idle_ms: u64) -> Result<Found>;

    /// Notes that it is used, and says when; nothing if it has ended.
    async fn touch(&self, keys: &SessionKeys, whose: Whose, idle_ms: u64) -> Result<Option<u64>>;

    /// Begins one. The same call again finds what the first did.
    async fn create(&self, keys: &SessionKeys, new: &Beginning, epoch_kept: Duration) -> Result<Begun>;

    /// Saves changes, once at most.
    async fn save(&self, keys: &SessionKeys, whose: Whose, saving: &Saving<'_>) -> Result<Outcome>;

    /// Takes a datum out of it, once at most.
    async fn take(&self, keys: &SessionKeys, idle_ms: u64, name: &str) -> Result<Took>;

    /// Ends it. Whether it was live.
    async fn end(&self, keys: &SessionKeys, whose: Whose, how: Ending) -> Result<bool>;

    /// Ends it, once at most, and says what it was; nothing if it had ended.
    async fn take_down(&self, keys: &SessionKeys, whose: Whose, how: Ending) -> Result<Option<Row>>;

    /// Ends all in a slot, but for one.
    async fn end_all(&self, slot: &SlotKeys, stays: Option<&SessionKeys>, how: Ending) -> Result<()>;

    /// Moves one to another id in its slot; nothing if it has ended.
    async fn rotate(
        &self,
        from: &SessionKeys,
        to: &SessionKeys,
        whose: Whose,
        rotation: &Rotation,
        how: Ending
    ) -> Result<Option<Rotated>>;

    /// Those of a slot that are live, without what their data are.
    async fn list(&self, slot: &SlotKeys) -> Result<Vec<Listed>>;
}
