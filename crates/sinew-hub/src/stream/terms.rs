//! What is said of streams in words, in a body as at a terminal.

use std::time::SystemTime;

use jiff::Timestamp;
use sinew::stream::{Force, Place, Seek};

/// What a group can be moved to, for messages.
pub(crate) const SEEK_EXPECTED: &str = "expected start, end, a time like 2026-01-31T12:00:00Z, or the place of an event like 3:1795316265410-0";
/// What a place looks like, for messages.
const PLACE_EXPECTED: &str = "expected the place of an event like 3:1795316265410-0";

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn place(text: &str) -> Result<Place, String> {
    text.parse().map_err(|_| format!("invalid place: {PLACE_EXPECTED}"))
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn seek(text: &str) -> Result<Seek, String> {
    match text {
        "start" => Ok(Seek::Start),
        "end" => Ok(Seek::End),
        other => {
            let time = other.parse::<Timestamp>().ok().map(SystemTime::from);
            let place = || other.parse().ok().map(Seek::Place);
            time.map(Seek::Time)
                .or_else(place)
                .ok_or_else(|| format!("invalid place to go to: {SEEK_EXPECTED}"))
        }
    }
}

/// Whether a topic of so many partitions has the place to go to.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn within(to: Seek, partitions: u16) -> Result<(), String> {
    match to {
        Seek::Place(Place { partition, .. }) if partition >= partitions => {
            Err(format!("partition {partition} is not there: expected one below {partitions}"))
        }
        _ => Ok(()),
    }
}

/// As a flag or a query says it.
pub(crate) fn force(is_said: bool) -> Force {
    if is_said { Force::Yes } else { Force::No }
}

/// Why nothing was done with a group.
pub(crate) fn still_holds(group: &str, pending: u64) -> String {
    let events = events(pending);
    format!(
        "consumers of group {group:?} still hold {pending} {events}: expected none, or force, which takes them from them"
    )
}

/// What so many are called.
pub(crate) fn events(count: u64) -> &'static str {
    if count == 1 { "event" } else { "events" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_moved_to_an_end_a_time_or_an_event() {
        assert!(matches!(seek("start"), Ok(Seek::Start)));
        assert!(matches!(seek("end"), Ok(Seek::End)));
        let noon = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_769_860_800);
        assert!(matches!(seek("2026-01-31T12:00:00Z"), Ok(Seek::Time(time)) if time == noon));
        let Ok(Seek::Place(found)) = seek("3:1795316265410-7") else { panic!("a place") };
        assert_eq!(found.to_string(), "3:1795316265410-7");
        for bad in ["", "now", "3", "2026-01-31", "1795316265410-0", "x:1-0"] {
            assert!(seek(bad).is_err_and(|told| told.contains("expected start, end")), "{bad}");
            assert!(place(bad).is_err_and(|told| told.contains("like 3:17")), "{bad}");
        }
    }
}
