//! Sessions over a fleet: who is logged in, with what data, on which devices.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use sinew::Sinew;
//! use sinew::session::{Login, Saved};
//!
//! let sessions = Sinew::embedded().tenant("acme")?.sessions().build()?;
//!
//! // A visitor, whom nobody knows.
//! let session = sessions.begin();
//! session.set("cart", &["tea"])?;
//! assert_eq!(session.save().await?, Saved::Done);
//! let before = session.token().expect("it is stored");
//!
//! // Logs in: another token, the same cart.
//! assert_eq!(session.login("ada").await?, Login::Done);
//! let token = session.token().expect("it is stored");
//! assert!(!sessions.open(before).is_live().await?);
//!
//! // Another request, on any instance.
//! let session = sessions.open(token.as_str().parse()?);
//! assert_eq!(session.user().await?.as_deref(), Some("ada"));
//! assert_eq!(session.get::<Vec<String>>("cart").await?, Some(vec!["tea".to_owned()]));
//!
//! sessions.logout_all("ada").await?;
//! session.set("cart", &["tea", "honey"])?;
//! assert_eq!(session.save().await?, Saved::Gone);
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! 1. **What has ended stays ended.** A session that was logged out, revoked or evicted, or whose time is over,
//!    never comes back: a save that comes late finds it [`Saved::Gone`]. A failover may lose
//!    a logout that Redis had acknowledged; [`SessionsBuilder::require_replicas`] closes that.
//! 2. **The store opens nothing.** A token has 256 bits of the system's randomness, and Redis has a digest of it:
//!    whoever reads a dump can open no session.
//! 3. **Both times hold**, the idle one and the absolute one, by Redis's clock.
//! 4. **All at once.** [`Sessions::logout_all`] ends all sessions of a user in one step, however many there are, and
//!    no request that begins after it finds one of them live.
//! 5. **A login changes the id.** The new session is there before the one from before ends; where that one
//!    cannot be ended, the login fails. So an id that was planted before a login is worth nothing after it.
//! 6. **Changes do not overwrite each other.** A save sends what was changed, and no more: of two requests
//!    that change different data at once, both changes stay.
//! 7. **Down is not logged out.** Where Redis does not answer, that is an error.
//! 8. **Tenants never meet.** A token of one tenant opens nothing of another's.
//!
//! # How a session goes
//!
//! [`Sessions::begin`] is one of nobody, and is stored once it has data; [`Session::login`] makes it a user's. Its
//! [`SessionToken`] goes to the client, and opens it with [`Sessions::open`] in any process of the fleet.
//! [`SessionId`] only names it: it is what lists show, and what [`Sessions::revoke`] takes.
//!
//! A [`Session`] is read once, in one round trip, and answers from that for as long as it lives: a request. Another
//! round trip notes that it is used, where a tenth of its idle time is over.
//!
//! # When Redis is down
//!
//! Every call fails with `Unavailable` or `Timeout`: a service answers 503, and neither "log in, please" nor what
//! only who is logged in may see. No session is kept in a process: what was ended elsewhere would live on there.
//!
//! A step whose reply was lost may have been made: a save is not sent twice, and a login that fails may
//! have ended the session from before. What ends sessions passes an open circuit breaker.
//!
//! # Where Redis loses data
//!
//! A user's sessions are live as long as the number of their epoch is there, and the one that they began with.
//! Where Redis evicts it, or is flushed, the user has to log in again; no session lives on that should not, also where
//! Redis's clock was set back. Redis should not be one that evicts what has a TTL.
//!
//! # Where it is kept
//!
//! Under `{prefix}{tenant}:session:{SLOT}:`, in one slot of a cluster for each user: a string for each session, the
//! epoch, and an index. All of them expire. The slot of a user is a digest of the name, and a part of the token: whoever
//! has a token can check a guess of whose it is.
//!
//! On the embedded store, in 64 MiB. When it is full, those sessions end that would end first.

// Without Redis, some of what steps are told goes unused.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod backend;
mod builder;
mod engine;
mod handle;
#[cfg(feature = "axum")]
pub mod http;
mod info;
mod login;
mod memory;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod model;
#[cfg(feature = "redis")]
mod redis;
mod steps;
mod token;
#[cfg(feature = "tower-sessions")]
mod tower;
#[cfg(all(test, feature = "redis"))]
mod twin;

use std::fmt;
use std::sync::Arc;

use crate::kernel::errand::to_the_end;
use crate::kernel::error::Result;
use crate::kernel::key::Scope;
use backend::{Backend as _, Whose};
use builder::Settings;
use engine::Cause;
use model::check_user;
use steps::{Inner, Standing};

pub use builder::SessionsBuilder;
pub(crate) use engine::Engine;
pub use handle::{Login, Saved, Session};
pub use info::SessionInfo;
pub use model::Evict;
pub use token::{SessionId, SessionToken};
#[cfg(feature = "tower-sessions")]
pub use tower::TowerSessionStore;

/// The sessions of one tenant; see [`Sinew::sessions`](crate::Sinew::sessions). Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Shared>);

/// What all sessions of a tenant share.
struct Shared {
    engine: Arc<Engine>,
    scope: Scope,
    settings: Settings,
}

impl Sessions {
    fn new(engine: Arc<Engine>, scope: Scope, settings: Settings) -> Self {
        Self(Arc::new(Shared { engine, scope, settings }))
    }

    /// A new session, of nobody: stored with its first [`Session::save`] that has something to store, or by
    /// [`Session::login`].
    #[must_use]
    pub fn begin(&self) -> Session {
        self.session(Standing::New { token: None, is_chosen: false })
    }

    /// The session of a token. Nothing is asked yet.
    #[must_use]
    pub fn open(&self, token: SessionToken) -> Session {
        self.session(Standing::Unread(token))
    }

    /// A new one of nobody, to be stored under this token. Its first save says [`Saved::Conflict`] where a
    /// session is there.
    #[cfg(feature = "tower-sessions")]
    pub(crate) fn begin_as(&self, token: SessionToken) -> Session {
        self.session(Standing::New { token: Some(token), is_chosen: true })
    }

    fn session(&self, standing: Standing) -> Session {
        Session(Arc::new(Inner::new(&self.0, standing)))
    }

    /// The sessions of a user that are live, those first that were used last; a thousand at most.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn list(&self, user: &str) -> Result<Vec<SessionInfo>> {
        check_user(user)?;
        let Shared { engine, scope, .. } = &*self.0;
        let slot = scope.session_slot_keys(scope.session_slot(user));
        let mut listed = engine.backend.list(&slot).await?;
        listed.sort_by_key(|one| std::cmp::Reverse(one.row.seen_ms));
        // What is over was left out.
        Ok(listed.into_iter().map(|one| SessionInfo::new(one.id, one.row, 0)).collect())
    }

    /// Ends one session of a user, and says whether it was live.
    ///
    /// *Cancellation*: it goes on to its end once it was polled.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down: it may have ended, or not.
    pub async fn revoke(&self, user: &str, id: &SessionId) -> Result<bool> {
        check_user(user)?;
        let (shared, slot) = (Arc::clone(&self.0), self.0.scope.session_slot(user));
        let keys = shared.scope.session(slot, id.0);
        to_the_end(async move {
            let how = shared.settings.ending();
            let was_live = shared.engine.backend.end(&keys, Whose::Users, how).await?;
            shared.engine.count_ended(Cause::Revoked, u64::from(was_live));
            Ok(was_live)
        })
        .await
    }

    /// Ends all sessions of a user in one step, however many there are. One that is begun by a login beside it is
    /// either ended too, or began after it.
    ///
    /// *Cancellation*: it goes on to its end once it was polled.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down: they may have ended, or not.
    pub async fn logout_all(&self, user: &str) -> Result<()> {
        self.end_all(user, None, Cause::All).await
    }

    /// Ends all sessions of a user but one. Where that is not live, all of them.
    ///
    /// *Cancellation*: it goes on to its end once it was polled.
    ///
    /// # Errors
    /// As [`Sessions::logout_all`].
    pub async fn logout_others(&self, user: &str, keep: &SessionId) -> Result<()> {
        self.end_all(user, Some(keep), Cause::Others).await
    }

    async fn end_all(&self, user: &str, keep: Option<&SessionId>, cause: Cause) -> Result<()> {
        check_user(user)?;
        let (shared, slot) = (Arc::clone(&self.0), self.0.scope.session_slot(user));
        let stays = keep.map(|id| shared.scope.session(slot, id.0));
        to_the_end(async move {
            let keys = shared.scope.session_slot_keys(slot);
            let how = shared.settings.ending();
            shared.engine.backend.end_all(&keys, stays.as_ref(), how).await?;
            shared.engine.count_ended(cause, 1);
            Ok(())
        })
        .await
    }

    /// In what cookie the token is kept.
    #[cfg(feature = "axum")]
    pub(crate) fn cookie(&self) -> &http::SessionCookie {
        &self.0.settings.cookie
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("scope", &self.0.scope).finish_non_exhaustive()
    }
}
