//! Sixteen tasks that want one lock all the time: how long it lies idle between two of them, and how
//! even their shares are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sinew::{Acquire, Locks};
use tokio::sync::Mutex;

use super::TTL;
use crate::measure::{Effort, Row, p99_ms};
use crate::peer::locks::Rslock;

const WAITERS: usize = 16;
/// What a holder does with it.
const HELD: Duration = Duration::from_millis(1);
const WAIT: Duration = Duration::from_secs(60);

pub async fn rows(effort: Effort, locks: &Locks, rslock: &Rslock) -> Vec<Row> {
    // One long turn for each: waiters need a while to come into step.
    let time = (effort.each * u32::try_from(effort.rounds).expect("few")) / 2;
    eprintln!("lock.handoff: {WAITERS} waiters, {time:?} each");
    let (locks, rslock) = (locks.clone(), rslock.clone());
    let ours = contend(time, move |log: Arc<Log>, task| {
        let locks = locks.clone();
        async move {
            let lock = locks.lock("handoff").ttl(TTL).wait(WAIT);
            let Acquire::Got(guard) = lock.acquire().await.expect("an answer") else {
                panic!("waited in vain")
            };
            log.hold(task).await;
            guard.release().await.expect("an answer");
        }
    })
    .await;
    let theirs = contend(time, move |log: Arc<Log>, task| {
        let rslock = rslock.clone();
        async move {
            let lock = rslock.wait("handoff of rslock", TTL).await;
            log.hold(task).await;
            rslock.release(&lock).await;
        }
    })
    .await;
    vec![
        Row::of_times("lock.handoff_p99", "rslock", ours.p99_ms, theirs.p99_ms, "ms p99"),
        Row::of_times("lock.handoff_worst", "rslock", ours.worst_ms, theirs.worst_ms, "ms"),
        Row::of_times("lock.handoff_wait", "rslock", ours.wait_ms, theirs.wait_ms, "ms p99"),
        Row::of_times("lock.fairness", "rslock", ours.unfairness, theirs.unfairness, "max/min"),
    ]
}

/// What was seen of one lock.
struct Seen {
    /// From the beginning of a release to the next grant.
    p99_ms: f64,
    worst_ms: f64,
    /// From asking to having.
    wait_ms: f64,
    /// What the luckiest task had of it, by what the unluckiest had.
    unfairness: f64,
}

struct Log {
    // Of tokio's kind, and held while the lock is: two holders at once would be noticed.
    state: Mutex<State>,
}

struct State {
    freed: Option<Instant>,
    idle: Vec<Duration>,
    grants: Vec<u32>,
}

impl Log {
    async fn hold(&self, task: usize) {
        let granted = Instant::now();
        let mut state = self.state.try_lock().expect("one holder at a time");
        if let Some(freed) = state.freed {
            state.idle.push(granted.saturating_duration_since(freed));
        }
        state.grants[task] += 1;
        tokio::time::sleep(HELD).await;
        state.freed = Some(Instant::now());
    }
}

async fn contend<F, Fut>(time: Duration, once: F) -> Seen
where
    F: Fn(Arc<Log>, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let state = State { freed: None, idle: Vec::new(), grants: vec![0; WAITERS] };
    let log = Arc::new(Log { state: Mutex::new(state) });
    let running = Arc::new(AtomicBool::new(true));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|task| {
            let (log, running, once) = (Arc::clone(&log), Arc::clone(&running), once.clone());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while running.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    once(Arc::clone(&log), task).await;
                    waits.push(asked.elapsed());
                }
                waits
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    running.store(false, Ordering::Relaxed);
    let mut waits = Vec::new();
    for waiter in waiters {
        waits.extend(waiter.await.expect("a task that does not panic"));
    }
    let state = log.state.lock().await;
    let worst = state.idle.iter().max().copied().unwrap_or_default();
    let (most, least) = (state.grants.iter().max(), state.grants.iter().min());
    Seen {
        p99_ms: p99_ms(state.idle.clone()),
        worst_ms: worst.as_secs_f64() * 1_000.0,
        wait_ms: p99_ms(waits),
        // One that had it never counts as one that had it once.
        unfairness: f64::from(*most.unwrap_or(&1)) / f64::from((*least.unwrap_or(&1)).max(1)),
    }
}
