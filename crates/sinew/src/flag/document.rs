//! All flags of an environment, as the store keeps them.

mod definition;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::condition::Condition;
use crate::kernel::error::{Error, Result};

use definition::{CONDITIONS_MAX, at_most, check_key, check_new_key};
pub use definition::{Flag, FlagType, Rule, Serve};
pub(super) use time::millis;

/// So many flags an environment may have.
const FLAGS_MAX: usize = 2_000;
/// So many segments an environment may have.
const SEGMENTS_MAX: usize = 1_000;
/// So many ways to belong to a segment there may be.
const WAYS_MAX: usize = 64;
/// The longest document, in bytes.
const DOCUMENT_LEN_MAX: usize = 4 << 20;

/// Whoever meets all conditions of any of these lists.
///
/// ```json
/// {"any": [[{"attribute": "plan", "op": "is", "values": ["team"]}],
///          [{"attribute": "email", "op": "ends_with", "values": ["@example.com"]}]]}
/// ```
///
/// Rules refer to it by its name; a segment does not refer to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The lists: one is enough, and in it all conditions have to hold.
    pub any: Vec<Vec<Condition>>,
}

/// All flags and segments of an environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Document {
    pub(crate) flags: BTreeMap<String, Flag>,
    pub(crate) segments: BTreeMap<String, Segment>,
    unread: Unread,
}

/// What a later version may have written: kept as it is, so that no change of something else loses it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Unread {
    flags: Map<String, Value>,
    segments: Map<String, Value>,
    others: Map<String, Value>,
}

impl Segment {
    /// Whether the segment can be as it is.
    ///
    /// # Errors
    /// `Rejected`, with the field and what was expected of it.
    pub fn validate(&self) -> Result<()> {
        self.check().map_err(Error::rejected)
    }

    fn check(&self) -> Result<(), String> {
        at_most("any", self.any.len(), WAYS_MAX)?;
        for (way, conditions) in self.any.iter().enumerate() {
            at_most(&format!("any[{way}]"), conditions.len(), CONDITIONS_MAX)?;
            for (nth, condition) in conditions.iter().enumerate() {
                let at = format!("any[{way}][{nth}]");
                if let Condition::Segment(_) = condition {
                    return Err(format!("{at}: expected an attribute, not another segment"));
                }
                condition.validate(&at)?;
            }
        }
        Ok(())
    }
}

impl Document {
    /// What is written, and what of it was left out, and why: what no flag or segment can be, such as one
    /// that a later version has written.
    ///
    /// # Errors
    /// `Corrupt` where it is no document at all.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, Vec<String>)> {
        let corrupt = || Error::corrupt("expected flags and segments as JSON");
        let mut others: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| corrupt().with_source(error))?;
        let mut part = |name: &str| match others.remove(name) {
            Some(Value::Object(part)) => Ok(part),
            None | Some(Value::Null) => Ok(Map::new()),
            Some(_) => Err(corrupt()),
        };
        let (flags, segments) = (part("flags")?, part("segments")?);
        let mut read = Self::default();
        let mut left_out = Vec::new();
        for (key, value) in flags {
            match parsed(&key, &value, Flag::check) {
                Ok(flag) => drop(read.flags.insert(key, flag)),
                Err(why) => {
                    left_out.push(format!("flag {key:?}: {why}"));
                    read.unread.flags.insert(key, value);
                }
            }
        }
        for (name, value) in segments {
            match parsed(&name, &value, Segment::check) {
                Ok(segment) => drop(read.segments.insert(name, segment)),
                Err(why) => {
                    left_out.push(format!("segment {name:?}: {why}"));
                    read.unread.segments.insert(name, value);
                }
            }
        }
        read.unread.others = others;
        Ok((read, left_out))
    }

    /// Whether a flag may be written, or removed, in place of the one before. No other flag is looked at: one
    /// that cannot be, whoever wrote it, must not stand in the way of another's kill switch.
    ///
    /// # Errors
    /// `Rejected`, with what was expected of it.
    pub(crate) fn validate_flag(&self, key: &str, before: Option<&Flag>) -> Result<()> {
        let Some(flag) = self.flags.get(key) else { return Ok(()) };
        let checked = is_one_more(before, "flags", self.flags.len(), FLAGS_MAX);
        let checked = checked.and_then(|()| {
            let checked = check_key_of(key, before).and_then(|()| flag.check());
            let checked = checked.and_then(|()| self.check_segments_of(flag, before));
            checked.map_err(|why| format!("flag {key:?}: {why}"))
        });
        checked.map_err(Error::rejected)
    }

    /// Whether a segment may be written, or removed, in place of the one before.
    ///
    /// # Errors
    /// `Rejected`, with what was expected of it, or the flag that refers to it.
    pub(crate) fn validate_segment(&self, name: &str, before: Option<&Segment>) -> Result<()> {
        let checked = match self.segments.get(name) {
            Some(segment) => {
                let checked = is_one_more(before, "segments", self.segments.len(), SEGMENTS_MAX);
                checked.and_then(|()| {
                    let checked = check_key_of(name, before).and_then(|()| segment.check());
                    checked.map_err(|why| format!("segment {name:?}: {why}"))
                })
            }
            None => self.check_is_unused(name),
        };
        checked.map_err(Error::rejected)
    }

    /// What it referred to before, it may refer to.
    fn check_segments_of(&self, flag: &Flag, before: Option<&Flag>) -> Result<(), String> {
        let missing = segments_of(flag).find(|(.., name)| {
            let is_there =
                self.segments.contains_key(*name) || self.unread.segments.contains_key(*name);
            !is_there && before.is_none_or(|before| !refers_to(before, name))
        });
        missing.map_or(Ok(()), |(rule, nth, name)| Err(not_defined(rule, nth, name)))
    }

    fn check_is_unused(&self, segment: &str) -> Result<(), String> {
        for (key, flag) in &self.flags {
            if let Some((rule, nth, name)) = segments_of(flag).find(|(.., name)| *name == segment) {
                return Err(format!("flag {key:?}: {}", not_defined(rule, nth, name)));
            }
        }
        Ok(())
    }

    /// As it is written to the store, with what could not be read.
    ///
    /// # Errors
    /// `Rejected` where it is too long, or not valid.
    pub(crate) fn to_json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Whole<'a> {
            flags: Part<'a, Flag>,
            segments: Part<'a, Segment>,
            #[serde(flatten)]
            others: &'a Map<String, Value>,
        }
        let whole = Whole {
            flags: Part { read: &self.flags, unread: &self.unread.flags },
            segments: Part { read: &self.segments, unread: &self.unread.segments },
            others: &self.unread.others,
        };
        let text = serde_json::to_string(&whole)
            .map_err(|error| Error::rejected("expected valid flags").with_source(error))?;
        if text.len() > DOCUMENT_LEN_MAX {
            return Err(Error::rejected(format!(
                "flags of {} bytes in all: expected at most {DOCUMENT_LEN_MAX}",
                text.len()
            )));
        }
        Ok(text)
    }
}

fn check_key_of<T>(key: &str, before: Option<&T>) -> Result<(), String> {
    match before {
        Some(_) => check_key(key),
        None => check_new_key(key),
    }
}

fn is_one_more<T>(before: Option<&T>, at: &str, count: usize, max: usize) -> Result<(), String> {
    match before {
        Some(_) => Ok(()),
        None => at_most(at, count, max),
    }
}

/// The segments that a flag refers to, and where: in which condition of which rule.
fn segments_of(flag: &Flag) -> impl Iterator<Item = (usize, usize, &str)> {
    flag.rules.iter().enumerate().flat_map(|(rule, of_rule)| {
        let conditions = of_rule.conditions.iter().enumerate();
        conditions.filter_map(move |(nth, condition)| match condition {
            Condition::Segment(name) => Some((rule, nth, name.as_str())),
            Condition::Attribute { .. } => None,
        })
    })
}

fn refers_to(flag: &Flag, segment: &str) -> bool {
    segments_of(flag).any(|(.., name)| name == segment)
}

fn not_defined(rule: usize, nth: usize, segment: &str) -> String {
    format!("rules[{rule}].if[{nth}].segment: expected one that is defined, found {segment:?}")
}

/// What was read, and what was not unless it has been replaced since.
struct Part<'a, T> {
    read: &'a BTreeMap<String, T>,
    unread: &'a Map<String, Value>,
}

impl<T: Serialize> Serialize for Part<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        for (name, item) in self.read {
            map.serialize_entry(name, item)?;
        }
        for (name, item) in self.unread {
            if !self.read.contains_key(name) {
                map.serialize_entry(name, item)?;
            }
        }
        map.end()
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(
    key: &str,
    value: &Value,
    check: fn(&T) -> Result<(), String>,
) -> Result<T, String> {
    check_key(key)?;
    let item = T::deserialize(value).map_err(|error| error.to_string())?;
    check(&item)?;
    Ok(item)
}
