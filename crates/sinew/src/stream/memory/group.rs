//! What one group has read, holds and waits for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::log::Log;
use crate::stream::model::{Checkpoint, Entry, EntryId, GroupMode, ORDERED, PARKED};

/// Whether a consumer lives, as far as the store knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Until its lease ends, and longer where no one takes what it holds.
    Until(u64),
    /// It was taken for dead then.
    Fallen(u64),
}

/// Who runs the events of an ordered partition.
#[derive(Default)]
pub(super) struct Owner {
    pub(super) name: Arc<str>,
    pub(super) fence: u64,
    pub(super) until_ms: u64,
}

impl Owner {
    /// Whether this is the fence of whoever took it last.
    pub(super) fn has(&self, fence: u64) -> bool {
        fence > 0 && self.fence == fence
    }

    /// No one has it, and its last fence is refused.
    pub(super) fn disown(&mut self) {
        self.fence += u64::from(self.fence > 0);
        self.until_ms = 0;
    }
}

/// What one group has read, holds and waits for.
#[derive(Default)]
pub(super) struct Group {
    /// The last entry that was given to anyone.
    pub(super) read: EntryId,
    pub(super) pending: BTreeMap<EntryId, Arc<str>>,
    pub(super) members: BTreeMap<Arc<str>, Mark>,
    pub(super) notes: HashMap<EntryId, Bytes>,
    /// Deliveries that ended with their process.
    pub(super) crashes: HashMap<EntryId, u32>,
    pub(super) owner: Owner,
    pub(super) mode: Option<GroupMode>,
    pub(super) seen_ms: u64,
    /// When it was made.
    pub(super) born_us: u64,
    /// The last entry that was there when people moved it: older checkpoints do not undo that.
    pub(super) sought: Option<EntryId>,
    due: HashMap<EntryId, u64>,
    by_due: BTreeSet<(u64, EntryId)>,
}

impl Group {
    /// One that has read everything up to there.
    pub(super) fn begun_at(read: EntryId, born_us: u64) -> Self {
        Self { read, born_us, ..Self::default() }
    }

    /// Whether its lease is not over.
    pub(super) fn is_alive(&self, who: &str, now_ms: u64) -> bool {
        matches!(self.members.get(who), Some(Mark::Until(ends_ms)) if *ends_ms >= now_ms)
    }

    pub(super) fn is_fallen(&self, who: &str) -> bool {
        matches!(self.members.get(who), Some(Mark::Fallen(_)))
    }

    /// It lives until then, under this name.
    pub(super) fn renew(&mut self, who: &str, until_ms: u64) -> Arc<str> {
        let name: Arc<str> = who.into();
        self.members.insert(Arc::clone(&name), Mark::Until(until_ms));
        name
    }

    /// A member was taken for dead, if it was not before.
    pub(super) fn fell(&mut self, who: &str, now_ms: u64) {
        if let Some(mark) = self.members.get_mut(who)
            && matches!(mark, Mark::Until(_))
        {
            *mark = Mark::Fallen(now_ms);
        }
    }

    /// Whether anyone's lease runs: of a consumer, or of an owner.
    pub(super) fn is_in_use(&self, now_ms: u64) -> bool {
        self.owner.until_ms > now_ms || self.members.keys().any(|name| self.is_alive(name, now_ms))
    }

    /// How many entries are under a lease that is not over, or an owner's who lives.
    pub(super) fn leased_len(&self, now_ms: u64) -> usize {
        let is_leased = |who: &str| match who {
            ORDERED => self.owner.until_ms > now_ms,
            who => self.is_alive(who, now_ms),
        };
        self.pending.values().filter(|who| is_leased(who)).count()
    }

    pub(super) fn holds(&self, who: &str, id: EntryId) -> bool {
        self.pending.get(&id).is_some_and(|holder| &**holder == who)
    }

    /// What a consumer holds, in order.
    pub(super) fn held_by(&self, who: &str) -> impl Iterator<Item = EntryId> {
        self.pending.iter().filter(move |(_, holder)| &***holder == who).map(|(id, _)| *id)
    }

    /// Gives the next ones that were given to no one, and says which.
    pub(super) fn give(&mut self, who: &Arc<str>, log: &Log, max: usize) -> Vec<EntryId> {
        let next: Vec<EntryId> = log.after(self.read).map(|(id, _)| id).take(max).collect();
        self.read = next.last().copied().unwrap_or(self.read);
        self.pending.extend(next.iter().map(|id| (*id, Arc::clone(who))));
        next
    }

    /// Gives what is pending to someone else, and says what is lost: deleted meanwhile.
    pub(super) fn move_to(&mut self, who: &Arc<str>, log: &Log, ids: Vec<EntryId>) -> Moved {
        let (there, lost): (Vec<EntryId>, Vec<EntryId>) =
            ids.into_iter().partition(|id| log.get(*id).is_some());
        self.pending.extend(there.iter().map(|id| (*id, Arc::clone(who))));
        for id in &lost {
            self.settle(*id);
        }
        Moved { there, lost }
    }

    /// An entry, with what is known of its deliveries.
    pub(super) fn entry(&self, log: &Log, id: EntryId) -> Option<Entry> {
        Some(Entry {
            id,
            fields: log.get(id)?.clone(),
            note: self.notes.get(&id).cloned(),
            crashes: self.crashes.get(&id).copied().unwrap_or(0),
            due_ms: None,
        })
    }

    /// Nothing is known any more of what was pending. Whether it was.
    pub(super) fn settle(&mut self, id: EntryId) -> bool {
        self.no_longer_due(id);
        self.notes.remove(&id);
        self.crashes.remove(&id);
        self.pending.remove(&id).is_some()
    }

    pub(super) fn set_due(&mut self, id: EntryId, due_ms: u64) {
        self.no_longer_due(id);
        self.due.insert(id, due_ms);
        self.by_due.insert((due_ms, id));
    }

    pub(super) fn no_longer_due(&mut self, id: EntryId) {
        if let Some(due_ms) = self.due.remove(&id) {
            self.by_due.remove(&(due_ms, id));
        }
    }

    pub(super) fn due_len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn due_of(&self, id: EntryId) -> Option<u64> {
        self.due.get(&id).copied()
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.by_due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Those whose time has come.
    pub(super) fn due(&self, now_ms: u64, max: usize) -> Vec<EntryId> {
        let come = self.by_due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms);
        come.map(|(_, id)| *id).take(max).collect()
    }

    /// All before it may be trimmed, as far as this group goes.
    pub(super) fn floor(&self) -> EntryId {
        self.pending.first_key_value().map_or(self.read, |(id, _)| *id)
    }

    /// How far it has finished.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        match self.pending.first_key_value() {
            Some((id, _)) => Checkpoint::Below(*id),
            None => Checkpoint::UpTo(self.read),
        }
    }

    /// The first entry that is not finished.
    pub(super) fn oldest(&self, log: &Log) -> Option<EntryId> {
        let pending = self.pending.first_key_value().map(|(id, _)| *id);
        pending.or_else(|| log.after(self.read).next().map(|(id, _)| id))
    }

    /// One that holds something, and whose lease and grace are over.
    pub(super) fn fallen_one(&self, me: &str, now_ms: u64, grace_ms: u64) -> Option<&Arc<str>> {
        self.pending
            .values()
            .find(|holder| &***holder != me && self.may_be_robbed(holder, now_ms, grace_ms))
    }

    /// Forgets those that hold nothing, and whose lease ended before then.
    pub(super) fn forget_members(&mut self, before_ms: u64) {
        let Self { members, pending, .. } = self;
        members.retain(|name, mark| {
            let (Mark::Until(at_ms) | Mark::Fallen(at_ms)) = *mark;
            at_ms >= before_ms || pending.values().any(|holder| holder == name)
        });
    }

    /// Whether what a consumer holds may be taken from it.
    pub(super) fn may_be_robbed(&self, who: &str, now_ms: u64, grace_ms: u64) -> bool {
        who != PARKED
            && who != ORDERED
            && match self.members.get(who) {
                Some(Mark::Until(ends_ms)) => ends_ms.saturating_add(grace_ms) < now_ms,
                Some(Mark::Fallen(_)) => true,
                None => false,
            }
    }
}

/// What came of moving entries.
pub(super) struct Moved {
    pub(super) there: Vec<EntryId>,
    pub(super) lost: Vec<EntryId>,
}
