//! What a decision says in headers.

use axum::http::{HeaderMap, HeaderValue, header};
use sinew::limit::http::{HeaderStyle, rate_limit_headers};
use sinew::limit::{Check, Decision};

/// `RateLimit-Policy` and `RateLimit` of the IETF's draft, `X-RateLimit-*`, and when to ask again where
/// that is known.
pub(super) fn of(decision: &Decision, checks: &[Check<'_>]) -> HeaderMap {
    let mut headers = rate_limit_headers(decision, checks, HeaderStyle::Both);
    if let Some(wait) = decision.retry_after() {
        // Whole seconds, and not before it can pass.
        let seconds = wait.as_nanos().div_ceil(1_000_000_000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers
}
