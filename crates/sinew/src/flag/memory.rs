//! The steps in process, for the embedded store. It has no plain keys: nobody else could write them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::backend::{Backend, CHANGES_MAX, Noted, Plain, PlainKeys, Stored, Watching, Write};
use crate::kernel::clock::Clock;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::{FlagKeys, PlainFlags};

/// Environments that may have flags, over all tenants.
const DOCUMENTS_MAX: usize = 1_000;
/// What the changes of one may take in memory. Of more, the oldest are forgotten.
const CHANGES_LEN_MAX: usize = 16 << 20;

/// Flags of one process.
pub(crate) struct MemoryBackend {
    clock: Clock,
    // Held for a few moves, never over an await.
    kept: Mutex<HashMap<String, Kept>>,
    /// Moves on with every change.
    changed: watch::Sender<u64>,
}

struct Kept {
    stored: Stored,
    /// The newest first.
    changes: VecDeque<Noted>,
    changes_len: usize,
}

impl MemoryBackend {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, kept: Mutex::default(), changed: watch::Sender::new(0) }
    }

    fn write_now(&self, keys: &FlagKeys, write: &Write<'_>) -> Result<bool> {
        let mut kept = self.kept.lock();
        let found = kept.get(keys.document()).map_or(0, |kept| kept.stored.version);
        if found != write.read {
            return Ok(false);
        }
        if found == 0 && kept.len() >= DOCUMENTS_MAX {
            return Err(Error::rejected(format!(
                "{DOCUMENTS_MAX} environments have flags: expected no more in the embedded store"
            )));
        }
        let stored =
            Stored { version: write.version, body: Bytes::copy_from_slice(write.body.as_bytes()) };
        let kept = kept.entry(keys.document().to_owned()).or_insert_with(|| Kept {
            stored: stored.clone(),
            changes: VecDeque::new(),
            changes_len: 0,
        });
        kept.stored = stored;
        kept.note(self.clock.wall().0, write);
        Ok(true)
    }
}

impl Kept {
    fn note(&mut self, now_ms: u64, write: &Write<'_>) {
        let last = self.changes.front().and_then(|last| parts(&last.id));
        let id = match last {
            Some((last_ms, number)) if last_ms >= now_ms => format!("{last_ms}-{}", number + 1),
            _ => format!("{now_ms}-0"),
        };
        let text = Bytes::copy_from_slice(write.change.as_bytes());
        self.changes_len += text.len();
        self.changes.push_front(Noted { id, text });
        while self.changes.len() > CHANGES_MAX
            || self.changes.len() > 1 && self.changes_len > CHANGES_LEN_MAX
        {
            let oldest = self.changes.pop_back();
            self.changes_len -= oldest.map_or(0, |oldest| oldest.text.len());
        }
    }
}

impl Backend for MemoryBackend {
    async fn document(&self, keys: &FlagKeys) -> Result<Option<Stored>> {
        Ok(self.kept.lock().get(keys.document()).map(|kept| kept.stored.clone()))
    }

    async fn version(&self, keys: &FlagKeys) -> Result<Option<u64>> {
        Ok(self.kept.lock().get(keys.document()).map(|kept| kept.stored.version))
    }

    async fn now_ms(&self, _: &FlagKeys) -> Result<u64> {
        Ok(self.clock.wall().0)
    }

    async fn write(&self, keys: &FlagKeys, write: &Write<'_>) -> Result<bool> {
        let written = self.write_now(keys, write)?;
        if written {
            self.changed.send_modify(|count| *count += 1);
        }
        Ok(written)
    }

    async fn changes(
        &self,
        keys: &FlagKeys,
        before: Option<&str>,
        count: usize,
    ) -> Result<Vec<Noted>> {
        let kept = self.kept.lock();
        let changes = kept.get(keys.document()).into_iter().flat_map(|kept| &kept.changes);
        let before = before.map(parts);
        let is_before = |change: &&Noted| before.is_none_or(|before| parts(&change.id) < before);
        Ok(changes.filter(is_before).take(count).cloned().collect())
    }

    async fn change(&self, keys: &FlagKeys, id: &str) -> Result<Option<Noted>> {
        let kept = self.kept.lock();
        let mut changes = kept.get(keys.document()).into_iter().flat_map(|kept| &kept.changes);
        Ok(changes.find(|change| change.id == id).cloned())
    }

    async fn plain(&self, _: &str) -> Result<Option<Plain>> {
        Ok(None)
    }

    async fn plain_keys(&self, _: &PlainFlags, _: usize) -> Result<PlainKeys> {
        Ok(PlainKeys { by_key: BTreeMap::new(), is_cut: false })
    }

    fn watch(&self, _: &str) -> Watching {
        Watching::Memory(self.changed.subscribe())
    }

    fn is_local(&self) -> bool {
        true
    }

    /// There is nothing to wait for.
    fn deadline(&self) -> Duration {
        Duration::MAX
    }
}

/// Of a change's id, in their order.
fn parts(id: &str) -> Option<(u64, u64)> {
    let (ms, number) = id.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}
