//! Limits of others.

use std::collections::HashMap;
use std::sync::Arc;

use governor::{Quota, RateLimiter};
use limitador::AsyncRateLimiter;
use limitador::limit::{Limit, Namespace};
use limitador::storage::redis::AsyncRedisStorage;
use redis::aio::MultiplexedConnection;
use trypema::redis::{ConnectionManager, RedisKey, RedisRateLimiterProvider};
use trypema::{RateLimit, RateLimitDecision, RateLimiterBuilder, WindowSize};

use super::{client, raw_connection};

/// Whoever asks for the leave of a subject, and is charged for it. Cheap to clone.
pub trait Ask: Clone + Send + Sync + 'static {
    /// Whether it was given.
    fn ask(&self, subject: u64) -> impl Future<Output = bool> + Send;
}

/// The same in this process, of one subject. Cheap to clone.
pub trait AskHere: Fn() -> bool + Clone + Send + 'static {}

impl<F: Fn() -> bool + Clone + Send + 'static> AskHere for F {}

const HOUR_S: u64 = 3_600;
/// The one of which limits in this process are asked.
pub const SUBJECT: u64 = 7;

/// A count that expires: the least that the job needs. It does not say what is left, or how long to wait.
#[derive(Clone)]
pub struct Counted {
    connection: MultiplexedConnection,
    count: Arc<redis::Script>,
    quota: u64,
}

const COUNT: &str = "local count = redis.call('INCR', KEYS[1]) \
                     if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
                     return count";

impl Counted {
    pub async fn connect(url: &str, quota: u64) -> Self {
        let connection = raw_connection(url).await;
        Self { connection, count: Arc::new(redis::Script::new(COUNT)), quota }
    }
}

impl Ask for Counted {
    async fn ask(&self, subject: u64) -> bool {
        let mut count = self.count.key(format!("raw:limit:{subject}"));
        let mut connection = self.connection.clone();
        let count = count.arg(HOUR_S * 1_000).invoke_async::<u64>(&mut connection).await;
        count.expect("a reply") <= self.quota
    }
}

/// limitador: fixed windows. On Redis it looks first and counts after, in a second round trip.
#[derive(Clone)]
pub struct Limitador {
    limiter: Arc<AsyncRateLimiter>,
    namespace: Arc<Namespace>,
}

impl Limitador {
    /// So many limits, all of which a check is about. Each has a window of its own, by which they differ.
    pub async fn connect(url: &str, namespace: &str, quota: u64, limits: u64) -> Self {
        let storage = AsyncRedisStorage::new(url).await.expect("a connection");
        let limiter = AsyncRateLimiter::new_with_storage(Box::new(storage));
        for nth in 0..limits {
            limiter.add_limit(per_subject(namespace, quota, HOUR_S + nth));
        }
        Self { limiter: Arc::new(limiter), namespace: Arc::new(Namespace::from(namespace)) }
    }
}

impl Ask for Limitador {
    async fn ask(&self, subject: u64) -> bool {
        let values = values_of(subject);
        let checked =
            self.limiter.check_rate_limited_and_update(&self.namespace, &values, 1, false).await;
        !checked.expect("an answer").limited
    }
}

/// In memory.
pub fn limitador(quota: u64) -> impl AskHere {
    let namespace = Namespace::from("here");
    let limiter = Arc::new(limitador::RateLimiter::new(1_000));
    limiter.add_limit(per_subject("here", quota, HOUR_S));
    move || {
        // What a request is about is new with each.
        let values = values_of(SUBJECT);
        let checked = limiter.check_rate_limited_and_update(&namespace, &values, 1, false);
        !checked.expect("an answer").limited
    }
}

fn per_subject(namespace: &str, quota: u64, window_s: u64) -> Limit {
    let quota = i64::try_from(quota).expect("a small quota");
    Limit::new(namespace, quota, window_s, Vec::<String>::new(), ["subject"])
}

fn values_of(subject: u64) -> HashMap<String, String> {
    HashMap::from([("subject".to_owned(), subject.to_string())])
}

/// trypema: a sliding window in buckets.
#[derive(Clone)]
pub struct Trypema {
    limiter: Arc<RedisRateLimiterProvider>,
    rate: RateLimit,
}

impl Trypema {
    /// A limit of so much per 100 seconds, which it wants as a rate per second.
    pub async fn connect(url: &str, prefix: &str, quota: u32) -> Self {
        let connection = ConnectionManager::new(client(url).expect("a URL")).await;
        let limiter = RedisRateLimiterProvider::builder(connection.expect("a connection"))
            .prefix(RedisKey::new_or_panic(prefix.to_owned()))
            .window_size(WindowSize::seconds_or_panic(100))
            .build();
        let rate = RateLimit::per_second_or_panic(f64::from(quota) / 100.0);
        Self { limiter: limiter.expect("a limiter"), rate }
    }
}

impl Ask for Trypema {
    async fn ask(&self, subject: u64) -> bool {
        let key = RedisKey::new_or_panic(subject.to_string());
        let decision = self.limiter.absolute().inc(&key, &self.rate, 1).await;
        matches!(decision.expect("an answer"), RateLimitDecision::Allowed)
    }
}

/// governor, with a state for each subject.
pub fn governor(quota: Quota) -> impl AskHere {
    let limiter = Arc::new(RateLimiter::keyed(quota));
    move || limiter.check_key(&SUBJECT).is_ok()
}

/// The same with one state, which knows no subjects.
pub fn governor_direct(quota: Quota) -> impl AskHere {
    let limiter = Arc::new(RateLimiter::direct(quota));
    move || limiter.check().is_ok()
}
