//! Dead letters: events that were put aside, with why.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::Streams;
use super::backend::Backend as _;
use super::event::{Event, WAS, at_ms};
use super::model::{
    DEAD_LOOK_MAX, Entry, EntryId, Fields, Note, Place, REDRIVE_MAX, Redriven, Span,
};
use super::page::{PAGE_LEN_MAX, Shelf, len_of, page};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::PartitionKeys;
use crate::kernel::name::{GroupName, TopicName};

/// How many letters are looked at in one step.
const PAGE_LEN: usize = 500;

/// The dead letters of a group; see [`Streams::dead`].
#[derive(Clone, Debug)]
pub struct DeadLetters {
    streams: Streams,
    topic: String,
    group: String,
}

/// An event that was put aside.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Where it is now, among the dead letters.
    pub place: Place,
    /// What it is.
    pub event: Event<Bytes>,
    /// Where it was in its topic.
    pub original: Place,
    /// The group that could not handle it.
    pub group: String,
    /// Why.
    pub reason: String,
    /// How often its handler failed, or said that it cannot be handled.
    pub attempts: u32,
    /// How many deliveries ended with their process.
    pub crashes: u32,
    /// The last failures, with when they were.
    pub errors: Vec<(SystemTime, String)>,
    /// When it was run first.
    pub first_at: SystemTime,
    /// When it was put aside.
    pub dead_at: SystemTime,
}

/// Dead letters with one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadGroup {
    /// The reason, without what differs between events: numbers, and what is quoted.
    pub reason: String,
    /// How many there are.
    pub count: u64,
    /// When the first was put aside.
    pub first: SystemTime,
    /// When the last was.
    pub last: SystemTime,
    /// One of them.
    pub example: Place,
}

impl DeadLetters {
    pub(super) fn new(streams: Streams, topic: &str, group: &str) -> Self {
        Self { streams, topic: topic.to_owned(), group: group.to_owned() }
    }

    /// So many after a place, 1,000 at most, and about 8 MiB; the oldest first. Where there are more, they may be fewer
    /// than was asked for. There are no more where there are none.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn list(&self, after: Option<&Place>, count: usize) -> Result<Vec<DeadLetter>> {
        let (mut letters, mut after, count) = (Vec::new(), after.copied(), count.min(1_000));
        let (mut looked_at, mut len) = (0, 0);
        // Those of other groups may be many: it ends early only where there is something to tell.
        let is_enough = |found: usize, looked_at: usize, len: usize| {
            found >= count || found > 0 && (looked_at >= DEAD_LOOK_MAX || len >= PAGE_LEN_MAX)
        };
        while !is_enough(letters.len(), looked_at, len) {
            let page = self.page(after.as_ref()).await?;
            let Some((partition, last)) = page.last() else { break };
            after = Some(Place { partition: *partition, entry: last.id });
            looked_at += page.len();
            len += page.iter().map(|(_, entry)| len_of(entry)).sum::<usize>();
            letters.extend(self.of_group(page));
        }
        letters.truncate(count);
        Ok(letters)
    }

    /// The reasons of at most 10,000 letters, those first that most have.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn groups(&self) -> Result<Vec<DeadGroup>> {
        let mut groups: BTreeMap<String, DeadGroup> = BTreeMap::new();
        let (mut after, mut looked_at) = (None::<Place>, 0);
        while looked_at < DEAD_LOOK_MAX {
            let page = self.page(after.as_ref()).await?;
            let Some((partition, last)) = page.last() else { break };
            after = Some(Place { partition: *partition, entry: last.id });
            looked_at += page.len();
            for letter in self.of_group(page) {
                let reason = without_particulars(&letter.reason);
                let group = groups.entry(reason.clone()).or_insert_with(|| DeadGroup {
                    reason,
                    count: 0,
                    first: letter.dead_at,
                    last: letter.dead_at,
                    example: letter.place,
                });
                group.count += 1;
                group.first = group.first.min(letter.dead_at);
                group.last = group.last.max(letter.dead_at);
            }
        }
        let mut groups: Vec<DeadGroup> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        Ok(groups)
    }

    /// Publishes letters again, for this group alone, and says how many. What is no letter of the group is passed over.
    ///
    /// *Cancellation*: some may be published; what was is no longer here.
    ///
    /// # Errors
    /// `Unavailable` where the topic is full; `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    /// Then some may have been published.
    pub async fn redrive(&self, places: &[Place]) -> Result<u64> {
        let mut redriven = 0;
        for (keys, ids) in self.by_partition(places).await? {
            let group = keys.group(&GroupName::new(&self.group)?);
            for ids in ids.chunks(REDRIVE_MAX) {
                match self.streams.engine.backend.redrive(&keys, &group, ids).await? {
                    Redriven::Done(letters) => redriven += letters,
                    Redriven::Full => {
                        return Err(Error::new(
                            ErrorKind::Unavailable { maybe_applied: redriven > 0 },
                            format!(
                                "topic {} is full: {redriven} letters were published again",
                                self.topic
                            ),
                        ));
                    }
                }
            }
        }
        Ok(redriven)
    }

    /// Publishes all letters again that are there now, for this group alone, and says how many.
    ///
    /// *Cancellation*: as [`DeadLetters::redrive`].
    ///
    /// # Errors
    /// As [`DeadLetters::redrive`].
    pub async fn redrive_all(&self) -> Result<u64> {
        let (mut all, mut redriven) = (self.all_now().await?, 0);
        while let Some(places) = self.more(&mut all).await? {
            redriven += self.redrive(&places).await?;
        }
        Ok(redriven)
    }

    /// Removes letters for good, and says how many. What is no letter of the group is passed over.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down; then some may be gone.
    pub async fn remove(&self, places: &[Place]) -> Result<u64> {
        let mut removed = 0;
        for (keys, ids) in self.by_partition(places).await? {
            let group = keys.group(&GroupName::new(&self.group)?);
            for ids in ids.chunks(REDRIVE_MAX) {
                removed += self.streams.engine.backend.drop_dead(&keys, &group, ids).await?;
            }
        }
        Ok(removed)
    }

    /// Removes all letters for good that are there now, and says how many.
    ///
    /// *Cancellation*: some may be gone.
    ///
    /// # Errors
    /// As [`DeadLetters::remove`].
    pub async fn remove_all(&self) -> Result<u64> {
        let (mut all, mut removed) = (self.all_now().await?, 0);
        while let Some(places) = self.more(&mut all).await? {
            removed += self.remove(&places).await?;
        }
        Ok(removed)
    }

    async fn keys(&self) -> Result<Vec<PartitionKeys>> {
        GroupName::new(&self.group)?;
        let topic = TopicName::new(&self.topic)?;
        Ok(self.streams.all_there(&topic).await?.unwrap_or_default())
    }

    /// The next letters of all groups, with their partitions.
    async fn page(&self, after: Option<&Place>) -> Result<Vec<(u16, Entry)>> {
        let keys = self.keys().await?;
        page(&self.streams.engine.backend, &keys, Shelf::Dead, after, PAGE_LEN).await
    }

    async fn all_now(&self) -> Result<AllNow> {
        let keys = self.keys().await?;
        let backend = &self.streams.engine.backend;
        let lasts = keys.iter().map(|keys| backend.dead_range(keys, Span::Last, 1));
        let lasts = try_join_all(lasts).await?;
        let ends = lasts.iter().map(|last| last.first().map_or(EntryId::ZERO, |last| last.id));
        Ok(AllNow { ends: ends.collect(), after: None })
    }

    /// The next of them that are the group's: there may be some behind a page that has none.
    async fn more(&self, all: &mut AllNow) -> Result<Option<Vec<Place>>> {
        if all.after.is_some_and(|after| all.ends.iter().all(|end| after.entry > *end)) {
            return Ok(None);
        }
        let page = self.page(all.after.as_ref()).await?;
        let Some((partition, last)) = page.last() else { return Ok(None) };
        all.after = Some(Place { partition: *partition, entry: last.id });
        let is_old = |place: &Place| {
            all.ends.get(usize::from(place.partition)).is_some_and(|end| place.entry <= *end)
        };
        Ok(Some(self.of_group(page).map(|letter| letter.place).filter(is_old).collect()))
    }

    fn of_group(&self, page: Vec<(u16, Entry)>) -> impl Iterator<Item = DeadLetter> {
        let topic = TopicName::new(&self.topic).ok();
        page.into_iter().filter_map(move |(partition, entry)| {
            let place = Place { partition, entry: entry.id };
            letter(topic.as_ref()?, place, entry.fields).filter(|letter| letter.group == self.group)
        })
    }

    async fn by_partition(&self, places: &[Place]) -> Result<Vec<(PartitionKeys, Vec<EntryId>)>> {
        let of = |keys: PartitionKeys| {
            let own = places.iter().filter(|place| place.partition == keys.partition());
            let ids: Vec<EntryId> = own.map(|place| place.entry).collect();
            (keys, ids)
        };
        Ok(self.keys().await?.into_iter().map(of).filter(|(_, ids)| !ids.is_empty()).collect())
    }
}

/// The letters that are there at a moment: what dies meanwhile is left, or there would be no end.
struct AllNow {
    /// The last one of each partition. Not the time: after a clock went back, letters are later.
    ends: Vec<EntryId>,
    after: Option<Place>,
}

/// Nothing of what is no dead letter.
fn letter(topic: &TopicName, place: Place, mut fields: Fields) -> Option<DeadLetter> {
    // What could not be read for want of data is a letter all the same.
    if !fields.iter().any(|(name, _)| name == "data") {
        fields.push((Bytes::from_static(b"data"), Bytes::new()));
    }
    // And so is what is not text.
    for (name, value) in fields.iter_mut().filter(|(name, _)| name != "data") {
        for bytes in [name, value] {
            if std::str::from_utf8(bytes).is_err() {
                *bytes = String::from_utf8_lossy(bytes).into_owned().into();
            }
        }
    }
    let field = |of: &str| fields.iter().find(|(name, _)| name == of);
    if let (None, Some((_, was))) = (field(WAS), field("dl-id")) {
        let was = (Bytes::from_static(WAS.as_bytes()), was.clone());
        fields.push(was);
    }
    let event = Event::read(topic, place, fields).ok()?;
    let original = event.field("dl-id")?.parse().ok()?;
    let note = Note::read(event.field("dl-note").map(str::as_bytes));
    let errors = note.errors.into_iter().map(|(ms, error)| (at_ms(ms), error)).collect();
    let dead_at = at_ms(place.entry.ms);
    Some(DeadLetter {
        place,
        original: Place { partition: place.partition, entry: original },
        group: event.field("dl-group")?.to_owned(),
        reason: event.field("dl-reason").unwrap_or_default().to_owned(),
        attempts: note.failures,
        crashes: event.field("dl-crashes").and_then(|n| n.parse().ok()).unwrap_or_default(),
        errors,
        first_at: if note.first_ms == 0 { dead_at } else { at_ms(note.first_ms) },
        dead_at,
        event,
    })
}

/// A reason with `…` for what is quoted, and `#` for numbers but the status of HTTP that it may begin with.
fn without_particulars(reason: &str) -> String {
    let (status, rest) = reason.split_at(status_len(reason));
    let (mut plain, mut quote) = (status.to_owned(), None);
    for c in rest.chars() {
        match (quote, c) {
            (Some(end), c) if c == end => {
                plain.push('…');
                plain.push(c);
                quote = None;
            }
            (Some(_), _) => {}
            (None, '"' | '`') => {
                plain.push(c);
                quote = Some(c);
            }
            (None, '0'..='9') if plain.ends_with('#') => {}
            (None, '0'..='9') => plain.push('#'),
            (None, c) => plain.push(c),
        }
    }
    plain
}

fn status_len(reason: &str) -> usize {
    let first = reason.split(' ').next().unwrap_or_default();
    let is_status = first.len() == 3
        && first.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(first.as_bytes()[0], b'1'..=b'5');
    if is_status { first.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_particulars_are_one() {
        for (reason, expected) in [
            ("404 Not Found", "404 Not Found"),
            ("503", "503"),
            ("404 Not Found in 17 ms", "404 Not Found in # ms"),
            ("120 0", "120 #"),
            ("999 lives", "# lives"),
            ("4040 x", "# x"),
            ("no user 404", "no user #"),
        ] {
            assert_eq!(without_particulars(reason), expected);
        }
        let plain = without_particulars("no user \"ada\" in 1200 rows of `t1`");
        assert_eq!(plain, "no user \"…\" in # rows of `…`");
        assert_eq!(plain, without_particulars("no user \"bob\" in 7 rows of `t2`"));
        assert_eq!(without_particulars("it isn't there"), "it isn't there");
    }
}
