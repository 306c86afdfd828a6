//! What waits for entries: each on a connection of its own, since it blocks it.

use std::error::Error as _;

use redis::{Cmd, RedisError, Value};

use super::reply::of_logs;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::PartitionKeys;
use crate::kernel::name::GroupName;
use crate::kernel::redis::{Dedicated, Link, Rerun, pause_after};
use crate::stream::model::{BLOCK, Entry, EntryId, Next, Portion, Reply, millis};

/// How many entries of a partition a tail reads at once, at most.
const TAIL_MAX: usize = 100;

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
        pause_after(self.failures).await;
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

    /// Entries after those that are named, so many of each of some logs, and takes none. Nothing where they are late.
    async fn read(
        &mut self,
        after: &[EntryId],
        some: &[usize],
        count: usize,
    ) -> Result<Option<Vec<(u16, Entry)>>> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(count).arg("BLOCK").arg(millis(BLOCK)).arg("STREAMS");
        for at in some {
            read.arg(self.keys[*at].log());
        }
        for at in some {
            read.arg(after.get(*at).copied().unwrap_or_default().to_string());
        }
        match self.wait(&read).await? {
            Waited::Told(told) => self.of_partitions(told).map(Some),
            Waited::Late => Ok(None),
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
        let all: Vec<usize> = (0..self.0.keys.len()).collect();
        self.0.read(after, &all, 1).await.map(|_| ())
    }
}

/// Reads entries, and takes none.
pub(in crate::stream) struct RedisTail {
    waiting: Waiting,
    /// Of all logs together.
    portion: Portion,
    /// Which log is the first to be asked.
    turn: usize,
}

impl RedisTail {
    pub(super) fn new(link: &Link, keys: &[PartitionKeys]) -> Self {
        Self { waiting: Waiting::new(link, keys), portion: Portion::default(), turn: 0 }
    }

    pub(in crate::stream) async fn next(&mut self, after: &[EntryId]) -> Result<Vec<(u16, Entry)>> {
        let (some, count) = share_out(self.portion.most(), self.waiting.keys.len(), self.turn);
        let read = self.waiting.read(after, &some, count).await?;
        self.turn = self.turn.wrapping_add(some.len());
        match &read {
            Some(_) => self.portion.came(),
            // The same would be late again, and for ever.
            None => self.portion.late(),
        }
        Ok(read.unwrap_or_default())
    }
}

/// Which of so many logs are asked, and for how many entries each, that so many come together at most. Of all of them,
/// unless there are more: then each in its turn.
fn share_out(most: usize, logs: usize, turn: usize) -> (Vec<usize>, usize) {
    let some = (0..logs.min(most)).map(|at| turn.wrapping_add(at) % logs).collect();
    (some, (most / logs.max(1)).clamp(1, TAIL_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_for_which_much_is_late_asks_for_less_and_passes_no_log_over() {
        let mut portion = Portion::default();
        assert_eq!(share_out(portion.most(), 1, 0), (vec![0], TAIL_MAX));
        assert_eq!(share_out(portion.most(), 64, 7).1, 4);
        let lens = [64, 16, 4, 1, 1].map(|_| {
            portion.late();
            let (some, count) = share_out(portion.most(), 3, 0);
            some.len() * count
        });
        assert_eq!(lens, [63, 15, 3, 1, 1]);
        let (mut turn, mut asked) = (0, Vec::new());
        for _ in 0..3 {
            let (some, count) = share_out(2, 3, turn);
            turn += some.len();
            asked.extend(some);
            assert_eq!(count, 1);
        }
        assert_eq!(asked, [0, 1, 2, 0, 1, 2]);
    }
}
