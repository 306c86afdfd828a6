//! What people are told of a partition.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::group::{Group, Mark};
use super::log::Log;
use super::state::{Room, State, is_of, len};
use super::steps::At;
use crate::kernel::key::PartitionKeys;
use crate::stream::model::{
    Consumer, Count, DEAD_LOOK_MAX, Entry, EntryId, Fields, GroupLook, GroupMode, ORDERED, PARKED,
    PartitionLook, Span,
};

impl State {
    pub(super) fn partitions(&self, keys: &PartitionKeys) -> Option<u16> {
        Some(self.rooms.get(keys.meta())?.declared?.partitions)
    }

    pub(super) fn look(&self, keys: &PartitionKeys, now_ms: u64) -> Option<PartitionLook> {
        let room = self.rooms.get(keys.meta())?;
        let log = self.logs.get(keys.log());
        let floor = log.and_then(|log| room.floor(log, now_ms));
        Some(PartitionLook {
            now_ms,
            declared: room.declared?,
            len: len(log.map_or(0, Log::len)),
            published: log.map_or(0, Log::added),
            delayed: room.later_len(),
            dead: len(self.logs.get(keys.dead()).map_or(0, Log::len)),
            lost: room.lost,
            last: log.map(Log::last).filter(|last| *last > EntryId::ZERO),
            held_by: floor.and_then(|(_, name)| name).map(ToOwned::to_owned),
            groups: self.look_at_groups(keys, now_ms),
        })
    }

    pub(super) fn look_at_groups(&self, keys: &PartitionKeys, now_ms: u64) -> Vec<GroupLook> {
        let (Some(room), Some(log)) = (self.rooms.get(keys.meta()), self.logs.get(keys.log()))
        else {
            return Vec::new();
        };
        let dead = self.logs.get(keys.dead());
        let groups = room.groups.iter();
        groups.map(|(name, group)| look_at(name, group, room, log, dead, now_ms)).collect()
    }

    pub(super) fn range(&self, log: &str, span: Span, count: usize) -> Vec<Entry> {
        let Some(log) = self.logs.get(log) else { return Vec::new() };
        let entry = |(id, fields): (EntryId, &Fields)| Entry {
            id,
            fields: fields.clone(),
            note: None,
            crashes: 0,
            due_ms: None,
        };
        match span {
            Span::All => log.after(EntryId::ZERO).map(entry).take(count).collect(),
            Span::After(after) => log.after(after).map(entry).take(count).collect(),
            Span::Last => {
                let last = log.newest().and_then(|id| Some((id, log.get(id)?)));
                last.map(entry).into_iter().collect()
            }
            Span::One(id) => log.get(id).map(|fields| entry((id, fields))).into_iter().collect(),
        }
    }
}

fn look_at(
    name: &str,
    group: &Group,
    room: &Room,
    log: &Log,
    dead: Option<&Log>,
    now_ms: u64,
) -> GroupLook {
    let parked = match group.mode {
        Some(GroupMode::ByKey) => group.due_len().min(group.pending.len()),
        _ => group.held_by(PARKED).count(),
    };
    let letters = dead.into_iter().flat_map(|dead| dead.after(EntryId::ZERO)).take(DEAD_LOOK_MAX);
    let dead = letters.filter(|(_, letter)| is_of(letter, name)).count();
    let alive = group.members.keys().filter(|name| group.is_alive(name, now_ms)).count();
    let consumers = match group.mode {
        Some(GroupMode::ByKey) => u32::from(group.owner.until_ms > now_ms),
        _ => u32::try_from(alive).unwrap_or(u32::MAX),
    };
    GroupLook {
        name: name.to_owned(),
        mode: group.mode.unwrap_or(GroupMode::Any),
        waiting: Count { n: len(log.after(group.read).count()), is_exact: true },
        held: len(group.pending.len() - parked),
        parked: len(parked),
        dead: len(dead),
        consumers,
        oldest_ms: group.oldest(log).map(|id| now_ms.saturating_sub(id.ms)),
        seen_ms: Some(group.seen_ms),
        is_forgotten: room.is_forgotten(group, now_ms),
        orphaned: len(group.pending.len().saturating_sub(parked + group.leased_len(now_ms))),
    }
}

impl At<'_> {
    pub(super) fn consumers(&self) -> Vec<Consumer> {
        let owner = &self.group.owner;
        if self.group.mode == Some(GroupMode::ByKey) {
            let of_owner = || Consumer {
                name: owner.name.to_string(),
                held: len(self.group.held_by(ORDERED).count()),
                lease_left_ms: Some(owner.until_ms.saturating_sub(self.now_ms)),
                oldest: self.group.held_by(ORDERED).next(),
                fence: Some(owner.fence),
            };
            return (owner.until_ms > self.now_ms).then(of_owner).into_iter().collect();
        }
        let consumer = |(name, mark): (&Arc<str>, &Mark)| {
            let left_ms = match mark {
                Mark::Until(ends_ms) => ends_ms.saturating_sub(self.now_ms),
                Mark::Fallen(_) => 0,
            };
            Consumer {
                name: name.to_string(),
                held: len(self.group.held_by(name).count()),
                lease_left_ms: Some(left_ms),
                oldest: self.group.held_by(name).next(),
                fence: None,
            }
        };
        // One whose lease is over is of interest for as long as it has something.
        let is_shown = |one: &Consumer| one.held > 0 || one.lease_left_ms > Some(0);
        let members = self.group.members.iter().map(consumer).filter(is_shown);
        members.chain(self.strangers()).collect()
    }

    /// Those who hold something and keep no lease.
    fn strangers(&self) -> impl Iterator<Item = Consumer> {
        let holders: BTreeSet<&Arc<str>> = self.group.pending.values().collect();
        let strangers = holders.into_iter().filter(|name| {
            !matches!(&***name, PARKED | ORDERED) && !self.group.members.contains_key(*name)
        });
        strangers.map(|name| Consumer {
            name: name.to_string(),
            held: len(self.group.held_by(name).count()),
            lease_left_ms: None,
            oldest: self.group.held_by(name).next(),
            fence: None,
        })
    }
}
