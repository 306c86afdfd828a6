//! What events, groups and their consumers are, and what becomes of an event: pure decisions, with the time as a
//! parameter.

mod bounds;
mod retry;
mod steps;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::kernel::error::{Error, Result};

// Each as far as it is told: some of it is the public's.
pub(super) use bounds::*;
pub use retry::*;
pub use steps::*;

pub(super) use crate::kernel::words::cut;

/// The random part of a consumer's name, with its hyphen.
const TOKEN_LEN: usize = 23;

/// Where an entry is in its partition: later ones have higher ids. As text `1795316265410-0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since 1970, by the store's clock.
    pub ms: u64,
    /// Among those of one millisecond.
    pub seq: u64,
}

impl EntryId {
    pub(super) const ZERO: Self = Self { ms: 0, seq: 0 };

    /// The one right before; that of the first is itself.
    pub(super) fn before(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => self,
            (ms, 0) => Self { ms: ms - 1, seq: u64::MAX },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }

    /// The one right after.
    pub(super) fn after(self) -> Self {
        match self.seq.checked_add(1) {
            Some(seq) => Self { ms: self.ms, seq },
            None => Self { ms: self.ms.saturating_add(1), seq: 0 },
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let (ms, seq) = text.split_once('-')?;
            Some(Self { ms: number(ms)?, seq: number(seq)? })
        };
        read().ok_or_else(|| {
            Error::rejected("not an entry of a stream: expected one like 1795316265410-0")
        })
    }
}

/// Digits alone: `u64` takes a plus, too.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Where an event is in its topic. As text `3:1795316265410-0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The partition, from 0.
    pub partition: u16,
    /// The entry in it.
    pub entry: EntryId,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.entry)
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let (partition, entry) = text.split_once(':')?;
            let partition = number(partition).filter(|partition| *partition < PARTITIONS_MAX)?;
            Some(Self { partition, entry: entry.parse().ok()? })
        };
        read().ok_or_else(|| {
            Error::rejected(
                "not a place in a topic: expected partition and entry, like 3:1795316265410-0",
            )
        })
    }
}

/// Names and values, in their order.
pub(super) type Fields = Vec<(Bytes, Bytes)>;

/// How long names and values are together, in bytes.
pub(super) fn fields_len(fields: &[(Bytes, Bytes)]) -> usize {
    fields.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// An entry, as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) fields: Fields,
    /// What went wrong with it so far: a [`Note`] as JSON.
    pub(super) note: Option<Bytes>,
    /// Deliveries that ended with their process.
    pub(super) crashes: u32,
    /// When it is to be tried again, by the store's clock; where its owner reads what is pending.
    pub(super) due_ms: Option<u64>,
}

/// An entry, and what went wrong with it so far: a [`Note`] as JSON.
pub(super) type Noted = (EntryId, Option<Bytes>);

/// A name that no consumer had before: what people know it by, and 22 random characters.
pub(super) fn consumer_name(label: &str, random: impl fmt::Display) -> String {
    format!("{label}-{random}")
}

/// What people know a consumer by.
pub(super) fn label_of(consumer: &str) -> &str {
    let label = consumer.len().checked_sub(TOKEN_LEN).and_then(|len| consumer.get(..len));
    label.filter(|label| consumer[label.len()..].starts_with('-')).unwrap_or(consumer)
}

/// The partition of a key. For ever: an order rests on it.
pub(super) fn partition_of(key: &str, partitions: u16) -> u16 {
    let partition = hash(&[key.as_bytes()]) % u64::from(partitions.max(1));
    u16::try_from(partition).unwrap_or_default()
}

/// Who of some members should have a partition: whoever comes or goes changes as few as can be.
pub(super) fn owner_of<'a>(
    members: impl IntoIterator<Item = &'a str>,
    partition: u16,
) -> Option<&'a str> {
    let partition = partition.to_be_bytes();
    members.into_iter().max_by_key(|member| (hash(&[member.as_bytes(), &partition]), *member))
}

/// FNV-1a, and then bits mixed so that its low ones depend on all.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().copied().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = Place { partition: 3, entry: EntryId { ms: 1_795_316_265_410, seq: u64::MAX } };
        assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        for bad in ["", "1-1", "64:1-1", "0:1", "0:+1-1", "0:1-1-1", "0: 1-1", "-1:1-1", "0:1-"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
        let id = EntryId { ms: 5, seq: 0 };
        assert_eq!(id.before(), EntryId { ms: 4, seq: u64::MAX });
        assert_eq!((id.before().after(), EntryId::ZERO.before()), (id, EntryId::ZERO));
    }

    #[test]
    fn a_checkpoint_says_what_is_finished() {
        for text in ["=5-0", "<5-1"] {
            let checkpoint: Checkpoint = text.parse().unwrap();
            assert_eq!((checkpoint.to_string().as_str(), checkpoint.probe().ms), (text, 5));
        }
        let below = Checkpoint::Below(EntryId { ms: 5, seq: 1 });
        assert_eq!(below.last_done(), EntryId { ms: 5, seq: 0 });
        assert!("5-1".parse::<Checkpoint>().is_err() && "".parse::<Checkpoint>().is_err());
    }

    #[test]
    fn who_comes_takes_partitions_and_moves_no_others() {
        let before = ["a", "b", "c"];
        let after = ["c", "d", "a", "b"];
        let mut moved = 0;
        for partition in 0..64 {
            let was = owner_of(before, partition);
            let is = owner_of(after, partition);
            assert!(is == was || is == Some("d"), "{partition} went from {was:?} to {is:?}");
            moved += u32::from(is != was);
        }
        assert!((4..32).contains(&moved), "{moved} of 64 moved");
        assert_eq!(owner_of([], 0), None);
    }

    #[test]
    fn keys_are_spread_over_all_partitions() {
        let mut counts = [0_u32; 16];
        for n in 0..16_000 {
            counts[usize::from(partition_of(&format!("user-{n}"), 16))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        assert_eq!(partition_of("any", 1), 0);
    }

    #[test]
    fn a_consumer_is_known_by_its_label() {
        let name = consumer_name("host:7", "0123456789abcdefghij-_");
        assert_eq!(label_of(&name), "host:7");
        assert_eq!(label_of("someone-elses"), "someone-elses");
    }
}
