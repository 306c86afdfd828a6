//! How much whoever may ask for.

use sinew::limit::http::{HeaderStyle, Rule, TrustedProxies};
use sinew::limit::{Limit, Limiter, MINUTE, Per, SECOND};
use sinew::{RateLimitLayer, Result};

use super::caller::Caller;

/// The seed's three limits.
pub(super) fn layer(limiter: Limiter, trusted: &TrustedProxies) -> Result<RateLimitLayer> {
    let per_user = Rule::of(Limit::gcra("per-user", 100.per(MINUTE))).by(Caller::user_of);
    let anonymous = Rule::of(Limit::gcra("anonymous", 10.per(MINUTE)))
        .by_client_ip(trusted.clone())
        .unless(Caller::is_signed_in);
    let flood =
        Rule::of(Limit::fixed_window("flood", 50.per(30 * SECOND))).by_client_ip(trusted.clone());
    let limits = RateLimitLayer::new(limiter).rule(per_user)?.rule(anonymous)?.rule(flood)?;
    Ok(limits.headers(HeaderStyle::Both))
}
