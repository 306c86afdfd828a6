//! What is done on both stores.

use bytes::Bytes;

use super::{LEN_MAX, LONG_MS, Round};
use crate::job::model::{Body, Claim, Declaring, Due, End, JobId, OnConflict, Outgoing, Overlap};
use crate::kernel::clock::Clock;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Enqueue(Vec<Outgoing>),
    Join {
        slots: usize,
        lease_ms: u64,
    },
    Turn(Sent),
    /// The last turn of the lane once more.
    Again,
    /// The end of a job, told from outside.
    Finish(Ending),
    Renew {
        lease_ms: u64,
    },
    Leave,
    Tell {
        id: JobId,
        is_wrong: bool,
        has_progress: bool,
        lines: usize,
    },
    Cancel(JobId),
    Pause(bool),
    Declare(Declaring),
    Find(JobId),
    FindAwaiting(JobId),
    Redrive(Vec<JobId>),
    DropDead(Vec<JobId>),
    OpenBatch(JobId),
    SealBatch(JobId),
    Owed,
    Paid,
    PutRecurring {
        name: &'static str,
        definition: u8,
        schedule: u8,
        expected: Option<u64>,
    },
    DropRecurring(&'static str),
    /// So much after the last tick of a recurring job, and of this revision more than it has.
    Fire {
        name: &'static str,
        after_ms: u64,
        is_other: bool,
        overlap: Overlap,
        job: Outgoing,
    },
    Look,
    Audit,
}

/// A turn, but for what it is called on each side.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub(super) want: usize,
    pub(super) takes_suspect: bool,
    pub(super) endings: Vec<Ending>,
    pub(super) counts: Vec<(String, u64)>,
}

/// What is told of a job, perhaps by someone to whom it does not belong.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) id: JobId,
    pub(super) is_wrong: bool,
    pub(super) end: End,
}

pub(super) fn new_id() -> JobId {
    JobId::new(Clock::system().wall(), 0).unwrap()
}

fn short_or_long(random: &mut fastrand::Rng) -> u64 {
    if random.bool() { 0 } else { LONG_MS }
}

fn one_of<T: Clone>(random: &mut fastrand::Rng, of: &[T]) -> T {
    of[random.usize(..of.len())].clone()
}

/// Some of the ids; one that was never there where there are none.
fn any(random: &mut fastrand::Rng, of: &[JobId]) -> JobId {
    if of.is_empty() { new_id() } else { one_of(random, of) }
}

fn outgoing(random: &mut fastrand::Rng, round: &Round) -> Outgoing {
    let some = |random: &mut fastrand::Rng, one_in: u8| random.u8(0..one_in) == 0;
    let key = some(random, 2).then(|| one_of(random, &["ada", "bob"]).to_owned());
    let batch = some(random, 4).then(|| one_of(random, &round.batches));
    let claim = some(random, 4).then(|| Claim {
        digest: one_of(random, &["one", "two"]).to_owned(),
        window_ms: short_or_long(random),
        on_conflict: one_of(random, &[OnConflict::Skip, OnConflict::Replace]),
    });
    let next = some(random, 6).then(|| Bytes::from_static(b"[next]"));
    let body = Body {
        kind: one_of(random, &["mail", "image"]).to_owned(),
        payload: Bytes::from_static(b"{\"to\":\"ada\"}"),
        priority: one_of(random, &[2, 5, 7]),
        key: key.clone(),
        unique: claim.as_ref().map(|claim| claim.digest.clone()),
        batch,
        ..Body::default()
    };
    let due = match random.u8(0..8) {
        0 => Due::InMs(LONG_MS),
        1 => Due::InMs(0),
        2 => Due::AtMs(1),
        // Long after this test.
        3 => Due::AtMs(1 << 45),
        _ => Due::Now,
    };
    Outgoing {
        id: new_id(),
        due,
        flags: body.flags(next.is_some()),
        body: body.write().unwrap(),
        priority: body.priority,
        key,
        batch,
        claim,
        next,
    }
}

fn ending(random: &mut fastrand::Rng, id: JobId) -> Ending {
    let note = Bytes::from_static(b"{\"failures\":1}");
    let end = match random.u8(0..8) {
        0..4 => End::Done {
            retain_ms: short_or_long(random),
            line: Bytes::from(format!("{id} mail 3 host\n")),
            result: Bytes::from_static(if random.bool() { &b""[..] } else { b"{\"n\":1}" }),
        },
        4 | 5 => End::Later { delay_ms: short_or_long(random), note, is_failure: random.bool() },
        6 => End::Dead {
            fingerprint: one_of(random, &["f1", "f2"]).to_owned(),
            sample: "mail\0no good".to_owned(),
            note,
        },
        _ => End::Back,
    };
    Ending { id, is_wrong: random.u8(0..8) == 0, end }
}

fn sent(random: &mut fastrand::Rng, round: &Round, held: &[JobId]) -> Sent {
    let mut ids = held.to_vec();
    random.shuffle(&mut ids);
    ids.truncate(random.usize(0..4));
    if random.u8(0..6) == 0 {
        // Perhaps another's, or one that is named twice.
        ids.push(any(random, &round.ids));
    }
    let counts = vec![("k:mail:done".to_owned(), 2)];
    Sent {
        want: random.usize(0..6),
        takes_suspect: random.bool(),
        endings: ids.into_iter().map(|id| ending(random, id)).collect(),
        counts: if random.bool() { counts } else { Vec::new() },
    }
}

fn declaring(random: &mut fastrand::Rng) -> Declaring {
    let few = |random: &mut fastrand::Rng| random.u64(0..4);
    match random.u8(0..5) {
        0 => Declaring { global: Some(2 * few(random)), ..Declaring::default() },
        1 | 2 => Declaring { per_key: Some(few(random)), ..Declaring::default() },
        3 => Declaring { rate: Some((4 * few(random), LONG_MS)), ..Declaring::default() },
        _ => Declaring { len_max: Some(LEN_MAX), partitions: Some(1), ..Declaring::default() },
    }
}

impl Step {
    /// What the lane does, or someone else.
    pub(super) fn random(random: &mut fastrand::Rng, round: &Round, lane: usize) -> Self {
        let lane = &round.lanes[lane];
        let lease_ms = round.lease_ms;
        if !lane.is_joined && random.u8(0..4) > 0 {
            return Self::Join { slots: 8, lease_ms };
        }
        let (ids, name) = (&round.ids, one_of(random, &["nightly", "hourly"]));
        match random.u8(0..48) {
            0..9 => {
                Self::Enqueue((0..random.usize(1..5)).map(|_| outgoing(random, round)).collect())
            }
            9 if !round.last.is_empty() => Self::Enqueue(round.last.clone()),
            10 => Self::Join { slots: one_of(random, &[8, 9]), lease_ms },
            11..22 => Self::Turn(sent(random, round, &lane.held)),
            22 | 23 => Self::Again,
            24 => {
                let id = any(random, &lane.held);
                Self::Finish(ending(random, id))
            }
            25 => Self::Renew { lease_ms },
            26 => Self::Leave,
            27 => Self::Tell {
                id: any(random, &lane.held),
                is_wrong: random.u8(0..4) == 0,
                has_progress: random.bool(),
                lines: random.usize(0..3),
            },
            28..32 => Self::Cancel(any(random, ids)),
            32 => Self::Pause(random.u8(0..3) == 0),
            33 | 34 => Self::Declare(declaring(random)),
            35 => Self::Find(any(random, ids)),
            36 => Self::FindAwaiting(any(random, ids)),
            37 | 38 => {
                let first = any(random, &round.buried);
                // One of them is named twice.
                Self::Redrive(vec![any(random, ids), first, any(random, &round.buried), first])
            }
            39 => Self::DropDead(vec![any(random, &round.buried), any(random, ids)]),
            40 => Self::OpenBatch(one_of(random, &round.batches)),
            41 => Self::SealBatch(one_of(random, &round.batches)),
            42 => one_of(random, &[Self::Owed, Self::Paid]),
            43 => Self::PutRecurring {
                name,
                definition: random.u8(0..3),
                schedule: random.u8(0..2),
                expected: one_of(random, &[None, None, Some(0), Some(1), Some(99)]),
            },
            44 if random.u8(0..4) == 0 => Self::DropRecurring(name),
            44..47 => Self::Fire {
                name,
                after_ms: one_of(random, &[0, 1, 1, 1, LONG_MS]),
                is_other: random.u8(0..6) == 0,
                overlap: one_of(random, &[Overlap::Skip, Overlap::Allow, Overlap::Replace]),
                job: plain(2),
            },
            _ => Self::Look,
        }
    }

    /// The jobs that it may enqueue.
    pub(super) fn jobs(&self) -> &[Outgoing] {
        match self {
            Self::Enqueue(jobs) => jobs,
            Self::Fire { job, .. } => std::slice::from_ref(job),
            _ => &[],
        }
    }

    /// What it tells of jobs.
    pub(super) fn endings(&self) -> &[Ending] {
        match self {
            Self::Turn(sent) => &sent.endings,
            Self::Finish(ending) => std::slice::from_ref(ending),
            _ => &[],
        }
    }
}

/// A job that nothing hangs on.
pub(super) fn plain(priority: u8) -> Outgoing {
    let body = Body { kind: "cleanup".to_owned(), priority, ..Body::default() };
    Outgoing {
        id: new_id(),
        due: Due::Now,
        flags: body.flags(false),
        body: body.write().unwrap(),
        priority,
        key: None,
        batch: None,
        claim: None,
        next: None,
    }
}
