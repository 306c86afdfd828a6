//! What people see of queues and jobs.

use sinew::job::{Grain, JobState, Worker};
use tokio::sync::watch;

use super::hearing::{Hearing, Number, all_done, behind, failed};
use super::{
    LONG, QUEUE, SECOND, drained, enqueue, enqueue_all, find, is_kept, jobs, look, new, queue,
    worker,
};

laws! {
    async fn a_queue_tells_what_it_has(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        assert!(here.queue("nothing").look().await.unwrap().is_none());
        assert!(here.queues().await.unwrap().is_empty());
        let (open, gate) = watch::channel(false);
        let two = Worker::new(&there).name("host:Billing").queue(queue().concurrency(2));
        let mut worker = Hearing::start_with(two, behind(gate));
        enqueue_all(&here, 0..2).await;
        worker.numbers(2).await;
        for n in 2..5 {
            here.enqueue(&Number { n }).priority(3).await.unwrap();
        }
        here.enqueue(&Number { n: 5 }).delay(LONG).await.unwrap();
        here.enqueue(&Number { n: 6 }).key("ada").await.unwrap();
        let looked = look(&here, QUEUE).await;
        assert_eq!((looked.waiting, looked.scheduled, looked.running), (4, 1, 2));
        assert_eq!((looked.by_priority[3], looked.partitions, looked.dead), (3, 1, 0));
        assert!(looked.oldest_ms.is_some_and(|oldest| oldest <= looked.now_ms));
        let lanes = there.queue(QUEUE).lanes().await.unwrap();
        assert!(lanes.iter().all(|lane| lane.worker == "host:Billing"), "{lanes:?}");
        assert_eq!(lanes.iter().map(|lane| lane.slots).sum::<u64>(), 2);
        assert_eq!(lanes.iter().map(|lane| lane.running).sum::<u64>(), 2);
        assert!(lanes.iter().all(|lane| lane.lease_until_ms > lane.joined_ms));
        assert_eq!(here.queues().await.unwrap(), [QUEUE]);
        open.send(true).unwrap();
        worker.numbers(4).await;
        worker.stop().await;
        assert!(there.queue(QUEUE).lanes().await.unwrap().is_empty());
    }

    async fn what_was_cancelled_is_not_told_to_wait(store: Store) {
        let jobs = jobs(&store).await;
        let ids = enqueue_all(&jobs, 0..5).await;
        for (cancelled, id) in (1..).zip(&ids[1..]) {
            jobs.queue(QUEUE).cancel(*id).await.unwrap();
            let looked = look(&jobs, QUEUE).await;
            assert_eq!((looked.waiting, looked.by_priority[5]), (5 - cancelled, 5 - cancelled));
        }
    }

    async fn jobs_of_each_state_are_listed_page_by_page(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let waiting = enqueue_all(&here, 0..250).await;
        let mut scheduled = Vec::new();
        for n in 0..3 {
            scheduled.push(new(here.enqueue(&Number { n }).delay(LONG).await.unwrap()));
        }
        // Of one millisecond, they are in no order.
        scheduled.sort_unstable();
        let held: Vec<_> =
            here.pull(QUEUE).reserve(5, LONG).await.unwrap().iter().map(|one| one.id).collect();
        assert_eq!(held, waiting[..5]);
        for (state, expected) in [
            (JobState::Waiting, &waiting[5..]),
            (JobState::Scheduled, &scheduled[..]),
            (JobState::Running, &held[..]),
            (JobState::Dead, &[][..]),
            (JobState::Done, &[][..]),
        ] {
            let (mut after, mut ids): (Option<String>, _) = (None, Vec::new());
            loop {
                let page = there.queue(QUEUE).list(state, after.as_deref(), 40).await.unwrap();
                assert!(page.jobs.len() <= 40 && page.jobs.iter().all(|job| job.state == state));
                ids.extend(page.jobs.iter().map(|job| job.id));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            ids.sort_unstable();
            assert_eq!(ids, expected, "{state:?}");
        }
    }

    async fn what_is_done_is_history_and_counted(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let named = Worker::new(&there).name("host:Billing").queue(queue());
        let mut worker = Hearing::start(named, |heard| match (heard.n, heard.cx.attempt()) {
            (7, _) => Err(failed("no")),
            (8, 1) => Err(failed("not yet")),
            _ => Ok(()),
        });
        let ids = enqueue_all(&here, 0..10).await;
        worker.numbers(13).await;
        drained(&here, QUEUE).await;
        // What its last turn told is there once it has left.
        worker.stop().await;
        let done = here.queue(QUEUE).done(100).await.unwrap();
        let mut told: Vec<_> = done.iter().map(|job| job.id).collect();
        told.sort_unstable();
        let expected: Vec<_> = ids.iter().copied().filter(|id| *id != ids[7]).collect();
        assert_eq!(told, expected);
        assert!(done.iter().all(|job| job.kind == "number" && job.worker == "host:Billing"));
        for grain in [Grain::Minute, Grain::Day] {
            let periods = here.queue(QUEUE).stats(grain, 5).await.unwrap();
            // A minute may have ended in between.
            let count = |name: &str| -> u64 {
                periods.iter().filter_map(|period| period.counts.get(name)).sum()
            };
            assert_eq!((count("done"), count("failed"), count("dead")), (9, 3, 1), "{periods:?}");
            assert_eq!((count("k:number:done"), count("k:number:dead")), (9, 1), "{periods:?}");
        }
        assert!(!is_kept(&here, ids[0]).await, "its payload was not");
    }

    async fn an_audit_finds_nothing_wrong_where_nothing_is(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (open, gate) = watch::channel(false);
        let limited = Worker::new(&there).queue(queue().global(5).per_key(1).concurrency(4));
        let mut worker = Hearing::start_with(limited, behind(gate));
        for n in 0..8 {
            here.enqueue(&Number { n }).key(format!("key {}", n % 3)).await.unwrap();
        }
        enqueue(&here, 8).await;
        worker.numbers(4).await;
        for _ in 0..2 {
            let audited = here.queue(QUEUE).audit().await.unwrap();
            assert_eq!((audited.stranded, audited.miscounted, audited.forgotten_keys), (0, 0, 0));
        }
        open.send(true).unwrap();
        worker.numbers(5).await;
        drained(&here, QUEUE).await;
        worker.stop().await;
    }

    async fn a_job_is_seen_as_it_was_enqueued(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let job = here.enqueue(&Number { n: 1 }).key("ada").priority(7).delay(LONG);
        let id = new(job.await.unwrap());
        let found = find(&there, id).await.expect("it waits");
        assert_eq!((found.state, found.priority), (JobState::Scheduled, 7));
        assert_eq!(found.key.as_deref(), Some("ada"));
        let payload = found.payload.expect("it is kept until it ends");
        assert_eq!((&*found.kind, &payload[..]), ("number", &b"{\"n\":1}"[..]));
        let mut worker = Hearing::start(worker(&there), all_done);
        enqueue(&here, 2).await;
        assert_eq!(worker.next().await.n, 2);
        assert!(worker.is_silent_for(SECOND / 10).await, "the other is due much later");
        worker.stop().await;
    }
}
