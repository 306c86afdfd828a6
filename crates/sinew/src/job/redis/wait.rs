//! What waits for jobs, and for their ends: each on a connection of its own, since it blocks it.

use redis::Value;

use super::reply::{Parts, told, unexpected};
use crate::job::backend::Ending;
use crate::job::model::BLOCK;
use crate::kernel::error::{ErrorKind, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::redis::{At, Dedicated, Heard, Link, Subscription, pause_after};

/// Waits for tokens of partitions of one slot, or on a Redis that is no cluster.
pub(in crate::job) struct RedisWaker {
    link: Link,
    keys: Vec<QueueKeys>,
    // Gone while a command is under way: if that is dropped, its reply is no other's.
    connection: Option<Dedicated>,
    failures: u32,
}

impl RedisWaker {
    pub(super) fn new(link: &Link, keys: &[QueueKeys]) -> Self {
        Self { link: link.clone(), keys: keys.to_vec(), connection: None, failures: 0 }
    }

    /// *Cancellation*: a token may be lost.
    pub(in crate::job) async fn next(&mut self) -> Result<Option<usize>> {
        let connection = self.connect().await?;
        let mut pop = redis::cmd("BLPOP");
        for keys in &self.keys {
            pop.arg(keys.wake());
        }
        pop.arg(BLOCK.as_secs());
        match connection.call::<Value>(&pop, BLOCK).await {
            Ok((connection, told)) => {
                (self.connection, self.failures) = (Some(connection), 0);
                self.place_of(told)
            }
            // It did not keep to its time limit: who waits looks for jobs all the same.
            Err(error) if matches!(error.kind(), ErrorKind::Timeout { .. }) => {
                self.failures = 0;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn connect(&mut self) -> Result<Dedicated> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        pause_after(self.failures).await;
        // Until it has answered, and if this is dropped.
        self.failures = self.failures.saturating_add(1);
        self.link.dedicate(self.keys.first().map_or("", QueueKeys::wake)).await
    }

    /// Of which partition a token was.
    fn place_of(&self, told: Value) -> Result<Option<usize>> {
        let mut parts = Parts::of(told)?;
        if parts.is_over() {
            return Ok(None);
        }
        let key = parts.text()?;
        let place = self.keys.iter().position(|keys| keys.wake() == key);
        place.map(Some).ok_or_else(unexpected)
    }
}

/// Hears of the ends of a partition's jobs.
pub(in crate::job) struct RedisEndings(Subscription);

impl RedisEndings {
    pub(super) fn new(link: &Link, keys: &QueueKeys) -> Self {
        Self(link.subscribe(keys.ended(), At::ItsNode))
    }

    /// Cancel-safe.
    pub(in crate::job) async fn next(&mut self) -> Option<Ending> {
        loop {
            match self.0.next().await? {
                Heard::Subscribed => return Some(Ending::Listening),
                Heard::Message(message) => {
                    // What is no such message is no one's business.
                    if let Some((id, told)) = told(&message) {
                        return Some(Ending::Of(id, told));
                    }
                }
            }
        }
    }
}
