//! Many entries at once: one question to the store, one to the source, and the same promises.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sinew::{Cache, ErrorKind, Invalidated, LoadError, Local, PutOptions, Sinew};
use tokio::task::JoinHandle;

use crate::laws::{eventually, keep};
use crate::outage::{blocking, process_at};
use crate::source::Database;
use crate::world::{free_port, redis_cli, start_redis};

const HOUR: Duration = Duration::from_secs(3_600);

fn times_ten(key: u64) -> Option<u64> {
    Some(key * 10)
}

fn times_ten_but_sevenths(key: u64) -> Option<u64> {
    (!key.is_multiple_of(7)).then_some(key * 10)
}

/// A cache whose entries are to be refreshed as soon as they are found.
fn always_due(tenant: &Sinew, name: &str) -> sinew::CacheBuilder {
    tenant.cache(name).ttl(HOUR).refresh_ahead(0.0).tagged()
}

fn numbers(tenant: &Sinew) -> Cache<u64, u64> {
    tenant.cache("number").ttl(HOUR).build().expect("a cache")
}

/// A look-up of one key, in a task of its own.
fn one(cache: &Cache<u64, u64>, key: u64, rows: &Database) -> JoinHandle<u64> {
    let (cache, load) = (cache.clone(), rows.find_all(times_ten));
    tokio::spawn(async move {
        let load = move || async move { load(vec![key]).await.map(|found| found[&key]) };
        *cache.get_or_load(&key, load).await.unwrap()
    })
}

/// A look-up of many keys, in a task of its own.
fn many(
    cache: &Cache<u64, u64>,
    keys: Range<u64>,
    rows: &Database,
) -> JoinHandle<HashMap<u64, Arc<u64>>> {
    let (cache, load) = (cache.clone(), rows.find_all(times_ten));
    tokio::spawn(async move {
        let keys: Vec<u64> = keys.collect();
        cache.get_or_load_many(&keys, load).await.unwrap()
    })
}

/// Puts `value` under each key.
async fn put_all(cache: &Cache<u64, u64>, keys: impl Iterator<Item = u64>, value: u64) {
    let puts = keys.map(|key| async move { cache.put(&key, &value).await.unwrap() });
    join_all(puts).await;
}

laws! {
    async fn what_a_batch_finds_due_is_refreshed_with_one_call_and_keeps_its_tags(store: Store) {
        let acme = store.tenant("acme").await;
        for (name, local) in [("plain", Local::none()), ("local", Local::bytes(1 << 20))] {
            let cache: Cache<u64, u64> =
                always_due(&acme, name).local(local).build().expect("a cache");
            let (keys, database): (Vec<u64>, _) = ((1..=20).collect(), Database::open());
            for key in &keys {
                cache.put_with(key, &1, PutOptions::new().tag("red")).await.unwrap();
            }
            if name == "local" {
                eventually("all are kept here", || async {
                    let before = cache.stats().hits_local;
                    for key in &keys {
                        cache.get(key).await.unwrap();
                    }
                    cache.stats().hits_local == before + 20
                })
                .await;
            }
            let found = cache.get_or_load_many(&keys, database.find_all(times_ten)).await.unwrap();
            assert!(found.values().all(|value| **value == 1), "{name}: they are still good");
            for key in &keys {
                eventually("it is refreshed", || async {
                    cache.get(key).await.unwrap().is_some_and(|value| *value == key * 10)
                })
                .await;
            }
            assert_eq!(database.calls(), std::slice::from_ref(&keys), "{name}: one call for all");
            assert_eq!(cache.invalidate_tag("red").await.unwrap(), Invalidated::Done);
            for key in &keys {
                assert_eq!(cache.get(key).await.unwrap(), None, "{name}");
            }
        }
    }

    async fn many_keys_are_loaded_by_one_call(store: Store) {
        let (cache, rows) = (numbers(&store.tenant("acme").await), Database::open());
        put_all(&cache, (0..1_000).step_by(2), 1).await;
        let keys: Vec<u64> = (0..1_000).chain(0..10).collect();
        let before = cache.stats();
        let found = cache.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
        let odd: Vec<u64> = (0..1_000).skip(1).step_by(2).collect();
        assert_eq!(rows.calls(), [odd], "one call, for what is missing");
        assert_eq!(found.len(), 1_000);
        for (key, value) in &found {
            assert_eq!(**value, if key.is_multiple_of(2) { 1 } else { key * 10 }, "{key}");
        }
        let after = cache.stats();
        assert_eq!((after.hits() - before.hits(), after.misses - before.misses), (500, 500));
        let elsewhere = numbers(&store.tenant("acme").await);
        let again = elsewhere.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
        assert_eq!(again, found, "all of it was stored");
        let none = cache.get_or_load_many(&[], rows.find_all(times_ten)).await.unwrap();
        assert!(none.is_empty());
        assert_eq!(rows.calls().len(), 1);
    }

    async fn a_batch_waits_for_what_another_process_loads(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let (rows, slow) = (Database::open(), Database::gated());
        let other = one(&elsewhere, 7, &slow);
        slow.loading(1).await;
        let batch = many(&here, 0..10, &rows);
        rows.loading(1).await;
        let others: Vec<u64> = (0..10).filter(|key| *key != 7).collect();
        assert_eq!(rows.calls(), std::slice::from_ref(&others), "the rest does not wait");
        assert!(!batch.is_finished());
        slow.open_gate();
        let found = batch.await.unwrap();
        assert_eq!(found.len(), 10);
        assert_eq!((*found[&7], other.await.unwrap()), (70, 70));
        assert_eq!((slow.calls(), rows.calls()), (vec![vec![7]], vec![others]), "loaded once");
    }

    async fn a_look_up_waits_for_the_batch_of_another_process(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let (slow, rows) = (Database::gated(), Database::open());
        let batch = many(&elsewhere, 0..10, &slow);
        slow.loading(1).await;
        let single = one(&here, 7, &rows);
        // The time of many look-ups, to ask the store.
        for _ in 0..100 {
            assert_eq!(here.get(&7).await.unwrap(), None);
            tokio::task::yield_now().await;
        }
        slow.open_gate();
        assert_eq!((batch.await.unwrap().len(), single.await.unwrap()), (10, 70));
        assert_eq!((slow.calls().len(), rows.calls().len()), (1, 0));
    }

    async fn a_load_elsewhere_that_fails_is_made_up_for(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let (rows, failing) = (Database::open(), Database::gated());
        let load = failing.fail();
        let other = tokio::spawn(async move { elsewhere.get_or_load(&7, load).await });
        failing.loading(1).await;
        let batch = many(&here, 0..10, &rows);
        rows.loading(1).await;
        failing.open_gate();
        other.await.unwrap().unwrap_err();
        let found = batch.await.unwrap();
        assert_eq!((found.len(), *found[&7]), (10, 70));
        assert_eq!(rows.calls()[1..], [vec![7]], "called again, for this one");
    }

    async fn what_the_source_does_not_have_is_not_in_the_reply(store: Store) {
        let (cache, rows) = (numbers(&store.tenant("acme").await), Database::open());
        let keys: Vec<u64> = (1..=14).collect();
        for _ in 0..2 {
            let load = rows.find_all(times_ten_but_sevenths);
            let found = cache.get_or_load_many(&keys, load).await.unwrap();
            assert_eq!(found.len(), 12);
            assert!(!found.contains_key(&7) && !found.contains_key(&14));
        }
        assert_eq!(rows.calls(), [keys, vec![7, 14]], "not remembered unless said");
        let too_much = |_: Vec<u64>| async { Ok::<_, io::Error>([(7_u64, 70_u64), (100, 1)]) };
        let found = cache.get_or_load_many(&[7], too_much).await.unwrap();
        assert_eq!((found.len(), *found[&7]), (1, 70));
        assert_eq!(cache.get(&100).await.unwrap(), None, "no one asked for it");
    }

    async fn what_a_batch_did_not_find_is_remembered_for_absent_ttl(store: Store) {
        let build = |tenant: Sinew, ttl| -> Cache<u64, u64> {
            tenant.cache("number").ttl(HOUR).absent_ttl(ttl).build().expect("a cache")
        };
        let here = build(store.tenant("acme").await, HOUR);
        let elsewhere = build(store.tenant("acme").await, HOUR);
        let (keys, rows): (Vec<u64>, _) = ((1..=14).collect(), Database::open());
        for cache in [&here, &elsewhere] {
            let load = rows.find_all(times_ten_but_sevenths);
            assert_eq!(cache.get_or_load_many(&keys, load).await.unwrap().len(), 12);
        }
        assert_eq!(rows.calls(), std::slice::from_ref(&keys), "asked once");
        let find = || async { Ok::<_, io::Error>(Some(1)) };
        assert_eq!(elsewhere.get_or_find(&7, find).await.unwrap(), None);
        here.invalidate_many(&[7]).await.unwrap();
        let found = elsewhere.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
        assert_eq!((found.len(), *found[&7]), (13, 70), "it is there now, and 14 is still not");
        assert_eq!(rows.calls()[1..], [vec![7]]);

        let (brief, rows) =
            (build(store.tenant("brief").await, Duration::from_millis(30)), Database::open());
        eventually("it is asked for again", || async {
            brief.get_or_load_many(&[7], rows.find_all(times_ten_but_sevenths)).await.unwrap();
            rows.calls().len() > 1
        })
        .await;
    }

    async fn a_batch_error_reaches_the_caller_and_frees_all_keys(store: Store) {
        let (cache, rows) = (numbers(&store.tenant("acme").await), Database::open());
        cache.put(&0, &1).await.unwrap();
        let fails = |_: Vec<u64>| async {
            Err::<HashMap<u64, u64>, _>(io::Error::other("the database is down"))
        };
        let keys: Vec<u64> = (0..20).collect();
        let error = cache.get_or_load_many(&keys, fails).await.unwrap_err();
        assert!(matches!(error, LoadError::Source(_)));
        assert_eq!(error.to_string(), "the database is down");
        // A lease that stayed behind would make each its own load, later.
        let found = cache.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
        assert_eq!((found.len(), *found[&0]), (20, 1));
        assert_eq!(rows.calls(), [keys[1..].to_vec()]);

        let panics = |keys: Vec<u64>| async move {
            assert!(keys.is_empty(), "a loader's bug");
            Ok::<HashMap<u64, u64>, io::Error>(HashMap::new())
        };
        let keys: Vec<u64> = (100..120).collect();
        let error = cache.get_or_load_many(&keys, panics).await.unwrap_err();
        assert!(matches!(error, LoadError::Aborted), "{error}");
        let found = cache.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
        assert_eq!(found.len(), 20);
        assert_eq!(rows.calls()[1..], [keys]);
        assert_eq!(cache.stats().load_errors, 2);
    }

    async fn two_batches_that_overlap_load_each_key_once(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let (one, two) = (Database::gated(), Database::gated());
        let first = many(&here, 0..60, &one);
        one.loading(1).await;
        let second = many(&elsewhere, 30..90, &two);
        two.loading(1).await;
        one.open_gate();
        two.open_gate();
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!((0..60_u64).all(|key| *first[&key] == key * 10));
        assert!((30..90_u64).all(|key| *second[&key] == key * 10));
        assert_eq!(one.calls(), [(0..60).collect::<Vec<u64>>()]);
        assert_eq!(two.calls(), [(60..90).collect::<Vec<u64>>()]);

        // All at once, from both.
        let rows = Database::open();
        let batches: Vec<_> = [1_000_u64, 1_020, 1_040, 1_060, 1_080, 1_100]
            .into_iter()
            .zip([&here, &elsewhere].into_iter().cycle())
            .map(|(from, cache)| (from, many(cache, from..from + 60, &rows)))
            .collect();
        for (from, batch) in batches {
            let found = batch.await.unwrap();
            assert!((from..from + 60).all(|key| *found[&key] == key * 10));
        }
        let mut loaded = rows.calls().concat();
        loaded.sort_unstable();
        assert_eq!(loaded, (1_000..1_160).collect::<Vec<u64>>());
    }

    async fn what_changes_while_a_batch_loads_it_is_not_stored(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let (slow, rows) = (Database::gated(), Database::open());
        let batch = many(&here, 0..10, &slow);
        slow.loading(1).await;
        assert_eq!(elsewhere.invalidate(&3).await.unwrap(), Invalidated::Done);
        elsewhere.put(&4, &44).await.unwrap();
        slow.open_gate();
        let found = batch.await.unwrap();
        assert_eq!((found.len(), *found[&3]), (10, 30), "it began before the invalidation");
        assert_eq!(here.get(&3).await.unwrap(), None);
        assert_eq!(here.get(&4).await.unwrap().as_deref(), Some(&44));
        let found = many(&elsewhere, 0..10, &rows).await.unwrap();
        assert_eq!((*found[&3], *found[&4], *found[&5]), (30, 44, 50));
        assert_eq!(rows.calls(), [vec![3]], "the others were stored");
    }

    async fn a_batch_after_an_invalidation_never_gets_an_older_load(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let (old, new) = (Database::gated(), Database::open());
        let before = many(&here, 0..10, &old);
        old.loading(1).await;
        let keys: Vec<u64> = (0..10).collect();
        assert_eq!(elsewhere.invalidate_many(&keys).await.unwrap(), Invalidated::Done);
        for cache in [&here, &elsewhere] {
            let load = new.find_all(|key| Some(key + 1));
            let found = cache.get_or_load_many(&keys, load).await.unwrap();
            assert!(keys.iter().all(|key| *found[key] == key + 1), "{found:?}");
        }
        old.open_gate();
        assert_eq!(*before.await.unwrap()[&7], 70, "it began before");
        assert_eq!(here.get(&7).await.unwrap().as_deref(), Some(&8), "no older load was stored");
    }

    async fn invalidate_many_removes_all_and_revokes_loads(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let (slow, rows) = (Database::gated(), Database::open());
        put_all(&here, 0..450, 1).await;
        let single = one(&here, 1_000, &slow);
        let batch = many(&here, 1_001..1_011, &slow);
        slow.loading(2).await;
        let keys: Vec<u64> = (0..450).chain(1_000..1_011).collect();
        assert_eq!(elsewhere.invalidate_many(&keys).await.unwrap(), Invalidated::Done);
        slow.open_gate();
        single.await.unwrap();
        batch.await.unwrap();
        let found = here.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
        assert!(keys.iter().all(|key| *found[key] == key * 10));
        assert_eq!(rows.calls(), [keys], "none was left, and none came back");
        assert_eq!(here.invalidate_many(&[]).await.unwrap(), Invalidated::Done);
    }

    async fn keys_that_cannot_be_are_rejected_before_anything_is_done(store: Store) {
        let cache: Cache<String, u64> = store.tenant("acme").await.cache("number").build().unwrap();
        let keys = ["a".to_owned(), "k".repeat(1_100)];
        cache.put(&keys[0], &1).await.unwrap();
        let error = cache.invalidate_many(&keys).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert!(cache.exists(&keys[0]).await.unwrap());
        let load = |_: Vec<String>| async { Ok::<HashMap<String, u64>, io::Error>(HashMap::new()) };
        let error = cache.get_or_load_many(&keys, load).await.unwrap_err();
        assert!(matches!(error, LoadError::Rejected(_)), "{error}");
        assert_eq!(cache.stats().loads, 0);
    }

    async fn a_caller_that_goes_away_leaves_its_batch_running(store: Store) {
        let (cache, slow) = (numbers(&store.tenant("acme").await), Database::gated());
        let batch = many(&cache, 0..10, &slow);
        slow.loading(1).await;
        batch.abort();
        assert!(batch.await.unwrap_err().is_cancelled());
        slow.open_gate();
        eventually("all are stored", || async {
            let there = (0..10).map(|key| {
                let cache = &cache;
                async move { cache.exists(&key).await.unwrap() }
            });
            !join_all(there).await.contains(&false)
        })
        .await;
    }
}

/// How often the server ran a command, in scripts too.
fn calls(port: u16, command: &str) -> u64 {
    let stats = redis_cli(port, &["INFO", "commandstats"]);
    let name = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_batch_of_hits_is_one_command() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let (cache, rows) = (numbers(&process_at(server.port).await), Database::open());
        let keys: Vec<u64> = (0..200).collect();
        put_all(&cache, 0..200, 1).await;
        let sent = || ["mget", "get", "evalsha"].map(|command| calls(server.port, command));
        let before = sent();
        let found = cache.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
        let after = sent();
        assert_eq!(found.len(), 200);
        assert_eq!([0, 1, 2].map(|n| after[n] - before[n]), [1, 0, 0]);
        assert!(rows.calls().is_empty());
    });
}

#[test]
fn a_batch_of_what_is_kept_here_asks_nothing_and_hears_of_changes() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let local = |sinew: &Sinew| -> Cache<u64, u64> {
            sinew.cache("number").ttl(HOUR).local(Local::bytes(1 << 20)).build().expect("a cache")
        };
        let here = local(&process_at(server.port).await);
        let elsewhere = local(&process_at(server.port).await);
        let (keys, rows): (Vec<u64>, _) = ((0..50).collect(), Database::open());
        eventually("all are kept here", || async {
            let before = calls(server.port, "mget");
            let found = here.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
            assert!(keys.iter().all(|key| *found[key] == key * 10));
            calls(server.port, "mget") == before
        })
        .await;
        assert_eq!(rows.calls(), std::slice::from_ref(&keys));
        elsewhere.put(&7, &8).await.unwrap();
        eventually("the change shows", || async {
            *here.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap()[&7] == 8
        })
        .await;
    });
}

#[test]
fn a_batch_without_redis_is_one_call_to_the_source() {
    keep(|| async {
        let sinew = Sinew::connect_lazy(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
        let (cache, rows) = (numbers(&sinew), Database::open());
        let keys: Vec<u64> = (0..20).collect();
        for _ in 0..2 {
            let found = cache.get_or_load_many(&keys, rows.find_all(times_ten)).await.unwrap();
            assert!(keys.iter().all(|key| *found[key] == key * 10));
        }
        assert_eq!(rows.calls(), [keys.clone(), keys.clone()], "nothing is kept");
        assert_eq!(cache.invalidate_many(&keys).await.unwrap(), Invalidated::Queued);
    });
}
