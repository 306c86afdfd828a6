//! One suspect at a time in a process: a job that was there when a process ended may be what ended it, and two of them at
//! once would be buried together.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Of the process, whatever workers it has: all of them end with it.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
/// Who was denied one hears of it one by one: each asks, and the next hears when that has come to nothing, or has ended.
static FREED: Notify = Notify::const_new();

/// The right to run a suspect, or to ask for one. Others have it once this is dropped.
#[derive(Debug)]
pub(super) struct Suspect(());

impl Suspect {
    /// Nothing while another asks for one, or runs one.
    pub(super) fn ask() -> Option<Self> {
        // Made only where it is had: one that is dropped lets go of it.
        (!IS_TAKEN.swap(true, Ordering::AcqRel)).then(|| Self(()))
    }

    /// Resolves when it is worth asking again. Cancel-safe.
    pub(super) async fn freed() {
        FREED.notified().await;
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        IS_TAKEN.store(false, Ordering::Release);
        FREED.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_denied_takes_it_from_no_one() {
        // Other tests of the process may have it now and then.
        let first = loop {
            if let Some(first) = Suspect::ask() {
                break first;
            }
            std::thread::yield_now();
        };
        assert!(Suspect::ask().is_none());
        assert!(Suspect::ask().is_none(), "it was let go of for another");
        drop(first);
    }
}
