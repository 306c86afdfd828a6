//! How soon jobs begin.

use std::time::{Duration, Instant};

use sinew::job::{PullEnd, QueueSettings};

use super::hearing::{Hearing, Number, all_done};
use super::{LONG, QUEUE, SECOND, SOON, drained, enqueue, jobs, look, new, worker};
use crate::laws::eventually;

/// Who has missed the news looks every five seconds: that several of them come in time is no luck.
const TIMES: u64 = 4;
const EARLY_MAX: Duration = Duration::from_millis(2);

laws! {
    async fn an_idle_worker_begins_at_once(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), all_done);
        enqueue(&here, 0).await;
        worker.next().await;
        for n in 1..=2 * TIMES {
            let began = Instant::now();
            enqueue(&here, n).await;
            let took = worker.next().await.at - began;
            assert!(took < SOON / 2, "{took:?}");
        }
        worker.stop().await;
    }

    async fn a_due_job_begins_in_time(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), all_done);
        for n in 0..TIMES {
            let delay = Duration::from_millis(300 + 70 * n);
            let began = Instant::now();
            here.enqueue(&Number { n }).delay(delay).await.unwrap();
            let took = worker.next().await.at - began;
            assert!(took + EARLY_MAX >= delay, "{took:?} instead of {delay:?}");
            assert!(took < delay + SOON / 2, "{took:?} instead of {delay:?}");
        }
        worker.stop().await;
    }

    async fn an_idle_worker_hears_of_one_that_is_due_earlier(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        here.enqueue(&Number { n: 100 }).delay(LONG).await.unwrap();
        let mut worker = Hearing::start(worker(&there), all_done);
        eventually("it is there", || async { look(&here, QUEUE).await.lanes > 0 }).await;
        for n in 0..TIMES {
            let began = Instant::now();
            for earlier in [40, 20, 1] {
                here.enqueue(&Number { n: 200 }).delay(earlier * LONG / 50).await.unwrap();
            }
            here.enqueue(&Number { n }).delay(SECOND / 5).await.unwrap();
            let heard = worker.next().await;
            let took = heard.at - began;
            assert!(heard.n == n && took < SOON, "{took:?}");
        }
        worker.stop().await;
        assert_eq!(look(&here, QUEUE).await.scheduled, 1 + 3 * TIMES);
    }

    async fn those_that_are_due_together_all_begin(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let began = Instant::now();
        // More than one step moves.
        for n in 0..600 {
            here.enqueue(&Number { n }).delay(2 * SECOND).await.unwrap();
        }
        let mut worker = Hearing::start(worker(&there), all_done);
        assert_eq!(worker.numbers(600).await, (0..600).collect::<Vec<_>>());
        assert!(began.elapsed() + EARLY_MAX >= 2 * SECOND);
        assert_eq!(look(&here, QUEUE).await.scheduled, 0);
        worker.stop().await;
    }

    async fn a_place_that_is_freed_wakes_who_waits_for_one(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        for settings in
            [QueueSettings::new().global(1), QueueSettings::new().global(0).per_key(1)]
        {
            here.queue(QUEUE).declare(settings).await.unwrap();
            for n in 0..2 {
                let enqueue = async |n| new(here.enqueue(&Number { n }).key("ada").await.unwrap());
                enqueue(n).await;
                // Whoever has it takes nothing once it has ended: the other has to hear of it.
                let pull = here.pull(QUEUE);
                let held = pull.reserve(1, LONG).await.unwrap().pop().expect("it waits");
                let second = enqueue(n).await;
                let mut waits = Hearing::start(worker(&there), all_done);
                assert!(waits.is_silent_for(SECOND / 2).await, "there is no place");
                let began = Instant::now();
                assert!(pull.finish(&held.token, PullEnd::Done(None)).await.unwrap());
                let heard = waits.next().await;
                let took = heard.at - began;
                assert!(heard.cx.id() == second && took < SOON, "{took:?}");
                drained(&here, QUEUE).await;
                waits.stop().await;
            }
        }
    }
}
