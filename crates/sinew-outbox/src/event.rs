//! An event as a row keeps it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sinew::stream::NewEvent;

use crate::error::OutboxError;

/// What one relay works on while others work on the rest.
pub(crate) const SHARDS: u16 = 16;

#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, String>,
    /// A delay counts from the row, however late the relay is.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedup: Option<String>,
    /// Text, as people would look for it in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// What tells a row from all others, also in another database. 22 characters.
pub(crate) fn mark() -> Result<String, OutboxError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|e| OutboxError::rejected(format!("expected randomness of the system: {e}")))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random))
}

/// Rows of one key have one shard, in every version and process.
pub(crate) fn shard(key: Option<&str>) -> i16 {
    let number = match key {
        // FNV-1a.
        Some(key) => key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }),
        None => fastrand::u64(..),
    };
    // The low bits of FNV know little of the first bytes.
    i16::try_from((number ^ (number >> 32)) % u64::from(SHARDS)).unwrap_or_default()
}

/// As databases have it: milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn to_json(
    event: NewEvent,
    mark: &str,
    now: SystemTime,
) -> Result<Vec<u8>, OutboxError> {
    let at = |time: SystemTime| {
        Timestamp::try_from(time)
            .map_err(|e| OutboxError::rejected(format!("expected a time of this era: {e}")))
    };
    let not_before = match event.delay {
        Some(delay) => Some(at(now.checked_add(delay).unwrap_or(now))?),
        None => None,
    };
    let (data, data_base64) = match String::from_utf8(event.data.to_vec()) {
        Ok(text) => (Some(text), None),
        Err(other) => (None, Some(BASE64_STANDARD.encode(other.as_bytes()))),
    };
    let kept = Kept {
        id: event.id.unwrap_or_else(|| mark.to_owned()),
        time: at(event.time.unwrap_or(now))?,
        source: event.source,
        kind: event.kind,
        subject: event.subject,
        key: event.key,
        traceparent: event.traceparent,
        content_type: event.content_type,
        schema: event.schema,
        extensions: event.extensions,
        not_before,
        dedup: event.dedup,
        data,
        data_base64,
    };
    serde_json::to_vec(&kept)
        .map_err(|e| OutboxError::rejected(format!("expected an event that JSON can hold: {e}")))
}

/// The event again; words where someone else wrote the row. `row` is what it is known by where the caller gave no
/// dedup id.
pub(crate) fn from_json(json: &[u8], row: String, now: SystemTime) -> Result<NewEvent, String> {
    let kept: Kept = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    let data = match (kept.data, kept.data_base64) {
        (Some(text), _) => Bytes::from(text),
        (None, Some(text)) => Bytes::from(BASE64_STANDARD.decode(text).map_err(|e| e.to_string())?),
        (None, None) => Bytes::new(),
    };
    let delay = kept.not_before.and_then(|time| SystemTime::from(time).duration_since(now).ok());
    Ok(NewEvent {
        id: Some(kept.id),
        source: kept.source,
        kind: kept.kind,
        subject: kept.subject,
        time: Some(kept.time.into()),
        key: kept.key,
        traceparent: kept.traceparent,
        content_type: kept.content_type,
        schema: kept.schema,
        extensions: kept.extensions,
        data,
        delay,
        dedup: Some(kept.dedup.unwrap_or(row)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use sinew::stream::NewEvent;

    use super::{SHARDS, from_json, mark, shard, to_json};

    #[test]
    fn an_event_comes_out_of_its_row_as_it_went_in() {
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_795_316_265, 123_456_789);
        for data in [&b"{\"n\":1.10}"[..], b"\xff\x00\xfe", b""] {
            let event = NewEvent {
                id: Some("7".to_owned()),
                source: Some("/billing".to_owned()),
                kind: Some("InvoiceCreated".to_owned()),
                time: Some(now - Duration::from_secs(5)),
                key: Some("ada".to_owned()),
                extensions: [("region".to_owned(), "eu".to_owned())].into(),
                data: Bytes::copy_from_slice(data),
                delay: Some(Duration::from_secs(60)),
                ..NewEvent::default()
            };
            let json = to_json(event, "mark", now).expect("JSON");
            let later = now + Duration::from_secs(20);
            let event = from_json(&json, "row".to_owned(), later).expect("an event");
            assert_eq!(event.id.as_deref(), Some("7"));
            assert_eq!(event.source.as_deref(), Some("/billing"));
            assert_eq!(event.kind.as_deref(), Some("InvoiceCreated"));
            assert_eq!(event.time, Some(now - Duration::from_secs(5)));
            assert_eq!(event.key.as_deref(), Some("ada"));
            assert_eq!(event.extensions.get("region").map(String::as_str), Some("eu"));
            assert_eq!(event.data, data);
            assert_eq!(event.delay, Some(Duration::from_secs(40)), "it counts from the row");
            assert_eq!(event.dedup.as_deref(), Some("row"));
        }
    }

    #[test]
    fn an_event_without_an_id_is_known_by_its_row() {
        let now = SystemTime::now();
        let json = to_json(NewEvent::default(), "mark", now).expect("JSON");
        let event = from_json(&json, "row".to_owned(), now).expect("an event");
        assert_eq!(event.id.as_deref(), Some("mark"));
    }

    #[test]
    fn a_key_has_one_shard_and_keys_have_them_all() {
        assert_eq!(shard(Some("ada")), shard(Some("ada")));
        let shards: HashSet<i16> = (0..1_000).map(|n| shard(Some(&format!("user-{n}")))).collect();
        assert_eq!(shards.len(), usize::from(SHARDS));
        assert!((0..1_000).all(|_| (0..16).contains(&shard(None))));
        assert_ne!(mark().expect("random"), mark().expect("random"));
    }
}
