//! The steps on one group, in the words of the scripts.

use std::sync::Arc;

use bytes::Bytes;

use super::group::{Group, Mark};
use super::log::Log;
use super::state::{Room, State, len};
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::stream::backend::Burying;
use crate::stream::model::{
    Bury, Claim, DEAD_LEN_MAX, Due, Entry, EntryId, Force, GroupChange, GroupMode, Joined, Joining,
    Left, Made, Noted, ORDERED, PARKED, PULL, Parking, Read, ReadFrom, Settlement, Start, Take,
    Taken, Tick, Ticked, Ticking, Who, Whom,
};

/// How many delayed events are written before parked ones are taken.
pub(super) const PROMOTE_MAX: usize = 100;
/// How many entries of strangers the owner of a partition takes at a time.
const STRANGERS_MAX: usize = 1_000;

/// A group of a partition, now.
pub(super) struct At<'a> {
    pub(super) now_ms: u64,
    pub(super) log: &'a Log,
    pub(super) group: &'a mut Group,
    pub(super) lost: &'a mut u64,
    pub(super) next_later_ms: Option<u64>,
}

impl<'a> At<'a> {
    /// Nothing where there is no such group.
    pub(super) fn of(
        state: &'a mut State,
        keys: &PartitionKeys,
        group: &GroupKeys,
        now_ms: u64,
    ) -> Option<Self> {
        let State { logs, rooms, .. } = state;
        let log = logs.get(keys.log())?;
        let room = rooms.get_mut(keys.meta())?;
        let next_later_ms = room.next_later();
        let Room { groups, lost, .. } = room;
        let group = groups.get_mut(group.name().as_str())?;
        Some(Self { now_ms, log, group, lost, next_later_ms })
    }

    pub(super) fn tick(&mut self, ticking: &Ticking<'_>) -> Tick {
        let Ticking { consumer, lease_ms, grace_ms, .. } = *ticking;
        if self.group.is_fallen(consumer) {
            return Tick::Fallen;
        }
        self.group.renew(consumer, self.now_ms.saturating_add(lease_ms));
        if ticking.whom == Whom::Everyone && self.group.mode != Some(GroupMode::ByKey) {
            self.part_with_ordered();
        }
        let mine = len(self.group.held_by(consumer).count());
        let fallen = self.group.fallen_one(consumer, self.now_ms, grace_ms);
        let fallen = fallen.map(ToString::to_string);
        Tick::Kept(Ticked { mine, fallen, ..self.stands() })
    }

    pub(super) fn hold(&mut self, fence: u64, lease_ms: u64) -> Tick {
        if !self.group.owner.has(fence) {
            return Tick::Fallen;
        }
        self.group.owner.until_ms = self.now_ms.saturating_add(lease_ms);
        Tick::Kept(self.stands())
    }

    /// What an owner was given is for everyone where there are no owners any more.
    fn part_with_ordered(&mut self) {
        let left = self.group.held_by(ORDERED).collect();
        for id in self.move_to(&PARKED.into(), left) {
            if self.group.due_of(id).is_none() {
                self.group.set_due(id, self.now_ms);
            }
        }
    }

    /// How it stands, seen by someone who lives.
    fn stands(&mut self) -> Ticked {
        self.group.seen_ms = self.now_ms;
        let oldest = self.group.oldest(self.log);
        Ticked {
            now_ms: self.now_ms,
            checkpoint: Some(self.group.checkpoint()),
            pending: len(self.group.pending.len()),
            next_due_ms: self.group.next_due(),
            next_later_ms: self.next_later_ms,
            oldest_ms: oldest.map(|id| self.now_ms.saturating_sub(id.ms)),
            sought: self.group.sought,
            born_us: self.group.born_us,
            ..Ticked::default()
        }
    }

    pub(super) fn rename(&mut self, old: &str, new: &str, lease_ms: u64) -> Vec<EntryId> {
        let new = self.group.renew(new, self.now_ms.saturating_add(lease_ms));
        let held = self.group.held_by(old).collect();
        self.move_to(&new, held);
        if !self.group.is_fallen(old) {
            self.group.members.insert(old.into(), Mark::Fallen(self.now_ms));
        }
        self.group.held_by(&new).collect()
    }

    pub(super) fn recover(&mut self, consumer: &str, known: &[EntryId], max: usize) -> Taken {
        let unknown = |id: &EntryId| !known.contains(id);
        let held: Vec<EntryId> = self.group.held_by(consumer).filter(unknown).take(max).collect();
        self.take_entries(&Arc::from(consumer), held)
    }

    pub(super) fn claim(&mut self, ticking: &Ticking<'_>, from: &str, max: usize) -> Claim {
        let Ticking { consumer, grace_ms, .. } = *ticking;
        let (now_ms, group) = (self.now_ms, &mut *self.group);
        let is_gone = !group.members.contains_key(from) && group.held_by(from).next().is_none();
        let is_robbed = is_gone || group.may_be_robbed(from, now_ms, grace_ms);
        let is_nobodys = from == consumer || from == PARKED || from == ORDERED;
        if !group.is_alive(consumer, now_ms) || is_nobodys || !is_robbed {
            return Claim::Refused;
        }
        // Before anything is taken: what it acks from now on is looked at one by one.
        if !is_gone && !group.is_fallen(from) {
            group.members.insert(from.into(), Mark::Fallen(now_ms));
        }
        let held: Vec<EntryId> = group.held_by(from).take(max).collect();
        let has_more = held.len() >= max;
        let taken = self.take_entries(&Arc::from(consumer), held);
        let crashed = taken.entries.into_iter().map(|mut entry| {
            entry.crashes += 1;
            self.group.crashes.insert(entry.id, entry.crashes);
            entry
        });
        let entries = crashed.collect();
        Claim::Took { taken: Taken { entries, lost: taken.lost }, has_more }
    }

    pub(super) fn due(&mut self, consumer: &str, max: usize) -> Due {
        if !self.group.is_alive(consumer, self.now_ms) {
            return Due::Refused;
        }
        let ids = self.group.due(self.now_ms, max);
        for id in &ids {
            self.group.no_longer_due(*id);
        }
        let taken = self.take_entries(&Arc::from(consumer), ids);
        let (next_due_ms, next_later_ms) = (self.group.next_due(), self.next_later_ms);
        Due::Took { taken, next_due_ms, next_later_ms }
    }

    /// What was settled, and which of the ids were finished.
    pub(super) fn ack(&mut self, who: &Who, ids: &[EntryId]) -> (Settlement, Vec<usize>) {
        let (mut settled, mut finished) = (Settlement::default(), Vec::new());
        // While its lease stands, what is not there any more was acked before: by a call whose reply was lost.
        let is_sure = match who {
            Who::Consumer(name) => matches!(self.group.members.get(name), Some(Mark::Until(_))),
            Who::Fence(fence) => self.group.owner.has(*fence),
        };
        // What a pull was given is said from outside.
        let is_pull = matches!(who, Who::Consumer(name) if name.starts_with(PULL));
        for (at, id) in ids.iter().enumerate() {
            let is_there = self.group.pending.contains_key(id);
            if self.owns(who, *id) {
                self.group.settle(*id);
                settled.done += 1;
                finished.push(at);
            } else if is_sure && !is_there && (*id <= self.group.read || !is_pull) {
                finished.push(at);
            } else {
                settled.lost.push(*id);
            }
        }
        (settled, finished)
    }

    pub(super) fn park(&mut self, who: &Who, parking: &[Parking]) -> Settlement {
        let mut settled = Settlement::default();
        for Parking { id, delay_ms, note } in parking {
            if !self.owns(who, *id) {
                settled.lost.push(*id);
                continue;
            }
            if matches!(who, Who::Consumer(_)) {
                self.group.pending.insert(*id, PARKED.into());
            }
            self.group.set_due(*id, self.now_ms.saturating_add(*delay_ms));
            if let Some(note) = note {
                self.group.notes.insert(*id, note.clone());
            }
            settled.done += 1;
        }
        settled
    }

    pub(super) fn notes(&self, consumer: &str, ids: &[EntryId]) -> Vec<Noted> {
        let held = ids.iter().filter(|id| self.group.holds(consumer, **id));
        held.map(|id| (*id, self.group.notes.get(id).cloned())).collect()
    }

    pub(super) fn read_new(&mut self, consumer: &str, max: usize) -> Vec<Entry> {
        let ids = self.group.give(&consumer.into(), self.log, max);
        ids.into_iter().filter_map(|id| self.group.entry(self.log, id)).collect()
    }

    pub(super) fn leave(&mut self, consumer: &str, max: usize) -> Left {
        let held: Vec<EntryId> = self.group.held_by(consumer).take(max).collect();
        let has_more = match max {
            0 => self.group.held_by(consumer).next().is_some(),
            max => held.len() >= max,
        };
        for id in self.move_to(&PARKED.into(), held) {
            self.group.set_due(id, self.now_ms);
        }
        if has_more {
            return Left::More;
        }
        self.group.members.remove(consumer);
        Left::Gone
    }

    pub(super) fn take(&mut self, owner: &str, lease_ms: u64) -> Take {
        let now_ms = self.now_ms;
        let is_others = *self.group.owner.name != *owner && self.group.owner.until_ms > now_ms;
        if is_others {
            return Take::Held;
        }
        self.group.seen_ms = now_ms;
        let pending = len(self.group.pending.len());
        let own = &mut self.group.owner;
        own.name = owner.into();
        own.fence = (own.fence + 1).max(now_ms.saturating_mul(1_000));
        own.until_ms = now_ms.saturating_add(lease_ms);
        let fence = own.fence;
        let is_strange = |holder: &Arc<str>| **holder != *ORDERED;
        let pending_now = self.group.pending.iter();
        let strange = pending_now.filter(|(_, holder)| is_strange(holder)).map(|(id, _)| *id);
        let strange: Vec<EntryId> = strange.take(STRANGERS_MAX).collect();
        self.move_to(&ORDERED.into(), strange);
        let left = self.group.pending.values().filter(|holder| is_strange(holder)).count();
        Take::Got { fence, pending, strangers_left: len(left) }
    }

    pub(super) fn read(&mut self, fence: u64, from: ReadFrom, max: usize) -> Read {
        if !self.group.owner.has(fence) {
            return Read::Fenced;
        }
        let ids = match from {
            ReadFrom::New => self.group.give(&ORDERED.into(), self.log, max),
            ReadFrom::PendingAfter(after) => {
                self.group.held_by(ORDERED).filter(|id| *id > after).take(max).collect()
            }
        };
        let mut taken = self.take_entries(&ORDERED.into(), ids);
        for entry in &mut taken.entries {
            entry.due_ms = self.group.due_of(entry.id);
        }
        Read::Got(taken)
    }

    pub(super) fn seek(&mut self, to: Start, how: Force) -> GroupChange {
        let leased = len(self.group.leased_len(self.now_ms));
        if leased > 0 && how == Force::No {
            return GroupChange::Pending(leased);
        }
        // They are taken from whoever has them: what these say of them from now on is looked at, or refused.
        while let Some((id, holder)) = self.group.pending.pop_first() {
            self.group.settle(id);
            match &*holder {
                ORDERED => self.group.owner.disown(),
                name => self.group.fell(name, self.now_ms),
            }
        }
        let last = self.log.last();
        // What is yet to come is not passed over.
        self.group.read = begin(self.log, to).min(last);
        // Another each time: whoever knows the one before is to see it.
        let sought = self.group.sought.filter(|was| *was >= last).map_or(last, EntryId::after);
        self.group.sought = Some(sought);
        GroupChange::Done
    }

    /// Whether an entry is still whose it was.
    fn owns(&self, who: &Who, id: EntryId) -> bool {
        match who {
            Who::Consumer(name) => self.group.holds(name, id),
            Who::Fence(fence) => self.group.owner.has(*fence) && self.group.holds(ORDERED, id),
        }
    }

    fn move_to(&mut self, who: &Arc<str>, ids: Vec<EntryId>) -> Vec<EntryId> {
        let moved = self.group.move_to(who, self.log, ids);
        *self.lost += len(moved.lost.len());
        moved.there
    }

    fn take_entries(&mut self, who: &Arc<str>, ids: Vec<EntryId>) -> Taken {
        let moved = self.group.move_to(who, self.log, ids);
        *self.lost += len(moved.lost.len());
        let entry = |id: &EntryId| self.group.entry(self.log, *id);
        let entries: Vec<Entry> = moved.there.iter().filter_map(entry).collect();
        Taken { entries, lost: moved.lost }
    }
}

/// After which entry a group begins.
fn begin(log: &Log, start: Start) -> EntryId {
    match start {
        Start::First => EntryId::ZERO,
        Start::Next => log.last(),
        Start::After(id) => id,
    }
}

impl State {
    pub(super) fn join(
        &mut self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        joining: &Joining<'_>,
        now_ms: u64,
    ) -> Joined {
        let room = self.rooms.entry(keys.meta().to_owned()).or_default();
        let log = self.logs.entry(keys.log().to_owned()).or_default();
        let name = group.name().as_str();
        if let Some(known) = room.groups.get(name)
            && let Some(mode) = known.mode
            && mode != joining.mode
            && known.is_in_use(now_ms)
        {
            return Joined::OtherMode(mode);
        }
        let counts = joining.checkpoints.iter().find(|point| log.get(point.probe()).is_some());
        let from = counts.map(|point| point.last_done());
        let mut made = Made::Nothing;
        if let Some(known) = room.groups.get_mut(name) {
            let counts = from.filter(|from| known.sought.is_none_or(|sought| sought < *from));
            let from = counts.unwrap_or(EntryId::ZERO);
            let done: Vec<EntryId> = known.pending.range(..=from).map(|(id, _)| *id).collect();
            if !done.is_empty() || known.read < from {
                made = Made::MovedForward;
                known.read = known.read.max(from);
            }
            for id in done {
                known.settle(id);
            }
        } else {
            let start = match joining.checkpoints {
                [] => joining.start,
                _ => Start::First,
            };
            let read = from.unwrap_or_else(|| begin(log, start));
            room.born_us = now_ms.saturating_mul(1_000).max(room.born_us + 1);
            room.groups.insert(name.to_owned(), Group::begun_at(read, room.born_us));
            self.homes.insert(group.members().to_owned(), keys.meta().to_owned());
            made = Made::New;
        }
        room.forget_ms = joining.forget_ms.or(room.forget_ms);
        let (mut sought, mut born_us) = (None, 0);
        if let Some(joined) = room.groups.get_mut(name) {
            (sought, born_us) = (joined.sought, joined.born_us);
            joined.mode = Some(joining.mode);
            joined.seen_ms = now_ms;
            // One that has fallen has to go on under another name.
            if !joined.is_fallen(joining.who) {
                joined.renew(joining.who, now_ms.saturating_add(joining.lease_ms));
            }
        }
        Joined::Done { now_ms, made, from, sought, born_us, last: log.last() }
    }

    /// Those whose lease is not over.
    pub(super) fn members(&self, group: &GroupKeys, now_ms: u64) -> Vec<String> {
        let room = self.homes.get(group.members()).and_then(|home| self.rooms.get(home));
        let Some(group) = room.and_then(|room| room.groups.get(group.name().as_str())) else {
            return Vec::new();
        };
        let names = group.members.keys().filter(|name| group.is_alive(name, now_ms));
        names.map(ToString::to_string).collect()
    }

    pub(super) fn bury(
        &mut self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        burying: Burying<'_>,
        now_ms: u64,
    ) -> Bury {
        let Burying { id, reason, note } = burying;
        let Some(at) = At::of(self, keys, group, now_ms) else { return Bury::NoGroup };
        if !at.owns(who, id) {
            return Bury::NotOwn;
        }
        let Some(entry) = at.group.entry(at.log, id) else {
            at.group.settle(id);
            *at.lost += 1;
            return Bury::Deleted;
        };
        let text = Bytes::copy_from_slice;
        let mut fields = entry.fields;
        // What only looks like ours would say that it is another group's.
        fields.retain(|(name, _)| !name.starts_with(b"dl-"));
        fields.extend([
            (Bytes::from_static(b"dl-id"), Bytes::from(id.to_string())),
            (Bytes::from_static(b"dl-group"), text(group.name().as_str().as_bytes())),
            (Bytes::from_static(b"dl-reason"), text(reason.as_bytes())),
            (Bytes::from_static(b"dl-note"), text(note)),
            (Bytes::from_static(b"dl-crashes"), Bytes::from(entry.crashes.to_string())),
        ]);
        // Also in a store that is full: nothing else would make room. An event that is there has its bytes there.
        let dead = self.logs.entry(keys.dead().to_owned()).or_default();
        if len(dead.len()) >= DEAD_LEN_MAX {
            return Bury::Full;
        }
        dead.add(now_ms, fields);
        if let Some(room) = self.rooms.get_mut(keys.meta())
            && let Some(group) = room.groups.get_mut(group.name().as_str())
        {
            group.settle(id);
        }
        Bury::Done
    }

    pub(super) fn forget(
        &mut self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        how: Force,
        now_ms: u64,
    ) -> GroupChange {
        let Some(room) = self.rooms.get_mut(keys.meta()) else { return GroupChange::Unknown };
        let name = group.name().as_str();
        let Some(known) = room.groups.get(name) else { return GroupChange::Unknown };
        let leased = len(known.leased_len(now_ms));
        if leased > 0 && how == Force::No {
            return GroupChange::Pending(leased);
        }
        room.groups.remove(name);
        self.homes.remove(group.members());
        GroupChange::Done
    }
}
