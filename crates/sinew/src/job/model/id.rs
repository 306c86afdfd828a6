//! What a job is called: a ULID.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kernel::clock::UnixMillis;
use crate::kernel::error::{Error, Result};

/// Crockford's, in the order of its values: ids sort as their text does.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Of each byte its value, or [`NONE`].
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < 32 {
        let letter = ALPHABET[value as usize];
        values[letter as usize] = value;
        values[letter.to_ascii_lowercase() as usize] = value;
        value += 1;
    }
    values
};
const NONE: u8 = 0xff;

/// The name of a job, for ever: a ULID. As text `01KAPX2V9QJ7M3B0N8R5T4W6YZ`; it sorts by when it was made, by the clock
/// of whoever enqueued it. Its last character says in which partition of its queue the job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(u128);

impl JobId {
    /// How long its text is.
    pub(in crate::job) const LEN: usize = 26;

    /// One that no job had before. Jobs that are made together should have one `now`: they are kept together.
    ///
    /// # Errors
    /// `Misconfigured` where the system has no random bytes.
    pub(in crate::job) fn new(now: UnixMillis, partition: u16) -> Result<Self> {
        let mut random = [0; 16];
        getrandom::fill(&mut random[6..])
            .map_err(|_| Error::misconfigured("the system has no random bytes for a job's id"))?;
        let time = u128::from(now.0 & ((1 << 48) - 1)) << 80;
        let id = time | u128::from_be_bytes(random);
        Ok(Self(id).in_partition(partition))
    }

    /// Another, for what is made together: they sort in this order.
    pub(in crate::job) fn following(self) -> Self {
        // Beside the bits of its partition.
        Self(self.0.wrapping_add(1 << 5))
    }

    /// The name of a job that was given this one: in no partition yet. What its last character says is put elsewhere, so that
    /// names that differ in nothing else, as those that one program draws at a time do, are of as many jobs.
    pub(in crate::job) fn given(self) -> Self {
        // Odd, and as long as what is left of the random bits: each value of five bits changes others.
        const SPREAD: u128 = 0x5E37_79B9_7F4A_7C15_F39D;
        let spread = (self.0 & 0x1f).wrapping_mul(SPREAD) & ((1 << 75) - 1);
        Self((self.0 & !0x1f) ^ (spread << 5))
    }

    /// The same job in another partition of its queue, as long as it is in none.
    pub(in crate::job) fn in_partition(self, partition: u16) -> Self {
        Self((self.0 & !0x1f) | u128::from(partition & 0x1f))
    }

    /// In which partition of its queue it is.
    pub(in crate::job) fn partition(self) -> u16 {
        // Five bits.
        u16::try_from(self.0 & 0x1f).unwrap_or_default()
    }

    /// When it was made, in milliseconds since 1970, by the clock of whoever enqueued it.
    #[must_use]
    pub fn made_ms(self) -> u64 {
        u64::try_from(self.0 >> 80).unwrap_or(u64::MAX)
    }

    /// As it is written, or in small letters.
    pub(in crate::job) fn of_text(text: &[u8]) -> Option<Self> {
        // The first has three bits, that there are 128.
        let is_one = text.len() == Self::LEN && text[0] <= b'7';
        let mut id = 0_u128;
        for byte in text {
            let value = VALUES[usize::from(*byte)];
            if value == NONE {
                return None;
            }
            id = (id << 5) | u128::from(value);
        }
        is_one.then_some(Self(id))
    }

    /// Adds its text to others.
    pub(in crate::job) fn write_to(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.text());
    }

    fn text(self) -> [u8; Self::LEN] {
        let (mut text, mut rest) = ([0; Self::LEN], self.0);
        for place in text.iter_mut().rev() {
            *place = ALPHABET[usize::try_from(rest & 0x1f).unwrap_or_default()];
            rest >>= 5;
        }
        text
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is ASCII.
        f.pad(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl FromStr for JobId {
    type Err = Error;

    /// As it is written, or in small letters.
    fn from_str(text: &str) -> Result<Self> {
        Self::of_text(text.as_bytes()).ok_or_else(|| {
            Error::rejected(
                "not the id of a job: expected 26 characters like 01KAPX2V9QJ7M3B0N8R5T4W6YZ",
            )
        })
    }
}

impl TryFrom<String> for JobId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_sorts_by_its_time() {
        let now = UnixMillis(1_795_316_265_410);
        let (first, later) =
            (JobId::new(now, 7).unwrap(), JobId::new(UnixMillis(now.0 + 1), 31).unwrap());
        assert_eq!(first.to_string().parse::<JobId>().unwrap(), first);
        assert_eq!(first.to_string().to_lowercase().parse::<JobId>().unwrap(), first);
        assert!(first < later && first.to_string() < later.to_string());
        assert_eq!((first.partition(), later.partition(), first.made_ms()), (7, 31, now.0));
        assert_eq!(first.to_string().len(), JobId::LEN);
        assert_ne!(JobId::new(now, 7).unwrap(), first);
        assert!(first.following() > first && first.following() < later);
        assert_eq!(first.following().partition(), 7);
    }

    #[test]
    fn names_that_were_given_are_of_as_many_jobs() {
        let first = JobId::new(UnixMillis(1_795_316_265_410), 0).unwrap();
        assert_eq!(first.given(), first, "what has room for its partition stays as it is");
        let given: HashSet<JobId> = (0..1_000).map(|n| JobId(first.0 + n).given()).collect();
        assert_eq!(given.len(), 1_000);
        for id in given {
            assert_eq!((id.given(), id.partition(), id.made_ms()), (id, 0, first.made_ms()));
        }
    }

    #[test]
    fn what_is_no_id_is_told_so() {
        let long = "0".repeat(JobId::LEN + 1);
        let bad = ["", "0", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01KAPX2V9QJ7M3B0N8R5T4W6YU", &long];
        for bad in bad {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
        assert!("7ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<JobId>().is_ok());
    }

    #[test]
    fn those_of_one_moment_are_in_one_shard() {
        let shard = |ms| JobId::new(UnixMillis(ms), 0).unwrap().to_string()[7..9].to_owned();
        let begin = 1_795_316_265_408 / 32 * 32;
        assert_eq!(shard(begin), shard(begin + 31));
        assert_ne!(shard(begin), shard(begin + 32));
    }
}
