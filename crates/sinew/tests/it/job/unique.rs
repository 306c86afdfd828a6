//! Names that one job has at a time.

use sinew::Jobs;
use sinew::job::{Cancelled, Enqueued, JobId, JobState, NewJob, OnConflict, PullEnd, Unique};
use tokio::sync::watch;

use super::hearing::{Hearing, Number, all_done, behind, failed};
use super::{LEASE, LONG, QUEUE, SECOND, drained, find, jobs, look, new, one_by_one, raw, worker};
use crate::laws::eventually;

const NAME: &str = "welcome:42";

async fn named(jobs: &Jobs, n: u64, unique: Unique) -> Enqueued {
    jobs.enqueue(&Number { n }).unique(unique).await.expect("an answer")
}

/// Which job has the name.
fn holder(enqueued: Enqueued) -> JobId {
    match enqueued {
        Enqueued::Duplicate(holder) => holder.id(),
        other => panic!("{other:?}"),
    }
}

laws! {
    async fn of_many_at_once_one_is_enqueued(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let asking: Vec<_> = (0..20)
            .map(|n| {
                let jobs = if n % 2 == 0 { here.clone() } else { there.clone() };
                tokio::spawn(async move { named(&jobs, n, Unique::by(NAME)).await })
            })
            .collect();
        let (mut first, mut others) = (Vec::new(), Vec::new());
        for asked in asking {
            match asked.await.unwrap() {
                Enqueued::New(handle) => first.push(handle.id()),
                other => others.push(holder(other)),
            }
        }
        assert_eq!((first.len(), others.len()), (1, 19));
        assert!(others.iter().all(|holder| *holder == first[0]));
        let mut worker = Hearing::start(worker(&here), all_done);
        assert_eq!(worker.next().await.cx.id(), first[0]);
        drained(&there, QUEUE).await;
        assert_eq!(worker.stop().await.done, 1);
    }

    async fn of_a_call_with_one_name_twice_the_first_is_enqueued(store: Store) {
        let jobs = jobs(&store).await;
        let named = |n: u64| NewJob {
            unique: Some(Unique::by(format!("name {}", n % 2))),
            ..raw(&Number { n })
        };
        let many = jobs.enqueue_many_raw(QUEUE, (0..6).map(named).collect()).await.unwrap();
        let ids: Vec<JobId> = many.iter().map(|one| one.handle().id()).collect();
        assert!(many[..2].iter().all(|one| matches!(one, Enqueued::New(_))), "{many:?}");
        assert!(many[2..].iter().all(|one| matches!(one, Enqueued::Duplicate(_))), "{many:?}");
        assert_eq!((ids[2], ids[3], ids[4], ids[5]), (ids[0], ids[1], ids[0], ids[1]));
        assert_eq!(look(&jobs, QUEUE).await.waiting, 2);
    }

    async fn a_name_is_held_until_its_job_has_ended(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let unique = || Unique::by(NAME);
        let id = new(named(&here, 1, unique()).await);
        assert_eq!(holder(named(&there, 2, unique()).await), id, "while it waits");
        let (open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(worker(&there), behind(gate));
        worker.next().await;
        assert_eq!(holder(named(&there, 2, unique()).await), id, "while it runs");
        open.send(true).unwrap();
        drained(&here, QUEUE).await;
        let next = new(named(&there, 3, unique()).await);
        assert_eq!(worker.next().await.cx.id(), next);
        // Another key's is another.
        let other = here.enqueue(&Number { n: 4 }).key("ada").delay(LONG);
        new(other.unique(unique()).await.unwrap());
        drained_of_due(&here).await;
        new(here.enqueue(&Number { n: 5 }).delay(LONG).unique(unique()).await.unwrap());
        worker.stop().await;
    }

    async fn a_name_is_held_through_failures_and_free_after_death(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), |heard| match heard.n {
            1 => Err(sinew::job::JobError::RetryIn { after: LONG, error: "later".into() }),
            _ => Err(failed("no")),
        });
        let id = new(named(&here, 1, Unique::by(NAME)).await);
        eventually("it waits to be tried again", || async {
            look(&here, QUEUE).await.scheduled == 1
        })
        .await;
        assert_eq!(holder(named(&there, 2, Unique::by(NAME)).await), id);
        let other = named(&here, 2, Unique::by("other")).await;
        eventually("it is dead", || async { look(&here, QUEUE).await.dead == 1 }).await;
        let next = here.enqueue(&Number { n: 3 }).delay(LONG).unique(Unique::by("other"));
        let next = new(next.await.unwrap());
        // It is not taken back over the head of the one that has its name.
        let dead = here.queue(QUEUE).dead();
        let redriven = dead.retry(&[other.handle().id()]).await.unwrap();
        assert_eq!((redriven.retried, redriven.duplicates), (0, 1));
        assert_eq!(look(&here, QUEUE).await.dead, 1);
        assert_eq!(here.queue(QUEUE).cancel(next).await.unwrap(), Cancelled::Scheduled);
        assert_eq!(dead.retry_all().await.unwrap().retried, 1);
        worker.stop().await;
    }

    async fn a_name_counts_within_its_window(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), all_done);
        let unique = || Unique::by(NAME).within(3 * SECOND);
        let began = std::time::Instant::now();
        let id = new(named(&here, 1, unique()).await);
        assert_eq!(worker.next().await.cx.id(), id);
        drained(&here, QUEUE).await;
        let again = named(&there, 2, unique()).await;
        assert!(again.handle().id() == id || began.elapsed() > 2 * SECOND, "{again:?}");
        eventually("the window is over", || async {
            matches!(named(&there, 3, unique()).await, Enqueued::New(_))
        })
        .await;
        assert!(began.elapsed() + SECOND / 10 >= 3 * SECOND, "{:?}", began.elapsed());
        worker.stop().await;
    }

    async fn what_waits_is_replaced_and_what_runs_is_not(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let unique = || Unique::by(NAME).on_conflict(OnConflict::Replace);
        let first = new(named(&here, 1, unique()).await);
        let later = here.enqueue(&Number { n: 2 }).unique(unique()).delay(LONG).await.unwrap();
        let Enqueued::Replaced { new: second, old } = later else { panic!("{later:?}") };
        assert_eq!(old, first);
        assert!(find(&here, first).await.is_none());
        let now = named(&there, 3, unique()).await;
        let Enqueued::Replaced { new: third, old } = now else { panic!("{now:?}") };
        assert_eq!(old, second.id());
        let looked = look(&here, QUEUE).await;
        assert_eq!((looked.waiting, looked.scheduled), (1, 0));
        let (open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(worker(&there), behind(gate));
        assert_eq!(worker.next().await.cx.id(), third.id());
        assert_eq!(holder(named(&here, 4, unique()).await), third.id(), "it runs");
        open.send(true).unwrap();
        drained(&here, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, worker.ear.is_silent()), (1, true), "those replaced never ran");
    }

    async fn a_name_is_released_only_by_who_has_it(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let first = new(named(&here, 1, Unique::by(NAME)).await);
        let pull = here.pull(QUEUE);
        let lost = pull.reserve(1, LEASE).await.unwrap().pop().expect("it waits");
        // Another has it, and ends it.
        let mut worker = Hearing::start(one_by_one(&there), all_done);
        assert_eq!(worker.next().await.cx.id(), first);
        drained(&here, QUEUE).await;
        worker.stop().await;
        let second = new(named(&here, 2, Unique::by(NAME)).await);
        assert!(!pull.finish(&lost.token, PullEnd::Done(None)).await.unwrap());
        assert_eq!(here.queue(QUEUE).cancel(first).await.unwrap(), Cancelled::Unknown);
        assert_eq!(holder(named(&there, 3, Unique::by(NAME)).await), second);
        // Who is cancelled gives it back.
        assert_eq!(here.queue(QUEUE).cancel(second).await.unwrap(), Cancelled::Waiting);
        let third = new(named(&here, 4, Unique::by(NAME)).await);
        assert_eq!(find(&here, third).await.expect("it waits").state, JobState::Waiting);
    }
}

/// Waits until nothing runs or could.
async fn drained_of_due(jobs: &Jobs) {
    eventually("nothing runs", || async {
        let looked = look(jobs, QUEUE).await;
        looked.waiting + looked.running == 0
    })
    .await;
}
