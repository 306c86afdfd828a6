//! A process that takes jobs by hand: nothing but the store keeps it from saying what no longer counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sinew::Jobs;
use sinew::job::{PullEnd, PulledJob, Puller};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::history::{Id, What};
use super::worker::{Came, Hands, Torture};
use super::{LEASE, TOPIC};
use crate::tortured::now_ns;

const MANY: usize = 8;

/// Takes some, works at all of them at once, and renews them meanwhile, until it is to end.
pub async fn pull(hands: Hands, jobs: Jobs, running: Arc<AtomicBool>) {
    let puller = jobs.pull(TOPIC).label("by hand").wait(Duration::from_millis(500));
    while running.load(Ordering::SeqCst) {
        match puller.reserve(MANY, LEASE).await {
            Ok(taken) => work(&hands, &puller, taken).await,
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error:#}"),
        }
    }
}

/// One that it has, until it is told that it has it no more.
struct Held {
    job: PulledJob,
    id: Id,
    run: u64,
    lost: watch::Sender<bool>,
}

async fn work(hands: &Hands, puller: &Puller, taken: Vec<PulledJob>) {
    let (mut working, mut held) = (JoinSet::new(), HashMap::new());
    for job in taken {
        let read: Torture = serde_json::from_slice(&job.payload).expect("one of ours");
        let (id, run) = (Id(read.id), hands.teller.next_run());
        hands.teller.say(What::Begins, id, run, job.fence.get()).await;
        let (lost, is_lost) = watch::channel(false);
        let one = (hands.clone(), puller.clone());
        working.spawn(work_at(one.0, one.1, job.clone(), id, run, is_lost));
        held.insert(run, Held { job, id, run, lost });
    }
    let mut tick = tokio::time::interval(LEASE / 3);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !held.is_empty() {
        tokio::select! {
            Some(ended) = working.join_next() => {
                held.remove(&ended.expect("no panic"));
            }
            _ = tick.tick() => renew(hands, puller, &held).await,
        }
    }
}

/// Asks for all of them, and tells of each what it heard.
async fn renew(hands: &Hands, puller: &Puller, held: &HashMap<u64, Held>) {
    let tokens: Vec<_> = held.values().map(|one| one.job.token.clone()).collect();
    let asked_ns = now_ns();
    let Ok(lost) = puller.renew(&tokens, LEASE).await else { return };
    for one in held.values() {
        let fence = one.job.fence.get();
        match lost.contains(&one.job.token) {
            true => {
                one.lost.send_replace(true);
            }
            false => {
                hands.teller.say_of(What::Renewed, Some(asked_ns), one.id, one.run, fence).await;
            }
        }
    }
}

/// Works at one, and says what it came to until someone has heard it. Which run it was.
async fn work_at(
    hands: Hands,
    puller: Puller,
    job: PulledJob,
    id: Id,
    run: u64,
    mut is_lost: watch::Receiver<bool>,
) -> u64 {
    let fence = job.fence.get();
    // Longer than a worker's, so that it has some in its hands whenever it is stopped.
    let work = match id.is_slow() {
        true => LEASE.mul_f64(4.5),
        false => Duration::from_millis(fastrand::u64(..300)),
    };
    let until_lost = async {
        // What it answers is a guard, which is not to be held over what follows.
        let _ = is_lost.wait_for(|is_lost| *is_lost).await;
    };
    tokio::select! {
        () = tokio::time::sleep(work) => {}
        () = until_lost => {
            hands.teller.say(What::Told, id, run, fence).await;
            return run;
        }
    }
    let end = match hands.comes_to(id, run, fence, job.failures).await {
        Came::Done(brought) => PullEnd::Done(serde_json::to_vec(&brought).ok().map(Into::into)),
        Came::Failed | Came::Last => PullEnd::Failed {
            error: "it is to fail".to_owned(),
            after: Some(Duration::from_millis(100)),
        },
    };
    let is_done = matches!(end, PullEnd::Done(_));
    loop {
        match puller.finish(&job.token, end.clone()).await {
            Ok(counts) => {
                if counts && is_done {
                    hands.teller.say(What::Accepted, id, run, fence).await;
                }
                return run;
            }
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error:#}"),
        }
    }
}
