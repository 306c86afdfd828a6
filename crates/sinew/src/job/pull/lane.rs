//! The lane of one reserve.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::token::new_lane;
use crate::job::backend::Backend as _;
use crate::job::engine::Engine;
use crate::job::model::{Held, Joined, Joining, Settle, Took, Turn, millis};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::QueueKeys;

/// The lane of one reserve. Until it is handed over, dropping it gives back what it has: its caller has gone.
pub(super) struct Lane {
    engine: Arc<Engine>,
    keys: QueueKeys,
    name: Arc<str>,
    is_ours: bool,
    /// Until this is dropped, there is something to wait for.
    under_way: watch::Receiver<()>,
}

impl Lane {
    /// # Errors
    /// `Unavailable` where there are too many, and those of the store.
    pub(super) async fn join(
        engine: &Arc<Engine>,
        keys: &QueueKeys,
        label: &str,
        slots: usize,
        lease: Duration,
    ) -> Result<Self> {
        let (engine, keys, name) = (Arc::clone(engine), keys.clone(), new_lane()?);
        // Before it is asked for: it may be there although nobody hears so.
        let under_way = engine.lanes.subscribe();
        let lane = Self { engine, keys, name, is_ours: true, under_way };
        let joining = Joining { lane: &lane.name, label, slots, lease_ms: millis(lease) };
        let backend = &lane.engine.backend;
        match backend.join(&lane.keys, joining).await? {
            Joined::Done { .. } => Ok(lane),
            Joined::Taken => Err(over()),
            Joined::Full => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: false },
                format!("queue {} has as many workers as it may", lane.keys.queue().as_str()),
            )),
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its only turn that takes jobs. It may be given one that has crashed: nobody else might be there for it.
    pub(super) async fn take(&self, want: usize) -> Result<Took> {
        self.turn(1, want, &[]).await
    }

    pub(super) async fn settle(&self, settles: &[Settle]) -> Result<()> {
        self.turn(0, 0, settles).await.map(|_| ())
    }

    async fn turn(&self, request: u64, want: usize, settles: &[Settle]) -> Result<Took> {
        let (lane, takes_suspect) = (&*self.name, want > 0);
        let turn = Turn { lane, request, want, takes_suspect, settles, counts: &[] };
        match self.engine.backend.turn(&self.keys, &turn).await? {
            Held::Kept(took) => Ok(took),
            Held::Fallen => Err(over()),
        }
    }

    /// It has nothing.
    pub(super) async fn leave(mut self) -> Result<()> {
        self.engine.backend.leave(&self.keys, &self.name).await?;
        self.is_ours = false;
        Ok(())
    }

    /// What it has is the caller's from now on.
    pub(super) fn hand_over(mut self) {
        self.is_ours = false;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Without a runtime its lease ends it.
        if self.is_ours
            && let Ok(runtime) = Handle::try_current()
        {
            let (engine, keys) = (Arc::clone(&self.engine), self.keys.clone());
            let (name, under_way) = (Arc::clone(&self.name), self.under_way.clone());
            runtime.spawn(async move {
                // Where it cannot be told, its lease ends it.
                let _ = engine.backend.leave(&keys, &name).await;
                drop(under_way);
            });
        }
    }
}

fn over() -> Error {
    Error::new(
        ErrorKind::Unavailable { maybe_applied: false },
        "the lease was over before it began: reserve again",
    )
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::job::NewJob;
    use crate::kernel::name::QueueName;

    const LEASE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_a_reserve_had_that_was_dropped_waits_again_once_all_is_settled() {
        let jobs = crate::Sinew::embedded().tenant("acme").unwrap().jobs();
        for _ in 0..3 {
            jobs.enqueue_raw("mail", NewJob::new("a", "1")).await.unwrap();
        }
        let keys = jobs.scope.job(&QueueName::new("mail").unwrap(), 0);
        let lane = Lane::join(&jobs.engine, &keys, "http", 2, LEASE).await.unwrap();
        assert_eq!(lane.take(2).await.unwrap().jobs.len(), 2);
        assert!(jobs.settled().now_or_never().is_none());
        drop(lane);
        jobs.settled().await;
        let again = jobs.pull("mail").reserve(10, LEASE).await.unwrap();
        let again: Vec<_> = again.iter().map(|job| (job.attempt, job.crashes)).collect();
        assert_eq!(again, [(1, 0); 3]);
        // These are the caller's.
        assert!(jobs.settled().now_or_never().is_some());
    }
}
