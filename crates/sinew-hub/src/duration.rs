//! Durations as people write them: `250ms`, `10m`, `1h 30m`.

use std::time::Duration;

use jiff::SignedDuration;
use sinew::Ttl;

/// What a duration looks like, for messages.
pub(crate) const EXPECTED: &str = "expected a duration like 250ms, 30s, 10m or 36h";

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?}: {EXPECTED}");
    let signed: SignedDuration = text.trim().parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn parse_ttl(text: &str) -> Result<Ttl, String> {
    Ttl::new(parse(text)?).map_err(|e| format!("invalid TTL: {e}"))
}

/// As [`parse`] reads it.
pub(crate) fn written(duration: Duration) -> String {
    // None that the hub is told of is as long as that.
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    format!("{signed:#}")
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
        for bad in ["", "10", "m", "-5m", "ten minutes", "10m!", "999999999999999999h"] {
            assert!(parse(bad).unwrap_err().contains("expected a duration"), "{bad}");
        }
        assert!(parse_ttl("0s").unwrap_err().contains("1 ms to 10 years"));
        assert!(parse_ttl("11y").is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        assert_eq!(written(Duration::from_secs(60)), "1m");
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
