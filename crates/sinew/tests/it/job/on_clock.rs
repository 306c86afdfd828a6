//! Jobs on a clock that a test moves: how users test theirs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sinew::job::{JobState, Queue, Worker};
use sinew::{Clock, Jobs, Sinew};
use tokio::sync::watch;

use super::hearing::{Hearing, Number, all_done, behind, failed};
use super::{QUEUE, SECOND, drained, enqueue, enqueue_all, find, is_kept, look, new};
use crate::laws::{eventually, keep};

const HOUR: Duration = Duration::from_secs(3_600);

fn embedded() -> (Jobs, sinew::ManualClock) {
    let (clock, hands) = Clock::manual();
    (Sinew::builder().clock(clock).embedded().expect("an embedded store").jobs(), hands)
}

fn worker(jobs: &Jobs) -> Worker {
    // As long as a lease may be: the clock moves by leaps.
    Worker::new(jobs).queue(Queue::new(QUEUE).lease(HOUR))
}

#[test]
fn a_job_of_next_week_is_run_when_the_clock_says_so() {
    keep(|| async {
        let (jobs, hands) = embedded();
        let mut worker = Hearing::start(worker(&jobs), all_done);
        jobs.enqueue(&Number { n: 1 }).delay(7 * 24 * HOUR).await.unwrap();
        enqueue(&jobs, 0).await;
        assert_eq!(worker.next().await.n, 0);
        hands.advance(7 * 24 * HOUR - SECOND);
        assert!(worker.is_silent_for(SECOND / 5).await, "a second too early");
        assert_eq!(look(&jobs, QUEUE).await.scheduled, 1);
        hands.advance(SECOND);
        assert_eq!(worker.next().await.n, 1);
        drained(&jobs, QUEUE).await;
        assert_eq!(worker.stop().await.done, 2);
    });
}

#[test]
fn a_pause_between_attempts_and_a_time_limit_go_by_the_clock() {
    keep(|| async {
        let (jobs, hands) = embedded();
        let (_open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(worker(&jobs), move |heard| {
            let waits = behind(gate.clone());
            async move {
                match heard.cx.attempt() {
                    1 => Err(sinew::job::JobError::RetryIn { after: HOUR, error: "no".into() }),
                    2 => waits(heard).await,
                    _ => Err(failed("dead")),
                }
            }
        });
        let id = new(jobs.enqueue(&Number { n: 1 }).timeout(HOUR / 2).await.unwrap());
        worker.next().await;
        eventually("it waits", || async { look(&jobs, QUEUE).await.scheduled == 1 }).await;
        assert!(worker.is_silent_for(SECOND / 5).await, "an hour has not gone by");
        hands.advance(HOUR);
        assert_eq!(worker.next().await.cx.attempt(), 2);
        assert!(worker.is_silent_for(SECOND / 5).await, "its time is not over");
        hands.advance(HOUR / 2);
        eventually("it is to be tried again", || async { look(&jobs, QUEUE).await.scheduled == 1 })
            .await;
        hands.advance(HOUR);
        assert_eq!(worker.next().await.cx.attempt(), 3);
        eventually("it is dead", || async {
            find(&jobs, id).await.is_some_and(|found| found.state == JobState::Dead)
        })
        .await;
        worker.stop().await;
    });
}

#[test]
fn a_job_that_was_taken_does_not_begin_once_its_lease_is_over() {
    // One thread, on which the second job's run is polled right after the first one's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (jobs, hands) = embedded();
        enqueue_all(&jobs, 0..2).await;
        let (stands_still, is_late) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let late: Arc<AtomicBool> = Arc::clone(&is_late);
        let mut worker = Hearing::start(worker(&jobs), move |heard| {
            late.fetch_or(stands_still.load(Relaxed), Relaxed);
            if heard.n == 0 {
                hands.advance(2 * HOUR);
                stands_still.store(true, Relaxed);
                let goes_on = Arc::clone(&stands_still);
                tokio::spawn(async move { goes_on.store(false, Relaxed) });
            }
            Ok(())
        });
        assert_eq!(worker.numbers(2).await, [0, 1]);
        assert!(!is_late.load(Relaxed), "it began while another may have had it");
        worker.stop().await;
    });
}

#[test]
fn what_a_dead_puller_had_comes_back_although_the_queue_is_asked_seldom() {
    keep(|| async {
        for seldom in [25 * SECOND, 60 * SECOND] {
            let (jobs, hands) = embedded();
            let id = enqueue(&jobs, 1).await;
            jobs.pull(QUEUE).reserve(1, 5 * SECOND).await.unwrap();
            let mut taken = Vec::new();
            for _ in 0..3 {
                hands.advance(seldom);
                taken.extend(jobs.pull(QUEUE).reserve(1, SECOND).await.unwrap());
                // The first may have been the end of an outage.
                if let [again] = &taken[..] {
                    assert_eq!((again.id, again.crashes), (id, 1));
                    break;
                }
            }
            assert_eq!(taken.len(), 1, "asked every {seldom:?}");
        }
    });
}

#[test]
fn what_is_kept_is_forgotten_by_the_clock() {
    keep(|| async {
        let (jobs, hands) = embedded();
        let mut worker = Hearing::start(worker(&jobs), all_done);
        let id = new(jobs.enqueue(&Number { n: 1 }).retain(24 * HOUR).await.unwrap());
        worker.next().await;
        drained(&jobs, QUEUE).await;
        hands.advance(23 * HOUR);
        assert!(is_kept(&jobs, id).await);
        hands.advance(2 * HOUR);
        assert!(!is_kept(&jobs, id).await);
        worker.stop().await;
    });
}
