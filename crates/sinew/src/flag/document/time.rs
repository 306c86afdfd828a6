//! Times as people write them, by RFC 3339; written in UTC.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kernel::clock::UnixMillis;

pub(super) fn serialize<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let timestamp = time.map(Timestamp::try_from).transpose().map_err(S::Error::custom)?;
    timestamp.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SystemTime>, D::Error> {
    Ok(Option::<Timestamp>::deserialize(deserializer)?.map(SystemTime::from))
}

/// Whether it can be written at all.
pub(super) fn is_writable(time: SystemTime) -> bool {
    Timestamp::try_from(time).is_ok()
}

/// What lies before 1970 has passed all the same.
pub(in crate::flag) fn millis(time: SystemTime) -> UnixMillis {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
