//! A page of what all partitions have, by time: bounded in number and in bytes, however long events are.

use std::collections::VecDeque;

use futures_util::future::try_join_all;

use super::backend::{Backend as _, Store};
use super::model::{Entry, Place, Span, fields_len};
use crate::kernel::error::Result;
use crate::kernel::key::PartitionKeys;

/// What a page has at most, in bytes. One entry more may be in it: the first is given, however long it is.
pub(super) const PAGE_LEN_MAX: usize = 8 << 20;
/// What all partitions together are asked for first, in entries, while no one knows how long these are.
const FIRST_STEP: usize = 16;
/// What one is asked for at once at most: the next entries may be longer than those before.
const STEP_MAX: usize = 64;

/// Which entries of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shelf {
    Events,
    Dead,
}

/// What was read of a partition, and is not in the page yet.
struct Part<'a> {
    keys: &'a PartitionKeys,
    next: Span,
    read: VecDeque<Entry>,
    is_over: bool,
}

/// The first entries after a place, with their partitions. It may be short of `count` where there are more; it is empty
/// where there are none.
pub(super) async fn page(
    store: &Store,
    keys: &[PartitionKeys],
    shelf: Shelf,
    after: Option<&Place>,
    count: usize,
) -> Result<Vec<(u16, Entry)>> {
    let parts = keys.iter().map(|keys| Part {
        next: span_after(after, keys.partition()),
        keys,
        read: VecDeque::new(),
        is_over: false,
    });
    let mut parts: Vec<Part<'_>> = parts.collect();
    let (mut page, mut lens) = (Vec::new(), Lens::default());
    while page.len() < count && lens.given < PAGE_LEN_MAX {
        let step = lens.step(parts.len()).min(count - page.len());
        let dry = parts.iter_mut().filter(|part| part.read.is_empty() && !part.is_over);
        for len in try_join_all(dry.map(|part| part.fill(store, shelf, step))).await? {
            lens.add(len);
        }
        let first = parts.iter_mut().filter(|part| !part.read.is_empty());
        let first =
            first.min_by_key(|part| (part.read.front().map(|it| it.id), part.keys.partition()));
        let Some((partition, entry)) =
            first.and_then(|part| Some((part.keys.partition(), part.read.pop_front()?)))
        else {
            break;
        };
        lens.given += len_of(&entry);
        page.push((partition, entry));
    }
    Ok(page)
}

impl Part<'_> {
    /// Reads on, and says how many entries that were, and how many bytes.
    async fn fill(&mut self, store: &Store, shelf: Shelf, step: usize) -> Result<(usize, usize)> {
        let entries = match shelf {
            Shelf::Events => store.range(self.keys, self.next, step).await?,
            Shelf::Dead => store.dead_range(self.keys, self.next, step).await?,
        };
        self.is_over = entries.len() < step;
        if let Some(last) = entries.last() {
            self.next = Span::After(last.id);
        }
        self.read = entries.into();
        Ok((self.read.len(), self.read.iter().map(len_of).sum()))
    }
}

/// How long entries are, as far as they were read.
#[derive(Default)]
struct Lens {
    entries: usize,
    read: usize,
    /// Of what was read, what is in the page.
    given: usize,
}

impl Lens {
    fn add(&mut self, (entries, len): (usize, usize)) {
        self.entries += entries;
        self.read += len;
    }

    /// How many entries of a partition to ask for, so that what is held stays as long as a page.
    fn step(&self, partitions: usize) -> usize {
        match self.entries {
            0 => (FIRST_STEP / partitions.max(1)).max(1),
            entries => {
                let room = PAGE_LEN_MAX.saturating_sub(self.read - self.given);
                (room / (self.read / entries + 1)).clamp(1, STEP_MAX)
            }
        }
    }
}

/// In bytes.
pub(super) fn len_of(entry: &Entry) -> usize {
    fields_len(&entry.fields)
}

/// What comes after a place, where all partitions are read by time, and those of one time by partition.
fn span_after(after: Option<&Place>, partition: u16) -> Span {
    match after {
        None => Span::All,
        Some(place) if place.partition < partition => Span::After(place.entry.before()),
        Some(place) => Span::After(place.entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_once_fits_a_page() {
        let mut lens = Lens::default();
        assert_eq!((lens.step(1), lens.step(4), lens.step(64)), (16, 4, 1));
        lens.add((16, 16 * 100));
        assert_eq!(lens.step(1), STEP_MAX);
        lens.add((4, 4 << 20));
        assert!((8..=32).contains(&lens.step(1)), "{}", lens.step(1));
        lens.add((8, 8 << 20));
        assert_eq!(lens.step(1), 1, "no more while a page is held");
    }
}
