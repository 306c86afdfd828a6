//! What waits for entries: each on a connection of its own, since it blocks it.

use std::error::Error as _;
use std::time::Duration;

use redis::{Cmd, RedisError, Value};

use super::reply::of_logs;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::PartitionKeys;
use crate::kernel::name::GroupName;
use crate::kernel::redis::{Dedicated, Link, Rerun};
use crate::stream::model::{BLOCK, Entry, EntryId, Next, Reply, millis};

/// How many entries of a partition a tail reads at once.
const TAIL_MAX: usize = 100;
/// Pauses before a connection is opened again after some that failed.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);

/// Logs that are waited for together, on a connection that is opened when it is needed.
struct Waiting {
    link: Link,
    keys: Vec<PartitionKeys>,
    // Gone while a command is under way: if that is dropped, its reply is no other's.
    connection: Option<Dedicated>,
    failures: u32,
}

/// What came of a command that waits.
enum Waited {
    Told(Value),
    /// The server did not keep to its time limit, and may keep the command for longer.
    Late,
}

impl Waiting {
    fn new(link: &Link, keys: &[PartitionKeys]) -> Self {
        Self { link: link.clone(), keys: keys.to_vec(), connection: None, failures: 0 }
    }

    fn logs(&self) -> Vec<&str> {
        self.keys.iter().map(PartitionKeys::log).collect()
    }

    async fn connect(&mut self) -> Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        if self.failures > 0 {
            let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
            let most = PAUSE_FIRST.saturating_mul(doubled).min(PAUSE_LAST);
            tokio::time::sleep(most.mul_f64(fastrand::f64()).max(PAUSE_FIRST)).await;
        }
        // Until it is there, and if this is dropped.
        self.failures = self.failures.saturating_add(1);
        let key = self.keys.first().map_or("", PartitionKeys::log);
        self.connection = Some(self.link.dedicate(key).await?);
        Ok(())
    }

    async fn wait(&mut self, command: &Cmd) -> Result<Waited> {
        self.connect().await?;
        let Some(connection) = self.connection.take() else { return Ok(Waited::Late) };
        match connection.call::<Value>(command, BLOCK).await {
            Ok((connection, told)) => {
                (self.connection, self.failures) = (Some(connection), 0);
                Ok(Waited::Told(told))
            }
            // Some versions wait anew when another consumer takes the entry that has woken them.
            Err(error) if matches!(error.kind(), ErrorKind::Timeout { .. }) => {
                self.failures = 0;
                Ok(Waited::Late)
            }
            Err(error) => Err(error),
        }
    }

    /// Entries after those that are named, and takes none.
    async fn read(&mut self, after: &[EntryId], count: usize) -> Result<Vec<(u16, Entry)>> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(count).arg("BLOCK").arg(millis(BLOCK)).arg("STREAMS");
        read.arg(self.logs());
        for at in 0..self.keys.len() {
            read.arg(after.get(at).copied().unwrap_or_default().to_string());
        }
        match self.wait(&read).await? {
            Waited::Told(told) => self.of_partitions(told),
            Waited::Late => Ok(Vec::new()),
        }
    }

    fn of_partitions(&self, told: Value) -> Result<Vec<(u16, Entry)>> {
        let entries = of_logs(told, &self.logs())?;
        Ok(entries.into_iter().map(|(at, entry)| (self.keys[at].partition(), entry)).collect())
    }
}

/// Whether the server says that a group is not there, or is not any more.
fn is_gone(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<RedisError>());
    source.is_some_and(|error| {
        let says = |what: &str| error.detail().is_some_and(|detail| detail.contains(what));
        matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
            || error.code() == Some("ERR") && says("no such key")
    })
}

/// Gives a consumer the new entries that are there.
///
/// *Cancellation*: it may have been given some.
pub(super) async fn read_new(
    link: &Link,
    keys: &PartitionKeys,
    group: &GroupName,
    consumer: &str,
    max: usize,
) -> Result<Reply<Vec<Entry>>> {
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(group.as_str()).arg(consumer).arg("COUNT").arg(max.max(1));
    read.arg("STREAMS").arg(keys.log()).arg(">");
    match link.call(read, keys.log(), Rerun::Harmful).run::<Value>().await {
        Ok(told) => {
            let entries = of_logs(told, &[keys.log()])?;
            Ok(Reply::Ok(entries.into_iter().map(|(_, entry)| entry).collect()))
        }
        Err(error) if is_gone(&error) => Ok(Reply::NoGroup),
        Err(error) => Err(error),
    }
}

/// Waits for new entries as a consumer of a group, which is given them.
pub(in crate::stream) struct RedisReader {
    waiting: Waiting,
    group: GroupName,
    /// Whether the server may have given entries to a connection that is gone.
    is_owed: bool,
}

impl RedisReader {
    pub(super) fn new(link: &Link, keys: &[PartitionKeys], group: &GroupName) -> Self {
        Self { waiting: Waiting::new(link, keys), group: group.clone(), is_owed: false }
    }

    /// *Cancellation*: what it was given meanwhile is to be recovered; the next call says so.
    pub(in crate::stream) async fn next(&mut self, consumer: &str, max: usize) -> Result<Next> {
        self.waiting.connect().await?;
        if std::mem::take(&mut self.is_owed) {
            return Ok(Next::Reopened);
        }
        let mut read = redis::cmd("XREADGROUP");
        // None would be all.
        read.arg("GROUP").arg(self.group.as_str()).arg(consumer).arg("COUNT").arg(max.max(1));
        read.arg("BLOCK").arg(millis(BLOCK)).arg("STREAMS").arg(self.waiting.logs());
        for _ in &self.waiting.keys {
            read.arg(">");
        }
        self.is_owed = true;
        match self.waiting.wait(&read).await {
            Ok(Waited::Told(told)) => {
                let entries = self.waiting.of_partitions(told)?;
                self.is_owed = false;
                Ok(match entries.is_empty() {
                    true => Next::Nothing,
                    false => Next::Got(entries),
                })
            }
            Ok(Waited::Late) => Ok(Next::Nothing),
            Err(error) if is_gone(&error) => {
                (self.is_owed, self.waiting.failures) = (false, 0);
                Ok(Next::NoGroup)
            }
            Err(error) => Err(error),
        }
    }
}

/// Waits until there are entries, and takes none.
pub(in crate::stream) struct RedisWaker(Waiting);

impl RedisWaker {
    pub(super) fn new(link: &Link, keys: &[PartitionKeys]) -> Self {
        Self(Waiting::new(link, keys))
    }

    pub(in crate::stream) async fn until_new(&mut self, after: &[EntryId]) -> Result<()> {
        self.0.read(after, 1).await.map(|_| ())
    }
}

/// Reads entries, and takes none.
pub(in crate::stream) struct RedisTail(Waiting);

impl RedisTail {
    pub(super) fn new(link: &Link, keys: &[PartitionKeys]) -> Self {
        Self(Waiting::new(link, keys))
    }

    pub(in crate::stream) async fn next(&mut self, after: &[EntryId]) -> Result<Vec<(u16, Entry)>> {
        self.0.read(after, TAIL_MAX).await
    }
}
