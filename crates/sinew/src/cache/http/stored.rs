//! A response as it is stored.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::header::DATE;
use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::fields;
use super::key::selection;
use super::policy::{Metadata, Rules};
use super::validation;

/// What a [`CacheLayer`](crate::CacheLayer) stores: a response, whole, with what selects it.
#[derive(Clone, Debug)]
pub struct StoredResponse(Option<Arc<Stored>>);

impl StoredResponse {
    pub(super) fn new(stored: Arc<Stored>) -> Self {
        Self(Some(stored))
    }

    /// For those who waited for a load: what it brought is not for them, and not for the store.
    pub(super) fn unshared() -> Self {
        Self(None)
    }

    pub(super) fn stored(&self) -> Option<Arc<Stored>> {
        self.0.clone()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    /// Without those of the connection, and always with a date.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What requests are compared by, and what the one had that this is the response to.
    pub(super) vary: Vec<HeaderName>,
    selection: Option<Arc<str>>,
    pub(super) metadata: Metadata,
}

/// When a request was sent and its response came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trip {
    requested: SystemTime,
    received: SystemTime,
}

impl Trip {
    pub(super) fn new(requested: SystemTime, received: SystemTime) -> Self {
        Self { requested: whole_millis(requested), received: whole_millis(received) }
    }

    pub(super) fn metadata(self, status: StatusCode, headers: &HeaderMap) -> Metadata {
        Metadata::of(status, headers, self.requested, self.received)
    }
}

impl Stored {
    /// A response to the request that had these headers. `None` for one that `Vary` keeps from
    /// ever being selected again.
    pub(super) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        asked: &HeaderMap,
        trip: Trip,
    ) -> Option<Self> {
        let mut headers = fields::without_hop_by_hop(headers);
        if !headers.contains_key(DATE) {
            // Whoever receives a response without it adds it (RFC 9110, 6.6.1).
            let date = httpdate::fmt_http_date(trip.received);
            headers.insert(DATE, HeaderValue::try_from(date).ok()?);
        }
        let vary = fields::vary(&headers)?;
        let (selection, metadata) = (selection(&vary, asked), trip.metadata(status, &headers));
        Some(Self { status, headers, body, vary, selection, metadata })
    }

    /// Brought up to date by a 304.
    pub(super) fn freshened(&self, by: &HeaderMap, asked: &HeaderMap, trip: Trip) -> Option<Self> {
        let mut headers = fields::freshened(&self.headers, by);
        if !by.contains_key(DATE) {
            // The old one would make it old again.
            headers.remove(DATE);
        }
        Self::new(self.status, &headers, self.body.clone(), asked, trip)
    }

    /// Whether it is the variant that a request selects (RFC 9111, 4.1).
    pub(super) fn is_selected_by(&self, asked: &HeaderMap) -> bool {
        selection(&self.vary, asked) == self.selection
    }

    /// Whether a client has it already, and asked to be told so.
    pub(super) fn is_not_modified(&self, asked: &HeaderMap) -> bool {
        self.status == StatusCode::OK
            && validation::is_not_modified(asked, &self.headers, &self.metadata)
    }

    pub(super) fn ttl(&self, rules: Rules, now: SystemTime) -> i64 {
        self.metadata.ttl(rules, now)
    }

    /// Two entries under one key that came at the same time are one.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.metadata.received() == other.metadata.received()
    }

    pub(super) fn stored_for(&self, now: SystemTime) -> Duration {
        now.duration_since(self.metadata.received()).unwrap_or_default()
    }
}

/// As the store has it: what comes out is what went in.
fn whole_millis(time: SystemTime) -> SystemTime {
    from_millis(to_millis(time)).unwrap_or(UNIX_EPOCH)
}

fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn from_millis(millis: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

/// The layout in the store.
#[derive(Serialize, Deserialize)]
struct Wire {
    status: u16,
    headers: Vec<(String, String)>,
    selection: Option<String>,
    requested_ms: u64,
    received_ms: u64,
    body: Content,
}

impl From<&Stored> for Wire {
    fn from(stored: &Stored) -> Self {
        let headers = stored.headers.iter();
        Self {
            status: stored.status.as_u16(),
            headers: headers.map(|(name, value)| (name.to_string(), to_text(value))).collect(),
            selection: stored.selection.as_deref().map(str::to_owned),
            requested_ms: to_millis(stored.metadata.requested()),
            received_ms: to_millis(stored.metadata.received()),
            body: Content(stored.body.clone()),
        }
    }
}

impl Wire {
    /// `None` for what was never written.
    fn open(self) -> Option<Stored> {
        let status = StatusCode::from_u16(self.status).ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.try_append(name, from_text(value)?).ok()?;
        }
        let trip = Trip {
            requested: from_millis(self.requested_ms)?,
            received: from_millis(self.received_ms)?,
        };
        Some(Stored {
            status,
            body: self.body.0,
            vary: fields::vary(&headers)?,
            selection: self.selection.map(Into::into),
            metadata: trip.metadata(status, &headers),
            headers,
        })
    }
}

/// A letter a byte: a field may have bytes that are no text, and none is lost.
fn to_text(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

fn from_text(text: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = text.chars().map(|letter| u8::try_from(letter).ok()).collect();
    HeaderValue::try_from(bytes?).ok()
}

impl Serialize for StoredResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(stored) = &self.0 else {
            return Err(ser::Error::custom("a response that is not shared is not stored"));
        };
        Wire::from(&**stored).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Wire::deserialize(deserializer)?.open();
        let stored = stored.ok_or_else(|| de::Error::custom("not a stored response"))?;
        Ok(Self::new(Arc::new(stored)))
    }
}

/// Content: bytes, or where a format has only text, base64.
struct Content(Bytes);

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.serialize_str(&STANDARD_NO_PAD.encode(&self.0)),
            false => serializer.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_str(ContentVisitor),
            false => deserializer.deserialize_byte_buf(ContentVisitor),
        }
    }
}

struct ContentVisitor;

impl de::Visitor<'_> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, or base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| E::custom("not base64"))?;
        Ok(Content(bytes.into()))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Content, E> {
        Ok(Content(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Content, E> {
        Ok(Content(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Trip {
        Trip::new(SystemTime::now(), SystemTime::now())
    }

    fn map(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    fn stored(headers: &HeaderMap, asked: &HeaderMap, body: &[u8]) -> Stored {
        let body = Bytes::copy_from_slice(body);
        Stored::new(StatusCode::OK, headers, body, asked, now()).expect("can be selected")
    }

    fn through_the_store(stored: Stored) -> Arc<Stored> {
        let json = serde_json::to_vec(&StoredResponse::new(Arc::new(stored))).unwrap();
        serde_json::from_slice::<StoredResponse>(&json).unwrap().stored().expect("was stored")
    }

    #[test]
    fn a_variant_is_selected_by_the_same_fields_only() {
        let (en, fr) = (map(&[("accept-language", b"en")]), map(&[("accept-language", b"fr")]));
        let response = map(&[("vary", b"Accept-Language")]);
        let kept = through_the_store(stored(&response, &en, b""));
        assert!(kept.is_selected_by(&en));
        assert!(!kept.is_selected_by(&fr) && !kept.is_selected_by(&HeaderMap::new()));
        assert!(through_the_store(stored(&map(&[]), &en, b"")).is_selected_by(&fr));
        let any = map(&[("vary", b"*")]);
        assert!(Stored::new(StatusCode::OK, &any, Bytes::new(), &en, now()).is_none());
    }

    #[test]
    fn a_304_makes_it_young_again() {
        let long_ago = b"Mon, 20 Nov 2023 12:00:00 GMT";
        let old = map(&[("date", long_ago), ("age", b"50"), ("x-a", b"1"), ("etag", b"\"a\"")]);
        let old = stored(&old, &map(&[]), b"content");
        assert!(old.metadata.age(SystemTime::now()).as_secs() > 1_000_000);
        let fresh = old.freshened(&map(&[("x-a", b"2")]), &map(&[]), now()).unwrap();
        assert!(fresh.metadata.age(SystemTime::now()).as_secs() < 1_000);
        assert_eq!(fresh.headers["x-a"], "2");
        assert_eq!(fresh.headers["etag"], "\"a\"");
        assert!(!fresh.headers.contains_key("age"));
        assert_eq!(&fresh.body[..], b"content");
    }

    #[test]
    fn what_was_never_written_is_no_response() {
        for bad in [
            "null",
            "{}",
            r#"{"status":99,"headers":[],"selection":null,"requested_ms":0,"received_ms":0,"body":""}"#,
            r#"{"status":200,"headers":[["a b",""]],"selection":null,"requested_ms":0,"received_ms":0,"body":""}"#,
            r#"{"status":200,"headers":[["a","\n"]],"selection":null,"requested_ms":0,"received_ms":0,"body":""}"#,
            r#"{"status":200,"headers":[["a","é"],["b","€"]],"selection":null,"requested_ms":0,"received_ms":0,"body":""}"#,
            r#"{"status":200,"headers":[],"selection":null,"requested_ms":0,"received_ms":0,"body":"?"}"#,
        ] {
            assert!(serde_json::from_str::<StoredResponse>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::to_vec(&StoredResponse::unshared()).is_err());
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(
            body in prop::collection::vec(any::<u8>(), 0..200),
            value in prop::collection::vec(prop_oneof![32..127u8, 128..=255u8], 0..40),
        ) {
            let before = stored(&map(&[("x-a", &value), ("x-a", b"2")]), &map(&[]), &body);
            let after = through_the_store(before.clone());
            prop_assert_eq!(&after.headers, &before.headers);
            prop_assert_eq!(&after.body, &before.body);
            prop_assert_eq!(&after.metadata, &before.metadata);
            prop_assert!(after.is_same_as(&before));
        }
    }
}
