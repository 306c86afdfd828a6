//! What those hear who wait for a job.

use std::time::{Duration, Instant};

use sinew::Jobs;
use sinew::job::{
    Cancelled, JobContext, JobError, JobHandle, JobState, RunningWorker, Waited, Worker,
};
use tokio::sync::watch;

use super::hearing::{Hearing, Number, all_done, failed};
use super::{LONG, QUEUE, SECOND, SOON, drained, find, is_kept, jobs, worker};
use crate::laws::{LAW_MAX, eventually};

/// Tells how it comes along, and answers once the gate is open.
fn answering(jobs: &Jobs, gate: watch::Receiver<bool>) -> RunningWorker {
    let handler = move |job: Number, cx: JobContext| {
        let mut gate = gate.clone();
        async move {
            cx.progress(1, 3, "rendering").await?;
            cx.log(&format!("rendering {}", job.n));
            let _ = gate.wait_for(|is_open| *is_open).await;
            cx.progress(3, 3, "rendered").await?;
            match job.n {
                0 => Err(JobError::Dead { reason: "no paper".to_owned() }),
                n => Ok(format!("page {n}")),
            }
        }
    };
    worker(jobs).register(handler).unwrap().start().unwrap()
}

async fn handle_of(jobs: &Jobs, n: u64) -> JobHandle {
    jobs.enqueue(&Number { n }).await.expect("it is enqueued").handle()
}

async fn waited(handle: &JobHandle) -> Waited<String> {
    handle.wait::<String>(LAW_MAX / 2).await.expect("an answer")
}

laws! {
    async fn progress_log_and_result_reach_who_waits(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (open, gate) = watch::channel(false);
        let worker = answering(&there, gate);
        let job = handle_of(&here, 7).await;
        eventually("it says how it comes along", || async {
            let Some(found) = find(&here, job.id()).await else { return false };
            let progress = found.progress.map(|told| (told.done, told.total, told.text));
            found.state == JobState::Running
                && progress == Some((1, 3, "rendering".to_owned()))
                && found.log.iter().any(|(_, line)| line == "rendering 7")
        })
        .await;
        let pending = job.wait::<String>(SECOND / 5).await.unwrap();
        assert_eq!(pending, Waited::Pending);
        let waiting = tokio::spawn({
            let job = job.clone();
            async move { (waited(&job).await, Instant::now()) }
        });
        let opened = Instant::now();
        open.send(true).unwrap();
        let (answer, at) = waiting.await.unwrap();
        assert_eq!(answer, Waited::Done("page 7".to_owned()));
        assert!(at - opened < SOON, "{:?}", at - opened);
        // And those who come later.
        assert_eq!(waited(&job).await, Waited::Done("page 7".to_owned()));
        let found = find(&there, job.id()).await.expect("a result is kept for a while");
        assert_eq!((found.state, found.progress.map(|told| told.done)), (JobState::Done, Some(3)));
        worker.stop().await;
    }

    async fn an_answer_that_was_there_before_anyone_asked_is_heard(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let worker = answering(&there, watch::channel(true).1);
        let job = handle_of(&here, 3).await;
        drained(&here, QUEUE).await;
        assert_eq!(waited(&job).await, Waited::Done("page 3".to_owned()));
        worker.stop().await;
        // Of what nobody kept, it is known that it is done.
        let mut silent = Hearing::start(Worker::new(&there).queue(super::queue()), all_done);
        let job = handle_of(&here, 4).await;
        silent.next().await;
        drained(&here, QUEUE).await;
        assert_eq!(job.wait::<()>(SECOND).await.unwrap(), Waited::Done(()));
        assert_eq!(waited(&job).await, Waited::Gone, "there is no such text");
        silent.stop().await;
    }

    async fn who_waits_hears_of_death_and_of_cancellation(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (dead, gone) = (handle_of(&here, 0).await, handle_of(&here, 1).await);
        let waiting = [dead.clone(), gone.clone()]
            .map(|job| tokio::spawn(async move { waited(&job).await }));
        assert_eq!(dead.wait::<String>(SECOND / 5).await.unwrap(), Waited::Pending);
        let cancelled = there.queue(QUEUE).cancel(gone.id()).await.unwrap();
        assert_eq!(cancelled, Cancelled::Waiting);
        let worker = answering(&there, watch::channel(true).1);
        let [of_dead, of_gone] = waiting;
        assert_eq!(of_dead.await.unwrap(), Waited::Dead("no paper".to_owned()));
        assert_eq!(of_gone.await.unwrap(), Waited::Gone);
        assert_eq!(waited(&dead).await, Waited::Dead("no paper".to_owned()));
        assert_eq!(waited(&gone).await, Waited::Gone);
        worker.stop().await;
    }

    async fn who_waits_does_so_through_retries(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let handler = |_: Number, cx: JobContext| async move {
            match cx.attempt() {
                3 => Ok("at last"),
                _ => Err(failed("not yet")),
            }
        };
        let job = handle_of(&here, 1).await;
        let waiting = tokio::spawn(async move { waited(&job).await });
        let worker = worker(&there).register(handler).unwrap().start().unwrap();
        assert_eq!(waiting.await.unwrap(), Waited::Done("at last".to_owned()));
        worker.stop().await;
    }

    async fn many_wait_and_each_hears_its_own(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let worker = answering(&there, watch::channel(true).1);
        let mut waiting = Vec::new();
        for n in 1..=60 {
            let job = handle_of(&here, n).await;
            waiting.push(tokio::spawn(async move { waited(&job).await }));
        }
        for (n, waiting) in (1..).zip(waiting) {
            assert_eq!(waiting.await.unwrap(), Waited::Done(format!("page {n}")));
        }
        worker.stop().await;
    }

    async fn what_is_done_is_kept_for_as_long_as_is_asked(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), all_done);
        let enqueue = async |retain: Duration| {
            let job = here.enqueue(&Number { n: 1 }).retain(retain);
            job.await.expect("it is enqueued").handle().id()
        };
        let (short, long) = (enqueue(SECOND).await, enqueue(LONG).await);
        assert_eq!(worker.numbers(2).await, [1, 1]);
        drained(&here, QUEUE).await;
        eventually("it is forgotten", || async { !is_kept(&here, short).await }).await;
        let found = find(&here, long).await.expect("it is kept");
        assert_eq!(found.state, JobState::Done);
        worker.stop().await;
    }
}
