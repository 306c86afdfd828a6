//! The steps in process, on the model.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::backend::{Backend, Ending, Took, Whose};
use super::model::{
    Absence, Beginning, Begun, Evict, Found, Listed, Most, Outcome, Rotated, Rotation, Row,
    SESSIONS_MAX, Saving, Times,
};
use super::token::SessionId;
use crate::kernel::clock::Clock;
use crate::kernel::error::Result;
use crate::kernel::key::{Code, SessionKeys, SlotKeys};
use crate::kernel::memory::ExpiringMap;

/// What a session and its bookkeeping weigh, roughly; and a datum.
const SESSION_BYTES: usize = 512;
const DATUM_BYTES: usize = 96;

/// The sessions of one `Sinew::embedded()`. When it is full, those end that would end first.
pub(crate) struct MemoryBackend {
    clock: Clock,
    // By the root of their keys: what is done to all of a user's is done at once. A plain mutex: held for a
    // few steps, never over an await.
    slots: Mutex<ExpiringMap<Box<str>, Slot>>,
}

/// The sessions of a user, or one of nobody.
type Slot = BTreeMap<Code, Row>;

impl MemoryBackend {
    pub(crate) fn new(clock: Clock, bytes_max: usize) -> Self {
        Self { clock, slots: Mutex::new(ExpiringMap::new(bytes_max)) }
    }

    /// A step on those of a slot that are live.
    fn step<T>(&self, keys: &SlotKeys, step: impl FnOnce(&mut Slot, u64) -> T) -> T {
        let root: Box<str> = keys.root().into();
        let mut slots = self.slots.lock();
        let (now, now_ms) = (self.clock.now(), self.clock.wall().0);
        slots.sweep(now);
        let mut slot = slots.remove(&root).unwrap_or_default();
        slot.retain(|_, row| row.is_live(None, now_ms));
        let done = step(&mut slot, now_ms);
        if let Some(last_ms) = slot.values().map(|row| row.expires_ms(None)).max() {
            let weight = root.len() + slot.values().map(weight).sum::<usize>();
            let left = Duration::from_millis(last_ms.saturating_sub(now_ms));
            slots.insert(root, slot, weight, now.after(left));
        }
        done
    }

    fn look<T>(&self, keys: &SlotKeys, look: impl FnOnce(&Slot, u64) -> T) -> T {
        let root: Box<str> = keys.root().into();
        let slots = self.slots.lock();
        let (now, now_ms) = (self.clock.now(), self.clock.wall().0);
        match slots.get(&root, now) {
            Some(slot) => look(slot, now_ms),
            None => look(&Slot::new(), now_ms),
        }
    }
}

fn weight(row: &Row) -> usize {
    let user = row.user.as_ref().map_or(0, |user| user.len());
    let data = row.data.iter().map(|(name, datum)| name.len() + datum.json.len() + DATUM_BYTES);
    SESSION_BYTES + user + data.sum::<usize>()
}

/// How many ended to make room for one more; nothing where none may.
fn make_room(slot: &mut Slot, most: Most) -> Option<u64> {
    let over = (slot.len() + 1).saturating_sub(most.sessions as usize);
    match most.evict {
        _ if over == 0 => return Some(0),
        Evict::Refuse => return None,
        Evict::Oldest => {}
    }
    let mut first: Vec<(u64, u64, String, Code)> = slot
        .iter()
        .map(|(id, row)| (row.seen_ms, row.expires_ms(None), id.to_string(), *id))
        .collect();
    first.sort_unstable();
    let mut ended = 0;
    for (.., id) in first.into_iter().take(over.min(SESSIONS_MAX)) {
        slot.remove(&id);
        ended += 1;
    }
    Some(ended)
}

/// The session, if it is live to whoever asks.
fn live(slot: &mut Slot, id: Code, idle_ms: u64, now_ms: u64) -> Option<&mut Row> {
    slot.get_mut(&id).filter(|row| row.is_live(Some(idle_ms), now_ms))
}

impl Backend for MemoryBackend {
    async fn load(&self, keys: &SessionKeys, idle_ms: u64) -> Result<Found> {
        Ok(self.look(keys.slot(), |slot, now_ms| match slot.get(&keys.id()) {
            None => Found::Not(Absence::Unknown),
            Some(row) if row.is_live(Some(idle_ms), now_ms) => {
                Found::Live { row: row.clone(), now_ms }
            }
            Some(_) => Found::Not(Absence::Expired),
        }))
    }

    async fn touch(&self, keys: &SessionKeys, _: Whose, idle_ms: u64) -> Result<Option<u64>> {
        Ok(self.step(keys.slot(), |slot, now_ms| {
            let row = live(slot, keys.id(), idle_ms, now_ms)?;
            row.see(idle_ms, now_ms);
            Some(now_ms)
        }))
    }

    async fn create(&self, keys: &SessionKeys, new: &Beginning, _: Duration) -> Result<Begun> {
        Ok(self.step(keys.slot(), |slot, now_ms| {
            match slot.get(&keys.id()) {
                Some(_) if new.is_chosen => return Begun::Taken,
                Some(Row { made_ms, ends_ms, .. }) => {
                    return Begun::Done { made_ms: *made_ms, ends_ms: *ends_ms, ended: 0 };
                }
                None => {}
            }
            let Some(ended) = new.most.map_or(Some(0), |most| make_room(slot, most)) else {
                return Begun::Refused;
            };
            let row = new.row(now_ms);
            let (made_ms, ends_ms) = (row.made_ms, row.ends_ms);
            slot.insert(keys.id(), row);
            Begun::Done { made_ms, ends_ms, ended }
        }))
    }

    async fn save(&self, keys: &SessionKeys, _: Whose, saving: &Saving<'_>) -> Result<Outcome> {
        Ok(self.step(keys.slot(), |slot, now_ms| {
            let Some(row) = live(slot, keys.id(), saving.idle_ms, now_ms) else {
                return Outcome::Gone;
            };
            if saving.expected.is_some_and(|expected| expected != row.version) {
                return Outcome::Conflict;
            }
            if !row.change(saving.changes, saving.len_max, now_ms) {
                return Outcome::TooMuch;
            }
            row.version += 1;
            if saving.ends.is_some() || row.is_due(saving.idle_ms, now_ms) {
                row.ends_ms = saving.ends.unwrap_or(row.ends_ms);
                row.see(saving.idle_ms, now_ms);
            }
            let Row { version, seen_ms, ends_ms, .. } = *row;
            let times = Times { seen_ms, ends_ms, now_ms };
            Outcome::Saved { version, times, stored: None }
        }))
    }

    async fn take(&self, keys: &SessionKeys, idle_ms: u64, name: &str) -> Result<Took> {
        Ok(self.step(keys.slot(), |slot, now_ms| {
            let Some(row) = live(slot, keys.id(), idle_ms, now_ms) else { return Took::Gone };
            let taken = row.data.remove(name);
            row.version += u64::from(taken.is_some());
            let json = taken.filter(|datum| !datum.is_over(now_ms)).map(|datum| datum.json);
            Took::Datum { json, version: row.version }
        }))
    }

    async fn end(&self, keys: &SessionKeys, _: Whose, _: Ending) -> Result<bool> {
        Ok(self.step(keys.slot(), |slot, _| slot.remove(&keys.id()).is_some()))
    }

    async fn take_down(&self, keys: &SessionKeys, _: Whose, _: Ending) -> Result<Option<Row>> {
        Ok(self.step(keys.slot(), |slot, _| slot.remove(&keys.id())))
    }

    async fn end_all(&self, slot: &SlotKeys, stays: Option<&SessionKeys>, _: Ending) -> Result<()> {
        let stays = stays.map(SessionKeys::id);
        self.step(slot, |slot, _| slot.retain(|id, _| Some(*id) == stays));
        Ok(())
    }

    async fn rotate(
        &self,
        from: &SessionKeys,
        to: &SessionKeys,
        _: Whose,
        rotation: &Rotation,
        _: Ending,
    ) -> Result<Option<Rotated>> {
        Ok(self.step(from.slot(), |slot, now_ms| {
            let rotated = |row: &Row| Rotated {
                made_ms: row.made_ms,
                seen_ms: row.seen_ms,
                ends_ms: row.ends_ms,
            };
            if let Some(row) = live(slot, to.id(), rotation.idle_ms, now_ms) {
                return Some(rotated(row));
            }
            live(slot, from.id(), rotation.idle_ms, now_ms)?;
            let mut row = slot.remove(&from.id())?;
            if let Some(lasts) = rotation.lasts {
                (row.made_ms, row.ends_ms) = (now_ms, lasts.at_ms(now_ms));
            }
            row.device = rotation.device.clone().or(row.device);
            row.address = rotation.address.or(row.address);
            row.see(rotation.idle_ms, now_ms);
            let done = rotated(&row);
            slot.insert(to.id(), row);
            Some(done)
        }))
    }

    async fn list(&self, slot: &SlotKeys) -> Result<Vec<Listed>> {
        Ok(self.look(slot, |slot, now_ms| {
            let live = slot.iter().filter(|(_, row)| row.is_live(None, now_ms));
            let listed = |(id, row): (&Code, &Row)| Listed {
                id: SessionId(*id),
                row: row.clone().outline(now_ms),
            };
            live.map(listed).take(SESSIONS_MAX).collect()
        }))
    }
}
