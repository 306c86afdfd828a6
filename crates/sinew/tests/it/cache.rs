//! What a cache promises, on every store.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sinew::{Cache, ErrorKind, Invalidated, LoadError, PutOptions, Source, Ttl};

use crate::laws::eventually;
use crate::source::{Begun, Database, Down, everyone_has_asked};

const MINUTE: Duration = Duration::from_secs(60);

fn numbers(tenant: &sinew::Sinew) -> Cache<str, u64> {
    tenant.cache("number").ttl(MINUTE).build().expect("a cache")
}

laws! {
    async fn a_put_value_is_found_by_every_process(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        assert_eq!(cache.get("a").await.unwrap(), None);
        assert!(!cache.exists("a").await.unwrap());
        cache.put("a", &1).await.unwrap();
        cache.put("a", &2).await.unwrap();
        let elsewhere = numbers(&store.tenant("acme").await);
        assert_eq!(elsewhere.get("a").await.unwrap().as_deref(), Some(&2));
        assert!(elsewhere.exists("a").await.unwrap());
    }

    async fn an_entry_dies_with_its_ttl(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        let short = Ttl::new(Duration::from_millis(30)).unwrap();
        cache.put_with("put", &1, PutOptions::new().ttl(short)).await.unwrap();
        let briefly: Cache<str, u64> =
            store.tenant("acme").await.cache("brief").ttl(short.duration()).build().unwrap();
        briefly.get_or_load("loaded", Database::open().read(1)).await.unwrap();
        cache.put("lasting", &1).await.unwrap();
        eventually("the entries die", || async {
            !cache.exists("put").await.unwrap() && !briefly.exists("loaded").await.unwrap()
        })
        .await;
        assert!(cache.exists("lasting").await.unwrap());
    }

    async fn callers_of_several_processes_that_miss_together_load_once(store: Store) {
        let database = Database::gated();
        let mut callers = Vec::new();
        for _ in 0..3 {
            let cache = numbers(&store.tenant("acme").await);
            for _ in 0..100 {
                let (cache, load) = (cache.clone(), database.read(7));
                callers.push(tokio::spawn(async move { cache.get_or_load("cold", load).await }));
            }
        }
        database.loading(1).await;
        database.open_gate();
        for caller in callers {
            assert_eq!(*caller.await.unwrap().unwrap(), 7);
        }
        assert_eq!(database.loads(), 1);
    }

    async fn callers_that_come_during_a_load_share_it(store: Store) {
        let (database, cache) = (Database::gated(), numbers(&store.tenant("acme").await));
        let call = |n: u64| {
            let (cache, load) = (cache.clone(), database.read(n));
            tokio::spawn(async move { cache.get_or_load_traced("cold", load).await })
        };
        let first = call(1);
        database.loading(1).await;
        let late: Vec<_> = (0..20).map(|_| call(2)).collect();
        let other = numbers(&store.tenant("acme").await);
        let load = database.read(3);
        let elsewhere = tokio::spawn(async move { other.get_or_load("cold", load).await });
        everyone_has_asked(&cache).await;
        database.open_gate();
        assert_eq!(*first.await.unwrap().unwrap().value, 1);
        for caller in late {
            assert_eq!(*caller.await.unwrap().unwrap().value, 1);
        }
        assert_eq!(*elsewhere.await.unwrap().unwrap(), 1);
        assert_eq!(database.loads(), 1);
    }

    async fn a_hit_is_told_from_a_load(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        let load = || Database::open().read(1);
        let first = cache.get_or_load_traced("a", load()).await.unwrap();
        assert_eq!(first.source, Source::Loaded);
        let second = cache.get_or_load_traced("a", load()).await.unwrap();
        assert!(matches!(second.source, Source::Local | Source::Redis));
        assert_eq!(*second.value, 1);
    }

    async fn what_was_loading_when_it_was_invalidated_is_not_stored(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        let old = Begun::load(&cache, "a", 1).await;
        let elsewhere = numbers(&store.tenant("acme").await);
        assert_eq!(elsewhere.invalidate("a").await.unwrap(), Invalidated::Done);
        assert_eq!(old.lands().await, 1, "it began before the invalidation");
        assert_eq!(cache.get("a").await.unwrap(), None);
        assert_eq!(*cache.get_or_load("a", Database::open().read(2)).await.unwrap(), 2);
    }

    async fn a_call_after_an_invalidation_never_gets_an_older_load(store: Store) {
        let (database, cache) = (Database::gated(), numbers(&store.tenant("acme").await));
        let elsewhere = numbers(&store.tenant("acme").await);
        // What stands in the database when the load begins.
        let row = Arc::new(AtomicU64::new(0));
        let call = |cache: &Cache<str, u64>| {
            let (cache, row, database) = (cache.clone(), Arc::clone(&row), database.clone());
            let load = move || async move {
                let read = row.load(Ordering::SeqCst);
                database.passes().await;
                Ok::<u64, Down>(read)
            };
            tokio::spawn(async move { *cache.get_or_load("a", load).await.unwrap() })
        };
        // Twice, from either side: each ends the loads of both.
        for (n, from) in [(1, &cache), (2, &elsewhere)] {
            let loads_before = database.loads();
            let old = [call(&cache), call(&elsewhere)];
            database.loading(loads_before + 1).await;
            row.store(n, Ordering::SeqCst);
            assert_eq!(from.invalidate("a").await.unwrap(), Invalidated::Done);
            let new = [call(&cache), call(&elsewhere)];
            database.loading(loads_before + 2).await;
            database.open_gate();
            for caller in new {
                assert_eq!(caller.await.unwrap(), n);
            }
            for caller in old {
                caller.await.unwrap();
            }
            assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&n));
            database.close_gate();
            cache.invalidate("a").await.unwrap();
        }
    }

    async fn a_put_during_a_load_is_not_overwritten_by_it(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        let old = Begun::load(&cache, "a", 1).await;
        numbers(&store.tenant("acme").await).put("a", &2).await.unwrap();
        old.lands().await;
        assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&2));
    }

    async fn a_loaders_error_reaches_all_who_waited_and_is_not_cached(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        let database = Database::gated();
        let call = || {
            let (cache, load) = (cache.clone(), database.fail());
            tokio::spawn(async move { cache.get_or_load("a", load).await })
        };
        let callers: Vec<_> = (0..10).map(|_| call()).collect();
        database.loading(1).await;
        database.open_gate();
        for caller in callers {
            let error = caller.await.unwrap().unwrap_err();
            assert!(matches!(error, LoadError::Source(_)));
            assert_eq!(error.to_string(), "the database is down");
        }
        assert_eq!(cache.stats().load_errors, database.loads() as u64);
        assert_eq!(*cache.get_or_load("a", Database::open().read(2)).await.unwrap(), 2);
    }

    async fn a_loader_that_panics_frees_the_key_at_once(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        let panics = || async { Ok::<u64, Infallible>("no number".parse().unwrap()) };
        let error = cache.get_or_load("a", panics).await.unwrap_err();
        assert!(matches!(error, LoadError::Aborted));
        let next = cache.get_or_load("a", Database::open().read(2));
        let next = tokio::time::timeout(Duration::from_secs(4), next).await;
        assert_eq!(*next.expect("the lease was given back").unwrap(), 2);
    }

    async fn a_caller_that_goes_away_leaves_its_load_running(store: Store) {
        let (database, cache) = (Database::gated(), numbers(&store.tenant("acme").await));
        let caller = {
            let (cache, load) = (cache.clone(), database.read(1));
            tokio::spawn(async move { cache.get_or_load("a", load).await })
        };
        database.loading(1).await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        database.open_gate();
        eventually("the load fills the cache", || async { cache.exists("a").await.unwrap() }).await;
    }

    async fn an_invalidation_runs_to_its_end_when_its_caller_goes_away(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        cache.put("a", &1).await.unwrap();
        {
            let mut invalidation = std::pin::pin!(cache.invalidate("a"));
            let _ = futures_util::poll!(&mut invalidation);
        }
        eventually("the entry is gone", || async { !cache.exists("a").await.unwrap() }).await;
    }

    async fn tenants_never_meet(store: Store) {
        let (acme, other) = (store.tenant("acme").await, store.tenant("acme.b").await);
        let global = store.process().await;
        numbers(&acme).put("a", &1).await.unwrap();
        for stranger in [&other, &global] {
            assert_eq!(numbers(stranger).get("a").await.unwrap(), None);
            numbers(stranger).invalidate("a").await.unwrap();
            assert_eq!(numbers(stranger).invalidate_matching("*").await.unwrap(), 0);
        }
        assert!(numbers(&acme).exists("a").await.unwrap());
    }

    async fn matching_entries_and_no_others_are_invalidated(store: Store) {
        let acme = store.tenant("acme").await;
        let cache: Cache<(u32, &str), u64> = acme.cache("property").build().unwrap();
        let namesake: Cache<(u32, &str), u64> = acme.cache("property2").build().unwrap();
        for id in 0..300 {
            cache.put(&(id, "list"), &1).await.unwrap();
            cache.put(&(id, "one"), &1).await.unwrap();
        }
        namesake.put(&(1, "list"), &1).await.unwrap();
        let database = Database::gated();
        let loading = {
            let (cache, load) = (cache.clone(), database.read(1));
            tokio::spawn(async move { cache.get_or_load(&(999, "list"), load).await })
        };
        database.loading(1).await;
        assert_eq!(cache.invalidate_matching("*:list").await.unwrap(), 300);
        database.open_gate();
        loading.await.unwrap().unwrap();
        assert!(!cache.exists(&(999, "list")).await.unwrap(), "its load was under way");
        assert!(!cache.exists(&(7, "list")).await.unwrap());
        assert!(cache.exists(&(7, "one")).await.unwrap());
        assert!(namesake.exists(&(1, "list")).await.unwrap());
        assert_eq!(cache.invalidate_matching("7?:one").await.unwrap(), 10);
        for bad in ["", "[ab]", "a\\*", "{x}", "a b"] {
            let error = cache.invalidate_matching(bad).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Rejected, "{bad}: {error}");
        }
    }

    async fn clearing_all_caches_leaves_no_entry_of_any_tenant(store: Store) {
        let process = store.process().await;
        let tenants = [store.tenant("acme").await, store.tenant("b").await, process.clone()];
        for tenant in &tenants {
            numbers(tenant).put("a", &1).await.unwrap();
            tenant.cache("other").build::<u64, u64>().unwrap().put(&1, &1).await.unwrap();
        }
        assert_eq!(process.clear_caches().await.unwrap(), 6);
        for tenant in &tenants {
            assert!(!numbers(tenant).exists("a").await.unwrap());
        }
    }

    async fn bad_input_is_rejected_and_nothing_is_written(store: Store) {
        let acme = store.tenant("acme").await;
        let cache: Cache<str, String> = acme.cache("text").build().unwrap();
        let (long, large) = ("k".repeat(1100), "v".repeat(acme.value_len_max()));
        let rejected = |kind| assert_eq!(kind, ErrorKind::Rejected);
        rejected(cache.put(&long, &"v".to_owned()).await.unwrap_err().kind());
        rejected(cache.get(&long).await.unwrap_err().kind());
        rejected(cache.exists(&long).await.unwrap_err().kind());
        rejected(cache.invalidate(&long).await.unwrap_err().kind());
        rejected(cache.put("a", &large).await.unwrap_err().kind());
        let database = Database::open();
        let error = numbers(&acme).get_or_load(&long, database.read(1)).await.unwrap_err();
        assert!(matches!(error, LoadError::Rejected(_)), "{error}");
        assert_eq!(database.loads(), 0);
        assert!(!cache.exists("a").await.unwrap());
        for name in ["", "lock", "a b", "a:b", "a_b"] {
            let error = acme.cache(name).build::<str, u64>().err().expect(name);
            rejected(error.kind());
        }
        rejected(acme.cache("x").ttl(Duration::ZERO).build::<str, u64>().err().unwrap().kind());
        rejected(acme.cache("x").jitter(1.5).build::<str, u64>().err().unwrap().kind());
        rejected(acme.tenant("a_b").unwrap_err().kind());
    }

    async fn a_loaded_value_over_the_limit_reaches_the_caller_and_is_not_stored(store: Store) {
        let acme = store.tenant("acme").await;
        let cache: Cache<str, String> = acme.cache("text").build().unwrap();
        let large = "v".repeat(acme.value_len_max());
        let load = { let large = large.clone(); || async { Ok::<_, Infallible>(large) } };
        assert_eq!(*cache.get_or_load("a", load).await.unwrap(), large);
        assert!(!cache.exists("a").await.unwrap());
        let next = cache.get_or_load("a", || async { Ok::<_, Infallible>(String::new()) });
        let next = tokio::time::timeout(Duration::from_secs(4), next).await;
        assert_eq!(*next.expect("the lease was given back").unwrap(), "");
    }

    async fn an_entry_of_another_type_is_a_miss_and_is_replaced(store: Store) {
        let acme = store.tenant("acme").await;
        let texts: Cache<str, String> = acme.cache("number").build().unwrap();
        texts.put("a", &"not a number".to_owned()).await.unwrap();
        let cache = numbers(&acme);
        assert_eq!(cache.get("a").await.unwrap(), None);
        assert!(!cache.exists("a").await.unwrap());
        assert_eq!(*cache.get_or_load("a", Database::open().read(3)).await.unwrap(), 3);
        assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&3));
    }

    async fn statistics_count_what_happened(store: Store) {
        let acme = store.tenant("acme").await;
        let cache = numbers(&acme);
        let before = cache.stats();
        cache.get("a").await.unwrap();
        cache.get_or_load("a", Database::open().read(1)).await.unwrap();
        for _ in 0..3 {
            cache.get("a").await.unwrap();
        }
        let after = cache.stats();
        assert_eq!(after.misses - before.misses, 2);
        assert_eq!(after.hits() - before.hits(), 3);
        assert_eq!(after.loads - before.loads, 1);
        assert_eq!(after.hit_ratio(), Some(0.6));
        assert_eq!(acme.cache_stats()["number"], after);
    }
}
