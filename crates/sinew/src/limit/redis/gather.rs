//! Requests that come at the same time, in one call: most of what a request costs Redis is the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::scripts;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::Key;
use crate::kernel::redis::Link;
use crate::limit::algorithm::{Demand, Mode, Rule};
use crate::limit::backend::Reply;

/// While fewer calls are under way, nothing would be gained.
const BUSY: usize = 4;
/// How much one call decides on, and holds up everyone else's for.
const REQUESTS_MAX: usize = 16;
const LIMITS_MAX: usize = 32;
/// More than these are not gathered, but sent.
const WAITING_MAX: usize = 4_096;

/// Sends requests, several in one call where there are many.
pub(super) struct Gathering(Arc<Shared>);

struct Shared {
    link: Link,
    /// Where this was made, which lasts as long as the connections do. That of whoever is the first to
    /// wait may stand still, or end, while all others wait with it.
    runtime: Option<Handle>,
    under_way: AtomicUsize,
    // A mutex: held to add one, or to take all.
    waiting: Mutex<Vec<Waiting>>,
}

/// A request, and who waits for its reply.
struct Waiting {
    keys: Vec<Key>,
    packed: Vec<u8>,
    tell: oneshot::Sender<Result<Bytes>>,
}

impl Gathering {
    pub(super) fn new(link: Link) -> Self {
        let (under_way, waiting) = (AtomicUsize::new(0), Mutex::default());
        let runtime = Handle::try_current().ok();
        Self(Arc::new(Shared { link, runtime, under_way, waiting }))
    }

    /// Decides on a request, as if it were asked alone.
    ///
    /// *Cancellation*: it may be charged.
    pub(super) async fn charge(&self, demands: &[(&Key, Demand)]) -> Result<Reply> {
        let shared = &self.0;
        let is_busy = shared.under_way.load(Ordering::Relaxed) >= BUSY;
        if is_busy
            && is_light(demands)
            && let Some(told) = shared.add(demands)
        {
            // No longer than one that is asked alone, whatever becomes of the others.
            let told = tokio::time::timeout(shared.link.deadline(), told).await;
            let told = told.unwrap_or_else(|_| Ok(Err(late())));
            let reply = told.unwrap_or_else(|_| Err(stopped()))?;
            return scripts::reply_of(&reply, demands.len(), Mode::Charge);
        }
        let _call = shared.begin();
        scripts::check_at(&shared.link, demands, Mode::Charge, None).await
    }
}

/// Whether it takes little time, and fails only as all others would: a log may be long, and needs commands
/// of its own.
fn is_light(demands: &[(&Key, Demand)]) -> bool {
    !demands.iter().any(|(_, demand)| matches!(demand.rule, Rule::SlidingLog(_)))
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable { maybe_applied: true }, "the runtime is stopping")
}

fn late() -> Error {
    Error::new(ErrorKind::Timeout { maybe_applied: true }, "no reply from Redis in time")
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

impl Shared {
    fn begin(&self) -> Call<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Call(self)
    }

    /// Has it sent with the next ones. `None` where too many wait.
    fn add(
        self: &Arc<Self>,
        demands: &[(&Key, Demand)],
    ) -> Option<oneshot::Receiver<Result<Bytes>>> {
        let keys = demands.iter().map(|(key, _)| Key::clone(key)).collect();
        let mut packed = Vec::new();
        demands.iter().for_each(|(_, demand)| scripts::pack(*demand, &mut packed));
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        waiting.push(Waiting { keys, packed, tell });
        let is_first = waiting.len() == 1;
        drop(waiting);
        if is_first {
            let sent = send_all(Duty(Some(Arc::clone(self))));
            match &self.runtime {
                Some(runtime) => runtime.spawn(sent),
                None => tokio::spawn(sent),
            };
        }
        Some(told)
    }

    /// Makes one call of several requests.
    async fn send(&self, requests: Vec<Waiting>) {
        let _call = self.begin();
        match self.ask(&requests).await {
            Ok(mut replies) => {
                for request in requests {
                    let len = scripts::reply_len(request.keys.len()).min(replies.len());
                    // Where it is too short, it is told so when it is read.
                    let _ = request.tell.send(Ok(replies.split_to(len)));
                }
            }
            Err(error) => {
                for request in requests {
                    let _ = request.tell.send(Err(error.clone()));
                }
            }
        }
    }

    async fn ask(&self, requests: &[Waiting]) -> Result<Bytes> {
        let keys = requests.iter().flat_map(|request| &request.keys);
        let keys: Vec<&str> = keys.map(Key::as_str).collect();
        let packed = requests.iter().flat_map(|request| &request.packed).copied().collect();
        let size = |request: &Waiting| u8::try_from(request.keys.len()).unwrap_or(u8::MAX);
        let sizes: Vec<u8> = requests.iter().map(size).collect();
        scripts::check(&self.link, &keys, packed, &sizes, Mode::Charge, None).await
    }
}

async fn send_all(duty: Duty) {
    // Whoever is about to ask does so first.
    tokio::task::yield_now().await;
    let Some((shared, waiting)) = duty.take() else { return };
    let send = |batch: Vec<Waiting>| {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { shared.send(batch).await });
    };
    let (mut batch, mut limits) = (Vec::new(), 0);
    // Of those who have gone away meanwhile, nothing is charged.
    for request in waiting.into_iter().filter(|request| !request.tell.is_closed()) {
        limits += request.keys.len();
        if batch.len() == REQUESTS_MAX || limits > LIMITS_MAX {
            limits = request.keys.len();
            send(std::mem::take(&mut batch));
        }
        batch.push(request);
    }
    if !batch.is_empty() {
        send(batch);
    }
}
