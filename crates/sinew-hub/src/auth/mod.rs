//! Who may do what at a hub: programs by a token, people by a session that they sign in to.
//!
//! It asks nobody as long as the configuration names no token and no user; then everyone may do
//! everything, and only this machine may reach the hub. Envoy's rate limit service never asks.
//!
//! | | who | how they are known | what they may do |
//! | --- | --- | --- | --- |
//! | `/v1/…`, `/ofrep/…` | programs | `Authorization: Bearer`, at `/ofrep` also `X-API-Key` | as the scopes of their token say |
//! | pages | people | a cookie with a session | as their role says |
//! | `/metrics` | both | either | `metrics:read`, or any role |
//! | `/health/…`, `/openapi.json`, `/login`, `/assets/…` | anyone | | |
//!
//! Whoever belongs to a tenant works on what is that tenant's, and on nothing that all tenants share.

mod actor;
mod bearer;
pub(crate) mod command;
mod digest;
mod guard;
pub(crate) mod login;
mod page;
pub(crate) mod password;
mod refusal;
pub(crate) mod routes;
pub(crate) mod scope;
pub(crate) mod settings;
pub(crate) mod shell;

use std::sync::Arc;

use sinew::Sinew;
use sinew::limit::{Limit, Limiter, MINUTE, Per as _};
use sinew::session::Session;
use sinew::session::http::{SessionCookie, SessionLayer};
use tokio::sync::Semaphore;

use settings::{AuthSettings, TokenSetting, UserSetting};

pub(crate) use actor::Actor;
pub(crate) use digest::Digest;
pub(crate) use guard::guard;

/// Of the cookie of whoever is signed in.
const COOKIE: &str = "sinew";
/// The users of a dashboard are none of the applications' own.
const USER_PREFIX: &str = "sinew-dashboard:";
/// What a session has that only a hub with the same user in its configuration can have written. Whoever
/// may begin sessions over HTTP may begin one of any user.
const PROOF: &str = "sinew-dashboard";
/// A guess costs 20 MB and much of a second.
const HASHING_AT_ONCE_MAX: usize = 4;
const ATTEMPTS_BY_NAME: u64 = 5;
const ATTEMPTS_BY_ADDRESS: u64 = 20;

/// Tokens, users, and their sessions.
pub(crate) struct Auth {
    tokens: Vec<TokenSetting>,
    users: Vec<UserSetting>,
    /// Of requests that have come by TLS, as the proxy in front says.
    secure: SessionLayer,
    /// Of the others: not every browser sends a cookie that is for TLS only to this machine without.
    plain: SessionLayer,
    limiter: Limiter,
    by_name: Limit,
    by_address: Limit,
    hashing: Arc<Semaphore>,
}

impl Auth {
    /// `None` where nothing says who may do what.
    ///
    /// # Errors
    /// As [`sinew::session::SessionsBuilder::build`].
    pub(crate) fn open(sinew: &Sinew, settings: &AuthSettings) -> sinew::Result<Option<Self>> {
        if !settings.is_on() {
            return Ok(None);
        }
        let sessions = sinew.sessions().idle(settings.idle).absolute(settings.absolute);
        let layer = |cookie: SessionCookie| -> sinew::Result<SessionLayer> {
            Ok(sessions.clone().cookie(cookie).build()?.layer())
        };
        let limit = |name: &str, attempts: u64| Limit::gcra(name, attempts.per(MINUTE));
        Ok(Some(Self {
            tokens: settings.tokens.clone(),
            users: settings.users.clone(),
            secure: layer(SessionCookie::host(COOKIE))?,
            plain: layer(SessionCookie::plain_http(COOKIE))?,
            limiter: sinew.limiter(),
            by_name: limit("sinew-sign-in-name", ATTEMPTS_BY_NAME),
            by_address: limit("sinew-sign-in-address", ATTEMPTS_BY_ADDRESS),
            hashing: Arc::new(Semaphore::new(HASHING_AT_ONCE_MAX)),
        }))
    }

    /// The token that someone has presented, whether or not it has expired.
    fn token(&self, presented: &str) -> Option<&TokenSetting> {
        let digest = Digest::of(presented);
        // All are looked at, so that the time it takes tells nothing.
        self.tokens.iter().fold(None, |found, token| match token.digest == digest {
            true => Some(token),
            false => found,
        })
    }

    fn user(&self, name: &str) -> Option<&UserSetting> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Who is signed in. A session of someone whose password or name is another now is nobody's.
    ///
    /// # Errors
    /// Where the store does not say.
    async fn signed_in(&self, session: &Session) -> sinew::Result<Option<&UserSetting>> {
        let Some(id) = session.user().await? else { return Ok(None) };
        let Some(user) = id.strip_prefix(USER_PREFIX).and_then(|name| self.user(name)) else {
            return Ok(None);
        };
        let proof = session.get::<String>(PROOF).await?;
        let is_ours = proof.and_then(|proof| Digest::parse(&proof)) == Some(user.proof());
        Ok(is_ours.then_some(user))
    }
}
