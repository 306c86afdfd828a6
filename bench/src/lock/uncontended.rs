//! Pairs of acquire and release, by 32 tasks of which each has a lock to itself.

use std::sync::Arc;
use std::time::Duration;

use sinew::{Acquire, Locks};

use super::TTL;
use crate::measure::{Effort, Row, in_turn, rate};
use crate::peer::locks::{Rslock, SetNx};

const TASKS: u64 = 32;

pub async fn rows(effort: Effort, locks: &Locks, bare: &SetNx, rslock: &Rslock) -> Vec<Row> {
    let names: Arc<Vec<String>> = Arc::new((0..TASKS).map(|task| format!("job:{task}")).collect());
    let ours = async |time| our_pairs(&names, locks, time).await;
    let theirs = async |time| bare_pairs(&names, bare, time).await;
    let (our_rate, bare_rate) = in_turn(effort, "lock.uncontended: raw", ours, theirs).await;
    let ours = async |time| our_pairs(&names, locks, time).await;
    let theirs = async |time| rslock_pairs(&names, rslock, time).await;
    let (again, rslock_rate) = in_turn(effort, "lock.uncontended: rslock", ours, theirs).await;
    vec![
        Row::of_rates("lock.uncontended", "raw", our_rate, bare_rate),
        Row::of_rates("lock.uncontended", "rslock", again, rslock_rate),
    ]
}

async fn our_pairs(names: &Arc<Vec<String>>, locks: &Locks, time: Duration) -> f64 {
    let (names, locks) = (Arc::clone(names), locks.clone());
    let pair = move |n: u64| {
        let (names, locks) = (Arc::clone(&names), locks.clone());
        async move {
            let lock = locks.lock(&names[(n % TASKS) as usize]).ttl(TTL);
            let Acquire::Got(guard) = lock.acquire().await.expect("an answer") else {
                panic!("nobody else wants it")
            };
            guard.release().await.expect("an answer");
        }
    };
    rate(TASKS, time, pair).await
}

async fn bare_pairs(names: &Arc<Vec<String>>, bare: &SetNx, time: Duration) -> f64 {
    let (names, bare) = (Arc::clone(names), bare.clone());
    let pair = move |n: u64| {
        let (names, bare) = (Arc::clone(&names), bare.clone());
        async move {
            let name = &names[(n % TASKS) as usize];
            assert!(bare.try_take(name, n, TTL).await, "nobody else wants it");
            bare.release(name, n).await;
        }
    };
    rate(TASKS, time, pair).await
}

async fn rslock_pairs(names: &Arc<Vec<String>>, rslock: &Rslock, time: Duration) -> f64 {
    let (names, rslock) = (Arc::clone(names), rslock.clone());
    let pair = move |n: u64| {
        let (names, rslock) = (Arc::clone(&names), rslock.clone());
        async move {
            let lock = rslock.take(&names[(n % TASKS) as usize], TTL).await;
            rslock.release(&lock).await;
        }
    };
    rate(TASKS, time, pair).await
}
