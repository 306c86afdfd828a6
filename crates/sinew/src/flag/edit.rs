//! Changing parts of a flag.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde_json::Value;

use super::document::{Flag, FlagType, Rule, Serve};
use super::write::Unreadable;
use super::{Expected, Flags, Percent, Written};
use crate::kernel::error::{Error, Result};

/// A change of parts of a flag, being put together. It is made by [`FlagEdit::save`].
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use sinew::flag::{EvalContext, PercentExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let flags = sinew::Sinew::embedded().flags().open().await?;
/// let tomorrow = SystemTime::now() + Duration::from_secs(24 * 3_600);
/// let edit = flags.edit("new-ui").rollout(12.5.percent()).user("ada", "on").schedule(None, tomorrow);
/// edit.by("bob").save().await?;
/// assert!(flags.enabled("new-ui", &EvalContext::user("ada")));
/// # Ok(()) }
/// ```
///
/// What is not said stays as it is. Where there is no such flag, it is made: one that is true or false, and
/// off for everyone else.
#[must_use = "a flag is changed by save()"]
pub struct FlagEdit {
    flags: Flags,
    key: String,
    by: String,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Rollout(Percent),
    Default(String),
    Schedule(Option<SystemTime>, Option<SystemTime>),
    Expires(Option<SystemTime>),
    StaleAfter(Option<SystemTime>),
    User(String, String),
    Tenant(String, String),
    Enabled(bool),
    Describe(String),
    Owner(String),
}

impl FlagEdit {
    pub(super) fn new(flags: Flags, key: &str) -> Self {
        Self { flags, key: key.to_owned(), by: String::new(), changes: Vec::new() }
    }

    /// On for this share of those of whom no override and no rule with conditions says anything. Only of a
    /// flag that is true or false. Whoever was in stays in when the share grows.
    pub fn rollout(self, share: Percent) -> Self {
        self.with(Change::Rollout(share))
    }

    /// The variant of everyone of whom nothing else says anything.
    pub fn default(self, variant: impl Into<String>) -> Self {
        self.with(Change::Default(variant.into()))
    }

    /// When it begins and when it ends; `None`: at once, never.
    pub fn schedule(
        self,
        on_at: impl Into<Option<SystemTime>>,
        off_at: impl Into<Option<SystemTime>>,
    ) -> Self {
        self.with(Change::Schedule(on_at.into(), off_at.into()))
    }

    /// From when on it is what the code says; `None`: never.
    pub fn expires(self, at: impl Into<Option<SystemTime>>) -> Self {
        self.with(Change::Expires(at.into()))
    }

    /// From when on people are to be reminded to remove it; `None`: never.
    pub fn stale_after(self, at: impl Into<Option<SystemTime>>) -> Self {
        self.with(Change::StaleAfter(at.into()))
    }

    /// The variant of a user.
    pub fn user(self, id: impl Into<String>, variant: impl Into<String>) -> Self {
        self.with(Change::User(id.into(), variant.into()))
    }

    /// The variant of a tenant.
    pub fn tenant(self, id: impl Into<String>, variant: impl Into<String>) -> Self {
        self.with(Change::Tenant(id.into(), variant.into()))
    }

    /// Whether it is more than its `off`.
    pub fn enabled(self, enabled: bool) -> Self {
        self.with(Change::Enabled(enabled))
    }

    /// What it is about.
    pub fn describe(self, text: impl Into<String>) -> Self {
        self.with(Change::Describe(text.into()))
    }

    /// Whom to ask about it.
    pub fn owner(self, text: impl Into<String>) -> Self {
        self.with(Change::Owner(text.into()))
    }

    /// Who makes the change, for [`Flags::history`]: 1 to 128 characters. It has to be said.
    pub fn by(mut self, by: impl Into<String>) -> Self {
        self.by = by.into();
        self
    }

    /// Reads the flag from the store, changes it, and writes it; again where others changed it meanwhile.
    ///
    /// # Errors
    /// As [`Flags::put`].
    ///
    /// # Cancellation
    /// Dropping the future does not take back what was sent.
    ///
    /// # When Redis is down
    /// As [`Flags::put`].
    pub async fn save(self) -> Result<Written> {
        let Self { flags, key, by, changes } = self;
        let edit = |before: Option<&Flag>| {
            let mut flag = before.cloned().unwrap_or_else(Flag::bool);
            changes.iter().try_for_each(|change| change.make(&mut flag))?;
            flag.validate_after(before)?;
            Ok(Some(flag))
        };
        flags.write_flag(&key, &by, Unreadable::Refused, Expected::Any, edit).await
    }

    fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}

impl Change {
    fn make(&self, flag: &mut Flag) -> Result<()> {
        match self.clone() {
            Self::Rollout(share) => return roll_out(flag, share),
            Self::Default(variant) => flag.default = variant,
            Self::Schedule(on_at, off_at) => (flag.on_at, flag.off_at) = (on_at, off_at),
            Self::Expires(at) => flag.expires_at = at,
            Self::StaleAfter(at) => flag.stale_after = at,
            Self::User(id, variant) => drop(flag.users.insert(id, variant)),
            Self::Tenant(id, variant) => drop(flag.tenants.insert(id, variant)),
            Self::Enabled(enabled) => flag.enabled = enabled,
            Self::Describe(text) => flag.description = Some(text),
            Self::Owner(text) => flag.owner = Some(text),
        }
        Ok(())
    }
}

fn roll_out(flag: &mut Flag, share: Percent) -> Result<()> {
    let variant = |value: bool| {
        let mut variants = flag.variants.iter();
        variants.find(|(_, one)| **one == Value::Bool(value)).map(|(name, _)| name.clone())
    };
    let (FlagType::Bool, Some(on), Some(off)) = (flag.kind, variant(true), variant(false)) else {
        return Err(Error::rejected("rollout: expected a flag that is true or false"));
    };
    share.thousandths()?;
    let split = Serve::Split(BTreeMap::from([(on, share), (off, share.rest())]));
    match flag.rules.iter_mut().find(|rule| rule.conditions.is_empty()) {
        Some(everyone_else) => everyone_else.serve = split,
        None => flag.rules.push(Rule { name: None, conditions: Vec::new(), serve: split }),
    }
    Ok(())
}

impl fmt::Debug for FlagEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagEdit")
            .field("key", &self.key)
            .field("by", &self.by)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}
