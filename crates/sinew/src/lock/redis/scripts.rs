//! One typed door per script.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::kernel::error::Result;
use crate::kernel::key::LockKeys;
use crate::kernel::redis::{Link, Script};
use crate::kernel::ttl::Ttl;
use crate::lock::model::{Ask, Token, WAITER_ALIVE, millis};

// A script cannot include another.
macro_rules! with_line {
    ($file:literal) => {
        concat!(include_str!("../scripts/line.lua"), include_str!($file))
    };
}

const ACQUIRE_SOURCE: &str = with_line!("../scripts/acquire.lua");

// All go by a token that names one attempt, so a second run finds what the first did.
static ACQUIRE: Script = Script::rerunnable(ACQUIRE_SOURCE);
static EXTEND: Script = Script::rerunnable(include_str!("../scripts/extend.lua"));
static RELEASE: Script = Script::rerunnable(with_line!("../scripts/release.lua"));
static LOOK: Script = Script::rerunnable(include_str!("../scripts/look.lua"));
// A second run would take it from whoever got it after the first.
static FORCE_RELEASE: Script = Script::once(with_line!("../scripts/force_release.lua"));

pub(super) async fn acquire(
    link: &Link,
    key: &LockKeys,
    ask: &Ask,
    channel: &str,
) -> Result<Vec<Value>> {
    let keys = [key.holders(), key.line(), key.waiters(), key.claim(), key.fence()];
    let mut call = link.script(&ACQUIRE, &keys);
    for argument in arguments(ask, channel) {
        call = call.arg(argument);
    }
    call.run().await
}

/// The same as one command, for a connection of one's own: its server may not know the script.
pub(super) fn acquire_whole(key: &LockKeys, ask: &Ask, channel: &str) -> Cmd {
    let keys = [key.holders(), key.line(), key.waiters(), key.claim(), key.fence()];
    let (mut eval, arguments) = (redis::cmd("EVAL"), arguments(ask, channel));
    eval.arg(ACQUIRE_SOURCE).arg(keys.len()).arg(&keys[..]).arg(&arguments[..]);
    eval
}

fn arguments(ask: &Ask, channel: &str) -> [String; 5] {
    let alive_for = if ask.waits { WAITER_ALIVE } else { Duration::ZERO };
    [
        ask.token.to_string(),
        ask.ttl.as_millis().to_string(),
        millis(alive_for).to_string(),
        ask.arrival.map_or_else(String::new, |arrival| arrival.to_string()),
        channel.to_owned(),
    ]
}

pub(super) async fn extend(link: &Link, key: &LockKeys, token: Token, ttl: Ttl) -> Result<bool> {
    link.script(&EXTEND, &[key.holders(), key.fence()])
        .arg(token.to_string())
        .arg(ttl.as_millis())
        .past_breaker()
        .run()
        .await
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
) -> Result<(String, u64, u64, Vec<Value>)> {
    let keys = [key.holders(), key.waiters(), key.fence()];
    link.script(&LOOK, &keys).arg(holders_max).run().await
}
