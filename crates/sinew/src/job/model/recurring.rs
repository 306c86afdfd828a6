//! Jobs that recur: how they are defined, and which of their ticks are to fire.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Dst, MISSED_MAX, Schedule, TICK_GRACE, millis};
use crate::kernel::error::{Error, Result};

/// What becomes of ticks that no scheduler was there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// The newest of them fires, and stands for all.
    #[default]
    FireOnce,
    /// Each fires; of more than 1,000 the newest.
    FireAll,
    /// None fires that is late by more than a minute.
    Skip,
}

/// What becomes of a tick whose job of the last tick has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// It makes no job.
    #[default]
    Skip,
    /// It makes one all the same.
    Allow,
    /// The job of the last tick is cancelled, and it makes another.
    Replace,
}

/// A recurring job, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::job) struct Definition {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tz: Option<String>,
    #[serde(default)]
    dst: Dst,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_ms: Option<u64>,
    #[serde(default)]
    pub(in crate::job) missed: Missed,
    #[serde(default)]
    pub(in crate::job) overlap: Overlap,
    pub(in crate::job) kind: String,
    /// What the job is given: JSON.
    #[serde(with = "as_written")]
    pub(in crate::job) payload: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::job) priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::job) key: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(in crate::job) is_paused: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(is: &bool) -> bool {
    !*is
}

/// JSON as it was written: a number of it may have more digits than any of ours.
mod as_written {
    use bytes::Bytes;
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use serde_json::value::RawValue;

    pub(super) fn serialize<S: Serializer>(json: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue = serde_json::from_slice(json).map_err(S::Error::custom)?;
        json.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let json = Box::<RawValue>::deserialize(from)?;
        Ok(Bytes::copy_from_slice(json.get().as_bytes()))
    }
}

impl Definition {
    /// # Errors
    /// `Rejected` for a payload that is no JSON.
    pub(in crate::job) fn new(
        schedule: &Schedule,
        kind: &str,
        payload: &[u8],
        missed: Missed,
        overlap: Overlap,
    ) -> Result<Self> {
        let payload: &RawValue = serde_json::from_slice(payload)
            .map_err(|error| Error::rejected("a payload that is not JSON").with_source(error))?;
        let (cron, every_ms) = match schedule {
            Schedule::Cron(cron) => (Some(cron), None),
            Schedule::Every(every_ms) => (None, Some(*every_ms)),
        };
        Ok(Self {
            cron: cron.map(|cron| cron.expression().to_owned()),
            tz: cron.map(|cron| cron.zone().to_owned()),
            dst: cron.map(|cron| cron.dst()).unwrap_or_default(),
            every_ms,
            missed,
            overlap,
            kind: kind.to_owned(),
            payload: Bytes::copy_from_slice(payload.get().as_bytes()),
            priority: None,
            key: None,
            is_paused: false,
        })
    }

    /// # Errors
    /// `Rejected` where this process knows no such schedule: another version, or another time zone database.
    pub(in crate::job) fn schedule(&self) -> Result<Schedule> {
        match (&self.cron, self.every_ms) {
            (Some(cron), None) => {
                Schedule::cron(cron, self.tz.as_deref().unwrap_or("UTC"), self.dst)
            }
            (None, Some(every_ms)) => Schedule::every(Duration::from_millis(every_ms)),
            _ => Err(Error::rejected("a recurring job has a cron expression or an interval")),
        }
    }

    /// What says whether its schedule is the same as another's.
    pub(in crate::job) fn schedule_text(&self) -> String {
        let Self { cron, tz, dst, every_ms, .. } = self;
        format!("{cron:?} {tz:?} {dst:?} {every_ms:?}")
    }

    pub(in crate::job) fn write(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// # Errors
    /// `Corrupt` for what is no definition.
    pub(in crate::job) fn read(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json)
            .map_err(|error| Error::corrupt("not a recurring job").with_source(error))
    }
}

/// The ticks after the last that are due, oldest first, and when the next one is; all by the store's clock. Those that are
/// passed over are older than the first that fires: firing that one notes them as done. Where none fires, but some are
/// passed over, the next is after them all the same.
pub(in crate::job) fn ticks_due(
    schedule: &Schedule,
    missed: Missed,
    last_ms: u64,
    now_ms: u64,
) -> (Vec<u64>, Option<u64>) {
    let keep = match missed {
        Missed::FireAll => MISSED_MAX,
        Missed::FireOnce | Missed::Skip => 1,
    };
    let mut due = newest(|after_ms| schedule.next_ms(after_ms), keep, last_ms, now_ms);
    let next = schedule.next_ms(due.last().copied().unwrap_or(last_ms));
    if missed == Missed::Skip {
        due.retain(|tick| now_ms.saturating_sub(*tick) <= millis(TICK_GRACE));
    }
    (due, next)
}

/// The newest ticks that are due, so many at most, oldest first. However many there were before, they are not gone
/// through: each look ahead ends at twice as many.
fn newest(
    next_ms: impl Fn(u64) -> Option<u64> + Copy,
    count: usize,
    last_ms: u64,
    now_ms: u64,
) -> Vec<u64> {
    let due_after = move |from_ms: u64| {
        std::iter::successors(next_ms(from_ms), move |tick_ms| next_ms(*tick_ms))
            .take_while(move |tick_ms| *tick_ms <= now_ms)
    };
    let has_enough = |from_ms: u64| due_after(from_ms).nth(count - 1).is_some();
    if next_ms(last_ms).is_none_or(|first_ms| first_ms > now_ms) {
        return Vec::new();
    }
    // There are not enough after the one; there are after the other, or it is the last that fired.
    let (mut near_ms, mut back_ms) = (now_ms, 60_000_u64);
    let mut far_ms = now_ms.saturating_sub(back_ms).max(last_ms);
    while far_ms > last_ms && !has_enough(far_ms) {
        near_ms = far_ms;
        back_ms = back_ms.saturating_mul(4);
        far_ms = now_ms.saturating_sub(back_ms).max(last_ms);
    }
    // Ticks may lie close together far back: every second of a certain month. At one millisecond there is one at most.
    while due_after(far_ms).nth(2 * count).is_some() {
        let middle_ms = far_ms.midpoint(near_ms);
        match has_enough(middle_ms) {
            true => far_ms = middle_ms,
            false => near_ms = middle_ms,
        }
    }
    let mut due: Vec<u64> = due_after(far_ms).collect();
    due.drain(..due.len().saturating_sub(count));
    due
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MINUTE: u64 = 60_000;

    fn hourly() -> Schedule {
        Schedule::every(Duration::from_secs(3_600)).unwrap()
    }

    #[test]
    fn what_was_missed_follows_its_policy() {
        let hour = 60 * MINUTE;
        let of = |missed, now_ms| ticks_due(&hourly(), missed, 2 * hour, now_ms);
        let late = 5 * hour + 30 * MINUTE;
        assert_eq!(of(Missed::FireOnce, late), (vec![5 * hour], Some(6 * hour)));
        assert_eq!(of(Missed::FireAll, late), (vec![3 * hour, 4 * hour, 5 * hour], Some(6 * hour)));
        assert_eq!(of(Missed::Skip, late), (vec![], Some(6 * hour)));
        assert_eq!(of(Missed::Skip, 5 * hour + MINUTE), (vec![5 * hour], Some(6 * hour)));
        for missed in [Missed::FireOnce, Missed::FireAll, Missed::Skip] {
            assert_eq!(of(missed, 3 * hour - 1), (vec![], Some(3 * hour)));
            assert_eq!(of(missed, 3 * hour), (vec![3 * hour], Some(4 * hour)));
        }
    }

    #[test]
    fn a_long_outage_is_not_gone_through_tick_by_tick() {
        let every = Schedule::every(Duration::from_secs(1)).unwrap();
        let now = 400 * 86_400_000;
        assert_eq!(ticks_due(&every, Missed::FireOnce, 0, now), (vec![now], Some(now + 1_000)));
        let (all, next) = ticks_due(&every, Missed::FireAll, 0, now);
        assert_eq!((all.len(), all[0]), (MISSED_MAX, now - 999_000));
        assert_eq!((all.last(), next), (Some(&now), Some(now + 1_000)));
    }

    /// What is due, and how often it was asked for the next.
    fn counted(schedule: &Schedule, count: usize, last_ms: u64, now_ms: u64) -> (Vec<u64>, usize) {
        let asked = Cell::new(0);
        let next_ms = |after_ms| {
            asked.set(asked.get() + 1);
            schedule.next_ms(after_ms)
        };
        let due = newest(next_ms, count, last_ms, now_ms);
        (due, asked.get())
    }

    #[test]
    fn what_was_missed_in_a_year_is_found_in_bounded_work() {
        let cron = |expression| Schedule::cron(expression, "UTC", Dst::RunOnce).unwrap();
        let day = 24 * 60 * MINUTE;
        let january = 31 * day;
        for (schedule, now, last) in [
            (Schedule::every(Duration::from_secs(1)).unwrap(), 365 * day, 365 * day),
            (cron("* * * * * *"), 365 * day, 365 * day),
            // Every second, but months ago.
            (cron("* * * * 1 *"), 181 * day, january - 1_000),
            (cron("0 * * * *"), 365 * day, 365 * day),
            (cron("0 0 1 * *"), 364 * day, 334 * day),
        ] {
            for count in [1, MISSED_MAX] {
                let (due, asked) = counted(&schedule, count, 0, now);
                assert!(asked < 100 * MISSED_MAX, "{schedule:?} {count}: {asked}");
                assert!(due.len() <= count && due.last() == Some(&last), "{schedule:?} {count}");
                let ahead = std::iter::successors(Some(due[0]), |tick| schedule.next_ms(*tick));
                let all: Vec<u64> = ahead.take_while(|tick| *tick <= now).collect();
                assert_eq!(due, all, "{schedule:?} {count}: none between them is left out");
                // Fewer only where there are no more.
                let before = schedule.next_ms(0).filter(|_| due.len() < count);
                assert!(before.is_none_or(|first| first == due[0]), "{schedule:?} {count}");
            }
        }
        let (none, asked) = counted(&hourly(), MISSED_MAX, 2 * day, 2 * day + MINUTE);
        assert_eq!((none, asked), (Vec::new(), 1));
    }

    #[test]
    fn a_definition_is_read_as_it_is_written() {
        let schedule = Schedule::cron("0 2 * * *", "Europe/Berlin", Dst::Skip).unwrap();
        let payload = br#" {"n": 12345678901234567890123, "by": 1.10, "by": 2} "#;
        let of = |payload: &[u8]| {
            Definition::new(&schedule, "cleanup", payload, Missed::Skip, Overlap::Allow)
        };
        let nightly = of(payload).unwrap();
        assert_eq!(nightly.payload, payload.trim_ascii());
        assert_eq!(Definition::read(&nightly.write()).unwrap(), nightly);
        assert!(of(b"{").is_err() && of(b"").is_err());
        assert_eq!(nightly.schedule().unwrap(), schedule);
        assert!(Definition::read(b"{}").is_err());
    }
}
