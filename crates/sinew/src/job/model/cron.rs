//! When a recurring job is to run: cron in a time zone, or an interval.
//!
//! Between two changes of a zone's clock, wall time is instants plus a constant: ticks are looked for in one such
//! stretch after the other, and what a change skips or repeats is decided at its edge.

use std::fmt;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::{in_words, millis};
use crate::kernel::error::{Error, Result};

const EVERY_MIN: Duration = Duration::from_secs(1);
const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);
const EXPRESSION_LEN_MAX: usize = 256;
/// A day that comes at all comes in this time: the 29th of February on a certain weekday may take 40 years.
const DAYS_MAX: u32 = 41 * 366;
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// What becomes of ticks when a clock is put forward or back. It has no effect where the hours begin with `*`: such a job
/// goes by the time that passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dst {
    /// What the clock skips comes once, as soon as it has skipped it; what it repeats comes the first time only.
    #[default]
    RunOnce,
    /// What the clock skips does not come; what it repeats comes the first time only.
    Skip,
    /// What the clock skips comes once, as soon as it has skipped it; what it repeats comes both times.
    RunTwice,
}

/// When a job recurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// By the clock on the wall.
    Cron(Box<Cron>),
    /// At all multiples of this many milliseconds since 1970.
    Every(u64),
}

/// A cron expression in its time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    zone_name: String,
    zone: TimeZone,
    dst: Dst,
    seconds: Set,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    /// Either of them counts where both are narrowed.
    narrows_both_days: bool,
    follows_time: bool,
}

/// Small numbers, each a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.0.checked_shr(number).unwrap_or(0) & 1 == 1)
    }

    /// The first that is at least so much.
    fn first_from(self, number: i8) -> Option<i8> {
        (number.max(0)..60).find(|number| self.has(*number))
    }
}

impl Schedule {
    /// # Errors
    /// `Rejected`, with what was expected: five fields (minute, hour, day of the month, month, day of the week), six with
    /// seconds before them, or a word like `@daily`; and a zone of the time zone database.
    pub fn cron(expression: &str, zone: &str, dst: Dst) -> Result<Self> {
        Cron::parse(expression, zone, dst).map(|cron| Self::Cron(Box::new(cron)))
    }

    /// # Errors
    /// `Rejected` for an interval that is not 1 s to 366 days.
    pub fn every(interval: Duration) -> Result<Self> {
        match (EVERY_MIN..=EVERY_MAX).contains(&interval) {
            true => Ok(Self::Every(millis(interval))),
            false => Err(Error::rejected(format!(
                "an interval of {} is out of bounds: expected 1 s to 366 days",
                in_words(interval)
            ))),
        }
    }

    /// The first tick after a moment, in milliseconds since 1970; none where there is no other.
    pub(in crate::job) fn next_ms(&self, after_ms: u64) -> Option<u64> {
        match self {
            Self::Every(every_ms) => (after_ms / every_ms).checked_add(1)?.checked_mul(*every_ms),
            Self::Cron(cron) => {
                let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
                u64::try_from(cron.next(after)?.as_millisecond()).ok()
            }
        }
    }
}

impl Cron {
    fn parse(expression: &str, zone_name: &str, dst: Dst) -> Result<Self> {
        if expression.len() > EXPRESSION_LEN_MAX {
            return Err(bad("the expression", "at most 256 bytes"));
        }
        let zone = TimeZone::get(zone_name).map_err(|_| {
            Error::rejected("unknown time zone: expected one like Europe/Berlin or UTC")
        })?;
        let text = expression.trim();
        let plain = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = plain.split_ascii_whitespace().collect();
        let (seconds, fields) = match fields.len() {
            5 => ("0", &fields[..]),
            6 => (fields[0], &fields[1..]),
            _ => return Err(bad("the expression", "five fields, or six with seconds first")),
        };
        let weekdays = set(fields[4], "weekday", 0..=7, &WEEKDAYS, 0)?;
        // Sunday is 7, too.
        let weekdays = Set((weekdays.0 | (weekdays.0 >> 7)) & 0x7f);
        let narrows = |field: &str| !field.starts_with('*') && field != "?";
        let cron = Self {
            text: text.to_owned(),
            zone_name: zone_name.to_owned(),
            zone,
            dst,
            seconds: set(seconds, "second", 0..=59, &[], 0)?,
            minutes: set(fields[0], "minute", 0..=59, &[], 0)?,
            hours: set(fields[1], "hour", 0..=23, &[], 0)?,
            days: set(fields[2], "day", 1..=31, &[], 0)?,
            months: set(fields[3], "month", 1..=12, &MONTHS, 1)?,
            weekdays,
            narrows_both_days: narrows(fields[2]) && narrows(fields[4]),
            follows_time: fields[1].starts_with('*'),
        };
        match cron.next_wall(DateTime::constant(2000, 1, 1, 0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err(Error::rejected("invalid cron: expected a day that some month has")),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.text
    }

    /// The time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// What becomes of ticks when a clock is put forward or back.
    #[must_use]
    pub fn dst(&self) -> Dst {
        self.dst
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut offset = self.zone.to_offset(after);
        let mut repeated_until = self.repeated_until(after, offset);
        let mut from = after.checked_add(SignedDuration::from_nanos(1)).ok()?;
        let end = after.checked_add(SignedDuration::from_hours(24 * i64::from(DAYS_MAX))).ok()?;
        let mut changes = self.zone.following(after).take_while(|change| change.timestamp() <= end);
        loop {
            let change = changes.next();
            let until = change.as_ref().map_or(end, jiff::tz::TimeZoneTransition::timestamp);
            if let Some(found) = self.within(from, until, offset, repeated_until) {
                return Some(found);
            }
            let change = change?;
            let (was, is) = (offset, change.offset());
            let jump = i64::from(is.seconds()) - i64::from(was.seconds());
            if jump > 0 && self.makes_up(was.to_datetime(until), is.to_datetime(until)) {
                return Some(until);
            }
            (offset, from) = (is, until);
            repeated_until = (jump < 0)
                .then(|| until.checked_add(SignedDuration::from_secs(-jump)).ok())
                .flatten();
        }
    }

    /// The first tick of a stretch, from its begin until before its end.
    fn within(
        &self,
        from: Timestamp,
        until: Timestamp,
        offset: Offset,
        repeated_until: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let is_once = !self.follows_time && self.dst != Dst::RunTwice;
        // What comes a second time is passed over.
        let from = match repeated_until.filter(|_| is_once) {
            Some(repeated_until) => from.max(repeated_until),
            None => from,
        };
        if from >= until {
            return None;
        }
        let wall = self.next_wall(offset.to_datetime(from))?;
        offset.to_timestamp(wall).ok().filter(|found| *found < until)
    }

    /// Whether something is to be made up for that the clock skips.
    fn makes_up(&self, skipped_from: DateTime, skipped_until: DateTime) -> bool {
        let counts = !self.follows_time && self.dst != Dst::Skip;
        counts && self.next_wall(skipped_from).is_some_and(|wall| wall < skipped_until)
    }

    /// Until when the time on the wall is one that was there before.
    fn repeated_until(&self, at: Timestamp, offset: Offset) -> Option<Timestamp> {
        // The change itself is not before itself.
        let just_after = at.checked_add(SignedDuration::from_nanos(1)).ok()?;
        let change = self.zone.preceding(just_after).next()?;
        let began = change.timestamp();
        let before = began.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        let was = self.zone.to_offset(before);
        let back = i64::from(was.seconds()) - i64::from(offset.seconds());
        let until = began.checked_add(SignedDuration::from_secs(back.max(0))).ok()?;
        (back > 0 && until > at).then_some(until)
    }

    /// The first time on a wall that is meant, from this one on.
    fn next_wall(&self, from: DateTime) -> Option<DateTime> {
        // A part of a second is a second later.
        let from = match from.subsec_nanosecond() {
            0 => from,
            nanos => from
                .checked_add(SignedDuration::from_nanos(1_000_000_000 - i64::from(nanos)))
                .ok()?,
        };
        let (mut date, mut time) = (from.date(), Some(from.time()));
        for _ in 0..DAYS_MAX {
            if self.is_meant(date)
                && let Some(time) = self.next_time(time.unwrap_or(Time::midnight()))
            {
                return Some(date.to_datetime(time));
            }
            time = None;
            date = match self.months.has(date.month()) {
                true => date.tomorrow().ok()?,
                false => date.last_of_month().tomorrow().ok()?,
            };
        }
        None
    }

    fn is_meant(&self, date: Date) -> bool {
        let is_day = self.days.has(date.day());
        let is_weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        let is_either = match self.narrows_both_days {
            true => is_day || is_weekday,
            false => is_day && is_weekday,
        };
        self.months.has(date.month()) && is_either
    }

    fn next_time(&self, from: Time) -> Option<Time> {
        for hour in from.hour()..24 {
            if !self.hours.has(hour) {
                continue;
            }
            let is_first = hour == from.hour();
            let mut minute = self.minutes.first_from(if is_first { from.minute() } else { 0 });
            while let Some(at) = minute {
                let is_first = is_first && at == from.minute();
                if let Some(second) =
                    self.seconds.first_from(if is_first { from.second() } else { 0 })
                {
                    return Time::new(hour, at, second, 0).ok();
                }
                minute = self.minutes.first_from(at + 1);
            }
        }
        None
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?} {} {:?})", self.text, self.zone_name, self.dst)
    }
}

fn bad(what: &str, rule: &str) -> Error {
    Error::rejected(format!("invalid cron: expected {rule} as {what}"))
}

/// A field: `*`, numbers, names and ranges with commas between them, each with a step.
fn set(
    field: &str,
    what: &str,
    bounds: std::ops::RangeInclusive<u8>,
    names: &[&str],
    first_name: u8,
) -> Result<Set> {
    let (min, max) = (*bounds.start(), *bounds.end());
    let wrong = || bad(&format!("a {what}"), &format!("{min} to {max}"));
    let number = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some(at) => u8::try_from(at).ok().map(|at| at + first_name),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        number.filter(|number| bounds.contains(number)).ok_or_else(wrong)
    };
    let mut set = 0_u64;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<u8>().ok().filter(|step| (1..=max).contains(step));
                (range, Some(step.ok_or_else(wrong)?))
            }
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (min, max),
            Some((from, to)) => (number(from)?, number(to)?),
            None if step.is_some() => (number(range)?, max),
            None => (number(range)?, number(range)?),
        };
        if from > to {
            return Err(wrong());
        }
        for at in (from..=to).step_by(usize::from(step.unwrap_or(1))) {
            set |= 1 << at;
        }
    }
    Ok(Set(set))
}

#[cfg(test)]
mod tests;
