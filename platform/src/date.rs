//! Days and times, as they are sent and stored: `2026-11-21`, `2026-11-21T08:30:00Z`.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::Date;

/// Whether it is a day from 1900 to 2999, written in the one way that sorts as text.
pub(crate) fn is_plain(text: &str) -> bool {
    let date: Option<Date> = text.parse().ok();
    date.is_some_and(|date| (1900..=2999).contains(&date.year()) && date.to_string() == text)
}

/// The day of a time, in UTC.
pub(crate) fn day(at: SystemTime) -> String {
    timestamp(at).strftime("%Y-%m-%d").to_string()
}

/// A time, to the millisecond.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since.as_millis()).ok();
    millis.and_then(|millis| Timestamp::from_millisecond(millis).ok()).unwrap_or(Timestamp::MAX)
}
