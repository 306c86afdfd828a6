//! What goes on beside the routes: the relay, and the consumers and the jobs of all modules.

use std::time::Duration;

use sinew::stream::Subscription;
use sinew::{Jobs, Result, Sinew, Streams};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{PARTITIONS, TOPICS, inbox, outbox};
use crate::database::Database;
use crate::remote::Remote;
use crate::{billing, jobs, user};

/// How long after an outage the topics are there at the latest, and when months are billed.
const DECLARE_EVERY: Duration = Duration::from_secs(1);
/// How soon after Redis has come back empty months are billed again.
const SCHEDULE_EVERY: Duration = Duration::from_secs(5);

/// The relay of the outbox, the consumers and [the jobs](crate::jobs) of all modules, in tasks of their own. Any number of instances run them
/// on one Redis and one database, and share the work.
///
/// Dropped, they end at once, handlers as well. Nothing is lost by that, but others have to wait for the leases of what
/// was in hand.
#[must_use = "dropped, they end at once"]
pub struct Workers {
    /// They stop when it is dropped, too.
    stop: watch::Sender<bool>,
    work: JoinHandle<()>,
}

impl Workers {
    /// Starts them.
    ///
    /// *When Redis is down*: they wait for it, and events wait in the database.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(sinew: &Sinew, database: &Database, remote: &Remote) -> Self {
        let (stop, stopped) = watch::channel(false);
        let work = tokio::spawn(work(sinew.clone(), database.clone(), remote.clone(), stopped));
        Self { stop, work }
    }

    /// Stops them: handlers come to their end first, within seconds, and what is left is given back. Committed events that
    /// are not published yet stay in the database, for the next relay.
    ///
    /// *Cancellation*: dropped, they end at once.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.work).await;
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn work(sinew: Sinew, database: Database, remote: Remote, stopped: watch::Receiver<bool>) {
    let streams = sinew.streams();
    tokio::select! {
        () = declare(&streams) => {}
        () = until(stopped.clone()) => return,
    }
    let jobs = sinew.jobs();
    tokio::select! {
        () = until_done("the bills of a month", || billing::schedule(&jobs)) => {}
        () = until(stopped.clone()) => return,
    }
    let worker = match jobs::start(&sinew, &database, &remote) {
        Ok(worker) => Some(worker),
        Err(error) => {
            tracing::error!(%error, "nobody here does the modules' jobs: their worker cannot be");
            None
        }
    };
    let consumers = match consumers(&streams, &database) {
        Ok(consumers) => consumers,
        Err(error) => {
            tracing::error!(%error, "the modules hear of nothing: their subscriptions cannot be");
            Vec::new()
        }
    };
    tokio::select! {
        () = relay(sinew, &database, stopped) => {}
        () = keep_scheduled(&jobs) => {}
    }
    let mut ending = JoinSet::new();
    for consumer in consumers {
        ending.spawn(async move {
            // What had ended it before is in the log.
            let _ = consumer.stop().await;
        });
    }
    if let Some(worker) = worker {
        ending.spawn(async move {
            let _ = worker.stop().await;
        });
    }
    while ending.join_next().await.is_some() {}
}

/// Relays, and keeps the inbox short, until it is to stop.
async fn relay(sinew: Sinew, database: &Database, stopped: watch::Receiver<bool>) {
    let relaying = outbox::relay(database).run(move |_| Ok(sinew.clone()), until(stopped.clone()));
    tokio::select! {
        relayed = relaying => {
            if let Err(error) = relayed {
                tracing::error!(%error, "the relay has ended: events and jobs stay in the database");
            }
        }
        () = inbox::keep_short(database) => {}
    }
    until(stopped).await;
}

/// Schedules what recurs wherever it is not, for as long as it is polled: a store that came back empty has it no more.
async fn keep_scheduled(jobs: &Jobs) {
    let mut was_told = false;
    loop {
        tokio::time::sleep(SCHEDULE_EVERY).await;
        match billing::schedule(jobs).await {
            Ok(()) => was_told = false,
            // A store that is away comes back, and says so itself.
            Err(error) if error.is_retryable() => {}
            Err(error) => {
                if !std::mem::replace(&mut was_told, true) {
                    tracing::error!(%error, "the bills of a month may not be scheduled");
                }
            }
        }
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // Where no one can say so any more, it is over, too.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}

fn consumers(streams: &Streams, database: &Database) -> Result<Vec<Subscription>> {
    let mut consumers = billing::consumers(streams, database)?;
    consumers.extend(user::consumers(streams, database)?);
    Ok(consumers)
}

/// Before anyone publishes or subscribes: a topic that nobody has declared gets one partition.
async fn declare(streams: &Streams) {
    for topic in TOPICS {
        until_done(topic, || streams.topic(topic).partitions(PARTITIONS).declare()).await;
    }
}

/// Does it again while the store is away.
async fn until_done<T, F: Future<Output = Result<T>>>(what: &str, mut step: impl FnMut() -> F) {
    loop {
        match step().await {
            Ok(_) => return,
            Err(error) if error.is_retryable() => tokio::time::sleep(DECLARE_EVERY).await,
            Err(error) => {
                tracing::error!(what, %error, "something is not declared as it should be");
                return;
            }
        }
    }
}
