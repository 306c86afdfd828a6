//! One typed door per script.

use redis::{Cmd, Value};

use crate::kernel::error::Result;
use crate::kernel::key::LockKeys;
use crate::kernel::redis::{Link, Rerun, Script};
use crate::kernel::ttl::Ttl;
use crate::lock::model::{Ask, Kind, Token, WAITER_ALIVE, millis};

// A script cannot include another.
macro_rules! with_line {
    ($file:literal) => {
        concat!(include_str!("../scripts/line.lua"), include_str!($file))
    };
}

const EXTEND_SOURCE: &str = include_str!("../scripts/extend.lua");

// All go by a token that names one attempt, so a second run finds what the first did.
static ACQUIRE: Script = Script::rerunnable(with_line!("../scripts/acquire.lua"));
static EXTEND: Script = Script::rerunnable(EXTEND_SOURCE);
static RELEASE: Script = Script::rerunnable(with_line!("../scripts/release.lua"));
static LOOK: Script = Script::rerunnable(include_str!("../scripts/look.lua"));
// A second run would take it from whoever got it after the first.
static FORCE_RELEASE: Script = Script::once(with_line!("../scripts/force_release.lua"));

pub(super) async fn acquire(
    link: &Link,
    key: &LockKeys,
    ask: &Ask,
    channel: &str,
) -> Result<Value> {
    let keys = [key.holders(), key.line(), key.waiters(), key.claim(), key.fence()];
    // What there is not is no argument.
    link.script(&ACQUIRE, &keys)
        .arg(ask.token.to_string())
        .arg(ask.ttl.as_millis())
        .arg(channel)
        .arg(ask.waits.then(|| millis(WAITER_ALIVE)))
        .arg(ask.arrival)
        .run()
        .await
}

pub(super) async fn extend(link: &Link, key: &LockKeys, token: Token, ttl: Ttl) -> Result<bool> {
    link.script(&EXTEND, &keys_to_extend(key, token))
        .arg(token.to_string())
        .arg(ttl.as_millis())
        .past_breaker()
        .run()
        .await
}

/// The same as one command, for a connection of one's own: its server may not know the script.
pub(super) fn extend_whole(key: &LockKeys, token: Token, ttl_ms: u64) -> Cmd {
    let (mut eval, keys) = (redis::cmd("EVAL"), keys_to_extend(key, token));
    eval.arg(EXTEND_SOURCE).arg(keys.len()).arg(&keys[..]).arg(token.to_string()).arg(ttl_ms);
    eval
}

/// A permit has no fence.
fn keys_to_extend(key: &LockKeys, token: Token) -> Vec<&str> {
    match token.kind {
        Kind::Permit { .. } => vec![key.holders()],
        Kind::Alone | Kind::Shared => vec![key.holders(), key.fence()],
    }
}

/// Removes one that holds alone, where nobody waits; see `line.lua`. Whether it was there.
pub(super) async fn remove(link: &Link, key: &LockKeys, token: Token) -> Result<bool> {
    let mut remove = redis::cmd("ZREM");
    remove.arg(key.holders()).arg(token.to_string());
    link.call(remove, key.holders(), Rerun::Harmless).past_breaker().run().await
}

pub(super) async fn release(
    link: &Link,
    key: &LockKeys,
    token: Token,
    channel: &str,
) -> Result<bool> {
    link.script(&RELEASE, &[key.holders(), key.line(), key.waiters(), key.claim()])
        .arg(token.to_string())
        .arg(channel)
        .past_breaker()
        .run()
        .await
}

pub(super) async fn force_release(link: &Link, key: &LockKeys, channel: &str) -> Result<u64> {
    let keys = [key.holders(), key.line(), key.waiters(), key.claim()];
    link.script(&FORCE_RELEASE, &keys).arg(channel).run().await
}

pub(super) async fn look(
    link: &Link,
    key: &LockKeys,
    holders_max: usize,
) -> Result<(u64, String, u64, u64, Vec<Value>)> {
    let keys = [key.holders(), key.waiters(), key.fence()];
    link.script(&LOOK, &keys).arg(holders_max).run().await
}
