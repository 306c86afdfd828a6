//! The entries of one stream, in order.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::stream::model::{EntryId, Fields, fields_len};

/// What an entry and a field of it weigh beside their bytes, roughly.
const ENTRY_BYTES: usize = 128;
const FIELD_BYTES: usize = 64;

/// The entries of one stream, in order.
#[derive(Default)]
pub(super) struct Log {
    entries: BTreeMap<EntryId, Fields>,
    last: EntryId,
    added: u64,
    bytes: usize,
}

/// What fields weigh in the store.
pub(super) fn weight(fields: &[(Bytes, Bytes)]) -> usize {
    ENTRY_BYTES + FIELD_BYTES * fields.len() + fields_len(fields)
}

impl Log {
    /// Appends an entry. Ids never go back, also when the clock does.
    pub(super) fn add(&mut self, now_ms: u64, fields: Fields) -> EntryId {
        let id = match now_ms > self.last.ms {
            true => EntryId { ms: now_ms, seq: 0 },
            false => self.last.after(),
        };
        self.bytes += weight(&fields);
        self.added += 1;
        self.last = id;
        self.entries.insert(id, fields);
        id
    }

    pub(super) fn get(&self, id: EntryId) -> Option<&Fields> {
        self.entries.get(&id)
    }

    pub(super) fn remove(&mut self, id: EntryId) -> bool {
        let removed = self.entries.remove(&id);
        self.bytes -= removed.as_deref().map_or(0, weight);
        removed.is_some()
    }

    /// The last id that was ever given.
    pub(super) fn last(&self) -> EntryId {
        self.last
    }

    /// The last entry that is there.
    pub(super) fn newest(&self) -> Option<EntryId> {
        self.entries.last_key_value().map(|(id, _)| *id)
    }

    /// Those after an id.
    pub(super) fn after(&self, id: EntryId) -> impl Iterator<Item = (EntryId, &Fields)> {
        let range = self.entries.range((Bound::Excluded(id), Bound::Unbounded));
        range.map(|(id, fields)| (*id, fields))
    }

    /// Removes those before `floor`, at most so many. How many there were.
    pub(super) fn trim(&mut self, floor: EntryId, max: usize) -> usize {
        let mut removed = 0;
        while removed < max
            && let Some((&first, _)) = self.entries.first_key_value()
            && first < floor
        {
            self.remove(first);
            removed += 1;
        }
        removed
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many were ever added.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    /// What the entries weigh.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        vec![(Bytes::from_static(b"data"), Bytes::from_static(b"1"))]
    }

    #[test]
    fn ids_never_go_back_though_the_clock_does() {
        let mut log = Log::default();
        let ids = [5, 5, 3, 6].map(|now_ms| log.add(now_ms, fields()));
        assert!(ids.is_sorted() && ids[1] == EntryId { ms: 5, seq: 1 }, "{ids:?}");
        assert!(log.trim(EntryId { ms: 9, seq: 0 }, 100) == 4 && log.bytes() == 0);
        assert!(log.add(1, fields()) > ids[3], "what was removed is not named again");
    }

    #[test]
    fn a_trim_keeps_its_floor_and_stops_at_its_most() {
        let mut log = Log::default();
        let ids = [1, 2, 3, 4].map(|now_ms| log.add(now_ms, fields()));
        assert_eq!((log.trim(ids[3], 2), log.len()), (2, 2));
        assert_eq!((log.trim(ids[3], 2), log.len()), (1, 1));
        assert!(log.get(ids[3]).is_some() && log.bytes() == weight(&fields()));
    }
}
