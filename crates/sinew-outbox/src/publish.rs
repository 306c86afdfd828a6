//! What becomes of rows that wait.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use sinew::{ErrorKind, Result, Sinew};
use tokio::time::Instant;

use crate::item::Item;

/// So many topics are left out at a time because they take nothing: SQLite takes no statement of 1,000 such terms.
const HELD_MAX: usize = 512;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A row, as it was read.
pub(crate) struct Waiting {
    pub(crate) id: i64,
    pub(crate) tenant: String,
    pub(crate) topic: String,
    mark: String,
    event: Vec<u8>,
    written_at: SystemTime,
}

/// As both databases give it.
pub(crate) type Columns = (i64, String, String, String, Vec<u8>, i64);
/// The same, for a statement.
pub(crate) const COLUMNS: &str = "id, tenant, topic, mark, event, written_ms";

impl From<Columns> for Waiting {
    fn from((id, tenant, topic, mark, event, written_ms): Columns) -> Self {
        let since = Duration::from_millis(u64::try_from(written_ms).unwrap_or_default());
        let written_at =
            SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH);
        Self { id, tenant, topic, mark, event, written_at }
    }
}

/// Rows that are done with.
#[derive(Default)]
pub(crate) struct Settled {
    /// Published: to be deleted.
    pub(crate) done: Vec<i64>,
    /// They can never be published: to be set aside, for people to look at.
    pub(crate) refused: Vec<i64>,
    /// Of those that are done: jobs that are not there, since others have their unique names.
    pub(crate) duplicates: u64,
}

impl Settled {
    pub(crate) fn len(&self) -> usize {
        self.done.len() + self.refused.len()
    }
}

/// A topic, or a queue, that takes nothing now. Its rows are not read meanwhile, so that those of others are.
struct Held {
    tenant: String,
    topic: String,
    until: Instant,
    pause: Duration,
    /// When its oldest row was written.
    since: SystemTime,
    /// Its rows are read again, and no one has refused them yet.
    is_tried: bool,
}

/// Publishes rows in their order, topic by topic.
pub(crate) struct Publisher<S> {
    sinew: S,
    table: String,
    held: Vec<Held>,
    /// It was told that more topics take nothing than are left out.
    is_crowded: bool,
    /// When the oldest row was written that was read since the age was told.
    oldest: Option<SystemTime>,
    /// When the last look came to its end.
    looked_at: SystemTime,
    looking: Duration,
    /// Published by this relay, and not known to be deleted: the database has refused, or has not answered.
    owed: Vec<(i64, String)>,
    pub(crate) published: u64,
    pub(crate) duplicates: u64,
}

impl<S> Publisher<S>
where
    S: Fn(Option<&str>) -> Result<Sinew> + Send + Sync,
{
    pub(crate) fn new(sinew: S, table: &str) -> Self {
        let (held, oldest, looking) = (Vec::new(), None, Duration::ZERO);
        Self {
            sinew,
            table: table.to_owned(),
            held,
            is_crowded: false,
            oldest,
            looked_at: SystemTime::now(),
            looking,
            owed: Vec::new(),
            published: 0,
            duplicates: 0,
        }
    }

    /// Tenants and topics whose rows are not to be read in the look that begins.
    pub(crate) fn held(&mut self) -> Vec<(String, String)> {
        let now = Instant::now();
        self.held.retain(|held| {
            // Since the last look: by this relay, or another one has published them.
            if held.is_tried {
                tracing::info!("rows of {} for {} go on", self.table, held.topic);
            }
            !held.is_tried
        });
        self.is_crowded &= self.held.len() >= HELD_MAX;
        for held in &mut self.held {
            held.is_tried = held.until <= now;
        }
        let held = self.held.iter().filter(|held| !held.is_tried);
        held.map(|held| (held.tenant.clone(), held.topic.clone())).collect()
    }

    /// Notes how long the database has looked for rows.
    pub(crate) fn looked(&mut self, since: Instant) {
        self.looking += since.elapsed();
    }

    /// For how long the database is to be left alone: where it passes over the rows of topics that are held, it looks at
    /// each of them. A tenth of the time is enough; and less where it finds those that cannot be left out.
    pub(crate) fn rest(&mut self) -> Duration {
        let looking = std::mem::take(&mut self.looking);
        match self.held.is_empty() {
            true => Duration::ZERO,
            false if self.is_crowded => PAUSE_MAX,
            false => (10 * looking).min(PAUSE_MAX),
        }
    }

    /// What is to be deleted before any row is read: after ten minutes each would be one more event. By their marks, too:
    /// a database that takes the place of another may have given the numbers to other rows.
    pub(crate) fn owed(&self) -> (Vec<i64>, Vec<String>) {
        self.owed.iter().cloned().unzip()
    }

    /// All that was published is deleted.
    pub(crate) fn has_paid(&mut self) {
        self.owed.clear();
    }

    /// Publishes what it can.
    pub(crate) async fn publish(&mut self, rows: Vec<Waiting>) -> Settled {
        let (mut settled, mut topics) = (Settled::default(), BTreeMap::<_, Vec<Waiting>>::new());
        let mut marks = BTreeMap::new();
        for row in rows {
            marks.insert(row.id, row.mark.clone());
            topics.entry((row.tenant.clone(), row.topic.clone())).or_default().push(row);
        }
        for ((tenant, topic), rows) in topics {
            self.publish_topic(&tenant, &topic, &rows, &mut settled).await;
        }
        let done = u64::try_from(settled.done.len()).unwrap_or(u64::MAX);
        self.published += done;
        self.owed.extend(settled.done.iter().filter_map(|id| marks.remove_entry(id)));
        metrics::counter!("sinew_outbox_relayed_total", "table" => self.table.clone())
            .increment(done);
        if settled.duplicates > 0 {
            self.tell_duplicates(settled.duplicates);
        }
        settled
    }

    fn tell_duplicates(&mut self, jobs: u64) {
        self.duplicates += jobs;
        metrics::counter!("sinew_outbox_duplicates_total", "table" => self.table.clone())
            .increment(jobs);
        tracing::info!(
            "{jobs} jobs of {} are not enqueued: others have their unique names",
            self.table
        );
    }

    /// Tells after a look how long the oldest row has waited that was seen.
    pub(crate) fn tell_age(&mut self) {
        self.set_age();
        (self.oldest, self.looked_at) = (None, SystemTime::now());
    }

    /// Tells that no one can look: a row may wait since the last one that could.
    pub(crate) fn tell_age_unseen(&mut self) {
        self.oldest = self.oldest.into_iter().chain([self.looked_at]).min();
        self.set_age();
    }

    fn set_age(&self) {
        metrics::gauge!("sinew_outbox_oldest_age_seconds", "table" => self.table.clone())
            .set(self.age().as_secs_f64());
    }

    fn age(&self) -> Duration {
        let oldest = self.held.iter().map(|held| held.since).chain(self.oldest).min();
        let age = oldest.and_then(|oldest| SystemTime::now().duration_since(oldest).ok());
        age.unwrap_or_default()
    }

    async fn publish_topic(
        &mut self,
        tenant: &str,
        topic: &str,
        rows: &[Waiting],
        settled: &mut Settled,
    ) {
        let Some(oldest) = rows.iter().map(|row| row.written_at).min() else { return };
        self.oldest = self.oldest.into_iter().chain([oldest]).min();
        let mut ready = Vec::with_capacity(rows.len());
        for row in rows {
            match self.item_of(row) {
                Ok(item) => ready.push((row.id, item)),
                Err(error) => self.set_aside(row.id, &error, settled),
            }
        }
        if ready.is_empty() {
            return;
        }
        let sinew = match (self.sinew)((!tenant.is_empty()).then_some(tenant)) {
            Ok(sinew) => sinew,
            Err(error) if error.kind() == ErrorKind::Rejected => {
                let error = format!("{error:#}");
                return ready.iter().for_each(|(id, _)| self.set_aside(*id, &error, settled));
            }
            Err(error) => return self.hold(tenant, topic, oldest, &error),
        };
        let items = ready.iter().map(|(_, item)| item.clone()).collect();
        match Item::publish_all(items, &sinew, topic).await {
            Ok(duplicates) => {
                settled.duplicates += duplicates;
                settled.done.extend(ready.iter().map(|(id, _)| *id));
            }
            // Some may be there, and are not to wait with the others: for ten minutes only they are known by their dedup ids.
            Err(_) => {
                if let Some(error) = self.publish_each(&sinew, topic, ready, settled).await {
                    self.hold(tenant, topic, oldest, &error);
                }
            }
        }
    }

    /// Publishes them one by one, but for those that would be ahead of one of their key. The last refusal.
    async fn publish_each(
        &self,
        sinew: &Sinew,
        topic: &str,
        items: Vec<(i64, Item)>,
        settled: &mut Settled,
    ) -> Option<sinew::Error> {
        let (mut refused, mut last) = (HashSet::new(), None);
        for (id, item) in items {
            let key = item.key().map(str::to_owned);
            if key.as_ref().is_some_and(|key| refused.contains(key)) {
                continue;
            }
            match item.publish(sinew, topic).await {
                Ok(duplicates) => {
                    settled.duplicates += duplicates;
                    settled.done.push(id);
                }
                Err(error) if error.kind() == ErrorKind::Rejected => {
                    self.set_aside(id, &format!("{error:#}"), settled);
                }
                // Redis does not answer: each would wait for as long.
                Err(error) if error.maybe_applied() => return Some(error),
                Err(error) if matches!(error.kind(), ErrorKind::Timeout { .. }) => {
                    return Some(error);
                }
                Err(error) => {
                    refused.extend(key);
                    last = Some(error);
                }
            }
        }
        last
    }

    fn item_of(&self, row: &Waiting) -> Result<Item, String> {
        let name = format!("outbox:{}:{}:{}", self.table, row.id, row.mark);
        Item::read(&row.topic, &row.event, name)
    }

    fn set_aside(&self, id: i64, error: &str, settled: &mut Settled) {
        tracing::error!(
            "row {id} of {} cannot be published and is set aside (shard -1): {error}",
            self.table
        );
        settled.refused.push(id);
    }

    /// Of several times in one look, the first one counts.
    fn hold(&mut self, tenant: &str, topic: &str, oldest: SystemTime, error: &sinew::Error) {
        let now = Instant::now();
        let jittered = |pause: Duration| now + pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        let has_room = self.held.len() < HELD_MAX;
        let is_it = |held: &&mut Held| held.tenant == tenant && held.topic == topic;
        match self.held.iter_mut().find(is_it) {
            Some(held) if held.is_tried => {
                held.is_tried = false;
                held.pause = (held.pause * 2).min(PAUSE_MAX);
                held.until = jittered(held.pause);
                held.since = oldest;
            }
            Some(held) => held.since = held.since.min(oldest),
            None if has_room => {
                tracing::warn!("rows of {} for {topic} wait: {error:#}", self.table);
                let (tenant, topic) = (tenant.to_owned(), topic.to_owned());
                let (until, pause) = (jittered(PAUSE_MIN), PAUSE_MIN);
                let since = oldest;
                self.held.push(Held { tenant, topic, until, pause, since, is_tried: false });
            }
            None if self.is_crowded => {}
            None => {
                self.is_crowded = true;
                tracing::error!(
                    "rows of {} for more than {HELD_MAX} topics wait, and may hold up others: {error:#}",
                    self.table
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sinew::Streams;
    use sinew::job::{NewJob, Unique};
    use sinew::stream::NewEvent;

    use super::*;
    use crate::{event, item, job};

    fn row(id: i64, key: &str) -> Waiting {
        row_for("full", id, key)
    }

    fn row_for(topic: &str, id: i64, key: &str) -> Waiting {
        let event = NewEvent { key: Some(key.to_owned()), ..NewEvent::default() };
        let mark = event::mark().expect("random");
        let event = event::to_json(event, &mark, SystemTime::now()).expect("JSON");
        let (tenant, topic) = (String::new(), topic.to_owned());
        let written_at = SystemTime::now() - Duration::from_secs(3_600);
        Waiting { id, tenant, topic, mark, event, written_at }
    }

    /// With room for one event.
    async fn publisher()
    -> (Streams, Publisher<impl Fn(Option<&str>) -> Result<Sinew> + Send + Sync>) {
        let sinew = Sinew::embedded();
        let streams = sinew.streams();
        streams.topic("full").partitions(1).len_max(1).declare().await.expect("a topic");
        (streams, Publisher::new(move |_: Option<&str>| Ok(sinew.clone()), "rows"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_enqueued_again_by_its_row_is_there_once() {
        let sinew = Sinew::embedded();
        let of = sinew.clone();
        let mut publisher = Publisher::new(move |_: Option<&str>| Ok(of.clone()), "rows");
        let new = NewJob { queue: "mail".to_owned(), ..NewJob::new("email.send", "{}") };
        let event = job::to_json(new, SystemTime::now()).expect("JSON");
        let row = || Waiting {
            topic: item::of_queue("mail"),
            event: event.clone(),
            ..row_for("mail", 1, "ada")
        };
        for _ in 0..3 {
            let settled = publisher.publish(vec![row(), row_for("mail", 2, "ada")]).await;
            assert_eq!((settled.done, settled.refused.len()), (vec![2, 1], 0));
        }
        let look = sinew.jobs().queue("mail").look().await.expect("an answer");
        assert_eq!(look.map(|look| look.waiting), Some(1));
        // Beside them, a topic of the same name.
        assert!(sinew.streams().look("mail").await.expect("an answer").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_whose_unique_name_another_has_is_told_to_be_no_job() {
        let sinew = Sinew::embedded();
        let of = sinew.clone();
        let mut publisher = Publisher::new(move |_: Option<&str>| Ok(of.clone()), "rows");
        let written = || {
            let job = NewJob { queue: "mail".to_owned(), ..NewJob::new("email.send", "{}") };
            let job = NewJob { unique: Some(Unique::by("invoice 7")), ..job };
            job::to_json(job, SystemTime::now()).expect("JSON")
        };
        let (first, second) = (written(), written());
        let row = |id: i64, event: &[u8]| Waiting {
            topic: item::of_queue("mail"),
            event: event.to_vec(),
            ..row_for("mail", id, "ada")
        };
        // Again, the first one is there, and is no duplicate of itself.
        for _ in 0..2 {
            let settled = publisher.publish(vec![row(1, &first), row(2, &second)]).await;
            assert_eq!((settled.done, settled.duplicates), (vec![1, 2], 1));
        }
        assert_eq!((publisher.published, publisher.duplicates), (4, 2));
        let look = sinew.jobs().queue("mail").look().await.expect("an answer");
        assert_eq!(look.map(|look| look.waiting), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_settled_though_others_are_refused() {
        let (streams, mut publisher) = publisher().await;
        let settled = publisher.publish(vec![row(1, "ada"), row(2, "ada"), row(3, "bob")]).await;
        assert_eq!((settled.done, settled.refused.len()), (vec![1], 0));
        assert_eq!(publisher.held(), [(String::new(), "full".to_owned())]);
        assert!(publisher.age() >= Duration::from_secs(3_600));
        assert_eq!(streams.events("full", None, 10).await.expect("an answer").len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_whose_rows_another_relay_has_published_is_waited_for_no_longer() {
        let (_, mut publisher) = publisher().await;
        publisher.publish(vec![row(1, "ada"), row(2, "ada")]).await;
        assert!(publisher.age() >= Duration::from_secs(3_600));
        publisher.tell_age();
        assert_eq!(publisher.held().len(), 1);
        tokio::time::sleep(PAUSE_MIN).await;
        // It is looked for again, and there is nothing.
        assert!(publisher.held().is_empty());
        publisher.publish(Vec::new()).await;
        assert!(publisher.held().is_empty());
        assert_eq!(publisher.age(), Duration::ZERO);
        publisher.looked(Instant::now());
        assert_eq!(publisher.rest(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_one_can_look_at_is_told_to_wait() {
        let (_, mut publisher) = publisher().await;
        publisher.looked_at = SystemTime::now() - Duration::from_secs(60);
        publisher.tell_age_unseen();
        assert!(publisher.age() >= Duration::from_secs(60));
        publisher.tell_age();
        assert_eq!(publisher.age(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_doubled_once_in_a_look() {
        let (_, mut publisher) = publisher().await;
        for id in 1..=16 {
            publisher.publish(vec![row(id, "ada")]).await;
        }
        assert_eq!(publisher.held().len(), 1);
        tokio::time::sleep(PAUSE_MIN).await;
        assert!(publisher.held().is_empty(), "the pause is as long as after the first");
        for id in 2..=17 {
            publisher.publish(vec![row(id, "ada")]).await;
        }
        assert_eq!(publisher.held().len(), 1, "it was refused again");
    }

    #[tokio::test(start_paused = true)]
    async fn where_more_topics_are_full_than_can_be_left_out_looks_are_few() {
        let (streams, mut publisher) = publisher().await;
        for topic in 0..=HELD_MAX {
            assert_eq!(publisher.rest(), Duration::ZERO, "topic {topic}");
            let topic = format!("full{topic}");
            streams.topic(&topic).partitions(1).len_max(1).declare().await.expect("a topic");
            publisher.publish(vec![row_for(&topic, 1, "ada"), row_for(&topic, 2, "ada")]).await;
        }
        assert_eq!(publisher.rest(), PAUSE_MAX);
        assert_eq!(publisher.held().len(), HELD_MAX);
        tokio::time::sleep(PAUSE_MIN).await;
        assert!(publisher.held().is_empty());
        // Others have published what was there.
        publisher.publish(Vec::new()).await;
        assert!(publisher.held().is_empty());
        assert_eq!(publisher.rest(), Duration::ZERO);
    }
}
