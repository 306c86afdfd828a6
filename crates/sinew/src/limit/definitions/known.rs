//! What this process knows of the definitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;

use super::written::defined_of;
use super::{DefinedLimit, Rows};
use crate::kernel::clock::Monotonic;
use crate::kernel::error::Result;
use crate::limit::backend::Backend as _;
use crate::limit::engine::Engine;

/// What is older is asked for anew, and what could not be had is tried for anew.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Where `scripts/define.lua` keeps the last revision, among the definitions.
const REVISION: &[u8] = b":revision";

/// What was heard of the definitions last.
#[derive(Default)]
pub(crate) struct Known {
    /// Held for a few moves, never over an await.
    heard: RwLock<Heard>,
    /// One asks at a time, for all.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Heard {
    /// What is known, or why nothing is.
    answer: Option<Result<Arc<Table>>>,
    /// For how long that counts without another look; `None` for no longer.
    counts_until: Option<Monotonic>,
    looks: u64,
}

impl Heard {
    fn answer(&self) -> Option<Result<Arc<Table>>> {
        self.counts_until.and(self.answer.clone())
    }

    fn table(&self) -> Option<Arc<Table>> {
        self.answer.as_ref()?.as_ref().ok().cloned()
    }
}

impl Known {
    /// The definitions, as of a second ago at most; or of when the store last answered.
    pub(super) async fn table(&self, engine: &Engine) -> Result<Arc<Table>> {
        let looks = {
            let heard = self.heard.read();
            let is_fresh = heard.counts_until.is_some_and(|until| engine.clock.now() < until);
            match heard.answer().filter(|_| is_fresh) {
                Some(answer) => return answer,
                None => heard.looks,
            }
        };
        let _asking = self.asking.lock().await;
        let known = {
            let heard = self.heard.read();
            // Whoever has asked meanwhile has asked for all who waited, so that a store that does not
            // answer holds up no one for longer than one call.
            match heard.answer().filter(|_| heard.looks != looks) {
                Some(answer) => return answer,
                None => heard.table(),
            }
        };
        let asked_at = engine.clock.now();
        let (answer, since) = match engine.backend.definitions().await {
            Ok(rows) => (Ok(Arc::new(Table::read(rows, known.as_deref()))), asked_at),
            Err(error) => match known {
                Some(known) if error.is_retryable() => (Ok(known), engine.clock.now()),
                _ => (Err(error), engine.clock.now()),
            },
        };
        let mut heard = self.heard.write();
        heard.looks += 1;
        heard.counts_until = Some(since.after(AGE_MAX));
        heard.answer = Some(answer.clone());
        answer
    }

    /// From now on the store is asked again. A look under way is waited for: it may have begun before the
    /// change, and counts no more.
    pub(super) async fn forget(&self) {
        let _asking = self.asking.lock().await;
        self.heard.write().counts_until = None;
    }
}

/// The definitions by name, and what is written there that is none.
pub(super) struct Table(BTreeMap<Vec<u8>, Row>);

#[derive(Clone)]
struct Row {
    written: Bytes,
    defined: Option<DefinedLimit>,
}

impl Table {
    /// What has not changed since is taken from before: the same limit, and no second warning.
    fn read(rows: Rows, before: Option<&Self>) -> Self {
        let rows = rows.into_iter().filter(|(name, _)| name != REVISION);
        Self(
            rows.map(|(name, written)| {
                let same = before.and_then(|before| before.0.get(&name));
                let same = same.filter(|row| row.written == written).cloned();
                let row = same.unwrap_or_else(|| Row::read(&name, written));
                (name, row)
            })
            .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<DefinedLimit> {
        self.0.get(name.as_bytes())?.defined.clone()
    }

    pub(super) fn all(&self) -> BTreeMap<String, DefinedLimit> {
        let defined = self.0.values().filter_map(|row| row.defined.clone());
        defined.map(|defined| (defined.limit.name().to_owned(), defined)).collect()
    }
}

impl Row {
    fn read(name: &[u8], written: Bytes) -> Self {
        let defined = defined_of(name, &written);
        if let Err(why) = &defined {
            let limit = String::from_utf8_lossy(name);
            tracing::warn!(%limit, why, "what is defined as a limit is none, and is left out");
        }
        Self { written, defined: defined.ok() }
    }
}
