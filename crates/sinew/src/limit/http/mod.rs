//! Rate limits in front of a service: [`RateLimitLayer`].
//!
//! All limits that a request falls under are asked in one [check](crate::limit::Limiter::check), and
//! charged all together or not at all. A request that falls under none passes as it is.
//!
//! | the request is | the client gets |
//! | --- | --- |
//! | allowed | the service's response, to the byte, and how the limits stand |
//! | denied | 429 with `#quota-exceeded`, how the limits stand, and `Retry-After` |
//! | denied by a limit that is [`Down::Closed`](crate::limit::Down::Closed), because Redis is away | 503 with `#temporary-reduced-capacity`, and the same |
//! | of a subject whose key is too long; without a tenant, where one is needed | 400 |
//! | of a client whose address is not known, where a rule needs it | 500, and an error in the log |
//! | refused by Redis, for want of a permission | 502 |
//!
//! What is not the service's own is `application/problem+json` (RFC 9457), and `violated-policies` in
//! it names the limits that deny. `Retry-After` is in whole seconds, rounded up. It is not there where
//! the request costs more than its limit ever admits.
//!
//! # How limits stand
//!
//! As [`HeaderStyle`] says, in two languages:
//!
//! ```text
//! RateLimit-Policy: "per-user";q=100;w=60
//! RateLimit: "per-user";r=12;t=30
//! X-RateLimit-Limit: 100
//! X-RateLimit-Remaining: 12
//! X-RateLimit-Reset: 30
//! ```
//!
//! The first two are those of the IETF's draft (`draft-ietf-httpapi-ratelimit-headers`, version 10), lists
//! of RFC 9651 with a member for each limit: its quota and the period in seconds, rounded up; the largest
//! cost that it would admit now (with a burst, that may be more than the quota) and the seconds, rounded
//! up, until there is more of it: until it admits the cost where it denies, else until all of it is there
//! again. There is no `t` where nothing is used; where the cost never passes; and in a denial at limits
//! that do not deny, so that `Retry-After` is never before any `t`. Whole numbers there end at
//! 999,999,999,999,999, and what is more is told as that. A denial may name fewer limits in `RateLimit`
//! than in `RateLimit-Policy`: the others were not asked any more.
//!
//! The `X-` set is of one limit: of those that deny the one with the longest wait, otherwise the one of
//! which the smallest share is left.
//!
//! A limit that is a [`shadow`](crate::limit::Limit::shadow) is not shown. Where the service itself, or
//! another layer in it, says how limits stand, the lists get these members after its own, and its `X-`
//! set stays.
//!
//! # When Redis is down
//! Each limit answers as [`Limit::on_down`](crate::limit::Limit::on_down) says. A limit that is
//! [`Down::Open`](crate::limit::Down::Open) stands as if nothing were used.

mod client_ip;
mod denial;
mod fields;
mod forwarded;
mod layer;
mod pattern;
mod rule;

pub use client_ip::{TrustedProxies, client_ip};
pub use denial::too_many_requests;
pub use fields::{HeaderStyle, rate_limit_headers};
pub use layer::{RateLimitBody, RateLimitLayer, RateLimitService};
pub use rule::Rule;
