//! What a process keeps for itself while Redis does not answer.

use std::convert::Infallible;
use std::time::Duration;

use sinew::{Cache, Invalidated, Outage, Source};

use crate::laws::{eventually, keep};
use crate::outage::{blocking, connect, down, up, value};
use crate::world::{start_redis, start_redis_on};

#[test]
fn local_copies_spare_the_source_during_an_outage_and_obey_invalidations() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let port = server.port;
        let sinew = connect(&server).await;
        let ttl = Duration::from_secs(30);
        let local = Outage::Local { ttl };
        let cache: Cache<u64, u64> = sinew.cache("number").on_outage(local).build().unwrap();
        server.kill();
        down(&sinew).await;
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
        let mut server = blocking(start_redis).await;
        let sinew = connect(&server).await;
        let local = Outage::Local { ttl: Duration::from_secs(30) };
        let cache: Cache<u64, u64> = sinew.cache("number").on_outage(local).build().unwrap();
        server.kill();
        down(&sinew).await;
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel::<()>();
        let load = {
            let cache = cache.clone();
            tokio::spawn(async move {
                let loader = move || async move {
                    let _ = begun.send(());
                    let _ = wait.await;
                    Ok::<_, Infallible>(1)
                };
                cache.get_or_load(&1, loader).await.unwrap()
            })
        };
        begins.await.unwrap();
        cache.invalidate(&1).await.unwrap();
        go.send(()).unwrap();
        assert_eq!(*load.await.unwrap(), 1);
        assert_eq!(cache.get(&1).await.unwrap(), None, "an older load was kept");
    });
}

#[test]
fn a_load_that_another_one_replaced_leaves_no_local_copy_after_an_invalidation() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let sinew = connect(&server).await;
        let local = Outage::Local { ttl: Duration::from_secs(30) };
        let cache: Cache<u64, u64> = sinew.cache("number").on_outage(local).build().unwrap();
        server.kill();
        down(&sinew).await;
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel::<()>();
        let first = tokio::spawn({
            let cache = cache.clone();
            async move {
                let loader = move || async move {
                    let _ = begun.send(());
                    let _ = wait.await;
                    Ok::<_, Infallible>(1)
                };
                *cache.get_or_load(&1, loader).await.unwrap()
            }
        });
        begins.await.unwrap();
        // A loader of another error type can share nothing with the first.
        let second = cache.get_or_load(&1, || async { Ok::<_, std::io::Error>(1) }).await.unwrap();
        assert_eq!(*second, 1);
        cache.invalidate(&1).await.unwrap();
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(cache.get(&1).await.unwrap(), None, "an older load was kept");
    });
}
