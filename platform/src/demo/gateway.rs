//! The gateway of a demonstration.

use axum::Router;
use sinew::Sinew;
use sinew::limit::http::TrustedProxies;

use crate::gateway::{GatewayError, Settings, Upstream, Upstreams, router};

/// A gateway to an app in the same process. It believes whoever is on this machine, so that one can be
/// any user at any address.
///
/// # Errors
/// As [`router`].
pub fn gateway(sinew: &Sinew, app: Router) -> Result<Router, GatewayError> {
    let trusted = TrustedProxies::new(["127.0.0.0/8", "::1"])?;
    let upstreams = Upstreams::new().with("/api", Upstream::Router(app))?;
    router(sinew, upstreams, &Settings::behind(trusted))
}
