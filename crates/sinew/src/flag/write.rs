//! Changing flags and segments: what is there is read, changed, and written if it is still the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::sleep;

use super::backend::{Backend as _, Stored, Write};
use super::document::{Document, Flag, Segment};
use super::known::{Book, Shared, time_of};
use super::{Expected, Flags, history, plain};
use crate::kernel::error::{Error, ErrorKind, Result};

/// How often a write is tried while others change other flags.
const TRIES_MAX: u32 = 10;
/// Pauses between, each drawn anew, grow by this.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest word for who makes a change, in characters.
const BY_LEN_MAX: usize = 128;

/// What a flag has become.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Written {
    /// Its revision from now on; of a flag that was removed, the version of the flags from now on. 0 where
    /// there was none to remove.
    pub revision: u64,
    /// The flag before, if there was one.
    pub before: Option<Flag>,
    /// The flag from now on; `None` where it was removed.
    pub after: Option<Flag>,
}

/// What of the document is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shelf {
    Flags,
    Segments,
}

/// What becomes of one that this version cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is as good as nothing.
    Replaced,
    /// It is replaced; if it was killed, so is what takes its place.
    Succeeded,
    /// It stays, and the change is refused.
    Refused,
}

/// What there is on a shelf.
pub(super) trait Item: Clone + PartialEq + Serialize + Send + Sync {
    const SHELF: Shelf;
    const NAME: &'static str;

    fn all(document: &mut Document) -> &mut BTreeMap<String, Self>;

    /// Whether this one may be as it is in a document, where `before` was.
    fn validate(document: &Document, key: &str, before: Option<&Self>) -> Result<()>;

    /// It is written at this version.
    fn stamp(&mut self, version: u64);

    fn revision(&self) -> Option<u64>;

    /// It takes the place of one that this version cannot read.
    fn succeed(&mut self, text: &RawValue);
}

impl Item for Flag {
    const SHELF: Shelf = Shelf::Flags;
    const NAME: &'static str = "flag";

    fn all(document: &mut Document) -> &mut BTreeMap<String, Self> {
        &mut document.flags
    }

    fn validate(document: &Document, key: &str, before: Option<&Self>) -> Result<()> {
        document.validate_flag(key, before)
    }

    fn stamp(&mut self, version: u64) {
        self.revision = version;
    }

    fn revision(&self) -> Option<u64> {
        Some(self.revision)
    }

    fn succeed(&mut self, text: &RawValue) {
        #[derive(Deserialize)]
        struct Switch {
            #[serde(default)]
            killed: bool,
        }
        let switch = serde_json::from_str::<Switch>(text.get());
        self.killed |= switch.is_ok_and(|switch| switch.killed);
    }
}

impl Item for Segment {
    const SHELF: Shelf = Shelf::Segments;
    const NAME: &'static str = "segment";

    fn all(document: &mut Document) -> &mut BTreeMap<String, Self> {
        &mut document.segments
    }

    fn validate(document: &Document, key: &str, before: Option<&Self>) -> Result<()> {
        document.validate_segment(key, before)
    }

    fn stamp(&mut self, _: u64) {}

    fn revision(&self) -> Option<u64> {
        None
    }

    fn succeed(&mut self, _: &RawValue) {}
}

/// A change that was made, or needed none.
pub(super) struct Made<T> {
    pub(super) version: u64,
    pub(super) before: Option<T>,
    pub(super) after: Option<T>,
}

/// The document as text, so that what this version cannot read is noted as it was.
#[derive(Default, Deserialize)]
struct Texts<'a> {
    #[serde(borrow, default)]
    flags: BTreeMap<String, &'a RawValue>,
    #[serde(borrow, default)]
    segments: BTreeMap<String, &'a RawValue>,
}

impl<'a> Texts<'a> {
    fn of(body: &'a [u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn on(&self, shelf: Shelf, key: &str) -> Option<&'a RawValue> {
        let all = match shelf {
            Shelf::Flags => &self.flags,
            Shelf::Segments => &self.segments,
        };
        all.get(key).copied()
    }
}

/// What a change begins with.
struct Base {
    /// The version that the store has; 0 where it has none.
    read: u64,
    stored: Stored,
    /// Those are the last that were known: the store has lost them.
    is_lost: bool,
    now_ms: u64,
}

impl Shared {
    /// Changes one item as `change` says, which is asked again where another was changed meanwhile. What
    /// changes nothing is not written, unless the store has lost it. Whatever the store has lost comes back
    /// with the change.
    pub(super) async fn change<T: Item>(
        &self,
        key: &str,
        by: &str,
        unreadable: Unreadable,
        change: impl Fn(Option<&T>) -> Result<Option<T>> + Send + Sync,
    ) -> Result<Made<T>> {
        check_by(by)?;
        let _writing = self.writing.lock().await;
        for tries in 0..TRIES_MAX {
            if tries > 0 {
                sleep(PAUSE.mul_f64(f64::from(tries) * fastrand::f64())).await;
            }
            let Base { read, stored, is_lost, now_ms } = self.base().await?;
            let (mut document, _) = Document::read(&stored.body)?;
            let texts = Texts::of(&stored.body);
            let text = texts.on(T::SHELF, key);
            let before = T::all(&mut document).get(key).cloned();
            if before.is_none() && text.is_some() && unreadable == Unreadable::Refused {
                return Err(Error::corrupt(format!(
                    "{} {key:?} cannot be read: expected one that this version of Sinew knows",
                    T::NAME
                )));
            }
            let mut after = change(before.as_ref())?;
            match (&mut after, &before, text) {
                // By its revision alone it is no other.
                (Some(after), Some(before), _) => {
                    after.stamp(before.revision().unwrap_or_default());
                }
                (Some(after), None, Some(text)) if unreadable == Unreadable::Succeeded => {
                    after.succeed(text);
                }
                _ => {}
            }
            if after == before && (after.is_none() || !is_lost) {
                return Ok(Made { version: stored.version, before, after });
            }
            // Never used again, also where a failover has lost the last one.
            let next = stored.version.checked_add(1).ok_or_else(|| {
                Error::corrupt("the version of the flags is the last there can be: expected less")
            })?;
            let version = now_ms.max(next);
            let is_removed = T::SHELF == Shelf::Flags && after.is_none();
            let put_back =
                is_lost.then(|| texts.flags.len().saturating_sub(usize::from(is_removed)));
            match &mut after {
                Some(after) => {
                    after.stamp(version);
                    T::all(&mut document).insert(key.to_owned(), after.clone());
                }
                None => drop(T::all(&mut document).remove(key)),
            }
            T::validate(&document, key, before.as_ref())?;
            let body = document.to_json()?;
            let noted_after = after.as_ref().map(to_raw_value).transpose();
            let noted_after = noted_after
                .map_err(|error| Error::rejected("expected what is JSON").with_source(error))?;
            let note = history::text(T::SHELF, key, by, version, text, noted_after, put_back)?;
            // Before it is written: what this process cannot read, it leaves to no one else.
            let book = Book::read(Stored { version, body: body.clone().into() }).await?;
            let write = Write { read, version, body: &body, change: &note };
            if self.engine.backend.write(&self.keys, &write).await? {
                self.engine.learn(&self.keys, &Arc::new(book));
                if let Some(flags) = put_back {
                    let key = self.keys.document();
                    tracing::warn!(
                        key,
                        flags,
                        version,
                        "the flags that the store had lost are back, with a change of one"
                    );
                }
                return Ok(Made { version, before, after });
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("{} {key:?} was not written: others keep changing the flags", T::NAME),
        ))
    }

    /// What the store has; where it has nothing, the last that this process knows. Of those who put that back
    /// at the same time, one does: the others find it.
    async fn base(&self) -> Result<Base> {
        let backend = &self.engine.backend;
        let (found, now_ms) =
            try_join(backend.document(&self.keys), backend.now_ms(&self.keys)).await?;
        let read = found.as_ref().map_or(0, |found| found.version);
        let last_known = if found.is_none() { self.engine.last_known(&self.keys) } else { None };
        let is_lost = last_known.is_some();
        let stored = found.or(last_known).unwrap_or(Stored { version: 0, body: "{}".into() });
        Ok(Base { read, stored, is_lost, now_ms })
    }
}

impl Flags {
    /// Defines a flag under its key, in place of the one that is expected. `by` says who does, for
    /// [`Flags::history`]: 1 to 128 characters. Its revision is written by the store, whatever it says, and
    /// one in the place of a killed flag is killed: a definition may be older than the emergency.
    ///
    /// This process knows of it at once, others as soon as they are told, which is within milliseconds.
    /// A flag that would not change is not written. Where the store has lost the flags, this and every other
    /// change puts back all that were known here last, and what is expected is expected of those.
    ///
    /// # Errors
    /// `Conflict` where another revision is there than is expected, or others keep changing the flags.
    /// `Rejected` for a flag that cannot be, with its field, and for one more than there may be. `Corrupt`
    /// where the keys hold something of another kind.
    ///
    /// # Cancellation
    /// Dropping the future does not take back what was sent.
    ///
    /// # When Redis is down
    /// `Unavailable` or `Timeout`: it may or may not be written, and is never sent twice.
    pub async fn put(
        &self,
        key: &str,
        flag: Flag,
        expected: Expected,
        by: &str,
    ) -> Result<Written> {
        flag.validate()?;
        let put = |before: Option<&Flag>| {
            let killed = flag.killed || before.is_some_and(|before| before.killed);
            Ok(Some(Flag { killed, ..flag.clone() }))
        };
        let unreadable = match expected {
            Expected::Any => Unreadable::Succeeded,
            // It is neither nothing nor a revision that anyone has seen.
            Expected::Absent | Expected::Revision(_) => Unreadable::Refused,
        };
        self.write_flag(key, by, unreadable, expected, put).await
    }

    /// Removes a flag: from then on it is what the code says.
    ///
    /// # Errors
    /// As [`Flags::put`].
    pub async fn remove(&self, key: &str, expected: Expected, by: &str) -> Result<Written> {
        self.write_flag(key, by, Unreadable::Refused, expected, |_| Ok(None)).await
    }

    /// Pulls the kill switch: the flag is its `off` for everyone, whatever else says. Of what is a plain key
    /// alone, it makes a flag that is true or false, killed, and expired: revived, it leaves all to plain keys
    /// and the code, as before.
    ///
    /// # Errors
    /// `Conflict` where there is no such flag, and no plain key of it: that of everyone is looked for in the
    /// store, those of single users are what this process has found. Else as [`Flags::put`].
    pub async fn kill(&self, key: &str, by: &str) -> Result<Written> {
        self.set_killed(key, by, true).await
    }

    /// Takes [`Flags::kill`] back: the flag is again what it was.
    ///
    /// # Errors
    /// `Conflict` where there is no such flag. Else as [`Flags::put`].
    pub async fn revive(&self, key: &str, by: &str) -> Result<Written> {
        self.set_killed(key, by, false).await
    }

    async fn set_killed(&self, key: &str, by: &str, killed: bool) -> Result<Written> {
        let shared = self.shared();
        let now = shared.engine.clock.wall();
        let mut is_plain = shared.known().rules.overlays.has(key, now);
        // To look through all keys may take long: everyone's is asked for by its name.
        if killed && !is_plain && self.get(key).is_none() {
            is_plain = plain::is_there(shared, key).await?;
        }
        let expired = || Flag { expires_at: Some(time_of(now)), ..Flag::bool() };
        let set = |flag: Option<&Flag>| {
            let flag = flag.cloned().or_else(|| (killed && is_plain).then(expired));
            let mut flag = flag.ok_or_else(|| conflict(key, None, "expected one"))?;
            flag.killed = killed;
            Ok(Some(flag))
        };
        self.write_flag(key, by, Unreadable::Refused, Expected::Any, set).await
    }

    /// Defines a segment, in place of the one that is there, and returns the version of the flags from now
    /// on.
    ///
    /// # Errors
    /// `Rejected` for a segment that cannot be. Else as [`Flags::put`].
    pub async fn put_segment(&self, name: &str, segment: Segment, by: &str) -> Result<u64> {
        segment.validate()?;
        let put = |_: Option<&Segment>| Ok(Some(segment.clone()));
        let made = self.shared().change(name, by, Unreadable::Replaced, put).await?;
        Ok(made.version)
    }

    /// Removes a segment, and returns the version of the flags from now on.
    ///
    /// # Errors
    /// `Rejected` where a flag refers to it. Else as [`Flags::put`].
    pub async fn remove_segment(&self, name: &str, by: &str) -> Result<u64> {
        let none = |_: Option<&Segment>| Ok(None);
        let made = self.shared().change(name, by, Unreadable::Refused, none).await?;
        Ok(made.version)
    }

    pub(super) async fn write_flag(
        &self,
        key: &str,
        by: &str,
        unreadable: Unreadable,
        expected: Expected,
        change: impl Fn(Option<&Flag>) -> Result<Option<Flag>> + Send + Sync,
    ) -> Result<Written> {
        let change = |flag: Option<&Flag>| {
            // One that someone wrote by hand may have none: it is there all the same.
            let revision = flag.map(|flag| flag.revision);
            match expected {
                Expected::Any => {}
                Expected::Absent if revision.is_none() => {}
                Expected::Revision(expected) if revision == Some(expected) => {}
                Expected::Absent => return Err(conflict(key, revision, "expected none")),
                Expected::Revision(expected) => {
                    let expected = format!("expected revision {expected}");
                    return Err(conflict(key, revision, &expected));
                }
            }
            change(flag)
        };
        let Made { version, before, after } =
            self.shared().change(key, by, unreadable, change).await?;
        let revision = match (&before, &after) {
            (None, None) => 0,
            (_, None) => version,
            (_, Some(flag)) => flag.revision,
        };
        Ok(Written { revision, before, after })
    }
}

fn check_by(by: &str) -> Result<()> {
    match by.chars().count() {
        1..=BY_LEN_MAX => Ok(()),
        chars => Err(Error::rejected(format!(
            "a change by someone of {chars} characters: expected 1 to {BY_LEN_MAX}"
        ))),
    }
}

fn conflict(key: &str, revision: Option<u64>, expected: &str) -> Error {
    let found = match revision {
        None => "not defined".to_owned(),
        Some(revision) => format!("revision {revision}"),
    };
    Error::new(ErrorKind::Conflict, format!("flag {key:?} is {found}: {expected}"))
}
