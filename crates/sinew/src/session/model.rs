//! What a session is, and what becomes of it: pure decisions, with the time as a parameter.
//!
//! The scripts are the twin of this: what is changed here is changed there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::token::SessionId;
use crate::kernel::error::{Error, Result};

/// How many data a session has at most.
pub(super) const DATA_MAX: usize = 128;
/// The longest name of one, in bytes.
pub(super) const NAME_LEN_MAX: usize = 128;
/// The longest name of a user, in bytes.
pub(super) const USER_LEN_MAX: usize = 512;
/// So much is kept of what a device says of itself, in bytes.
const DEVICE_LEN_MAX: usize = 256;
/// So many sessions are looked at where a user has more than may be, and in a list.
pub(super) const SESSIONS_MAX: usize = 1_000;
/// So many saves, of so many bytes each, are appended to a session before it is written whole.
const APPENDED_MAX: u64 = 24;
const APPENDED_LEN_MAX: usize = 1_024;
/// Redis makes twice as much room for what is appended to.
const APPENDS_TO_LEN_MAX: u64 = 16 << 10;
/// Longer than a save takes: nothing is appended to what has run out.
const APPENDS_BEFORE_MS: u64 = 60_000;
/// That one is used is noted once so much of its idle time is over.
const NOTED_EVERY: u64 = 10;

/// A time by the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// In so many milliseconds.
    After(u64),
    /// In milliseconds since 1970.
    At(u64),
}

impl When {
    pub(super) fn after(time: Duration) -> Self {
        Self::After(millis(time))
    }

    pub(super) fn at_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::After(ms) => now_ms.saturating_add(ms),
            Self::At(ms) => ms,
        }
    }
}

/// A session, as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// One more with each change of its data.
    pub(super) version: u64,
    pub(super) made_ms: u64,
    pub(super) seen_ms: u64,
    /// When it ends however much it is used.
    pub(super) ends_ms: u64,
    /// For how long it may go unused; 0 for ever.
    pub(super) idle_ms: u64,
    pub(super) user: Option<Arc<str>>,
    pub(super) device: Option<Box<str>>,
    pub(super) address: Option<IpAddr>,
    pub(super) data: BTreeMap<Box<str>, Datum>,
    /// How it lies in Redis; nothing where that is not known.
    pub(super) stored: Option<Stored>,
}

/// How a session lies in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) len: u64,
    /// How many saves were appended to it since it was written whole.
    pub(super) appended: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datum {
    pub(super) json: Bytes,
    /// When it is gone, where that is before its session.
    pub(super) ends_ms: Option<u64>,
}

/// What is to become of a datum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Set { json: Bytes, ends: Option<When> },
    Remove,
}

pub(super) type Changes = BTreeMap<Box<str>, Change>;

impl Datum {
    pub(super) fn is_over(&self, now_ms: u64) -> bool {
        self.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms)
    }
}

impl Row {
    /// When it ends, unless it is used. A process whose sessions may go unused for less takes its own time.
    pub(super) fn expires_ms(&self, own_idle_ms: Option<u64>) -> u64 {
        let own_ms = own_idle_ms.filter(|own_ms| *own_ms > 0).unwrap_or(u64::MAX);
        match self.idle_ms.min(own_ms) {
            0 => self.ends_ms,
            idle_ms => self.ends_ms.min(self.seen_ms.saturating_add(idle_ms)),
        }
    }

    pub(super) fn is_live(&self, own_idle_ms: Option<u64>, now_ms: u64) -> bool {
        now_ms < self.expires_ms(own_idle_ms)
    }

    /// Whether the store should be told that it is used.
    pub(super) fn is_due(&self, own_idle_ms: u64, now_ms: u64) -> bool {
        match self.idle_ms {
            0 => false,
            idle_ms if idle_ms != own_idle_ms => true,
            idle_ms => now_ms.saturating_sub(self.seen_ms) > idle_ms / NOTED_EVERY,
        }
    }

    /// It is used.
    pub(super) fn see(&mut self, own_idle_ms: u64, now_ms: u64) {
        self.seen_ms = now_ms;
        if self.idle_ms > 0 {
            self.idle_ms = own_idle_ms;
        }
    }

    /// Makes changes, whether or not there is room for what they leave.
    pub(super) fn apply(&mut self, changes: &Changes, now_ms: u64) {
        for (name, change) in changes {
            match change {
                Change::Set { json, ends } => {
                    let ends_ms = ends.map(|ends| ends.at_ms(now_ms));
                    self.data.insert(name.clone(), Datum { json: json.clone(), ends_ms });
                }
                Change::Remove => {
                    self.data.remove(name);
                }
            }
        }
    }

    /// Makes all of the changes, or none: whether there is room for what they leave.
    pub(super) fn change(&mut self, changes: &Changes, len_max: usize, now_ms: u64) -> bool {
        self.data.retain(|_, datum| !datum.is_over(now_ms));
        let before = self.data.clone();
        self.apply(changes, now_ms);
        let ((count, len), (count_before, len_before)) = (size(&self.data), size(&before));
        // What has become too large some other way may become smaller.
        let fits =
            (count <= DATA_MAX || count <= count_before) && (len <= len_max || len <= len_before);
        if !fits {
            self.data = before;
        }
        fits
    }

    /// How it lies in Redis, where changes may be appended to it without another look at it: they set what it has already, no
    /// time is to be told, and it neither ends so soon nor is so large that more would have to be looked at.
    pub(super) fn appends(
        &self,
        changes: &Changes,
        len_max: usize,
        own_idle_ms: u64,
        now_ms: u64,
    ) -> Option<Stored> {
        let stored = self.stored?;
        // A new name may be one too many where another saves too.
        let are_plain = changes.iter().all(|(name, change)| {
            let is_timed = matches!(change, Change::Set { ends: Some(When::After(_)), .. });
            self.data.contains_key(name) && !is_timed
        });
        let ((_, len), (more, more_len)) = (size(&self.data), size_of_set(changes));
        // What only removes is taken by a Redis that is full, too, but not so.
        let fits = more > 0 && more_len <= APPENDED_LEN_MAX && len + more_len <= len_max;
        let lasts = self.expires_ms(Some(own_idle_ms)) > now_ms.saturating_add(APPENDS_BEFORE_MS);
        let is_small = stored.appended < APPENDED_MAX && stored.len <= APPENDS_TO_LEN_MAX;
        let may = are_plain && fits && lasts && is_small && !self.is_due(own_idle_ms, now_ms);
        may.then_some(stored)
    }

    /// The same without what its data are: only their names.
    pub(super) fn outline(mut self, now_ms: u64) -> Self {
        self.data.retain(|_, datum| !datum.is_over(now_ms));
        self.data.values_mut().for_each(|datum| datum.json = Bytes::new());
        self
    }

    /// What is there of it now, as changes of a session that has none of it.
    pub(super) fn as_changes(&self, now_ms: u64) -> Changes {
        let there = self.data.iter().filter(|(_, datum)| !datum.is_over(now_ms));
        let set = |datum: &Datum| Change::Set {
            json: datum.json.clone(),
            ends: datum.ends_ms.map(When::At),
        };
        there.map(|(name, datum)| (name.clone(), set(datum))).collect()
    }

    /// The changes that make of these data what they are here.
    pub(super) fn changes_since(&self, before: &Self) -> Changes {
        let mut changes = self.as_changes(0);
        changes.retain(|name, _| before.data.get(name) != self.data.get(name));
        let gone = before.data.keys().filter(|name| !self.data.contains_key(*name));
        changes.extend(gone.map(|name| (name.clone(), Change::Remove)));
        changes
    }
}

/// What a user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Most {
    pub(super) sessions: u32,
    pub(super) evict: Evict,
}

/// What happens where a user has as many sessions as may be, and begins another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evict {
    /// The one that was not used for the longest time ends.
    Oldest,
    /// The new one is refused.
    Refuse,
}

/// A session that is to begin.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    pub(super) user: Option<Arc<str>>,
    pub(super) device: Option<Box<str>>,
    pub(super) address: Option<IpAddr>,
    pub(super) idle_ms: u64,
    pub(super) ends: When,
    pub(super) most: Option<Most>,
    pub(super) data: Changes,
    /// Its token was not drawn for it: what is stored under it is another session.
    pub(super) is_chosen: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is there, and so many others were ended for it.
    Done {
        made_ms: u64,
        ends_ms: u64,
        ended: u64,
    },
    Refused,
    /// Another session is there.
    Taken,
}

impl Beginning {
    pub(super) fn row(&self, now_ms: u64) -> Row {
        let mut row = Row {
            version: 1,
            made_ms: now_ms,
            seen_ms: now_ms,
            ends_ms: self.ends.at_ms(now_ms),
            idle_ms: self.idle_ms,
            user: self.user.clone(),
            device: self.device.clone(),
            address: self.address,
            data: BTreeMap::new(),
            stored: None,
        };
        // How large it is was looked at before.
        row.apply(&self.data, now_ms);
        row
    }
}

/// What was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Live { row: Row, now_ms: u64 },
    Not(Absence),
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// Nothing is stored.
    Unknown,
    /// Its time is over.
    Expired,
    /// All of its user's were ended.
    Ended,
}

/// Changes to be saved.
#[derive(Clone, Debug)]
pub(super) struct Saving<'a> {
    pub(super) idle_ms: u64,
    /// The version that it must have.
    pub(super) expected: Option<u64>,
    /// Another end.
    pub(super) ends: Option<u64>,
    pub(super) changes: &'a Changes,
    pub(super) len_max: usize,
    /// Of a session that they may be appended to.
    pub(super) appends_to: Option<Stored>,
}

/// What came of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Saved {
        version: u64,
        times: Times,
        stored: Option<Stored>,
    },
    /// It is as it was read, with these changes; nothing is known where others have saved too.
    Appended(Option<Stored>),
    Gone,
    /// It has another version.
    Conflict,
    /// There is no room.
    TooMuch,
}

/// The times of a session that was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) seen_ms: u64,
    pub(super) ends_ms: u64,
    /// When it was saved: what has a time of its own is over so long after that.
    pub(super) now_ms: u64,
}

/// How another id is given to a session.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    pub(super) idle_ms: u64,
    /// Whoever has it logs in again: it begins anew, and lasts as long as this.
    pub(super) lasts: Option<When>,
    pub(super) device: Option<Box<str>>,
    pub(super) address: Option<IpAddr>,
}

/// When a session under its new id began, was used, and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotated {
    pub(super) made_ms: u64,
    pub(super) seen_ms: u64,
    pub(super) ends_ms: u64,
}

/// The session of a list, without its data: only what they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: SessionId,
    pub(super) row: Row,
}

/// How many replicas must have what ends a session, and how long they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replicas {
    pub(super) count: u32,
    pub(super) within: Duration,
}

/// How many data there are, and of how many bytes with their names, whether or not their time is over.
fn size(data: &BTreeMap<Box<str>, Datum>) -> (usize, usize) {
    let len = data.iter().map(|(name, datum)| name.len() + datum.json.len()).sum();
    (data.len(), len)
}

/// The same of what changes set.
fn size_of_set(changes: &Changes) -> (usize, usize) {
    let set = changes.iter().filter_map(|(name, change)| match change {
        Change::Set { json, .. } => Some(name.len() + json.len()),
        Change::Remove => None,
    });
    set.fold((0, 0), |(count, sum), len| (count + 1, sum + len))
}

/// # Errors
/// `Rejected` where a session would have none but these data, and they are too many or too large.
pub(super) fn check_size(changes: &Changes, len_max: usize) -> Result<()> {
    let (count, len) = size_of_set(changes);
    match count <= DATA_MAX && len <= len_max {
        true => Ok(()),
        false => Err(too_much(len_max)),
    }
}

pub(super) fn too_much(len_max: usize) -> Error {
    Error::rejected(format!(
        "more data than a session may have: expected at most {DATA_MAX}, of {len_max} bytes with their names"
    ))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// # Errors
/// `Rejected` for what cannot name a datum.
pub(super) fn check_name(name: &str) -> Result<()> {
    match (1..=NAME_LEN_MAX).contains(&name.len()) && !name.starts_with('_') {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "a datum of a session with a name of {} bytes: expected 1 to {NAME_LEN_MAX}, of which the first is no _",
            name.len()
        ))),
    }
}

/// # Errors
/// `Rejected` for what cannot name a user.
pub(super) fn check_user(user: &str) -> Result<()> {
    match (1..=USER_LEN_MAX).contains(&user.len()) {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "a user with a name of {} bytes: expected 1 to {USER_LEN_MAX}",
            user.len()
        ))),
    }
}

/// As much of it as is kept.
pub(super) fn cut_device(device: &str) -> Box<str> {
    let end = device.floor_char_boundary(DEVICE_LEN_MAX);
    device[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let beginning = Beginning {
            user: None,
            device: None,
            address: None,
            idle_ms: 1_000,
            ends: When::After(10_000),
            most: None,
            data: Changes::new(),
            is_chosen: false,
        };
        beginning.row(100_000)
    }

    fn set(json: &'static str, ends: Option<When>) -> Change {
        Change::Set { json: Bytes::from_static(json.as_bytes()), ends }
    }

    fn changes<const N: usize>(changes: [(&str, Change); N]) -> Changes {
        changes.into_iter().map(|(name, change)| (name.into(), change)).collect()
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_in_the_end_however_much_it_is_used() {
        let mut row = row();
        assert!(row.is_live(None, 100_999) && !row.is_live(None, 101_000));
        assert!(!row.is_live(Some(500), 100_500), "by the shorter of both times");
        assert!(row.is_live(Some(5_000), 100_999) && !row.is_live(Some(5_000), 101_000));
        row.see(1_000, 109_500);
        assert!(row.is_live(None, 109_999) && !row.is_live(None, 110_000));
        row.idle_ms = 0;
        row.seen_ms = 0;
        assert!(row.is_live(Some(1_000), 109_999), "one that may go unused for ever");
        assert!(!row.is_live(Some(1_000), 110_000));
    }

    #[test]
    fn that_it_is_used_is_noted_when_a_tenth_of_its_idle_time_is_over() {
        let mut row = row();
        assert!(!row.is_due(1_000, 100_100) && row.is_due(1_000, 100_101));
        assert!(!row.is_due(1_000, 90_000), "a clock that was set back");
        assert!(row.is_due(2_000, 100_000), "it is to be another idle time from now on");
        row.see(2_000, 100_000);
        assert!(!row.is_due(2_000, 100_200) && row.is_due(2_000, 100_201));
    }

    #[test]
    fn changes_are_made_together_or_not_at_all() {
        let mut row = row();
        assert!(row.change(&changes([("a", set("1", None)), ("b", set("2", None))]), 4, 0));
        assert!(!row.change(&changes([("a", Change::Remove), ("c", set("345", None))]), 4, 0));
        assert_eq!(row.data.keys().map(|name| &**name).collect::<Vec<_>>(), ["a", "b"]);
        assert!(row.change(&changes([("a", Change::Remove)]), 1, 0), "it becomes smaller");
        let many = (0..DATA_MAX).map(|n| (n.to_string().into(), set("0", None)));
        let many: Changes = many.collect();
        assert!(!row.change(&many, usize::MAX, 0), "one more than may be");
        assert!(row.change(&changes([("b", Change::Remove)]), usize::MAX, 0));
        assert!(row.change(&many, usize::MAX, 0));
    }

    #[test]
    fn what_is_over_goes_with_the_next_change() {
        let mut row = row();
        let begun = changes([("a", set("1", Some(When::After(5)))), ("b", set("2", None))]);
        assert!(row.change(&begun, 99, 100));
        let other = changes([("c", set("3", None))]);
        assert!(row.change(&other, 99, 104));
        assert_eq!((row.as_changes(104).len(), row.as_changes(105).len()), (3, 2));
        assert!(row.change(&other, 2, 105), "its room is free");
        assert_eq!(row.data.len(), 2);
    }

    #[test]
    fn changes_are_appended_only_where_nothing_has_to_be_looked_at() {
        let idle_ms = 600_000;
        let mut row = Row { idle_ms, ends_ms: 2_000_000, ..row() };
        let (now_ms, stored) = (100_000, Some(Stored { len: 9, appended: 0 }));
        let appends = |row: &Row, changes: &Changes, len_max| {
            row.appends(changes, len_max, idle_ms, now_ms).is_some()
        };
        let plain = changes([("a", set("1", Some(When::At(5)))), ("b", Change::Remove)]);
        row.apply(&changes([("a", set("2", None)), ("b", set("3", None))]), now_ms);
        assert!(!appends(&row, &plain, 6), "no one knows how it lies there");
        row.stored = stored;
        assert_eq!(row.appends(&plain, 6, idle_ms, now_ms), stored);
        assert!(!appends(&row, &plain, 5), "no room");
        assert!(!appends(&row, &changes([("a", set("1", Some(When::After(5))))]), 99));
        let long = Change::Set { json: Bytes::from(vec![b'1'; APPENDED_LEN_MAX]), ends: None };
        assert!(!appends(&row, &changes([("a", long)]), usize::MAX));
        assert!(!appends(&row, &changes([("a", Change::Remove)]), 99), "nothing is set");
        assert!(!appends(&row, &changes([("c", set("1", None))]), 99), "another name");
        let later_ms = now_ms + idle_ms / 10 + 1;
        assert_eq!(row.appends(&plain, 99, idle_ms, later_ms), None, "its use is to be noted");
        assert_eq!(row.appends(&plain, 99, idle_ms - 1, now_ms), None, "its idle time changes");
        for stored in [
            Stored { len: 9, appended: APPENDED_MAX },
            Stored { len: APPENDS_TO_LEN_MAX + 1, appended: 0 },
        ] {
            let whole = Row { stored: Some(stored), ..row.clone() };
            assert!(!appends(&whole, &plain, 99), "it is to be written whole");
        }
        row.ends_ms = now_ms + APPENDS_BEFORE_MS;
        assert!(!appends(&row, &plain, 99), "it ends soon");
    }

    #[test]
    fn what_changed_in_one_row_makes_the_other_of_it() {
        let mut before = row();
        let begun = changes([("a", set("1", None)), ("b", set("2", None)), ("c", set("3", None))]);
        before.change(&begun, 99, 0);
        let mut after = before.clone();
        let later =
            [("a", Change::Remove), ("b", set("5", None)), ("d", set("6", Some(When::At(9))))];
        after.change(&changes(later), 99, 0);
        let since = after.changes_since(&before);
        assert_eq!(since.len(), 3, "{since:?}");
        before.change(&since, 99, 0);
        assert_eq!(before.data, after.data);
    }

    #[test]
    fn a_device_is_cut_between_characters() {
        assert_eq!(&*cut_device("curl/8"), "curl/8");
        let long = format!("{}é", "x".repeat(DEVICE_LEN_MAX - 1));
        assert_eq!(cut_device(&long).len(), DEVICE_LEN_MAX - 1);
    }
}
