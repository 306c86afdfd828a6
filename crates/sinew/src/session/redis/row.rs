//! A session between what a store has and the row that it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::session::model::{Change, Changes, Datum, Row, Stored, When};

/// What a session begins with, and a save does not.
const BEGINNING: &[u8] = b"S";
/// How many entries, and of how many bytes, there is room for at first.
const ENTRIES: usize = 16;
const SAVE: usize = 64;

/// What is left to be read of a session, as `parts.lua` says.
struct Rest<'a>(&'a [u8]);

/// A datum, or that there is none of that name any more.
struct Entry<'a> {
    /// Empty where a save begins.
    name: &'a str,
    /// Negative: it is gone.
    ends: f64,
    json: &'a [u8],
}

impl<'a> Rest<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(|double| whole(f64::from_be_bytes(double)))
    }

    /// What has its length before it, in two bytes.
    fn text(&mut self) -> Option<&'a str> {
        let len = u16::from_be_bytes(self.array()?);
        std::str::from_utf8(self.bytes(len.into())?).ok()
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let (name, ends) = (self.text()?, f64::from_be_bytes(self.array()?));
        let len = u32::from_be_bytes(self.array()?);
        Some(Entry { name, ends, json: self.bytes(usize::try_from(len).ok()?)? })
    }
}

/// Negative and not a number are 0, and it ends at the largest: as it should.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// A session as it lies there, and the epoch that it began in. Nothing for what is no session.
pub(super) fn read(text: &Bytes) -> Option<(Row, u64)> {
    let mut rest = Rest(text.strip_prefix(BEGINNING)?);
    let mut row = Row {
        version: rest.number()?,
        seen_ms: rest.number()?,
        ends_ms: rest.number()?,
        idle_ms: rest.number()?,
        made_ms: rest.number()?,
        stored: None,
        user: None,
        device: None,
        address: None,
        data: BTreeMap::new(),
    };
    let epoch = rest.number()?;
    let mut who = rest.text()?.splitn(3, ' ');
    row.address = who.next()?.parse().ok();
    let user_len = who.next()?.parse().ok()?;
    let (user, device) = who.next()?.split_at_checked(user_len)?;
    row.user = (user_len > 0).then(|| Arc::from(user));
    row.device = (!device.is_empty()).then(|| device.into());
    let mut entries = Vec::with_capacity(ENTRIES);
    while !rest.0.is_empty() {
        entries.push(rest.entry()?);
    }
    // The last one of a name counts.
    let (mut gone, mut appended) = (Vec::new(), 0);
    for Entry { name, ends, json } in entries.into_iter().rev() {
        if name.is_empty() {
            appended += 1;
        } else if !gone.contains(&name) && !row.data.contains_key(name) {
            if ends < 0.0 {
                gone.push(name);
                continue;
            }
            let ends_ms = (ends > 0.0).then(|| whole(ends));
            row.data.insert(name.into(), Datum { json: text.slice_ref(json), ends_ms });
        }
    }
    row.version = row.version.saturating_add(appended);
    row.stored = Some(Stored { len: u64::try_from(text.len()).ok()?, appended });
    Some((row, epoch))
}

/// A save, as it is appended to its session.
pub(super) fn appended(changes: &Changes) -> Vec<u8> {
    let mut save = Vec::with_capacity(SAVE);
    entry(&mut save, "", 0.0, &[]);
    write(&mut save, changes);
    save
}

fn write(text: &mut Vec<u8>, changes: &Changes) {
    for (name, change) in changes {
        match change {
            Change::Set { json, ends: Some(When::At(ends_ms)) } => {
                entry(text, name, double(*ends_ms), json);
            }
            Change::Set { json, .. } => entry(text, name, 0.0, json),
            Change::Remove => entry(text, name, -1.0, &[]),
        }
    }
}

fn entry(text: &mut Vec<u8>, name: &str, ends: f64, json: &[u8]) {
    // Their lengths were looked at, and are far below.
    let (name_len, len) = (name.len().try_into(), json.len().try_into());
    text.extend(name_len.unwrap_or(u16::MAX).to_be_bytes());
    text.extend(name.as_bytes());
    text.extend(ends.to_be_bytes());
    text.extend(len.unwrap_or(u32::MAX).to_be_bytes());
    text.extend(json);
}

#[allow(clippy::cast_precision_loss)]
fn double(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(numbers: [u32; 6], who: &str, data: &Changes) -> Vec<u8> {
        let numbers = numbers.into_iter().flat_map(|number| f64::from(number).to_be_bytes());
        let len = u16::try_from(who.len()).unwrap().to_be_bytes();
        let mut text: Vec<u8> = [b'S'].into_iter().chain(numbers).chain(len).collect();
        text.extend(who.bytes());
        write(&mut text, data);
        text
    }

    /// JSON, and when it is over; `None`: it goes.
    type To = Option<(&'static str, Option<u64>)>;

    fn changes<const N: usize>(changes: [(&str, To); N]) -> Changes {
        let change = |to: To| match to {
            Some((json, ends)) => Change::Set { json: json.into(), ends: ends.map(When::At) },
            None => Change::Remove,
        };
        changes.into_iter().map(|(name, to)| (name.into(), change(to))).collect()
    }

    #[test]
    fn a_session_is_read_as_it_was_written() {
        let data = changes([
            ("a", Some(("1", None))),
            ("bc", Some(("", Some(9)))),
            ("d", Some(("0", None))),
        ]);
        let mut text = stored([3, 20, 30, 5, 10, 77], "::1 5 a b\0c curl 8 x", &data);
        text.extend(appended(&changes([("a", Some(("2", Some(7)))), ("e", Some(("5", None)))])));
        text.extend(appended(&changes([("d", None), ("e", None), ("f", None)])));
        let len = u64::try_from(text.len()).unwrap();
        let (row, epoch) = read(&text.into()).unwrap();
        let Row { version, made_ms, seen_ms, ends_ms, idle_ms, .. } = row;
        assert_eq!((version, made_ms, seen_ms, ends_ms, idle_ms), (5, 10, 20, 30, 5));
        assert_eq!((row.user.as_deref(), epoch), (Some("a b\0c"), 77));
        assert_eq!(row.stored, Some(Stored { len, appended: 2 }));
        assert_eq!(row.device.as_deref(), Some(" curl 8 x"));
        assert_eq!(row.address, Some("::1".parse().unwrap()));
        let data: Vec<_> =
            row.data.iter().map(|(name, one)| (&**name, &*one.json, one.ends_ms)).collect();
        assert_eq!(data, [("a", b"2".as_slice(), Some(7)), ("bc", b"".as_slice(), Some(9))]);
        let nobodys = stored([1, 20, 30, 0, 10, 0], "- 0 ", &Changes::new());
        let (nobodys, epoch) = read(&nobodys.into()).unwrap();
        assert!(epoch == 0 && nobodys.user.is_none());
        assert!(nobodys.device.is_none() && nobodys.address.is_none());
    }

    #[test]
    fn what_is_no_session_is_read_as_none() {
        let (numbers, data) = ([1; 6], changes([("a", Some(("1", None)))]));
        for who in ["", "-", "- 0", "- x ", "::1 9 short", "- 1 é"] {
            assert!(read(&stored(numbers, who, &data).into()).is_none(), "{who}");
        }
        let (bare, save) = (stored(numbers, "- 0 ", &Changes::new()), appended(&data));
        let text = Bytes::from([&bare[..], &save[..]].concat());
        let wholes = [bare.len(), bare.len() + 14, text.len()];
        for len in 0..=text.len() {
            let is_whole = wholes.contains(&len);
            assert_eq!(read(&text.slice(..len)).is_some(), is_whole, "cut to {len} bytes");
        }
        let alone = [&save[..], &save[..]].concat();
        assert!(read(&alone.into()).is_none(), "saves that came after its end");
    }
}
