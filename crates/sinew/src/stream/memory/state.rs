//! What one embedded store has of streams, and what is done with a partition as a whole.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::group::Group;
use super::log::{Log, weight};
use super::marks::Marks;
use crate::kernel::key::PartitionKeys;
use crate::stream::event::WAS;
use crate::stream::model::{
    Declared, EntryId, FORGET_AFTER, Fields, KEEP_DEFAULT, LATER_MAX, Outgoing, Promoted, Redriven,
    TOPIC_LEN_DEFAULT, TOPICS_MAX, TRIM_MAX, Trim, Trimming, Written, Wrote, millis,
};

/// For how long what is known of a consumer that has gone is kept.
const MARK_KEEP_MS: u64 = 86_400_000;

/// What one embedded store has of streams.
#[derive(Default)]
pub(super) struct State {
    pub(super) logs: HashMap<String, Log>,
    pub(super) rooms: HashMap<String, Room>,
    /// In which room a group is, by the key of its members.
    pub(super) homes: HashMap<String, String>,
    pub(super) inbox: Marks<()>,
    dups: Marks<Wrote>,
    topics: HashMap<String, BTreeSet<String>>,
}

/// What there is of a partition beside its events.
#[derive(Default)]
pub(super) struct Room {
    pub(super) declared: Option<Declared>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) lost: u64,
    /// After how long a group is forgotten, as whoever read for one said last.
    pub(super) forget_ms: Option<u64>,
    /// When a group was made last.
    pub(super) born_us: u64,
    /// Delayed events, by when they are due and their number.
    later: BTreeMap<(u64, u64), Fields>,
    later_number: u64,
    later_bytes: usize,
}

impl Room {
    pub(super) fn next_later(&self) -> Option<u64> {
        self.later.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    pub(super) fn later_len(&self) -> u64 {
        len(self.later.len())
    }

    /// Whether no one has read for a group for so long that it keeps nothing.
    pub(super) fn is_forgotten(&self, group: &Group, now_ms: u64) -> bool {
        let forget_ms = self.forget_ms.unwrap_or(millis(FORGET_AFTER));
        group.seen_ms < now_ms.saturating_sub(forget_ms)
    }

    /// Whether so many more have room, after what is finished went if it was needed.
    fn make_room(&self, log: &mut Log, more: u64, is_short: bool, now_ms: u64) -> bool {
        let len_max = self.declared.map_or(u64::MAX, |declared| declared.len_max);
        let has_len = |log: &Log| len(log.len()) + self.later_len() + more <= len_max;
        if (is_short || !has_len(log))
            && let Some((floor, _)) = self.floor(log, now_ms)
        {
            log.trim(floor, TRIM_MAX);
        }
        has_len(log)
    }

    /// All before this may be trimmed, and the group that keeps most, where not all are forgotten.
    pub(super) fn floor(&self, log: &Log, now_ms: u64) -> Option<(EntryId, Option<&str>)> {
        let keeps = self.groups.iter().filter(|(_, group)| !self.is_forgotten(group, now_ms));
        let floor = keeps.map(|(name, group)| (group.floor(), Some(name.as_str()))).min();
        let newest = log.newest().filter(|_| !self.groups.is_empty());
        floor.or_else(|| newest.map(|newest| (newest, None)))
    }
}

/// A length as a number.
pub(super) fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl State {
    /// What everything weighs together.
    fn bytes(&self) -> usize {
        let logs = self.logs.values().map(Log::bytes).sum::<usize>();
        let later = self.rooms.values().map(|room| room.later_bytes).sum::<usize>();
        logs + later + self.inbox.bytes() + self.dups.bytes()
    }

    /// Whether there is room for so much more.
    pub(super) fn has_room(&mut self, more: usize, bytes_max: usize, now_ms: u64) -> bool {
        self.inbox.sweep(now_ms);
        self.dups.sweep(now_ms);
        self.bytes() + more <= bytes_max
    }

    pub(super) fn declare(
        &mut self,
        keys: &PartitionKeys,
        partitions: Option<u16>,
        len_max: Option<u64>,
        keep_ms: Option<u64>,
    ) -> Declared {
        let room = self.rooms.entry(keys.meta().to_owned()).or_default();
        let declared = room.declared.get_or_insert(Declared {
            partitions: partitions.unwrap_or(1),
            len_max: TOPIC_LEN_DEFAULT,
            keep_ms: millis(KEEP_DEFAULT),
        });
        if partitions.is_none_or(|partitions| partitions == declared.partitions) {
            declared.len_max = len_max.unwrap_or(declared.len_max);
            declared.keep_ms = keep_ms.unwrap_or(declared.keep_ms);
        }
        *declared
    }

    pub(super) fn publish(
        &mut self,
        keys: &PartitionKeys,
        partitions: u16,
        events: Vec<Outgoing>,
        bytes_max: usize,
        now_ms: u64,
    ) -> Written {
        let more = events.iter().map(|event| weight(&event.fields)).sum::<usize>();
        let has_room = self.has_room(more, bytes_max, now_ms);
        let Self { logs, rooms, dups, .. } = self;
        let Some(room) = rooms.get_mut(keys.meta()) else { return Written::NotDeclared };
        let Some(declared) = room.declared else { return Written::NotDeclared };
        if declared.partitions != partitions {
            return Written::OtherPartitions(declared.partitions);
        }
        let log = logs.entry(keys.log().to_owned()).or_default();
        let (fresh, delayed) = count_fresh(&events, dups, now_ms);
        if fresh > 0 {
            let was = log.bytes();
            let has_len = room.make_room(log, fresh, !has_room, now_ms);
            if !has_len || !(has_room || was - log.bytes() >= more) {
                let len = len(log.len()) + room.later_len();
                let held_by = room.floor(log, now_ms);
                let held_by = held_by.and_then(|(_, name)| name).map(ToOwned::to_owned);
                return Written::Full { len, len_max: declared.len_max, held_by };
            }
        }
        if delayed > 0 && room.later_len() + delayed > LATER_MAX {
            return Written::TooManyLater;
        }
        let write = |event: Outgoing| {
            let known = event.dedup.as_ref().and_then(|dedup| dups.get(&dedup.key, now_ms));
            match known {
                Some(Wrote::Entry(id)) => return Wrote::Duplicate(Some(*id)),
                Some(_) => return Wrote::Duplicate(None),
                None => {}
            }
            let wrote = match event.delay_ms {
                0 => Wrote::Entry(log.add(now_ms, event.fields)),
                delay_ms => {
                    let due_ms = now_ms.saturating_add(delay_ms);
                    room.later_number += 1;
                    room.later_bytes += weight(&event.fields);
                    room.later.insert((due_ms, room.later_number), event.fields);
                    Wrote::Later { due_ms }
                }
            };
            if let Some(dedup) = event.dedup {
                dups.set(&dedup.key, wrote, now_ms.saturating_add(dedup.window_ms));
            }
            wrote
        };
        Written::Done(events.into_iter().map(write).collect())
    }

    /// Writes delayed events that are due.
    pub(super) fn promote(&mut self, keys: &PartitionKeys, max: usize, now_ms: u64) -> Promoted {
        let Some(room) = self.rooms.get_mut(keys.meta()) else {
            return Promoted { promoted: 0, next_later_ms: None };
        };
        let mut promoted = 0;
        while promoted < max
            && let Some(first) = room.later.first_entry()
            && first.key().0 <= now_ms
        {
            let fields = first.remove();
            room.later_bytes -= weight(&fields);
            self.logs.entry(keys.log().to_owned()).or_default().add(now_ms, fields);
            promoted += 1;
        }
        Promoted { promoted: len(promoted), next_later_ms: room.next_later() }
    }

    pub(super) fn trim(
        &mut self,
        keys: &PartitionKeys,
        trimming: Trimming,
        dead_keep_ms: u64,
        now_ms: u64,
    ) -> Trim {
        if let Some(dead) = self.logs.get_mut(keys.dead()) {
            dead.trim(EntryId { ms: now_ms.saturating_sub(dead_keep_ms), seq: 0 }, TRIM_MAX);
        }
        let Some(room) = self.rooms.get_mut(keys.meta()) else { return Trim::default() };
        let Some(log) = self.logs.get_mut(keys.log()) else { return Trim::default() };
        for group in room.groups.values_mut() {
            group.forget_members(now_ms.saturating_sub(MARK_KEEP_MS));
        }
        room.forget_ms = trimming.forget_ms.or(room.forget_ms);
        let forgotten = room
            .groups
            .iter()
            .filter(|(_, group)| room.is_forgotten(group, now_ms))
            .map(|(name, _)| name.clone())
            .collect();
        let Some((floor, held_by)) = room.floor(log, now_ms) else {
            return Trim { forgotten, ..Trim::default() };
        };
        let declared = room.declared.map_or(0, |declared| declared.keep_ms);
        let keep_ms = trimming.keep_ms.unwrap_or(declared);
        let aged = EntryId { ms: now_ms.saturating_sub(keep_ms), seq: 0 };
        let to = if keep_ms > 0 { floor.min(aged) } else { floor };
        let held_by = held_by.map(ToOwned::to_owned);
        let removed = len(log.trim(to, TRIM_MAX));
        Trim { removed, floor: Some(floor), held_by, forgotten }
    }

    /// Publishes dead letters of a group again, for it alone.
    pub(super) fn redrive(
        &mut self,
        keys: &PartitionKeys,
        group: &str,
        ids: &[EntryId],
        now_ms: u64,
    ) -> Redriven {
        let is_its = |dead: &Log, id: EntryId| dead.get(id).is_some_and(|one| is_of(one, group));
        let Some(dead) = self.logs.get(keys.dead()) else { return Redriven::Done(0) };
        let mut named = HashSet::new();
        let ids = ids.iter().copied().filter(|id| is_its(dead, *id) && named.insert(*id));
        let ids: Vec<EntryId> = ids.collect();
        let log = self.logs.entry(keys.log().to_owned()).or_default();
        if let Some(room) = self.rooms.get(keys.meta())
            && !ids.is_empty()
            && !room.make_room(log, len(ids.len()), false, now_ms)
        {
            return Redriven::Full;
        }
        let mut redriven = 0;
        for id in ids {
            let Some(dead) = self.logs.get_mut(keys.dead()) else { continue };
            let Some(letter) = dead.get(id).filter(|letter| is_of(letter, group)) else {
                continue;
            };
            let for_it = (Bytes::from_static(b"for"), Bytes::copy_from_slice(group.as_bytes()));
            let field = |of: &str| letter.iter().find(|(name, _)| name == of);
            let was = field(WAS).or_else(|| field("dl-id")).map(|(_, was)| was.clone());
            let was = was.unwrap_or_else(|| id.to_string().into());
            let was = (Bytes::from_static(WAS.as_bytes()), was);
            let own = |(name, _): &&(Bytes, Bytes)| {
                name != "for" && name != WAS && !name.starts_with(b"dl-")
            };
            let fields = [for_it, was].into_iter().chain(letter.iter().filter(own).cloned());
            let fields = fields.collect();
            dead.remove(id);
            self.logs.entry(keys.log().to_owned()).or_default().add(now_ms, fields);
            redriven += 1;
        }
        Redriven::Done(redriven)
    }

    pub(super) fn drop_dead(&mut self, keys: &PartitionKeys, group: &str, ids: &[EntryId]) -> u64 {
        let Some(dead) = self.logs.get_mut(keys.dead()) else { return 0 };
        let mut dropped = 0;
        for id in ids {
            let is_its = dead.get(*id).is_some_and(|letter| is_of(letter, group));
            dropped += u64::from(is_its && dead.remove(*id));
        }
        dropped
    }

    pub(super) fn topics(&self, key: &str) -> Vec<String> {
        self.topics.get(key).into_iter().flatten().cloned().collect()
    }

    pub(super) fn note_topic(&mut self, key: &str, topic: &str) -> bool {
        let topics = self.topics.entry(key.to_owned()).or_default();
        if !topics.contains(topic) {
            if topics.len() >= TOPICS_MAX {
                return false;
            }
            topics.insert(topic.to_owned());
        }
        true
    }
}

/// How many events are no duplicates, of what is there or of each other, and how many of these are delayed.
fn count_fresh(events: &[Outgoing], dups: &Marks<Wrote>, now_ms: u64) -> (u64, u64) {
    let (mut named, mut fresh, mut delayed) = (HashSet::new(), 0, 0);
    for event in events {
        let is_fresh = event.dedup.as_ref().is_none_or(|dedup| {
            dups.get(&dedup.key, now_ms).is_none() && named.insert(dedup.key.as_str())
        });
        fresh += u64::from(is_fresh);
        delayed += u64::from(is_fresh && event.delay_ms > 0);
    }
    (fresh, delayed)
}

/// Whether a dead letter is of a group.
pub(super) fn is_of(letter: &[(Bytes, Bytes)], group: &str) -> bool {
    letter.iter().any(|(name, value)| &**name == b"dl-group" && &**value == group.as_bytes())
}
