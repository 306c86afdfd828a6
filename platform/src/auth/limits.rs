//! How often somebody may try to get in.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::Method;
use sha2::{Digest as _, Sha256};
use sinew::limit::http::{HeaderStyle, Rule, TrustedProxies};
use sinew::limit::{Down, Limit, MINUTE, Per};
use sinew::{RateLimitLayer, Result, Sinew};

/// Of each address, whichever accounts it tries. Where nobody counts, nobody is let in: without the store,
/// there are no sessions either.
pub(super) fn by_address(sinew: &Sinew, trusted: &TrustedProxies) -> Result<RateLimitLayer> {
    let attempts = Limit::gcra("sign-in-address", 20.per(MINUTE)).on_down(Down::Closed);
    let attempts = Rule::of(attempts)
        .by_client_ip(trusted.clone())
        .on("/api/auth/register")
        .on("/api/auth/login")
        .methods([Method::POST]);
    // An address is the same one, whichever tenant it names.
    let limits = RateLimitLayer::new(sinew.limiter()).rule(attempts)?;
    Ok(limits.headers(HeaderStyle::Both))
}

/// Of each account, by [`subject_of`] or [`subject_at`].
pub(super) fn of_account() -> Limit {
    Limit::gcra("sign-in-account", 5.per(MINUTE))
}

/// What an account is counted under, whether or not there is one, from all addresses together at which nobody
/// was let in to it.
pub(super) fn subject_of(email: &str) -> String {
    digest_of(email)
}

/// And from one at which somebody was: guessing from elsewhere is not to lock out whoever is there.
pub(super) fn subject_at(email: &str, address: IpAddr) -> String {
    // No email has a space in it.
    digest_of(&format!("{email} {}", network_of(address)))
}

/// Whoever has an IPv6 address may take any other in its /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(one) => Ipv6Addr::from_bits(one.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// What somebody types as an email may be a password, and is not to stand in the store.
fn digest_of(text: &str) -> String {
    let mut subject = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(subject, "{byte:02x}");
    }
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_told_apart_by_where_it_is_tried() {
        let at = |email: &str, address: &str| subject_at(email, address.parse().unwrap());
        let home = at("ada@example.com", "203.0.113.7");
        assert_ne!(home, subject_of("ada@example.com"));
        assert_ne!(home, at("ada@example.com", "203.0.113.8"));
        assert_ne!(home, at("grace@example.com", "203.0.113.7"));
        let network = at("ada@example.com", "2001:db8:1:2::1");
        assert_eq!(network, at("ada@example.com", "2001:db8:1:2:ffff::9"));
        assert_ne!(network, at("ada@example.com", "2001:db8:1:3::1"));
    }
}
