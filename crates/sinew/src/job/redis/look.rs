//! One typed door per script of those that look at queues, and of what says how they are.

use std::collections::BTreeMap;

use redis::cmd;

use super::reply::{Parts, found, parts, unexpected};
use super::scripts::{kept, with_parts, with_parts_when_full};
use crate::job::model::{
    After, Counted, DeadGroup, Declaring, Found, Grain, JobId, Kept, LaneInfo, PAGE_MAX, Page,
    QUEUE_LEN_DEFAULT, QUEUES_MAX, QueueLook, Shelf, millis,
};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;
use crate::kernel::redis::{Link, Rerun, Script};

static DECLARE: Script =
    Script::rerunnable(with_parts_when_full!("../scripts/numbers.lua", "../scripts/declare.lua"));
static LOOK: Script =
    Script::rerunnable(with_parts!("../scripts/numbers.lua", "../scripts/look.lua"));
static FIND: Script =
    Script::rerunnable(with_parts_when_full!("../scripts/found.lua", "../scripts/find.lua"));
static PAGE: Script =
    Script::rerunnable(with_parts!("../scripts/found.lua", "../scripts/page.lua"));
static PAST: Script = Script::rerunnable(with_parts!("../scripts/past.lua"));
static DONE: Script = Script::rerunnable(with_parts!("../scripts/done.lua"));
static DEAD_GROUPS: Script = Script::rerunnable(with_parts!("../scripts/dead_groups.lua"));
static RECURRING: Script = Script::rerunnable(with_parts!("../scripts/recurring.lua"));
static LANES: Script = Script::rerunnable(with_parts!("../scripts/lanes_of.lua"));
static COUNTED: Script = Script::rerunnable(with_parts!("../scripts/counted.lua"));
static NOTE_QUEUE: Script = Script::rerunnable(include_str!("../scripts/note_queue.lua"));
// A second run would meet what the first has written, and call that where it was.
static NOTE_RECURRING: Script = Script::once(include_str!("../scripts/note_recurring.lua"));

/// How many groups of dead jobs are told at most.
const GROUPS_MAX: usize = 1_000;
/// How many turns of those that are done are told, or looked at, at most.
const TURNS_MAX: usize = 1_000;

pub(super) async fn declare(
    link: &Link,
    keys: &QueueKeys,
    declaring: Declaring,
) -> Result<QueueLook> {
    let (starts, rate_ms) = declaring.rate.unzip();
    let given = [
        declaring.partitions.map(u64::from),
        declaring.len_max,
        declaring.global,
        declaring.per_key,
        starts,
        rate_ms,
    ];
    let call = given.iter().fold(link.script(&DECLARE, &[keys.meta()]), |call, number| {
        call.arg(number.map_or_else(String::new, |number| number.to_string()))
    });
    let mut parts = parts(call.arg(QUEUE_LEN_DEFAULT)).await?;
    queue_look(&mut parts)
}

/// Nothing where it was not declared.
pub(super) async fn look(link: &Link, keys: &QueueKeys) -> Result<Option<QueueLook>> {
    let look = queue_look(&mut parts(link.script(&LOOK, &[keys.meta()])).await?)?;
    Ok(Some(look).filter(|look| look.partitions > 0))
}

fn queue_look(parts: &mut Parts) -> Result<QueueLook> {
    let mut look = QueueLook {
        now_ms: parts.number()?,
        partitions: u16::try_from(parts.number()?).map_err(|_| unexpected())?,
        is_paused: parts.flag()?,
        waiting: parts.number()?,
        scheduled: parts.number()?,
        running: parts.number()?,
        dead: parts.number()?,
        kept: parts.number()?,
        owed: parts.number()?,
        lanes: parts.number()?,
        global: parts.number()?,
        per_key: parts.number()?,
        rate: (parts.number()?, parts.number()?),
        oldest_ms: parts.moment()?,
        by_priority: [0; 10],
    };
    for waiting in &mut look.by_priority {
        *waiting = parts.number()?;
    }
    Ok(look)
}

/// A job; where it has not ended, its end is told for so long, of more than 0.
pub(super) async fn find(
    link: &Link,
    keys: &QueueKeys,
    id: JobId,
    for_ms: u64,
) -> Result<Option<Found>> {
    let call = link.script(&FIND, &[keys.meta()]).arg(id.to_string()).arg(for_ms);
    let parts = parts(call).await?;
    match parts.is_over() {
        true => Ok(None),
        false => found(parts).map(Some),
    }
}

pub(super) async fn page(
    link: &Link,
    keys: &QueueKeys,
    shelf: &Shelf,
    after: &After,
    count: usize,
) -> Result<Page> {
    let shelf = match shelf {
        Shelf::Waiting(priority) => format!("w{priority}"),
        Shelf::Suspect => "u".to_owned(),
        Shelf::Scheduled => "s".to_owned(),
        Shelf::Running => "r".to_owned(),
        Shelf::Dead => "d".to_owned(),
        Shelf::DeadOf(fingerprint) => format!("d{fingerprint}"),
        Shelf::Kept => "k".to_owned(),
    };
    let id = after.id.map_or_else(String::new, |id| id.to_string());
    let call = link.script(&PAGE, &[keys.meta()]).arg(shelf).arg(after.at).arg(id);
    let mut parts = parts(call.arg(count.clamp(1, PAGE_MAX))).await?;
    let has_more = parts.flag()?;
    let next = After { at: parts.number()?, id: parts.id_if_any()? };
    Ok(Page { jobs: parts.rest_found()?, next: has_more.then_some(next) })
}

pub(super) async fn past(
    link: &Link,
    keys: &QueueKeys,
    from: usize,
    turns: usize,
) -> Result<Vec<(u64, String)>> {
    let call = link.script(&PAST, &[keys.meta()]).arg(from).arg(turns.min(TURNS_MAX));
    let (mut parts, mut past) = (parts(call).await?, Vec::new());
    while !parts.is_over() {
        let (at_ms, lines) = (parts.number()?, parts.bytes()?);
        past.push((at_ms, String::from_utf8_lossy(&lines).into_owned()));
    }
    Ok(past)
}

pub(super) async fn done(
    link: &Link,
    keys: &QueueKeys,
    id: JobId,
) -> Result<Option<(u64, String)>> {
    let mut from = 0;
    loop {
        let call = link.script(&DONE, &[keys.meta()]).arg(id.to_string()).arg(from).arg(TURNS_MAX);
        let mut parts = parts(call).await?;
        if parts.flag()? {
            let (at_ms, line) = (parts.number()?, parts.bytes()?);
            return Ok(Some((at_ms, String::from_utf8_lossy(&line).into_owned())));
        }
        let turns = parts.count()?;
        if turns < TURNS_MAX {
            return Ok(None);
        }
        from += turns;
    }
}

pub(super) async fn dead_groups(link: &Link, keys: &QueueKeys) -> Result<Vec<DeadGroup>> {
    let call = link.script(&DEAD_GROUPS, &[keys.meta()]).arg(GROUPS_MAX);
    let (mut parts, mut groups) = (parts(call).await?, Vec::new());
    while !parts.is_over() {
        let mut one = Parts::of(parts.value()?)?;
        let (fingerprint, sample) = (one.text()?, one.bytes()?);
        let sample = String::from_utf8_lossy(&sample);
        let (kind, error) = sample.split_once('\0').unwrap_or(("", &sample));
        groups.push(DeadGroup {
            fingerprint,
            kind: kind.to_owned(),
            error: error.to_owned(),
            count: one.number()?,
            newest_ms: one.number()?,
        });
    }
    Ok(groups)
}

/// The recurring jobs by name, and the store's time.
pub(super) async fn recurring(link: &Link, keys: &QueueKeys) -> Result<(Vec<Kept>, u64)> {
    let mut parts = parts(link.script(&RECURRING, &[keys.meta()])).await?;
    let (now_ms, mut all) = (parts.number()?, Vec::new());
    while !parts.is_over() {
        let name = parts.text()?;
        all.push(kept(name, &mut parts)?);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((all, now_ms))
}

pub(super) async fn lanes(link: &Link, keys: &QueueKeys) -> Result<Vec<LaneInfo>> {
    let (mut parts, mut lanes) = (parts(link.script(&LANES, &[keys.meta()])).await?, Vec::new());
    while !parts.is_over() {
        let mut one = Parts::of(parts.value()?)?;
        lanes.push(LaneInfo {
            lane: one.text()?,
            worker: one.text()?,
            joined_ms: one.number()?,
            lease_until_ms: one.number()?,
            slots: one.number()?,
            running: one.number()?,
        });
    }
    lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
    Ok(lanes)
}

pub(super) async fn counted(
    link: &Link,
    keys: &QueueKeys,
    grain: Grain,
    count: usize,
) -> Result<Vec<Counted>> {
    // As many as there are at most.
    let (name, keep) = match grain {
        Grain::Minute => ("s", 26 * 60),
        Grain::Day => ("d", 400),
    };
    let call = link.script(&COUNTED, &[keys.meta()]).arg(name).arg(count.min(keep));
    let (mut parts, mut all) = (parts(call.arg(millis(grain.length()))).await?, Vec::new());
    while !parts.is_over() {
        let mut one = Parts::of(parts.value()?)?;
        let mut counted = Counted { at_ms: one.number()?, counts: Vec::new() };
        while !one.is_over() {
            counted.counts.push((one.text()?, one.number()?));
        }
        counted.counts.sort_unstable();
        all.push(counted);
    }
    Ok(all)
}

/// What the node of a key removes when it is full, where it removes anything.
pub(super) async fn eviction(link: &Link, key: &str) -> Result<Option<String>> {
    let mut info = cmd("INFO");
    info.arg("memory");
    let told: String = link.call(info, key, Rerun::Harmless).run().await?;
    Ok(eviction_in(&told))
}

fn eviction_in(told: &str) -> Option<String> {
    let of = |name: &str| {
        let mut lines = told.lines().filter_map(|line| line.trim_end().split_once(':'));
        lines.find(|(field, _)| *field == name).map(|(_, value)| value)
    };
    let is_bounded = of("maxmemory").is_some_and(|most| most != "0");
    of("maxmemory_policy").filter(|policy| is_bounded && *policy != "noeviction").map(str::to_owned)
}

pub(super) async fn note_queue(link: &Link, queues_key: &str, queue: &str) -> Result<bool> {
    link.script(&NOTE_QUEUE, &[queues_key]).arg(queue).arg(QUEUES_MAX).run().await
}

pub(super) async fn queues(link: &Link, queues_key: &str) -> Result<Vec<String>> {
    let mut range = cmd("ZRANGE");
    range.arg(queues_key).arg(0).arg(QUEUES_MAX - 1);
    let mut queues: Vec<String> = link.call(range, queues_key, Rerun::Harmless).run().await?;
    queues.sort_unstable();
    Ok(queues)
}

/// Where it was.
pub(super) async fn note_recurring(
    link: &Link,
    recurring_key: &str,
    name: &str,
    queue: Option<&str>,
) -> Result<Option<String>> {
    let call = link.script(&NOTE_RECURRING, &[recurring_key]).arg(name);
    let was: String = call.arg(queue.unwrap_or_default()).run().await?;
    Ok(Some(was).filter(|was| !was.is_empty()))
}

pub(super) async fn recurring_names(
    link: &Link,
    recurring_key: &str,
) -> Result<Vec<(String, String)>> {
    let mut all = cmd("HGETALL");
    all.arg(recurring_key);
    let names: BTreeMap<String, String> =
        link.call(all, recurring_key, Rerun::Harmless).run().await?;
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    #[test]
    fn what_a_store_evicts_is_told_where_its_memory_is_bounded() {
        let of = |most: &str, policy: &str| {
            let told = format!(
                "# Memory\r\nused_memory:5\r\nmaxmemory:{most}\r\nmaxmemory_policy:{policy}\r\n"
            );
            eviction_in(&told)
        };
        assert_eq!(of("100", "allkeys-lru").as_deref(), Some("allkeys-lru"));
        assert_eq!((of("0", "allkeys-lru"), of("100", "noeviction")), (None, None));
        assert_eq!(eviction_in("# Memory\r\n"), None);
    }

    #[test]
    fn numbers_are_those_of_their_place() {
        let numbers = (1..=25).map(Value::Int).collect();
        let look = queue_look(&mut Parts::of(Value::Array(numbers)).unwrap()).unwrap();
        assert_eq!((look.now_ms, look.partitions, look.is_paused), (1, 2, false));
        assert_eq!((look.waiting, look.lanes, look.rate), (4, 10, (13, 14)));
        assert_eq!((look.oldest_ms, look.by_priority[0], look.by_priority[9]), (Some(15), 16, 25));
    }
}
