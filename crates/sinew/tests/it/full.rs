//! A Redis that is full and evicts nothing: it is read as before, and what is invalidated is gone.

use std::time::Duration;

use sinew::{Cache, Invalidated, PutOptions, Sinew};

use crate::laws::{eventually, keep};
use crate::outage::{blocking, connect, value};
use crate::source::Database;
use crate::world::{Cluster, redis_cli, start_redis};

/// Has each of these servers refuse what needs memory, as one that is full does.
fn fill_up(ports: &[u16]) {
    set_maxmemory(ports, "1");
}

fn make_room(ports: &[u16]) {
    set_maxmemory(ports, "0");
}

fn set_maxmemory(ports: &[u16], bytes: &str) {
    for port in ports {
        assert_eq!(redis_cli(*port, &["CONFIG", "SET", "maxmemory", bytes]), "OK");
    }
}

#[test]
fn a_full_redis_is_still_read_and_invalidated() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let sinew = connect(&server).await;
        let cache: Cache<u64, u64> = sinew.cache("number").build().unwrap();
        cache.put(&1, &1).await.unwrap();
        cache.invalidate(&2).await.unwrap();
        fill_up(&[server.port]);
        assert!(cache.put(&2, &2).await.unwrap_err().is_retryable(), "it is full");
        let another = connect(&server).await.cache("number").build::<u64, u64>().unwrap();
        assert_eq!(another.get(&1).await.unwrap().as_deref(), Some(&1));
        assert_eq!(another.invalidate(&1).await.unwrap(), Invalidated::Done);
        assert_eq!(cache.get(&1).await.unwrap(), None);
        assert_eq!(*cache.get_or_load(&1, value(3)).await.unwrap(), 3);
    });
}

#[test]
fn what_is_invalidated_by_tag_while_redis_is_full_is_gone_and_stays_so() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let url = format!("redis://127.0.0.1:{}", server.port);
        invalidates_by_tag_while_full(&url, &[server.port]).await;
    });
}

#[test]
fn what_is_invalidated_by_tag_while_a_cluster_is_full_is_gone_and_stays_so() {
    keep(|| async {
        let cluster = blocking(|| Cluster::start(0)).await;
        let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.server.port).collect();
        invalidates_by_tag_while_full(&cluster.url(), &ports).await;
    });
}

/// The same cache, in another process.
async fn numbers(url: &str) -> Cache<str, u64> {
    let builder = Sinew::builder().deadline(Duration::from_secs(10));
    let sinew = builder.connect(url).await.expect("a connection");
    sinew.cache("number").tagged().build().expect("a cache")
}

fn tagged(tag: &str) -> PutOptions {
    PutOptions::new().tag(tag)
}

async fn invalidates_by_tag_while_full(url: &str, ports: &[u16]) {
    let cache = numbers(url).await;
    let (database, gated) = (Database::open(), Database::gated());
    cache.put_with("put", &1, tagged("red")).await.unwrap();
    cache.get_or_load_with("loaded", database.read_tagged(1, &["red"])).await.unwrap();
    cache.put_with("other", &1, tagged("blue")).await.unwrap();
    let loading = {
        let (cache, load) = (cache.clone(), gated.read_tagged(1, &["red"]));
        tokio::spawn(async move { cache.get_or_load_with("loading", load).await })
    };
    gated.loading(1).await;

    fill_up(ports);
    let error = cache.put_with("put", &2, tagged("red")).await.unwrap_err();
    assert!(error.is_retryable(), "it is full: {error}");
    // One that comes only now finds what there was.
    let another = numbers(url).await;
    assert_eq!(another.get("put").await.unwrap().as_deref(), Some(&1));
    assert_eq!(another.invalidate_tag("red").await.unwrap(), Invalidated::Done);
    for key in ["put", "loaded"] {
        assert_eq!(another.get(key).await.unwrap(), None, "{key}");
        eventually("the other process is told", || async { !cache.exists(key).await.unwrap() })
            .await;
        let load = database.read_tagged(3, &["red"]);
        assert_eq!(*cache.get_or_load_with(key, load).await.unwrap().value, 3, "{key}");
        assert_eq!(another.get(key).await.unwrap(), None, "{key}: there is no room for it");
    }
    assert_eq!(another.get("other").await.unwrap().as_deref(), Some(&1));

    make_room(ports);
    gated.open_gate();
    let loaded = loading.await.unwrap().unwrap();
    assert_eq!(*loaded.value, 1, "it began before the invalidation");
    assert_eq!(cache.inspect("loading").await.unwrap(), None, "it is not stored");
    for process in [&cache, &another, &numbers(url).await] {
        for key in ["put", "loaded", "loading"] {
            assert_eq!(process.get(key).await.unwrap(), None, "{key}");
        }
        assert_eq!(process.get("other").await.unwrap().as_deref(), Some(&1));
    }
    // What is stored from here on is good.
    cache.put_with("put", &4, tagged("red")).await.unwrap();
    assert_eq!(another.get("put").await.unwrap().as_deref(), Some(&4));

    fill_up(ports);
    assert_eq!(cache.clear().await.unwrap(), Invalidated::Done);
    make_room(ports);
    for key in ["put", "other"] {
        assert_eq!(cache.get(key).await.unwrap(), None, "{key}");
        assert_eq!(numbers(url).await.get(key).await.unwrap(), None, "{key}");
    }
}
