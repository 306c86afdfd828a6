//! One queue: its jobs are taken as far as there is room for them, and while its endpoint answers.

use std::sync::Arc;
use std::time::Duration;

use sinew::BreakerState;
use sinew::job::{PulledJob, Puller};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::deliver::{Delivery, LEASE};
use super::under_way::One;
use crate::serve::stopped;
use crate::webhook::room::Place;

/// What people know such a worker by.
const LABEL: &str = "webhook";
/// How long one reserve waits: then it is looked whether there is more room.
const WAIT: Duration = Duration::from_secs(5);
/// How often an endpoint that is left alone may be tried again, and a store that is away.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long runs under way may take once the hub is to stop: less than the hub itself.
const DRAIN: Duration = Duration::from_secs(6);
/// And how long it may take to give back what has not ended by then.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Takes the jobs of one queue.
struct Taker {
    delivery: Arc<Delivery>,
    puller: Puller,
}

/// A job, and its places.
struct Placed {
    job: PulledJob,
    place: One,
    /// Among all deliveries, where it has one yet.
    delivering: Option<Place>,
}

/// Runs the jobs of a queue until it is told to end, or nobody can tell it any more. What is under way then comes to its end.
pub(super) async fn run(
    delivery: Arc<Delivery>,
    ending: watch::Receiver<bool>,
    stopping: watch::Receiver<bool>,
) {
    // Somebody has to see to recurring jobs, and to what follows on others.
    let tender = delivery.jobs.queue(&delivery.queue).tend();
    let taker = Taker::new(delivery);
    let (cutting, cut) = watch::channel(false);
    let (mut runs, mut is_idle) = (JoinSet::new(), false);
    let mut over = std::pin::pin!(stopped(ending.clone()));
    loop {
        let next = async {
            match is_idle {
                true => taker.first().await,
                false => taker.more().await,
            }
        };
        let some = tokio::select! {
            biased;
            // What a reserve is given meanwhile waits again.
            () = &mut over => break,
            some = next => some,
        };
        is_idle = some.is_empty();
        for Placed { job, place, delivering } in some {
            let (delivery, puller) = (Arc::clone(&taker.delivery), taker.puller.clone());
            let (ending, cut) = (ending.clone(), cut.clone());
            runs.spawn(async move {
                delivery.run(&puller, job, delivering, ending, cut).await;
                drop(place);
            });
        }
        while runs.try_join_next().is_some() {}
    }
    // What takes its place sees to that.
    drop(tender);
    drain(runs, &cutting, stopping).await;
}

/// As long as runs may take, unless the hub itself is to stop: what has not ended soon after that is cut off.
async fn drain(
    mut runs: JoinSet<()>,
    cutting: &watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
) {
    let over = async {
        stopped(stopping).await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        () = all(&mut runs) => return,
        () = over => {}
    }
    cutting.send_replace(true);
    // What cannot be given back in time comes back when its lease is over.
    let _ = timeout(GIVE_BACK, all(&mut runs)).await;
}

async fn all(runs: &mut JoinSet<()>) {
    while runs.join_next().await.is_some() {}
}

impl Taker {
    fn new(delivery: Arc<Delivery>) -> Self {
        let puller = delivery.jobs.pull(&delivery.queue).label(LABEL);
        Self { delivery, puller }
    }

    /// The next job, once it comes; none where there was none for a while, or it is not the time for any. Nobody knows when
    /// it comes, so no place among all deliveries is kept for it: it waits for one itself, the only one of its queue.
    async fn first(&self) -> Vec<Placed> {
        let Some(place) = self.place().await else { return Vec::new() };
        // None is taken while others that were taken wait for room.
        drop(self.delivery.room.delivering().await);
        let jobs = self.reserve(&self.puller.clone().wait(WAIT), 1).await;
        let placed = |(job, place)| Placed { job, place, delivering: None };
        jobs.into_iter().zip([place]).map(placed).collect()
    }

    /// The jobs that are there, as many as there is room for: what is taken here is kept from hubs that have more of it.
    async fn more(&self) -> Vec<Placed> {
        let Some(place) = self.place().await else { return Vec::new() };
        let Delivery { room, endpoint, under_way, .. } = &*self.delivery;
        let mut free = vec![(place, room.delivering().await)];
        // An endpoint that has failed is tried by one job.
        while endpoint.breaker.state() == BreakerState::Closed
            && let Some(place) = under_way.one_now(self.concurrency())
            && let Some(delivering) = room.delivering_now()
        {
            free.push((place, delivering));
        }
        let jobs = self.reserve(&self.puller, free.len()).await;
        let placed = |(job, (place, delivering))| {
            let delivering = Some(delivering);
            Placed { job, place, delivering }
        };
        jobs.into_iter().zip(free).map(placed).collect()
    }

    /// A place for a job of the queue, unless its endpoint is left alone.
    async fn place(&self) -> Option<One> {
        let place = self.delivery.under_way.one(self.concurrency()).await;
        match self.delivery.endpoint.breaker.permit() {
            // Only who asks for one finds that its time is over; the run asks for its own.
            Ok(permit) => drop(permit),
            Err(_) => {
                sleep(TRY_EVERY).await;
                return None;
            }
        }
        Some(place)
    }

    /// How many of the queue's jobs may be under way at once.
    fn concurrency(&self) -> usize {
        usize::from(self.delivery.webhook.concurrency)
    }

    async fn reserve(&self, puller: &Puller, max: usize) -> Vec<PulledJob> {
        match puller.reserve(max, LEASE).await {
            Ok(jobs) => jobs,
            Err(error) => {
                let (queue, error) = (&self.delivery.queue, format!("{error:#}"));
                tracing::debug!(queue, error, "no job of a queue could be taken for its webhook");
                sleep(TRY_EVERY).await;
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use sinew::Sinew;
    use sinew::job::{NewJob, QueueWebhook};
    use sinew::stream::Secret;

    use super::*;
    use crate::job::webhook::under_way::UnderWay;
    use crate::webhook::endpoint::Endpoint;
    use crate::webhook::post::Poster;
    use crate::webhook::room::Room;
    use crate::webhook::settings::WebhookSettings;

    /// Of a queue that has no jobs.
    fn taker(room: &Room) -> Taker {
        let acme = Sinew::embedded().tenant("acme").unwrap();
        let webhook = QueueWebhook::new("https://example.com/", Secret::generate().unwrap());
        Taker::new(Arc::new(Delivery {
            queue: "mail".to_owned(),
            webhook,
            jobs: acme.jobs(),
            streams: acme.streams(),
            endpoint: Arc::new(Endpoint::new("mail", 1).unwrap()),
            poster: Poster::new(WebhookSettings::default().addresses()).unwrap(),
            room: room.clone(),
            under_way: UnderWay::new(),
            kicked: Arc::default(),
        }))
    }

    #[tokio::test]
    async fn no_more_jobs_are_taken_than_there_is_room_for() {
        let room = Room::new();
        let taker = taker(&room);
        let jobs = &taker.delivery.jobs;
        for _ in 0..8 {
            jobs.enqueue_raw("mail", NewJob::new("a", "1")).await.unwrap();
        }
        let mut others: Vec<Place> = std::iter::from_fn(|| room.delivering_now()).collect();
        others.truncate(others.len() - 2);
        assert_eq!(taker.more().await.len(), 2);
        others.extend(std::iter::from_fn(|| room.delivering_now()));
        // It waits for room, not for a job.
        assert!(taker.more().now_or_never().is_none() && taker.first().now_or_never().is_none());
        let look = jobs.queue("mail").look().await.unwrap().unwrap();
        assert_eq!((look.waiting, look.running), (6, 2));
        drop(others);
        assert_eq!(taker.first().await.len(), 1);
        assert_eq!(taker.more().await.len(), 5);
    }

    #[tokio::test]
    async fn a_job_that_waits_for_room_is_sent_nowhere_once_its_webhook_is_another() {
        let room = Room::new();
        let taker = taker(&room);
        let Delivery { jobs, endpoint, .. } = &*taker.delivery;
        jobs.enqueue_raw("mail", NewJob::new("a", "1")).await.unwrap();
        let Placed { job, delivering, .. } = taker.first().await.pop().unwrap();
        let others: Vec<Place> = std::iter::from_fn(|| room.delivering_now()).collect();
        let (ending, ended) = watch::channel(false);
        let (_cutting, cut) = watch::channel(false);
        let run = taker.delivery.run(&taker.puller, job, delivering, ended, cut);
        let mut run = std::pin::pin!(run);
        assert!(run.as_mut().now_or_never().is_none());
        // A place comes free no sooner than that.
        ending.send_replace(true);
        drop(others);
        run.await;
        let look = jobs.queue("mail").look().await.unwrap().unwrap();
        assert_eq!((look.waiting, look.running), (1, 0));
        assert_eq!(endpoint.last(), None, "nothing was posted");
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_is_cut_off_only_where_the_hub_itself_is_to_stop() {
        for is_stopping in [false, true] {
            let (_stop, stopping) = watch::channel(is_stopping);
            let (cutting, cut) = watch::channel(false);
            let mut runs = JoinSet::new();
            runs.spawn(async move {
                tokio::select! {
                    () = sleep(QueueWebhook::TIMEOUT_MAX) => {}
                    () = stopped(cut) => {}
                }
            });
            let began = tokio::time::Instant::now();
            drain(runs, &cutting, stopping).await;
            let expected = if is_stopping { DRAIN } else { QueueWebhook::TIMEOUT_MAX };
            assert_eq!(began.elapsed().as_secs(), expected.as_secs());
            assert_eq!(*cutting.borrow(), is_stopping);
        }
    }
}
