//! A month that is invoiced.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::error::BillingError;
use crate::date::timestamp;

/// Where months end.
pub(super) const ZONE: &str = "Europe/Berlin";

/// A month from 1900 to 2999, written as `2026-10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month {
    year: i16,
    month: i8,
}

impl Month {
    /// The last one that is over at a time, by the clock in Berlin.
    ///
    /// # Errors
    /// Where nobody here knows that clock.
    pub(super) fn over_at(at: SystemTime) -> Result<Self, jiff::Error> {
        let last = timestamp(at).in_tz(ZONE)?.date().first_of_month().yesterday()?;
        Ok(Self { year: last.year(), month: last.month() })
    }

    /// The first day after it, as text.
    pub(super) fn end(self) -> String {
        match self {
            Self { year, month: 12 } => format!("{:04}-01-01", year + 1),
            Self { year, month } => format!("{year:04}-{:02}-01", month + 1),
        }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = BillingError;

    fn from_str(text: &str) -> Result<Self, BillingError> {
        let first: Option<Date> = format!("{text}-01").parse().ok();
        let month = first.map(|first| Self { year: first.year(), month: first.month() });
        // One way to write a month, so that it sorts as text.
        let month =
            month.filter(|month| (1900..=2999).contains(&month.year) && month.to_string() == text);
        let expected = "a month from 1900 to 2999, like 2026-10";
        month.ok_or_else(|| BillingError::rejected("month", expected))
    }
}

impl TryFrom<String> for Month {
    type Error = BillingError;

    fn try_from(text: String) -> Result<Self, BillingError> {
        text.parse()
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_over_at_midnight_in_berlin() {
        for (at, expected) in [
            ("2026-10-31T22:59:59.999Z", "2026-09"),
            ("2026-10-31T23:00:00Z", "2026-10"),
            ("2026-06-30T21:59:59.999Z", "2026-05"),
            ("2026-06-30T22:00:00Z", "2026-06"),
            ("2026-12-31T23:00:00Z", "2026-12"),
        ] {
            let at: jiff::Timestamp = at.parse().unwrap();
            assert_eq!(Month::over_at(at.into()).unwrap().to_string(), expected, "{at}");
        }
    }

    #[test]
    fn a_month_is_written_in_one_way_and_ends_before_the_next() {
        for (text, end) in [("2026-10", "2026-11-01"), ("2026-12", "2027-01-01")] {
            let month: Month = text.parse().unwrap();
            assert_eq!((month.to_string().as_str(), month.end().as_str()), (text, end));
        }
        for bad in ["", "2026", "2026-1", "2026-13", "202610", "2026-10-01", "1066-10", "2026-10 "]
        {
            assert!(bad.parse::<Month>().is_err(), "{bad}");
        }
    }
}
