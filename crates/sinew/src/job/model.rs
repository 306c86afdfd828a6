//! What jobs and queues are, and what becomes of a job: pure decisions, with the time as a parameter.

mod bounds;
mod cron;
mod id;
mod pace;
mod record;
mod recurring;
mod retry;
mod steps;

use crate::kernel::key::Code;

// Each as far as it is told: some of it is the public's.
pub(super) use bounds::*;
pub use cron::{Cron, Dst, Schedule};
pub use id::JobId;
pub(super) use pace::Pace;
pub(super) use record::*;
pub(super) use recurring::{Definition, ticks_due};
pub use recurring::{Missed, Overlap};
pub use retry::Backoff;
pub(super) use retry::*;
pub use steps::*;

pub(super) use crate::kernel::words::cut;

/// What a unique job is called in the store. Beside a key it counts within that.
pub(super) fn unique_digest(unique: &str, key: Option<&str>) -> String {
    let (has_key, key) = (u8::from(key.is_some()), key.unwrap_or_default());
    // No key is as long as to make two of these one.
    let len = u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes();
    Code::digest(&[b"unique\0", &[has_key], &len, key.as_bytes(), unique.as_bytes()]).to_string()
}

/// What errors with the same trouble have in common: their words without what looks like a number or an id. Sixteen
/// characters.
pub(super) fn fingerprint(kind: &str, error: &str) -> String {
    let mut words = String::with_capacity(error.len().min(ERROR_LEN_MAX));
    let is_of_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    for word in cut(error, ERROR_LEN_MAX).split_inclusive(|c: char| !is_of_word(c)) {
        let end = word.chars().next_back().filter(|c| !is_of_word(*c));
        match word.chars().any(|c| c.is_ascii_digit()) {
            true => {
                words.push('#');
                words.extend(end);
            }
            false => words.push_str(word),
        }
    }
    let digest =
        Code::digest(&[b"failure\0", kind.as_bytes(), b"\0", words.as_bytes()]).to_string();
    cut(&digest, FINGERPRINT_LEN).to_owned()
}

/// The partition that what is named so goes to. For ever: uniqueness and limits rest on it.
pub(super) fn partition_of(name: &str, partitions: u16) -> u16 {
    let partition = hash(name.as_bytes()) % u64::from(partitions.max(1));
    u16::try_from(partition).unwrap_or_default()
}

/// FNV-1a, and then bits mixed so that its low ones depend on all.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// How many slots each lane of a worker has for one partition: one turn of a lane is under way at a time, and holds
/// [`LANE_SLOTS_MAX`] jobs at most.
pub(super) fn lanes_of(concurrency: usize) -> Vec<usize> {
    let count = match concurrency {
        0..=32 => 1,
        33..=128 => 2,
        more => more.div_ceil(LANE_SLOTS_MAX).max(4),
    };
    (0..count).map(|lane| (concurrency + count - 1 - lane) / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_share_all_slots_and_none_has_too_many() {
        for concurrency in 1..=CONCURRENCY_MAX {
            let lanes = lanes_of(concurrency);
            assert_eq!(lanes.iter().sum::<usize>(), concurrency);
            assert!(lanes.iter().all(|slots| (1..=LANE_SLOTS_MAX).contains(slots)), "{lanes:?}");
        }
        assert_eq!((lanes_of(32), lanes_of(100)), (vec![32], vec![50, 50]));
    }

    #[test]
    fn the_same_trouble_with_other_numbers_is_one() {
        let of = |error| fingerprint("mail", error);
        assert_eq!(of("no user 17 at 10.0.0.1:80"), of("no user 9182 at 10.2.0.7:443"));
        assert_eq!(of("id 0af7-651 is gone"), of("id 12 is gone"));
        assert_ne!(of("no user 17"), of("no order 17"));
        assert_ne!(of("no user 17"), fingerprint("sms", "no user 17"));
        assert_eq!(of("").len(), FINGERPRINT_LEN);
    }

    #[test]
    fn a_unique_name_counts_within_its_key() {
        assert_eq!(unique_digest("a", None), unique_digest("a", None));
        assert_ne!(unique_digest("a", None), unique_digest("a", Some("")));
        assert_ne!(unique_digest("ba", Some("a")), unique_digest("a", Some("ab")));
    }

    #[test]
    fn names_are_spread_over_all_partitions() {
        let mut counts = [0_u32; 8];
        for n in 0..8_000 {
            counts[usize::from(partition_of(&format!("user-{n}"), 8))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
