//! The handle to a session: what it holds, how it is read and saved.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::info::SessionInfo;
use super::model::{When, check_name, check_user, cut_device};
use super::steps::Inner;
use super::token::{SessionId, SessionToken};
use crate::kernel::errand::to_the_end;
use crate::kernel::error::{Error, Result};
use crate::kernel::ttl::Ttl;

/// A session, as one request has it. Clones are the same one.
///
/// It is read with the first question, and what was read stays for as long as the handle lives: open another
/// one for another request. What is set or removed is kept here until [`Session::save`], which sends only that;
/// of two handles that change different data at once, both changes stay.
///
/// One whose token opens nothing, or no longer, is as a new one: it has no user and no data, and once it is
/// saved, it has another token. One that was live when it was read and has ended since stays ended:
/// nothing brings it back.
///
/// # When Redis is down
/// Every question and every step fails with `Unavailable` or `Timeout`. None says that nobody is logged in.
#[derive(Clone)]
pub struct Session(pub(super) Arc<Inner>);

/// What came of saving a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the session may have ended, and nothing was saved"]
pub enum Saved {
    /// The changes are stored.
    Done,
    /// There was nothing to save. One that is new and has no data is not stored.
    Unchanged,
    /// The session ended meanwhile: nothing was saved, and nothing is there again.
    Gone,
    /// Nothing was saved, because another has saved since this one read. Of [`Session::save_if_unchanged`] only.
    Conflict,
}

/// What came of logging in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the user may not be logged in"]
pub enum Login {
    /// The session is the user's, under a new id. The one before has ended.
    Done,
    /// The user has as many sessions as may be, and they are [`Evict::Refuse`](super::Evict::Refuse). Nothing
    /// has changed.
    Refused,
    /// The session ended meanwhile: nobody is logged in.
    Gone,
}

impl Session {
    /// Whether it is stored, and has not ended.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn is_live(&self) -> Result<bool> {
        self.0.read().await?;
        Ok(self.0.with_row(|_, _| ()).is_some())
    }

    /// Who is logged in; `None` where nobody is, or the session is not live.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn user(&self) -> Result<Option<Arc<str>>> {
        self.0.read().await?;
        Ok(self.0.with_row(|row, _| row.user.clone()).flatten())
    }

    /// A datum, as it was changed here if it was; `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt` where it is no `T`; `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        check_name(name)?;
        self.0.read().await?;
        self.0.datum(name).map(|json| decode(&json)).transpose()
    }

    /// All data as JSON by their names, as they were changed here; `None` where the session is not live.
    ///
    /// # Errors
    /// `Corrupt` where one is no JSON; `Unavailable` or `Timeout` when Redis is down.
    pub async fn data(&self) -> Result<Option<BTreeMap<String, Box<RawValue>>>> {
        self.0.read().await?;
        let Some(data) = self.0.data() else { return Ok(None) };
        let decoded = data
            .into_iter()
            .map(|(name, json)| -> Result<_> { Ok((String::from(name), decode(&json)?)) });
        decoded.collect::<Result<_>>().map(Some)
    }

    /// Sets a datum, with the next [`Session::save`]: 128 data at most, and as many bytes of JSON in all as
    /// [`Builder::value_len_max`](crate::Builder::value_len_max) says. Its name is 1 to 128 bytes, of which
    /// the first is no `_`.
    ///
    /// # Errors
    /// `Rejected` for a bad name, what cannot be written as JSON, or where it would be too much.
    pub fn set<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        self.0.set(name, encode(value)?, None)
    }

    /// The same of a datum that is gone after a time, counted from when it is saved.
    ///
    /// # Errors
    /// As [`Session::set`]; `Rejected` for a time under 1 ms or over 10 years.
    pub fn set_for<T: Serialize + ?Sized>(
        &self,
        name: &str,
        value: &T,
        ttl: Duration,
    ) -> Result<()> {
        let ends = When::After(Ttl::new(ttl)?.as_millis());
        self.0.set(name, encode(value)?, Some(ends))
    }

    /// Removes a datum, with the next [`Session::save`].
    ///
    /// # Errors
    /// `Rejected` for a bad name, or more changes than a session has data.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.0.remove(name)
    }

    /// Reads and removes a datum in one step, at once: of all requests that ask, one gets it. For what is to be
    /// shown or done once.
    ///
    /// *Cancellation*: it may be gone, and no one has it.
    ///
    /// # Errors
    /// `Corrupt` where it is no `T`: it is gone then. `Rejected` for a bad name. `Unavailable` or `Timeout` when
    /// Redis is down: it may be gone, and it is never asked for twice.
    pub async fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        check_name(name)?;
        self.0.take(name).await?.map(|json| decode(&json)).transpose()
    }

    /// Stores what was changed here, and nothing else. One that is new begins with it.
    ///
    /// *Cancellation*: it may be saved, or not. The changes stay with the handle.
    ///
    /// # Errors
    /// `Rejected` where there would be too many data, or too large ones. `Unavailable` or `Timeout` when Redis
    /// is down: it may be saved, and is never sent twice.
    pub async fn save(&self) -> Result<Saved> {
        self.0.save(false).await
    }

    /// The same, unless another has saved since this one read the session: open it anew then.
    ///
    /// # Errors
    /// As [`Session::save`].
    pub async fn save_if_unchanged(&self) -> Result<Saved> {
        self.0.save(true).await
    }

    /// Makes it the session of a user, 1 to 512 bytes: under a new id, with its data and what was changed
    /// here. The one before ends, or this fails; so whoever knew the id before the login knows nothing after it.
    ///
    /// A session of another user ends as well, but its data stay behind: only what was changed here and not yet
    /// saved goes along. One of the same user begins anew.
    ///
    /// *Cancellation*: it goes on to its end once it was polled. Whoever drops it does not get to know the
    /// new token, unless a clone of the handle does.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down. The handle has the session from
    /// before, which may have ended.
    pub async fn login(&self, user: &str) -> Result<Login> {
        check_user(user)?;
        let (inner, user) = (Arc::clone(&self.0), Arc::<str>::from(user));
        to_the_end(async move { inner.login(user).await }).await
    }

    /// Gives it another id, with the same user and data; the one before opens nothing any more. What was changed
    /// here is still to be saved. `false` where it is not live.
    ///
    /// *Cancellation*: as [`Session::login`].
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down: it may have another id, which no one knows.
    pub async fn rotate(&self) -> Result<bool> {
        let inner = Arc::clone(&self.0);
        to_the_end(async move { inner.rotate().await }).await
    }

    /// Ends it, in every process at once, with all that was changed here.
    ///
    /// *Cancellation*: it goes on to its end once it was polled.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down: it may have ended, or not.
    pub async fn logout(&self) -> Result<()> {
        let inner = Arc::clone(&self.0);
        to_the_end(async move { inner.logout().await }).await
    }

    /// What people are shown of it, as it is stored; `None` where it is not live.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn info(&self) -> Result<Option<SessionInfo>> {
        self.0.read().await?;
        let id = self.id();
        let info = |id| self.0.with_row(|row, now_ms| SessionInfo::new(id, row.clone(), now_ms));
        Ok(id.and_then(info))
    }

    /// What the device says of itself, as its `User-Agent`: shown in lists, and stored when the session begins or
    /// is logged in. 256 bytes of it are kept.
    pub fn device(&self, device: &str) {
        self.0.state.lock().device = Some(cut_device(device));
    }

    /// From where it is used: shown in lists, and stored when the session begins or is logged in.
    pub fn address(&self, address: IpAddr) {
        self.0.state.lock().address = Some(address);
    }

    /// What opens it, to be given to the client. `None` of one that is not stored, or has ended, as far as this
    /// handle knows.
    #[must_use]
    pub fn token(&self) -> Option<SessionToken> {
        self.0.state.lock().standing.token().cloned()
    }

    /// What names it. `None` likewise.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.token().map(|token| token.id().clone())
    }

    /// Whether [`Session::logout`] has ended it, through this handle or a clone.
    #[cfg(feature = "axum")]
    pub(crate) fn was_logged_out(&self) -> bool {
        self.0.state.lock().was_logged_out()
    }
}

/// Without what opens it, or is in it.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id()).finish_non_exhaustive()
    }
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    // Without the cause, here and below: it may quote the value.
    serde_json::to_vec(value)
        .map_err(|_| Error::rejected("a datum of a session cannot be written as JSON"))
}

fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Error::corrupt(format!(
            "a datum of a session is not of the expected type at {line}:{column}"
        ))
    })
}
