//! When an endpoint is left alone: for a while by its breaker, and what the store is told of it.

use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use sinew::{Breaker, BreakerState};

/// How often the store is told what it knows: another hub may have told it otherwise since.
const TELL_EVERY: Duration = Duration::from_secs(600);
/// A success takes back what another hub may have said.
const TELL_SUCCESS_EVERY: Duration = Duration::from_secs(10);
const FAILURES_IN_A_ROW: u32 = 5;
const FAILURE_PERCENT: u8 = 50;
const AT_LEAST: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
const OPEN_FIRST: Duration = Duration::from_secs(5);
const OPEN_LONGEST: Duration = Duration::from_secs(300);

/// What came of the last delivery by this hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) at: SystemTime,
    /// A status, or a sentence.
    pub(crate) told: String,
    pub(crate) is_good: bool,
}

/// How the endpoint of a webhook does, as this hub sees it.
pub(crate) struct Endpoint {
    /// Of the definition that names it.
    pub(crate) revision: u64,
    pub(crate) breaker: Breaker,
    /// Held by the only delivery that pauses the webhook now.
    pub(crate) pausing: tokio::sync::Mutex<()>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    last: Option<Last>,
    /// What the store was told last, and when.
    told: Option<(bool, Instant)>,
}

impl Endpoint {
    /// By what its breaker is called.
    ///
    /// # Errors
    /// As [`sinew::BreakerBuilder::build`].
    pub(crate) fn new(breaker: &str, revision: u64) -> sinew::Result<Self> {
        let breaker = Breaker::builder(breaker)
            .failures_in_a_row(FAILURES_IN_A_ROW)
            .failure_percent(FAILURE_PERCENT, AT_LEAST, WINDOW)
            .open_for(OPEN_FIRST, OPEN_LONGEST)
            .build()?;
        let (pausing, record) = (tokio::sync::Mutex::default(), Mutex::default());
        Ok(Self { revision, breaker, pausing, record })
    }

    pub(crate) fn note(&self, told: String, is_good: bool) {
        self.record.lock().last = Some(Last { at: SystemTime::now(), told, is_good });
    }

    pub(crate) fn last(&self) -> Option<Last> {
        self.record.lock().last.clone()
    }

    /// Whether the store is to be told of a delivery: of failures once there are many, of what is new, and now and then.
    pub(crate) fn is_news(&self, is_good: bool, now: Instant) -> bool {
        if !is_good && self.breaker.state() == BreakerState::Closed {
            return false;
        }
        let every = if is_good { TELL_SUCCESS_EVERY } else { TELL_EVERY };
        let mut record = self.record.lock();
        let is_news = record.told.is_none_or(|(was_good, at)| {
            was_good != is_good || now.saturating_duration_since(at) >= every
        });
        if is_news {
            record.told = Some((is_good, now));
        }
        is_news
    }

    /// What the store was told has had no effect: it is told with the next delivery.
    pub(crate) fn was_not_heard(&self) {
        self.record.lock().told = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_fails_is_left_alone_and_the_store_is_told_once_and_again_later() {
        let endpoint = Endpoint::new("orders", 1).unwrap();
        let began = Instant::now();
        for _ in 0..FAILURES_IN_A_ROW {
            assert!(!endpoint.is_news(false, began), "one that fails now and then is no news");
            endpoint.breaker.permit().unwrap().failed();
        }
        assert!(endpoint.breaker.permit().is_err());
        assert!(endpoint.is_news(false, began));
        assert!(!endpoint.is_news(false, began + TELL_EVERY - Duration::from_secs(1)));
        assert!(endpoint.is_news(false, began + TELL_EVERY));
        assert!(endpoint.is_news(true, began + TELL_EVERY));
        assert!(!endpoint.is_news(true, began + TELL_EVERY));
        assert!(endpoint.is_news(true, began + TELL_EVERY + TELL_SUCCESS_EVERY));
        endpoint.was_not_heard();
        assert!(endpoint.is_news(true, began + TELL_EVERY + TELL_SUCCESS_EVERY));
        endpoint.note("204".to_owned(), true);
        assert_eq!(endpoint.last().unwrap().told, "204");
    }
}
