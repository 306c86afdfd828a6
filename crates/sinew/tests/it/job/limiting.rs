//! How many run at a time, and how many begin.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sinew::job::{JobError, Queue, Worker};

use super::hearing::{self, Heard, Hearing, Number, all_done};
use super::{QUEUE, SECOND, SOON, drained, enqueue_all, jobs, look, queue, worker};

/// How many run now, and at most did, by what a number has in common with others.
#[derive(Clone, Default)]
struct Running(Arc<Mutex<BTreeMap<u64, (u64, u64)>>>);

type Counted = BoxFuture<'static, Result<(), JobError>>;

impl Running {
    /// A handler that takes a little, and is counted.
    fn counting(
        &self,
        of: fn(u64) -> u64,
        takes: Duration,
    ) -> impl Fn(Heard) -> Counted + Clone + Send + Sync + 'static + use<> {
        let running = self.clone();
        move |heard| {
            let (running, of) = (running.clone(), of(heard.n));
            Box::pin(async move {
                running.change(of, |(now, most)| (now + 1, most.max(now + 1)));
                tokio::time::sleep(takes).await;
                running.change(of, |(now, most)| (now - 1, most));
                Ok(())
            })
        }
    }

    fn change(&self, of: u64, change: impl FnOnce((u64, u64)) -> (u64, u64)) {
        let mut running = self.0.lock().unwrap();
        let of = running.entry(of).or_default();
        *of = change(*of);
    }

    fn most(&self, of: u64) -> u64 {
        self.0.lock().unwrap().get(&of).map_or(0, |(_, most)| *most)
    }
}

laws! {
    async fn a_keys_limit_is_never_exceeded_and_no_key_waits_behind_another(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        // Of key 0 come three of four, and all of those first.
        let key_of = |n: u64| n.saturating_sub(60) % 5;
        for n in 0..80 {
            here.enqueue(&Number { n }).key(format!("key {}", key_of(n))).await.unwrap();
        }
        let running = Running::default();
        let (tell, mut heard) = hearing::channel();
        let workers = [&here, &there].map(|jobs| {
            let worker = Worker::new(jobs).queue(queue().concurrency(8).per_key(2));
            hearing::start(
                worker,
                &tell,
                running.counting(|n| n.saturating_sub(60) % 5, Duration::from_millis(40)),
            )
        });
        let order = heard.in_turn(80).await;
        for key in 0..5 {
            assert_eq!(running.most(key), 2, "key {key}");
        }
        let last_of_others = order.iter().rposition(|n| key_of(*n) > 0).expect("they run");
        let before = order[..last_of_others].iter().filter(|n| key_of(**n) == 0).count();
        assert!(before < 40, "{before} of a long one were first: {order:?}");
        drained(&here, QUEUE).await;
        for worker in workers {
            worker.stop().await;
        }
    }

    async fn the_limit_of_a_queue_is_never_exceeded(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        enqueue_all(&here, 0..60).await;
        let running = Running::default();
        let (tell, mut heard) = hearing::channel();
        let workers = [&here, &there].map(|jobs| {
            let worker = Worker::new(jobs).queue(queue().concurrency(8).global(3));
            hearing::start(worker, &tell, running.counting(|_| 0, Duration::from_millis(30)))
        });
        assert_eq!(heard.numbers(60).await.len(), 60);
        assert_eq!(running.most(0), 3);
        drained(&here, QUEUE).await;
        let looked = look(&here, QUEUE).await;
        assert_eq!((looked.global, looked.running), (3, 0));
        for worker in workers {
            worker.stop().await;
        }
    }

    async fn no_window_has_more_starts_than_the_rate(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let (rate, window) = (10, SECOND);
        enqueue_all(&here, 0..35).await;
        let began = Instant::now();
        let (tell, mut heard) = hearing::channel();
        let workers = [&here, &there].map(|jobs| {
            let worker = Worker::new(jobs).queue(queue().rate(10, SECOND));
            hearing::start(worker, &tell, |_| std::future::ready(Ok(())))
        });
        for at in 0..35 {
            // What is heard late has begun no later: only the other way round is there something to show.
            let heard = heard.next().await;
            let earliest = window * (at / rate);
            let took = heard.at - began;
            assert!(took + Duration::from_millis(20) >= earliest, "{at} after {took:?}");
        }
        drained(&here, QUEUE).await;
        for worker in workers {
            worker.stop().await;
        }
    }

    async fn a_paused_queue_holds_and_goes_on_when_it_is_told(store: Store) {
        let (here, there) = (jobs(&store).await, jobs(&store).await);
        let mut worker = Hearing::start(worker(&there), all_done);
        enqueue_all(&here, 0..1).await;
        assert_eq!(worker.numbers(1).await, [0]);
        here.queue(QUEUE).pause().await.unwrap();
        enqueue_all(&here, 1..4).await;
        here.enqueue(&Number { n: 4 }).delay(SECOND / 10).await.unwrap();
        assert!(worker.is_silent_for(SECOND).await, "it is paused");
        let looked = look(&here, QUEUE).await;
        assert!(looked.is_paused && looked.waiting + looked.scheduled == 4, "{looked:?}");
        let began = Instant::now();
        there.queue(QUEUE).resume().await.unwrap();
        assert_eq!(worker.numbers(4).await, [1, 2, 3, 4]);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert!(!look(&here, QUEUE).await.is_paused);
        worker.stop().await;
    }

    async fn queues_of_one_worker_share_its_places_by_their_weight(store: Store) {
        let jobs = jobs(&store).await;
        for n in 0..100 {
            for (queue, n) in [("light", n), ("heavy", 1_000 + n)] {
                jobs.enqueue(&Number { n }).queue(queue).await.unwrap();
            }
        }
        let worker = Worker::new(&jobs).concurrency(1);
        let worker = worker.queue(Queue::new("light").weight(1));
        let worker = worker.queue(Queue::new("heavy").weight(4));
        let mut worker = Hearing::start_with(worker, |_| async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(())
        });
        // All that it takes at first is fair to none: what follows is.
        let order = worker.ear.in_turn(110).await;
        let heavy = order[40..].iter().filter(|n| **n >= 1_000).count();
        assert!((42..70).contains(&heavy), "{heavy} of 70, and not about four of five: {order:?}");
        worker.stop().await;
    }

    async fn a_worker_runs_no_more_at_a_time_than_it_has_places(store: Store) {
        let jobs = jobs(&store).await;
        enqueue_all(&jobs, 0..60).await;
        let running = Running::default();
        let worker = Worker::new(&jobs).queue(queue().concurrency(4));
        let mut worker = Hearing::start_with(
            worker,
            running.counting(|_| 0, Duration::from_millis(10)),
        );
        assert_eq!(worker.numbers(60).await.len(), 60);
        assert_eq!(running.most(0), 4);
        drained(&jobs, QUEUE).await;
        worker.stop().await;
    }
}
