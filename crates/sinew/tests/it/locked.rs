//! `#[locked]`: what the functions under it promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sinew::{Acquire, ErrorKind, Fence, Locks, Sinew, locked};

use crate::laws::{eventually, keep};

const MINUTE: Duration = Duration::from_secs(60);

fn locks() -> Locks {
    Sinew::embedded().tenant("acme").expect("a tenant").locks()
}

async fn is_held(locks: &Locks, name: &str) -> bool {
    match locks.lock(name).acquire().await.unwrap() {
        Acquire::Got(guard) => {
            guard.release().await.unwrap();
            false
        }
        Acquire::Held { .. } => true,
    }
}

#[derive(Debug)]
enum Failure {
    Lock(sinew::Error),
    Month(u32),
}

impl From<sinew::Error> for Failure {
    fn from(error: sinew::Error) -> Self {
        Self::Lock(error)
    }
}

impl Failure {
    fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Lock(error) => Some(error.kind()),
            Self::Month(_) => None,
        }
    }
}

#[locked(locks = locks, name = "invoices:{month}", ttl = "30s")]
async fn invoice(locks: &Locks, month: u32) -> Result<(bool, Fence), Failure> {
    if month > 12 {
        return Err(Failure::Month(month));
    }
    let name = format!("invoices:{month}");
    Ok((is_held(locks, &name).await, fence))
}

#[test]
fn a_locked_function_runs_under_its_lock_with_a_fence() {
    keep(|| async {
        let locks = locks();
        let (held, first) = invoice(&locks, 11).await.unwrap();
        assert!(held, "while it ran");
        assert!(!is_held(&locks, "invoices:11").await, "freed when it came back");
        let (_, second) = invoice(&locks, 11).await.unwrap();
        assert!(second > first);
    });
}

#[test]
fn a_locked_function_hands_on_its_own_error_and_frees_its_lock() {
    keep(|| async {
        let locks = locks();
        assert!(matches!(invoice(&locks, 13).await, Err(Failure::Month(13))));
        assert!(!is_held(&locks, "invoices:13").await);
    });
}

#[test]
fn a_lock_that_is_held_is_a_conflict_and_nothing_runs() {
    keep(|| async {
        let locks = locks();
        let guard = locks.lock("invoices:11").acquire().await.unwrap().got().unwrap();
        let failure = invoice(&locks, 11).await.unwrap_err();
        assert_eq!(failure.kind(), Some(ErrorKind::Conflict));
        invoice(&locks, 12).await.expect("another lock");
        guard.release().await.unwrap();
    });
}

#[locked(locks = locks, name = "nightly", skip_if_held)]
async fn nightly(locks: &Locks, runs: &AtomicUsize) -> sinew::Result<usize> {
    let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
    // What the body does meanwhile in another process.
    assert!(nightly_elsewhere(locks, runs).await?.is_none());
    Ok(run)
}

#[locked(locks = locks, name = "nightly", skip_if_held)]
async fn nightly_elsewhere(locks: &Locks, runs: &AtomicUsize) -> sinew::Result<usize> {
    Ok(runs.fetch_add(1, Ordering::SeqCst) + 1)
}

#[test]
fn a_function_that_skips_is_none_where_its_lock_is_held() {
    keep(|| async {
        let (locks, runs) = (locks(), AtomicUsize::new(0));
        assert_eq!(nightly(&locks, &runs).await.unwrap(), Some(1));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    });
}

struct Ledger {
    locks: Arc<Locks>,
    account: String,
    patience: Duration,
    entries: Vec<u64>,
}

impl Ledger {
    #[locked(locks = self.locks, name = format!("ledger:{}", self.account), wait = self.patience)]
    async fn add(&mut self, entry: u64, note: String) -> Result<usize, Box<dyn std::error::Error>> {
        let parsed: u64 = note.parse()?;
        self.entries.push(entry + parsed);
        // It may do with its argument what it wants.
        drop(note);
        Ok(self.entries.len())
    }

    #[locked(locks = self.locks, name = self.account)]
    async fn sum(&self) -> sinew::Result<u64> {
        Ok(self.entries.iter().sum())
    }
}

#[test]
fn a_service_locks_its_methods_and_they_may_change_it() {
    keep(|| async {
        let account = "ada".to_owned();
        let mut ledger =
            Ledger { locks: Arc::new(locks()), account, patience: MINUTE, entries: Vec::new() };
        assert_eq!(ledger.add(1, "2".to_owned()).await.unwrap(), 1);
        assert!(ledger.add(1, "two".to_owned()).await.is_err());
        assert_eq!(ledger.sum().await.unwrap(), 3);
    });
}

#[locked(locks = locks, name = name, wait = "1m")]
async fn counted(locks: Locks, name: String, inside: Arc<AtomicUsize>) -> sinew::Result<usize> {
    let most = inside.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::task::yield_now().await;
    inside.fetch_sub(1, Ordering::SeqCst);
    Ok(most)
}

#[test]
fn callers_that_wait_run_one_after_the_other() {
    keep(|| async {
        let (locks, inside) = (locks(), Arc::new(AtomicUsize::new(0)));
        // As a server runs it, which a future must be `Send` for.
        let calls: Vec<_> = (0..20)
            .map(|_| tokio::spawn(counted(locks.clone(), "a".to_owned(), Arc::clone(&inside))))
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), 1);
        }
    });
}

#[locked(locks = locks, name = "lost", ttl = Duration::from_secs(1))]
async fn robbed(locks: &Locks) -> sinew::Result<()> {
    assert_eq!(locks.force_release("lost").await?, 1);
    std::future::pending().await
}

#[test]
fn a_function_whose_lock_was_lost_is_dropped_and_may_have_been_at_work() {
    keep(|| async {
        let locks = locks();
        let error = robbed(&locks).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable { maybe_applied: true }, "{error}");
        eventually("it is free", || async { !is_held(&locks, "lost").await }).await;
    });
}

#[locked(locks = locks, name = name)]
async fn named(locks: &Locks, name: &str) -> sinew::Result<()> {
    Ok(())
}

#[test]
fn a_name_that_cannot_be_is_rejected() {
    keep(|| async {
        let error = named(&locks(), "").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
    });
}
