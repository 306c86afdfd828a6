//! Jobs that end the process that runs them.

use std::collections::BTreeMap;

use sinew::job::{JobState, Worker};

use super::hearing::{Doomed, Heard, Hearing, Number, all_done, failed};
use super::{LEASE, QUEUE, drained, enqueue, enqueue_all, find, jobs, look, new, queue, worker};
use crate::laws::eventually;

/// So many deliveries that ended with their process bury a job.
const CRASHES_MAX: u32 = 5;
const CULPRIT: u64 = 666;

laws! {
    async fn a_job_that_kills_its_process_is_buried_and_innocents_beside_it_live(store: Store) {
        let here = jobs(&store).await;
        // Taken together: it falls upon the innocent in the middle of their work.
        let innocent = 1..4;
        enqueue_all(&here, innocent.clone()).await;
        let culprit = enqueue(&here, CULPRIT).await;
        let slow_at_first = |heard: Heard| async move {
            if heard.cx.crashes() == 0 || heard.n == CULPRIT {
                std::future::pending::<()>().await;
            }
            Ok(())
        };
        let mut first = Doomed::start(&store, worker, slow_at_first).await;
        assert_eq!(first.ear.numbers(4).await, [1, 2, 3, CULPRIT]);
        first.kill();
        let (mut deliveries, mut lived) = (1, BTreeMap::new());
        while deliveries < CRASHES_MAX {
            let mut next = Doomed::start(&store, worker, slow_at_first).await;
            loop {
                let Heard { n, cx, .. } = next.ear.next().await;
                if n == CULPRIT {
                    assert_eq!(cx.crashes(), deliveries);
                    deliveries += 1;
                    break;
                }
                assert!(lived.insert(n, cx.crashes()).is_none(), "{n} was run before");
            }
            next.kill();
        }
        let mut last = Hearing::start(worker(&here), all_done);
        eventually("it is dead", || async { look(&here, QUEUE).await.dead == 1 }).await;
        let found = find(&here, culprit).await.expect("it is kept");
        assert_eq!((found.state, found.crashes, found.failures), (JobState::Dead, 5, 0));
        let groups = here.queue(QUEUE).dead().groups().await.unwrap();
        assert_eq!((groups.len(), &*groups[0].kind, groups[0].count), (1, "number", 1));
        assert!(groups[0].error.contains("ended with their process"), "{}", groups[0].error);
        // The rest flows, also what had waited behind it.
        enqueue(&here, 100).await;
        while lived.len() < 4 {
            let Heard { n, cx, .. } = last.next().await;
            assert!(n != CULPRIT && lived.insert(n, cx.crashes()).is_none(), "{n}");
        }
        assert_eq!(lived, BTreeMap::from([(1, 1), (2, 1), (3, 1), (100, 0)]));
        last.stop().await;
    }

    async fn a_culprit_with_a_key_holds_up_no_other_key(store: Store) {
        let here = jobs(&store).await;
        let of_key = async |n, key: &str| new(here.enqueue(&Number { n }).key(key).await.unwrap());
        let limited = |jobs: &sinew::Jobs| Worker::new(jobs).queue(queue().per_key(1));
        of_key(CULPRIT, "ada").await;
        of_key(1, "ada").await;
        let kills = |heard: Heard| async move {
            if heard.n == CULPRIT {
                std::future::pending::<()>().await;
            }
            Ok(())
        };
        for crashes in 0..2 {
            let mut killed = Doomed::start(&store, limited, kills).await;
            let n = 10 + u64::from(crashes);
            of_key(n, "ben").await;
            let mut heard = [killed.ear.next().await, killed.ear.next().await];
            heard.sort_by_key(|heard| heard.n);
            let heard = heard.map(|heard| (heard.n, heard.cx.crashes()));
            assert_eq!(heard, [(n, 0), (CULPRIT, crashes)], "the next of its key waits behind it");
            // That the other is done has been told before the process ends.
            eventually("one runs", || async { look(&here, QUEUE).await.running == 1 }).await;
            killed.kill();
        }
        let mut last = Hearing::start(limited(&here), all_done);
        let heard = [last.next().await, last.next().await];
        let heard = heard.map(|heard| (heard.n, heard.cx.crashes()));
        assert_eq!(heard, [(CULPRIT, 2), (1, 0)]);
        last.stop().await;
    }

    async fn a_process_that_dies_takes_what_only_it_had(store: Store) {
        let here = jobs(&store).await;
        let never = |_: Heard| std::future::pending();
        // It has no place for what is for the other.
        let two = |jobs: &sinew::Jobs| Worker::new(jobs).queue(queue().concurrency(2));
        let mut killed = Doomed::start(&store, two, never).await;
        enqueue_all(&here, 0..2).await;
        assert_eq!(killed.ear.numbers(2).await, [0, 1]);
        let mut lives = Hearing::start_with(worker(&here), |heard| async move {
            // One at a time of those that were there when a process ended: they hold up nobody's law.
            if heard.cx.crashes() == 0 {
                tokio::time::sleep(4 * LEASE).await;
            }
            match heard.cx.is_lost() {
                true => Err(failed("it was taken from the living")),
                false => Ok(()),
            }
        });
        enqueue_all(&here, 2..6).await;
        assert_eq!(lives.numbers(4).await, [2, 3, 4, 5]);
        killed.kill();
        let again = [lives.next().await, lives.next().await];
        assert!(again.iter().all(|heard| heard.n < 2 && heard.cx.crashes() == 1));
        drained(&here, QUEUE).await;
        let finished = lives.stop().await;
        assert_eq!((finished.done, finished.failed, finished.lost), (6, 0, 0));
    }
}
