//! `CloudEvents` 1.0, both ways: as JSON, and as the headers of an HTTP request.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::event::{Event, JSON, NewEvent, check_extension, name_of};
use super::model::Note;
use crate::kernel::error::{Error, Result};

const HEADER: &str = "ce-";

impl NewEvent {
    /// A `CloudEvent` in structured JSON. Its source and id together are its dedup id, and `partitionkey` its key.
    ///
    /// # Errors
    /// `Rejected`, naming the attribute that is missing or may not be so.
    pub fn from_cloud_json(json: &[u8]) -> Result<Self> {
        let read: std::collections::BTreeMap<String, &RawValue> =
            serde_json::from_slice(json).map_err(not_json)?;
        Self::from_raw(read)
    }

    /// A batch of them: an array.
    ///
    /// # Errors
    /// As [`NewEvent::from_cloud_json`], for the first that may not be so.
    pub fn batch_from_cloud_json(json: &[u8]) -> Result<Vec<Self>> {
        let read: Vec<std::collections::BTreeMap<String, &RawValue>> = serde_json::from_slice(json)
            .map_err(|error| {
                Error::rejected("no batch of CloudEvents: expected JSON, an array of objects")
                    .with_source(error)
            })?;
        let of = |(at, one)| {
            Self::from_raw(one)
                .map_err(|error| Error::rejected(format!("event {} of the batch: {error}", at + 1)))
        };
        read.into_iter().enumerate().map(of).collect()
    }

    fn from_raw(read: std::collections::BTreeMap<String, &RawValue>) -> Result<Self> {
        let (mut event, mut version) = (Self::default(), None);
        let (mut data, mut data_base64) = (None, None);
        for (name, raw) in read {
            match &*name {
                "data" => data = Some(raw),
                "data_base64" => data_base64 = attribute(&name, raw)?,
                "specversion" => version = attribute(&name, raw)?,
                _ => {
                    if let Some(value) = attribute(&name, raw)? {
                        event.set_attribute(&name, value)?;
                    }
                }
            }
        }
        event.data = match (data, data_base64) {
            (Some(_), Some(_)) => {
                return Err(Error::rejected(
                    "a CloudEvent with data and data_base64: expected one of them",
                ));
            }
            (None, Some(text)) => STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|_| Error::rejected("data_base64 of a CloudEvent: expected base64"))?,
            (Some(raw), None) => data_of(raw, event.content_type.as_deref()),
            (None, None) => Bytes::from_static(b"null"),
        };
        event.checked(version.as_deref())
    }

    /// A `CloudEvent` in HTTP's binary form: its attributes in headers beginning with `ce-`, of which other headers are
    /// passed over, and its data as the body.
    ///
    /// # Errors
    /// As [`NewEvent::from_cloud_json`].
    pub fn from_cloud_headers<'a>(
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        data: Bytes,
    ) -> Result<Self> {
        let (mut event, mut version) = (Self { data, ..Self::default() }, None);
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix(HEADER) {
                None if name == "content-type" => event.content_type = Some(value.to_owned()),
                None if name == "traceparent" && event.traceparent.is_none() => {
                    event.traceparent = Some(value.to_owned());
                }
                None => {}
                Some("specversion") => version = Some(value.to_owned()),
                Some(name) => event.set_attribute(name, decoded(name, value)?)?,
            }
        }
        event.checked(version.as_deref())
    }

    fn set_attribute(&mut self, name: &str, value: String) -> Result<()> {
        let place = match name {
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.kind,
            "subject" => &mut self.subject,
            "partitionkey" => &mut self.key,
            "traceparent" => &mut self.traceparent,
            "datacontenttype" => &mut self.content_type,
            "dataschema" => &mut self.schema,
            "time" => {
                let time = value.parse::<Timestamp>().map_err(|error| {
                    Error::rejected("the time of a CloudEvent: expected one by RFC 3339")
                        .with_source(error)
                })?;
                self.time = Some(SystemTime::from(time));
                return Ok(());
            }
            _ => {
                check_extension(name)?;
                self.extensions.insert(name.to_owned(), value);
                return Ok(());
            }
        };
        *place = Some(value);
        Ok(())
    }

    /// What every `CloudEvent` has is there.
    fn checked(mut self, version: Option<&str>) -> Result<Self> {
        if version != Some("1.0") {
            return Err(Error::rejected("specversion of a CloudEvent: expected 1.0"));
        }
        for (name, value) in [("id", &self.id), ("source", &self.source), ("type", &self.kind)] {
            if value.as_deref().is_none_or(str::is_empty) {
                return Err(Error::rejected(format!("a CloudEvent without {name}")));
            }
        }
        let part = |value: &Option<String>| value.clone().unwrap_or_default();
        self.dedup = Some(name_of(&part(&self.source), &part(&self.id)));
        Ok(self)
    }
}

fn not_json(error: serde_json::Error) -> Error {
    Error::rejected("not a CloudEvent: expected JSON, an object").with_source(error)
}

/// An attribute: text, a number or a truth; nothing where it is null.
fn attribute(name: &str, raw: &RawValue) -> Result<Option<String>> {
    match serde_json::from_str(raw.get()) {
        Ok(Value::Null) => Ok(None),
        Ok(Value::String(text)) => Ok(Some(text)),
        Ok(Value::Bool(truth)) => Ok(Some(truth.to_string())),
        Ok(Value::Number(number)) => Ok(Some(number.to_string())),
        _ => Err(Error::rejected(format!(
            "{} of a CloudEvent: expected text, a number or a truth",
            super::model::cut(name, 40)
        ))),
    }
}

/// JSON as it is written; of another content type, what the text says.
fn data_of(raw: &RawValue, content_type: Option<&str>) -> Bytes {
    if !is_json(content_type.unwrap_or(JSON))
        && let Ok(text) = serde_json::from_str::<String>(raw.get())
    {
        return text.into();
    }
    raw.get().to_owned().into()
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.ends_with("/json") || kind.ends_with("+json")
}

impl Event<Bytes> {
    /// The event as a `CloudEvent` in structured JSON.
    #[must_use]
    pub fn to_cloud_json(&self) -> Bytes {
        let mut event: Map<String, Value> = Map::new();
        event.insert("specversion".to_owned(), "1.0".into());
        for (name, value) in self.cloud_attributes() {
            event.insert(name, value.into());
        }
        let content_type = self.content_type();
        event.insert("datacontenttype".to_owned(), content_type.into());
        let raw = match is_json(content_type) {
            true => serde_json::from_slice::<&RawValue>(&self.data).ok(),
            false => None,
        };
        let Some(raw) = raw else {
            let (name, data) = match std::str::from_utf8(&self.data) {
                Ok(text) if !is_json(content_type) => ("data", text.to_owned()),
                _ => ("data_base64", STANDARD.encode(&self.data)),
            };
            event.insert(name.to_owned(), data.into());
            return serde_json::to_vec(&event).unwrap_or_default().into();
        };
        // As it was published, to the byte: numbers are not read and written anew.
        let mut json = serde_json::to_string(&event).unwrap_or_default();
        json.pop();
        json.push_str(",\"data\":");
        json.push_str(raw.get());
        json.push('}');
        json.into()
    }

    /// The headers of the event in HTTP's binary form; its data are the body.
    #[must_use]
    pub fn cloud_headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![
            ("content-type".to_owned(), self.content_type().to_owned()),
            ("ce-specversion".to_owned(), "1.0".to_owned()),
        ];
        let attributes = self.cloud_attributes().into_iter();
        headers
            .extend(attributes.map(|(name, value)| (format!("{HEADER}{name}"), encoded(&value))));
        headers
    }

    /// All but version and content type.
    fn cloud_attributes(&self) -> Vec<(String, String)> {
        let time = Timestamp::try_from(self.time()).unwrap_or_default().to_string();
        let always = [
            ("id", self.id().into_owned()),
            ("source", self.source().into_owned()),
            ("type", self.kind().to_owned()),
            ("time", time),
        ];
        let sometimes = [
            ("subject", self.subject()),
            ("dataschema", self.schema()),
            ("partitionkey", self.key()),
            ("traceparent", self.traceparent()),
        ];
        let sometimes = sometimes.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let others =
            sometimes.chain(self.extensions()).map(|(name, value)| (name, value.to_owned()));
        let all = always.into_iter().chain(others).chain(self.of_letter());
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Why a dead letter is one: for whoever reads `orders.dead`.
    fn of_letter(&self) -> impl Iterator<Item = (&str, String)> {
        let is_letter = self.is_letter();
        let attempts = Note::read(self.field("dl-note").map(str::as_bytes)).failures.to_string();
        let original = self.field("dl-id").map(|id| format!("{}:{id}", self.place().partition));
        let text = |name: &str| self.field(name).map(str::to_owned);
        let all = [
            ("deadreason", text("dl-reason")),
            ("deadgroup", text("dl-group")),
            ("deadoriginal", original),
            ("deadattempts", Some(attempts)),
        ];
        all.into_iter().filter_map(move |(name, value)| is_letter.then_some((name, value?)))
    }
}

/// What a header cannot have, and what would be read as encoded, percent-encoded.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' | 0..=b' ' | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(char::from(byte)),
        }
    }
    text
}

fn decoded(name: &str, value: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [byte, more @ ..] = rest {
        let code = match (byte, more) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match code {
            Some((high, low)) => {
                bytes.push((high << 4) | low);
                rest = &more[2..];
            }
            None => {
                bytes.push(*byte);
                rest = more;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| {
        let name = super::model::cut(name, 40);
        Error::rejected(format!("{name} of a CloudEvent: expected UTF-8, percent-encoded"))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::name::TopicName;
    use crate::stream::{EntryId, Place};

    #[test]
    fn a_dead_letter_says_why_it_is_one() {
        let mut fields = NewEvent::json(&7).unwrap().into_fields(1_000).unwrap();
        for (name, value) in [
            ("dl-id", "1500-7"),
            ("dl-group", "billing"),
            ("dl-reason", "no such user"),
            ("dl-note", r#"{"failures":3}"#),
        ] {
            fields.push((name.into(), value.into()));
        }
        let read = |topic: &str| {
            let place = Place { partition: 3, entry: EntryId { ms: 1, seq: 0 } };
            let event = Event::read(&TopicName::new(topic).unwrap(), place, fields.clone());
            serde_json::from_slice::<Value>(&event.unwrap().to_cloud_json()).unwrap()
        };
        let letter = read("orders.dead");
        assert_eq!(letter["deadreason"], "no such user");
        assert_eq!(letter["deadgroup"], "billing");
        assert_eq!(letter["deadoriginal"], "3:1500-7");
        assert_eq!(letter["deadattempts"], "3");
        assert_eq!(read("orders").get("deadreason"), None);
    }

    fn arrived(event: NewEvent) -> Event<Bytes> {
        let place = Place { partition: 0, entry: EntryId { ms: 1_500, seq: 0 } };
        let topic = TopicName::new("orders").unwrap();
        Event::read(&topic, place, event.into_fields(1_000).unwrap()).unwrap()
    }

    #[test]
    fn a_cloud_event_comes_out_as_it_went_in() {
        let json = r#"{"specversion":"1.0","id":"a 1","source":"/b","type":"c","subject":"ü\"",
            "time":"2026-01-31T12:00:00.25Z","partitionkey":"ada","n":7,"ok":true,
            "data":{"sum":1.10,"big":12345678901234567890123}}"#;
        let event = arrived(NewEvent::from_cloud_json(json.as_bytes()).unwrap());
        assert_eq!(event.data, r#"{"sum":1.10,"big":12345678901234567890123}"#);
        assert_eq!((event.key(), event.extension("n")), (Some("ada"), Some("7")));
        let again = arrived(NewEvent::from_cloud_json(&event.to_cloud_json()).unwrap());
        let headers = event.cloud_headers();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let by_headers = NewEvent::from_cloud_headers(headers, event.data.clone()).unwrap();
        for again in [again, arrived(by_headers)] {
            assert_eq!(again.to_cloud_json(), event.to_cloud_json());
            assert_eq!((again.subject(), again.time()), (Some("ü\""), event.time()));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = |left_out: &str| {
            let all = [("specversion", "1.0"), ("id", "a"), ("source", "b"), ("type", "c")];
            let left = all.into_iter().filter(|(name, _)| *name != left_out);
            let event: Map<String, Value> =
                left.map(|(name, value)| (name.to_owned(), value.into())).collect();
            NewEvent::from_cloud_json(&serde_json::to_vec(&event).unwrap())
        };
        let dedup = whole("").unwrap().dedup;
        assert!(dedup.is_some() && dedup == whole("").unwrap().dedup);
        for name in ["specversion", "id", "source", "type"] {
            let error = whole(name).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn data_that_are_no_json_go_as_text_or_as_base64() {
        for (content_type, data) in [("text/plain", &b"\"a"[..]), ("image/png", &b"\xff\0"[..])] {
            let content_type = Some(content_type.to_owned());
            let data = Bytes::from_static(data);
            let event = arrived(NewEvent { data, content_type, ..NewEvent::default() });
            let again = arrived(NewEvent::from_cloud_json(&event.to_cloud_json()).unwrap());
            assert_eq!((&again.data, again.content_type()), (&event.data, event.content_type()));
        }
    }
}
