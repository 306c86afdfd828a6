//! The embedded store and Redis agree on every sequence of operations.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sinew::{Cache, CacheBuilder, PutOptions, Source, Ttl};

use crate::laws::{eventually, keep};
use crate::world::Store;

/// For so long after an invalidation no version is taken. Whether it is over, two stores that are
/// asked one after the other may see otherwise.
const VERSIONS_HELD_UP: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Put(u8, u32),
    PutBriefly(u8),
    PutVersioned(u8, u32, u64),
    PutTagged(u8, u32, &'static str),
    Exists(u8),
    Load(u8, u32),
    LoadTagged(u8, u32, &'static str),
    LoadMany(Vec<u8>, u32),
    Find(u8, Option<u32>),
    FailToLoad(u8),
    FailToLoadMany(Vec<u8>),
    Invalidate(u8),
    InvalidateMany(Vec<u8>),
    InvalidateMatching(&'static str),
    InvalidateTag(&'static str),
    Expire(u8),
    Clear,
    Count(&'static str, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..12u8;
    let keys = || prop::collection::vec(0..12u8, 0..8);
    let tag = || prop::sample::select(vec!["a", "b", "c"]);
    let value = 0..100u32;
    let put = (key.clone(), value.clone());
    let versioned = (key.clone(), value.clone(), 1..6u64);
    let tagged = (key.clone(), value.clone(), tag());
    let writes = prop_oneof![
        4 => put.clone().prop_map(|(k, v)| Step::Put(k, v)),
        1 => key.clone().prop_map(Step::PutBriefly),
        4 => versioned.prop_map(|(k, v, version)| Step::PutVersioned(k, v, version)),
        2 => tagged.clone().prop_map(|(k, v, tag)| Step::PutTagged(k, v, tag)),
    ];
    let reads = prop_oneof![
        4 => key.clone().prop_map(Step::Get),
        2 => key.clone().prop_map(Step::Exists),
        4 => put.prop_map(|(k, v)| Step::Load(k, v)),
        2 => tagged.prop_map(|(k, v, tag)| Step::LoadTagged(k, v, tag)),
        2 => (keys(), value.clone()).prop_map(|(k, v)| Step::LoadMany(k, v)),
        2 => (key.clone(), prop::option::of(value)).prop_map(|(k, v)| Step::Find(k, v)),
        1 => key.clone().prop_map(Step::FailToLoad),
        1 => keys().prop_map(Step::FailToLoadMany),
    ];
    let pattern = prop::sample::select(vec!["*", "1*", "?", "1?", "x*"]);
    let removals = prop_oneof![
        4 => key.clone().prop_map(Step::Invalidate),
        2 => keys().prop_map(Step::InvalidateMany),
        2 => pattern.prop_map(Step::InvalidateMatching),
        2 => tag().prop_map(Step::InvalidateTag),
        4 => key.prop_map(Step::Expire),
        1 => Just(Step::Clear),
    ];
    let counts = (prop::sample::select(vec!["views", "likes"]), -5..5i64)
        .prop_map(|(name, by)| Step::Count(name, by));
    prop_oneof![4 => writes, 6 => reads, 3 => removals, 1 => counts]
}

/// Takes a step, and tells what came of it.
async fn take(step: &Step, cache: &Cache<u8, u32>) -> String {
    match step {
        Step::Get(k) => format!("{:?}", cache.get(k).await.unwrap()),
        Step::Put(k, v) => format!("{:?}", cache.put(k, v).await.unwrap()),
        Step::PutBriefly(k) => {
            let brief = Ttl::new(Duration::from_millis(2)).unwrap();
            cache.put_with(k, &0, PutOptions::new().ttl(brief)).await.unwrap();
            eventually("the entry expires", || async { !cache.exists(k).await.unwrap() }).await;
            "gone".to_owned()
        }
        Step::PutVersioned(k, v, version) => {
            format!("{:?}", cache.put_versioned(k, v, *version).await.unwrap())
        }
        Step::PutTagged(k, v, tag) => {
            let put = cache.put_with(k, v, PutOptions::new().tag(tag)).await;
            // Not every cache has tags.
            format!("{:?}", put.map_err(|error| error.kind()))
        }
        Step::Exists(k) => format!("{:?}", cache.exists(k).await.unwrap()),
        Step::Load(..) | Step::LoadTagged(..) | Step::Find(..) | Step::FailToLoad(_) => {
            load(step, cache).await
        }
        Step::LoadMany(keys, v) => load_many(keys, Some(*v), cache).await,
        Step::FailToLoadMany(keys) => load_many(keys, None, cache).await,
        Step::Invalidate(k) => format!("{:?}", cache.invalidate(k).await.unwrap()),
        Step::InvalidateMany(keys) => format!("{:?}", cache.invalidate_many(keys).await.unwrap()),
        Step::InvalidateMatching(p) => format!("{:?}", cache.invalidate_matching(p).await.unwrap()),
        Step::InvalidateTag(tag) => {
            format!("{:?}", cache.invalidate_tag(tag).await.map_err(|error| error.kind()))
        }
        Step::Expire(k) => format!("{:?}", cache.expire(k).await.unwrap()),
        Step::Clear => format!("{:?}", cache.clear().await.unwrap()),
        Step::Count(name, by) => {
            let (counter, hour) = (cache.counter(name).unwrap(), Duration::from_secs(3_600));
            let count = counter.add(*by, Ttl::new(hour).unwrap()).await.unwrap();
            assert_eq!(counter.get().await.unwrap(), count);
            format!("{count}")
        }
    }
}

/// A look-up of one key, which loads on a miss.
async fn load(step: &Step, cache: &Cache<u8, u32>) -> String {
    match step {
        Step::Load(k, v) => {
            let v = *v;
            let loaded = cache.get_or_load_traced(k, move || ready(Ok::<_, Infallible>(v)));
            let loaded = loaded.await.unwrap();
            told(*loaded.value, loaded.source)
        }
        Step::LoadTagged(k, v, tag) => {
            let (v, tag) = (*v, *tag);
            let loaded = cache.get_or_load_with(k, move |loading| {
                loading.tag(tag);
                ready(Ok::<u32, Infallible>(v))
            });
            match loaded.await {
                Ok(loaded) => told(*loaded.value, loaded.source),
                Err(error) => error.to_string(),
            }
        }
        Step::Find(k, v) => {
            let v = *v;
            let found = cache.get_or_find(k, move || ready(Ok::<_, Infallible>(v)));
            format!("{:?}", found.await.unwrap())
        }
        Step::FailToLoad(k) => {
            let fails = || async { Err::<u32, _>(std::io::Error::other("no")) };
            format!("{:?}", cache.get_or_load(k, fails).await.ok())
        }
        other => panic!("{other:?} loads nothing"),
    }
}

/// Hits of either store are told alike.
fn told(value: u32, source: Source) -> String {
    let found = match source {
        Source::Loaded => "loaded",
        Source::Stale => "stale",
        _ => "found",
    };
    format!("{value} {found}")
}

/// A batch, and what its loader was asked for. It has every third key not, or fails.
async fn load_many(keys: &[u8], value: Option<u32>, cache: &Cache<u8, u32>) -> String {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&asked);
    let loader = move |mut missing: Vec<u8>| {
        missing.sort_unstable();
        calls.lock().push(missing.clone());
        let there = missing.into_iter().filter(|key| !key.is_multiple_of(3));
        ready(match value {
            Some(value) => Ok(there.map(|key| (key, value)).collect::<HashMap<u8, u32>>()),
            None => Err(std::io::Error::other("no")),
        })
    };
    let found = cache.get_or_load_many(keys, loader).await.ok();
    let found: Option<BTreeMap<u8, Arc<u32>>> = found.map(|found| found.into_iter().collect());
    format!("{found:?}, asked for {:?}", *asked.lock())
}

#[test]
fn memory_and_redis_agree_on_random_operations() {
    agree_on_random_operations(|builder| builder);
}

#[test]
fn memory_and_redis_agree_where_entries_are_tagged_and_kept_and_absence_is_remembered() {
    let hour = Duration::from_secs(3_600);
    agree_on_random_operations(|builder| builder.tagged().absent_ttl(hour).stale_if_error(hour));
}

fn agree_on_random_operations(settings: impl Fn(CacheBuilder) -> CacheBuilder) {
    keep(|| async {
        let mut runner = TestRunner::new(Config::default());
        let steps = prop::collection::vec(step(), 1..60);
        for _ in 0..40 {
            let steps = steps.new_tree(&mut runner).unwrap().current();
            let (memory, redis) = (Store::memory().await, Store::redis().await);
            let build = |s: sinew::Sinew| settings(s.cache("number")).build::<u8, u32>().unwrap();
            let memory = build(memory.tenant("acme").await);
            let redis = build(redis.tenant("acme").await);
            let began = Instant::now();
            for (i, step) in steps.iter().enumerate() {
                let (expected, found) = (take(step, &memory).await, take(step, &redis).await);
                // The machine stalled.
                if began.elapsed() >= VERSIONS_HELD_UP {
                    break;
                }
                assert_eq!(expected, found, "memory and Redis differ at step {i} of {steps:#?}");
            }
            let counted = |c: &Cache<u8, u32>| {
                let s = c.stats();
                (s.hits(), s.stale, s.misses, s.loads, s.load_errors)
            };
            if began.elapsed() < VERSIONS_HELD_UP {
                assert_eq!(counted(&memory), counted(&redis), "after {steps:#?}");
            }
        }
    });
}
