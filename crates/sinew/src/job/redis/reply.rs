//! Replies of scripts, part by part.

use bytes::Bytes;
use redis::{FromRedisValue, Value};

use crate::job::model::{Ended, Found, JobId, JobState, Taken, Told};
use crate::kernel::error::{Error, Result};
use crate::kernel::redis::Call;

/// A reply of several parts, that are taken in their order.
pub(super) struct Parts(std::vec::IntoIter<Value>);

/// Makes a call whose reply has several parts.
pub(super) async fn parts(call: Call<'_>) -> Result<Parts> {
    Parts::of(call.run::<Value>().await?)
}

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

    /// What came of it.
    pub(super) fn outcome(&mut self) -> Result<i64> {
        self.read()
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        self.read()
    }

    pub(super) fn count(&mut self) -> Result<usize> {
        self.read()
    }

    /// A moment, or 0.
    pub(super) fn moment(&mut self) -> Result<Option<u64>> {
        Ok(Some(self.number()?).filter(|ms| *ms > 0))
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

    pub(super) fn id(&mut self) -> Result<JobId> {
        match self.value()? {
            Value::BulkString(text) => JobId::of_text(&text).ok_or_else(unexpected),
            _ => Err(unexpected()),
        }
    }

    /// An id, or ''.
    pub(super) fn id_if_any(&mut self) -> Result<Option<JobId>> {
        self.name()?.as_deref().map(id_of).transpose()
    }

    pub(super) fn ids(&mut self, count: usize) -> Result<Vec<JobId>> {
        (0..count).map(|_| self.id()).collect()
    }

    /// Without a copy.
    pub(super) fn bytes(&mut self) -> Result<Bytes> {
        bytes(self.value()?)
    }

    fn bytes_if_any(&mut self) -> Result<Option<Bytes>> {
        match self.value()? {
            Value::Nil => Ok(None),
            value => bytes(value).map(Some),
        }
    }

    /// All that is left: ids.
    pub(super) fn rest_ids(mut self) -> Result<Vec<JobId>> {
        let count = self.0.len();
        self.ids(count)
    }

    /// All that is left: ids, one behind the other, and their records.
    pub(super) fn rest_jobs(mut self) -> Result<Vec<Taken>> {
        let ids = self.bytes()?;
        let mut jobs = Vec::with_capacity(self.0.len());
        for id in ids.chunks(JobId::LEN) {
            let id = JobId::of_text(id).ok_or_else(unexpected)?;
            jobs.push(Taken { id, record: self.bytes()? });
        }
        if self.is_over() { Ok(jobs) } else { Err(unexpected()) }
    }

    /// All that is left: what is told of jobs.
    pub(super) fn rest_found(mut self) -> Result<Vec<Found>> {
        let mut jobs = Vec::with_capacity(self.0.len());
        while !self.is_over() {
            jobs.push(found(Self::of(self.value()?)?)?);
        }
        Ok(jobs)
    }
}

/// What is told of a job. Redis leaves out what is nothing at the end.
pub(super) fn found(mut parts: Parts) -> Result<Found> {
    let (id, state, record) = (parts.id()?, state_of(&parts.text()?)?, parts.bytes()?);
    let (at_ms, lane) = (parts.moment()?, parts.name()?);
    let mut more = || if parts.is_over() { Ok(None) } else { parts.bytes_if_any() };
    let ended = more()?.map(|text| ended(&text).ok_or_else(unexpected)).transpose()?;
    Ok(Found { id, state, record, at_ms, lane, ended, progress: more()?, log: more()? })
}

fn state_of(letter: &str) -> Result<JobState> {
    match letter {
        "w" => Ok(JobState::Waiting),
        "s" => Ok(JobState::Scheduled),
        "r" => Ok(JobState::Running),
        "d" => Ok(JobState::Dead),
        "k" => Ok(JobState::Done),
        _ => Err(unexpected()),
    }
}

/// How a job ended: the moment, a letter, the length of the line, each with a semicolon; the line, and the result.
fn ended(from: &Bytes) -> Option<Ended> {
    let mut ends = from.iter().enumerate().filter(|(_, byte)| **byte == b';').map(|(at, _)| at);
    let (at_ends, letter_ends, len_ends) = (ends.next()?, ends.next()?, ends.next()?);
    let text = |text: &[u8]| std::str::from_utf8(text).ok().map(str::to_owned);
    let at_ms = text(&from[..at_ends])?.parse().ok()?;
    let len: usize = text(&from[letter_ends + 1..len_ends])?.parse().ok()?;
    let line_at = len_ends + 1;
    let result_at = line_at.checked_add(len).filter(|at| *at <= from.len())?;
    Some(Ended { at_ms, line: from.slice(line_at..result_at), result: from.slice(result_at..) })
}

/// What is told of an end: the id, a letter, each with a semicolon, and the result.
pub(super) fn told(message: &Bytes) -> Option<(JobId, Told)> {
    let text = |text: &[u8]| std::str::from_utf8(text).ok().map(str::to_owned);
    let id_ends = message.iter().position(|byte| *byte == b';')?;
    let id = text(&message[..id_ends])?.parse().ok()?;
    let told = match (message.get(id_ends + 1)?, message.get(id_ends + 2)?) {
        (b'd', b';') => {
            Told::Done(Some(message.slice(id_ends + 3..)).filter(|result| !result.is_empty()))
        }
        (b'D', b';') => Told::Done(None),
        (b'x', b';') => Told::Dead,
        (b'g', b';') => Told::Gone,
        _ => return None,
    };
    Some((id, told))
}

fn bytes(value: Value) -> Result<Bytes> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        _ => Err(unexpected()),
    }
}

pub(super) fn id_of(text: &str) -> Result<JobId> {
    text.parse().map_err(|_| unexpected())
}

pub(super) fn unexpected() -> Error {
    Error::corrupt("unexpected reply to a step of a queue")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01KAPX2V9QJ7M3B0N8R5T4W6YZ";

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn a_job_is_told_with_all_that_is_known_of_it_or_less() {
        let known = [bulk(ID), bulk("k"), bulk("record"), Value::Int(7), bulk("")];
        let ended = [bulk("0000000000005;d;2;a\n{\"b;\":1}"), Value::Nil, bulk("log")];
        let whole = found(Parts::of(Value::Array([&known[..], &ended].concat())).unwrap()).unwrap();
        assert_eq!((whole.state, whole.at_ms, whole.lane), (JobState::Done, Some(7), None));
        let how = Ended { at_ms: 5, line: Bytes::from("a\n"), result: Bytes::from("{\"b;\":1}") };
        assert_eq!(whole.ended, Some(how));
        assert_eq!((whole.progress, whole.log), (None, Some(Bytes::from("log"))));
        let bare = found(Parts::of(Value::Array(known.into())).unwrap()).unwrap();
        assert_eq!((bare.ended, bare.progress, bare.log), (None, None, None));
    }

    #[test]
    fn an_end_is_told_with_its_result_unless_that_is_too_long_or_nothing() {
        let of = |rest: &str| told(&Bytes::from(format!("{ID};{rest}"))).map(|(_, told)| told);
        assert_eq!(of("d;[1;2]"), Some(Told::Done(Some(Bytes::from("[1;2]")))));
        assert_eq!((of("d;"), of("D;")), (Some(Told::Done(None)), Some(Told::Done(None))));
        assert_eq!(of("x;"), Some(Told::Dead));
        assert_eq!((of("g;"), of("z;"), of("")), (Some(Told::Gone), None, None));
        assert_eq!(told(&Bytes::from("x;d;")), None);
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for text in ["", "5", "5;d", "5;d;9;a", "x;d;0;", "5;d;99999999999999999999;"] {
            assert_eq!(ended(&Bytes::from(text)), None, "{text}");
        }
        assert!(Parts::of(Value::Int(1)).is_err());
        assert!(Parts::of(Value::Array(vec![bulk("5")])).unwrap().rest_ids().is_err());
        assert!(Parts::of(Value::Array(vec![bulk(ID)])).unwrap().rest_jobs().is_err());
    }
}
