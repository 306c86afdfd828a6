//! A session between the fields of its hash and the row that it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::session::model::{Datum, Row};

pub(super) type Fields = Vec<(Bytes, Bytes)>;

/// The field that says what it is, as `parts.lua` writes it.
pub(super) const WHAT: &[u8] = b"_";
/// How many numbers it begins with.
const NUMBERS: usize = 9;
/// What the fields begin with that say when a datum is over.
const EXPIRY: &[u8] = b"_x:";

/// A session as it was found, and the epoch that it began in.
pub(super) struct Stored {
    pub(super) row: Row,
    pub(super) epoch: Option<u64>,
}

/// The field that says when a datum is over.
pub(super) fn expiry_of(name: &[u8]) -> Vec<u8> {
    [EXPIRY, name].concat()
}

/// Whether it is no datum.
pub(super) fn is_own(name: &[u8]) -> bool {
    name.starts_with(b"_")
}

/// Nothing where the key is not there, or holds no session.
pub(super) fn read(fields: &Fields) -> Option<Stored> {
    let (_, what) = fields.iter().find(|(name, _)| name == WHAT)?;
    let mut stored = read_what(what)?;
    let data = &mut stored.row.data;
    for (name, json) in fields.iter().filter(|(name, _)| !is_own(name)) {
        if let Ok(name) = std::str::from_utf8(name) {
            data.insert(name.into(), Datum { json: json.clone(), ends_ms: None });
        }
    }
    for (name, ends) in fields {
        let name = name.strip_prefix(EXPIRY).and_then(|name| std::str::from_utf8(name).ok());
        if let Some(datum) = name.and_then(|name| data.get_mut(name)) {
            datum.ends_ms = std::str::from_utf8(ends).ok().and_then(|ends| ends.parse().ok());
        }
    }
    Some(stored)
}

fn read_what(what: &[u8]) -> Option<Stored> {
    let (numbers, who) = what.split_at_checked(NUMBERS * size_of::<f64>())?;
    let number = |nth: usize| whole(numbers, nth);
    let mut parts = std::str::from_utf8(who).ok()?.splitn(3, ' ');
    let (address, user_len) = (parts.next()?, parts.next()?.parse().ok()?);
    let (user, device) = parts.next()?.split_at_checked(user_len)?;
    let row = Row {
        version: number(0)?,
        seen_ms: number(1)?,
        ends_ms: number(2)?,
        idle_ms: number(3)?,
        made_ms: number(7)?,
        user: (user_len > 0).then(|| Arc::from(user)),
        device: (!device.is_empty()).then(|| device.into()),
        address: address.parse().ok(),
        data: BTreeMap::new(),
    };
    Some(Stored { row, epoch: number(8).filter(|epoch| *epoch > 0) })
}

/// Negative and not a number are 0, and it ends at the largest: as it should.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(numbers: &[u8], nth: usize) -> Option<u64> {
    let (number, _) = numbers.get(nth * size_of::<f64>()..)?.split_first_chunk()?;
    Some(f64::from_be_bytes(*number) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(numbers: [u32; NUMBERS], who: &str) -> Vec<u8> {
        let numbers = numbers.into_iter().flat_map(|number| f64::from(number).to_be_bytes());
        numbers.chain(who.bytes()).collect()
    }

    fn fields(what: Vec<u8>) -> Fields {
        let of = |name: &'static str, value: &'static str| (name.into(), value.into());
        let what = ("_".into(), what.into());
        vec![of("_x:b", "9"), what, of("a", "1"), of("b", "2"), of("_other", "3")]
    }

    #[test]
    fn a_session_is_read_as_the_scripts_write_it() {
        let users = what([3, 20, 30, 5, 2, 6, 1, 10, 77], "::1 5 a b\0c curl 8 x");
        let Stored { row, epoch } = read(&fields(users)).unwrap();
        let Row { version, made_ms, seen_ms, ends_ms, idle_ms, .. } = row;
        assert_eq!((version, made_ms, seen_ms, ends_ms, idle_ms), (3, 10, 20, 30, 5));
        assert_eq!((row.user.as_deref(), epoch), (Some("a b\0c"), Some(77)));
        assert_eq!(row.device.as_deref(), Some(" curl 8 x"));
        assert_eq!(row.address, Some("::1".parse().unwrap()));
        let data: Vec<_> = row.data.iter().map(|(name, one)| (&**name, one.ends_ms)).collect();
        assert_eq!(data, [("a", None), ("b", Some(9))]);
        let nobodys = read(&fields(what([1, 20, 30, 0, 2, 6, 1, 10, 0], "- 0 "))).unwrap();
        assert!(nobodys.epoch.is_none() && nobodys.row.user.is_none());
        assert!(nobodys.row.device.is_none() && nobodys.row.address.is_none());
    }

    #[test]
    fn what_is_no_session_is_read_as_none() {
        let numbers = [1; NUMBERS];
        for who in ["", "-", "- 0", "- x ", "::1 9 short", "- 1 é"] {
            assert!(read(&fields(what(numbers, who))).is_none(), "{who}");
        }
        for short in [Vec::new(), vec![0; NUMBERS * 8 - 1]] {
            assert!(read(&fields(short)).is_none());
        }
        assert!(read(&Vec::new()).is_none());
    }
}
