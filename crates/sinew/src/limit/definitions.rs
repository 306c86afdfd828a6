//! Limits that are defined at run time: kept in the store, for all processes and tenants.

mod known;
mod register;
mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::backend::Backend as _;
use super::definition::Limit;
use super::engine::Engine;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::expected::Expected;
use crate::kernel::name::LimitName;

pub(super) use known::Known;
pub(super) use register::Register;

/// So many limits may be defined in a deployment.
pub(crate) const DEFINITIONS_MAX: usize = 1_000;
/// So many changes are kept.
pub(crate) const CHANGES_MAX: usize = 1_000;
/// The longest word for who makes a change, in bytes.
const BY_LEN_MAX: usize = 256;

/// What the store has, by name: a revision, a space and a definition, as far as it is ours.
pub(crate) type Rows = BTreeMap<Vec<u8>, Bytes>;

/// The limits that are defined in the store while programs run. Cheap to clone.
///
/// ```
/// use sinew::limit::{Expected, Limit, MINUTE, Per};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sinew = sinew::Sinew::embedded();
/// let definitions = sinew.limit_definitions();
/// let per_user = Limit::gcra("per-user", 100.per(MINUTE));
/// definitions.define(&per_user, Expected::Any, "ada").await?;
///
/// if let Some(defined) = definitions.get("per-user").await? {
///     let decision = sinew.limiter().check([defined.limit.of("bob")]).await?;
///     assert!(decision.is_allowed());
/// }
/// # Ok(()) }
/// ```
///
/// All tenants of a deployment share them; what is charged stays each tenant's own. A change holds at
/// once in the process that makes it, and within about a second in the others. There are up to 1,000.
///
/// They are configuration and have no expiry: a Redis that evicts any key (`allkeys-lru`) may lose
/// them. What is not Sinew's among them is left out, with a warning.
#[derive(Clone)]
pub struct LimitDefinitions {
    engine: Arc<Engine>,
}

/// A limit, as it is defined in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DefinedLimit {
    /// The limit: the same value for as long as its definition stays the same.
    pub limit: Limit,
    /// Greater with every change of it, and never used again, also not after it was removed.
    pub revision: u64,
}

/// What a definition has become.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Defined {
    /// Its revision from now on.
    pub revision: u64,
    /// What was defined before, if it was.
    pub before: Option<Limit>,
}

/// A change that someone has made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// When, by the store's clock, in whole milliseconds.
    pub at: SystemTime,
    /// Who has made it, as they said.
    pub by: String,
    /// The name of the limit.
    pub name: String,
    /// What was defined before, if it was.
    pub before: Option<Limit>,
    /// What is defined from then on; `None` where the definition was removed.
    pub after: Option<Limit>,
}

/// A change of one definition, as a store is to make it.
pub(crate) struct Edit<'a> {
    pub(crate) name: &'a str,
    pub(crate) expected: Expected,
    /// `None` removes it.
    pub(crate) definition: Option<String>,
    pub(crate) by: &'a str,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Edited {
    /// Made. What was defined before is as it was written, without its revision.
    Done { revision: u64, before: Option<Bytes> },
    /// This revision is there instead; 0 where there is none.
    Conflict(u64),
    /// There are as many as there may be.
    Full,
}

impl LimitDefinitions {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Defines a limit under its name, in place of the definition that is expected. `by` says who does,
    /// for [`LimitDefinitions::changes`]: up to 256 bytes.
    ///
    /// # Errors
    /// `Conflict` where something else is there than is expected. `Rejected` for a limit that cannot be,
    /// and for one more than 1,000. `Corrupt` where the keys hold something of another kind.
    ///
    /// # Cancellation
    /// Dropping the future does not take back what was sent.
    ///
    /// # When Redis is down
    /// `Unavailable` or `Timeout`: it may or may not be defined, and is never sent twice.
    pub async fn define(&self, limit: &Limit, expected: Expected, by: &str) -> Result<Defined> {
        limit.validate()?;
        let definition = Some(written::text(limit));
        let (revision, before) =
            self.make(Edit { name: limit.name(), expected, definition, by }).await?;
        Ok(Defined { revision, before })
    }

    /// Removes the definition of a limit, and says what it was; `None` where there was none.
    ///
    /// What was charged is forgotten as ever, by time alone.
    ///
    /// # Errors
    /// As [`LimitDefinitions::define`]; `Rejected` for a name that no limit may have.
    pub async fn remove(&self, name: &str, expected: Expected, by: &str) -> Result<Option<Limit>> {
        LimitName::new(name)?;
        let (_, before) = self.make(Edit { name, expected, definition: None, by }).await?;
        Ok(before)
    }

    /// A limit by its name, from what this process knows: while it is asked for, that is at most a
    /// second old, and one look at the store a second for all limits.
    ///
    /// # Errors
    /// `Denied` where Redis refuses the user, `Corrupt` where the key holds something of another kind.
    ///
    /// # When Redis is down
    /// What was known last counts. `Unavailable` or `Timeout` where nothing was ever known.
    pub async fn get(&self, name: &str) -> Result<Option<DefinedLimit>> {
        Ok(self.engine.known.table(&self.engine).await?.get(name))
    }

    /// All of them by name, from what this process knows, as [`LimitDefinitions::get`].
    ///
    /// # Errors
    /// As [`LimitDefinitions::get`].
    pub async fn all(&self) -> Result<BTreeMap<String, DefinedLimit>> {
        Ok(self.engine.known.table(&self.engine).await?.all())
    }

    /// The last changes, the newest first: 1,000 are kept.
    ///
    /// # Errors
    /// As [`LimitDefinitions::get`]; and `Unavailable` or `Timeout` when Redis is down.
    pub async fn changes(&self, count: usize) -> Result<Vec<Change>> {
        let entries = self.engine.backend.changes(count.min(CHANGES_MAX)).await?;
        Ok(entries.iter().filter_map(|entry| written::change_of(entry)).collect())
    }

    /// The revision from now on, and what was defined before.
    async fn make(&self, edit: Edit<'_>) -> Result<(u64, Option<Limit>)> {
        if edit.by.len() > BY_LEN_MAX {
            return Err(Error::rejected(format!(
                "a change by someone of {} bytes: expected at most {BY_LEN_MAX}",
                edit.by.len()
            )));
        }
        let edited = self.engine.backend.define(&edit).await;
        // Also where it failed: it may have been made all the same.
        self.engine.known.forget().await;
        match edited? {
            Edited::Done { revision, before } => {
                let before = before.and_then(|text| written::limit_of(edit.name, &text).ok());
                Ok((revision, before))
            }
            Edited::Conflict(revision) => Err(conflict(&edit, revision)),
            Edited::Full => Err(Error::rejected(format!(
                "{DEFINITIONS_MAX} limits are defined: expected one to be removed before another is added"
            ))),
        }
    }
}

fn conflict(edit: &Edit<'_>, revision: u64) -> Error {
    let expected = match edit.expected {
        Expected::Revision(expected) => format!("expected revision {expected}"),
        Expected::Any | Expected::Absent => "expected none".to_owned(),
    };
    let found = match revision {
        0 => "not defined in the store".to_owned(),
        revision => format!("defined in the store as revision {revision}"),
    };
    Error::new(ErrorKind::Conflict, format!("limit {:?} is {found}: {expected}", edit.name))
}

impl fmt::Debug for LimitDefinitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitDefinitions").finish_non_exhaustive()
    }
}
