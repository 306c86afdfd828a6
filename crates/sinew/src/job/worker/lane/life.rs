//! How a lane joins, falls and leaves.

use std::sync::Arc;

use tokio::sync::watch;

use super::super::super::backend::Backend as _;
use super::super::super::context::Stop;
use super::super::super::model::{Joined, Joining};
use super::super::shares::Granted;
use super::super::{LEAVE_TIME_MAX, Phase, STOP_GRACE};
use super::Lane;
use crate::kernel::again::Again;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::Code;

impl Lane {
    /// Joins when the worker begins. One that cannot be reached is joined later.
    ///
    /// # Errors
    /// What waiting does not help.
    pub(in crate::job::worker) async fn join_first(&mut self) -> Result<()> {
        match self.try_join().await {
            Err(error) if error.is_final() => Err(error),
            Err(error) => {
                self.note_trouble(&error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// The store has taken it for dead: what it had is no longer its own, and it goes on under another name.
    pub(super) fn fall(&mut self) {
        let lost = self.unsent.len() + self.running;
        self.team.tally.lost(lost);
        self.part.counts.lost_lease.increment(u64::try_from(lost).unwrap_or(u64::MAX));
        tracing::warn!(
            queue = self.queue(),
            lost,
            "a lane was taken for dead, and goes on under another name"
        );
        // One that began just as it fell has not heard of it.
        self.hold.tell_all(Stop::Lost);
        self.unsent.clear();
        self.unsent_since = None;
        self.unanswered = None;
        self.generation += 1;
        self.request = 0;
        self.is_used_up = true;
        self.is_joined = false;
        self.has_work = true;
    }

    /// Joins, or waits a little before the next time.
    pub(super) async fn join(&mut self) {
        if let Err(error) = self.try_join().await {
            self.note_trouble(&error);
            self.joining.pause().await;
        }
    }

    async fn try_join(&mut self) -> Result<()> {
        if self.is_used_up {
            self.name = new_name()?;
            self.is_used_up = false;
        }
        let (_, queue) = &self.team.settings.queues[self.part.queue];
        let joining = Joining {
            lane: &self.name,
            label: &self.team.settings.label,
            slots: self.slots,
            lease_ms: queue.lease_ms(),
        };
        let sent = self.team.clock().now();
        match self.team.engine().backend.join(&self.part.keys, joining).await? {
            Joined::Done { now_ms } => {
                self.part.sync(now_ms);
                self.hold.joined(Arc::clone(&self.name), sent.after(queue.lease));
                self.joining.well();
                self.is_joined = true;
                self.has_work = true;
                Ok(())
            }
            Joined::Taken => {
                self.is_used_up = true;
                Err(not_joined("another lane has had its name"))
            }
            Joined::Full => {
                tracing::warn!(
                    queue = self.queue(),
                    "a queue has as many lanes as may be: one waits"
                );
                Err(not_joined("the queue has as many lanes as may be"))
            }
        }
    }

    /// Hands back what it has, and is gone.
    pub(super) async fn leave(mut self) {
        // Handlers that do not listen hold up nothing.
        self.hold.abort_all();
        let _ = tokio::time::timeout(STOP_GRACE, self.until_all_ended()).await;
        if !self.is_joined {
            return;
        }
        // What is over is told until its own time is.
        let (_running, phase) = watch::channel(Phase::Draining);
        self.phase = phase;
        let telling = async {
            loop {
                // One in any case: a token may have been taken for it, and others are to have the job.
                self.turn(Granted::free(0)).await;
                let is_told = self.unsent.is_empty() && self.unanswered.is_none();
                if is_told || self.hold.name().is_none() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LEAVE_TIME_MAX, telling).await;
        self.team.tally.given_back(self.running);
        let mut again = Again::new();
        let leaving = async {
            while let Err(error) =
                self.team.engine().backend.leave(&self.part.keys, &self.name).await
            {
                self.note_trouble(&error);
                again.pause().await;
            }
        };
        let _ = tokio::time::timeout(LEAVE_TIME_MAX, leaving).await;
    }

    /// Cancel-safe.
    async fn until_all_ended(&mut self) {
        self.take_in_ends();
        while self.running > 0 {
            self.ends.until(1).await;
            self.take_in_ends();
        }
    }
}

/// A name that no lane had before.
pub(super) fn new_name() -> Result<Arc<str>> {
    Ok(Code::random()?.to_string().into())
}

fn not_joined(why: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable { maybe_applied: false }, why)
}
