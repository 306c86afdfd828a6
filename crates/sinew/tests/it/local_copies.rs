//! What a process keeps for itself while Redis does not answer.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sinew::{Breaker, Cache, Invalidated, Outage, Sinew, Source};
use tokio::runtime::Handle;

use crate::laws::{eventually, keep};
use crate::outage::{blocking, connect, down, up, value};
use crate::source::{Begun, Database};
use crate::world::{Server, start_redis, start_redis_on};

const COPIES: Outage = Outage::Local { ttl: Duration::from_secs(30) };

fn numbers(tenant: &Sinew) -> Cache<u64, u64> {
    tenant.cache("number").on_outage(COPIES).build().expect("a cache")
}

/// A process that has lost its Redis, which is dropped with it.
async fn bereaved() -> (Server, Sinew) {
    let mut server = blocking(start_redis).await;
    let sinew = connect(&server).await;
    server.kill();
    down(&sinew).await;
    (server, sinew)
}

laws! {
    async fn what_was_loaded_in_an_outage_and_invalidated_after_it_is_not_served_in_the_next(
        store: Store
    ) {
        let sinew = store.tenant("acme").await;
        let cache = numbers(&sinew);
        // No call reaches Redis; and the embedded store is never away.
        let goes_away = || sinew.breakers().iter().for_each(Breaker::isolate);
        let comes_back = || sinew.breakers().iter().for_each(Breaker::reset);
        goes_away();
        let old = Begun::load(&cache, &1, 1).await;
        comes_back();
        assert_eq!(cache.invalidate(&1).await.unwrap(), Invalidated::Done);
        assert_eq!(old.lands().await, 1, "it began before");
        goes_away();
        assert_eq!(cache.get(&1).await.unwrap(), None);
        // One that no one invalidates is kept.
        assert_eq!(Begun::load(&cache, &1, 2).await.lands().await, 2);
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&2));
    }

    async fn what_was_loading_in_an_outage_leaves_no_copy_once_the_store_has_answered(
        store: Store
    ) {
        let (sinew, other) = (store.tenant("acme").await, store.tenant("acme").await);
        let (cache, there) = (numbers(&sinew), numbers(&other));
        let isolate = || sinew.breakers().iter().for_each(Breaker::isolate);
        isolate();
        let old = Begun::load(&cache, &1, 1).await;
        sinew.breakers().iter().for_each(Breaker::reset);
        // A change that no one tells this process of, and an answer that shows it.
        there.put(&1, &2).await.unwrap();
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&2));
        assert_eq!(old.lands().await, 1, "it began before");
        isolate();
        assert_ne!(cache.get(&1).await.unwrap().as_deref(), Some(&1));
    }
}

#[test]
fn local_copies_spare_the_source_during_an_outage_and_obey_invalidations() {
    keep(|| async {
        let (server, sinew) = bereaved().await;
        let (port, cache) = (server.port, numbers(&sinew));
        let loaded = cache.get_or_load_traced(&1, value(1)).await.unwrap();
        assert_eq!((*loaded.value, loaded.source), (1, Source::Loaded));
        let kept = cache.get_or_load_traced(&1, value(2)).await.unwrap();
        assert_eq!((*kept.value, kept.source), (1, Source::Local));
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&1));
        assert_eq!(cache.get(&2).await.unwrap(), None);
        assert_eq!(cache.invalidate(&1).await.unwrap(), Invalidated::Queued);
        let anew = cache.get_or_load_traced(&1, value(3)).await.unwrap();
        assert_eq!((*anew.value, anew.source), (3, Source::Loaded));
        cache.put(&1, &4).await.unwrap_err();
        let anew = cache.get_or_load_traced(&1, value(5)).await.unwrap();
        assert_eq!((*anew.value, anew.source), (5, Source::Loaded));
        cache.invalidate_matching("*").await.unwrap_err();
        let anew = cache.get_or_load_traced(&1, value(6)).await.unwrap();
        assert_eq!((*anew.value, anew.source), (6, Source::Loaded));
        // A short time is a short time.
        let brief = Outage::Local { ttl: Duration::from_millis(50) };
        let short: Cache<u64, u64> = sinew.cache("short").on_outage(brief).build().unwrap();
        short.get_or_load(&1, value(1)).await.unwrap();
        eventually("it is loaded again", || async {
            *short.get_or_load(&1, value(2)).await.unwrap() == 2
        })
        .await;
        let _server = blocking(move || start_redis_on(port, &[])).await;
        up(&sinew).await;
        eventually("the store decides again", || async {
            let found = cache.get_or_load_traced(&1, value(7)).await.unwrap();
            (*found.value, found.source) == (7, Source::Redis)
        })
        .await;
    });
}

#[test]
fn a_load_that_an_invalidation_overtook_leaves_no_local_copy() {
    keep(|| async {
        let (_server, sinew) = bereaved().await;
        let cache = numbers(&sinew);
        let old = Begun::load(&cache, &1, 1).await;
        cache.invalidate(&1).await.unwrap();
        assert_eq!(old.lands().await, 1);
        assert_eq!(cache.get(&1).await.unwrap(), None, "an older load was kept");
    });
}

#[test]
fn a_load_that_another_one_replaced_leaves_no_local_copy_after_an_invalidation() {
    keep(|| async {
        let (_server, sinew) = bereaved().await;
        let cache = numbers(&sinew);
        let first = Begun::load(&cache, &1, 1).await;
        // A loader of another error type can share nothing with the first.
        let second = cache.get_or_load(&1, || async { Ok::<_, std::io::Error>(1) }).await.unwrap();
        assert_eq!(*second, 1);
        cache.invalidate(&1).await.unwrap();
        assert_eq!(first.lands().await, 1);
        assert_eq!(cache.get(&1).await.unwrap(), None, "an older load was kept");
    });
}

/// A number whose writing waits at a gate, where it has one: by then its load has ended, and its
/// copy is still to be kept.
struct Held {
    number: u64,
    gate: Option<Database>,
}

impl Serialize for Held {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(gate) = &self.gate {
            // The runtime's other tasks go on elsewhere.
            tokio::task::block_in_place(|| Handle::current().block_on(gate.passes()));
        }
        serializer.serialize_u64(self.number)
    }
}

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { number: u64::deserialize(deserializer)?, gate: None })
    }
}

async fn found(cache: &Cache<u64, Held>, key: u64) -> Option<u64> {
    cache.get(&key).await.unwrap().map(|held| held.number)
}

/// What a process does to an entry, or to all of them.
type Change = fn(Cache<u64, Held>) -> BoxFuture<'static, ()>;

const CHANGES: [(&str, Change); 8] = [
    ("invalidate", |cache| Box::pin(async move { queued(cache.invalidate(&1).await) })),
    ("invalidate-many", |cache| Box::pin(async move { queued(cache.invalidate_many(&[1]).await) })),
    ("expire", |cache| Box::pin(async move { queued(cache.expire(&1).await) })),
    ("invalidate-tag", |cache| Box::pin(async move { queued(cache.invalidate_tag("red").await) })),
    ("clear", |cache| Box::pin(async move { queued(cache.clear().await) })),
    ("matching", |cache| Box::pin(async move { refused(cache.invalidate_matching("*").await) })),
    ("put", |cache| {
        Box::pin(async move { refused(cache.put(&1, &Held { number: 2, gate: None }).await) })
    }),
    ("put-versioned", |cache| {
        let held = Held { number: 2, gate: None };
        Box::pin(async move { refused(cache.put_versioned(&1, &held, 2).await) })
    }),
];

fn queued(outcome: sinew::Result<Invalidated>) {
    assert_eq!(outcome.expect("it is kept"), Invalidated::Queued);
}

fn refused<T>(outcome: sinew::Result<T>) {
    assert!(outcome.is_err_and(|error| error.is_retryable()));
}

/// Processes whose Redis, of each kind, never was there.
async fn alone() -> Vec<Sinew> {
    let mut alone = Vec::new();
    for scheme in ["redis", "valkey", "redis-cluster"] {
        // No one ever listens at this port, whatever other tests start.
        let sinew = Sinew::connect_lazy(&format!("{scheme}://127.0.0.1:1")).expect("a URL");
        down(&sinew).await;
        alone.push(sinew);
    }
    alone
}

#[test]
fn a_change_between_a_load_and_its_local_copy_leaves_none() {
    keep(|| async {
        for sinew in alone().await {
            for (name, change) in CHANGES {
                let builder = sinew.cache(name).tagged().on_outage(COPIES);
                let cache: Cache<u64, Held> = builder.build().unwrap();
                let load = |number, gate: &Database| {
                    let (cache, gate) = (cache.clone(), gate.clone());
                    let held = Held { number, gate: Some(gate) };
                    tokio::spawn(async move {
                        let load = move || ready(Ok::<_, Infallible>(held));
                        cache.get_or_load(&1, load).await.unwrap().number
                    })
                };
                let writing = Database::gated();
                let loading = load(1, &writing);
                writing.loading(1).await;
                change(cache.clone()).await;
                writing.open_gate();
                assert_eq!(loading.await.unwrap(), 1, "it began before");
                assert_eq!(found(&cache, 1).await, None, "{name}");
                // One that comes after it is kept.
                assert_eq!(load(3, &Database::open()).await.unwrap(), 3);
                assert_eq!(found(&cache, 1).await, Some(3), "{name}");
            }
        }
    });
}

#[test]
fn a_change_between_a_batch_and_its_local_copies_leaves_none_of_what_was_changed() {
    keep(|| async {
        for sinew in alone().await {
            let cache: Cache<u64, Held> = sinew.cache("number").on_outage(COPIES).build().unwrap();
            let writing = Database::gated();
            let loading = {
                let (cache, gate) = (cache.clone(), writing.clone());
                tokio::spawn(async move {
                    let load = move |keys: Vec<u64>| {
                        let held = |key: u64| {
                            let gate = (key == 1).then(|| gate.clone());
                            (key, Held { number: key, gate })
                        };
                        ready(Ok::<Vec<_>, Infallible>(keys.into_iter().map(held).collect()))
                    };
                    cache.get_or_load_many(&[1, 2], load).await.unwrap().len()
                })
            };
            writing.loading(1).await;
            queued(cache.invalidate(&1).await);
            writing.open_gate();
            assert_eq!(loading.await.unwrap(), 2, "they began before");
            assert_eq!((found(&cache, 1).await, found(&cache, 2).await), (None, Some(2)));
        }
    });
}
