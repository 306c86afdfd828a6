//! Jobs that are not wanted any more.

use sinew::job::{Cancelled, JobState, PullEnd, Worker};
use tokio::sync::{mpsc, watch};

use super::hearing::{Heard, Hearing, Number, all_done, behind};
use super::{
    LONG, QUEUE, SECOND, SOON, drained, enqueue, enqueue_all, find, jobs, look, new, queue, worker,
};
use crate::laws::eventually;

laws! {
    async fn what_is_cancelled_before_it_begins_never_runs(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut ids = vec![
            new(here.enqueue(&Number { n: 100 }).await.unwrap()),
            new(here.enqueue(&Number { n: 101 }).delay(SECOND / 10).await.unwrap()),
            new(here.enqueue(&Number { n: 102 }).key("ada").await.unwrap()),
            new(here.enqueue(&Number { n: 103 }).priority(9).await.unwrap()),
        ];
        // In the middle of others, of its key as well.
        enqueue_all(&here, 0..10).await;
        for n in 10..14 {
            here.enqueue(&Number { n }).key("ada").await.unwrap();
        }
        ids.push(enqueue(&here, 104).await);
        for (at, id) in ids.iter().enumerate() {
            // Nobody has moved the delayed one.
            let was = if at == 1 { Cancelled::Scheduled } else { Cancelled::Waiting };
            assert_eq!(there.queue(QUEUE).cancel(*id).await.unwrap(), was);
            assert_eq!(there.queue(QUEUE).cancel(*id).await.unwrap(), Cancelled::Unknown);
            assert!(find(&here, *id).await.is_none());
        }
        let mut worker = Hearing::start(worker(&there), all_done);
        assert_eq!(worker.numbers(14).await, (0..14).collect::<Vec<_>>());
        assert!(worker.is_silent_for(SECOND / 2).await);
        drained(&here, QUEUE).await;
        assert_eq!(worker.stop().await.done, 14);
    }

    async fn a_handler_is_told_and_its_key_stays_taken_until_it_ends(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (open, gate) = watch::channel(false);
        let (tell, mut told) = mpsc::unbounded_channel();
        let limited = Worker::new(&there).queue(queue().lease(LONG).per_key(1));
        let mut worker = Hearing::start_with(limited, move |heard: Heard| {
            let (tell, mut gate) = (tell.clone(), gate.clone());
            async move {
                if heard.n == 1 {
                    heard.cx.cancelled().await;
                    let _ = tell.send(heard.cx.is_cancelled());
                    let _ = gate.wait_for(|is_open| *is_open).await;
                }
                Ok(())
            }
        });
        let of_ada = async |n| new(here.enqueue(&Number { n }).key("ada").await.unwrap());
        let first = of_ada(1).await;
        assert_eq!(worker.next().await.n, 1);
        of_ada(2).await;
        enqueue(&here, 3).await;
        assert_eq!(worker.next().await.n, 3, "a key holds up no one else");
        assert_eq!(here.queue(QUEUE).cancel(first).await.unwrap(), Cancelled::Running);
        let was_told = tokio::time::timeout(SOON, told.recv()).await;
        assert_eq!(was_told.expect("it is told within a second, and some"), Some(true));
        assert!(find(&here, first).await.is_none());
        assert!(worker.is_silent_for(SECOND / 5).await, "its handler has not ended");
        open.send(true).unwrap();
        assert_eq!(worker.next().await.n, 2);
        drained(&here, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.dead), (2, 0), "what it said did not count");
    }

    async fn a_handler_that_does_not_listen_is_ended(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let never = |_: Heard| std::future::pending();
        let mut worker = Hearing::start_with(Worker::new(&there).queue(queue().lease(LONG)), never);
        let id = enqueue(&here, 1).await;
        worker.next().await;
        assert_eq!(here.queue(QUEUE).cancel(id).await.unwrap(), Cancelled::Running);
        eventually("its place is free", || async { look(&here, QUEUE).await.running == 0 }).await;
        assert!(worker.ear.is_silent(), "and it is not run again");
    }

    async fn a_cancelled_job_that_tells_how_far_it_is_is_cancelled_and_not_lost(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (tell, mut told) = mpsc::unbounded_channel();
        let (open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(worker(&there), move |heard: Heard| {
            let (tell, mut gate) = (tell.clone(), gate.clone());
            async move {
                let _ = gate.wait_for(|is_open| *is_open).await;
                heard.cx.progress(1, 2, "on its way").await?;
                heard.cx.cancelled().await;
                let _ = tell.send(heard.cx.is_lost());
                Ok(())
            }
        });
        let id = enqueue(&here, 1).await;
        worker.next().await;
        assert_eq!(here.queue(QUEUE).cancel(id).await.unwrap(), Cancelled::Running);
        open.send(true).unwrap();
        let was_lost = tokio::time::timeout(SOON, told.recv()).await;
        assert_eq!(was_lost.expect("it is told"), Some(false));
        drained(&here, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.lost), (0, 1));
    }

    async fn what_a_job_came_to_that_is_cancelled_just_before_does_not_count(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (open, gate) = watch::channel(false);
        let mut worker = Hearing::start_with(worker(&there), behind(gate));
        let ids = enqueue_all(&here, 0..4).await;
        assert_eq!(worker.numbers(4).await, [0, 1, 2, 3]);
        for id in &ids[..3] {
            assert_eq!(here.queue(QUEUE).cancel(*id).await.unwrap(), Cancelled::Running);
        }
        open.send(true).unwrap();
        drained(&here, QUEUE).await;
        let finished = worker.stop().await;
        assert_eq!((finished.done, finished.lost), (1, 3));
    }

    async fn what_has_ended_is_not_cancelled(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), |heard| match heard.n {
            1 => Ok(()),
            _ => Err(sinew::job::JobError::Dead { reason: "no".to_owned() }),
        });
        let kept = new(here.enqueue(&Number { n: 1 }).retain(LONG).await.unwrap());
        let dead = enqueue(&here, 2).await;
        let gone = enqueue(&here, 1).await;
        assert_eq!(worker.numbers(3).await, [1, 1, 2]);
        drained(&here, QUEUE).await;
        for (id, expected) in
            [(kept, Cancelled::Ended), (dead, Cancelled::Ended), (gone, Cancelled::Unknown)]
        {
            assert_eq!(here.queue(QUEUE).cancel(id).await.unwrap(), expected);
        }
        assert_eq!(find(&here, kept).await.expect("it is kept").state, JobState::Done);
        assert_eq!(find(&here, dead).await.expect("it is kept").state, JobState::Dead);
        worker.stop().await;
    }

    async fn what_was_taken_and_is_cancelled_is_told_to_who_renews(store: Store) {
        let jobs = jobs(&store).await;
        let id = enqueue(&jobs, 1).await;
        enqueue(&jobs, 2).await;
        let pull = jobs.pull(QUEUE);
        let taken = pull.reserve(2, LONG).await.unwrap();
        assert_eq!(taken.len(), 2);
        let tokens: Vec<_> = taken.iter().map(|one| one.token.clone()).collect();
        assert_eq!(jobs.queue(QUEUE).cancel(id).await.unwrap(), Cancelled::Running);
        let of_it = taken.iter().filter(|one| one.id == id).map(|one| one.token.clone());
        assert_eq!(pull.renew(&tokens, LONG).await.unwrap(), of_it.collect::<Vec<_>>());
        for one in &taken {
            let counts = pull.finish(&one.token, PullEnd::Done(None)).await.unwrap();
            assert_eq!(counts, one.id != id);
        }
        assert_eq!(look(&jobs, QUEUE).await.running, 0);
    }
}
