//! What goes on beside the routes: the relay, and the consumers of all modules.

use std::time::Duration;

use sinew::stream::Subscription;
use sinew::{Result, Sinew, Streams};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{PARTITIONS, TOPICS, inbox, outbox};
use crate::database::Database;
use crate::{billing, user};

/// How long after an outage the topics are there at the latest.
const DECLARE_EVERY: Duration = Duration::from_secs(1);

/// The relay of the outbox and the consumers of all modules, in tasks of their own. Any number of instances run them
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
    pub fn start(sinew: &Sinew, database: &Database) -> Self {
        let (stop, stopped) = watch::channel(false);
        let work = tokio::spawn(work(sinew.streams(), database.clone(), stopped));
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

async fn work(streams: Streams, database: Database, stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = declare(&streams) => {}
        () = until(stopped.clone()) => return,
    }
    let consumers = match consumers(&streams, &database) {
        Ok(consumers) => consumers,
        Err(error) => {
            tracing::error!(%error, "the modules hear of nothing: their subscriptions cannot be");
            Vec::new()
        }
    };
    let relaying =
        outbox::relay(&database).run(move |_| Ok(streams.clone()), until(stopped.clone()));
    tokio::select! {
        relayed = relaying => {
            if let Err(error) = relayed {
                tracing::error!(%error, "the relay has ended: events stay in the database");
            }
        }
        () = inbox::keep_short(&database) => {}
    }
    until(stopped).await;
    let mut ending = JoinSet::new();
    for consumer in consumers {
        ending.spawn(consumer.stop());
    }
    // What had ended one of them before is in the log.
    while ending.join_next().await.is_some() {}
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
        loop {
            match streams.topic(topic).partitions(PARTITIONS).declare().await {
                Ok(_) => break,
                Err(error) if error.is_retryable() => tokio::time::sleep(DECLARE_EVERY).await,
                Err(error) => {
                    tracing::error!(topic, %error, "a topic is not as it should be");
                    break;
                }
            }
        }
    }
}
