//! Jobs whose handlers fail, or never end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sinew::job::{JobError, JobState, NewJob, Worker};

use super::hearing::{Heard, Hearing, Number, all_done, failed};
use super::{QUEUE, SECOND, drained, enqueue, find, jobs, look, new, queue, raw, worker};
use crate::laws::eventually;

const PAUSE: Duration = Duration::from_millis(20);
const EARLY_MAX: Duration = Duration::from_millis(2);

async fn until_dead(jobs: &sinew::Jobs, count: u64) {
    eventually("they are dead", || async { look(jobs, QUEUE).await.dead == count }).await;
}

laws! {
    async fn a_job_that_fails_is_dead_after_its_attempts_with_its_history(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), |heard| match heard.n {
            7 => Err(failed(format!("attempt {} failed", heard.cx.attempt()))),
            _ => Ok(()),
        });
        for n in [1, 2] {
            enqueue(&here, n).await;
        }
        let id = enqueue(&here, 7).await;
        let (mut attempts, mut last): (_, Option<Instant>) = (Vec::new(), None);
        while attempts.len() < 3 {
            let Heard { n, at, cx } = worker.next().await;
            if n == 7 {
                attempts.push((cx.attempt(), cx.failures(), cx.crashes()));
                let pause = last.replace(at).map(|before| at - before);
                assert!(pause.is_none_or(|pause| pause + EARLY_MAX >= PAUSE), "{pause:?}");
            }
        }
        assert_eq!(attempts, [(1, 0, 0), (2, 1, 0), (3, 2, 0)]);
        until_dead(&here, 1).await;
        let found = find(&here, id).await.expect("it is kept");
        assert_eq!((found.state, found.failures, found.crashes), (JobState::Dead, 3, 0));
        let errors: Vec<&str> = found.runs.iter().filter_map(|run| run.error.as_deref()).collect();
        assert_eq!(errors, ["attempt 1 failed", "attempt 2 failed", "attempt 3 failed"]);
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.failed, finished.dead), (2, 2, 1));
    }

    async fn a_job_says_itself_how_often_it_is_tried(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), |_| Err(failed("no")));
        here.enqueue(&Number { n: 1 }).attempts(1).await.unwrap();
        until_dead(&here, 1).await;
        assert_eq!(worker.numbers(1).await, [1]);
        here.enqueue(&Number { n: 2 }).attempts(5).await.unwrap();
        assert_eq!(worker.numbers(5).await, [2; 5]);
        until_dead(&here, 2).await;
        worker.stop().await;
    }

    async fn a_handler_says_when_it_is_tried_again(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let pause = Duration::from_millis(400);
        let mut worker = Hearing::start(worker(&there), move |heard| match heard.cx.attempt() {
            1 => Err(JobError::RetryIn { after: pause, error: "not yet".into() }),
            _ => Ok(()),
        });
        enqueue(&here, 1).await;
        let (first, again) = (worker.next().await, worker.next().await);
        assert!(again.at - first.at + EARLY_MAX >= pause, "{:?}", again.at - first.at);
        assert_eq!(again.cx.failures(), 1);
        worker.stop().await;
    }

    async fn to_be_put_off_is_no_failure(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let runs = Arc::new(AtomicU64::new(0));
        let mut worker = Hearing::start(worker(&there), move |_| {
            match runs.fetch_add(1, Ordering::SeqCst) {
                0..3 => Err(JobError::Snooze(PAUSE)),
                _ => Ok(()),
            }
        });
        // With one attempt, a failure would be its last.
        here.enqueue(&Number { n: 1 }).attempts(1).await.unwrap();
        drained(&here, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.failed, finished.snoozed), (1, 0, 3));
        for attempt in 1..=4 {
            let Heard { cx, .. } = worker.next().await;
            assert_eq!((cx.attempt(), cx.failures()), (attempt, 0));
        }
        assert_eq!(look(&here, QUEUE).await.dead, 0);
    }

    async fn a_handler_that_gives_up_buries_its_job_at_once(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), |_| {
            Err(JobError::Dead { reason: "no such account".to_owned() })
        });
        let id = enqueue(&here, 1).await;
        until_dead(&here, 1).await;
        assert_eq!(worker.numbers(1).await, [1]);
        let found = find(&here, id).await.expect("it is kept");
        assert_eq!(found.runs.last().and_then(|run| run.error.as_deref()), Some("no such account"));
        assert!(worker.ear.is_silent());
        worker.stop().await;
    }

    async fn a_panic_is_a_failure_of_one_job(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), |heard| {
            assert!(heard.n != 1 || heard.cx.failures() > 0, "the law wants it to panic");
            Ok(())
        });
        for n in [1, 2] {
            enqueue(&here, n).await;
        }
        assert_eq!(worker.numbers(3).await, [1, 1, 2]);
        drained(&here, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.failed, finished.dead), (2, 1, 0));
    }

    async fn a_job_that_cannot_be_read_is_dead_at_once(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let payload = Bytes::from_static(b"{\"n\":\"a secret\"}");
        let unreadable = NewJob { payload, ..raw(&Number { n: 1 }) };
        let id = new(here.enqueue_raw(QUEUE, unreadable).await.unwrap());
        enqueue(&here, 2).await;
        let mut worker = Hearing::start(worker(&there), all_done);
        until_dead(&here, 1).await;
        assert_eq!(worker.numbers(1).await, [2], "no handler has seen the other");
        let found = find(&here, id).await.expect("it is kept");
        let error = found.runs.last().and_then(|run| run.error.clone()).expect("a reason");
        assert!(!error.contains("secret"), "a reason has no values in it: {error}");
        worker.stop().await;
    }

    async fn a_run_that_takes_too_long_is_ended_and_is_a_failure(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start_with(worker(&there), |heard: Heard| async move {
            if heard.cx.attempt() == 1 {
                std::future::pending::<()>().await;
            }
            Ok(())
        });
        let job = here.enqueue(&Number { n: 1 }).timeout(10 * PAUSE).retain(60 * SECOND);
        let id = new(job.await.unwrap());
        let (first, again) = (worker.next().await, worker.next().await);
        assert!(again.at - first.at + EARLY_MAX >= 11 * PAUSE, "{:?}", again.at - first.at);
        assert_eq!((again.cx.failures(), again.cx.crashes()), (1, 0));
        drained(&here, QUEUE).await;
        assert_eq!(find(&here, id).await.expect("it is kept").state, JobState::Done);
        worker.stop().await;
    }

    async fn a_handler_that_panics_as_it_is_ended_has_failed(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start_with(worker(&there), |_: Heard| async {
            let _panics = PanicsWhenDropped;
            std::future::pending().await
        });
        let job = here.enqueue(&Number { n: 1 }).timeout(PAUSE).attempts(2);
        let id = new(job.await.unwrap());
        until_dead(&here, 1).await;
        assert_eq!(worker.numbers(2).await, [1, 1]);
        let found = find(&here, id).await.expect("it is kept");
        let error = found.runs.last().and_then(|run| run.error.clone()).expect("a reason");
        assert!(error.contains("panicked") && error.contains("as it is dropped"), "{error}");
        assert_eq!(worker.stop().await.given_back, 0);
    }

    async fn a_kind_that_no_one_knows_waits_for_who_does(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let unknown = NewJob { kind: "of-tomorrow".to_owned(), ..raw(&Number { n: 1 }) };
        let unknown = here.enqueue_raw(QUEUE, unknown).attempts(1).await.unwrap();
        let mut worker = Hearing::start(
            Worker::new(&there).queue(queue().concurrency(1)),
            all_done,
        );
        enqueue(&here, 2).await;
        assert_eq!(worker.numbers(1).await, [2], "it holds up no one");
        let id = unknown.handle().id();
        eventually("it waits", || async {
            find(&here, id).await.is_some_and(|found| found.state == JobState::Scheduled)
        })
        .await;
        assert_eq!((look(&here, QUEUE).await.dead, worker.stop().await.dead), (0, 0));
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "it panics as it is dropped");
    }
}
