//! How far behind the groups of a topic were in the last minutes: of topics that someone looks at, and for a while after.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use serde::Serialize;
use sinew::Streams;
use sinew::stream::GroupLag;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::MissedTickBehavior;

use super::extract::OfTopic;
use crate::dashboard::events::{GOES_ON_MAX, for_a_while};
use crate::dashboard::show::Fault;
use crate::hub::{BUSY, Hub};
use crate::serve::stopped;

/// Between two points: each is a look at all partitions, however many pages show it.
const EVERY: Duration = Duration::from_secs(2);
const POINTS_MAX: usize = 300;
/// So many topics at once, and so many groups of each.
const TOPICS_MAX: usize = 32;
const GROUPS_MAX: usize = 50;
/// For how long points are taken when no one looks any more: who comes back finds them.
const GOES_ON_FOR: Duration = Duration::from_secs(600);
/// A page that is this far behind has a gap in its charts.
const BEHIND_MAX: usize = 16;

/// A topic, after its tenant: empty where it is no one's.
type Key = (String, String);

/// The topics that are looked at. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Histories(Arc<Mutex<BTreeMap<Key, History>>>);

struct History {
    points: VecDeque<TopicPoint>,
    news: broadcast::Sender<TopicPoint>,
}

/// All groups of a topic at one time.
#[derive(Clone, Serialize)]
struct TopicPoint {
    /// Seconds since the Unix epoch
    at: u64,
    of: BTreeMap<String, Lag>,
}

#[derive(Clone, Copy, Serialize)]
struct Lag {
    /// Events that it has not finished
    behind: u64,
    oldest_s: u64,
}

/// All points so far as one, then each new one.
pub(super) async fn events(
    State(hub): State<Hub>,
    OfTopic { streams, whose }: OfTopic,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Fault> {
    let place = hub.listening_place().ok_or_else(|| Fault::page(BUSY))?;
    if streams.look(&whose.topic).await?.is_none() {
        return Err(Fault::page("there is no such topic: the first event makes one"));
    }
    let key = (whose.tenant.trim().to_owned(), whose.topic);
    let (so_far, news) = hub
        .histories()
        .of(key, &streams, &hub.stopping())
        .ok_or_else(|| Fault::page("too many topics are looked at: try again later"))?;
    let following = stream::unfold((news, place), |(mut news, place)| async move {
        loop {
            match news.recv().await {
                Ok(point) => return Some((event(&[point]), (news, place))),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let events = stream::iter([event(&so_far)]).chain(following);
    let events = for_a_while(events, hub.stopping(), GOES_ON_MAX);
    Ok(Sse::new(events.map(Ok)).keep_alive(KeepAlive::default()))
}

fn event(points: &[TopicPoint]) -> Event {
    let data = serde_json::to_string(points).unwrap_or_default();
    Event::default().event("points").data(data)
}

impl Histories {
    /// What is known of a topic, and what will be. `None`: too many others are looked at.
    fn of(
        &self,
        key: Key,
        streams: &Streams,
        stopping: &watch::Receiver<bool>,
    ) -> Option<(Vec<TopicPoint>, broadcast::Receiver<TopicPoint>)> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(&key) {
            return Some((known.points.iter().cloned().collect(), known.news.subscribe()));
        }
        if all.len() >= TOPICS_MAX {
            return None;
        }
        let (news, heard) = broadcast::channel(BEHIND_MAX);
        all.insert(key.clone(), History { points: VecDeque::new(), news });
        tokio::spawn(sample(self.clone(), key, streams.clone(), stopping.clone()));
        Some((Vec::new(), heard))
    }

    fn add(&self, key: &Key, point: TopicPoint) {
        let mut all = self.0.lock();
        let Some(history) = all.get_mut(key) else { return };
        history.points.push_back(point.clone());
        if history.points.len() > POINTS_MAX {
            history.points.pop_front();
        }
        // Fails while no one looks.
        let _ = history.news.send(point);
    }

    fn is_looked_at(&self, key: &Key) -> bool {
        self.0.lock().get(key).is_some_and(|history| history.news.receiver_count() > 0)
    }

    /// In one step with the look: who comes after it begins anew.
    fn end_unless_looked_at(&self, key: &Key) -> bool {
        let mut all = self.0.lock();
        let is_over = all.get(key).is_none_or(|history| history.news.receiver_count() == 0);
        if is_over {
            all.remove(key);
        }
        is_over
    }
}

/// Takes points of a topic for as long as someone looks, and a while longer.
async fn sample(all: Histories, key: Key, streams: Streams, stopping: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut over = std::pin::pin!(stopped(stopping));
    let mut seen_at = Instant::now();
    loop {
        tokio::select! {
            () = &mut over => return,
            _ = ticks.tick() => {}
        }
        if all.is_looked_at(&key) {
            seen_at = Instant::now();
        } else if seen_at.elapsed() >= GOES_ON_FOR && all.end_unless_looked_at(&key) {
            return;
        }
        // Where the store is away, the charts have a gap.
        if let Ok(groups) = streams.lag(&key.1).await {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            all.add(&key, TopicPoint::of(at, groups));
        }
    }
}

impl TopicPoint {
    fn of(at: u64, mut groups: Vec<GroupLag>) -> Self {
        // Those that are furthest behind, as the page has them.
        groups.sort_by_key(|lag| std::cmp::Reverse(lag.oldest_unacked));
        let lag = |lag: GroupLag| {
            let behind = lag.unfinished();
            let oldest_s = lag.oldest_unacked.unwrap_or_default().as_secs();
            (lag.group, Lag { behind, oldest_s })
        };
        Self { at, of: groups.into_iter().take(GROUPS_MAX).map(lag).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_back_finds_what_was_noted_meanwhile() {
        let (all, stopping) = (Histories::default(), watch::Sender::new(false));
        let streams = sinew::Sinew::embedded().tenant("acme").unwrap().streams();
        let key = |topic: &str| ("acme".to_owned(), topic.to_owned());
        let of = |topic: &str| all.of(key(topic), &streams, &stopping.subscribe());
        let (so_far, mut news) = of("orders").unwrap();
        assert!(so_far.is_empty());
        for at in 0..=400 {
            all.add(&key("orders"), TopicPoint { at, of: BTreeMap::new() });
        }
        assert!(matches!(news.recv().await, Err(RecvError::Lagged(_))));
        drop(news);
        assert_eq!(of("orders").unwrap().0.len(), POINTS_MAX);
        for other in 1..TOPICS_MAX {
            assert!(of(&other.to_string()).is_some());
        }
        assert!(of("one too many").is_none());
        assert!(all.end_unless_looked_at(&key("orders")));
        assert!(of("one more").is_some());
        stopping.send_replace(true);
    }
}
