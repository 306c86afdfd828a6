//! A producer: what it enqueues, and how it tells of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sinew::Jobs;
use sinew::job::{Enqueued, JobId, NewJob, Unique};

use super::history::{Id, What, Worker};
use super::worker::Teller;
use super::{ATTEMPTS, KEPT, TOPIC};

pub const TASKS: u64 = 8;
const BATCH_MAX: u64 = 16;

/// Enqueues until it is to end. What was not confirmed is enqueued again, under the same names, before anything else.
pub async fn produce(
    jobs: Jobs,
    teller: Arc<Teller>,
    task: u64,
    per_second: u64,
    running: Arc<AtomicBool>,
) {
    let Worker { process, life } = teller.by;
    // A process that was killed lives again with other numbers: what it had enqueued, it no longer knows.
    let first = (process << 48) | (life << 32) | (task << 24);
    let mut next = first;
    let mut random = fastrand::Rng::with_seed(first);
    let pause = Duration::from_secs_f64(number(BATCH_MAX * TASKS) / number(2 * per_second.max(1)));
    while running.load(Ordering::SeqCst) {
        let many = random.u64(1..BATCH_MAX);
        let ids: Vec<Id> = (next..next + many).map(Id).collect();
        next += many;
        for id in &ids {
            teller.say(What::Sends, *id, 0, 0).await;
        }
        let batch: Vec<NewJob> = ids.iter().map(|id| job(*id, &mut random)).collect();
        let enqueued = loop {
            match jobs.enqueue_many_raw(TOPIC, batch.clone()).await {
                Ok(enqueued) => break enqueued,
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error:#}"),
            }
        };
        for (id, enqueued) in ids.iter().zip(enqueued) {
            let what = match enqueued {
                Enqueued::New(_) => What::Enqueued,
                Enqueued::Duplicate(_) | Enqueued::Replaced { .. } => What::Refused,
            };
            teller.say(what, *id, 0, 0).await;
        }
        tokio::time::sleep(pause).await;
    }
}

fn job(id: Id, random: &mut fastrand::Rng) -> NewJob {
    let of = |id: Id| NewJob {
        id: Some(named(id)),
        attempts: Some(ATTEMPTS),
        ..NewJob::new(TOPIC, format!("{{\"id\":{}}}", id.0))
    };
    let after = id.after().map(|after| NewJob {
        queue: super::AFTER.to_owned(),
        retain: Some(KEPT),
        ..of(after)
    });
    NewJob {
        key: id.key().map(|key| format!("key {key}")),
        unique: id.name().map(|(name, _)| Unique::by(format!("name {name}"))),
        delay: id.is_delayed().then(|| Duration::from_millis(random.u64(50..1_500))),
        retain: id.is_kept().then_some(KEPT),
        next: after.into_iter().collect(),
        ..of(id)
    }
}

/// A name that is drawn once, so that it may be enqueued again. Its last five bits say that it is in the first partition.
fn named(Id(number): Id) -> JobId {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    let mut rest = (now.as_millis() << 80) | (u128::from(number) << 5);
    let mut text = [0; 26];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[usize::try_from(rest & 0x1f).expect("five bits")];
        rest >>= 5;
    }
    std::str::from_utf8(&text).expect("ASCII").parse().expect("a name that can be")
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
