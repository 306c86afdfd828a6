//! Durations as people write them: `250ms`, `10m`, `1h 30m`, `7d`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use sinew::Ttl;

/// What a duration looks like, for messages.
pub(crate) const EXPECTED: &str = "expected a duration like 250ms, 30s, 10m, 36h or 7d";

const DAY_NS: u128 = 24 * HOUR_NS;
const HOUR_NS: u128 = 3_600_000_000_000;

/// The largest first.
const UNITS: [(&str, u128); 7] = [
    ("d", DAY_NS),
    ("h", HOUR_NS),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A day has 24 hours, and a week 7 days. Months and years have no length of their own.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?}: {EXPECTED}");
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn parse_ttl(text: &str) -> Result<Ttl, String> {
    Ttl::new(parse(text)?).map_err(|e| format!("invalid TTL: {e}"))
}

/// As [`parse`] reads it, and as people would say it: a number of one unit, with nothing lost.
pub(crate) fn written(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let (unit, unit_ns) = match ns {
        0 => ("s", 1),
        // As it is said all over.
        DAY_NS => ("h", HOUR_NS),
        _ => {
            UNITS.into_iter().find(|(_, unit_ns)| ns.is_multiple_of(*unit_ns)).unwrap_or(("ns", 1))
        }
    };
    format!("{}{unit}", ns / unit_ns)
}

/// For people: the two largest units.
pub(crate) fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", seconds % 60),
        (0, 0, m) => format!("{m} min {} s", seconds % 60),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse("7d"), parse("1w"));
        assert_eq!(parse("1w 2d 12h"), Ok(Duration::from_secs(228 * 3_600)));
        for bad in
            ["", "10", "m", "-5m", "-1d", "ten minutes", "10m!", "999999999999999999h", "1mo", "1y"]
        {
            assert!(parse(bad).unwrap_err().contains("expected a duration"), "{bad}");
        }
        assert!(parse_ttl("0s").unwrap_err().contains("1 ms to 10 years"));
        assert!(parse_ttl("11y").is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in
            ["250ms", "30s", "1m", "90s", "90m", "24h", "36h", "2d", "7d", "366d", "1us", "0s"]
        {
            assert_eq!(parse(text).map(written), Ok(text.to_owned()));
        }
        for (text, one_unit) in [("1h 30m", "90m"), ("1d", "24h"), ("1w", "7d"), ("60s", "1m")] {
            assert_eq!(parse(text).map(written), Ok(one_unit.to_owned()));
        }
        for micros in [0, 1, 999, 1_500, 90_000_000, 366 * 86_400_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse(&written(duration)), Ok(duration));
        }
    }

    #[test]
    fn durations_are_shown_by_their_two_largest_units() {
        let shown = |s| shown(Duration::from_secs(s));
        assert_eq!(shown(59), "59 s");
        assert_eq!(shown(61), "1 min 1 s");
        assert_eq!(shown(3_700), "1 h 1 min");
        assert_eq!(shown(90_000), "1 d 1 h");
    }
}
