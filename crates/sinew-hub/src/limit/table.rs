//! The limits that are defined: in the store, and under those in the configuration.

use std::collections::BTreeMap;

use sinew::Sinew;
use sinew::limit::{Change, Defined, Expected, Limit, LimitDefinitions, LimitStats, Limiter};

/// The limits of a hub, by name. A definition in the store comes before the file's of its name.
pub(crate) struct LimitTable {
    store: LimitDefinitions,
    file: BTreeMap<String, Limit>,
    limiter: Limiter,
}

/// A limit that is defined, and what it decided in this hub.
pub(crate) struct DefinedLimitRow {
    pub(crate) limit: Limit,
    /// `None` where it is the file's.
    pub(crate) revision: Option<u64>,
    pub(crate) stats: LimitStats,
}

impl DefinedLimitRow {
    /// Where it is defined.
    pub(crate) fn source(&self) -> &'static str {
        match self.revision {
            Some(_) => "store",
            None => "file",
        }
    }
}

impl LimitTable {
    pub(crate) fn new(sinew: &Sinew, file: BTreeMap<String, Limit>) -> Self {
        Self { store: sinew.limit_definitions(), file, limiter: sinew.limiter() }
    }

    /// A limit to check by.
    ///
    /// # Errors
    /// As [`LimitDefinitions::get`]. A limit that the file defines is known without the store.
    pub(crate) async fn get(&self, name: &str) -> sinew::Result<Option<Limit>> {
        let filed = self.file.get(name);
        match self.store.get(name).await {
            Ok(Some(defined)) => Ok(Some(defined.limit)),
            Ok(None) => Ok(filed.cloned()),
            Err(error) if error.is_retryable() && filed.is_some() => Ok(filed.cloned()),
            Err(error) => Err(error),
        }
    }

    /// A limit to look at.
    ///
    /// # Errors
    /// As [`LimitDefinitions::get`].
    pub(crate) async fn row(&self, name: &str) -> sinew::Result<Option<DefinedLimitRow>> {
        let (limit, revision) = match self.store.get(name).await? {
            Some(defined) => (defined.limit, Some(defined.revision)),
            None => match self.file.get(name) {
                Some(limit) => (limit.clone(), None),
                None => return Ok(None),
            },
        };
        Ok(Some(self.row_of(limit, revision)))
    }

    /// A limit of which it is known how it is defined.
    pub(crate) fn row_of(&self, limit: Limit, revision: Option<u64>) -> DefinedLimitRow {
        let stats = self.limiter.stats().remove(limit.name()).unwrap_or_default();
        DefinedLimitRow { limit, revision, stats }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// As [`LimitDefinitions::all`].
    pub(crate) async fn all(&self) -> sinew::Result<Vec<DefinedLimitRow>> {
        let filed = self.file.iter().map(|(name, limit)| (name.clone(), (limit.clone(), None)));
        let mut all: BTreeMap<String, (Limit, Option<u64>)> = filed.collect();
        for (name, defined) in self.store.all().await? {
            all.insert(name, (defined.limit, Some(defined.revision)));
        }
        let mut stats = self.limiter.stats();
        let rows = all.into_iter().map(|(name, (limit, revision))| {
            let stats = stats.remove(&name).unwrap_or_default();
            DefinedLimitRow { limit, revision, stats }
        });
        Ok(rows.collect())
    }

    /// What this hub decided by limits that are none of these, by name: limits of the program that it
    /// runs in, and those that were removed.
    pub(crate) fn others(&self, defined: &[DefinedLimitRow]) -> BTreeMap<String, LimitStats> {
        let mut stats = self.limiter.stats();
        stats.retain(|_, decided| *decided != LimitStats::default());
        for row in defined {
            stats.remove(row.limit.name());
        }
        stats
    }

    /// Whether the file defines a limit of this name.
    pub(crate) fn is_filed(&self, name: &str) -> bool {
        self.file.contains_key(name)
    }

    /// # Errors
    /// As [`LimitDefinitions::define`].
    pub(crate) async fn define(
        &self,
        limit: &Limit,
        expected: Expected,
        by: &str,
    ) -> sinew::Result<Defined> {
        self.store.define(limit, expected, by).await
    }

    /// Removes a definition from the store, which brings back the file's.
    ///
    /// # Errors
    /// As [`LimitDefinitions::remove`].
    pub(crate) async fn remove(
        &self,
        name: &str,
        expected: Expected,
        by: &str,
    ) -> sinew::Result<Option<Limit>> {
        self.store.remove(name, expected, by).await
    }

    /// # Errors
    /// As [`LimitDefinitions::changes`].
    pub(crate) async fn changes(&self, count: usize) -> sinew::Result<Vec<Change>> {
        self.store.changes(count).await
    }
}
