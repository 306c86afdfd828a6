//! Who else carries events: the bare commands, which are the least that the job needs, and sea-streamer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use sea_streamer_redis::{
    AutoCommit, AutoStreamReset, RedisConnectOptions, RedisConsumer, RedisConsumerOptions,
    RedisProducer, RedisProducerOptions, RedisStreamer,
};
use sea_streamer_types::{
    Buffer as _, Consumer as _, ConsumerGroup, ConsumerId, ConsumerMode, ConsumerOptions as _,
    Message as _, Producer as _, StreamKey, Streamer as _,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::raw_connection;

/// What handles an event: its data, as they were read.
pub type Handle = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Whoever carries events. What it opens ends when it is dropped.
pub trait Carrier: Send + Sync {
    type Line: Line;

    /// A topic that is new, from a publisher to a handler; without one, nobody reads it.
    fn open(
        &self,
        topic: String,
        handle: Option<Handle>,
    ) -> impl Future<Output = Self::Line> + Send;
}

/// From publishers to a handler in one process. What is published, handled and acked is so at the same time.
pub trait Line: Send + Sync + 'static {
    /// Publishes these at once, and waits until they are there.
    fn publish(&self, events: Vec<String>) -> impl Future<Output = ()> + Send;

    /// Publishes one, and waits until it is there.
    fn publish_one(&self, event: String) -> impl Future<Output = ()> + Send;

    /// Whether all that was published is acked, where all of it was handled.
    fn has_acked(&self) -> impl Future<Output = bool> + Send;
}

pub const GROUP: &str = "billing";
const READ_MAX: usize = 100;
/// Below what this client gives a reply.
const BLOCK_MS: u64 = 200;
/// How many reads wait for their acks at most.
const ACKS_MAX: usize = 64;

/// An event as all sides publish it.
fn json(event: &str) -> Vec<u8> {
    serde_json::to_vec(event).expect("JSON")
}

/// The bare commands: a connection publishes, one reads and one acks.
pub struct Raw {
    url: String,
    /// Each a stream of its own.
    partitions: usize,
}

impl Raw {
    pub fn new(url: &str, partitions: usize) -> Self {
        Self { url: url.to_owned(), partitions }
    }
}

impl Carrier for Raw {
    type Line = RawLine;

    async fn open(&self, topic: String, handle: Option<Handle>) -> RawLine {
        let keys: Vec<String> =
            (0..self.partitions).map(|partition| format!("raw:{topic}:p{partition}")).collect();
        let mut connection = raw_connection(&self.url).await;
        let acked = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        if let Some(handle) = handle {
            for key in &keys {
                let mut create = redis::cmd("XGROUP");
                create.arg("CREATE").arg(key).arg(GROUP).arg("0").arg("MKSTREAM");
                create.exec_async(&mut connection).await.expect("a group");
            }
            let (tell, told) = mpsc::channel(ACKS_MAX);
            tasks.spawn(read(raw_connection(&self.url).await, keys.clone(), handle, tell));
            tasks.spawn(ack(raw_connection(&self.url).await, told, Arc::clone(&acked)));
        }
        RawLine { connection, keys, published: AtomicU64::new(0), acked, _tasks: tasks }
    }
}

pub struct RawLine {
    connection: MultiplexedConnection,
    keys: Vec<String>,
    published: AtomicU64,
    acked: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl RawLine {
    fn next_key(&self) -> &str {
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        &self.keys[number as usize % self.keys.len()]
    }
}

impl Line for RawLine {
    async fn publish(&self, events: Vec<String>) {
        let mut pipe = redis::pipe();
        for event in &events {
            pipe.cmd("XADD").arg(self.next_key()).arg("*").arg("data").arg(json(event));
        }
        pipe.exec_async(&mut self.connection.clone()).await.expect("published");
    }

    async fn publish_one(&self, event: String) {
        let mut add = redis::cmd("XADD");
        add.arg(self.next_key()).arg("*").arg("data").arg(json(&event));
        add.exec_async(&mut self.connection.clone()).await.expect("published");
    }

    async fn has_acked(&self) -> bool {
        self.acked.load(Ordering::Relaxed) >= self.published.load(Ordering::Relaxed)
    }
}

/// Ids of the entries of a stream.
type Ids = (Value, Vec<Value>);

async fn read(
    mut connection: MultiplexedConnection,
    keys: Vec<String>,
    handle: Handle,
    tell: mpsc::Sender<Vec<Ids>>,
) {
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(GROUP).arg("reader");
    read.arg("COUNT").arg(READ_MAX).arg("BLOCK").arg(BLOCK_MS);
    read.arg("STREAMS").arg(&keys).arg(vec![">"; keys.len()]);
    loop {
        let reply = read.query_async::<Value>(&mut connection).await.expect("a reply");
        // Otherwise there was nothing.
        let Value::Map(streams) = reply else { continue };
        let read = streams.into_iter().map(|(key, entries)| (key, handled(entries, &handle)));
        if tell.send(read.collect()).await.is_err() {
            return;
        }
    }
}

/// Handles entries, and says which.
fn handled(entries: Value, handle: &Handle) -> Vec<Value> {
    let Value::Array(entries) = entries else { panic!("not entries: {entries:?}") };
    let ids = entries.into_iter().map(|entry| {
        let Value::Array(entry) = entry else { panic!("not an entry: {entry:?}") };
        let Ok([id, fields]) = <[Value; 2]>::try_from(entry) else { panic!("not an entry") };
        let Value::Array(fields) = fields else { panic!("not fields: {fields:?}") };
        let [_, Value::BulkString(data)] = &fields[..] else { panic!("not data: {fields:?}") };
        handle(data);
        id
    });
    ids.collect()
}

async fn ack(
    mut connection: MultiplexedConnection,
    mut told: mpsc::Receiver<Vec<Ids>>,
    acked: Arc<AtomicU64>,
) {
    while let Some(read) = told.recv().await {
        let mut pipe = redis::pipe();
        for (key, ids) in &read {
            pipe.cmd("XACK").arg(bulk(key)).arg(GROUP);
            ids.iter().for_each(|id| {
                pipe.arg(bulk(id));
            });
        }
        let counts = pipe.query_async::<Vec<u64>>(&mut connection).await.expect("acked");
        acked.fetch_add(counts.into_iter().sum(), Ordering::Relaxed);
    }
}

fn bulk(value: &Value) -> &[u8] {
    match value {
        Value::BulkString(bytes) => bytes,
        other => panic!("not a string: {other:?}"),
    }
}

/// sea-streamer, with what it calls load balancing: a group, whose members take over what another has had
/// for too long.
pub struct SeaStreamer {
    url: String,
    commit: AutoCommit,
}

/// Its own, for what is not balanced: the default of what is, 10, is slower.
const SEA_BATCH: usize = 100;
/// Its default of a second would be what is measured.
const SEA_COMMIT_EVERY: Duration = Duration::from_millis(20);

impl SeaStreamer {
    /// Acks what its handler says is done: what its documentation recommends for at least once.
    pub fn rolling(url: &str) -> Self {
        Self { url: url.to_owned(), commit: AutoCommit::Rolling }
    }

    /// Acks what was read: its default.
    pub fn delayed(url: &str) -> Self {
        Self { url: url.to_owned(), commit: AutoCommit::Delayed }
    }

    /// Reads what needs no ack, and is lost with whoever reads it.
    pub fn unacked(url: &str) -> Self {
        Self { url: url.to_owned(), commit: AutoCommit::Immediate }
    }

    async fn streamer(&self) -> RedisStreamer {
        let uri = self.url.parse().expect("a URL");
        RedisStreamer::connect(uri, RedisConnectOptions::default()).await.expect("a connection")
    }

    fn options(&self, member: &str) -> RedisConsumerOptions {
        let mut options = RedisConsumerOptions::new(ConsumerMode::LoadBalanced);
        let group = ConsumerGroup::new(GROUP.to_owned());
        options.set_consumer_group(group).expect("a group");
        options.set_consumer_id(ConsumerId::new(member.to_owned()));
        options.set_auto_stream_reset(AutoStreamReset::Earliest);
        options.set_auto_commit(self.commit);
        options.set_auto_commit_interval(SEA_COMMIT_EVERY);
        options.set_auto_commit_delay(Duration::ZERO);
        options.set_batch_size(SEA_BATCH);
        options.set_mkstream(true);
        options
    }
}

fn sea_key(topic: &str) -> StreamKey {
    StreamKey::new(format!("sea-{topic}")).expect("a good name")
}

async fn sea_producer(streamer: &RedisStreamer, key: &StreamKey) -> RedisProducer {
    let options = RedisProducerOptions::default();
    streamer.create_producer(key.clone(), options).await.expect("a producer")
}

impl Carrier for SeaStreamer {
    type Line = SeaLine;

    async fn open(&self, topic: String, handle: Option<Handle>) -> SeaLine {
        let (streamer, key) = (self.streamer().await, sea_key(&topic));
        let producer = sea_producer(&streamer, &key).await;
        let mut tasks = JoinSet::new();
        if let Some(handle) = handle {
            let consumer =
                streamer.create_consumer(std::slice::from_ref(&key), self.options("reader")).await;
            let consumer = consumer.expect("a consumer");
            tasks.spawn(sea_read(consumer, handle, self.commit));
        }
        let connection = raw_connection(&self.url).await;
        let key = key.name().to_owned();
        let (sent, awaited) = (AtomicU64::new(0), AtomicU64::new(0));
        SeaLine { producer, connection, key, sent, awaited, _tasks: tasks }
    }
}

async fn sea_read(consumer: RedisConsumer, handle: Handle, commit: AutoCommit) {
    loop {
        let message = consumer.next().await.expect("a message");
        handle(message.message().as_bytes());
        if commit == AutoCommit::Rolling {
            consumer.ack(&message).expect("a consumer that lives");
        }
    }
}

pub struct SeaLine {
    producer: RedisProducer,
    connection: MultiplexedConnection,
    key: String,
    sent: AtomicU64,
    /// How many of these are acked where all are that were asked to be published.
    awaited: AtomicU64,
    _tasks: JoinSet<()>,
}

impl SeaLine {
    fn count(&self, events: u64) {
        let sent = self.sent.fetch_add(events, Ordering::Relaxed) + events;
        self.awaited.fetch_max(sent, Ordering::Relaxed);
    }
}

fn sea_payload(event: &str) -> String {
    serde_json::to_string(event).expect("JSON")
}

impl Line for SeaLine {
    async fn publish(&self, events: Vec<String>) {
        self.count(events.len() as u64);
        let mut last = None;
        for event in &events {
            last = Some(self.producer.send(sea_payload(event)).expect("a producer that lives"));
        }
        // They go in their order.
        last.expect("events").await.expect("published");
    }

    async fn publish_one(&self, event: String) {
        self.count(1);
        let sent = self.producer.send(sea_payload(&event)).expect("a producer that lives");
        sent.await.expect("published");
    }

    async fn has_acked(&self) -> bool {
        // It acks after the read that follows, which waits ten seconds for something to read.
        self.sent.fetch_add(1, Ordering::Relaxed);
        let nudge = self.producer.send(sea_payload(&"0".repeat(98)));
        nudge.expect("a producer that lives").await.expect("published");
        let mut look = redis::cmd("XINFO");
        look.arg("GROUPS").arg(&self.key);
        let mut connection = self.connection.clone();
        let groups = look.query_async::<Vec<HashMap<String, Value>>>(&mut connection);
        let groups = groups.await.expect("the groups");
        let Some(group) = groups.first() else { return false };
        let number = |name: &str| match group.get(name) {
            Some(Value::Int(number)) => u64::try_from(*number).expect("a count"),
            _ => 0,
        };
        number("entries-read").saturating_sub(number("pending"))
            >= self.awaited.load(Ordering::Relaxed)
    }
}

/// How often sea-streamer has begun to handle an event, when a handler that takes so long has come to its end in one of
/// two members, each of which takes over what the other has had for longer than `lease`.
pub async fn sea_runs(url: &str, lease: Duration, takes: Duration) -> u64 {
    let sea = SeaStreamer::rolling(url);
    let (streamer, key) = (sea.streamer().await, sea_key("slow"));
    let producer = sea_producer(&streamer, &key).await;
    let begun = Arc::new(AtomicU64::new(0));
    let mut members: JoinSet<()> = JoinSet::new();
    for member in ["one", "other"] {
        let mut options = sea.options(member);
        options.set_auto_claim_interval(Some(lease));
        options.set_auto_claim_idle(lease);
        let consumer = streamer.create_consumer(std::slice::from_ref(&key), options).await;
        let (consumer, begun) = (consumer.expect("a consumer"), Arc::clone(&begun));
        members.spawn(async move {
            loop {
                let message = consumer.next().await.expect("a message");
                begun.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(takes).await;
                consumer.ack(&message).expect("a consumer that lives");
            }
        });
    }
    // Both wait for it by then. They look for what the other has whenever a wait is over, every ten seconds.
    tokio::time::sleep(3 * lease).await;
    producer.send(sea_payload("slow")).expect("a producer that lives").await.expect("published");
    tokio::time::sleep(takes + lease).await;
    begun.load(Ordering::Relaxed)
}
