//! What is asked at the same time, in one call: most of what a small question costs Redis is the call.
//!
//! While few calls are under way, everyone sends his own. Above that, the first who comes sends what
//! has come when its turn is there, so that nobody waits for a clock.

mod write;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Link;
use crate::kernel::error::{Error, ErrorKind, Result};
pub(crate) use write::{Batched, OfEach, Single};

/// While fewer calls are under way, nothing would be gained.
const BUSY: usize = 4;
/// More than these are not gathered, but sent.
const WAITING_MAX: usize = 4_096;

/// What can be asked together with others of its kind.
pub(crate) trait Gathered: Sized + Send + 'static {
    type Reply: Send + 'static;

    /// Parts what has come into calls.
    fn parted(waiting: Vec<Waiting<Self>>) -> Vec<Vec<Waiting<Self>>>;

    /// Makes one call, and tells everyone what came of it.
    fn send(link: &Link, call: Vec<Waiting<Self>>) -> impl Future<Output = ()> + Send;
}

/// Something asked, and who waits for its reply.
pub(crate) struct Waiting<T: Gathered> {
    pub(crate) asked: T,
    tell: Told<T>,
}

/// Who is to be told.
pub(crate) struct Told<T: Gathered>(oneshot::Sender<Result<T::Reply>>);

impl<T: Gathered> Told<T> {
    pub(crate) fn tell(self, reply: Result<T::Reply>) {
        let _ = self.0.send(reply);
    }
}

impl<T: Gathered> Waiting<T> {
    pub(crate) fn split(self) -> (T, Told<T>) {
        (self.asked, self.tell)
    }

    pub(crate) fn tell(self, reply: Result<T::Reply>) {
        self.tell.tell(reply);
    }
}

/// Sends what is asked, several in one call where there are many.
pub(crate) struct Gathering<T: Gathered>(Arc<Shared<T>>);

struct Shared<T: Gathered> {
    link: Link,
    /// Where this was made, which lasts as long as the connections do. That of whoever is the first to
    /// wait may stand still, or end, while all others wait with it.
    runtime: Option<Handle>,
    under_way: AtomicUsize,
    // A mutex: held to add one, or to take all.
    waiting: Mutex<Vec<Waiting<T>>>,
}

impl<T: Gathered> Gathering<T> {
    pub(crate) fn new(link: Link) -> Self {
        let (under_way, waiting) = (AtomicUsize::new(0), Mutex::default());
        Self(Arc::new(Shared { link, runtime: Handle::try_current().ok(), under_way, waiting }))
    }

    /// Whether it is worth to ask with others: many calls are under way, and there is room.
    pub(crate) fn is_worth_it(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) >= BUSY
            && self.0.waiting.lock().len() < WAITING_MAX
    }

    /// Asks with the next ones, and no longer than one that is asked alone, whatever becomes of the others.
    ///
    /// *Cancellation*: it is not asked if it was not sent yet.
    pub(crate) async fn with_others(&self, asked: T) -> Result<T::Reply> {
        let told = tokio::time::timeout(self.0.link.deadline(), self.0.add(asked)).await;
        let told = told.unwrap_or_else(|_| Ok(Err(late())));
        told.unwrap_or_else(|_| Err(stopped()))
    }

    /// A call of somebody who asks alone.
    pub(crate) async fn alone<R>(&self, call: impl Future<Output = R>) -> R {
        let _call = self.0.begin();
        call.await
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable { maybe_applied: true }, "the runtime is stopping")
}

fn late() -> Error {
    Error::new(ErrorKind::Timeout { maybe_applied: true }, "no reply from Redis in time")
}

/// A call under way.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The duty to send all that waits. If that comes to nothing, everyone who waits hears so.
struct Duty<T: Gathered>(Option<Arc<Shared<T>>>);

impl<T: Gathered> Drop for Duty<T> {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.waiting.lock().clear();
        }
    }
}

impl<T: Gathered> Shared<T> {
    fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.under_way)
    }

    fn add(self: &Arc<Self>, asked: T) -> oneshot::Receiver<Result<T::Reply>> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.push(Waiting { asked, tell: Told(tell) });
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first {
            let sent = send_all(Duty(Some(Arc::clone(self))));
            match &self.runtime {
                Some(runtime) => runtime.spawn(sent),
                None => tokio::spawn(sent),
            };
        }
        told
    }
}

async fn send_all<T: Gathered>(mut duty: Duty<T>) {
    // Whoever is about to ask does so first.
    tokio::task::yield_now().await;
    let Some(shared) = duty.0.take() else { return };
    let mut waiting = std::mem::take(&mut *shared.waiting.lock());
    // For those who have gone away meanwhile, nothing is asked.
    waiting.retain(|one| !one.tell.0.is_closed());
    for call in T::parted(waiting) {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _call = shared.begin();
            T::send(&shared.link, call).await;
        });
    }
}
