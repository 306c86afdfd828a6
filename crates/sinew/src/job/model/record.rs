//! What a store has of a job: a head that scripts read, a note of what went wrong, and a body that does not change.
//!
//! ```text
//! [flags and crashes 1][enqueued ms 6][length of the note 3][note][body]
//! body: [priority 1][length 1][key][length 1][unique][length 1][batch][fields, which scripts do not read]
//! ```
//!
//! Numbers are big-endian. Scripts write the head, and count the crashes.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{JobId, PRIORITY_DEFAULT, PRIORITY_MAX};
use crate::kernel::error::{Error, Result};

/// Its end has effects beside itself: a key, a unique name, a batch, or a job that comes next.
pub(in crate::job) const BOUND: u8 = 0x80;
/// It has told of progress, or has a log.
pub(in crate::job) const EXTRAS: u8 = 0x40;
const CRASHES: u8 = 0x3f;
const HEAD_LEN: usize = 10;

/// What fields of a body are. What is not known is passed over: a later version may have written it.
mod field {
    pub(super) const KIND: u8 = 1;
    pub(super) const PAYLOAD: u8 = 2;
    pub(super) const TRACEPARENT: u8 = 3;
    pub(super) const ATTEMPTS: u8 = 4;
    pub(super) const TIMEOUT_MS: u8 = 5;
    pub(super) const RETAIN_MS: u8 = 6;
    pub(super) const RECURRING: u8 = 7;
}

/// What a job is, from when it is enqueued to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Body {
    pub(in crate::job) kind: String,
    pub(in crate::job) payload: Bytes,
    /// 0 to 9; 9 is first.
    pub(in crate::job) priority: u8,
    pub(in crate::job) key: Option<String>,
    /// As [`super::unique_digest`] makes it.
    pub(in crate::job) unique: Option<String>,
    pub(in crate::job) batch: Option<JobId>,
    pub(in crate::job) traceparent: Option<String>,
    /// Nothing leaves each of these to whoever runs it.
    pub(in crate::job) attempts: Option<u32>,
    pub(in crate::job) timeout_ms: Option<u64>,
    pub(in crate::job) retain_ms: Option<u64>,
    /// The recurring job that made it.
    pub(in crate::job) recurring: Option<String>,
}

impl Default for Body {
    fn default() -> Self {
        Self {
            kind: String::new(),
            payload: Bytes::new(),
            priority: PRIORITY_DEFAULT,
            key: None,
            unique: None,
            batch: None,
            traceparent: None,
            attempts: None,
            timeout_ms: None,
            retain_ms: None,
            recurring: None,
        }
    }
}

impl Body {
    /// The flags that its record begins with; a job that comes next binds it too.
    pub(in crate::job) fn flags(&self, has_next: bool) -> u8 {
        let is_bound =
            has_next || self.key.is_some() || self.unique.is_some() || self.batch.is_some();
        if is_bound { BOUND } else { 0 }
    }

    /// # Errors
    /// `Rejected` where a part is longer than its length can be written.
    pub(in crate::job) fn write(&self) -> Result<Bytes> {
        let mut into = BytesMut::with_capacity(64 + self.payload.len());
        into.put_u8(b'0' + self.priority.min(PRIORITY_MAX));
        let batch = self.batch.map(|id| id.to_string());
        for short in [&self.key, &self.unique, &batch] {
            let text = short.as_deref().unwrap_or_default();
            into.put_u8(u8::try_from(text.len()).map_err(|_| too_long())?);
            into.put_slice(text.as_bytes());
        }
        put(&mut into, field::KIND, self.kind.as_bytes())?;
        if let Some(traceparent) = &self.traceparent {
            put(&mut into, field::TRACEPARENT, traceparent.as_bytes())?;
        }
        if let Some(recurring) = &self.recurring {
            put(&mut into, field::RECURRING, recurring.as_bytes())?;
        }
        let numbers = [
            (field::ATTEMPTS, self.attempts.map(u64::from)),
            (field::TIMEOUT_MS, self.timeout_ms),
            (field::RETAIN_MS, self.retain_ms),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                put(&mut into, name, &number.to_be_bytes())?;
            }
        }
        put(&mut into, field::PAYLOAD, &self.payload)?;
        Ok(into.freeze())
    }

    fn read(mut from: Bytes) -> Option<Self> {
        let mut body =
            Self { priority: take(&mut from, 1)?[0].checked_sub(b'0')?, ..Self::default() };
        body.key = short(&mut from)?;
        body.unique = short(&mut from)?;
        body.batch = match short(&mut from)? {
            Some(batch) => Some(batch.parse().ok()?),
            None => None,
        };
        while !from.is_empty() {
            let name = take(&mut from, 1)?[0];
            let len = number(&take(&mut from, 4)?)?;
            let value = take(&mut from, usize::try_from(len).ok()?)?;
            match name {
                field::KIND => body.kind = text(&value)?,
                field::PAYLOAD => body.payload = value,
                field::TRACEPARENT => body.traceparent = Some(text(&value)?),
                field::RECURRING => body.recurring = Some(text(&value)?),
                field::ATTEMPTS => body.attempts = u32::try_from(number(&value)?).ok(),
                field::TIMEOUT_MS => body.timeout_ms = Some(number(&value)?),
                field::RETAIN_MS => body.retain_ms = Some(number(&value)?),
                _ => {}
            }
        }
        Some(body)
    }
}

/// A job, as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::job) struct Record {
    pub(in crate::job) flags: u8,
    /// Deliveries that ended with their process.
    pub(in crate::job) crashes: u32,
    /// When it was enqueued, by the store's clock.
    pub(in crate::job) enqueued_ms: u64,
    /// What went wrong with it so far: a [`super::Note`] as JSON.
    pub(in crate::job) note: Bytes,
    pub(in crate::job) body: Bytes,
}

impl Record {
    /// # Errors
    /// `Corrupt` for what is no record.
    pub(in crate::job) fn read(mut from: Bytes) -> Result<Self> {
        let mut read = || {
            let head = take(&mut from, HEAD_LEN)?;
            let len = usize::try_from(number(&head[7..])?).ok()?;
            let note = take(&mut from, len)?;
            Some(Self {
                flags: head[0] & !CRASHES,
                crashes: u32::from(head[0] & CRASHES),
                enqueued_ms: number(&head[1..7])?,
                note,
                body: from.clone(),
            })
        };
        read().ok_or_else(no_record)
    }

    /// How long it is when it is written.
    pub(in crate::job) fn written_len(&self) -> usize {
        HEAD_LEN + self.note.len() + self.body.len()
    }

    /// Whether a delivery of it has ended with its process: of a record as it is written.
    pub(in crate::job) fn has_crashed(written: &[u8]) -> bool {
        written.first().is_some_and(|first| first & CRASHES != 0)
    }

    /// As scripts write it. What is more than a head can say is cut, of crashes, or left out, of a note.
    pub(in crate::job) fn write(&self) -> Bytes {
        let crashes = u8::try_from(self.crashes).unwrap_or(CRASHES).min(CRASHES);
        let note_len = u32::try_from(self.note.len()).ok().filter(|len| *len < 1 << 24);
        let mut into = BytesMut::with_capacity(self.written_len());
        into.put_u8((self.flags & !CRASHES) | crashes);
        into.put_uint(self.enqueued_ms, 6);
        into.put_uint(u64::from(note_len.unwrap_or_default()), 3);
        if note_len.is_some() {
            into.put_slice(&self.note);
        }
        into.put_slice(&self.body);
        into.freeze()
    }

    /// # Errors
    /// `Corrupt` for what is no body.
    pub(in crate::job) fn body(&self) -> Result<Body> {
        Body::read(self.body.clone()).ok_or_else(no_record)
    }
}

fn put(into: &mut BytesMut, name: u8, value: &[u8]) -> Result<()> {
    into.put_u8(name);
    into.put_u32(u32::try_from(value.len()).map_err(|_| too_long())?);
    into.put_slice(value);
    Ok(())
}

fn take(from: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= from.len()).then(|| from.split_to(len))
}

/// A text, or none where it is empty.
fn short(from: &mut Bytes) -> Option<Option<String>> {
    let len = usize::from(take(from, 1)?[0]);
    let text = text(&take(from, len)?)?;
    Some(Some(text).filter(|text| !text.is_empty()))
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn number(bytes: &[u8]) -> Option<u64> {
    let fold = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, fold))
}

fn too_long() -> Error {
    Error::rejected("a part of a job is too long: expected a key of at most 128 bytes")
}

fn no_record() -> Error {
    Error::corrupt("what is kept of a job is not what Sinew writes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body() -> Body {
        Body {
            kind: "email.send".to_owned(),
            payload: Bytes::from_static(b"{\"to\":\"ada\"}"),
            priority: 7,
            key: Some("acme".to_owned()),
            unique: Some("x".repeat(22)),
            batch: Some("01KAPX2V9QJ7M3B0N8R5T4W6YZ".parse().unwrap()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            attempts: Some(3),
            timeout_ms: Some(5_000),
            retain_ms: None,
            recurring: Some("nightly".to_owned()),
        }
    }

    #[test]
    fn a_record_is_read_as_it_is_written() {
        let record = Record {
            flags: body().flags(false),
            crashes: 4,
            enqueued_ms: 1_795_316_265_410,
            note: Bytes::from_static(b"{\"failures\":1}"),
            body: body().write().unwrap(),
        };
        let read = Record::read(record.write()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.body().unwrap(), body());
        assert_eq!(read.flags, BOUND);
    }

    #[test]
    fn a_plain_job_is_small_and_not_bound() {
        let plain = Body {
            kind: "email.send".to_owned(),
            payload: Bytes::from(vec![b'x'; 150]),
            ..Body::default()
        };
        assert_eq!((plain.flags(false), plain.flags(true)), (0, BOUND));
        let written = plain.write().unwrap();
        // With its head of ten: what the promise of 420 bytes a waiting job rests on.
        assert!(written.len() + HEAD_LEN <= 150 + 40, "{}", written.len());
        assert_eq!(written[..4], *b"5\0\0\0");
    }

    #[test]
    fn crashes_stop_where_a_head_can_say_no_more() {
        let record = Record {
            flags: EXTRAS,
            crashes: 1_000,
            enqueued_ms: 0,
            note: Bytes::new(),
            body: body().write().unwrap(),
        };
        let read = Record::read(record.write()).unwrap();
        assert_eq!((read.crashes, read.flags), (63, EXTRAS));
    }

    #[test]
    fn what_later_versions_add_is_passed_over() {
        let mut written = BytesMut::from(&body().write().unwrap()[..]);
        put(&mut written, 200, b"news").unwrap();
        assert_eq!(Body::read(written.freeze()), Some(body()));
        let long = Body { key: Some("k".repeat(256)), ..Body::default() };
        assert!(long.write().is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(record) = Record::read(Bytes::from(bytes)) {
                let _ = record.body();
            }
        }
    }
}
