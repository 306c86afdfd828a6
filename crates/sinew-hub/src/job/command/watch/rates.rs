//! How fast jobs end, from one look to the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// For one who has not been looked at twice.
pub(super) const UNKNOWN: &str = "–";

/// How many jobs have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) done: u64,
    pub(super) failed: u64,
}

/// A rate, in tenths a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate(u64);

/// What was counted of a queue at its last look, by minute: counters are kept so.
pub(super) struct Counted {
    at: Instant,
    minutes: BTreeMap<Timestamp, Ends>,
}

/// How fast a queue's jobs end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) done: Rate,
    pub(super) failed: Rate,
}

impl Counted {
    pub(super) fn new(at: Instant, minutes: BTreeMap<Timestamp, Ends>) -> Self {
        Self { at, minutes }
    }

    /// How fast jobs have ended since an earlier look.
    pub(super) fn since(&self, before: &Self) -> Rates {
        let took = self.at.duration_since(before.at);
        let oldest = before.minutes.keys().next();
        // What went out of sight meanwhile, and comes into it again, is old.
        let seen = self.minutes.iter().filter(|(at, _)| oldest.is_none_or(|oldest| *at >= oldest));
        let mut ended = Ends::default();
        for (at, now) in seen {
            let before = before.minutes.get(at).copied().unwrap_or_default();
            // Fewer are there where the store was emptied.
            ended.done += now.done.saturating_sub(before.done);
            ended.failed += now.failed.saturating_sub(before.failed);
        }
        Rates { done: Rate::of(ended.done, took), failed: Rate::of(ended.failed, took) }
    }
}

impl Rate {
    fn of(count: u64, took: Duration) -> Self {
        let took_ms = took.as_millis().max(1);
        Self(u64::try_from(u128::from(count) * 10_000 / took_ms).unwrap_or(u64::MAX))
    }

    /// As a number of JSON: so many a second.
    pub(super) fn number(self) -> f64 {
        f64::from(u32::try_from(self.0).unwrap_or(u32::MAX)) / 10.0
    }

    /// For people, in at most six characters.
    pub(super) fn shown(self) -> String {
        match self.0 {
            0 => "0".to_owned(),
            tenths @ 1..1_000 => format!("{}.{}", tenths / 10, tenths % 10),
            tenths => short(tenths / 10),
        }
    }
}

/// A number for people, in at most five characters up to a billion.
pub(super) fn short(number: u64) -> String {
    let tenths = |unit: u64, letter: char| match number / unit {
        whole @ 0..100 => format!("{whole}.{}{letter}", number % unit * 10 / unit),
        whole => format!("{whole}{letter}"),
    };
    match number {
        0..100_000 => number.to_string(),
        100_000..1_000_000 => format!("{}k", number / 1_000),
        1_000_000..1_000_000_000 => tenths(1_000_000, 'M'),
        _ => tenths(1_000_000_000, 'G'),
    }
}

/// Rates as bars beside each other, the newest at the end, of which the highest is the fastest.
pub(super) fn sparkline<'a>(
    rates: impl DoubleEndedIterator<Item = &'a Rate> + Clone,
    width: usize,
) -> String {
    const BARS: [char; 7] = ['▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = rates.clone().map(|rate| rate.0).max().unwrap_or(0);
    let bar = |rate: &Rate| match rate.0 {
        // None ended: less than a few.
        0 => '▁',
        some => {
            let nth = (u128::from(some) * 7).div_ceil(u128::from(most)).clamp(1, 7) - 1;
            BARS[usize::try_from(nth).unwrap_or(0)]
        }
    };
    let mut bars: Vec<char> = rates.rev().take(width).map(bar).collect();
    bars.resize(width, ' ');
    bars.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(nth: i64) -> Timestamp {
        Timestamp::from_second(nth * 60).unwrap()
    }

    fn counted(at: Instant, minutes: &[(i64, u64, u64)]) -> Counted {
        let minutes = minutes
            .iter()
            .map(|(nth, done, failed)| (minute(*nth), Ends { done: *done, failed: *failed }));
        Counted::new(at, minutes.collect())
    }

    #[test]
    fn a_rate_goes_over_the_end_of_a_minute() {
        let began = Instant::now();
        let before = counted(began, &[(1, 50, 5), (2, 10, 0)]);
        let now = counted(began + Duration::from_secs(2), &[(2, 12, 1), (3, 2, 0)]);
        assert_eq!(now.since(&before), Rates { done: Rate(20), failed: Rate(5) });
        // A minute that comes into sight again had ended long before; an emptied store has none.
        let again = counted(began + Duration::from_secs(1), &[(0, 99, 9), (1, 50, 5), (2, 9, 0)]);
        assert_eq!(again.since(&before), Rates { done: Rate(0), failed: Rate(0) });
        let none = counted(began, &[]);
        assert_eq!(now.since(&none).done, Rate(70));
    }

    #[test]
    fn numbers_stay_short() {
        for (number, expected) in [
            (0, "0"),
            (99_999, "99999"),
            (123_456, "123k"),
            (1_250_000, "1.2M"),
            (10_000_000, "10.0M"),
            (999_999_999, "999M"),
            (1_500_000_000, "1.5G"),
        ] {
            assert_eq!(short(number), expected);
        }
        let shown = |count, ms| Rate::of(count, Duration::from_millis(ms)).shown();
        assert_eq!(
            (shown(0, 1_000), shown(5, 2_000), shown(250, 1_000), shown(3, 0)),
            ("0".to_owned(), "2.5".to_owned(), "250".to_owned(), "3000".to_owned())
        );
        assert!((Rate(25).number() - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn bars_are_as_high_as_their_share_of_the_highest() {
        let rates = [0, 1, 50, 100].map(Rate);
        assert_eq!(sparkline(rates.iter(), 6), "  ▁▂▅█");
        assert_eq!(sparkline(rates.iter(), 2), "▅█");
        assert_eq!(sparkline([Rate(0); 0].iter(), 3), "   ");
        assert_eq!(sparkline([Rate(0)].iter(), 1), "▁");
    }
}
