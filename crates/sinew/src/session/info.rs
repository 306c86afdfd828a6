//! What people are shown of a session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::model::Row;
use super::token::SessionId;

/// A session, as people are shown it: never what its data are.
///
/// Times are by the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// What names it.
    pub id: SessionId,
    /// Whose it is; `None` before a login.
    pub user: Option<Arc<str>>,
    /// When it began; of a user's, when that one logged in.
    pub created_at: SystemTime,
    /// When it was used last, to within a tenth of its idle time.
    pub seen_at: SystemTime,
    /// When it ends if it is not used.
    pub expires_at: SystemTime,
    /// When it ends however much it is used.
    pub ends_at: SystemTime,
    /// What the device said of itself, as [`Session::device`](super::Session::device) was told.
    pub device: Option<String>,
    /// From where, as [`Session::address`](super::Session::address) was told.
    pub address: Option<IpAddr>,
    /// What its data are called.
    pub names: Vec<String>,
    /// One more with each change of its data.
    pub version: u64,
}

impl SessionInfo {
    pub(super) fn new(id: SessionId, row: Row, now_ms: u64) -> Self {
        let row = row.outline(now_ms);
        Self {
            id,
            created_at: time(row.made_ms),
            seen_at: time(row.seen_ms),
            expires_at: time(row.expires_ms(None)),
            ends_at: time(row.ends_ms),
            user: row.user,
            device: row.device.map(String::from),
            address: row.address,
            names: row.data.into_keys().map(String::from).collect(),
            version: row.version,
        }
    }
}

/// Also of a time that someone has made up.
fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH)
}
