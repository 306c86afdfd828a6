//! What came of a job that is another's by now.

use sinew::job::{JobState, PullEnd, PulledJob, Worker};
use tokio::sync::watch;

use super::hearing::{Heard, Hearing, Number, all_done, behind};
use super::{LEASE, LONG, QUEUE, drained, enqueue, find, jobs, look, new, queue, worker};
use crate::laws::eventually;

fn failed(error: &str) -> PullEnd {
    PullEnd::Failed { error: error.to_owned(), after: None }
}

/// Taken by hand, and never renewed.
async fn taken(jobs: &sinew::Jobs) -> PulledJob {
    let mut taken = jobs.pull(QUEUE).reserve(1, LEASE).await.unwrap();
    taken.pop().expect("a job that waits")
}

laws! {
    async fn a_word_of_who_lost_a_job_does_not_count(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let id = new(here.enqueue(&Number { n: 1 }).key("ada").retain(LONG).await.unwrap());
        let lost = taken(&here).await;
        let (open, gate) = watch::channel(false);
        let mut other = Hearing::start_with(worker(&there), behind(gate));
        let Heard { cx, .. } = other.next().await;
        assert_eq!((cx.id(), cx.crashes()), (id, 1));
        assert!(cx.fence() > lost.fence, "what it writes elsewhere goes after the other's");
        // It says that it is done, that it has failed, and that it still has it.
        let pull = here.pull(QUEUE);
        assert!(!pull.finish(&lost.token, PullEnd::Done(None)).await.unwrap());
        assert!(!pull.finish(&lost.token, failed("no")).await.unwrap());
        let token = std::slice::from_ref(&lost.token);
        assert_eq!(pull.renew(token, LONG).await.unwrap(), token, "it has it no more");
        let found = find(&here, id).await.expect("it runs");
        assert_eq!((found.state, found.failures), (JobState::Running, 0));
        open.send(true).unwrap();
        drained(&here, QUEUE).await;
        assert_eq!(find(&here, id).await.expect("it is kept").state, JobState::Done);
        let finished = other.stop().await;
        assert_eq!((finished.done, finished.lost), (1, 0));
    }

    async fn a_renewal_does_not_raise_the_dead(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        enqueue(&here, 1).await;
        let lost = taken(&here).await;
        // Who has nothing to do sees that it has fallen.
        let mut other = Hearing::start(worker(&there), all_done);
        assert_eq!(other.next().await.cx.crashes(), 1);
        drained(&here, QUEUE).await;
        let lanes = look(&here, QUEUE).await.lanes;
        for _ in 0..3 {
            let token = std::slice::from_ref(&lost.token);
            assert_eq!(here.pull(QUEUE).renew(token, LONG).await.unwrap(), token);
        }
        assert_eq!(look(&here, QUEUE).await.lanes, lanes, "no one is there again");
        enqueue(&here, 2).await;
        assert_eq!(other.next().await.cx.crashes(), 0, "only live ones take jobs");
        other.stop().await;
    }

    async fn a_lease_that_is_renewed_is_no_one_elses(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        enqueue(&here, 1).await;
        let held = taken(&here).await;
        let mut other = Hearing::start(worker(&there), all_done);
        let began = std::time::Instant::now();
        // Longer than a lease and what is added to it before it is taken for dead.
        while began.elapsed() < 5 * LEASE {
            let token = std::slice::from_ref(&held.token);
            let lost = here.pull(QUEUE).renew(token, LEASE).await.unwrap();
            assert!(lost.is_empty(), "{lost:?}");
            assert!(other.is_silent_for(LEASE / 4).await, "it is still its own");
        }
        assert!(here.pull(QUEUE).finish(&held.token, PullEnd::Done(None)).await.unwrap());
        drained(&here, QUEUE).await;
        assert_eq!(other.stop().await.done, 0);
    }

    async fn an_end_that_is_told_twice_counts_once(store: Store) {
        let jobs = jobs(&store).await;
        enqueue(&jobs, 1).await;
        enqueue(&jobs, 2).await;
        let first = taken(&jobs).await;
        let second = taken(&jobs).await;
        assert_ne!(first.token, second.token);
        assert!(jobs.pull(QUEUE).finish(&first.token, PullEnd::Done(None)).await.unwrap());
        let again = jobs.pull(QUEUE).finish(&first.token, PullEnd::Done(None)).await.unwrap();
        assert!(!again, "it was told before");
        let looked = look(&jobs, QUEUE).await;
        assert_eq!((looked.running, looked.waiting), (1, 0), "the other is not touched");
        assert!(jobs.pull(QUEUE).finish(&second.token, failed("not now")).await.unwrap());
        eventually("it waits to be tried again", || async {
            let looked = look(&jobs, QUEUE).await;
            looked.running == 0 && looked.scheduled + looked.waiting == 1
        })
        .await;
        let again = Worker::new(&jobs).queue(queue().concurrency(1));
        let mut again = Hearing::start(again, all_done);
        assert_eq!(again.next().await.cx.failures(), 1);
        again.stop().await;
    }
}
