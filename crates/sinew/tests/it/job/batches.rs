//! Jobs that follow others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sinew::Jobs;
use sinew::job::{Batch, Cancelled, JobContext, JobError, PullEnd, Queue, RunningWorker, Worker};
use tokio::sync::watch;

use super::hearing::{self, After, Ear, Heard, Hearing, Number, Tell, all_done, behind, failed};
use super::{LEASE, QUEUE, SECOND, drained, jobs, look, queue, worker};
use crate::laws::eventually;

/// What runs those that come after.
fn following(jobs: &Jobs, tell: &Tell) -> RunningWorker {
    let tell = tell.clone();
    let handler = move |job: After, cx: JobContext| {
        tell.say(job.n, cx);
        async { Ok::<(), JobError>(()) }
    };
    let worker = Worker::new(jobs).queue(Queue::new("after").lease(LEASE));
    worker.register(handler).unwrap().start().unwrap()
}

fn after(jobs: &Jobs) -> (RunningWorker, Ear) {
    let (tell, ear) = hearing::channel();
    (following(jobs, &tell), ear)
}

/// By 1 where all are done, and by 2 once all have ended.
fn followed_by(batch: Batch) -> Batch {
    batch.on_success(&After { n: 1 }).unwrap().on_complete(&After { n: 2 }).unwrap()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Number> {
    range.map(|n| Number { n }).collect()
}

laws! {
    async fn what_follows_a_batch_begins_once_when_all_of_it_has_ended(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (open, gate) = watch::channel(false);
        let (follows, mut followed) = after(&there);
        let mut worker = Hearing::start_with(
            Worker::new(&there).queue(queue().concurrency(300)),
            behind(gate),
        );
        let batch = here.batch("import").add_all(&numbers(0..200)).unwrap();
        let batch = followed_by(batch);
        let handle = batch.submit().await.unwrap();
        // As after an answer that was lost.
        assert_eq!(batch.submit().await.unwrap().id(), handle.id());
        assert_eq!(worker.numbers(200).await, (0..200).collect::<Vec<_>>());
        assert!(worker.ear.is_silent() && followed.is_silent_for(SECOND / 2).await);
        let state = handle.look().await.unwrap().expect("it is known");
        assert_eq!((state.total, state.left, state.is_sealed), (200, 200, true));
        open.send(true).unwrap();
        assert_eq!(followed.numbers(2).await, [1, 2]);
        for queue in [QUEUE, "after"] {
            drained(&here, queue).await;
        }
        assert!(followed.is_silent(), "each once");
        let state = handle.look().await.unwrap().expect("it is known");
        assert_eq!((state.left, state.failed, state.gone), (0, 0, 0));
        worker.stop().await;
        follows.stop().await;
    }

    async fn a_member_that_is_taken_back_from_the_dead_still_makes_it_a_success(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (follows, mut followed) = after(&there);
        let is_well = Arc::new(AtomicU64::new(0));
        let mut worker = Hearing::start(worker(&there), {
            let is_well = Arc::clone(&is_well);
            move |heard: &Heard| match (heard.n, is_well.load(Ordering::SeqCst)) {
                (3, 0) => Err(JobError::Dead { reason: "no".to_owned() }),
                _ => Ok(()),
            }
        });
        let batch = here.batch("import").add_all(&numbers(0..5)).unwrap();
        let batch = followed_by(batch);
        let handle = batch.submit().await.unwrap();
        assert_eq!(worker.numbers(5).await, [0, 1, 2, 3, 4]);
        assert_eq!(followed.numbers(1).await, [2], "it has ended, and is no success");
        drained(&here, QUEUE).await;
        assert!(followed.is_silent_for(SECOND / 2).await);
        let state = handle.look().await.unwrap().expect("it is known");
        assert_eq!((state.left, state.failed), (0, 1));
        is_well.store(1, Ordering::SeqCst);
        assert_eq!(here.queue(QUEUE).dead().retry_all().await.unwrap().retried, 1);
        assert_eq!(followed.numbers(1).await, [1]);
        drained(&here, QUEUE).await;
        drained(&here, "after").await;
        assert!(followed.is_silent(), "what follows its end followed before");
        worker.stop().await;
        follows.stop().await;
    }

    async fn a_batch_of_which_one_was_cancelled_ends_without_success(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (follows, mut followed) = after(&there);
        let batch = here.batch("import").add_all(&numbers(0..3)).unwrap();
        let batch = followed_by(batch);
        let handle = batch.submit().await.unwrap();
        let taken = here.pull(QUEUE).reserve(1, super::LONG).await.unwrap();
        assert_eq!(
            here.queue(QUEUE).cancel(taken[0].id).await.unwrap(),
            Cancelled::Running
        );
        assert!(!here.pull(QUEUE).finish(&taken[0].token, PullEnd::Done(None)).await.unwrap());
        let mut worker = Hearing::start(worker(&there), all_done);
        assert_eq!(worker.numbers(2).await, [1, 2]);
        assert_eq!(followed.numbers(1).await, [2]);
        drained(&here, QUEUE).await;
        assert!(followed.is_silent_for(SECOND / 2).await);
        let state = handle.look().await.unwrap().expect("it is known");
        assert_eq!((state.left, state.failed, state.gone), (0, 0, 1));
        worker.stop().await;
        follows.stop().await;
    }

    async fn an_empty_batch_has_ended(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (follows, mut followed) = after(&there);
        let mut worker = Hearing::start(worker(&there), all_done);
        let batch = here.batch("import").queue(QUEUE).on_success(&After { n: 1 }).unwrap();
        batch.submit().await.unwrap();
        assert_eq!(followed.numbers(1).await, [1]);
        worker.stop().await;
        follows.stop().await;
    }

    async fn what_comes_next_begins_in_another_queue_when_the_first_is_done(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (open, gate) = watch::channel(false);
        let (follows, mut followed) = after(&there);
        let mut worker = Hearing::start_with(worker(&there), behind(gate));
        for n in 0..20 {
            here.enqueue(&Number { n }).then(&After { n: 100 + n }).await.unwrap();
        }
        assert_eq!(worker.numbers(16).await.len(), 16);
        assert!(followed.is_silent_for(SECOND / 2).await, "none is done");
        open.send(true).unwrap();
        assert_eq!(followed.numbers(20).await, (100..120).collect::<Vec<_>>());
        for queue in [QUEUE, "after"] {
            drained(&here, queue).await;
        }
        assert!(followed.is_silent(), "each once");
        worker.stop().await;
        follows.stop().await;
    }

    async fn a_chain_goes_on_link_by_link_and_ends_with_one_that_dies(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (follows, mut followed) = after(&there);
        let mut worker = Hearing::start(worker(&there), |heard| match heard.n {
            9 => Err(failed("no")),
            _ => Ok(()),
        });
        let chain = here.enqueue(&Number { n: 1 }).then(&After { n: 2 });
        chain.then(&Number { n: 3 }).then(&After { n: 4 }).await.unwrap();
        let first = worker.next().await;
        let second = followed.next().await;
        let third = worker.next().await;
        let last = followed.next().await;
        assert_eq!([first.n, second.n, third.n, last.n], [1, 2, 3, 4]);
        assert!(first.at <= second.at && second.at <= third.at && third.at <= last.at);
        let dies = here.enqueue(&Number { n: 9 }).then(&After { n: 10 }).await.unwrap();
        eventually("it is dead", || async { look(&here, QUEUE).await.dead == 1 }).await;
        let cancelled = here.enqueue(&Number { n: 11 }).delay(super::LONG).then(&After { n: 12 });
        let cancelled = cancelled.await.unwrap().handle().id();
        here.queue(QUEUE).cancel(cancelled).await.unwrap();
        assert!(followed.is_silent_for(SECOND / 2).await, "{dies:?} and {cancelled} have no heirs");
        drained(&here, QUEUE).await;
        worker.stop().await;
        follows.stop().await;
    }
}
