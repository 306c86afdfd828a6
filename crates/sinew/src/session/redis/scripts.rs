//! One typed door per script.

use std::time::Duration;

use bytes::Bytes;
use redis::FromRedisValue;

use super::row;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{SessionKeys, SlotKeys};
use crate::kernel::redis::{Link, Script};
use crate::session::backend::{Ending, Took, Whose};
use crate::session::model::{
    Beginning, Begun, Change, Changes, DATA_MAX, Evict, Outcome, Replicas, Rotated, Rotation, Row,
    Saving, Stored, Times, When, millis,
};

// A script cannot include another.
macro_rules! with_parts {
    ($file:literal) => {
        concat!(include_str!("../scripts/parts.lua"), include_str!($file))
    };
}

const END_SOURCE: &str = with_parts!("../scripts/end.lua");
const END_ALL_SOURCE: &str = with_parts!("../scripts/end_all.lua");
const ROTATE_SOURCE: &str = with_parts!("../scripts/rotate.lua");

static LEFT: Script = Script::rerunnable(with_parts!("../scripts/left.lua"));
static TOUCH: Script = Script::rerunnable(with_parts!("../scripts/touch.lua"));
// By an id that is the caller's: a second run finds what the first did.
static CREATE: Script = Script::rerunnable(with_parts!("../scripts/create.lua"));
static ROTATE: Script = Script::rerunnable(ROTATE_SOURCE);
// A second run would undo what others have changed since, or find taken what it has taken itself.
static SAVE: Script = Script::once(with_parts!("../scripts/save.lua"));
static TAKE: Script = Script::once(with_parts!("../scripts/take.lua"));
static TAKE_DOWN: Script = Script::once(END_SOURCE);
static END: Script = Script::rerunnable(END_SOURCE);
// A second run also ends what began since: one is logged out once more than was asked, and never once less.
static END_ALL: Script = Script::rerunnable(END_ALL_SOURCE);

/// A script with what it is told.
struct Step<'a> {
    script: &'static Script,
    source: &'static str,
    keys: Vec<&'a str>,
    arguments: Vec<String>,
}

impl Step<'_> {
    /// Makes the step, and waits for replicas where it is to be theirs too. That is on a connection of its
    /// own: Redis waits for what was written on the same one.
    async fn run<T: FromRedisValue>(self, link: &Link, replicas: Option<Replicas>) -> Result<T> {
        let Some(Replicas { count, within }) = replicas else {
            let call = link.script(self.script, &self.keys).arg(self.arguments);
            return call.past_breaker().run().await;
        };
        let connection = link.dedicate(self.keys.first().copied().unwrap_or_default()).await?;
        let mut eval = redis::cmd("EVAL");
        eval.arg(self.source).arg(self.keys.len()).arg(&self.keys[..]).arg(self.arguments);
        let (connection, reply) = connection.call(&eval, Duration::ZERO).await?;
        let mut wait = redis::cmd("WAIT");
        wait.arg(count).arg(millis(within));
        let (_, have_it): (_, u32) = connection.call(&wait, within).await?;
        match have_it >= count {
            true => Ok(reply),
            false => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: true },
                format!(
                    "{have_it} replicas had the end of a session within {within:?}: expected {count}"
                ),
            )),
        }
    }
}

/// Of a user's session, all three.
fn keys_of(keys: &SessionKeys, whose: Whose) -> Vec<&str> {
    match whose {
        Whose::Nobodys => vec![keys.session()],
        Whose::Users => vec![keys.session(), keys.slot().epoch(), keys.slot().index()],
    }
}

pub(super) async fn touch(
    link: &Link,
    keys: &SessionKeys,
    whose: Whose,
    idle_ms: u64,
) -> Result<Option<u64>> {
    let seen_ms: u64 = link.script(&TOUCH, &keys_of(keys, whose)).arg(idle_ms).run().await?;
    Ok((seen_ms > 0).then_some(seen_ms))
}

/// Whether a session is live. A save that lies alone in its place is removed.
pub(super) async fn is_live_or_remove(
    link: &Link,
    keys: &SessionKeys,
    whose: Whose,
    idle_ms: u64,
) -> Result<bool> {
    link.script(&LEFT, &keys_of(keys, whose)).arg(idle_ms).run().await
}

pub(super) async fn create(
    link: &Link,
    keys: &SessionKeys,
    new: &Beginning,
    epoch_kept: Duration,
) -> Result<Begun> {
    let whose = if new.user.is_some() { Whose::Users } else { Whose::Nobodys };
    let evicts = new.most.is_some_and(|most| most.evict == Evict::Oldest);
    let mut call = link
        .script(&CREATE, &keys_of(keys, whose))
        .arg(new.idle_ms)
        .arg(when(new.ends))
        .arg(u8::from(new.is_chosen))
        .arg(new.most.map_or(0, |most| most.sessions))
        .arg(u8::from(evicts))
        .arg(millis(epoch_kept))
        .arg(new.user.as_deref().unwrap_or_default())
        .arg(new.device.as_deref().unwrap_or_default())
        .arg(new.address.map_or_else(|| "-".to_owned(), |address| address.to_string()));
    for argument in changes(&new.data) {
        call = call.arg(&argument[..]);
    }
    let reply: Vec<u64> = call.run().await?;
    match reply[..] {
        [1, made_ms, ends_ms, ended] => Ok(Begun::Done { made_ms, ends_ms, ended }),
        [0] => Ok(Begun::Refused),
        [2] => Ok(Begun::Taken),
        _ => Err(unexpected()),
    }
}

pub(super) async fn save(
    link: &Link,
    keys: &SessionKeys,
    whose: Whose,
    saving: &Saving<'_>,
) -> Result<Outcome> {
    let text = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let mut call = link
        .script(&SAVE, &keys_of(keys, whose))
        .arg(saving.idle_ms)
        .arg(text(saving.expected))
        .arg(text(saving.ends))
        .arg(DATA_MAX)
        .arg(saving.len_max);
    for argument in changes(saving.changes) {
        call = call.arg(&argument[..]);
    }
    let reply: Vec<u64> = call.run().await?;
    match reply[..] {
        [1, version, len, seen_ms, ends_ms, now_ms] => Ok(Outcome::Saved {
            version,
            times: Times { seen_ms, ends_ms, now_ms },
            stored: Some(Stored { len, appended: 0 }),
        }),
        [0] => Ok(Outcome::Gone),
        [2] => Ok(Outcome::Conflict),
        [3] => Ok(Outcome::TooMuch),
        _ => Err(unexpected()),
    }
}

pub(super) async fn take(
    link: &Link,
    keys: &SessionKeys,
    idle_ms: u64,
    name: &str,
) -> Result<Took> {
    let named = [keys.session(), keys.slot().epoch()];
    let call = link.script(&TAKE, &named).arg(idle_ms).arg(name).arg("-").arg("");
    let (version, json): (u64, Bytes) = call.run().await?;
    Ok(match version {
        0 => Took::Gone,
        version => Took::Datum { json: (!json.is_empty()).then_some(json), version },
    })
}

pub(super) async fn end(
    link: &Link,
    keys: &SessionKeys,
    whose: Whose,
    replicas: Option<Replicas>,
) -> Result<bool> {
    let (was_live, _): (bool, Bytes) = end_step(&END, keys, whose, "").run(link, replicas).await?;
    Ok(was_live)
}

pub(super) async fn take_down(
    link: &Link,
    keys: &SessionKeys,
    whose: Whose,
    replicas: Option<Replicas>,
) -> Result<Option<Row>> {
    let step = end_step(&TAKE_DOWN, keys, whose, "1");
    let (was_live, text): (bool, Bytes) = step.run(link, replicas).await?;
    match was_live {
        true => row::read(&text).map(|(row, _)| Some(row)).ok_or_else(unexpected),
        false => Ok(None),
    }
}

fn end_step<'a>(
    script: &'static Script,
    keys: &'a SessionKeys,
    whose: Whose,
    told: &str,
) -> Step<'a> {
    let (keys, arguments) = (keys_of(keys, whose), vec![told.to_owned()]);
    Step { script, source: END_SOURCE, keys, arguments }
}

pub(super) async fn end_all(
    link: &Link,
    slot: &SlotKeys,
    stays: Option<&SessionKeys>,
    how: Ending,
) -> Result<()> {
    let mut keys = vec![slot.epoch(), slot.index()];
    keys.extend(stays.map(SessionKeys::session));
    let arguments = vec![millis(how.epoch_kept).to_string()];
    let step = Step { script: &END_ALL, source: END_ALL_SOURCE, keys, arguments };
    step.run::<u64>(link, how.replicas).await.map(|_| ())
}

pub(super) async fn rotate(
    link: &Link,
    from: &SessionKeys,
    to: &SessionKeys,
    whose: Whose,
    rotation: &Rotation,
    how: Ending,
) -> Result<Option<Rotated>> {
    let mut keys = vec![to.session()];
    keys.extend(keys_of(from, whose));
    let arguments = vec![
        rotation.idle_ms.to_string(),
        rotation.lasts.map_or_else(String::new, when),
        millis(how.epoch_kept).to_string(),
        rotation.device.as_deref().unwrap_or_default().to_owned(),
        rotation.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
    ];
    let step = Step { script: &ROTATE, source: ROTATE_SOURCE, keys, arguments };
    let reply: Vec<u64> = step.run(link, how.replicas).await?;
    match reply[..] {
        [made_ms, seen_ms, ends_ms] => Ok(Some(Rotated { made_ms, seen_ms, ends_ms })),
        [] => Ok(None),
        _ => Err(unexpected()),
    }
}

/// As `at()` of the scripts reads it.
fn when(when: When) -> String {
    match when {
        When::After(ms) => format!("+{ms}"),
        When::At(ms) => ms.to_string(),
    }
}

/// As `change()` of the scripts reads them.
fn changes(changes: &Changes) -> impl Iterator<Item = Bytes> {
    changes.iter().flat_map(|(name, change)| {
        let name = Bytes::copy_from_slice(name.as_bytes());
        match change {
            Change::Set { json, ends } => {
                [name, ends.map_or_else(Bytes::new, |ends| when(ends).into()), json.clone()]
            }
            Change::Remove => [name, Bytes::from_static(b"-"), Bytes::new()],
        }
    })
}

fn unexpected() -> Error {
    Error::corrupt("unexpected reply to a step of a session")
}
