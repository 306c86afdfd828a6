//! Webhooks in Redis: a HASH of a scope's, one of those that fail, and the tenants that have any.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::cmd;

use crate::kernel::error::{Error, Result};
use crate::kernel::redis::{Link, Rerun, Script};
use crate::stream::webhook::store::{Change, Changed};

/// Where a scope has its last revision, which is no name.
const LAST: &str = ":revision";

// It would meet what it has written itself, and call that another revision.
static PUT: Script = Script::once(include_str!("../scripts/webhook_put.lua"));
static FAILING: Script = Script::rerunnable(include_str!("../scripts/webhook_failing.lua"));
static TENANT: Script = Script::rerunnable(include_str!("../scripts/webhook_tenant.lua"));

pub(in crate::stream) async fn tenants(link: &Link, key: &str, max: usize) -> Result<Vec<String>> {
    let mut range = cmd("ZRANGE");
    range.arg(key).arg(0).arg(max - 1);
    link.call(range, key, Rerun::Harmless).run().await
}

/// False: there are too many.
pub(in crate::stream) async fn note_tenant(
    link: &Link,
    key: &str,
    tenant: &str,
    max: usize,
) -> Result<bool> {
    link.script(&TENANT, &[key]).arg(tenant).arg(max).run().await
}

pub(in crate::stream) async fn forget_tenant(link: &Link, key: &str, tenant: &str) -> Result<()> {
    let mut remove = cmd("ZREM");
    remove.arg(key).arg(tenant);
    link.call(remove, key, Rerun::Harmless).run().await
}

/// For how long it has failed, in ms.
pub(in crate::stream) async fn note_failing(
    link: &Link,
    key: &str,
    name: &str,
    lapse_ms: u64,
) -> Result<u64> {
    link.script(&FAILING, &[key]).arg(name).arg(lapse_ms).run().await
}

pub(in crate::stream) async fn forget_failing(link: &Link, key: &str, name: &str) -> Result<()> {
    let mut forget = cmd("HDEL");
    forget.arg(key).arg(name);
    link.call(forget, key, Rerun::Harmless).run().await
}

pub(in crate::stream) async fn get(link: &Link, key: &str, name: &str) -> Result<Option<Bytes>> {
    let mut get = cmd("HGET");
    get.arg(key).arg(name);
    link.call(get, key, Rerun::Harmless).run().await
}

pub(in crate::stream) async fn all(link: &Link, key: &str) -> Result<Vec<(String, Bytes)>> {
    let mut all = cmd("HGETALL");
    all.arg(key);
    let all: BTreeMap<Vec<u8>, Bytes> = link.call(all, key, Rerun::Harmless).run().await?;
    let named = all.into_iter().filter_map(|(name, text)| {
        let name = String::from_utf8(name).ok()?;
        (name != LAST).then_some((name, text))
    });
    Ok(named.collect())
}

pub(in crate::stream) async fn put(
    link: &Link,
    key: &str,
    change: &Change<'_>,
    max: usize,
) -> Result<Changed> {
    let expected = change.expected.revision().map_or_else(String::new, |it| it.to_string());
    let call = link.script(&PUT, &[key]).arg(change.name).arg(expected);
    let call = call.arg(change.text.unwrap_or_default()).arg(max);
    let (outcome, revision, was_there): (u8, u64, bool) = call.run().await?;
    match outcome {
        0 => Ok(Changed::Conflict(revision)),
        1 => Ok(Changed::Done { revision, was_there }),
        2 => Ok(Changed::Full),
        _ => Err(Error::corrupt("unexpected reply to a change of a webhook")),
    }
}
