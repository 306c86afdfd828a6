//! From the table into streams and queues.

use std::sync::Arc;
use std::time::Duration;

use sinew::{Result, Sinew};
use tokio::sync::Notify;

use crate::error::OutboxError;
use crate::publish::Publisher;
use crate::table::Outbox;

const POLL_DEFAULT: Duration = Duration::from_millis(50);
const BATCH_DEFAULT: usize = 100;
const BATCH_MAX: usize = 1_000;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Publishes the rows of an outbox, jobs as well, and deletes them once they are published.
///
/// A process that dies between the two leaves the row, and its event is published again: it has the same
/// dedup id, and is a duplicate for as long as the topic remembers it; after that it still has the same event
/// id, by which an [`Inbox`](crate::Inbox) knows it. A job has the same id, and is there once, for ten minutes after it was
/// done as well; but where another has its unique name, it is not enqueued, and its row is deleted.
///
/// As many relays as there are processes may run on one outbox. On PostgreSQL each takes a share of the
/// keys that no other has at the moment; on SQLite they publish the same rows, of which the topic, or the
/// queue, keeps one.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    outbox: Outbox,
    poll: Duration,
    batch: usize,
    wakes: Arc<Notify>,
}

#[derive(Debug)]
enum Store {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
}

/// What a relay has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Rows that were published and deleted.
    pub published: u64,
    /// Of these, jobs that were not enqueued, since others had their unique names.
    pub duplicates: u64,
}

/// Tells a relay of this process that something was written, so that it does not wait for its next look.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Notify>);

impl Waker {
    /// To be called after the commit.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// What is to be done after a look at the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Something went out, and there may be more.
    Again,
    Wait,
}

impl Relay {
    /// A relay for the outbox of a SQLite database. One connection of the pool is used now and then.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn sqlite(pool: sqlx::SqlitePool) -> Self {
        Self::new(Store::Sqlite(pool))
    }

    /// A relay for the outbox of a PostgreSQL database. One connection of the pool is in use while rows
    /// are published.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn postgres(pool: sqlx::PgPool) -> Self {
        Self::new(Store::Postgres(pool))
    }

    fn new(store: Store) -> Self {
        let wakes = Arc::new(Notify::new());
        Self { store, outbox: Outbox::new(), poll: POLL_DEFAULT, batch: BATCH_DEFAULT, wakes }
    }

    /// Which outbox it is; the table `sinew_outbox` unless said.
    #[must_use]
    pub fn outbox(self, outbox: Outbox) -> Self {
        Self { outbox, ..self }
    }

    /// How often to look for rows that no [`Waker`] told of: every 50 ms unless said, at least every 10 s,
    /// and not more often than every millisecond.
    #[must_use]
    pub fn poll(self, poll: Duration) -> Self {
        Self { poll: poll.clamp(Duration::from_millis(1), Duration::from_secs(10)), ..self }
    }

    /// How many rows to publish at once: 100 unless said, 1 to 1,000.
    #[must_use]
    pub fn batch(self, rows: usize) -> Self {
        Self { batch: rows.clamp(1, BATCH_MAX), ..self }
    }

    /// What tells it of rows that were committed by this process.
    #[must_use]
    pub fn wake(&self) -> Waker {
        Waker(Arc::clone(&self.wakes))
    }

    /// Runs until `shutdown` is done. `sinew` gives the deployment as the tenant of a row sees it, for its streams and jobs; it
    /// is told nothing where the row has none.
    ///
    /// While Redis or the database is away, and where a topic or a queue is full, rows stay where they are and are tried
    /// again, other topics' meanwhile. A row that can never be published, because its event is too long
    /// or its tenant's name is none, is set aside with an error in the log: its `shard` becomes −1. To try it
    /// again, set it to 0.
    ///
    /// # Errors
    /// When the table is not there, is another one, or may not be used.
    ///
    /// # Cancellation
    /// Dropped at any point, no row is lost; one that was being published may be published again, as a
    /// duplicate.
    pub async fn run<S, F>(self, sinew: S, shutdown: F) -> Result<Relayed, OutboxError>
    where
        S: Fn(Option<&str>) -> Result<Sinew> + Send + Sync,
        F: Future<Output = ()> + Send,
    {
        let mut publisher = Publisher::new(sinew, self.outbox.name());
        let mut pause = PAUSE_MIN;
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let next = tokio::select! {
                biased;
                () = &mut shutdown => break,
                next = self.round(&mut publisher) => next,
            };
            let (rest, wait) = match next {
                Ok(next) => {
                    publisher.tell_age();
                    pause = PAUSE_MIN;
                    let rest = publisher.rest();
                    if next == Next::Again {
                        continue;
                    }
                    (rest, self.poll)
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    publisher.tell_age_unseen();
                    tracing::warn!("the outbox {} cannot be read: {error}", self.outbox.name());
                    pause = (pause * 2).min(PAUSE_MAX);
                    (Duration::ZERO, pause.mul_f64(0.5 + fastrand::f64() / 2.0))
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = self.until_next(rest, wait) => {}
            }
        }
        Ok(Relayed { published: publisher.published, duplicates: publisher.duplicates })
    }

    /// Until it is woken, once it has rested, or has waited for so long.
    async fn until_next(&self, rest: Duration, wait: Duration) {
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        tokio::select! {
            () = self.wakes.notified() => {}
            () = tokio::time::sleep(wait.saturating_sub(rest)) => {}
        }
    }

    async fn round<S>(&self, publisher: &mut Publisher<S>) -> Result<Next, OutboxError>
    where
        S: Fn(Option<&str>) -> Result<Sinew> + Send + Sync,
    {
        match &self.store {
            #[cfg(feature = "sqlite")]
            Store::Sqlite(pool) => {
                crate::sqlite::round(pool, self.outbox.name(), self.batch, publisher).await
            }
            #[cfg(feature = "postgres")]
            Store::Postgres(pool) => {
                crate::postgres::round(pool, self.outbox.name(), self.batch, publisher).await
            }
        }
    }
}
