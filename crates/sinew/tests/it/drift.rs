//! The embedded store and Redis agree on every sequence of operations.

use std::convert::Infallible;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use sinew::{Cache, Ttl};

use crate::laws::{eventually, keep};
use crate::world::Store;

#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Put(u8, u32),
    PutBriefly(u8),
    Exists(u8),
    Load(u8, u32),
    FailToLoad(u8),
    Invalidate(u8),
    InvalidateMatching(&'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..12u8;
    prop_oneof![
        4 => key.clone().prop_map(Step::Get),
        4 => (key.clone(), 0..100u32).prop_map(|(k, v)| Step::Put(k, v)),
        1 => key.clone().prop_map(Step::PutBriefly),
        2 => key.clone().prop_map(Step::Exists),
        4 => (key.clone(), 0..100u32).prop_map(|(k, v)| Step::Load(k, v)),
        1 => key.clone().prop_map(Step::FailToLoad),
        2 => key.prop_map(Step::Invalidate),
        1 => prop::sample::select(vec!["*", "1*", "?", "1?", "x*"]).prop_map(Step::InvalidateMatching),
    ]
}

async fn take(step: &Step, cache: &Cache<u8, u32>) -> String {
    match step {
        Step::Get(k) => format!("{:?}", cache.get(k).await.unwrap()),
        Step::Put(k, v) => format!("{:?}", cache.put(k, v).await.unwrap()),
        Step::PutBriefly(k) => {
            let brief = Ttl::new(Duration::from_millis(2)).unwrap();
            cache.put_with_ttl(k, &0, brief).await.unwrap();
            eventually("the entry expires", || async { !cache.exists(k).await.unwrap() }).await;
            "gone".to_owned()
        }
        Step::Exists(k) => format!("{:?}", cache.exists(k).await.unwrap()),
        Step::Load(k, v) => {
            let v = *v;
            let loaded = cache.get_or_load_traced(k, move || async move { Ok::<_, Infallible>(v) });
            let loaded = loaded.await.unwrap();
            let hit = loaded.source != sinew::Source::Loaded;
            format!("{} {hit}", loaded.value)
        }
        Step::FailToLoad(k) => {
            let fails = || async { Err::<u32, _>(std::io::Error::other("no")) };
            format!("{:?}", cache.get_or_load(k, fails).await.ok())
        }
        Step::Invalidate(k) => format!("{:?}", cache.invalidate(k).await.unwrap()),
        Step::InvalidateMatching(p) => format!("{:?}", cache.invalidate_matching(p).await.unwrap()),
    }
}

#[test]
fn memory_and_redis_agree_on_random_operations() {
    keep(|| async {
        let mut runner = TestRunner::new(Config::default());
        let steps = prop::collection::vec(step(), 1..60);
        for _ in 0..40 {
            let steps = steps.new_tree(&mut runner).unwrap().current();
            let (memory, redis) = (Store::memory().await, Store::redis().await);
            let build = |s: sinew::Sinew| s.cache("number").build::<u8, u32>().unwrap();
            let memory = build(memory.tenant("acme").await);
            let redis = build(redis.tenant("acme").await);
            for (i, step) in steps.iter().enumerate() {
                let (expected, found) = (take(step, &memory).await, take(step, &redis).await);
                assert_eq!(expected, found, "memory and Redis differ at step {i} of {steps:#?}");
            }
            let counted = |c: &Cache<u8, u32>| {
                let s = c.stats();
                (s.hits(), s.misses, s.loads, s.load_errors)
            };
            assert_eq!(counted(&memory), counted(&redis), "after {steps:#?}");
        }
    });
}
