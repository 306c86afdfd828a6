//! Subscribing: what a group wants of a topic, and the handler that it has for it.

use std::any::type_name;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::again::growing;
use super::checkpoint::Checkpoints;
use super::disk::Disk;
use super::event::Event;
use super::handler::{Ack, Ctx, HandlerError};
use super::model::{
    Backoff, CONCURRENCY_DEFAULT, CONCURRENCY_MAX, DEDUP_MAX, GroupMode, LEASE_DEFAULT, Start,
    check_lease, check_partitions, consumer_name, grace,
};
use super::run::Finished;
use super::{Streams, consumer, share};
use crate::kernel::breaker::Breaker;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::Code;
use crate::kernel::name::{GroupName, TopicName};
use crate::kernel::words::{LABEL_LEN_MAX, is_label, this_process, told, without_values};

/// For how long what runs may go on when a subscription ends, unless said.
const DRAIN_DEFAULT: Duration = Duration::from_secs(30);
const DRAIN_MAX: Duration = Duration::from_secs(3_600);
const FORGET_MIN: Duration = Duration::from_secs(60);
const FORGET_MAX: Duration = Duration::from_secs(3_650 * 86_400);
const KINDS_MAX: usize = 64;

/// What a run of a handler comes to.
#[derive(Debug)]
pub(super) enum Handled {
    Said(Ack),
    /// In the words of its error.
    Failed(String),
    /// Its data are not what the handler takes, and never will be.
    Unreadable(String),
}

type Handler = Arc<dyn Fn(Event<Bytes>, Ctx) -> BoxFuture<'static, Handled> + Send + Sync>;

/// What a subscription is to do.
pub(super) struct Settings {
    pub(super) topic: TopicName,
    pub(super) group: GroupName,
    pub(super) mode: GroupMode,
    pub(super) concurrency: usize,
    pub(super) lease: Duration,
    pub(super) backoff: Backoff,
    pub(super) inbox: Option<Duration>,
    pub(super) start: Start,
    /// Types of events that are handled; none means all.
    pub(super) only: Vec<String>,
    pub(super) breaker: Option<Breaker>,
    pub(super) label: String,
    /// Nothing leaves it as others have said.
    pub(super) forget_after: Option<Duration>,
    pub(super) drain: Duration,
    pub(super) handler: Handler,
}

impl Settings {
    /// For how long after its lease a consumer is left alone.
    pub(super) fn grace(&self) -> Duration {
        grace(self.lease)
    }

    /// A name that no consumer had before.
    ///
    /// # Errors
    /// `Misconfigured` where the system has no random bytes.
    pub(super) fn new_name(&self) -> Result<Arc<str>> {
        Ok(consumer_name(&self.label, Code::random()?).into())
    }

    /// Of topic and group.
    pub(super) fn names(&self) -> (&str, &str) {
        (self.topic.as_str(), self.group.as_str())
    }
}

/// Where a group begins that is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// With the oldest event that is there.
    #[default]
    Start,
    /// With what is published from then on.
    End,
}

impl From<StartFrom> for Start {
    fn from(from: StartFrom) -> Self {
        match from {
            StartFrom::Start => Self::First,
            StartFrom::End => Self::Next,
        }
    }
}

/// A subscription being put together.
///
/// Whoever subscribes with one group shares its events. Each is handled at least once: again where its handler fails, or
/// its process ends before it has said what became of it.
#[must_use = "a subscription begins with run() or start()"]
pub struct Subscribe<T> {
    streams: Streams,
    topic: String,
    group: String,
    partitions: Option<u16>,
    concurrency: usize,
    lease: Duration,
    backoff: Backoff,
    inbox: Option<Duration>,
    from: StartFrom,
    only: Vec<String>,
    breaker: Option<Breaker>,
    label: Option<String>,
    checkpoints: Option<PathBuf>,
    forget_after: Option<Duration>,
    drain: Duration,
    decode: fn(&Bytes) -> Result<T, String>,
}

impl<T: DeserializeOwned + Send + 'static> Subscribe<T> {
    pub(super) fn json(streams: Streams, topic: &str, group: &str) -> Self {
        Self::new(streams, topic, group, |data| {
            serde_json::from_slice(data).map_err(|error| {
                let name = type_name::<T>();
                let name = name.rsplit("::").next().unwrap_or(name);
                format!("not JSON of {name}: {}", without_values(&error.to_string()))
            })
        })
    }
}

impl Subscribe<Bytes> {
    pub(super) fn raw(streams: Streams, topic: &str, group: &str) -> Self {
        Self::new(streams, topic, group, |data| Ok(data.clone()))
    }
}

impl<T: Send + 'static> Subscribe<T> {
    fn new(
        streams: Streams,
        topic: &str,
        group: &str,
        decode: fn(&Bytes) -> Result<T, String>,
    ) -> Self {
        Self {
            streams,
            topic: topic.to_owned(),
            group: group.to_owned(),
            partitions: None,
            concurrency: CONCURRENCY_DEFAULT,
            lease: LEASE_DEFAULT,
            backoff: Backoff::default(),
            inbox: None,
            from: StartFrom::Start,
            only: Vec::new(),
            breaker: None,
            label: None,
            checkpoints: None,
            forget_after: None,
            drain: DRAIN_DEFAULT,
            decode,
        }
    }

    /// Has the events of one key run in their order, one at a time, though one of them is retried; those of other keys
    /// go on meanwhile. A topic that is not there is made with so many partitions, 1 to 64: of one that is there
    /// it is the number that counts. A partition is handled by one process at a time, and goes to another once what runs in it
    /// has ended: until then nothing else of it runs, so that handlers need a time limit of their own.
    pub fn ordered_by_key(mut self, partitions: u16) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// How many events this process handles at a time: 1 to 1,024, 16 unless said. Some more
    /// may wait in it: as many again, and of a topic whose partitions are on several nodes as many for each of these.
    pub fn concurrency(mut self, events: usize) -> Self {
        self.concurrency = events;
        self
    }

    /// How long after it was last heard of a process is taken for dead: 1 s to 1 h, 30 s unless said. It says that it lives
    /// three times in that, and once a second at least, so a handler may take much longer.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often a failed event is tried, and when.
    pub fn retry(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Remembers what was finished for this long, up to 7 days, so that an event that comes once more is not run again. A mark
    /// in Redis and an effect elsewhere are not one step: for effects in a database, keep the mark there.
    pub fn inbox(mut self, window: Duration) -> Self {
        self.inbox = Some(window);
        self
    }

    /// Where the group begins, if it is new. With the oldest event unless said.
    pub fn from(mut self, from: StartFrom) -> Self {
        self.from = from;
        self
    }

    /// Handles events of these types alone, up to 64; the others are finished unseen.
    pub fn only<K: Into<String>>(mut self, kinds: impl IntoIterator<Item = K>) -> Self {
        self.only = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Takes no events while a breaker is open, so that none uses up its attempts on what is known to be down. The handler
    /// makes its calls through the same breaker.
    pub fn pause_while_open(mut self, breaker: &Breaker) -> Self {
        self.breaker = Some(breaker.clone());
        self
    }

    /// What people know this process by: 1 to 64 of `[A-Za-z0-9._:-]`. Host and process id unless said.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.label = Some(name.into());
        self
    }

    /// A folder where it is written how far the group is, so that a process that starts after Redis lost the
    /// group goes on there. A running one knows it without.
    pub fn checkpoints(mut self, folder: impl Into<PathBuf>) -> Self {
        self.checkpoints = Some(folder.into());
        self
    }

    /// For how long a group that no one reads keeps what it has not finished: a minute to ten years, 7 days where nobody
    /// says. It counts for the whole topic, and for those who publish to it, as said last: let it be the same wherever it
    /// is said.
    pub fn forget_after(mut self, time: Duration) -> Self {
        self.forget_after = Some(time);
        self
    }

    /// For how long handlers may go on when the subscription ends: up to an hour, 30 s unless said. What is not finished by
    /// then is given back.
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// Handles events until `shutdown`. Then it takes no more, lets handlers come to their end, and gives back the rest, which
    /// others have within a second.
    ///
    /// *When Redis is down*: it waits. Handlers go on, and what became of their events is told afterwards; an
    /// outage that is longer than the lease and its grace may run an event twice.
    ///
    /// *Cancellation*: dropped, it ends at once, handlers as well. Others have its events when the lease is over, and each
    /// counts a crash: end it by `shutdown`.
    ///
    /// # Errors
    /// `Rejected` for a bad name or setting, `Misconfigured` where live members of the group share its events
    /// another way, `Denied` where Redis refuses a command. Nothing else ends it.
    pub async fn run<F, Fut>(
        self,
        handler: F,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Finished>
    where
        F: Fn(Event<T>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Ack, HandlerError>> + Send + 'static,
    {
        self.ready(handler)?.run(shutdown).await
    }

    /// The same in a task of its own, until it is stopped or dropped.
    ///
    /// # Errors
    /// `Rejected` for a bad name or setting; `Misconfigured` where there can be no folder for checkpoints. What else
    /// ends it, [`Subscription::stop`] and the log say.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start<F, Fut>(self, handler: F) -> Result<Subscription>
    where
        F: Fn(Event<T>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Ack, HandlerError>> + Send + 'static,
    {
        let ready = self.ready(handler)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let (topic, group) = (ready.settings.topic.clone(), ready.settings.group.clone());
            let shutdown = async {
                // Dropped without a word, the handle aborts this task.
                let _ = stopped.await;
            };
            let finished = ready.run(shutdown).await;
            if let Err(error) = &finished {
                let (topic, group) = (topic.as_str(), group.as_str());
                tracing::error!(topic, group, %error, "a subscription has ended");
            }
            finished
        });
        Ok(Subscription { stop: Some(stop), task })
    }

    fn ready<F, Fut>(self, handler: F) -> Result<Ready>
    where
        F: Fn(Event<T>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Ack, HandlerError>> + Send + 'static,
    {
        self.check()?;
        let decode = self.decode;
        let handler = move |event: Event<Bytes>, ctx: Ctx| -> BoxFuture<'static, Handled> {
            match decode(&event.data) {
                Ok(data) => {
                    let run = handler(event.with(data).0, ctx);
                    Box::pin(async move {
                        match run.await {
                            Ok(ack) => Handled::Said(ack),
                            Err(error) => Handled::Failed(told(&*error)),
                        }
                    })
                }
                Err(why) => Box::pin(std::future::ready(Handled::Unreadable(why))),
            }
        };
        let settings = Settings {
            topic: TopicName::new(&self.topic)?,
            group: GroupName::new(&self.group)?,
            mode: if self.partitions.is_some() { GroupMode::ByKey } else { GroupMode::Any },
            concurrency: self.concurrency,
            lease: self.lease,
            backoff: self.backoff,
            inbox: self.inbox,
            start: self.from.into(),
            only: self.only,
            breaker: self.breaker,
            label: self.label.unwrap_or_else(this_process),
            forget_after: self.forget_after,
            drain: self.drain,
            handler: Arc::new(handler),
        };
        let (topic, group) = settings.names();
        // Every tenant has one of its own.
        let scope = self.streams.scope.stream_topics();
        let disk = self.checkpoints.map(|folder| Disk::open(&folder, &scope, topic, group));
        let disk = disk.transpose()?;
        let wanted = self.partitions;
        Ok(Ready { settings: Arc::new(settings), streams: self.streams, wanted, disk })
    }

    fn check(&self) -> Result<()> {
        let out_of = |what: String, expected: String| {
            Err(Error::rejected(format!("{what} is out of bounds: expected {expected}")))
        };
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            let what = format!("a concurrency of {}", self.concurrency);
            return out_of(what, format!("1 to {CONCURRENCY_MAX}"));
        }
        check_lease(self.lease)?;
        self.partitions.map_or(Ok(()), check_partitions)?;
        if let Some(window) = self.inbox
            && (window < Duration::from_millis(1) || window > DEDUP_MAX)
        {
            return out_of(format!("an inbox of {window:?}"), "1 ms to 7 days".to_owned());
        }
        if self.only.len() > KINDS_MAX {
            let what = format!("a list of {} types of events", self.only.len());
            return out_of(what, format!("{KINDS_MAX} at most"));
        }
        if let Some(time) = self.forget_after
            && !(FORGET_MIN..=FORGET_MAX).contains(&time)
        {
            let what = format!("a group forgotten after {time:?}");
            return out_of(what, "a minute to ten years".to_owned());
        }
        if self.drain > DRAIN_MAX {
            return out_of(format!("a drain of {:?}", self.drain), "1 h at most".to_owned());
        }
        if let Some(label) = &self.label
            && !is_label(label)
        {
            return Err(Error::rejected(format!(
                "not a name of a consumer: expected 1 to {LABEL_LEN_MAX} of [A-Za-z0-9._:-], and not {label:?}"
            )));
        }
        self.backoff.check()
    }
}

/// Ready to run, whatever its events are.
struct Ready {
    settings: Arc<Settings>,
    streams: Streams,
    wanted: Option<u16>,
    disk: Option<Disk>,
}

impl Ready {
    async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<Finished> {
        let Self { settings, streams, wanted, disk } = self;
        tokio::pin!(shutdown);
        let partitions = tokio::select! {
            partitions = partitions_of(&streams, &settings, wanted) => partitions?,
            () = &mut shutdown => return Ok(Finished::default()),
        };
        let keys = streams.partitions(&settings.topic, partitions);
        let engine = Arc::clone(&streams.engine);
        let checkpoints = Checkpoints::open(engine.clock.clone(), disk).await;
        match settings.mode {
            GroupMode::Any => consumer::run(engine, settings, &keys, checkpoints, shutdown).await,
            GroupMode::ByKey => share::run(engine, settings, &keys, checkpoints, shutdown).await,
        }
    }
}

/// How many partitions the topic has. It waits an outage out.
async fn partitions_of(streams: &Streams, settings: &Settings, wanted: Option<u16>) -> Result<u16> {
    let mut again = growing();
    loop {
        match streams.partitions_or(&settings.topic, wanted.unwrap_or(1)).await {
            Ok(partitions) => {
                if let Some(wanted) = wanted.filter(|wanted| *wanted != partitions) {
                    let (topic, group) = settings.names();
                    tracing::info!(
                        topic,
                        group,
                        wanted,
                        partitions,
                        "the topic has another number of partitions, and keeps it"
                    );
                }
                return Ok(partitions);
            }
            Err(error) if error.is_final() => return Err(error),
            Err(_) => again.pause().await,
        }
    }
}

/// A subscription that runs. Dropped, it ends at once, as [`Subscribe::run`] does.
#[derive(Debug)]
pub struct Subscription {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<Finished>>,
}

impl Subscription {
    /// Whether it has ended by itself: [`Subscription::stop`] says why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it: handlers come to their end first, and what is left is given back.
    ///
    /// *Cancellation*: dropped, it ends at once.
    ///
    /// # Errors
    /// What had ended it before; see [`Subscribe::run`].
    pub async fn stop(mut self) -> Result<Finished> {
        if let Some(stop) = self.stop.take() {
            // One that has ended hears nothing.
            let _ = stop.send(());
        }
        match (&mut self.task).await {
            Ok(finished) => finished,
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: true },
                "the runtime is stopping",
            )),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}
