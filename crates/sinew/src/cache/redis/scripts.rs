//! One typed door per script.

use std::time::Duration;

use redis::Value;

use super::{Names, field_of};
use crate::cache::backend::Token;
use crate::cache::model::LEASE as LEASE_TIME;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, TagsKey};
use crate::kernel::redis::{Call, Link, Script};
use crate::kernel::ttl::Ttl;

// A request that runs late could revive a lease that an invalidation had revoked.
static LEASE: Script = Script::once(include_str!("../scripts/lease.lua"));
static FILL: Script = Script::rerunnable(include_str!("../scripts/fill.lua"));
static VACATE: Script = Script::rerunnable(include_str!("../scripts/vacate.lua"));
static RENEW: Script = Script::rerunnable(include_str!("../scripts/renew.lua"));
static RELEASE: Script = Script::rerunnable(include_str!("../scripts/release.lua"));
// A second run would undo what was written since.
static PUT: Script = Script::once(include_str!("../scripts/put.lua"));
static PUT_VERSIONED: Script = Script::once(include_str!("../scripts/put_versioned.lua"));
static INVALIDATE: Script = Script::rerunnable(include_str!("../scripts/invalidate.lua"));
static EXPIRE: Script = Script::rerunnable(include_str!("../scripts/expire.lua"));
static BEGIN_TAGS: Script = Script::rerunnable(include_str!("../scripts/begin_tags.lua"));
static INVALIDATE_TAG: Script = Script::rerunnable(include_str!("../scripts/invalidate_tag.lua"));
// A second run would count twice.
static ADD: Script = Script::once(include_str!("../scripts/add.lua"));

pub(super) async fn lease(
    link: &Link,
    key: &Key,
    unusable: Option<&[u8]>,
    token: Token,
    lease: Duration,
) -> Result<Vec<Value>> {
    let unusable = unusable.map_or_else(Vec::new, |nonce| [b"r", nonce].concat());
    link.script(&LEASE, &[key.as_str(), &key.lease()])
        .arg(unusable)
        .arg(&token.to_bytes()[..])
        .arg(millis(lease))
        .run()
        .await
}

pub(super) async fn fill(
    link: &Link,
    key: &Key,
    token: Token,
    entry: &[u8],
    ttl: Ttl,
) -> Result<bool> {
    link.script(&FILL, &[key.as_str(), &key.lease()])
        .arg(&token.to_bytes()[..])
        .arg(entry)
        .arg(ttl.as_millis())
        .run()
        .await
}

pub(super) async fn vacate(link: &Link, key: &Key, token: Token) -> Result<bool> {
    let keys = [key.as_str(), &key.lease()];
    link.script(&VACATE, &keys).arg(&token.to_bytes()[..]).run().await
}

pub(super) async fn renew(link: &Link, key: &Key, token: Token, lease: Duration) -> Result<bool> {
    link.script(&RENEW, &[&key.lease()])
        .arg(&token.to_bytes()[..])
        .arg(millis(lease))
        .past_breaker()
        .run()
        .await
}

pub(super) async fn release(link: &Link, key: &Key, token: Token) -> Result<()> {
    let lease = key.lease();
    link.script(&RELEASE, &[&lease]).arg(&token.to_bytes()[..]).past_breaker().run().await
}

pub(super) async fn put(link: &Link, key: &Key, entry: &[u8], ttl: Ttl) -> Result<()> {
    link.script(&PUT, &[key.as_str(), &key.lease()]).arg(entry).arg(ttl.as_millis()).run().await
}

pub(super) async fn put_versioned(
    link: &Link,
    key: &Key,
    entry: &[u8],
    ttl: Ttl,
    version: u64,
) -> Result<bool> {
    let stored: i64 = link
        .script(&PUT_VERSIONED, &[key.as_str(), &key.lease(), &key.version()])
        .arg(entry)
        .arg(ttl.as_millis())
        .arg(format!("{version:020}"))
        .run()
        .await?;
    Ok(stored == 1)
}

pub(super) fn invalidate<'a>(link: &'a Link, names: Names<'a>) -> Call<'a> {
    link.script(&INVALIDATE, &[names.entry, names.lease, names.version]).arg(millis(LEASE_TIME))
}

pub(super) fn expire<'a>(link: &'a Link, names: Names<'a>) -> Call<'a> {
    link.script(&EXPIRE, &[names.entry, names.lease, names.version]).arg(millis(LEASE_TIME))
}

/// What an invalidation leaves in the place of a version, alone.
pub(super) fn tombstone(version: &str) -> redis::Cmd {
    let mut set = redis::cmd("SET");
    set.arg(version).arg("99999999999999999999").arg("PX").arg(millis(LEASE_TIME));
    set
}

pub(super) async fn begin_tags(link: &Link, key: &TagsKey, ttl: Ttl) -> Result<()> {
    link.script(&BEGIN_TAGS, &[key.as_str()]).arg(random()).arg(ttl.as_millis()).run().await
}

pub(super) fn invalidate_tag<'a>(
    link: &'a Link,
    key: &'a TagsKey,
    tag: Option<&str>,
    ttl: Ttl,
) -> Call<'a> {
    link.script(&INVALIDATE_TAG, &[key.as_str()])
        .arg(tag.map_or_else(String::new, field_of))
        .arg(random())
        .arg(ttl.as_millis())
}

pub(super) async fn add(link: &Link, counter: &Key, by: i64, ttl: Ttl) -> Result<i64> {
    let call = link.script(&ADD, &[counter.as_str()]).arg(by).arg(ttl.as_millis());
    let count: Option<i64> = call.run().await?;
    count.ok_or_else(|| {
        Error::new(ErrorKind::Conflict, "the counter would overflow, or is no number")
    })
}

fn random() -> String {
    fastrand::u128(..).to_string()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
