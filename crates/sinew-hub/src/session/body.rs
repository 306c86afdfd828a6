//! What is said of sessions: the replies of the hub, which commands read again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sinew::session::{SessionInfo, SessionToken};
use utoipa::ToSchema;

/// What a session keeps, by name: JSON as it was written.
pub(crate) type Data = BTreeMap<String, Box<RawValue>>;

/// A session, without its token and the values that it keeps.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionBody {
    /// Names it, and opens nothing: it may be shown
    #[schema(example = "nq0jYJ2vVZ3r5sT1kX8b4g")]
    pub(crate) id: String,
    /// Null where no one has logged in
    #[schema(example = "ada")]
    pub(crate) user: Option<String>,
    /// By the store's clock, as all times here (RFC 3339)
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00Z")]
    pub(crate) created_at: Timestamp,
    /// When it was used last, give or take a tenth of the time that it may be idle
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T12:05:00Z")]
    pub(crate) seen_at: Timestamp,
    /// When it ends if it is not used
    #[schema(value_type = String, format = DateTime, example = "2026-01-31T12:35:00Z")]
    pub(crate) expires_at: Timestamp,
    /// When it ends, however much it is used
    #[schema(value_type = String, format = DateTime, example = "2026-02-01T00:00:00Z")]
    pub(crate) ends_at: Timestamp,
    /// As it was said when it began
    #[schema(example = "Firefox on Linux")]
    pub(crate) device: Option<String>,
    /// As it was said when it began
    #[schema(value_type = Option<String>, example = "203.0.113.9")]
    pub(crate) address: Option<IpAddr>,
    /// Of what it keeps, in their order
    #[schema(example = json!(["cart"]))]
    pub(crate) names: Vec<String>,
    /// Greater with every change of what it keeps
    #[schema(example = 1)]
    pub(crate) version: u64,
}

impl From<SessionInfo> for SessionBody {
    fn from(info: SessionInfo) -> Self {
        let mut names = info.names;
        names.sort_unstable();
        Self {
            id: info.id.to_string(),
            user: info.user.as_deref().map(str::to_owned),
            created_at: time(info.created_at),
            seen_at: time(info.seen_at),
            expires_at: time(info.expires_at),
            ends_at: time(info.ends_at),
            device: info.device,
            address: info.address,
            names,
            version: info.version,
        }
    }
}

fn time(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A session under a new token.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedBody {
    /// Opens the session, at any hub: keep it from everyone but its user, and out of logs
    #[schema(example = "q1vYb3mJ0c4t5e6g7h8i9g.kT2mVw0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8")]
    token: String,
    #[serde(flatten)]
    session: SessionBody,
}

impl IssuedBody {
    pub(crate) fn new(token: &SessionToken, info: SessionInfo) -> Self {
        Self { token: token.as_str().to_owned(), session: info.into() }
    }
}

/// A session, and what it keeps.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenBody {
    #[serde(flatten)]
    session: SessionBody,
    #[schema(value_type = Object, example = json!({"cart": {"book": 1}}))]
    data: Data,
}

impl OpenBody {
    pub(crate) fn new(info: SessionInfo, data: Data) -> Self {
        Self { session: info.into(), data }
    }
}

/// What a change has led to.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionBody {
    /// Of what the session keeps, as far as whoever changed it knows: less than it has where another change
    /// came between, so that If-Match of it fails
    #[schema(example = 2)]
    pub(crate) version: u64,
}
