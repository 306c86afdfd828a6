//! Looks through all keys of the store for plain keys: a few at a time, and once for all environments that wait
//! for the same ones.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::backend::{Backend as _, PlainKeys};
use super::engine::Engine;
use super::plain::OVERLAYS_MAX;
use crate::kernel::error::Result;
use crate::kernel::key::PlainFlags;

/// So many at a time.
const SCANS_MAX: usize = 2;

type Scanning = BoxFuture<'static, Result<Arc<PlainKeys>>>;

/// The looks through all keys of one client's store.
pub(super) struct Scans {
    turns: Semaphore,
    /// Those that have not begun. There is no more than one an open environment.
    ahead: Mutex<HashMap<PlainFlags, WeakShared<Scanning>>>,
}

impl Scans {
    pub(super) fn new() -> Self {
        Self { turns: Semaphore::new(SCANS_MAX), ahead: Mutex::default() }
    }

    /// A look that has not begun: it finds all that is there by now. It is the same for all who ask for it
    /// before it begins, goes on while one of them waits for it, and ends with the last.
    pub(super) fn next(engine: &Arc<Engine>, plain: &PlainFlags) -> Shared<Scanning> {
        let mut ahead = engine.scans.ahead.lock();
        if let Some(scan) = ahead.get(plain).and_then(WeakShared::upgrade) {
            return scan;
        }
        // What no one waits for any more never begins.
        ahead.retain(|_, scan| scan.upgrade().is_some());
        let scan = scan(Arc::clone(engine), plain.clone()).boxed().shared();
        ahead.extend(scan.downgrade().map(|scan| (plain.clone(), scan)));
        scan
    }
}

async fn scan(engine: Arc<Engine>, plain: PlainFlags) -> Result<Arc<PlainKeys>> {
    // Never closed.
    let _turn = engine.scans.turns.acquire().await;
    // Whoever asks from now on may mean what this one no longer finds.
    engine.scans.ahead.lock().remove(&plain);
    let found = engine.backend.plain_keys(&plain, OVERLAYS_MAX).await?;
    if found.is_cut {
        tracing::warn!(
            prefix = plain.prefix(),
            "there are {OVERLAYS_MAX} plain keys of flags or more: the others do not count"
        );
    }
    Ok(Arc::new(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::{MemoryBackend, Store};
    use crate::kernel::clock::Clock;

    #[tokio::test]
    async fn a_look_is_shared_by_those_who_wait_for_the_same_keys_until_it_begins() {
        let clock = Clock::manual().0;
        let engine = Engine::new(Store::Memory(MemoryBackend::new(clock.clone())), clock);
        let (ours, others) = (PlainFlags::at("feature:"), PlainFlags::at("other:"));
        let mut busy = Vec::new();
        for _ in 0..SCANS_MAX {
            busy.push(engine.scans.turns.acquire().await.unwrap());
        }
        let first = Scans::next(&engine, &ours);
        let mut second = Scans::next(&engine, &ours);
        assert!(first.ptr_eq(&second));
        assert!(!Scans::next(&engine, &others).ptr_eq(&second));
        assert!((&mut second).now_or_never().is_none(), "others are looking");
        drop(first);
        assert!(Scans::next(&engine, &ours).ptr_eq(&second), "one still waits");
        assert_eq!(engine.scans.ahead.lock().len(), 2);
        drop(second);
        let third = Scans::next(&engine, &ours);
        assert_eq!(engine.scans.ahead.lock().len(), 1, "no one waits for the other any more");
        drop(busy);
        assert!(third.await.unwrap().by_key.is_empty());
        assert!(engine.scans.ahead.lock().is_empty());
    }
}
