//! What is said of caches and entries: the replies of the hub, which commands read again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sinew::Stats;
use sinew::cache::{Inspected, KeyHeat, KeySize};
use utoipa::ToSchema;

use super::key::as_written;

/// What a cache did in this hub since it started, over all tenants.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatsBody {
    pub(crate) cache: String,
    pub(crate) hits_local: u64,
    pub(crate) hits_redis: u64,
    /// Look-ups answered with a value that was fresh no more
    pub(crate) stale: u64,
    pub(crate) misses: u64,
    pub(crate) loads: u64,
    pub(crate) load_errors: u64,
    /// Failures of the store that callers were shielded from
    pub(crate) errors: u64,
    /// Hits that were compared with the source
    pub(crate) checked: u64,
    /// Of these, those that differed from it for longer than a change takes to arrive
    pub(crate) inconsistencies: u64,
    /// 0 to 1; null before the first look-up
    pub(crate) hit_ratio: Option<f64>,
}

impl StatsBody {
    pub(crate) fn new(cache: String, stats: Stats) -> Self {
        Self {
            cache,
            hits_local: stats.hits_local,
            hits_redis: stats.hits_redis,
            stale: stats.stale,
            misses: stats.misses,
            loads: stats.loads,
            load_errors: stats.load_errors,
            errors: stats.errors,
            checked: stats.checked,
            inconsistencies: stats.inconsistencies,
            hit_ratio: stats.hit_ratio(),
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.hits_local + self.hits_redis + self.stale + self.misses
    }
}

/// What is known of an entry, without its value.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InfoBody {
    /// As it is stored, hence compressed and encrypted where the cache says so
    pub(crate) bytes: u64,
    /// Since it was stored; null where the entry does not say
    pub(crate) age_seconds: Option<f64>,
    /// Until it is out of date; null if it is already
    pub(crate) fresh_for_seconds: Option<f64>,
    /// Until it is gone
    pub(crate) expires_in_seconds: Option<f64>,
    pub(crate) tags: Vec<String>,
    /// Whether a look-up would find it now. If not, and `ageSeconds` is null, it cannot be read: it is
    /// encrypted with a key that this hub does not have, or damaged
    pub(crate) served: bool,
    /// Whether what it says is that there is no such thing
    pub(crate) absent: bool,
}

impl From<Inspected> for InfoBody {
    fn from(entry: Inspected) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            bytes: entry.bytes,
            age_seconds: seconds(entry.age),
            fresh_for_seconds: seconds(entry.fresh_for),
            expires_in_seconds: seconds(entry.expires_in),
            tags: entry.tags,
            served: entry.is_served,
            absent: entry.is_absent,
        }
    }
}

/// How large an entry is.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct KeySizeBody {
    /// As the route of an entry takes it. Where a segment of a Rust service's key holds a colon:
    /// as redis-cli shows it
    pub(crate) key: String,
    /// As it is stored
    pub(crate) bytes: u64,
}

impl From<KeySize> for KeySizeBody {
    fn from(size: KeySize) -> Self {
        Self { key: as_written(&size.key), bytes: size.bytes }
    }
}

/// How often an entry is looked up.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct KeyHeatBody {
    /// As the route of an entry takes it. Where a segment of a Rust service's key holds a colon:
    /// as redis-cli shows it
    pub(crate) key: String,
    /// Its share of the cache's look-ups in this hub since it started, 0 to 1, from a sample
    pub(crate) share: f64,
}

impl From<KeyHeat> for KeyHeatBody {
    fn from(heat: KeyHeat) -> Self {
        Self { key: as_written(&heat.key), share: heat.share }
    }
}

/// What became of entries that were brought.
#[derive(Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct WarmedBody {
    /// Stored now
    pub(crate) stored: u64,
    /// There already, and left as they were
    pub(crate) found: u64,
    /// Not stored
    pub(crate) failed: u64,
    /// Why the first of these was not
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// How many entries were removed.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct RemovedBody {
    pub(crate) removed: u64,
}
