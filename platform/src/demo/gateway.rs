//! The gateway of a demonstration.

use axum::Router;
use sinew::Sinew;
use sinew::limit::http::TrustedProxies;

use crate::gateway::{GatewayError, Settings, Upstream, Upstreams, router};

/// A gateway to an app in the same process. There is no proxy in front of it, so it believes nobody who
/// says that he is another client, or a user.
///
/// # Errors
/// As [`router`].
pub fn gateway(sinew: &Sinew, app: Router) -> Result<Router, GatewayError> {
    let upstreams = Upstreams::new().with("/api", Upstream::Router(app))?;
    router(sinew, upstreams, &Settings::behind(TrustedProxies::default()))
}
