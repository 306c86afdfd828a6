//! One typed door per script of those that move events.

use redis::Value;

use super::reply::{Parts, unexpected};
use crate::kernel::error::Result;
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::redis::{Call, Link, Script};
use crate::stream::backend::{Acking, Burying};
use crate::stream::model::{
    Bury, Claim, DEAD_KEEP, DEAD_LEN_MAX, Declared, Due, EntryId, GroupMode, Joined, Joining,
    KEEP_DEFAULT, LATER_MAX, Left, Made, Noted, Outgoing, Parking, Promoted, Read, ReadFrom, Reply,
    Settlement, Start, TOPIC_LEN_DEFAULT, Take, Taken, Tick, Ticked, Ticking, Who, Whom, Written,
    Wrote, millis,
};

// A script cannot include another.
macro_rules! with_parts {
    ($file:literal) => {
        concat!(include_str!("../scripts/parts.lua"), include_str!($file))
    };
}
pub(super) use with_parts;

// Of what a Redis that is full takes as well: without it no event would be finished, and no room made.
macro_rules! with_parts_when_full {
    ($file:literal) => {
        concat!(
            "#!lua flags=allow-oom\n",
            include_str!("../scripts/parts.lua"),
            include_str!($file)
        )
    };
}
pub(super) use with_parts_when_full;

const PUBLISH_SOURCE: &str = with_parts!("../scripts/publish.lua");

static DECLARE: Script = Script::rerunnable(with_parts_when_full!("../scripts/declare.lua"));
// With a dedup id each, a second run finds what the first did.
static PUBLISH: Script = Script::rerunnable(PUBLISH_SOURCE);
static PUBLISH_ONCE: Script = Script::once(PUBLISH_SOURCE);
static PROMOTE: Script = Script::rerunnable(with_parts_when_full!("../scripts/promote.lua"));
static JOIN: Script = Script::rerunnable(with_parts_when_full!("../scripts/join.lua"));
static TICK: Script = Script::rerunnable(with_parts_when_full!("../scripts/tick.lua"));
static MEMBERS: Script = Script::rerunnable(with_parts!("../scripts/members.lua"));
static RENAME: Script = Script::rerunnable(with_parts_when_full!("../scripts/rename.lua"));
static RECOVER: Script = Script::rerunnable(with_parts_when_full!("../scripts/recover.lua"));
// What a first run took is the caller's: recovering finds it.
static CLAIM: Script = Script::rerunnable(with_parts_when_full!("../scripts/claim.lua"));
static DUE: Script = Script::rerunnable(with_parts_when_full!("../scripts/due.lua"));
static ACK: Script = Script::rerunnable(with_parts_when_full!("../scripts/ack.lua"));
static PARK: Script = Script::rerunnable(with_parts_when_full!("../scripts/park.lua"));
static BURY: Script = Script::rerunnable(with_parts_when_full!("../scripts/bury.lua"));
static LEAVE: Script = Script::rerunnable(with_parts_when_full!("../scripts/leave.lua"));
static TAKE: Script = Script::rerunnable(with_parts_when_full!("../scripts/take.lua"));
static HOLD: Script = Script::rerunnable(with_parts_when_full!("../scripts/hold.lua"));
// A second run would read on.
static READ: Script = Script::once(with_parts_when_full!("../scripts/read.lua"));
static RELEASE: Script = Script::rerunnable(with_parts_when_full!("../scripts/release.lua"));

pub(super) const NO_GROUP: i64 = -1;

static NOTES: Script = Script::rerunnable(with_parts!("../scripts/notes.lua"));

pub(super) async fn parts(call: Call<'_>) -> Result<Parts> {
    Parts::of(call.run::<Value>().await?)
}

pub(super) fn text(number: Option<u64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// A holder, and the key that says what it has.
fn holder<'a>(who: &Who, group: &'a GroupKeys) -> (String, &'a str) {
    match who {
        Who::Consumer(consumer) => (format!("c{consumer}"), group.members()),
        Who::Fence(fence) => (format!("f{fence}"), group.own()),
    }
}

pub(super) fn start_text(start: Start) -> String {
    match start {
        Start::First => "0".to_owned(),
        Start::Next => "$".to_owned(),
        Start::After(id) => id.to_string(),
    }
}

pub(super) async fn declare(
    link: &Link,
    keys: &PartitionKeys,
    partitions: Option<u16>,
    len_max: Option<u64>,
    keep_ms: Option<u64>,
) -> Result<Declared> {
    let call = link.script(&DECLARE, &[keys.meta()]).arg(text(partitions.map(u64::from)));
    let call = call.arg(text(len_max)).arg(text(keep_ms));
    declared(&mut parts(call.arg(TOPIC_LEN_DEFAULT).arg(millis(KEEP_DEFAULT))).await?)
}

pub(super) fn declared(parts: &mut Parts) -> Result<Declared> {
    Ok(Declared {
        partitions: u16::try_from(parts.number()?).map_err(|_| unexpected())?,
        len_max: parts.number()?,
        keep_ms: parts.number()?,
    })
}

pub(super) async fn publish(
    link: &Link,
    keys: &PartitionKeys,
    partitions: u16,
    events: &[Outgoing],
) -> Result<Written> {
    let script = match events.iter().all(|event| event.dedup.is_some()) {
        true => &PUBLISH,
        false => &PUBLISH_ONCE,
    };
    let named = [keys.log(), keys.meta(), keys.groups(), keys.later(), keys.bodies()];
    let mut call = link.script(script, &named).arg(partitions).arg(LATER_MAX);
    for event in events {
        let (key, window_ms) = match &event.dedup {
            Some(dedup) => (dedup.key.as_str(), dedup.window_ms),
            None => ("", 0),
        };
        call = call.arg(key).arg(window_ms).arg(event.delay_ms).arg(2 * event.fields.len());
        for (name, value) in &event.fields {
            call = call.arg(&name[..]).arg(&value[..]);
        }
    }
    let mut parts = parts(call).await?;
    match parts.outcome()? {
        1 => {
            let wrote = parts.names()?;
            Ok(Written::Done(wrote.iter().map(|wrote| wrote_of(wrote)).collect::<Result<_>>()?))
        }
        0 => {
            let partitions = u16::try_from(parts.number()?).map_err(|_| unexpected())?;
            Ok(Written::OtherPartitions(partitions))
        }
        2 => Ok(Written::NotDeclared),
        3 => Ok(Written::Full {
            len: parts.number()?,
            len_max: parts.number()?,
            held_by: parts.name()?,
        }),
        4 => Ok(Written::TooManyLater),
        _ => Err(unexpected()),
    }
}

fn wrote_of(text: &str) -> Result<Wrote> {
    let id = |text: &str| text.parse::<EntryId>().map_err(|_| unexpected());
    match text.split_at_checked(1) {
        Some(("=", first)) if first.starts_with('~') => Ok(Wrote::Duplicate(None)),
        Some(("=", first)) => Ok(Wrote::Duplicate(Some(id(first)?))),
        Some(("~", due)) => Ok(Wrote::Later { due_ms: due.parse().map_err(|_| unexpected())? }),
        _ => Ok(Wrote::Entry(id(text)?)),
    }
}

pub(super) async fn promote(link: &Link, keys: &PartitionKeys, max: usize) -> Result<Promoted> {
    let named = [keys.log(), keys.later(), keys.bodies()];
    let mut parts = parts(link.script(&PROMOTE, &named).arg(max)).await?;
    Ok(Promoted { promoted: parts.number()?, next_later_ms: parts.moment()? })
}

pub(super) async fn join(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    joining: &Joining<'_>,
) -> Result<Joined> {
    let named =
        [keys.log(), keys.groups(), group.members(), group.own(), group.due(), group.tries()];
    let mut call = link
        .script(&JOIN, &named)
        .arg(group.name().as_str())
        .arg(joining.who)
        .arg(joining.lease_ms)
        .arg(joining.mode.name())
        .arg(start_text(joining.start))
        .arg(text(joining.forget_ms));
    for checkpoint in joining.checkpoints {
        call = call.arg(checkpoint.to_string());
    }
    let mut parts = parts(call.past_breaker()).await?;
    match parts.outcome()? {
        1 => Ok(Joined::Done {
            now_ms: parts.number()?,
            made: match parts.outcome()? {
                0 => Made::Nothing,
                1 => Made::New,
                2 => Made::MovedForward,
                _ => return Err(unexpected()),
            },
            from: parts.id_if_any()?,
            sought: parts.id_if_any()?,
            born_us: parts.number()?,
            last: parts.id()?,
        }),
        0 => {
            let mode = GroupMode::named(&parts.text()?).ok_or_else(unexpected)?;
            Ok(Joined::OtherMode(mode))
        }
        _ => Err(unexpected()),
    }
}

pub(super) async fn tick(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    ticking: &Ticking<'_>,
) -> Result<Tick> {
    let named = [
        keys.log(),
        keys.groups(),
        group.members(),
        group.due(),
        keys.later(),
        keys.meta(),
        group.tries(),
    ];
    let call = link
        .script(&TICK, &named)
        .arg(group.name().as_str())
        .arg(ticking.consumer)
        .arg(ticking.lease_ms)
        .arg(ticking.grace_ms)
        .arg(u8::from(ticking.whom == Whom::Everyone));
    ticked(parts(call.past_breaker()).await?)
}

fn ticked(mut parts: Parts) -> Result<Tick> {
    match parts.outcome()? {
        1 => Ok(Tick::Kept(Ticked {
            now_ms: parts.number()?,
            checkpoint: Some(parts.text()?.parse()?),
            mine: parts.number()?,
            pending: parts.number()?,
            next_due_ms: parts.moment()?,
            next_later_ms: parts.moment()?,
            fallen: parts.name()?,
            oldest_ms: parts.age()?,
            sought: parts.id_if_any()?,
            born_us: parts.number()?,
        })),
        0 => Ok(Tick::Fallen),
        NO_GROUP => Ok(Tick::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn members(link: &Link, group: &GroupKeys) -> Result<Vec<String>> {
    parts(link.script(&MEMBERS, &[group.members()])).await?.names()
}

pub(super) async fn rename(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    [old, new]: [&str; 2],
    lease_ms: u64,
) -> Result<Reply<Vec<EntryId>>> {
    let named = [keys.log(), group.members(), keys.meta(), group.tries(), group.due()];
    let call = link.script(&RENAME, &named);
    let call = call.arg(group.name().as_str()).arg(old).arg(new).arg(lease_ms);
    let mut parts = parts(call.past_breaker()).await?;
    match parts.outcome()? {
        1 => Ok(Reply::Ok(parts.ids()?)),
        NO_GROUP => Ok(Reply::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn recover(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    consumer: &str,
    known: &[EntryId],
    max: usize,
) -> Result<Reply<Taken>> {
    let named = [keys.log(), group.tries(), keys.meta(), group.due()];
    let call = link.script(&RECOVER, &named).arg(group.name().as_str());
    let mut call = call.arg(consumer).arg(max);
    for id in known {
        call = call.arg(id.to_string());
    }
    let mut parts = parts(call).await?;
    match parts.outcome()? {
        1 => Ok(Reply::Ok(parts.taken()?)),
        NO_GROUP => Ok(Reply::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn claim(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    ticking: &Ticking<'_>,
    from: &str,
    max: usize,
) -> Result<Claim> {
    let named = [keys.log(), group.members(), group.tries(), keys.meta(), group.due()];
    let call = link
        .script(&CLAIM, &named)
        .arg(group.name().as_str())
        .arg(ticking.consumer)
        .arg(from)
        .arg(max.max(1))
        .arg(ticking.grace_ms)
        .arg(ticking.lease_ms);
    let mut parts = parts(call).await?;
    match parts.outcome()? {
        1 => Ok(Claim::Took { taken: parts.taken()?, has_more: parts.flag()? }),
        0 => Ok(Claim::Refused),
        NO_GROUP => Ok(Claim::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn due(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    consumer: &str,
    max: usize,
) -> Result<Due> {
    let named = [
        keys.log(),
        group.members(),
        group.due(),
        group.tries(),
        keys.later(),
        keys.bodies(),
        keys.meta(),
    ];
    let call = link.script(&DUE, &named).arg(group.name().as_str()).arg(consumer).arg(max);
    let mut parts = parts(call).await?;
    match parts.outcome()? {
        1 => Ok(Due::Took {
            taken: parts.taken()?,
            next_due_ms: parts.moment()?,
            next_later_ms: parts.moment()?,
        }),
        0 => Ok(Due::Refused),
        NO_GROUP => Ok(Due::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn ack(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    who: &Who,
    acking: Acking<'_>,
) -> Result<Reply<Settlement>> {
    let (who, holder) = holder(who, group);
    let mut call = link
        .script(&ACK, &[keys.log(), holder, group.tries(), group.due()])
        .arg(group.name().as_str())
        .arg(who)
        .arg(acking.inbox.map_or(0, |(_, window_ms)| window_ms))
        .arg(acking.ids.len());
    for id in acking.ids {
        call = call.arg(id.to_string());
    }
    for event in acking.inbox.map_or(&[][..], |(events, _)| events) {
        call = call.arg(group.done(event));
    }
    settled(call).await
}

async fn settled(call: Call<'_>) -> Result<Reply<Settlement>> {
    let mut parts = parts(call.past_breaker()).await?;
    match parts.outcome()? {
        NO_GROUP => Ok(Reply::NoGroup),
        done => {
            let done = u64::try_from(done).map_err(|_| unexpected())?;
            Ok(Reply::Ok(Settlement { done, lost: parts.ids()? }))
        }
    }
}

pub(super) async fn park(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    who: &Who,
    parking: &[Parking],
) -> Result<Reply<Settlement>> {
    let (who, holder) = holder(who, group);
    let named = [keys.log(), holder, group.tries(), group.due(), keys.meta()];
    let mut call = link.script(&PARK, &named).arg(group.name().as_str()).arg(who);
    for one in parking {
        call = call.arg(one.id.to_string()).arg(one.delay_ms);
        call = call.arg(one.note.as_deref().unwrap_or_default());
    }
    settled(call).await
}

pub(super) async fn bury(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    who: &Who,
    burying: Burying<'_>,
) -> Result<Bury> {
    let (who, holder) = holder(who, group);
    let named =
        [keys.log(), holder, group.tries(), group.due(), keys.dead(), keys.meta(), keys.groups()];
    let call = link
        .script(&BURY, &named)
        .arg(group.name().as_str())
        .arg(who)
        .arg(burying.id.to_string())
        .arg(burying.reason)
        .arg(burying.note)
        .arg(DEAD_LEN_MAX)
        .arg(millis(DEAD_KEEP));
    let mut parts = parts(call.past_breaker()).await?;
    match parts.outcome()? {
        1 => Ok(Bury::Done),
        0 => Ok(Bury::NotOwn),
        2 => Ok(Bury::Deleted),
        3 => Ok(Bury::Full),
        NO_GROUP => Ok(Bury::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn leave(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    consumer: &str,
    max: usize,
) -> Result<Reply<Left>> {
    let named = [keys.log(), group.members(), group.due(), keys.meta(), group.tries()];
    let call = link.script(&LEAVE, &named).arg(group.name().as_str());
    let call = call.arg(consumer).arg(max).past_breaker();
    match parts(call).await?.outcome()? {
        1 => Ok(Reply::Ok(Left::More)),
        0 => Ok(Reply::Ok(Left::Gone)),
        NO_GROUP => Ok(Reply::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn notes(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    consumer: &str,
    ids: &[EntryId],
) -> Result<Reply<Vec<Noted>>> {
    let call = link.script(&NOTES, &[keys.log(), group.tries()]).arg(group.name().as_str());
    let call = ids.iter().fold(call.arg(consumer), |call, id| call.arg(id.to_string()));
    let mut parts = parts(call).await?;
    match parts.outcome()? {
        1 => Ok(Reply::Ok(parts.notes()?)),
        NO_GROUP => Ok(Reply::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn take(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    owner: &str,
    lease_ms: u64,
) -> Result<Take> {
    let named = [keys.log(), group.own(), group.due(), keys.groups(), keys.meta(), group.tries()];
    let call = link.script(&TAKE, &named).arg(group.name().as_str()).arg(owner).arg(lease_ms);
    let mut parts = parts(call).await?;
    match parts.outcome()? {
        1 => Ok(Take::Got {
            fence: parts.number()?,
            pending: parts.number()?,
            strangers_left: parts.number()?,
        }),
        0 => Ok(Take::Held),
        NO_GROUP => Ok(Take::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn hold(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    fence: u64,
    lease_ms: u64,
) -> Result<Tick> {
    let named = [keys.log(), group.own(), keys.groups(), group.due(), keys.later()];
    let call = link.script(&HOLD, &named).arg(group.name().as_str()).arg(fence).arg(lease_ms);
    ticked(parts(call.past_breaker()).await?)
}

pub(super) async fn read(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    fence: u64,
    from: ReadFrom,
    max: usize,
) -> Result<Read> {
    let from = match from {
        ReadFrom::New => ">".to_owned(),
        ReadFrom::PendingAfter(id) => id.to_string(),
    };
    let named = [keys.log(), group.own(), group.tries(), group.due(), keys.meta()];
    let call = link.script(&READ, &named).arg(group.name().as_str());
    let mut parts = parts(call.arg(fence).arg(from).arg(max.max(1))).await?;
    match parts.outcome()? {
        1 => Ok(Read::Got(parts.taken()?)),
        0 => Ok(Read::Fenced),
        NO_GROUP => Ok(Read::NoGroup),
        _ => Err(unexpected()),
    }
}

pub(super) async fn release(link: &Link, group: &GroupKeys, fence: u64) -> Result<bool> {
    link.script(&RELEASE, &[group.own()]).arg(fence).past_breaker().run().await
}
