//! What a worker tells of a job that it has taken by hand.

use bytes::Bytes;

use super::{JobToken, Puller};
use crate::job::backend::Backend as _;
use crate::job::context::{LINE_LEN_MAX, LINES_MAX, TEXT_LEN_MAX};
use crate::job::model::{Noted, Progress, Telling, cut};
use crate::kernel::error::{Error, Result};

impl Puller {
    /// Tells how far a job has come, and adds lines to its log: 16 at most, each of which is cut at 1 KiB. The store keeps
    /// the newest 100 and 16 KiB, for as long as it keeps the job. Whether the job is still the caller's: where it is not,
    /// nothing is kept, and it is to be left alone.
    ///
    /// *Cancellation*: it is told, or not.
    ///
    /// # Errors
    /// `Rejected` for what is too long, or the token of another queue; `Unavailable` or `Timeout` when Redis is down.
    pub async fn tell(
        &self,
        token: &JobToken,
        progress: Option<&Progress>,
        log: &[String],
    ) -> Result<bool> {
        let queue = self.name()?;
        token.check(&queue)?;
        if log.len() > LINES_MAX {
            return Err(Error::rejected(format!(
                "{} lines of a log: expected at most {LINES_MAX} at a time",
                log.len()
            )));
        }
        if let Some(len) = progress.map(|it| it.text.len()).filter(|len| *len > TEXT_LEN_MAX) {
            return Err(Error::rejected(format!(
                "the text of a progress of {len} bytes is too long: expected at most {TEXT_LEN_MAX}"
            )));
        }
        // Numbers and text are always written.
        let progress = progress.map(|progress| serde_json::to_vec(progress).unwrap_or_default());
        let now_ms = self.jobs.engine.clock.wall().0;
        let line = |text: &String| {
            Bytes::from(serde_json::to_vec(&(now_ms, cut(text, LINE_LEN_MAX))).unwrap_or_default())
        };
        let log: Vec<Bytes> = log.iter().map(line).collect();
        let telling = Telling {
            lane: &token.lane,
            id: token.id,
            fence: token.fence,
            progress: progress.as_deref(),
            log: &log,
        };
        let keys = self.jobs.scope.job(&queue, token.id.partition());
        Ok(self.jobs.engine.backend.tell(&keys, telling).await? == Noted::Kept)
    }
}
