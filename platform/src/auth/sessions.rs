//! The sessions that tokens open.

use std::time::Duration;

use sinew::limit::http::TrustedProxies;
use sinew::session::http::SessionLayer;
use sinew::session::{Evict, Sessions, SessionsBuilder};
use sinew::{Result, Sinew, Tenant};

/// The seed's for tokens, counted from when they were last used.
pub(super) const IDLE: Duration = Duration::from_hours(1);
/// However much they are used.
const ABSOLUTE: Duration = Duration::from_hours(12);
const PER_USER_MAX: u32 = 10;

/// What opens the session of each request, by its bearer token.
pub(crate) fn layer(sinew: &Sinew, trusted: &TrustedProxies) -> Result<SessionLayer> {
    let layer = SessionLayer::per_tenant(sinew.clone(), settings)?;
    Ok(layer.bearer().trusted_proxies(trusted.clone()))
}

/// All sessions of a tenant, to look at and to end.
pub(crate) fn of(sinew: &Sinew, tenant: &Tenant) -> Result<Sessions> {
    settings(sinew.tenant(tenant.as_str())?.sessions()).build()
}

fn settings(sessions: SessionsBuilder) -> SessionsBuilder {
    sessions.idle(IDLE).absolute(ABSOLUTE).max_per_user(PER_USER_MAX, Evict::Oldest)
}
