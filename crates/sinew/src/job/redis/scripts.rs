//! One typed door per script of those that move jobs.

use super::reply::{Parts, id_of, parts, unexpected};
use crate::job::model::{
    Audited, BOUND, BatchState, Callbacks, Cancelled, Due, End, Fired, Firing, Held, JobId, Joined,
    Joining, Kept, LOG_LEN_MAX, LOG_LINES_MAX, Noted, OUTBOX_LEASE, OUTBOX_MAX, OnConflict,
    Outgoing, Overlap, Owed, QUEUE_LEN_DEFAULT, RECURRING_MAX, Redriven, Renewed, Settle, Telling,
    Took, Turn, Written, Wrote, millis,
};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;
use crate::kernel::redis::{Call, Link, Script};

// A script cannot include another.
macro_rules! with_parts {
    ($($file:literal),*) => {
        concat!(include_str!("../scripts/parts.lua"), $(include_str!($file)),*)
    };
}
pub(super) use with_parts;

// Of what a Redis that is full takes as well: without it no job would be finished, and no room made.
macro_rules! with_parts_when_full {
    ($($file:literal),*) => {
        concat!(
            "#!lua flags=allow-oom\n",
            include_str!("../scripts/parts.lua"),
            $(include_str!($file)),*
        )
    };
}
pub(super) use with_parts_when_full;

// What was written before is found by its id.
static ENQUEUE: Script = Script::rerunnable(with_parts!(
    "../scripts/ends.lua",
    "../scripts/put.lua",
    "../scripts/enqueue.lua"
));
// A tick that was noted is not fired again.
static FIRE: Script = Script::rerunnable(with_parts!(
    "../scripts/ends.lua",
    "../scripts/put.lua",
    "../scripts/fire.lua"
));
// The lane's name is its own, and says that it was this very call.
static JOIN: Script = Script::rerunnable(with_parts_when_full!("../scripts/join.lua"));
const TURN_SOURCE: &str = concat!(
    "#!lua flags=allow-oom\n",
    include_str!("../scripts/parts.lua"),
    "local function load_rest()\n",
    include_str!("../scripts/ends.lua"),
    include_str!("../scripts/lanes.lua"),
    include_str!("../scripts/rest.lua"),
    "end\n",
    include_str!("../scripts/turn.lua"),
);
// What the request took, and of which of its ends it heard, is kept with it.
static TURN: Script = Script::rerunnable(TURN_SOURCE);
// A request that no one remembers: a second run would call lost what the first has heard of.
static TURN_ONCE: Script = Script::once(TURN_SOURCE);
static RENEW: Script = Script::rerunnable(with_parts_when_full!(
    "../scripts/ends.lua",
    "../scripts/lanes.lua",
    "../scripts/renew.lua"
));
// A lane that is gone has nothing to give back.
static LEAVE: Script = Script::rerunnable(with_parts_when_full!(
    "../scripts/ends.lua",
    "../scripts/lanes.lua",
    "../scripts/leave.lua"
));
// Lines that are there already are not added again.
static TELL: Script = Script::rerunnable(with_parts!("../scripts/tell.lua"));
// A job that is gone is cancelled no more: only the answer differs.
static CANCEL: Script =
    Script::rerunnable(with_parts_when_full!("../scripts/ends.lua", "../scripts/cancel.lua"));
static PAUSE: Script = Script::rerunnable(with_parts_when_full!("../scripts/pause.lua"));
static REDRIVE: Script =
    Script::rerunnable(with_parts_when_full!("../scripts/ends.lua", "../scripts/redrive.lua"));
static DROP_DEAD: Script =
    Script::rerunnable(with_parts_when_full!("../scripts/ends.lua", "../scripts/drop_dead.lua"));
// A batch that was opened stays as it is; of its callbacks it is kept that they were told.
static BATCH: Script =
    Script::rerunnable(with_parts_when_full!("../scripts/ends.lua", "../scripts/batch.lua"));
// What a first run handed out comes again when its time is over.
static OWED: Script = Script::rerunnable(with_parts_when_full!("../scripts/owed.lua"));
static PAID: Script = Script::rerunnable(with_parts_when_full!("../scripts/paid.lua"));
// A definition that is there already is left as it is.
static PUT_RECURRING: Script = Script::rerunnable(with_parts!("../scripts/put_recurring.lua"));
// A second run would remove what was defined anew meanwhile.
static DROP_RECURRING: Script =
    Script::once(with_parts_when_full!("../scripts/drop_recurring.lua"));
static AUDIT: Script = Script::rerunnable(with_parts_when_full!(
    "../scripts/ends.lua",
    "../scripts/lanes.lua",
    "../scripts/audit.lua"
));

pub(super) async fn enqueue(
    link: &Link,
    keys: &QueueKeys,
    partitions: u16,
    jobs: &[Outgoing],
) -> Result<Written> {
    let call = link.script(&ENQUEUE, &[keys.meta()]);
    let call = call.arg(partitions).arg(QUEUE_LEN_DEFAULT).arg(jobs.len());
    let mut parts = parts(jobs.iter().fold(call, with_job)).await?;
    match parts.outcome()? {
        1 => {
            let mut wrote = Vec::with_capacity(jobs.len());
            while !parts.is_over() {
                wrote.push(wrote_of(&parts.text()?)?);
            }
            match wrote.len() == jobs.len() {
                true => Ok(Written::Done(wrote)),
                false => Err(unexpected()),
            }
        }
        0 => {
            let partitions = u16::try_from(parts.number()?).map_err(|_| unexpected())?;
            Ok(Written::OtherPartitions(partitions))
        }
        3 => Ok(Written::Full { size: parts.number()?, cap: parts.number()? }),
        _ => Err(unexpected()),
    }
}

/// As put.lua reads it.
fn with_job<'a>(call: Call<'a>, job: &Outgoing) -> Call<'a> {
    let flags = job.flags;
    let how = match job.due {
        Due::Now => format!("{flags}n"),
        Due::InMs(ms) => format!("{flags}i{ms}"),
        Due::AtMs(ms) => format!("{flags}a{ms}"),
    };
    let call = call.arg(job.id.to_string()).arg(how).arg(&job.body[..]);
    if flags & BOUND == 0 {
        return call;
    }
    let (window_ms, on_conflict) = match &job.claim {
        Some(claim) => (claim.window_ms, conflict_text(claim.on_conflict)),
        None => (0, ""),
    };
    call.arg(window_ms).arg(on_conflict).arg(job.next.as_deref().unwrap_or_default())
}

fn conflict_text(on_conflict: OnConflict) -> &'static str {
    match on_conflict {
        OnConflict::Skip => "s",
        OnConflict::Replace => "r",
    }
}

fn wrote_of(text: &str) -> Result<Wrote> {
    match text.split_at_checked(1) {
        Some(("n", "")) => Ok(Wrote::New),
        Some(("=", "")) => Ok(Wrote::Exists),
        Some(("D", id)) => Ok(Wrote::Duplicate(id_of(id)?)),
        Some(("R", id)) => Ok(Wrote::Replaced(id_of(id)?)),
        _ => Err(unexpected()),
    }
}

pub(super) async fn fire(link: &Link, keys: &QueueKeys, firing: &Firing<'_>) -> Result<Fired> {
    let overlap = match firing.overlap {
        Overlap::Skip => "s",
        Overlap::Allow => "a",
        Overlap::Replace => "r",
    };
    let call = link.script(&FIRE, &[keys.meta()]).arg(firing.name).arg(firing.revision);
    let call = call.arg(firing.tick_ms).arg(overlap).arg(QUEUE_LEN_DEFAULT);
    let mut parts = parts(with_job(call, &firing.job)).await?;
    match parts.outcome()? {
        1 => Ok(Fired::Done),
        0 => Ok(Fired::OtherRevision),
        2 => Ok(Fired::Before),
        3 => Ok(Fired::Early { now_ms: parts.number()? }),
        4 => Ok(Fired::Overlaps),
        5 => Ok(Fired::Full),
        _ => Err(unexpected()),
    }
}

pub(super) async fn join(link: &Link, keys: &QueueKeys, joining: Joining<'_>) -> Result<Joined> {
    let call = link.script(&JOIN, &[keys.meta()]).arg(joining.lane).arg(joining.label);
    let call = call.arg(joining.slots).arg(joining.lease_ms).arg(joining.lanes_max());
    let mut parts = parts(call.past_breaker()).await?;
    match parts.outcome()? {
        1 => Ok(Joined::Done { now_ms: parts.number()? }),
        0 => Ok(Joined::Taken),
        2 => Ok(Joined::Full),
        _ => Err(unexpected()),
    }
}

pub(super) async fn turn(link: &Link, keys: &QueueKeys, turn: &Turn<'_>) -> Result<Held<Took>> {
    let script = if turn.request > 0 { &TURN } else { &TURN_ONCE };
    let ends = Ends::of(turn.settles);
    let call = link
        .script(script, &[keys.meta()])
        .arg(turn.lane)
        .arg(turn.request)
        .arg(turn.want)
        .arg(u8::from(turn.takes_suspect))
        .arg(ends.len())
        .arg(turn.counts.len());
    let call = ends.iter().fold(call, with_end);
    let call = turn.counts.iter().fold(call, |call, (name, by)| call.arg(name.as_str()).arg(*by));
    let mut parts = parts(call.past_breaker()).await?;
    match parts.outcome()? {
        1 => Ok(Held::Kept(took(parts)?)),
        0 => Ok(Held::Fallen),
        _ => Err(unexpected()),
    }
}

/// Ends that are told as one.
enum Ends<'a> {
    /// Of jobs that are done with one fence, and nothing is kept of: nearly all.
    Plain {
        ids: Vec<u8>,
        fence: u64,
        lines: Vec<u8>,
    },
    One(&'a Settle),
}

impl Ends<'_> {
    fn of(settles: &[Settle]) -> Vec<Ends<'_>> {
        let mut all = Vec::new();
        for settle in settles {
            let line = match &settle.end {
                End::Done { retain_ms: 0, line, result } if result.is_empty() => line,
                _ => {
                    all.push(Ends::One(settle));
                    continue;
                }
            };
            if let Some(Ends::Plain { ids, fence, lines }) = all.last_mut()
                && *fence == settle.fence
            {
                settle.id.write_to(ids);
                lines.extend_from_slice(line);
            } else {
                let mut ids = Vec::new();
                settle.id.write_to(&mut ids);
                all.push(Ends::Plain { ids, fence: settle.fence, lines: line.to_vec() });
            }
        }
        all
    }
}

/// As turn.lua reads them.
fn with_end<'a>(call: Call<'a>, ends: &Ends<'_>) -> Call<'a> {
    let settle = match ends {
        Ends::Plain { ids, fence, lines } => {
            return call.arg(&ids[..]).arg(*fence).arg("d0").arg(&lines[..]).arg("");
        }
        Ends::One(settle) => settle,
    };
    let call = call.arg(settle.id.to_string()).arg(settle.fence);
    match &settle.end {
        End::Done { retain_ms, line, result } => {
            call.arg(format!("d{retain_ms}")).arg(&line[..]).arg(&result[..])
        }
        End::Later { delay_ms, note, is_failure } => {
            let how = if *is_failure { 'l' } else { 's' };
            call.arg(format!("{how}{delay_ms}")).arg(&note[..]).arg("")
        }
        End::Dead { fingerprint, sample, note } => {
            call.arg(format!("x{fingerprint}")).arg(sample.as_str()).arg(&note[..])
        }
        End::Back => call.arg("b").arg("").arg(""),
    }
}

fn took(mut parts: Parts) -> Result<Took> {
    let (now_ms, fence, next_due_ms) = (parts.number()?, parts.number()?, parts.moment()?);
    let (bits, lost, stop) = (parts.number()?, parts.count()?, parts.count()?);
    Ok(Took {
        now_ms,
        fence,
        next_due_ms,
        lost: parts.ids(lost)?,
        stop: parts.ids(stop)?,
        jobs: parts.rest_jobs()?,
        has_more: bits & 1 != 0,
        is_paused: bits & 2 != 0,
        is_owing: bits & 4 != 0,
        has_suspects: bits & 8 != 0,
    })
}

pub(super) async fn renew(
    link: &Link,
    keys: &QueueKeys,
    lane: &str,
    lease_ms: u64,
    held: &[(JobId, u64)],
) -> Result<Held<Renewed>> {
    let call = link.script(&RENEW, &[keys.meta()]).arg(lane).arg(lease_ms);
    let call = held.iter().fold(call, |call, (id, fence)| call.arg(id.to_string()).arg(*fence));
    let mut parts = parts(call.past_breaker()).await?;
    match parts.outcome()? {
        1 => Ok(Held::Kept(Renewed {
            now_ms: parts.number()?,
            next_due_ms: parts.moment()?,
            is_owing: parts.flag()?,
            stop: parts.rest_ids()?,
        })),
        0 => Ok(Held::Fallen),
        _ => Err(unexpected()),
    }
}

pub(super) async fn leave(link: &Link, keys: &QueueKeys, lane: &str) -> Result<()> {
    let _had: u64 = link.script(&LEAVE, &[keys.meta()]).arg(lane).past_breaker().run().await?;
    Ok(())
}

pub(super) async fn tell(link: &Link, keys: &QueueKeys, telling: Telling<'_>) -> Result<Noted> {
    let mut call = link
        .script(&TELL, &[keys.meta()])
        .arg(telling.lane)
        .arg(telling.id.to_string())
        .arg(telling.fence)
        .arg(u8::from(telling.progress.is_some()))
        .arg(telling.progress.unwrap_or_default())
        .arg(LOG_LINES_MAX)
        .arg(LOG_LEN_MAX);
    for line in telling.log {
        call = call.arg(&line[..]);
    }
    match call.run::<u8>().await? {
        0 => Ok(Noted::Lost),
        1 => Ok(Noted::Kept),
        2 => Ok(Noted::Cancelled),
        _ => Err(unexpected()),
    }
}

pub(super) async fn cancel(link: &Link, keys: &QueueKeys, id: JobId) -> Result<Cancelled> {
    let call = link.script(&CANCEL, &[keys.meta()]).arg(id.to_string());
    match call.past_breaker().run::<u8>().await? {
        0 => Ok(Cancelled::Unknown),
        1 => Ok(Cancelled::Waiting),
        2 | 3 => Ok(Cancelled::Ended),
        4 => Ok(Cancelled::Running),
        5 => Ok(Cancelled::Scheduled),
        _ => Err(unexpected()),
    }
}

pub(super) async fn pause(link: &Link, keys: &QueueKeys, is_paused: bool) -> Result<()> {
    let call = link.script(&PAUSE, &[keys.meta()]).arg(u8::from(is_paused));
    let _done: u8 = call.past_breaker().run().await?;
    Ok(())
}

pub(super) async fn redrive(link: &Link, keys: &QueueKeys, dead: &[JobId]) -> Result<Redriven> {
    let call = with_ids(link.script(&REDRIVE, &[keys.meta()]), dead);
    let mut parts = parts(call.past_breaker()).await?;
    Ok(Redriven { retried: parts.number()?, duplicates: parts.number()?, gone: parts.number()? })
}

pub(super) async fn drop_dead(link: &Link, keys: &QueueKeys, dead: &[JobId]) -> Result<u64> {
    with_ids(link.script(&DROP_DEAD, &[keys.meta()]), dead).past_breaker().run().await
}

fn with_ids<'a>(call: Call<'a>, ids: &[JobId]) -> Call<'a> {
    ids.iter().fold(call, |call, id| call.arg(id.to_string()))
}

pub(super) async fn open_batch(
    link: &Link,
    keys: &QueueKeys,
    batch: JobId,
    callbacks: &Callbacks,
) -> Result<BatchState> {
    let call = of_batch(link, keys, batch, "o");
    let call = call.arg(callbacks.success.as_deref().unwrap_or_default());
    let call = call.arg(callbacks.complete.as_deref().unwrap_or_default());
    batch_state(parts(call).await?)?.ok_or_else(unexpected)
}

pub(super) async fn seal_batch(
    link: &Link,
    keys: &QueueKeys,
    batch: JobId,
) -> Result<Option<BatchState>> {
    batch_state(parts(of_batch(link, keys, batch, "s")).await?)
}

pub(super) async fn look_at_batch(
    link: &Link,
    keys: &QueueKeys,
    batch: JobId,
) -> Result<Option<BatchState>> {
    batch_state(parts(of_batch(link, keys, batch, "l")).await?)
}

fn of_batch<'a>(link: &'a Link, keys: &'a QueueKeys, batch: JobId, what: &str) -> Call<'a> {
    let call = link.script(&BATCH, &[keys.meta()]);
    call.arg(batch.to_string()).arg(what)
}

fn batch_state(mut parts: Parts) -> Result<Option<BatchState>> {
    if parts.is_over() {
        return Ok(None);
    }
    Ok(Some(BatchState {
        total: parts.number()?,
        left: parts.number()?,
        failed: parts.number()?,
        gone: parts.number()?,
        is_sealed: parts.flag()?,
    }))
}

pub(super) async fn owed(link: &Link, keys: &QueueKeys) -> Result<Vec<Owed>> {
    let call = link.script(&OWED, &[keys.meta()]).arg(OUTBOX_MAX).arg(millis(OUTBOX_LEASE));
    let (mut parts, mut owed) = (parts(call).await?, Vec::new());
    while !parts.is_over() {
        owed.push(Owed { member: parts.text()?, jobs: parts.bytes()? });
    }
    Ok(owed)
}

pub(super) async fn paid(link: &Link, keys: &QueueKeys, members: &[String]) -> Result<()> {
    if members.is_empty() {
        return Ok(());
    }
    let call = link.script(&PAID, &[keys.meta()]);
    let call = members.iter().fold(call, |call, member| call.arg(member.as_str()));
    let _were_there: u64 = call.past_breaker().run().await?;
    Ok(())
}

pub(super) async fn put_recurring(
    link: &Link,
    keys: &QueueKeys,
    name: &str,
    [definition, schedule]: [&[u8]; 2],
    expected: Option<u64>,
) -> Result<Option<Kept>> {
    let expected = expected.map_or_else(String::new, |revision| revision.to_string());
    let call = link.script(&PUT_RECURRING, &[keys.meta()]).arg(name).arg(definition);
    let mut parts = parts(call.arg(schedule).arg(expected).arg(RECURRING_MAX)).await?;
    match parts.is_over() {
        true => Ok(None),
        false => kept(name.to_owned(), &mut parts).map(Some),
    }
}

/// A recurring job, but for its name.
pub(super) fn kept(name: String, parts: &mut Parts) -> Result<Kept> {
    Ok(Kept {
        name,
        revision: parts.number()?,
        definition: parts.bytes()?,
        last_tick_ms: parts.number()?,
        last_job: parts.id_if_any()?,
    })
}

pub(super) async fn drop_recurring(link: &Link, keys: &QueueKeys, name: &str) -> Result<bool> {
    link.script(&DROP_RECURRING, &[keys.meta()]).arg(name).run().await
}

pub(super) async fn audit(link: &Link, keys: &QueueKeys, unless_within_ms: u64) -> Result<Audited> {
    let call = link.script(&AUDIT, &[keys.meta()]).arg(unless_within_ms);
    let mut parts = parts(call.past_breaker()).await?;
    Ok(Audited {
        stranded: parts.number()?,
        miscounted: parts.number()?,
        forgotten_keys: parts.number()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_job_is_told_by_a_letter() {
        let id = "01KAPX2V9QJ7M3B0N8R5T4W6YZ";
        let of = |letter| wrote_of(&format!("{letter}{id}")).unwrap();
        assert_eq!(of('D'), Wrote::Duplicate(id.parse().unwrap()));
        assert_eq!(of('R'), Wrote::Replaced(id.parse().unwrap()));
        assert_eq!((wrote_of("n").unwrap(), wrote_of("=").unwrap()), (Wrote::New, Wrote::Exists));
        for wrong in ["", "D", "n1", "?"] {
            assert!(wrote_of(wrong).is_err(), "{wrong}");
        }
    }
}
