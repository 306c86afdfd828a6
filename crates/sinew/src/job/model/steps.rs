//! What the steps of a queue are told, and what they answer.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::{BY_HAND, JobId, LANES_MAX, LANES_MAX_BY_HAND, Overlap};

/// When a job is to run, by the store's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::job) enum Due {
    #[default]
    Now,
    InMs(u64),
    /// In milliseconds since 1970.
    AtMs(u64),
}

/// What becomes of a job whose unique name another has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// It is not enqueued.
    #[default]
    Skip,
    /// It takes the place of one that has not begun. One that runs, or has run within the window, stays, and the new one is
    /// not enqueued.
    Replace,
}

/// A unique name that a job is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Claim {
    /// As [`super::unique_digest`] makes it, and the job's body has it.
    pub(in crate::job) digest: String,
    /// For how long it counts although its job has ended.
    pub(in crate::job) window_ms: u64,
    pub(in crate::job) on_conflict: OnConflict,
}

/// A job to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Outgoing {
    pub(in crate::job) id: JobId,
    pub(in crate::job) due: Due,
    /// As [`super::Body::flags`] has them.
    pub(in crate::job) flags: u8,
    /// A [`super::Body`], written.
    pub(in crate::job) body: Bytes,
    // What follows is in the body too, and told apart so that no store has to read it.
    pub(in crate::job) priority: u8,
    pub(in crate::job) key: Option<String>,
    pub(in crate::job) batch: Option<JobId>,
    pub(in crate::job) claim: Option<Claim>,
    /// What is to be enqueued once it is done, for [`Owed`].
    pub(in crate::job) next: Option<Bytes>,
}

/// What became of a job that was to be enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::job) enum Wrote {
    New,
    /// It is there already: an earlier call, whose reply was lost, has written it.
    Exists,
    /// This one has its unique name.
    Duplicate(JobId),
    /// It is there in the place of this one.
    Replaced(JobId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) enum Written {
    Done(Vec<Wrote>),
    /// None was written: the queue has another number of partitions.
    OtherPartitions(u16),
    /// None was written: there is no room.
    Full {
        size: u64,
        cap: u64,
    },
}

/// Who takes jobs: a part of a worker, or a pull from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::job) struct Joining<'a> {
    /// That no one had before.
    pub(in crate::job) lane: &'a str,
    /// What people know its worker by.
    pub(in crate::job) label: &'a str,
    pub(in crate::job) slots: usize,
    pub(in crate::job) lease_ms: u64,
}

impl Joining<'_> {
    /// How many lanes there may be with it.
    pub(in crate::job) fn lanes_max(&self) -> usize {
        if self.lane.starts_with(BY_HAND) { LANES_MAX_BY_HAND } else { LANES_MAX }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::job) enum Joined {
    Done {
        now_ms: u64,
    },
    /// Another had the name, or has lost it.
    Taken,
    /// There are too many.
    Full,
}

/// How a job ended, or is to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) enum End {
    Done {
        retain_ms: u64,
        /// For people: what took how long, and by whom. One line.
        line: Bytes,
        /// As JSON; empty where there is none.
        result: Bytes,
    },
    Later {
        delay_ms: u64,
        note: Bytes,
        is_failure: bool,
    },
    Dead {
        fingerprint: String,
        /// Kind, NUL, and the reason.
        sample: String,
        note: Bytes,
    },
    /// It waits again, first of all, as if it had not been taken.
    Back,
}

/// What is told of a job that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Settle {
    pub(in crate::job) id: JobId,
    pub(in crate::job) fence: u64,
    pub(in crate::job) end: End,
}

/// Tells of ends and takes jobs, in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Turn<'a> {
    pub(in crate::job) lane: &'a str,
    /// One more with each turn of the lane, from 1; the same for one that is sent again.
    /// 0 is remembered by no one: for pulls from outside, which want nothing with it, and whose lane ends with its last job.
    pub(in crate::job) request: u64,
    /// [`super::LANE_SLOTS_MAX`] at most, together with those that it has.
    pub(in crate::job) want: usize,
    /// Nothing in its process runs that has crashed before: it may be given one such job.
    pub(in crate::job) takes_suspect: bool,
    /// [`super::SETTLES_MAX`] at most.
    pub(in crate::job) settles: &'a [Settle],
    /// What is added to the statistics of the minute and of the day.
    pub(in crate::job) counts: &'a [(String, u64)],
}

/// A job that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Taken {
    pub(in crate::job) id: JobId,
    /// A [`super::Record`], written.
    pub(in crate::job) record: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::job) struct Took {
    pub(in crate::job) now_ms: u64,
    /// That of all its jobs.
    pub(in crate::job) fence: u64,
    pub(in crate::job) jobs: Vec<Taken>,
    /// Those whose end does not count: they are no longer the lane's.
    pub(in crate::job) lost: Vec<JobId>,
    /// Those that were cancelled: their handlers are to stop, or what was told of them does not count.
    pub(in crate::job) stop: Vec<JobId>,
    /// When the next delayed job is due, or a rate has room again.
    pub(in crate::job) next_due_ms: Option<u64>,
    /// There may be more to take at once.
    pub(in crate::job) has_more: bool,
    pub(in crate::job) is_paused: bool,
    /// Something is to be enqueued elsewhere.
    pub(in crate::job) is_owing: bool,
    /// Jobs that crashed are left.
    pub(in crate::job) has_suspects: bool,
}

/// What a step of a lane answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) enum Held<T> {
    Kept(T),
    /// The lane was taken for dead, or never was: what it had is no longer its own.
    Fallen,
}

/// What is heard with a renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::job) struct Renewed {
    pub(in crate::job) now_ms: u64,
    pub(in crate::job) stop: Vec<JobId>,
    pub(in crate::job) next_due_ms: Option<u64>,
    pub(in crate::job) is_owing: bool,
}

/// What a handler tells while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::job) struct Telling<'a> {
    pub(in crate::job) lane: &'a str,
    pub(in crate::job) id: JobId,
    pub(in crate::job) fence: u64,
    /// A [`Progress`] as JSON.
    pub(in crate::job) progress: Option<&'a [u8]>,
    /// Lines of JSON: the moment, and the text.
    pub(in crate::job) log: &'a [Bytes],
}

/// What became of a [`Telling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::job) enum Noted {
    Kept,
    /// The job was cancelled, and its lane has it yet.
    Cancelled,
    /// The job is no longer the lane's.
    Lost,
}

/// How far a job has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Progress {
    /// So much is done,
    pub done: u64,
    /// of so much.
    pub total: u64,
    /// What it is doing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// What a cancellation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cancelled {
    /// It did not run, and will not.
    Waiting,
    /// The same, before its time.
    Scheduled,
    /// It runs: its handler is told within a second, and what it says does not count.
    Running,
    /// It has ended before.
    Ended,
    /// There is no such job, or not any more.
    Unknown,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It is to be run as soon as there is a worker for it.
    Waiting,
    /// It is to be run later, for the first time or again.
    Scheduled,
    /// It runs.
    Running,
    /// It is done, and kept.
    Done,
    /// It was given up, with its errors.
    Dead,
}

/// A job that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Found {
    pub(in crate::job) id: JobId,
    pub(in crate::job) state: JobState,
    /// A [`super::Record`], written.
    pub(in crate::job) record: Bytes,
    /// When it is due, has died, or is forgotten, by its state.
    pub(in crate::job) at_ms: Option<u64>,
    pub(in crate::job) lane: Option<String>,
    pub(in crate::job) ended: Option<Ended>,
    pub(in crate::job) progress: Option<Bytes>,
    pub(in crate::job) log: Option<Bytes>,
}

/// How a job has ended that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Ended {
    pub(in crate::job) at_ms: u64,
    pub(in crate::job) line: Bytes,
    pub(in crate::job) result: Bytes,
}

/// What those who wait for a job are told, by the store's channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) enum Told {
    /// With its result, unless that is too long to be told.
    Done(Option<Bytes>),
    Dead,
    Gone,
}

/// Which jobs of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) enum Shelf {
    /// Of a priority; of those with a key only the next of each.
    Waiting(u8),
    Suspect,
    Scheduled,
    Running,
    Dead,
    DeadOf(String),
    /// Done, and kept.
    Kept,
}

/// Where a page goes on: a score, or an index, and the last that was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::job) struct After {
    pub(in crate::job) at: u64,
    pub(in crate::job) id: Option<JobId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::job) struct Page {
    pub(in crate::job) jobs: Vec<Found>,
    /// Nothing where it was the last.
    pub(in crate::job) next: Option<After>,
}

/// Dead jobs with the same trouble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadGroup {
    /// By which they are found.
    pub fingerprint: String,
    /// The kind of job.
    pub kind: String,
    /// What one of them said.
    pub error: String,
    /// How many there are.
    pub count: u64,
    /// When the newest died, in milliseconds since 1970.
    pub newest_ms: u64,
}

/// What came of dead jobs that were to be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// They wait.
    pub retried: u64,
    /// They stay: another job has their unique name.
    pub duplicates: u64,
    /// They were not there any more.
    pub gone: u64,
}

/// What is done once the jobs of a batch have ended, each for [`Owed`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::job) struct Callbacks {
    /// Once all are done.
    pub(in crate::job) success: Option<Bytes>,
    /// Once all have ended, however.
    pub(in crate::job) complete: Option<Bytes>,
}

/// How a batch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchState {
    /// How many jobs it has.
    pub total: u64,
    /// How many have not ended.
    pub left: u64,
    /// How many are dead.
    pub failed: u64,
    /// How many were cancelled or removed.
    pub gone: u64,
    /// All of its jobs are enqueued.
    pub is_sealed: bool,
}

/// Jobs that are to be enqueued elsewhere since something has ended here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Owed {
    pub(in crate::job) member: String,
    /// As whoever enqueued it has written it.
    pub(in crate::job) jobs: Bytes,
}

/// A recurring job, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Kept {
    pub(in crate::job) name: String,
    pub(in crate::job) revision: u64,
    /// A [`super::Definition`], written.
    pub(in crate::job) definition: Bytes,
    pub(in crate::job) last_tick_ms: u64,
    pub(in crate::job) last_job: Option<JobId>,
}

/// What is asked of the store when a tick has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Firing<'a> {
    pub(in crate::job) name: &'a str,
    pub(in crate::job) revision: u64,
    pub(in crate::job) tick_ms: u64,
    pub(in crate::job) overlap: Overlap,
    pub(in crate::job) job: Outgoing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::job) enum Fired {
    Done,
    /// Another was first, or this was sent again.
    Before,
    /// The job of the last tick has not ended: this tick makes none.
    Overlaps,
    /// It is not time yet, by the store's clock.
    Early {
        now_ms: u64,
    },
    /// It was changed, or removed.
    OtherRevision,
    /// The queue is full; the tick is tried again.
    Full,
}

/// How a partition is declared: nothing leaves what is there, and 0 removes a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::job) struct Declaring {
    pub(in crate::job) partitions: Option<u16>,
    pub(in crate::job) len_max: Option<u64>,
    pub(in crate::job) global: Option<u64>,
    pub(in crate::job) per_key: Option<u64>,
    /// So many starts in so many milliseconds.
    pub(in crate::job) rate: Option<(u64, u64)>,
}

/// The numbers of a partition, or of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueLook {
    /// How many partitions it has.
    pub partitions: u16,
    /// Nobody takes from it.
    pub is_paused: bool,
    /// How many wait.
    pub waiting: u64,
    /// How many are in line to begin, by priority, from 0: jobs without a key, and a place for each key that is not at its
    /// limit. Of each priority no more than wait; one that was cancelled may count until a worker comes to it, and what is
    /// tried again after a crash counts in none.
    pub by_priority: [u64; 10],
    /// How many wait for their time.
    pub scheduled: u64,
    /// How many run.
    pub running: u64,
    /// How many are dead.
    pub dead: u64,
    /// How many are done and kept.
    pub kept: u64,
    /// How many are about to be enqueued elsewhere.
    pub owed: u64,
    /// How many lanes there are.
    pub lanes: u64,
    /// How many may run at a time, everywhere; 0 is no limit.
    pub global: u64,
    /// How many of one key may.
    pub per_key: u64,
    /// So many starts in so many milliseconds.
    pub rate: (u64, u64),
    /// The store's time, in milliseconds since 1970.
    pub now_ms: u64,
    /// When the oldest that waits was enqueued.
    pub oldest_ms: Option<u64>,
}

/// A lane that takes jobs of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneInfo {
    /// Its name, which no other had.
    pub lane: String,
    /// What people know its worker by.
    pub worker: String,
    /// In milliseconds since 1970.
    pub joined_ms: u64,
    /// When its lease is over.
    pub lease_until_ms: u64,
    /// How many jobs it may have.
    pub slots: u64,
    /// How many it has.
    pub running: u64,
}

/// What an audit found, and put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// Jobs that a lane had without a lease: they wait again.
    pub stranded: u64,
    /// Numbers of what runs that were wrong.
    pub miscounted: u64,
    /// Keys with places free whose jobs would have waited until one of theirs has ended.
    pub forgotten_keys: u64,
}

/// Counters of a minute or a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::job) struct Counted {
    /// When it began.
    pub(in crate::job) at_ms: u64,
    pub(in crate::job) counts: Vec<(String, u64)>,
}

/// By what statistics are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// For 26 hours.
    Minute,
    /// For 400 days.
    Day,
}

impl Grain {
    pub(in crate::job) fn length(self) -> Duration {
        match self {
            Self::Minute => Duration::from_secs(60),
            Self::Day => Duration::from_secs(86_400),
        }
    }
}
