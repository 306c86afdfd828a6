//! Events that are published at the same time, in one call: most of what an event costs Redis is the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::scripts;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::PartitionKeys;
use crate::kernel::redis::Link;
use crate::stream::model::{Outgoing, Written};

/// While fewer calls are under way, nothing would be gained.
const BUSY: usize = 4;
/// How many events one call publishes, and how long each of them may be, in bytes.
const EVENTS_MAX: usize = 64;
const LEN_MAX: usize = 16 << 10;
/// More than these are not gathered, but sent.
const WAITING_MAX: usize = 4_096;

/// Publishes events, several in one call where there are many.
pub(super) struct Gathering(Arc<Shared>);

struct Shared {
    link: Link,
    /// Where this was made, which lasts as long as the connections do.
    runtime: Option<Handle>,
    under_way: AtomicUsize,
    // A mutex: held to add one, or to take all.
    waiting: Mutex<Vec<Waiting>>,
}

/// An event, and who waits for what comes of it.
struct Waiting {
    keys: PartitionKeys,
    partitions: u16,
    event: Outgoing,
    tell: oneshot::Sender<Result<Written>>,
}

/// A call under way.
struct Call<'a>(&'a Shared);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The duty to send all that waits. If that comes to nothing, everyone who waits hears so.
struct Duty(Option<Arc<Shared>>);

impl Duty {
    fn take(mut self) -> Option<(Arc<Shared>, Vec<Waiting>)> {
        let shared = self.0.take()?;
        let waiting = std::mem::take(&mut *shared.waiting.lock());
        Some((shared, waiting))
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.waiting.lock().clear();
        }
    }
}

impl Gathering {
    pub(super) fn new(link: Link) -> Self {
        let (under_way, waiting) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Shared { link, runtime: Handle::try_current().ok(), under_way, waiting }))
    }

    /// Publishes events, as if they were alone.
    ///
    /// *Cancellation*: they may be published.
    pub(super) async fn publish(
        &self,
        keys: &PartitionKeys,
        partitions: u16,
        mut events: Vec<Outgoing>,
    ) -> Result<Written> {
        let shared = &self.0;
        let is_busy = shared.under_way.load(Ordering::Relaxed) >= BUSY;
        if is_busy && events.len() == 1 && events.first().is_some_and(is_light) {
            match shared.add(keys, partitions, events) {
                Ok(told) => {
                    // No longer than one that is sent alone, whatever becomes of the others.
                    let told = tokio::time::timeout(shared.link.deadline(), told).await;
                    return told
                        .unwrap_or_else(|_| Ok(Err(late())))
                        .unwrap_or_else(|_| Err(stopped()));
                }
                Err(not_added) => events = not_added,
            }
        }
        let _call = shared.begin();
        scripts::publish(&shared.link, keys, partitions, &events).await
    }
}

fn is_light(event: &Outgoing) -> bool {
    event.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= LEN_MAX
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable { maybe_applied: true }, "the runtime is stopping")
}

fn late() -> Error {
    Error::new(ErrorKind::Timeout { maybe_applied: true }, "no reply from Redis in time")
}

impl Shared {
    fn begin(&self) -> Call<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Call(self)
    }

    /// Has it sent with the next ones. Gives it back where too many wait.
    fn add(
        self: &Arc<Self>,
        keys: &PartitionKeys,
        partitions: u16,
        mut events: Vec<Outgoing>,
    ) -> Result<oneshot::Receiver<Result<Written>>, Vec<Outgoing>> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return Err(events);
        }
        let Some(event) = events.pop() else { return Err(events) };
        let (tell, told) = oneshot::channel();
        waiting.push(Waiting { keys: keys.clone(), partitions, event, tell });
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first {
            let sent = send_all(Duty(Some(Arc::clone(self))));
            match &self.runtime {
                Some(runtime) => runtime.spawn(sent),
                None => tokio::spawn(sent),
            };
        }
        Ok(told)
    }

    async fn send(&self, batch: Vec<Waiting>) {
        let _call = self.begin();
        let Some(first) = batch.first() else { return };
        let (keys, partitions) = (first.keys.clone(), first.partitions);
        let (events, tells): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|one| (one.event, one.tell)).unzip();
        match scripts::publish(&self.link, &keys, partitions, &events).await {
            Ok(Written::Done(wrote)) => {
                for (tell, wrote) in tells.into_iter().zip(wrote) {
                    let _ = tell.send(Ok(Written::Done(vec![wrote])));
                }
            }
            // There may be room for some.
            Ok(Written::Full { .. } | Written::TooManyLater) if events.len() > 1 => {
                for (tell, event) in tells.into_iter().zip(events) {
                    let alone = scripts::publish(&self.link, &keys, partitions, &[event]).await;
                    let _ = tell.send(alone);
                }
            }
            told => {
                for tell in tells {
                    let _ = tell.send(told.clone());
                }
            }
        }
    }
}

impl Waiting {
    /// One without a dedup id would keep the others from being sent again.
    fn goes_with(&self, other: &Self) -> bool {
        self.keys == other.keys
            && self.partitions == other.partitions
            && self.event.dedup.is_some() == other.event.dedup.is_some()
    }
}

async fn send_all(duty: Duty) {
    // Whoever is about to publish does so first.
    tokio::task::yield_now().await;
    let Some((shared, waiting)) = duty.take() else { return };
    let mut batches: Vec<Vec<Waiting>> = Vec::new();
    // Of those who have gone away meanwhile, nothing is published.
    for one in waiting.into_iter().filter(|one| !one.tell.is_closed()) {
        let open = batches.iter().rposition(|batch| batch[0].goes_with(&one));
        match open {
            Some(at) if batches[at].len() < EVENTS_MAX => batches[at].push(one),
            _ => batches.push(vec![one]),
        }
    }
    for batch in batches {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { shared.send(batch).await });
    }
}
