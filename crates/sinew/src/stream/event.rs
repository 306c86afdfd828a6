//! Events: as they are published, and as they are handled.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::model::{ATTRIBUTES_LEN_MAX, EXTENSIONS_MAX, Fields, Place, fields_len};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::Code;
use crate::kernel::name::TopicName;

/// The content type of what says none.
pub(super) const JSON: &str = "application/json";
/// What the field of an extension begins with.
const EXTENSION: &str = "ce-";
/// The entry that it was at first, where it is another by now.
pub(super) const WAS: &str = "was";
const EXTENSION_NAME_LEN_MAX: usize = 20;
/// Names that mean something else in a CloudEvent.
const RESERVED: &[&str] = &[
    "data",
    "data_base64",
    "datacontenttype",
    "dataschema",
    "id",
    "partitionkey",
    "source",
    "specversion",
    "subject",
    "time",
    "traceparent",
    "type",
];

/// An event to be published, with all the attributes that a CloudEvent has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewEvent {
    /// What it is called; its place in the topic unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where it happened, as a URI; the topic unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The type of event; the topic's name unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What it is about, within its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened; when it was published unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<SystemTime>,
    /// Events with one key go to one partition, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of W3C's Trace Context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What the data are; `application/json` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The schema of the data, as a URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Other attributes: at most 16, with names of `a-z0-9`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
    /// What it says.
    #[serde(with = "crate::kernel::stored_bytes")]
    pub data: Bytes,
    /// It is to come so much later: up to 365 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// Of events with one such id, only the first counts for ten minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup: Option<String>,
}

impl NewEvent {
    /// One with these data, as JSON.
    ///
    /// # Errors
    /// `Rejected` for what cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(data: &T) -> Result<Self> {
        let data = serde_json::to_vec(data)
            .map_err(|error| Error::rejected("an event that is not JSON").with_source(error))?;
        Ok(Self { data: data.into(), ..Self::default() })
    }

    /// What is written of it.
    ///
    /// # Errors
    /// `Rejected`, naming the attribute that may not be so, or what is too long.
    pub(super) fn into_fields(self, data_len_max: usize) -> Result<Fields> {
        if self.data.len() > data_len_max {
            return Err(Error::rejected(format!(
                "the data of an event have {} bytes: expected at most {data_len_max}",
                self.data.len()
            )));
        }
        if self.extensions.len() > EXTENSIONS_MAX {
            return Err(Error::rejected(format!(
                "{} extensions of an event: expected at most {EXTENSIONS_MAX}",
                self.extensions.len()
            )));
        }
        let mut fields = Fields::with_capacity(4);
        let mut add = |name: &'static str, value: Option<String>| match value {
            Some(value) if value.is_empty() => {
                Err(Error::rejected(format!("an event with an empty {name}: expected some text")))
            }
            Some(value) => {
                fields.push((Bytes::from_static(name.as_bytes()), value.into()));
                Ok(())
            }
            None => Ok(()),
        };
        add("type", self.kind)?;
        add("source", self.source)?;
        add("id", self.id)?;
        add("time", self.time.map(rfc3339).transpose()?)?;
        add("key", self.key)?;
        add("traceparent", self.traceparent)?;
        add("datacontenttype", self.content_type.filter(|of| of != JSON))?;
        add("dataschema", self.schema)?;
        add("subject", self.subject)?;
        for (name, value) in self.extensions {
            check_extension(&name)?;
            fields.push((format!("{EXTENSION}{name}").into(), value.into()));
        }
        let len = fields_len(&fields);
        if len > ATTRIBUTES_LEN_MAX {
            return Err(Error::rejected(format!(
                "the attributes of an event have {len} bytes: expected at most {ATTRIBUTES_LEN_MAX}"
            )));
        }
        fields.push((Bytes::from_static(b"data"), self.data));
        Ok(fields)
    }
}

/// # Errors
/// `Rejected` for what cannot name an extension.
pub(super) fn check_extension(name: &str) -> Result<()> {
    let is_valid = (1..=EXTENSION_NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && !RESERVED.contains(&name);
    match is_valid {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "an extension called {:?}: expected 1 to {EXTENSION_NAME_LEN_MAX} of a-z 0-9, and no attribute's name",
            super::model::cut(name, 40)
        ))),
    }
}

fn rfc3339(time: SystemTime) -> Result<String> {
    let time = Timestamp::try_from(time)
        .map_err(|error| Error::rejected("the time of an event").with_source(error))?;
    Ok(time.to_string())
}

/// What source and id are together: neither is taken for a part of the other.
pub(super) fn name_of(source: &str, id: &str) -> String {
    let len = source.len().to_string();
    let (head, len) = (b"event\0", len.as_bytes());
    let code = Code::digest(&[head, len, b"\0", source.as_bytes(), id.as_bytes()]);
    format!("ce.{code}")
}

/// An event, as it is handled.
pub struct Event<T> {
    /// What it says.
    pub data: T,
    head: Head,
}

/// All of it but its data.
#[derive(Clone, PartialEq, Eq)]
struct Head {
    topic: TopicName,
    place: Place,
    // As they are stored: most are never asked for.
    fields: Fields,
}

impl Event<Bytes> {
    /// # Errors
    /// Why it is none, in words.
    pub(super) fn read(
        topic: &TopicName,
        place: Place,
        mut fields: Fields,
    ) -> Result<Self, &'static str> {
        let data = fields.iter().position(|(name, _)| name == "data");
        let (_, data) = fields.remove(data.ok_or("it has no data")?);
        let is_text = |bytes: &Bytes| std::str::from_utf8(bytes).is_ok();
        if !fields.iter().all(|(name, value)| is_text(name) && is_text(value)) {
            return Err("an attribute is not UTF-8");
        }
        Ok(Self { data, head: Head { topic: topic.clone(), place, fields } })
    }
}

impl<T> Event<T> {
    /// The same with other data.
    pub(super) fn with<U>(self, data: U) -> (Event<U>, T) {
        (Event { data, head: self.head }, self.data)
    }

    /// What it is called: together with [`Event::source`], nothing else is.
    #[must_use]
    pub fn id(&self) -> Cow<'_, str> {
        match self.field("id") {
            Some(id) => id.into(),
            None => self.first_place().to_string().into(),
        }
    }

    /// The type of event; the topic's name where its publisher said none.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.field("type").unwrap_or_else(|| self.head.topic.living())
    }

    /// Where it happened.
    #[must_use]
    pub fn source(&self) -> Cow<'_, str> {
        match self.field("source") {
            Some(source) => source.into(),
            None => format!("/v1/streams/{}", self.head.topic.as_str()).into(),
        }
    }

    /// When it happened; where its publisher did not say, when it was written first.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        if let Some(said) = self.field("time").and_then(|time| time.parse::<Timestamp>().ok()) {
            return said.into();
        }
        at_ms(self.first_place().entry.ms)
    }

    /// Events with one key are in one partition.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.field("key")
    }

    /// What it is about, within its source.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.field("subject")
    }

    /// Of W3C's Trace Context: the span that published it.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.field("traceparent")
    }

    /// What the data are.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.field("datacontenttype").unwrap_or(JSON)
    }

    /// The schema of the data.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.field("dataschema")
    }

    /// Another attribute.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// All other attributes.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.head.fields.iter();
        fields.filter_map(|(name, value)| Some((text(name).strip_prefix(EXTENSION)?, text(value))))
    }

    /// Where it is in its topic.
    #[must_use]
    pub fn place(&self) -> Place {
        self.head.place
    }

    /// What it is called among all of its topic: an id is its source's alone.
    pub(super) fn name(&self) -> String {
        match (self.field("source"), self.field("id")) {
            (Some(source), Some(id)) => name_of(source, id),
            _ => self.id().into_owned(),
        }
    }

    /// Whether this group is to handle it: not where it is for another.
    pub(super) fn is_for(&self, group: &str) -> bool {
        self.field("for").is_none_or(|only| only == group)
    }

    /// Whether it is a dead letter, read as an event of `orders.dead`.
    pub(super) fn is_letter(&self) -> bool {
        self.head.topic.is_dead()
    }

    /// A field that is no attribute.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let found = self.head.fields.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| text(value))
    }

    /// Where it was when it was published: a dead letter that is published again is the same event.
    fn first_place(&self) -> Place {
        let was = self.field(WAS).filter(|_| !self.head.topic.is_dead());
        let was = was.and_then(|was| was.parse().ok());
        was.map_or(self.place(), |entry| Place { entry, ..self.place() })
    }
}

// It was looked at when it was read.
fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

pub(super) fn at_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH)
}

impl<T: Clone> Clone for Event<T> {
    fn clone(&self) -> Self {
        Self { data: self.data.clone(), head: self.head.clone() }
    }
}

impl<T> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it says is not for logs.
        f.debug_struct("Event")
            .field("topic", &self.head.topic.as_str())
            .field("place", &self.head.place.to_string())
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::model::EntryId;

    fn place() -> Place {
        Place { partition: 3, entry: EntryId { ms: 1_500, seq: 7 } }
    }

    fn there_and_back(event: NewEvent) -> Event<Bytes> {
        let topic = TopicName::new("orders").unwrap();
        Event::read(&topic, place(), event.into_fields(1_000).unwrap()).unwrap()
    }

    #[test]
    fn an_event_that_says_nothing_of_itself_is_two_bytes_of_attributes() {
        let fields = NewEvent::json(&7).unwrap().into_fields(1).unwrap();
        assert_eq!(fields, [(Bytes::from_static(b"data"), Bytes::from_static(b"7"))]);
        let event = there_and_back(NewEvent::json(&7).unwrap());
        assert_eq!((&*event.id(), event.kind()), ("3:1500-7", "orders"));
        assert_eq!(&*event.source(), "/v1/streams/orders");
        assert_eq!(event.time(), UNIX_EPOCH + Duration::from_millis(1_500));
        assert_eq!((event.content_type(), event.key()), (JSON, None));
    }

    #[test]
    fn an_event_is_the_same_after_it_was_stored_elsewhere() {
        for data in [Bytes::from_static(b"{}"), Bytes::from_static(b"\xff\0"), Bytes::new()] {
            let delay = Some(Duration::from_millis(1_500));
            let event = NewEvent { data, delay, time: Some(UNIX_EPOCH), ..NewEvent::default() };
            let stored = serde_json::to_vec(&event).unwrap();
            assert_eq!(serde_json::from_slice::<NewEvent>(&stored).unwrap(), event);
        }
    }

    #[test]
    fn attributes_arrive_as_they_were_said() {
        let time = UNIX_EPOCH + Duration::from_micros(1_234_567);
        let text = |text: &str| Some(text.to_owned());
        let event = there_and_back(NewEvent {
            id: text("a"),
            source: text("/b"),
            kind: text("c"),
            subject: text("d"),
            time: Some(time),
            key: text("e"),
            traceparent: text("f"),
            content_type: text("text/plain"),
            schema: text("g"),
            extensions: BTreeMap::from([("x1".to_owned(), "ä".to_owned())]),
            ..NewEvent::json("h").unwrap()
        });
        assert_eq!((&*event.id(), &*event.source(), event.kind()), ("a", "/b", "c"));
        assert_eq!((event.subject(), event.time(), event.key()), (Some("d"), time, Some("e")));
        assert_eq!((event.traceparent(), event.content_type()), (Some("f"), "text/plain"));
        assert_eq!((event.schema(), event.extension("x1")), (Some("g"), Some("ä")));
        assert_eq!(event.data, "\"h\"");
    }

    #[test]
    fn events_of_several_sources_are_called_differently() {
        let said = |source: &str, id: &str| {
            let (source, id) = (Some(source.to_owned()), Some(id.to_owned()));
            there_and_back(NewEvent { id, source, ..NewEvent::json(&7).unwrap() }).name()
        };
        let names = [said("/a", "1"), said("/b", "1"), said("/a1", "1"), said("/a", "11")];
        let differ: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(differ.len(), names.len(), "{names:?}");
        assert_ne!(said("a\0", "b"), said("a", "\0b"));
        assert_eq!(names[0], said("/a", "1"));
        assert_eq!(there_and_back(NewEvent::json(&7).unwrap()).name(), "3:1500-7");
    }

    #[test]
    fn what_is_too_much_is_rejected_by_name() {
        let event = || NewEvent::json("x").unwrap();
        let many = (0..=EXTENSIONS_MAX).map(|n| (format!("x{n}"), String::new())).collect();
        let one = |name: &str| BTreeMap::from([(name.to_owned(), String::new())]);
        let bad = [
            (event(), 2, "3 bytes"),
            (NewEvent { kind: Some(String::new()), ..event() }, 9, "empty type"),
            (NewEvent { extensions: many, ..event() }, 9, "17 extensions"),
            (NewEvent { extensions: one("Big"), ..event() }, 9, "\"Big\""),
            (NewEvent { extensions: one("time"), ..event() }, 9, "\"time\""),
            (NewEvent { key: Some("x".repeat(20_000)), ..event() }, 9, "20003 bytes"),
        ];
        for (event, len_max, words) in bad {
            let error = event.into_fields(len_max).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_others_wrote_is_an_event_if_it_has_data() {
        let topic = TopicName::new("orders").unwrap();
        let field = |name: &'static str, value: &'static [u8]| {
            (Bytes::from_static(name.as_bytes()), Bytes::from_static(value))
        };
        assert!(Event::read(&topic, place(), vec![field("data", b"\xff")]).is_ok());
        assert!(Event::read(&topic, place(), vec![field("payload", b"1")]).is_err());
        let bad = vec![field("type", b"\xff"), field("data", b"1")];
        assert!(Event::read(&topic, place(), bad).is_err());
    }
}
