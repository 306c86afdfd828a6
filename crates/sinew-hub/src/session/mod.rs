//! Sessions, for services in other languages and for people at a terminal.

pub(crate) mod body;
pub mod command;
pub(crate) mod http;
pub(crate) mod settings;

use std::time::Duration;

use jiff::Timestamp;

/// How long it is from one time to another; nothing where the clocks of two machines see it go backwards.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_shorter_than_none() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(between(at(5), at(65)), Duration::from_secs(60));
        assert_eq!(between(at(65), at(5)), Duration::ZERO);
    }
}
