//! Envoy's units of time. A month has 30 days here, and a year 365.

use std::time::Duration;

use sinew::limit::{DAY, HOUR, MINUTE, SECOND};

const UNKNOWN: i32 = 0;
const UNITS: [(i32, Duration); 7] = [
    (1, SECOND),
    (2, MINUTE),
    (3, HOUR),
    (4, DAY),
    (7, Duration::from_secs(7 * DAY.as_secs())),
    (5, Duration::from_secs(30 * DAY.as_secs())),
    (6, Duration::from_secs(365 * DAY.as_secs())),
];

/// How long a unit is, if it is one.
pub(super) fn period(unit: i32) -> Option<Duration> {
    UNITS.iter().find(|(known, _)| *known == unit).map(|(_, period)| *period)
}

/// The unit of a period: `UNKNOWN` where it is none of them.
pub(super) fn of(period: Duration) -> i32 {
    UNITS.iter().find(|(_, known)| *known == period).map_or(UNKNOWN, |(unit, _)| *unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_that_is_no_unit_is_unknown() {
        let seconds = [1, 60, 3_600, 86_400, 2_592_000, 31_536_000, 604_800];
        for (unit, seconds) in (1..).zip(seconds) {
            assert_eq!(period(unit), Some(Duration::from_secs(seconds)));
            assert_eq!(of(Duration::from_secs(seconds)), unit);
        }
        for other in [0, 8, -1] {
            assert_eq!(period(other), None);
        }
        assert_eq!(of(Duration::from_secs(90)), UNKNOWN);
    }
}
