//! How limits stand, as header fields.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue};

use crate::limit::{Check, Decision, Limit, Standing};

const POLICY: &str = "ratelimit-policy";
const STANDING: &str = "ratelimit";
const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// The largest integer of a structured field (RFC 9651, 3.3.1).
const INTEGER_MAX: u64 = 999_999_999_999_999;

/// In which header fields responses say how limits stand; see [the module](crate::limit::http).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderStyle {
    /// `RateLimit-Policy` and `RateLimit`, as the IETF's draft has them.
    Draft,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    Legacy,
    /// All of them.
    #[default]
    Both,
    /// In none.
    None,
}

/// How limits stand after a decision, as header fields; see [the module](crate::limit::http).
///
/// `checks` are those that were decided on, in the same order. A limit that several of them name is one
/// policy, and stands there once for each.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> sinew::Result<()> {
/// use sinew::limit::http::{HeaderStyle, rate_limit_headers};
/// use sinew::limit::{Limit, MINUTE, Per};
///
/// let (limiter, calls) = (sinew::Sinew::embedded().limiter(), Limit::gcra("calls", 100.per(MINUTE)));
/// let checks = [calls.of("ada").cost(60)];
/// let decision = limiter.check(&checks).await?;
/// let headers = rate_limit_headers(&decision, &checks, HeaderStyle::Draft);
/// assert_eq!(headers["ratelimit-policy"], "\"calls\";q=100;w=60");
/// assert_eq!(headers["ratelimit"], "\"calls\";r=40;t=36");
/// # Ok(()) }
/// ```
#[must_use]
pub fn rate_limit_headers(
    decision: &Decision,
    checks: &[Check<'_>],
    style: HeaderStyle,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if matches!(style, HeaderStyle::Draft | HeaderStyle::Both) {
        let mut policies: Vec<String> = Vec::new();
        for check in checks.iter().filter(|check| !check.limit.is_shadow()) {
            let policy = policy(check.limit);
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        let standings = shown(decision).filter_map(|standing| {
            let limit = checks.get(standing.check)?.limit;
            Some(member(decision, limit, standing))
        });
        put_list(&mut headers, POLICY, &policies);
        put_list(&mut headers, STANDING, &standings.collect::<Vec<_>>());
    }
    if matches!(style, HeaderStyle::Legacy | HeaderStyle::Both)
        && let Some(standing) = tightest(decision)
    {
        let reset = until_more(decision, standing);
        let reset = reset.unwrap_or_else(|| rounded_up(standing.reset_after));
        for (field, number) in LEGACY.into_iter().zip([standing.limit, standing.remaining, reset]) {
            headers.insert(field, HeaderValue::from(number));
        }
    }
    headers
}

/// Adds these fields to what a response says already: lists go on, and single values stay.
pub(super) fn merge(headers: &mut HeaderMap, fields: &HeaderMap) {
    let has_legacy = LEGACY.into_iter().any(|field| headers.contains_key(field));
    for (name, value) in fields {
        if !(has_legacy && LEGACY.contains(&name.as_str())) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Whole seconds, at least one.
pub(super) fn seconds(wait: Duration) -> u64 {
    rounded_up(wait).max(1)
}

fn rounded_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn shown(decision: &Decision) -> impl Iterator<Item = &Standing> {
    decision.limits().iter().filter(|standing| !standing.is_shadow)
}

// A limit's name has nothing in it that a string of RFC 9651 would have to escape.
fn policy(limit: &Limit) -> String {
    let (name, quota) = (limit.name(), limit.quota());
    format!("\"{name}\";q={};w={}", quota.limit().min(INTEGER_MAX), seconds(quota.period()))
}

fn member(decision: &Decision, limit: &Limit, standing: &Standing) -> String {
    let (name, remaining) = (limit.name(), standing.remaining.min(INTEGER_MAX));
    match until_more(decision, standing) {
        Some(seconds) => format!("\"{name}\";r={remaining};t={seconds}"),
        None => format!("\"{name}\";r={remaining}"),
    }
}

/// In how many seconds there is more, where that is worth waiting for. In a denial only what denies
/// says so: all of another limit may be there again long after the request can pass.
fn until_more(decision: &Decision, standing: &Standing) -> Option<u64> {
    match (decision.is_allowed(), standing.admits) {
        (false, false) => standing.retry_after.map(seconds),
        (false, true) => None,
        (true, _) => {
            let reset = rounded_up(standing.reset_after);
            (reset > 0).then_some(reset)
        }
    }
}

/// What a client has to heed first.
fn tightest(decision: &Decision) -> Option<&Standing> {
    if decision.is_allowed() {
        // Of what is left of each, as fractions over the same denominator.
        return shown(decision).min_by(|one, other| {
            let of = |a: &Standing, b: &Standing| u128::from(a.remaining) * u128::from(b.limit);
            of(one, other).cmp(&of(other, one))
        });
    }
    let denied = shown(decision).filter(|standing| !standing.admits);
    denied.max_by_key(|standing| standing.retry_after.unwrap_or(Duration::MAX))
}

fn put_list(headers: &mut HeaderMap, field: &'static str, members: &[String]) {
    if !members.is_empty()
        && let Ok(list) = HeaderValue::try_from(members.join(", "))
    {
        headers.insert(field, list);
    }
}
