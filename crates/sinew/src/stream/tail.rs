//! Reading along with a topic, as no group: nothing is kept for whoever does, and nothing waits for it.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, select_all};

use super::Streams;
use super::again::pause;
use super::backend::{Backend as _, TailReader};
use super::engine::Engine;
use super::look::{StoredEvent, stored};
use super::model::{Entry, EntryId, PARTITIONS_MAX, Span};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::PartitionKeys;
use crate::kernel::name::TopicName;

/// Where a tail is: the last entry that it had of each partition. As text these, joined by `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<EntryId>);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("_")?;
            }
            write!(f, "{id}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // Before anything is kept of a text of any length.
        let ids: Vec<_> = text.split('_').take(usize::from(PARTITIONS_MAX) + 1).collect();
        let ids: Option<Vec<EntryId>> = match ids.len() <= usize::from(PARTITIONS_MAX) {
            true => ids.iter().map(|id| id.parse().ok()).collect(),
            false => None,
        };
        ids.map(Self).ok_or_else(|| {
            Error::rejected(
                "not a cursor: expected an entry of each partition, like 1795316265410-0_0-0",
            )
        })
    }
}

/// A tail being put together. It begins with what comes from now on, unless said.
#[derive(Clone, Debug)]
#[must_use = "a tail is begun by open()"]
pub struct TailBuilder {
    streams: Streams,
    topic: String,
    begins: Begins,
    partition: Option<u16>,
}

#[derive(Clone, Debug)]
enum Begins {
    Now,
    First,
    After(Cursor),
}

impl TailBuilder {
    pub(super) fn new(streams: Streams, topic: &str) -> Self {
        Self { streams, topic: topic.to_owned(), begins: Begins::Now, partition: None }
    }

    /// Goes on after where another one was.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.begins = Begins::After(cursor);
        self
    }

    /// Begins with the oldest event that is there.
    pub fn from_start(mut self) -> Self {
        self.begins = Begins::First;
        self
    }

    /// Reads one partition alone.
    pub fn partition(mut self, partition: u16) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Begins. From here on, whatever is published is read.
    ///
    /// *Cancellation*: nothing was begun.
    ///
    /// # Errors
    /// `Rejected` for a bad name, a partition that is not there, or the cursor of a topic with another number of
    /// partitions; `Unavailable` or `Timeout` when Redis is down.
    pub async fn open(self) -> Result<Tail> {
        let Self { streams, topic, begins, partition } = self;
        let topic = TopicName::new(&topic)?;
        let partitions = streams.partitions_or(&topic, 1).await?;
        if let Some(partition) = partition.filter(|partition| *partition >= partitions) {
            return Err(Error::rejected(format!(
                "partition {partition} of topic {} is not there: expected one below {partitions}",
                topic.as_str()
            )));
        }
        let all = streams.partitions(&topic, partitions);
        let after = match begins {
            Begins::First => vec![EntryId::ZERO; all.len()],
            Begins::After(Cursor(after)) if after.len() == all.len() => after,
            Begins::After(Cursor(after)) => {
                return Err(Error::rejected(format!(
                    "a cursor of {} partitions: expected one of {partitions}, as topic {} has",
                    after.len(),
                    topic.as_str()
                )));
            }
            Begins::Now => newest(&streams.engine, &topic, &all).await?,
        };
        let is_wanted = |keys: &PartitionKeys| partition.is_none_or(|it| it == keys.partition());
        let wanted: Vec<PartitionKeys> = all.into_iter().filter(is_wanted).collect();
        let engine = Arc::clone(&streams.engine);
        let lines = engine.backend.together(&wanted).into_iter().map(|keys| {
            // What was delayed by someone who is gone comes for whoever reads along, too.
            keys.iter().for_each(|keys| engine.timers.set(&engine, keys, Duration::ZERO));
            Line { reader: engine.backend.tail_reader(&keys), keys }
        });
        let lines = lines.collect();
        Ok(Tail { engine, topic, lines, asking: Vec::new(), after, found: VecDeque::new() })
    }
}

/// The newest entry of each partition.
async fn newest(
    engine: &Arc<Engine>,
    topic: &TopicName,
    all: &[PartitionKeys],
) -> Result<Vec<EntryId>> {
    let mut newest = Vec::with_capacity(all.len());
    for keys in all {
        let last = match topic.is_dead() {
            // No one counts what is dead.
            true => engine.backend.range(keys, Span::Last, 1).await?.pop().map(|entry| entry.id),
            false => engine.backend.look(keys).await?.and_then(|look| look.last),
        };
        newest.push(last.unwrap_or_default());
    }
    Ok(newest)
}

/// Who was asked, and what came of it.
type Asked = (Line, Result<Vec<(u16, Entry)>>);

/// Events as they come, of all partitions: those of one in their order.
pub struct Tail {
    engine: Arc<Engine>,
    topic: TopicName,
    /// Those that wait to be asked.
    lines: Vec<Line>,
    /// Those that are asked: kept over calls, so that one that is dropped forgets nothing.
    asking: Vec<BoxFuture<'static, Asked>>,
    after: Vec<EntryId>,
    found: VecDeque<(u16, Entry)>,
}

/// Partitions that are read together.
struct Line {
    reader: TailReader,
    keys: Vec<PartitionKeys>,
}

impl Tail {
    /// The next event. An error ends nothing: the next call tries again. What cannot be read as an event is passed over.
    ///
    /// *Cancellation*: nothing is missed.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn next(&mut self) -> Option<Result<StoredEvent>> {
        loop {
            while let Some((partition, entry)) = self.found.pop_front() {
                if let Some(after) = self.after.get_mut(usize::from(partition)) {
                    *after = entry.id;
                }
                if let Some(event) = stored(&self.topic, partition, entry) {
                    return Some(Ok(event));
                }
            }
            let known = &self.after;
            for mut line in self.lines.drain(..) {
                let of = |keys: &PartitionKeys| {
                    // Once more in the end: others may delay some meanwhile, and go.
                    self.engine.timers.set(&self.engine, keys, Duration::MAX);
                    known.get(usize::from(keys.partition())).copied().unwrap_or_default()
                };
                let after: Vec<EntryId> = line.keys.iter().map(of).collect();
                let ask = async move {
                    let found = line.reader.next(&after).await;
                    (line, found)
                };
                self.asking.push(ask.boxed());
            }
            if self.asking.is_empty() {
                return None;
            }
            // Dropped while it waits, this drops none of those that are asked.
            let ((line, found), at, _) = select_all(self.asking.iter_mut()).await;
            drop(self.asking.swap_remove(at));
            self.lines.push(line);
            match found {
                Ok(found) => self.found.extend(found),
                Err(error) => {
                    pause().await;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Where it is: after the last event that it gave.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor(self.after.clone())
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("topic", &self.topic.as_str()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_is_written() {
        for text in ["0-0", "1795316265410-0_0-0_7-18446744073709551615"] {
            assert_eq!(text.parse::<Cursor>().unwrap().to_string(), text);
        }
        let long = ["0-0"; 65].join("_");
        for bad in ["", "_", "0-0_", "1", "x-0", long.as_str()] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
        }
        assert!(["0-0"; 64].join("_").parse::<Cursor>().is_ok());
    }
}
