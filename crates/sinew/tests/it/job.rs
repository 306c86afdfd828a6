//! What background jobs promise, on every store.

mod batches;
mod cancelling;
mod crashes;
mod dead;
mod failing;
pub mod hearing;
mod limiting;
mod looking;
mod lost;
mod on_clock;
mod on_redis;
mod prompt;
mod pulling;
pub mod recurring;
mod unique;
mod waiting;

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use sinew::job::{Enqueued, Job, JobId, JobInfo, NewJob, Queue, QueueLook, QueueSettings, Worker};
use sinew::{ErrorKind, Jobs};
use tokio::sync::{oneshot, watch};

use crate::laws::{LAW_MAX, eventually};
use crate::world::Store;

use self::hearing::{After, Doomed, Heard, Hearing, Number, all_done, behind};

pub const SECOND: Duration = Duration::from_secs(1);
/// The shortest lease, so that what needs its end comes to it.
pub const LEASE: Duration = SECOND;
/// Far longer than a law may take.
pub const LONG: Duration = Duration::from_secs(600);
/// Not much more than the news of something takes, and less than who has missed it takes to look.
pub const SOON: Duration = Duration::from_secs(3);
pub const QUEUE: &str = "work";

pub async fn jobs(store: &Store) -> Jobs {
    store.tenant("acme").await.jobs()
}

pub fn queue() -> Queue {
    Queue::new(QUEUE).lease(LEASE)
}

pub fn worker(jobs: &Jobs) -> Worker {
    Worker::new(jobs).queue(queue())
}

/// One run at a time.
pub fn one_by_one(jobs: &Jobs) -> Worker {
    Worker::new(jobs).queue(queue().concurrency(1))
}

pub fn new(enqueued: Enqueued) -> JobId {
    match enqueued {
        Enqueued::New(handle) => handle.id(),
        other => panic!("{other:?}"),
    }
}

pub async fn enqueue(jobs: &Jobs, n: u64) -> JobId {
    new(jobs.enqueue(&Number { n }).await.expect("it is enqueued"))
}

pub async fn enqueue_all(jobs: &Jobs, numbers: std::ops::Range<u64>) -> Vec<JobId> {
    let many = jobs.enqueue_many(numbers.map(|n| Number { n }));
    many.await.expect("they are enqueued").into_iter().map(new).collect()
}

/// A job as a stranger would write it.
pub fn raw(job: &(impl Job + Serialize)) -> NewJob {
    NewJob::of(job).expect("a job of ours")
}

pub async fn look(jobs: &Jobs, queue: &str) -> QueueLook {
    jobs.queue(queue).look().await.expect("an answer").unwrap_or_default()
}

/// Whether more is known of it than that it is done.
pub async fn is_kept(jobs: &Jobs, id: JobId) -> bool {
    find(jobs, id).await.is_some_and(|found| found.payload.is_some())
}

pub async fn find(jobs: &Jobs, id: JobId) -> Option<JobInfo> {
    jobs.queue(QUEUE).find(id).await.expect("an answer")
}

/// Waits until nothing is left to do in a queue.
pub async fn drained(jobs: &Jobs, queue: &str) {
    let is_drained = || async {
        let looked = look(jobs, queue).await;
        looked.waiting + looked.scheduled + looked.running + looked.owed == 0
    };
    eventually("nothing is left to do", is_drained).await;
}

laws! {
    async fn every_enqueued_job_is_run_once(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (tell, mut heard) = hearing::channel();
        let workers = [&here, &there].map(|jobs| {
            hearing::start(Worker::new(jobs).queue(queue().concurrency(4)), &tell, |_| async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(())
            })
        });
        for n in 0..30 {
            enqueue(&here, n).await;
        }
        enqueue_all(&there, 30..300).await;
        assert_eq!(heard.numbers(300).await, (0..300).collect::<Vec<_>>());
        drained(&here, QUEUE).await;
        let mut done = 0;
        for worker in workers {
            let finished = worker.stop().await;
            assert_eq!((finished.failed, finished.dead, finished.lost), (0, 0, 0));
            done += finished.done;
        }
        assert!(done == 300 && heard.is_silent(), "{done} are done: each once");
    }

    async fn what_was_enqueued_before_there_was_a_worker_is_run(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        enqueue_all(&here, 0..5).await;
        let looked = look(&there, QUEUE).await;
        assert_eq!((looked.waiting, looked.running, looked.lanes), (5, 0, 0));
        let mut worker = Hearing::start(worker(&there), all_done);
        assert_eq!(worker.numbers(5).await, [0, 1, 2, 3, 4]);
        drained(&here, QUEUE).await;
        assert_eq!(worker.stop().await.done, 5);
        assert_eq!(look(&here, QUEUE).await.lanes, 0, "who has stopped is there no more");
    }

    async fn what_is_more_urgent_begins_first_and_the_rest_in_order(store: Store) {
        let jobs = jobs(&store).await;
        for n in 0..20 {
            // By twos, from the last to the first.
            let priority = u8::try_from(n / 2).unwrap();
            jobs.enqueue(&Number { n }).priority(priority).await.unwrap();
        }
        let looked = look(&jobs, QUEUE).await;
        assert_eq!((looked.waiting, looked.by_priority), (20, [2; 10]));
        let mut worker = Hearing::start(one_by_one(&jobs), all_done);
        let urgent_first = (0..10).rev().flat_map(|priority| [2 * priority, 2 * priority + 1]);
        assert_eq!(worker.ear.in_turn(20).await, urgent_first.collect::<Vec<u64>>());
        assert!(jobs.enqueue(&Number { n: 0 }).priority(10).await.is_err());
    }

    async fn a_job_arrives_as_it_was_enqueued(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let job = NewJob { traceparent: Some(parent.to_owned()), ..raw(&Number { n: 7 }) };
        let id = new(here.enqueue_raw(QUEUE, job).key("ada").await.unwrap());
        let mut worker = Hearing::start(worker(&there), all_done);
        let Heard { n, cx, .. } = worker.next().await;
        assert_eq!((n, cx.id(), cx.kind(), cx.queue()), (7, id, "number", QUEUE));
        assert_eq!((cx.attempt(), cx.failures(), cx.crashes()), (1, 0, 0));
        assert_eq!(cx.traceparent(), Some(parent));
        assert!(!cx.is_cancelled() && !cx.is_lost());
        drained(&here, QUEUE).await;
        assert!(!is_kept(&here, id).await, "nobody asked for it");
    }

    async fn a_job_with_a_name_of_its_own_is_enqueued_once(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let id: JobId = "01KAPX2V9QJ7M3B0N8R5T4W6Y0".parse().unwrap();
        for jobs in [&here, &there, &here] {
            let job = NewJob { id: Some(id), ..raw(&Number { n: 1 }) };
            let enqueued = jobs.enqueue_raw(QUEUE, job).retain(LONG).await.unwrap();
            assert_eq!(enqueued.handle().id(), id);
        }
        assert_eq!(look(&here, QUEUE).await.waiting, 1);
        let mut worker = Hearing::start(worker(&there), all_done);
        assert_eq!(worker.next().await.cx.id(), id);
        drained(&here, QUEUE).await;
        // Kept, it is known for as long.
        let job = NewJob { id: Some(id), ..raw(&Number { n: 1 }) };
        here.enqueue_raw(QUEUE, job).await.unwrap();
        assert_eq!(look(&here, QUEUE).await.waiting, 0);
        assert_eq!(worker.stop().await.done, 1);
    }

    async fn jobs_whose_names_follow_each_other_are_as_many_jobs(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        // As those who draw ULIDs within a millisecond name them.
        let names = ["01KAPX2V9QJ7M3B0N8R5T4W6YA", "01KAPX2V9QJ7M3B0N8R5T4W6YB"];
        let mut ids = Vec::new();
        for jobs in [&here, &there] {
            for name in names {
                let id: JobId = name.parse().unwrap();
                let enqueued = jobs.enqueue(&Number { n: 1 }).id(id).await.unwrap();
                ids.push(enqueued.id());
            }
        }
        assert!(ids[0] != ids[1] && ids[..2] == ids[2..], "{ids:?}");
        assert_eq!(look(&here, QUEUE).await.waiting, 2);
    }

    async fn a_job_of_a_dead_process_is_run_by_another(store: Store) {
        let here = jobs(&store).await;
        let never = |_: Heard| std::future::pending();
        let mut killed = Doomed::start(&store, worker, never).await;
        enqueue_all(&here, 0..3).await;
        assert_eq!(killed.ear.numbers(3).await, [0, 1, 2]);
        let began = std::time::Instant::now();
        killed.kill();
        let mut other = Hearing::start(worker(&here), all_done);
        for _ in 0..3 {
            let Heard { cx, .. } = other.next().await;
            assert_eq!((cx.crashes(), cx.failures()), (1, 0), "no failure of a handler");
        }
        assert!(began.elapsed() > LEASE / 2, "not while it may live: {:?}", began.elapsed());
        drained(&here, QUEUE).await;
        assert_eq!(other.stop().await.done, 3);
        assert_eq!(look(&here, QUEUE).await.dead, 0);
    }

    async fn a_run_of_several_leases_is_run_once(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (tell, mut heard) = hearing::channel();
        let workers = [&here, &there].map(|jobs| {
            hearing::start(worker(jobs), &tell, |heard| async move {
                tokio::time::sleep(6 * LEASE).await;
                assert!(!heard.cx.is_lost());
                Ok(())
            })
        });
        enqueue(&here, 1).await;
        assert_eq!(heard.numbers(1).await, [1]);
        drained(&here, QUEUE).await;
        assert!(heard.is_silent(), "it ran again");
        let mut done = 0;
        for worker in workers {
            done += worker.stop().await.done;
        }
        assert_eq!(done, 1);
    }

    async fn what_is_handed_back_at_a_shutdown_is_run_at_once_and_counts_nothing(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        // Only what is given back comes within the law's time.
        let slow = || queue().lease(LONG).concurrency(3);
        let (tell, mut heard) = hearing::channel();
        let never = |_: Heard| std::future::pending();
        let leaves = hearing::telling(Worker::new(&here).queue(slow()), &tell, never);
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let leaves = tokio::spawn(leaves.run_until(shutdown, Duration::from_millis(50)));
        let ids = enqueue_all(&here, 0..3).await;
        assert_eq!(heard.numbers(3).await, [0, 1, 2]);
        // It has waited for longer than those, and comes after them.
        enqueue(&here, 3).await;
        stop.send(()).unwrap();
        let finished = leaves.await.unwrap().unwrap();
        assert_eq!((finished.given_back, finished.done, finished.failed), (3, 0, 0));
        let stays = Worker::new(&there).queue(slow().concurrency(1));
        let mut stays = Hearing::start(stays, all_done);
        let mut again = Vec::new();
        for _ in 0..3 {
            let Heard { cx, .. } = stays.next().await;
            assert_eq!((cx.crashes(), cx.failures()), (0, 0), "it was given back");
            again.push(cx.id());
        }
        again.sort_unstable();
        assert_eq!(again, ids);
        assert_eq!(stays.next().await.n, 3);
        drained(&there, QUEUE).await;
        assert_eq!(stays.stop().await.done, 4);
    }

    async fn a_shutdown_lets_handlers_come_to_their_end(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(worker(&there), behind(gate));
        enqueue_all(&here, 0..3).await;
        assert_eq!(worker.numbers(3).await, [0, 1, 2]);
        let stopping = tokio::spawn(async move { worker.stop().await });
        // It has been told by then, however slow the machine, or is told later.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!stopping.is_finished(), "it waits for them");
        open.send(true).unwrap();
        let finished = stopping.await.unwrap();
        assert_eq!((finished.done, finished.given_back, finished.lost), (3, 0, 0), "{finished:?}");
        let looked = look(&here, QUEUE).await;
        assert_eq!((looked.waiting, looked.running, looked.lanes), (0, 0, 0));
    }

    async fn a_dropped_enqueue_is_whole_or_not_there(store: Store) {
        let jobs = jobs(&store).await;
        enqueue(&jobs, 1_000).await;
        let mut known = 0;
        for n in 0..50 {
            let enqueue = std::future::IntoFuture::into_future(jobs.enqueue(&Number { n }));
            let wait = Duration::from_micros(n * 20);
            known += usize::from(tokio::time::timeout(wait, enqueue).await.is_ok());
        }
        // Whatever was dropped on its way has arrived by then, or never does.
        jobs.enqueue(&Number { n: 1_001 }).priority(0).await.unwrap();
        let mut worker = Hearing::start(one_by_one(&jobs), all_done);
        let mut numbers = Vec::new();
        loop {
            match worker.next().await.n {
                1_001 => break,
                n => numbers.push(n),
            }
        }
        assert!(numbers.len() > known, "{} of {known} and the first", numbers.len());
        numbers.sort_unstable();
        let with_repeats = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), with_repeats, "none came twice");
    }

    async fn tenants_and_queues_never_meet(store: Store) {
        let (ada, ben) = (store.tenant("ada").await.jobs(), store.tenant("ben").await.jobs());
        let mut of_ada = Hearing::start(worker(&ada), all_done);
        let mut of_ben = Hearing::start(worker(&ben), all_done);
        let mut other = Hearing::start(Worker::new(&ada).queue(Queue::new("other")), all_done);
        enqueue_all(&ada, 0..20).await;
        enqueue_all(&ben, 20..40).await;
        ada.enqueue(&Number { n: 40 }).queue("other").await.unwrap();
        assert_eq!(of_ada.numbers(20).await, (0..20).collect::<Vec<_>>());
        assert_eq!(of_ben.numbers(20).await, (20..40).collect::<Vec<_>>());
        assert_eq!(other.numbers(1).await, [40]);
        for worker in [&mut of_ada, &mut of_ben, &mut other] {
            worker.stop().await;
            assert!(worker.ear.is_silent(), "each had its own");
        }
    }

    async fn partitions_share_a_queue_and_limits_keep_to_it(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let settings = QueueSettings::new().partitions(4);
        here.queue(QUEUE).declare(settings).await.unwrap();
        enqueue_all(&here, 0..200).await;
        for n in 200..300 {
            // Who does not know of them learns it.
            let key = format!("key {}", n % 13);
            there.enqueue(&Number { n }).key(key).await.unwrap();
        }
        here.queue(QUEUE).declare(QueueSettings::new().global(6)).await.unwrap();
        for refused in [
            QueueSettings::new().global(3),
            QueueSettings::new().rate(3, SECOND),
            QueueSettings::new().partitions(3).global(8),
        ] {
            assert!(there.queue(QUEUE).declare(refused).await.is_err());
        }
        let looked = look(&there, QUEUE).await;
        assert_eq!((looked.partitions, looked.waiting), (4, 300));
        assert_eq!((looked.global, looked.rate.0), (6, 0));
        let mut worker = Hearing::start(worker(&there), all_done);
        assert_eq!(worker.numbers(300).await, (0..300).collect::<Vec<_>>());
        drained(&here, QUEUE).await;
        assert_eq!(worker.stop().await.done, 300);
    }

    async fn what_cannot_be_is_refused_before_anything_is_written(store: Store) {
        let jobs = jobs(&store).await;
        let job = Number { n: 1 };
        let (long, payload) = ("k".repeat(200), Bytes::from(vec![b'x'; 2 << 20]));
        let wrong = [
            jobs.enqueue(&job).queue("no queue"),
            jobs.enqueue(&job).key(long),
            jobs.enqueue(&job).priority(10),
            jobs.enqueue(&job).attempts(0),
            jobs.enqueue(&job).delay(Duration::from_secs(400 * 86_400)),
            jobs.enqueue_raw(QUEUE, NewJob { kind: String::new(), ..raw(&job) }),
            jobs.enqueue_raw(QUEUE, NewJob { payload, ..raw(&job) }),
        ];
        for wrong in wrong {
            let refused = wrong.await.expect_err("it cannot be");
            assert_eq!(refused.kind(), ErrorKind::Rejected, "{refused}");
        }
        assert_eq!(look(&jobs, QUEUE).await.waiting, 0);
        let after = jobs.enqueue(&After { n: 1 }).timeout(LAW_MAX).retain(LONG).await.unwrap();
        assert_eq!(look(&jobs, "after").await.waiting, 1, "{after:?}");
    }

    async fn a_full_queue_says_so_and_takes_all_of_a_call_or_none(store: Store) {
        let jobs = jobs(&store).await;
        let settings = QueueSettings::new().len_max(10);
        jobs.queue(QUEUE).declare(settings).await.unwrap();
        enqueue_all(&jobs, 0..8).await;
        let refused = jobs.enqueue_many((8..12).map(|n| Number { n })).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable { maybe_applied: false }, "{refused}");
        assert_eq!(look(&jobs, QUEUE).await.waiting, 8);
        enqueue_all(&jobs, 8..10).await;
        assert!(jobs.enqueue(&Number { n: 10 }).await.is_err(), "it is full");
        let mut worker = Hearing::start(worker(&jobs), all_done);
        assert_eq!(worker.numbers(10).await, (0..10).collect::<Vec<_>>());
        drained(&jobs, QUEUE).await;
        enqueue(&jobs, 10).await;
        assert_eq!(worker.numbers(1).await, [10]);
    }
}
