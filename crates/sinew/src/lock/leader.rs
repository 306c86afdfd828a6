//! Leader election: the same lock, behind a watch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::builder::Acquire;
use super::engine::Engine;
use super::hold::Hold;
use super::model::Fence;
use super::wait::{self, Terms};
use crate::kernel::error::{Error, ErrorKind, Result};

/// How soon leadership passes on from a process that died, unless said.
pub(super) const TTL: Duration = Duration::from_secs(10);
/// Pauses between attempts, while the store does not answer.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// One who stands for election, and leads when its turn comes. Dropped, it stands no more, and
/// leadership passes on.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let locks = sinew::Sinew::embedded().locks();
/// let mut leader = locks.elect("scheduler")?;
/// if let Some(fence) = leader.changed().await {
///     println!("this process leads, with fence {fence}");
/// }
/// leader.resign().await?;
/// # Ok(()) }
/// ```
pub struct Leader {
    reign: watch::Receiver<Option<Arc<Hold>>>,
    // Dropped, it tells the task to stop.
    stands: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Leader {
    pub(super) fn stand(engine: Arc<Engine>, terms: Terms) -> Self {
        let (stands, resigns) = oneshot::channel();
        let (told, reign) = watch::channel(None);
        let runtime = engine.runtime.clone();
        Self { reign, stands, task: runtime.spawn(stand(engine, terms, told, resigns)) }
    }

    /// The fence of this reign, while this process leads. It steps down at the end of what it was
    /// granted by its own clock, whether or not Redis answers.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        let reign = self.reign.borrow();
        reign.as_ref().filter(|hold| !hold.is_lost()).map(|hold| hold.fence())
    }

    /// Waits until this process begins or ceases to lead, and says which: the new fence, or `None`.
    /// After a short reign that nobody waited for, the next one's fence may come without a `None`
    /// in between.
    ///
    /// *Cancellation*: no change gets lost.
    pub async fn changed(&mut self) -> Option<Fence> {
        if self.reign.changed().await.is_err() {
            // The runtime is stopping.
            std::future::pending::<()>().await;
        }
        self.fence()
    }

    /// Stands no more. If this process leads, another one may from now on.
    ///
    /// *Cancellation*: it steps down all the same.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis does not answer. It is tried on in the background; the
    /// TTL ends the reign at the latest.
    pub async fn resign(self) -> Result<()> {
        drop(self.stands);
        self.task.await.unwrap_or_else(|_| {
            let kind = ErrorKind::Unavailable { maybe_applied: true };
            Err(Error::new(kind, "the runtime is stopping"))
        })
    }
}

/// Stands for election until told to stop. An outage does not end it.
async fn stand(
    engine: Arc<Engine>,
    terms: Terms,
    told: watch::Sender<Option<Arc<Hold>>>,
    mut resigns: oneshot::Receiver<()>,
) -> Result<()> {
    let mut pause = PAUSE_FIRST;
    loop {
        let acquired = tokio::select! {
            biased;
            _ = &mut resigns => return Ok(()),
            acquired = wait::acquire(&engine, &terms) => acquired,
        };
        let error = match acquired {
            Ok(Acquire::Got(guard)) => {
                pause = PAUSE_FIRST;
                told.send_replace(Some(Arc::clone(guard.hold())));
                let resigned = tokio::select! {
                    biased;
                    _ = &mut resigns => true,
                    () = guard.lost() => false,
                };
                told.send_replace(None);
                if resigned {
                    return guard.release().await.map(|_| ());
                }
                continue;
            }
            // It waits for ever; but where it does not, it asks again after a pause.
            Ok(Acquire::Held { .. }) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            let lock = terms.key.name();
            tracing::debug!(lock, %error, "standing for election again");
        }
        tokio::select! {
            biased;
            _ = &mut resigns => return Ok(()),
            () = engine.clock.sleep_until(engine.clock.now().after(pause)) => {}
        }
        pause = (pause * 2).min(PAUSE_LAST);
    }
}
