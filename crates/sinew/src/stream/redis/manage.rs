//! One typed door per script of those that look at topics and groups, and keep them in order.

use super::reply::{Parts, unexpected};
use super::scripts::{
    NO_GROUP, declared, parts, start_text, text, with_parts, with_parts_when_full,
};
use crate::kernel::error::Result;
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::redis::{Call, Link, Script};
use crate::stream::model::{
    Consumer, Count, DEAD_KEEP, EntryId, Force, GroupChange, GroupLook, GroupMode, PartitionLook,
    Redriven, Start, TOPICS_MAX, TRIM_MAX, Trim, Trimming, millis,
};

static TRIM: Script = Script::rerunnable(with_parts_when_full!("../scripts/trim.lua"));
static LOOK: Script = Script::rerunnable(with_parts!("../scripts/look.lua"));
static REDRIVE: Script = Script::once(with_parts!("../scripts/redrive.lua"));
static DROP_DEAD: Script = Script::rerunnable(with_parts_when_full!("../scripts/drop_dead.lua"));
static SEEK: Script = Script::rerunnable(with_parts_when_full!("../scripts/seek.lua"));
static KEEP: Script = Script::rerunnable(with_parts_when_full!("../scripts/keep.lua"));
static FORGET: Script = Script::rerunnable(with_parts_when_full!("../scripts/forget.lua"));
static CONSUMERS: Script = Script::rerunnable(with_parts!("../scripts/consumers.lua"));
static NOTE_TOPIC: Script = Script::rerunnable(with_parts_when_full!("../scripts/note_topic.lua"));

/// Unread entries of a group are counted up to here, by number and by bytes: Redis reads them whole for it, and serves no
/// one else meanwhile.
const COUNTED_MAX: usize = 100;
const COUNTED_LEN_MAX: usize = 1 << 16;

pub(super) async fn trim(link: &Link, keys: &PartitionKeys, trimming: Trimming) -> Result<Trim> {
    let call = link
        .script(&TRIM, &[keys.log(), keys.groups(), keys.meta(), keys.dead()])
        .arg(text(trimming.keep_ms))
        .arg(text(trimming.forget_ms))
        .arg(TRIM_MAX)
        .arg(millis(DEAD_KEEP));
    let mut parts = parts(call).await?;
    Ok(Trim {
        removed: parts.number()?,
        floor: parts.id_if_any()?,
        held_by: parts.name()?,
        forgotten: parts.names()?,
    })
}

pub(super) async fn look(link: &Link, keys: &PartitionKeys) -> Result<PartitionLook> {
    let named = [keys.log(), keys.meta(), keys.groups(), keys.dead(), keys.later()];
    let call = link.script(&LOOK, &named).arg(COUNTED_MAX).arg(COUNTED_LEN_MAX);
    let mut parts = parts(call).await?;
    let mut look = PartitionLook {
        now_ms: parts.number()?,
        declared: declared(&mut parts)?,
        len: parts.number()?,
        published: parts.number()?,
        delayed: parts.number()?,
        dead: parts.number()?,
        lost: parts.number()?,
        last: parts.id_if_any()?,
        held_by: parts.name()?,
        groups: Vec::new(),
    };
    while !parts.is_over() {
        look.groups.push(group_look(Parts::of(parts.value()?)?)?);
    }
    Ok(look)
}

fn group_look(mut parts: Parts) -> Result<GroupLook> {
    Ok(GroupLook {
        name: parts.text()?,
        mode: GroupMode::named(&parts.text()?).unwrap_or(GroupMode::Any),
        waiting: Count { n: parts.number()?, is_exact: parts.flag()? },
        held: parts.number()?,
        parked: parts.number()?,
        dead: parts.number()?,
        consumers: u32::try_from(parts.number()?).unwrap_or(u32::MAX),
        oldest_ms: parts.age()?,
        seen_ms: parts.moment()?,
        is_forgotten: parts.flag()?,
        orphaned: parts.number()?,
    })
}

pub(super) async fn redrive(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    dead: &[EntryId],
) -> Result<Redriven> {
    let named = [keys.log(), keys.dead(), keys.meta(), keys.groups(), keys.later()];
    let call = with_ids(link.script(&REDRIVE, &named).arg(group.name().as_str()), dead);
    let mut parts = parts(call).await?;
    match parts.outcome()? {
        1 => Ok(Redriven::Done(parts.number()?)),
        3 => Ok(Redriven::Full),
        _ => Err(unexpected()),
    }
}

pub(super) async fn drop_dead(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    dead: &[EntryId],
) -> Result<u64> {
    let call = link.script(&DROP_DEAD, &[keys.dead(), keys.groups()]);
    with_ids(call.arg(group.name().as_str()), dead).run().await
}

fn with_ids<'a>(call: Call<'a>, ids: &[EntryId]) -> Call<'a> {
    ids.iter().fold(call, |call, id| call.arg(id.to_string()))
}

pub(super) async fn seek(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    to: Start,
    how: Force,
) -> Result<GroupChange> {
    let named =
        [keys.log(), keys.groups(), group.due(), group.tries(), group.members(), group.own()];
    let call = link.script(&SEEK, &named).arg(group.name().as_str());
    let call = call.arg(start_text(to)).arg(u8::from(how == Force::Yes));
    let mut parts = parts(call).await?;
    match parts.outcome()? {
        1 => Ok(GroupChange::Done),
        0 => Ok(GroupChange::Pending(parts.number()?)),
        NO_GROUP => Ok(GroupChange::Unknown),
        _ => Err(unexpected()),
    }
}

pub(super) async fn keep(link: &Link, keys: &PartitionKeys, group: &GroupKeys) -> Result<()> {
    let call = link.script(&KEEP, &[keys.log(), keys.groups()]);
    let _was_there: bool = call.arg(group.name().as_str()).run().await?;
    Ok(())
}

pub(super) async fn forget(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
    how: Force,
) -> Result<GroupChange> {
    let named =
        [keys.log(), keys.groups(), group.members(), group.due(), group.tries(), group.own()];
    let call = link.script(&FORGET, &named).arg(group.name().as_str());
    let mut parts = parts(call.arg(u8::from(how == Force::Yes))).await?;
    match parts.outcome()? {
        1 => Ok(GroupChange::Done),
        0 => Ok(GroupChange::Pending(parts.number()?)),
        NO_GROUP => Ok(GroupChange::Unknown),
        _ => Err(unexpected()),
    }
}

pub(super) async fn consumers(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupKeys,
) -> Result<Vec<Consumer>> {
    let named = [keys.log(), group.members(), group.own()];
    let call = link.script(&CONSUMERS, &named).arg(group.name().as_str());
    let (mut parts, mut consumers) = (parts(call).await?, Vec::new());
    while !parts.is_over() {
        let mut one = Parts::of(parts.value()?)?;
        consumers.push(Consumer {
            name: one.text()?,
            held: one.number()?,
            lease_left_ms: one.age()?,
            oldest: one.id_if_any()?,
            fence: one.name()?.and_then(|fence| fence.parse().ok()),
        });
    }
    Ok(consumers)
}

pub(super) async fn note_topic(link: &Link, topics: &str, topic: &str) -> Result<bool> {
    link.script(&NOTE_TOPIC, &[topics]).arg(topic).arg(TOPICS_MAX).run().await
}
