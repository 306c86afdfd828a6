//! Replies, part by part: of scripts they are arrays, of commands maps where RESP3 has them.

use bytes::Bytes;
use redis::{FromRedisValue, Value};

use crate::kernel::error::{Error, Result};
use crate::stream::model::{Entry, EntryId, Fields, Noted, Taken};

/// A reply of several parts, that are taken in their order.
pub(super) struct Parts(std::vec::IntoIter<Value>);

impl Parts {
    pub(super) fn of(value: Value) -> Result<Self> {
        match value {
            Value::Array(parts) => Ok(Self(parts.into_iter())),
            Value::Nil => Ok(Self(Vec::new().into_iter())),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.len() == 0
    }

    pub(super) fn value(&mut self) -> Result<Value> {
        self.0.next().ok_or_else(unexpected)
    }

    fn read<T: FromRedisValue>(&mut self) -> Result<T> {
        T::from_redis_value(self.value()?).map_err(|_| unexpected())
    }

    /// What came of it; -1 where the group is not there.
    pub(super) fn outcome(&mut self) -> Result<i64> {
        self.read()
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        self.read()
    }

    /// A moment, or 0.
    pub(super) fn moment(&mut self) -> Result<Option<u64>> {
        Ok(Some(self.number()?).filter(|ms| *ms > 0))
    }

    /// An age, or -1.
    pub(super) fn age(&mut self) -> Result<Option<u64>> {
        Ok(u64::try_from(self.outcome()?).ok())
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        Ok(self.outcome()? == 1)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        self.read()
    }

    /// A name, or ''.
    pub(super) fn name(&mut self) -> Result<Option<String>> {
        Ok(Some(self.text()?).filter(|name| !name.is_empty()))
    }

    pub(super) fn id(&mut self) -> Result<EntryId> {
        id_of(&self.text()?)
    }

    /// An id, or ''.
    pub(super) fn id_if_any(&mut self) -> Result<Option<EntryId>> {
        self.name()?.as_deref().map(id_of).transpose()
    }

    /// All that is left.
    pub(super) fn ids(mut self) -> Result<Vec<EntryId>> {
        let mut ids = Vec::with_capacity(self.0.len());
        while !self.is_over() {
            ids.push(self.id()?);
        }
        Ok(ids)
    }

    /// All that is left.
    pub(super) fn names(mut self) -> Result<Vec<String>> {
        let mut names = Vec::with_capacity(self.0.len());
        while !self.is_over() {
            names.push(self.text()?);
        }
        Ok(names)
    }

    /// All that is left: ids, each with its note or ''.
    pub(super) fn notes(mut self) -> Result<Vec<Noted>> {
        let mut notes = Vec::with_capacity(self.0.len());
        while !self.is_over() {
            let mut one = Self::of(self.value()?)?;
            notes.push((one.id()?, Some(one.read()?).filter(|note: &Bytes| !note.is_empty())));
        }
        Ok(notes)
    }

    /// Entries, and then ids of those that are lost.
    pub(super) fn taken(&mut self) -> Result<Taken> {
        Ok(Taken { entries: entries(self.value()?)?, lost: Self::of(self.value()?)?.ids()? })
    }
}

/// Entries, with what is known of them beside their fields.
pub(super) fn entries(value: Value) -> Result<Vec<Entry>> {
    let mut parts = Parts::of(value)?;
    let mut entries = Vec::with_capacity(parts.0.len());
    while !parts.is_over() {
        entries.push(entry(parts.value()?)?);
    }
    Ok(entries)
}

fn entry(value: Value) -> Result<Entry> {
    let mut parts = Parts::of(value)?;
    let (id, fields) = (parts.id()?, fields(parts.value()?)?);
    let (mut note, mut crashes, mut due_ms) = (None, 0, None);
    if !parts.is_over() {
        note = Some(parts.read::<Bytes>()?).filter(|note| !note.is_empty());
        crashes = u32::try_from(parts.number()?).unwrap_or(u32::MAX);
    }
    if !parts.is_over() {
        due_ms = parts.moment()?;
    }
    Ok(Entry { id, fields, note, crashes, due_ms })
}

fn fields(value: Value) -> Result<Fields> {
    let mut parts = Parts::of(value)?;
    let mut fields = Vec::with_capacity(parts.0.len() / 2);
    while !parts.is_over() {
        fields.push((bytes(parts.value()?)?, bytes(parts.value()?)?));
    }
    Ok(fields)
}

/// Without a copy.
fn bytes(value: Value) -> Result<Bytes> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        _ => Err(unexpected()),
    }
}

/// New entries of several logs, each with its place among those that were asked for; at most as many as
/// Redis has them.
pub(super) fn of_logs(value: Value, logs: &[&str]) -> Result<Vec<(usize, Entry)>> {
    let of_each = match value {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(of_each) => of_each,
        Value::Array(pairs) => {
            let pairs = pairs.into_iter().map(|pair| {
                let mut parts = Parts::of(pair)?;
                Ok((parts.value()?, parts.value()?))
            });
            pairs.collect::<Result<_>>()?
        }
        _ => return Err(unexpected()),
    };
    let mut all = Vec::new();
    for (log, its) in of_each {
        let log = String::from_redis_value(log).map_err(|_| unexpected())?;
        let at = logs.iter().position(|known| *known == log).ok_or_else(unexpected)?;
        all.extend(entries(its)?.into_iter().map(|entry| (at, entry)));
    }
    Ok(all)
}

pub(super) fn id_of(text: &str) -> Result<EntryId> {
    text.parse().map_err(|_| unexpected())
}

pub(super) fn unexpected() -> Error {
    Error::corrupt("unexpected reply to a step of a stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn array<const N: usize>(parts: [Value; N]) -> Value {
        Value::Array(parts.into())
    }

    fn one(id: &str, more: &[Value]) -> Value {
        let fields = array([bulk("data"), bulk("{}")]);
        Value::Array([&[bulk(id), fields][..], more].concat())
    }

    #[test]
    fn an_entry_has_what_is_known_of_it() {
        let bare = entries(array([one("5-1", &[])])).unwrap();
        assert_eq!(bare[0].id, EntryId { ms: 5, seq: 1 });
        assert_eq!(bare[0].fields, [(Bytes::from("data"), Bytes::from("{}"))]);
        assert_eq!((bare[0].note.clone(), bare[0].crashes, bare[0].due_ms), (None, 0, None));
        let known = [bulk("{\"failures\":1}"), Value::Int(3), Value::Int(77)];
        let known = entries(array([one("5-2", &known)])).unwrap().remove(0);
        assert_eq!(known.note.as_deref(), Some(&b"{\"failures\":1}"[..]));
        assert_eq!((known.crashes, known.due_ms), (3, Some(77)));
        let unknown = [bulk(""), Value::Int(0), Value::Int(0)];
        let unknown = entries(array([one("5-3", &unknown)])).unwrap().remove(0);
        assert_eq!((unknown.note, unknown.due_ms), (None, None));
    }

    #[test]
    fn entries_of_logs_are_read_from_maps_and_from_arrays() {
        let its = || array([one("5-1", &[])]);
        let map = Value::Map(vec![(bulk("b"), its())]);
        let pairs = array([array([bulk("b"), its()])]);
        for reply in [map, pairs] {
            let read = of_logs(reply, &["a", "b"]).unwrap();
            assert_eq!(read.len(), 1);
            assert_eq!((read[0].0, read[0].1.id), (1, EntryId { ms: 5, seq: 1 }));
        }
        assert!(of_logs(Value::Nil, &["a"]).unwrap().is_empty());
        assert!(of_logs(Value::Map(vec![(bulk("c"), its())]), &["a"]).is_err());
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for value in [Value::Int(1), array([Value::Int(1)]), array([array([bulk("5")])])] {
            assert!(entries(value).is_err());
        }
        assert!(Parts::of(array([])).unwrap().taken().is_err());
    }
}
