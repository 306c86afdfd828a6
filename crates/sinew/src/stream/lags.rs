//! What groups have left to do, as metrics tell it: of all tenants whose group has one name together, since no label says
//! whose it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::model::TOPICS_MAX;
use crate::kernel::telemetry;

/// What one has left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) events: u64,
    pub(super) oldest_ms: u64,
}

/// A topic, a group of it, and who tells of that.
type Told = (String, String, String);

/// Of this process, those with something left, each with the number of who told last.
#[derive(Default)]
pub(super) struct Lags {
    // A mutex: held for a few steps, never over an await.
    told: Mutex<BTreeMap<Told, (u64, Lag)>>,
    last: AtomicU64,
}

/// What one who looks after a group tells of it, for as long as they do.
pub(super) struct OwnLag {
    lags: Arc<Lags>,
    topic: String,
    group: String,
    teller: String,
    number: u64,
}

impl Lags {
    /// Notes what one teller says of a group, and tells what all say of its name. Those who look at the same entries are
    /// one teller: who ends says nothing, and takes back what it told itself.
    fn tell(&self, own: &OwnLag, said: Option<Lag>) {
        let (topic, group) = (&own.topic, &own.group);
        let of = |teller: &str| -> Told { (topic.clone(), group.clone(), teller.to_owned()) };
        let (key, mut told) = (of(&own.teller), self.told.lock());
        let (mut all, lag) = (Lag::default(), said.unwrap_or_default());
        if lag != Lag::default() {
            if told.len() < TOPICS_MAX || told.contains_key(&key) {
                told.insert(key, (own.number, lag));
            } else {
                all = lag;
            }
        } else if said.is_some() || told.get(&key).is_some_and(|(by, _)| *by == own.number) {
            told.remove(&key);
        }
        let named = told.range(of("")..);
        for (_, (_, one)) in named.take_while(|((t, g, _), _)| t == topic && g == group) {
            all.events = all.events.saturating_add(one.events);
            all.oldest_ms = all.oldest_ms.max(one.oldest_ms);
        }
        // Under the lock: of two, the later one knows more.
        let gauge = |name: &'static str| metrics::gauge!(name, "topic" => topic.to_owned(), "group" => group.to_owned());
        // Exact far beyond what fits topics.
        #[allow(clippy::cast_precision_loss)]
        gauge(telemetry::STREAM_LAG).set(all.events as f64);
        gauge(telemetry::STREAM_OLDEST_AGE).set(Duration::from_millis(all.oldest_ms).as_secs_f64());
    }
}

impl OwnLag {
    pub(super) fn new(lags: &Arc<Lags>, (topic, group): (&str, &str), teller: &str) -> Self {
        let number = lags.last.fetch_add(1, Ordering::Relaxed);
        let (lags, teller) = (Arc::clone(lags), teller.to_owned());
        Self { lags, topic: topic.to_owned(), group: group.to_owned(), teller, number }
    }

    /// How many events are not finished, and the age of the oldest.
    pub(super) fn tell(&self, events: u64, oldest_ms: u64) {
        self.lags.tell(self, Some(Lag { events, oldest_ms }));
    }
}

/// What is no longer looked at is not told for ever.
impl Drop for OwnLag {
    fn drop(&mut self) {
        self.lags.tell(self, None);
    }
}
