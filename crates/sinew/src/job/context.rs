//! What a handler may ask about its job, and tell of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Jobs;
use super::model::{Body, JobId, LOG_LINES_MAX, Note, Progress, Record, cut};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::QueueKeys;
use crate::lock::Fence;

/// How many lines of a log are told at a time, and how long one is.
pub(super) const LINES_MAX: usize = 16;
pub(super) const LINE_LEN_MAX: usize = 1 << 10;
/// How long the words of a progress are.
pub(super) const TEXT_LEN_MAX: usize = 1 << 10;

/// What a handler may ask about its job, and tell of it. Cheap to clone.
#[derive(Clone)]
pub struct JobContext(Arc<Inner>);

struct Inner {
    jobs: Jobs,
    keys: QueueKeys,
    kind: Arc<str>,
    /// Which of the worker's kinds that is.
    kind_index: usize,
    id: JobId,
    fence: u64,
    enqueued_ms: u64,
    failures: u32,
    snoozes: u32,
    crashes: u32,
    traceparent: Option<String>,
    signal: Arc<Signal>,
    // A mutex: put in by the handler, taken out by its run, and neither waits under it.
    mail: Mutex<Mail>,
    has_mail: Notify,
}

/// What a handler has told, and the store has not heard.
#[derive(Default)]
pub(super) struct Mail {
    pub(super) progress: Option<Progress>,
    pub(super) log: VecDeque<Bytes>,
    /// How many lines went before these.
    lines_before: u64,
    /// How many were last sent to the store, which may have them although it did not answer. Until it does the same are sent,
    /// which it knows again.
    sent: usize,
}

impl Mail {
    fn has_any(&self) -> bool {
        self.progress.is_some() || !self.log.is_empty()
    }

    /// As much of it as is told at a time.
    fn some(&mut self) -> Self {
        if self.sent == 0 {
            self.sent = self.log.len().min(LINES_MAX);
        }
        Self {
            progress: self.progress.clone(),
            log: self.log.iter().take(self.sent).cloned().collect(),
            lines_before: self.lines_before,
            sent: self.sent,
        }
    }

    fn was_told(&mut self, told: &Self) {
        if self.progress == told.progress {
            self.progress = None;
        }
        let lines = u64::try_from(told.log.len()).unwrap_or(u64::MAX);
        while self.lines_before < told.lines_before.saturating_add(lines) {
            self.drop_line();
        }
        self.sent = 0;
    }

    fn drop_line(&mut self) {
        self.log.pop_front();
        self.lines_before += 1;
        self.sent = self.sent.saturating_sub(1);
    }
}

/// Why a handler is to stop. What comes later here goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its worker ends: the job is given back.
    Ending = 1,
    /// Someone has cancelled the job.
    Cancelled = 2,
    /// The job is no longer this worker's.
    Lost = 3,
}

/// Tells a handler to stop.
#[derive(Default)]
pub(super) struct Signal {
    stop: AtomicU8,
    told: Notify,
}

impl Signal {
    /// Whether this is news.
    pub(super) fn tell(&self, stop: Stop) -> bool {
        let is_news = self.stop.fetch_max(stop as u8, Ordering::AcqRel) < stop as u8;
        if is_news {
            self.told.notify_waiters();
        }
        is_news
    }

    pub(super) fn is_told(&self) -> bool {
        self.stop.load(Ordering::Acquire) != 0
    }

    pub(super) fn is(&self, stop: Stop) -> bool {
        self.stop.load(Ordering::Acquire) == stop as u8
    }

    /// Cancel-safe.
    pub(super) async fn until_told(&self) {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // Before the look: what is told after it wakes us.
            told.as_mut().enable();
            if self.is_told() {
                return;
            }
            told.await;
        }
    }
}

/// Which run of which job.
pub(super) struct Which {
    pub(super) keys: QueueKeys,
    pub(super) kind: Arc<str>,
    pub(super) kind_index: usize,
    pub(super) id: JobId,
    pub(super) fence: u64,
    pub(super) signal: Arc<Signal>,
}

impl JobContext {
    pub(super) fn new(jobs: Jobs, which: Which, record: &Record, body: &Body, note: &Note) -> Self {
        let Which { keys, kind, kind_index, id, fence, signal } = which;
        Self(Arc::new(Inner {
            jobs,
            keys,
            kind,
            kind_index,
            id,
            fence,
            enqueued_ms: record.enqueued_ms,
            failures: note.failures,
            snoozes: note.snoozes,
            crashes: record.crashes,
            traceparent: body.traceparent.clone(),
            signal,
            mail: Mutex::default(),
            has_mail: Notify::new(),
        }))
    }

    /// What the job is called.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.0.id
    }

    /// What kind of job it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// The queue that it is of.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.0.keys.queue().as_str()
    }

    /// Which delivery this is, as far as is known: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        let Inner { failures, snoozes, crashes, .. } = &*self.0;
        failures.saturating_add(*snoozes).saturating_add(*crashes).saturating_add(1)
    }

    /// How often its handler has failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.0.failures
    }

    /// How many deliveries ended with their process.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.0.crashes
    }

    /// A number that grows with each delivery. A resource that refuses lower ones than it has seen is safe from a worker
    /// that was stopped, and woke too late.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence(self.0.fence)
    }

    /// When it was enqueued, by the store's clock.
    #[must_use]
    pub fn enqueued_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.enqueued_ms)
    }

    /// The trace that it was enqueued in, as W3C's trace context has it.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.0.traceparent.as_deref()
    }

    /// The jobs of its tenant, to enqueue more.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    /// Tells how far it has come, for whoever looks: 4 times a second at most, the newest, and the last with its end. `total`
    /// is 0 where it is not known.
    ///
    /// *When Redis is down*: it is told later, or not at all.
    ///
    /// # Errors
    /// `Rejected` for a text of more than 1 KiB.
    pub async fn progress(&self, done: u64, total: u64, text: &str) -> Result<()> {
        if text.len() > TEXT_LEN_MAX {
            return Err(Error::rejected(format!(
                "the text of a progress of {} bytes is too long: expected at most {TEXT_LEN_MAX}",
                text.len()
            )));
        }
        self.0.mail.lock().progress = Some(Progress { done, total, text: text.to_owned() });
        self.0.has_mail.notify_one();
        // It is sent beside the handler, which may have nothing else to wait for.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Adds a line to the job's log, which is cut at 1 KiB. The store keeps the newest 100 and 16 KiB, for as long as it keeps
    /// the job.
    ///
    /// *When Redis is down*: it is told later, or not at all.
    pub fn log(&self, text: &str) {
        let line = (self.0.jobs.engine.clock.wall().0, cut(text, LINE_LEN_MAX));
        // A number and a text are always written.
        let line = serde_json::to_vec(&line).unwrap_or_default();
        let mut mail = self.0.mail.lock();
        if mail.log.len() >= LOG_LINES_MAX {
            mail.drop_line();
        }
        mail.log.push_back(line.into());
        drop(mail);
        self.0.has_mail.notify_one();
    }

    /// Resolves when the handler is to stop: the job was cancelled, is no longer this worker's, or is to be given back since the
    /// worker ends. It has a second; then it is dropped where it stands. An error that it returns from then on is no failure
    /// of the job's.
    ///
    /// *Cancellation*: it may be dropped, and asked again.
    pub async fn cancelled(&self) {
        self.0.signal.until_told().await;
    }

    /// Whether the handler is to stop, as [`JobContext::cancelled`] says it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.signal.is_told()
    }

    /// Whether the job is no longer this worker's: another may do it by now, and what this handler says will not count.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.signal.is(Stop::Lost)
    }

    pub(super) fn kind_index(&self) -> usize {
        self.0.kind_index
    }

    /// Whether there is something that the store has not heard.
    pub(super) fn has_mail(&self) -> bool {
        self.0.mail.lock().has_any()
    }

    /// Waits until the handler has told something. Cancel-safe.
    pub(super) async fn until_mail(&self) {
        self.0.has_mail.notified().await;
    }

    /// What it has told, if anything; of its log some lines at a time. It stays until it is [`JobContext::told`]: a telling may
    /// be broken off.
    pub(super) fn mail(&self) -> Option<Mail> {
        let mut mail = self.0.mail.lock();
        mail.has_any().then(|| mail.some())
    }

    /// The store has heard of this. What is newer is told yet.
    pub(super) fn told(&self, told: &Mail) {
        self.0.mail.lock().was_told(told);
        if self.has_mail() {
            self.0.has_mail.notify_one();
        }
    }

    /// It is told again.
    pub(super) fn was_not_told(&self) {
        self.0.has_mail.notify_one();
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("id", &self.id())
            .field("kind", &self.kind())
            .field("queue", &self.queue())
            .field("attempt", &self.attempt())
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_until_they_are_told_and_the_oldest_goes_for_the_newest() {
        let mut mail = Mail::default();
        let line = |n: usize| Bytes::from(n.to_string());
        mail.log.extend((0..5).map(line));
        let told = mail.some();
        assert_eq!(told.log, [line(0), line(1), line(2), line(3), line(4)]);
        // Two are dropped, and one comes, while five are told.
        mail.drop_line();
        mail.drop_line();
        mail.log.push_back(line(5));
        mail.was_told(&told);
        assert_eq!(mail.log, [line(5)]);
        mail.was_told(&told);
        assert_eq!(mail.log, [line(5)], "told twice");
        // The store may have it, and knows it again only by itself.
        let unanswered = mail.some();
        mail.log.push_back(line(6));
        assert_eq!(mail.some().log, unanswered.log);
        mail.was_told(&unanswered);
        assert_eq!(mail.some().log, [line(6)]);
    }

    #[tokio::test]
    async fn the_gravest_reason_to_stop_is_the_one_that_is_told() {
        let signal = Signal::default();
        assert!(!signal.is_told());
        assert!(signal.tell(Stop::Lost));
        assert!(!signal.tell(Stop::Ending), "it is no news");
        assert!(signal.is(Stop::Lost));
        signal.until_told().await;
    }
}
