//! The jobs of a partition, and what they weigh.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::job::model::{
    Ended, Found, JobId, JobState, LOG_LEN_MAX, LOG_LINES_MAX, Outgoing, PRIORITY_MAX, Record,
};

/// What a job weighs beside its bytes, roughly.
const JOB_BYTES: usize = 100;

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a list; or among those of its key, with this number.
    Waiting {
        seq: u64,
    },
    Scheduled {
        due_ms: u64,
    },
    Running {
        lane: Arc<str>,
    },
    Dead {
        at_ms: u64,
        fingerprint: Arc<str>,
    },
    /// Done, and kept until then.
    Kept {
        until_ms: u64,
        ended: Ended,
    },
}

/// A job that is there.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) record: Record,
    pub(super) place: Place,
    pub(super) priority: u8,
    pub(super) key: Option<Arc<str>>,
    /// Its unique name.
    pub(super) digest: Option<Arc<str>>,
    pub(super) batch: Option<JobId>,
    pub(super) next: Option<Bytes>,
    pub(super) progress: Option<Bytes>,
    log: VecDeque<Bytes>,
}

impl Job {
    /// One that waits.
    pub(super) fn new(outgoing: &Outgoing, now_ms: u64) -> Self {
        let record = Record {
            flags: outgoing.flags,
            crashes: 0,
            enqueued_ms: now_ms,
            note: Bytes::new(),
            body: outgoing.body.clone(),
        };
        Self {
            record,
            place: Place::Waiting { seq: 0 },
            priority: outgoing.priority,
            key: outgoing.key.as_deref().map(Arc::from),
            digest: outgoing.claim.as_ref().map(|claim| Arc::from(claim.digest.as_str())),
            batch: outgoing.batch,
            next: outgoing.next.clone(),
            progress: None,
            log: VecDeque::new(),
        }
    }

    /// Whether it is still to be run, or runs.
    pub(super) fn is_unfinished(&self) -> bool {
        !matches!(self.place, Place::Dead { .. } | Place::Kept { .. })
    }

    /// Whether it is still to be run.
    pub(super) fn is_to_come(&self) -> bool {
        matches!(self.place, Place::Waiting { .. } | Place::Scheduled { .. })
    }

    /// In which order those are due that are so at once: first those without a key, by their priority.
    pub(super) fn due_mark(&self) -> u8 {
        let without = PRIORITY_MAX + 1;
        self.priority.min(PRIORITY_MAX) + if self.key.is_some() { without } else { 0 }
    }

    pub(super) fn state(&self) -> JobState {
        match self.place {
            Place::Waiting { .. } => JobState::Waiting,
            Place::Scheduled { .. } => JobState::Scheduled,
            Place::Running { .. } => JobState::Running,
            Place::Dead { .. } => JobState::Dead,
            Place::Kept { .. } => JobState::Done,
        }
    }

    pub(super) fn found(&self, id: JobId) -> Found {
        let (mut at_ms, mut in_lane, mut how) = (None, None, None);
        match &self.place {
            Place::Waiting { .. } => {}
            Place::Scheduled { due_ms } => at_ms = Some(*due_ms),
            Place::Running { lane } => in_lane = Some(lane.to_string()),
            Place::Dead { at_ms: died_ms, .. } => at_ms = Some(*died_ms),
            Place::Kept { until_ms, ended } => {
                (at_ms, how) = (Some(*until_ms), Some(ended.clone()));
            }
        }
        Found {
            id,
            state: self.state(),
            record: self.record.write(),
            at_ms,
            lane: in_lane,
            ended: how,
            progress: self.progress.clone(),
            log: (!self.log.is_empty()).then(|| self.log.iter().flatten().copied().collect()),
        }
    }

    /// What it is, as it says itself.
    pub(super) fn kind(&self) -> String {
        self.record.body().map(|body| body.kind).unwrap_or_default()
    }

    /// Adds to its log, of which the newest lines are kept.
    pub(super) fn add_to_log(&mut self, lines: &[Bytes]) {
        let lines = lines.iter().map(|line| Bytes::from([&line[..], b"\n"].concat()));
        let lines: Vec<Bytes> = lines.collect();
        let there = self.log.len().saturating_sub(lines.len());
        if self.log.range(there..).eq(&lines) {
            // It was sent again.
            return;
        }
        self.log.extend(lines);
        while self.log.len() > LOG_LINES_MAX || self.log_len() > LOG_LEN_MAX {
            self.log.pop_front();
        }
    }

    fn log_len(&self) -> usize {
        self.log.iter().map(Bytes::len).sum()
    }

    fn weight(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let kept = match &self.place {
            Place::Kept { ended, .. } => ended.line.len() + ended.result.len(),
            _ => 0,
        };
        let record = self.record.note.len() + self.record.body.len();
        let beside = text(&self.key) + text(&self.digest) + bytes(&self.next);
        JOB_BYTES + record + beside + bytes(&self.progress) + self.log_len() + kept
    }
}

/// What a job will weigh that is to be enqueued.
pub(super) fn weight(outgoing: &Outgoing) -> usize {
    let Outgoing { body, key, claim, next, .. } = outgoing;
    let digest = claim.as_ref().map_or(0, |claim| claim.digest.len());
    let beside = key.as_ref().map_or(0, String::len) + next.as_ref().map_or(0, Bytes::len);
    JOB_BYTES + body.len() + digest + beside
}

/// Jobs by their ids.
#[derive(Default)]
pub(super) struct Jobs {
    by_id: HashMap<JobId, Job>,
    bytes: usize,
}

impl Jobs {
    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.by_id.get(&id)
    }

    pub(super) fn has(&self, id: JobId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn insert(&mut self, id: JobId, job: Job) {
        self.remove(id);
        self.bytes += job.weight();
        self.by_id.insert(id, job);
    }

    /// Changes a job, if it is there.
    pub(super) fn edit<T>(&mut self, id: JobId, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let job = self.by_id.get_mut(&id)?;
        let was = job.weight();
        let done = change(job);
        self.bytes = self.bytes - was + job.weight();
        Some(done)
    }

    pub(super) fn put(&mut self, id: JobId, place: Place) {
        self.edit(id, |job| job.place = place);
    }

    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let job = self.by_id.remove(&id)?;
        self.bytes -= job.weight();
        Some(job)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::model::Due;

    fn outgoing() -> Outgoing {
        Outgoing {
            id: "01KAPX2V9QJ7M3B0N8R5T4W6YZ".parse().unwrap(),
            due: Due::Now,
            flags: 0,
            body: Bytes::from_static(b"5\0\0\0"),
            priority: 5,
            key: None,
            batch: None,
            claim: None,
            next: None,
        }
    }

    #[test]
    fn what_jobs_weigh_follows_what_is_done_with_them() {
        let (mut jobs, job) = (Jobs::default(), outgoing());
        jobs.insert(job.id, Job::new(&job, 1));
        assert_eq!(jobs.bytes(), weight(&job));
        jobs.edit(job.id, |job| job.progress = Some(Bytes::from_static(b"{}")));
        assert_eq!(jobs.bytes(), weight(&job) + 2);
        jobs.insert(job.id, Job::new(&job, 2));
        assert_eq!(jobs.bytes(), weight(&job));
        assert!(jobs.remove(job.id).is_some() && jobs.bytes() == 0);
    }

    #[test]
    fn a_log_keeps_its_newest_lines() {
        let mut job = Job::new(&outgoing(), 1);
        let lines: Vec<Bytes> = (0..150).map(|n| Bytes::from(format!("{n}"))).collect();
        job.add_to_log(&lines);
        assert_eq!((job.log.len(), &job.log[0][..]), (LOG_LINES_MAX, &b"50\n"[..]));
        job.add_to_log(&[Bytes::from(vec![b'x'; LOG_LEN_MAX - 1])]);
        assert_eq!((job.log.len(), job.log_len()), (1, LOG_LEN_MAX));
    }
}
