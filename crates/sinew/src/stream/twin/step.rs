//! What is done on both stores.

use super::{CONSUMERS, LONG_MS};
use crate::stream::model::{Force, GroupMode};

#[derive(Clone, Debug)]
pub(super) enum Step {
    Publish { dedup: Option<u8>, delay_ms: u64, count: usize },
    Promote,
    Join { lease_ms: u64, with_checkpoint: Option<usize> },
    Tick { lease_ms: u64 },
    Read { max: usize },
    ReadNew { max: usize },
    Ack { count: usize, with_inbox: bool },
    Park { delay_ms: u64 },
    Bury,
    Claim { from: usize },
    Due,
    Leave { max: usize },
    Take,
    Hold,
    ReadOwn { is_new: bool },
    Release,
    Trim { forget_ms: u64 },
    Redrive,
    DropDead,
    Seek { how: Force, to_start: bool },
    Forget,
    Look,
}

impl Step {
    pub(super) fn random(random: &mut fastrand::Rng, mode: GroupMode) -> Self {
        let short_or_long =
            |random: &mut fastrand::Rng, short| if random.bool() { short } else { LONG_MS };
        match random.u8(0..32) {
            0..6 => Self::Publish {
                dedup: random.bool().then(|| random.u8(0..6)),
                delay_ms: if random.u8(0..5) == 0 { short_or_long(random, 1) } else { 0 },
                count: random.usize(1..4),
            },
            6 => Self::Promote,
            7 => Self::Join {
                lease_ms: LONG_MS,
                with_checkpoint: random.bool().then(|| random.usize(..100)),
            },
            8..11 => Self::Tick { lease_ms: short_or_long(random, 0) },
            11..15 if mode == GroupMode::ByKey => Self::ReadOwn { is_new: random.bool() },
            11 | 12 => Self::ReadNew { max: random.usize(1..5) },
            13 | 14 => Self::Read { max: random.usize(1..5) },
            15..19 => Self::Ack { count: random.usize(1..4), with_inbox: random.bool() },
            19 | 20 => Self::Park { delay_ms: short_or_long(random, 0) },
            21 => Self::Bury,
            22 | 23 if mode == GroupMode::ByKey => Self::Take,
            22 | 23 => Self::Claim { from: random.usize(..CONSUMERS) },
            24 if mode == GroupMode::ByKey => Self::Hold,
            24 => Self::Due,
            25 if mode == GroupMode::ByKey => Self::Release,
            25 => Self::Leave { max: if random.bool() { 5 } else { 0 } },
            26 => Self::Trim { forget_ms: short_or_long(random, 0) },
            27 => Self::Redrive,
            28 => Self::DropDead,
            29 => Self::Seek {
                how: if random.u8(0..4) == 0 { Force::Yes } else { Force::No },
                to_start: random.bool(),
            },
            30 if random.u8(0..4) == 0 => Self::Forget,
            _ => Self::Look,
        }
    }
}
