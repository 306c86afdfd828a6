//! Jobs that were given up, and what people do with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sinew::Jobs;
use sinew::job::{DeadFilter, JobError, JobId, NewJob};

use super::hearing::{Heard, Hearing, Number};
use super::{LONG, QUEUE, drained, enqueue_all, find, is_kept, jobs, look, raw, worker};
use crate::laws::eventually;

/// Gives up until it is told that all is well.
fn giving_up(
    is_well: &Arc<AtomicBool>,
) -> impl Fn(&Heard) -> Result<(), JobError> + Clone + Send + Sync + 'static + use<> {
    let is_well = Arc::clone(is_well);
    move |heard| {
        if is_well.load(Ordering::SeqCst) {
            return Ok(());
        }
        let reason = match heard.n % 2 {
            0 => format!("no user {}", heard.n),
            _ => format!("order {} is closed", heard.n),
        };
        Err(JobError::Dead { reason })
    }
}

async fn bury(
    jobs: &Jobs,
    numbers: std::ops::Range<u64>,
) -> (Vec<JobId>, Hearing, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let mut worker = Hearing::start(worker(jobs), giving_up(&is_well));
    let count = numbers.end - numbers.start;
    let ids = enqueue_all(jobs, numbers).await;
    worker.numbers(usize::try_from(count).unwrap()).await;
    eventually("they are dead", || async { look(jobs, QUEUE).await.dead == count }).await;
    (ids, worker, is_well)
}

/// All pages of them.
async fn all_dead(jobs: &Jobs) -> Vec<JobId> {
    let (dead, mut after, mut ids) = (jobs.queue(QUEUE).dead(), None::<String>, Vec::new());
    loop {
        let page = dead.page(after.as_deref(), 100).await.unwrap();
        ids.extend(page.jobs.iter().map(|job| job.id));
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

laws! {
    async fn the_dead_are_grouped_by_their_trouble(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (ids, mut worker, _) = bury(&there, 0..7).await;
        let groups = here.queue(QUEUE).dead().groups().await.unwrap();
        let told: Vec<_> = groups.iter().map(|group| (&*group.kind, group.count)).collect();
        assert_eq!(told, [("number", 4), ("number", 3)], "{groups:?}");
        assert!(groups[0].error.starts_with("no user "), "{groups:?}");
        assert!(groups[0].fingerprint != groups[1].fingerprint && groups[0].newest_ms > 0);
        let mut paged = all_dead(&here).await;
        paged.sort_unstable();
        assert_eq!(paged, ids);
        worker.stop().await;
    }

    async fn a_filter_takes_those_that_match_and_no_other(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (ids, mut worker, is_well) = bury(&there, 0..10).await;
        is_well.store(true, Ordering::SeqCst);
        let dead = || here.queue(QUEUE).dead();
        let groups = dead().groups().await.unwrap();
        let of_users = groups.iter().find(|group| group.error.starts_with("no user")).unwrap();
        let users = DeadFilter::new().fingerprint(&of_users.fingerprint);
        for (filter, expected) in [
            (DeadFilter::new().kind("another"), 0),
            (DeadFilter::new().older_than(LONG), 0),
            (users.clone().kind("another"), 0),
            (users.kind("number"), 5),
        ] {
            assert_eq!(dead().filter(filter).retry_all().await.unwrap().retried, expected);
        }
        assert_eq!(worker.numbers(5).await, [0, 2, 4, 6, 8]);
        drained(&here, QUEUE).await;
        let left = all_dead(&here).await;
        assert_eq!((left.len(), look(&here, QUEUE).await.dead), (5, 5));
        let redriven = dead().retry(&ids).await.unwrap();
        assert_eq!((redriven.retried, redriven.gone), (5, 5));
        assert_eq!(worker.numbers(5).await, [1, 3, 5, 7, 9]);
        drained(&here, QUEUE).await;
        assert!(dead().groups().await.unwrap().is_empty(), "no group is left without its jobs");
        worker.stop().await;
    }

    async fn all_are_tried_again_with_all_their_attempts_or_dropped(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        // More than one step takes, and than a page has.
        let (ids, mut worker, is_well) = bury(&there, 0..300).await;
        is_well.store(true, Ordering::SeqCst);
        let retried = here.queue(QUEUE).dead().retry_all().await.unwrap();
        assert_eq!((retried.retried, retried.duplicates, retried.gone), (300, 0, 0));
        for _ in 0..300 {
            let Heard { cx, .. } = worker.next().await;
            assert_eq!((cx.failures(), cx.crashes(), cx.attempt()), (0, 0, 1));
        }
        drained(&here, QUEUE).await;
        assert_eq!((look(&here, QUEUE).await.dead, worker.stop().await.done), (0, 300));
        assert!(!is_kept(&here, ids[0]).await);
        let (ids, mut worker, _) = bury(&there, 0..150).await;
        assert_eq!(here.queue(QUEUE).dead().drop_all().await.unwrap(), 150);
        assert_eq!(look(&here, QUEUE).await.dead, 0);
        assert!(find(&here, ids[7]).await.is_none());
        worker.stop().await;
    }

    async fn one_that_is_taken_back_keeps_its_key_and_its_history(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let id: JobId = "01KAPX2V9QJ7M3B0N8R5T4W6Y0".parse().unwrap();
        let job = NewJob { id: Some(id), ..raw(&Number { n: 4 }) };
        let is_well = Arc::new(AtomicBool::new(false));
        let mut worker = Hearing::start(worker(&there), giving_up(&is_well));
        here.enqueue_raw(QUEUE, job).key("ada").retain(LONG).await.unwrap();
        eventually("it is dead", || async { look(&here, QUEUE).await.dead == 1 }).await;
        is_well.store(true, Ordering::SeqCst);
        assert_eq!(here.queue(QUEUE).dead().retry(&[id]).await.unwrap().retried, 1);
        assert_eq!(worker.numbers(2).await, [4, 4]);
        drained(&here, QUEUE).await;
        let found = find(&here, id).await.expect("it is kept");
        assert_eq!((found.key.as_deref(), found.runs.len()), (Some("ada"), 1));
        worker.stop().await;
    }
}
