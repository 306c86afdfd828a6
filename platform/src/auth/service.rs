//! Accounts, and how one gets in and out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use sinew::limit::Limit;
use sinew::limit::http::{TrustedProxies, client_ip};
use sinew::session::{Login, Session, SessionToken};
use sinew::{LoadError, Sinew, Tenant};

use super::account::{Account, Credentials, email_of};
use super::cache_keys::{Caches, UserOf};
use super::error::AuthError;
use super::limits::{of_account, subject_at, subject_of};
use super::password::Passwords;
use super::repository::Repository;
use super::sessions;

#[derive(Clone)]
pub(super) struct Auth {
    sinew: Sinew,
    repository: Repository,
    passwords: Passwords,
    attempts: Limit,
    trusted: TrustedProxies,
}

/// What came of an attempt to log in with what may be right.
pub(super) enum Attempt {
    In {
        user_id: String,
        token: SessionToken,
    },
    /// It was not looked at.
    TooMany {
        retry_after: Duration,
    },
}

impl Auth {
    /// Of a client's address, the word of those that are `trusted` counts.
    pub(super) fn new(sinew: Sinew, repository: Repository, trusted: TrustedProxies) -> Self {
        let (passwords, attempts) = (Passwords::new(), of_account());
        Self { sinew, repository, passwords, attempts, trusted }
    }

    /// From where a request comes.
    pub(super) fn address_of(&self, request: &Parts) -> Option<IpAddr> {
        client_ip(request, &self.trusted)
    }

    pub(super) async fn register(
        &self,
        tenant: &Tenant,
        input: Credentials,
    ) -> Result<Account, AuthError> {
        let email = email_of(&input.email)?;
        input.check_password()?;
        let hash = self.passwords.hash(input.password).await?;
        self.repository.create(tenant, email, hash).await
    }

    /// Makes the session of the request one of the account's user, under a new token.
    pub(super) async fn log_in(
        &self,
        tenant: &Tenant,
        session: &Session,
        address: IpAddr,
        input: Credentials,
    ) -> Result<Attempt, AuthError> {
        let email = email_of(&input.email)?;
        let known = self.caches(tenant)?.known;
        let here = subject_at(&email, address);
        let subject = match known.get(&here).await? {
            Some(_) => here.clone(),
            None => subject_of(&email),
        };
        let limiter = self.sinew.tenant(tenant.as_str())?.limiter();
        let decision = limiter.check([self.attempts.of(subject)]).await?;
        if !decision.is_allowed() {
            let retry_after = decision.retry_after().unwrap_or_default();
            return Ok(Attempt::TooMany { retry_after });
        }
        let account = self.repository.by_email(tenant, &email).await?;
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let is_right = self.passwords.is_right(input.password, hash).await?;
        let Some(account) = account.filter(|_| is_right) else { return Err(AuthError::Wrong) };
        let login = session.login(&account.user_id).await?;
        let token = session.token().filter(|_| login == Login::Done).ok_or(AuthError::Ended)?;
        if let Err(error) = known.put(&here, &true).await {
            tracing::warn!(%error, "where somebody signed in from is not known the next time");
        }
        Ok(Attempt::In { user_id: account.user_id, token })
    }

    pub(super) async fn account(
        &self,
        tenant: Tenant,
        user: Arc<str>,
    ) -> Result<Arc<Account>, LoadError<AuthError>> {
        let caches = self.caches(&tenant).map_err(|e| LoadError::Source(Arc::new(e)))?;
        let (rows, key) = (self.repository.clone(), UserOf(Arc::clone(&user)));
        let load = move || async move { rows.account(&tenant, &user).await };
        caches.account.get_or_load(&key, load).await
    }

    pub(super) async fn log_out_everywhere(
        &self,
        tenant: &Tenant,
        user: &str,
    ) -> Result<(), AuthError> {
        Ok(sessions::of(&self.sinew, tenant)?.logout_all(user).await?)
    }

    fn caches(&self, tenant: &Tenant) -> Result<Caches, AuthError> {
        Caches::of(&self.sinew.tenant(tenant.as_str())?)
    }
}
