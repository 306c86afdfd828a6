//! The store for `tower-sessions`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::{SessionStore, session_store};

use super::builder::ABSOLUTE_MAX;
use super::model::millis;
use super::{Saved, Session, SessionToken, Sessions, SessionsBuilder};
use crate::kernel::error::{Error, ErrorKind, Result};

/// Where all of a record's data is.
const DATA: &str = "data";
/// No other token is made of an id so.
const LABEL: &str = "tower-sessions";
/// How many ids may be taken before it is given up: with 128 random bits, one is a wonder.
const IDS_MAX: usize = 4;

/// Sessions of [`tower-sessions`](https://docs.rs/tower-sessions) in the store: for a service that has them
/// already. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> sinew::Result<()> {
/// use sinew::Sinew;
/// use sinew::session::TowerSessionStore;
/// use tower_sessions::SessionManagerLayer;
///
/// let acme = Sinew::embedded().tenant("acme")?;
/// let layer = SessionManagerLayer::new(TowerSessionStore::new(acme.sessions())?);
/// # drop(layer);
/// # Ok(()) }
/// ```
///
/// A record lives until its `expiry_date`, however much or little it is used, and 400 days at most. Redis
/// holds a hash of its id, so that a leaked dump opens no session. One that was deleted, or has expired,
/// never comes back: a save that comes late stores nothing, and is no error.
///
/// Of two requests that change one session at once, the later one wins, in all of its data: that is how
/// `tower-sessions` saves. [`Session`] keeps both.
///
/// # When Redis is down
/// Every call is an error, which `tower-sessions` answers with 500.
#[derive(Clone)]
pub struct TowerSessionStore {
    sessions: Sessions,
}

impl TowerSessionStore {
    /// A store with these settings, of which [`SessionsBuilder::require_replicas`] counts. How long a session
    /// lives, its record says.
    ///
    /// # Errors
    /// `Rejected` for a setting out of bounds.
    pub fn new(settings: SessionsBuilder) -> Result<Self> {
        let sessions = settings.idle(ABSOLUTE_MAX).absolute(ABSOLUTE_MAX).build()?;
        Ok(Self { sessions })
    }

    /// The session of a record that is stored, and live.
    async fn open(&self, id: &Id) -> Result<Option<Session>> {
        let session = self.sessions.open(token_of(id));
        let is_live = session.is_live().await?;
        Ok(is_live.then_some(session))
    }

    /// Writes a record over the one that is there. Nothing, where there is none any more.
    async fn replace(&self, record: &Record) -> Result<()> {
        let Some(session) = self.open(&record.id).await? else { return Ok(()) };
        if is_over(record) {
            return session.logout().await;
        }
        write(&session, record)?;
        if matches!(session.save().await?, Saved::Gone) {
            tracing::debug!("a session had ended before it was saved");
        }
        Ok(())
    }

    async fn find(&self, id: &Id) -> Result<Option<Record>> {
        let Some(session) = self.open(id).await? else { return Ok(None) };
        let (info, data) = (session.info().await?, session.get(DATA).await?);
        let (Some(info), Some(data)) = (info, data) else { return Ok(None) };
        Ok(Some(Record { id: *id, data, expiry_date: info.ends_at.into() }))
    }
}

impl fmt::Debug for TowerSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerSessionStore").finish_non_exhaustive()
    }
}

fn token_of(id: &Id) -> SessionToken {
    SessionToken::derive(LABEL, &id.0.to_be_bytes())
}

fn is_over(record: &Record) -> bool {
    SystemTime::from(record.expiry_date) <= SystemTime::now()
}

fn write(session: &Session, record: &Record) -> Result<()> {
    expire(session, record.expiry_date.into());
    session.set(DATA, &record.data)
}

/// Lets it end then, with the next save, however much or little it is used until then.
fn expire(session: &Session, at: SystemTime) {
    let at = at.min(SystemTime::now() + ABSOLUTE_MAX);
    let ends_ms = millis(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    session.0.state.lock().ends_ms = Some(ends_ms);
}

#[async_trait]
impl SessionStore for TowerSessionStore {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        if is_over(record) {
            return Ok(());
        }
        for _ in 0..IDS_MAX {
            let session = self.sessions.begin_as(token_of(&record.id));
            write(&session, record).map_err(told)?;
            match session.save().await.map_err(told)? {
                Saved::Conflict => record.id = Id::default(),
                Saved::Done | Saved::Unchanged | Saved::Gone => return Ok(()),
            }
        }
        Err(session_store::Error::Backend("expected an id that is not taken".to_owned()))
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.replace(record).await.map_err(told)
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        self.find(id).await.map_err(told)
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.sessions.open(token_of(id)).logout().await.map_err(told)
    }
}

fn told(error: Error) -> session_store::Error {
    let text = format!("{error:#}");
    match error.kind() {
        ErrorKind::Corrupt => session_store::Error::Decode(text),
        ErrorKind::Rejected => session_store::Error::Encode(text),
        _ => session_store::Error::Backend(text),
    }
}
