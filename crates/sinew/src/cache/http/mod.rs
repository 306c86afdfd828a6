//! A shared HTTP cache in front of a service: [`CacheLayer`].
//!
//! It keeps responses in a [`Cache`](crate::Cache), so they are shared by the fleet, loaded once, and
//! dropped at once when a tag or a change says so. What may be stored, for how long, and for whom,
//! is RFC 9111's to say, not this crate's: the service says it in its responses.
//!
//! | | |
//! | --- | --- |
//! | fresh for | `s-maxage`, else `max-age`, else `Expires`, else nothing, or with [`heuristics`](CacheLayer::heuristics) a tenth of the time since `Last-Modified` |
//! | selected by | host, path and query, [`key_by`](CacheLayer::key_by), `Vary` |
//! | never stored | `private`; `no-store`, except as `must-understand` says; `Vary: *`; parts (206, `Content-Range`); `Set-Cookie` without `public`; the answer to `Authorization` without `public`, `s-maxage` or `must-revalidate`; what does not fit, or is not as long as its `Content-Length` |
//! | asked again | `no-cache`, and what is stale: with `If-None-Match` and `If-Modified-Since`; a 304 makes it fresh |
//! | served stale | within `stale-while-revalidate`, and asked about meanwhile; within `stale-if-error`, if the service fails (500, 502, 503, 504, or its error); if the request says `max-stale`. Never with `must-revalidate`, `proxy-revalidate` or `no-cache` |
//! | requests say | `no-cache` (or `Pragma`), `no-store`, `max-age`, `min-fresh`, `max-stale`, `only-if-cached`, `stale-if-error` |
//! | answered from the store | GET and HEAD; `If-None-Match` and `If-Modified-Since` with 304 |
//! | passed on | requests for parts (`Range`), with `If-Match` or `If-Unmodified-Since`, with content, for an upgrade |
//! | dropped | by a change (POST, PUT, PATCH, DELETE, any method not known to be safe) that did not fail: its target, and what its `Location` and `Content-Location` name on the same host, in all variants; and with each, one in 1,024 of the other responses |
//! | refused | a change whose `Host` cannot be used, or is not that of its URI: 400 |
//! | told | `Age`, and `Cache-Status: sinew; …` (RFC 9211) |
//!
//! # What it promises
//!
//! 1. **It never breaks the service.** Trouble with the store is a miss. What the client gets on a
//!    miss is the service's response, to the byte, with `Cache-Status`.
//! 2. **One call.** Requests that miss together cause one call of the service, in the fleet, if its
//!    response is for all of them. If it is not, each goes on its own, and the next ones do not wait
//!    (in this process, until a response could be shared again).
//! 3. **Changes win.** Once the client of a change has its response, no request that begins later
//!    gets what was stored or under way before. Where the change went another way, say so with
//!    [`CacheLayer::invalidate_route`].
//! 4. **Tenants never meet**, if each has its layer, or the layer is told what tells them apart:
//!    [`CacheLayer::key_by`].
//!
//! # When Redis is down
//! Requests that miss together in this process share a call; nothing is stored, unless the cache has
//! [`Outage::Local`](crate::Outage::Local). Changes are queued, as any invalidation.

mod answer;
mod body;
mod cache_status;
mod change;
mod courier;
mod directives;
mod fetch;
mod fields;
mod front;
mod key;
mod layer;
mod marks;
mod policy;
mod reference;
mod request;
mod stored;
mod validation;
mod visit;

pub use body::CacheBody;
pub use key::HttpKey;
pub use layer::{CacheLayer, CacheService};
pub use stored::StoredResponse;
