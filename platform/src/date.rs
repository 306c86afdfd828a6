//! Days, as they are sent and stored: `2026-11-21`.

use jiff::civil::Date;

/// Whether it is a day from 1900 to 2999, written in the one way that sorts as text.
pub(crate) fn is_plain(text: &str) -> bool {
    let date: Option<Date> = text.parse().ok();
    date.is_some_and(|date| (1900..=2999).contains(&date.year()) && date.to_string() == text)
}
