//! What is served of an entry that is fresh no more, to whom, and who loads it anew.

use std::sync::Arc;
use std::time::Duration;

use sinew::{
    Cache, CacheBuilder, Clock, ErrorKind, Format, Invalidated, LoadError, Loaded, Loading, Local,
    PutOptions, Sinew, Source, Ttl,
};
use tokio::sync::oneshot;

use crate::laws::{eventually, keep};
use crate::source::{Database, Down, everyone_has_asked, rejection};
use crate::world::Store;

const MINUTE: Duration = Duration::from_secs(60);
/// Long enough for any machine.
const LONG: Duration = Duration::from_secs(600);
/// Longer than anything may live.
const TOO_LONG: Duration = Duration::from_secs(10 * 365 * 24 * 3_600 + 1);
/// Over soon, and waited for.
const MOMENT: Duration = Duration::from_millis(20);

type Settings = fn(CacheBuilder) -> CacheBuilder;

fn named(tenant: &Sinew, name: &str, settings: Settings) -> Cache<str, u64> {
    settings(tenant.cache(name).ttl(LONG)).build().expect("a cache")
}

async fn numbers(store: &Store, settings: Settings) -> Cache<str, u64> {
    named(&store.tenant("acme").await, "number", settings)
}

/// The same cache in two processes.
async fn both(store: &Store, settings: Settings) -> [Cache<str, u64>; 2] {
    [numbers(store, settings).await, numbers(store, settings).await]
}

fn ttl(duration: Duration) -> Ttl {
    Ttl::new(duration).expect("within bounds")
}

/// Puts an entry, and waits until it is fresh no more.
async fn put_stale(cache: &Cache<str, u64>, key: &str, options: PutOptions) {
    cache.put_with(key, &1, options.ttl(ttl(MOMENT))).await.unwrap();
    eventually("it is fresh no more", || async {
        cache.inspect(key).await.unwrap().is_none_or(|entry| entry.fresh_for.is_none())
    })
    .await;
}

async fn stale(cache: &Cache<str, u64>, key: &str) {
    put_stale(cache, key, PutOptions::new()).await;
}

type Load = tokio::task::JoinHandle<Result<sinew::Traced<u64>, LoadError<Down>>>;

/// A caller that loads `value` unless it is served.
fn call(cache: &Cache<str, u64>, key: &'static str, database: &Database, value: u64) -> Load {
    let (cache, load) = (cache.clone(), database.read(value));
    tokio::spawn(async move { cache.get_or_load_traced(key, load).await })
}

/// What a caller is served whose source fails.
async fn failing(cache: &Cache<str, u64>, key: &str) -> Option<(u64, Source)> {
    match cache.get_or_load_traced(key, Database::open().fail()).await {
        Ok(found) => Some((*found.value, found.source)),
        Err(LoadError::Source(_)) => None,
        Err(other) => panic!("the source's own error was expected: {other}"),
    }
}

async fn loaded(cache: &Cache<str, u64>, key: &str, value: u64) -> (u64, Source) {
    let found = cache.get_or_load_traced(key, Database::open().read(value)).await.unwrap();
    (*found.value, found.source)
}

laws! {
    async fn a_failed_load_serves_what_was_fresh_of_late(store: Store) {
        let cache = numbers(&store, |builder| builder.stale_if_error(LONG)).await;
        stale(&cache, "a").await;
        let before = cache.stats();
        assert_eq!(cache.get("a").await.unwrap(), None, "only where a load has failed");
        assert_eq!(failing(&cache, "a").await, Some((1, Source::Stale)));
        let after = cache.stats();
        assert_eq!(after.stale - before.stale, 1);
        assert_eq!(after.misses - before.misses, 1);
        assert_eq!(after.load_errors - before.load_errors, 1);
        assert_eq!(loaded(&cache, "a", 2).await, (2, Source::Loaded));
        assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&2));
    }

    async fn an_error_reaches_the_caller_where_nothing_stale_is_kept(store: Store) {
        let cache = numbers(&store, |builder| builder).await;
        stale(&cache, "a").await;
        assert_eq!(failing(&cache, "a").await, None);
        // Nor is anything for ever.
        let cache = numbers(&store, |builder| builder.stale_if_error(MOMENT)).await;
        stale(&cache, "b").await;
        eventually("its time is over", || async { failing(&cache, "b").await.is_none() }).await;
    }

    async fn what_was_invalidated_is_never_served_stale(store: Store) {
        let settings: Settings =
            |builder| builder.stale_if_error(LONG).stale_while_revalidate(LONG).tagged();
        let cache = numbers(&store, settings).await;
        for key in ["a", "b", "c"] {
            put_stale(&cache, key, PutOptions::new().tag(key)).await;
            assert_eq!(cache.get(key).await.unwrap().as_deref(), Some(&1), "it is served stale");
        }
        assert_eq!(cache.invalidate("a").await.unwrap(), Invalidated::Done);
        assert_eq!(cache.invalidate_tag("b").await.unwrap(), Invalidated::Done);
        for key in ["a", "b"] {
            assert_eq!(cache.get(key).await.unwrap(), None, "{key}");
            assert_eq!(failing(&cache, key).await, None, "{key}");
        }
        assert_eq!(cache.get("c").await.unwrap().as_deref(), Some(&1));
        assert_eq!(cache.clear().await.unwrap(), Invalidated::Done);
        assert_eq!(failing(&cache, "c").await, None);
    }

    async fn what_was_expired_is_served_only_where_its_load_fails(store: Store) {
        let settings: Settings =
            |builder| builder.stale_if_error(LONG).stale_while_revalidate(LONG);
        let [here, there] = both(&store, settings).await;
        here.put("a", &1).await.unwrap();
        assert_eq!(there.expire("a").await.unwrap(), Invalidated::Done);
        assert_eq!(here.get("a").await.unwrap(), None);
        assert_eq!(failing(&here, "a").await, Some((1, Source::Stale)));
        assert_eq!(loaded(&here, "a", 2).await, (2, Source::Loaded));
        assert_eq!(there.get("a").await.unwrap().as_deref(), Some(&2));
        // What is not there cannot be served, and what is not kept is not.
        assert_eq!(here.expire("b").await.unwrap(), Invalidated::Done);
        assert_eq!(failing(&here, "b").await, None);
        let strict = named(&store.tenant("acme").await, "strict", |builder| builder);
        strict.put("a", &1).await.unwrap();
        strict.expire("a").await.unwrap();
        assert_eq!(strict.get("a").await.unwrap(), None);
        assert_eq!(failing(&strict, "a").await, None);
        assert_eq!(loaded(&strict, "a", 2).await, (2, Source::Loaded));
    }

    async fn expire_revokes_a_load_under_way(store: Store) {
        let [here, there] = both(&store, |builder| builder.stale_if_error(LONG)).await;
        here.put("there", &1).await.unwrap();
        here.expire("there").await.unwrap();
        let database = Database::gated();
        let begun = ["missing", "there"].map(|key| call(&here, key, &database, 2));
        database.loading(2).await;
        for key in ["missing", "there"] {
            assert_eq!(there.expire(key).await.unwrap(), Invalidated::Done);
        }
        database.open_gate();
        for caller in begun {
            assert_eq!(*caller.await.unwrap().unwrap().value, 2, "it came before that");
        }
        assert_eq!(here.inspect("missing").await.unwrap(), None, "it is not stored");
        assert_eq!(here.get("there").await.unwrap(), None);
        assert_eq!(failing(&here, "there").await, Some((1, Source::Stale)), "nor this");
        for key in ["missing", "there"] {
            assert_eq!(loaded(&here, key, 3).await, (3, Source::Loaded), "{key}");
        }
    }

    async fn a_stale_entry_is_served_at_once_and_refreshed_once_in_the_fleet(store: Store) {
        let [here, there] = both(&store, |builder| builder.stale_while_revalidate(LONG)).await;
        stale(&here, "a").await;
        let database = Database::gated();
        // While the source answers no one.
        let callers: Vec<_> =
            (0..100_usize).map(|n| call([&here, &there][n % 2], "a", &database, 2)).collect();
        for caller in callers {
            let found = caller.await.unwrap().unwrap();
            assert_eq!((*found.value, found.source), (1, Source::Stale));
        }
        database.loading(1).await;
        assert_eq!(there.get("a").await.unwrap().as_deref(), Some(&1));
        database.open_gate();
        eventually("it is refreshed", || async {
            there.get("a").await.unwrap().as_deref() == Some(&2)
        })
        .await;
        for cache in [&here, &there] {
            let (value, source) = loaded(cache, "a", 3).await;
            assert_eq!(value, 2);
            assert!(matches!(source, Source::Local | Source::Redis), "{source:?}: it is fresh");
        }
        assert_eq!(database.loads(), 1);
    }

    async fn an_entry_that_is_due_is_loaded_by_one_while_everyone_is_served(store: Store) {
        // Each hit is due.
        let [here, there] = both(&store, |builder| builder.refresh_ahead(0.0)).await;
        here.put("a", &1).await.unwrap();
        for round in 1..=3 {
            let database = Database::gated();
            // What has just been refreshed may still be taken for being so, for a moment.
            eventually("a refresh begins", || async {
                let found = call(&here, "a", &database, round + 1).await.unwrap().unwrap();
                assert_eq!(*found.value, round);
                database.loads() > 0
            })
            .await;
            let callers: Vec<_> = (0..100_usize)
                .map(|n| call([&here, &there][n % 2], "a", &database, round + 1))
                .collect();
            for caller in callers {
                let found = caller.await.unwrap().unwrap();
                assert_eq!(*found.value, round);
                assert!(matches!(found.source, Source::Local | Source::Redis));
            }
            assert_eq!(database.loads(), 1, "one at a time");
            database.open_gate();
            eventually("it is refreshed", || async {
                here.get("a").await.unwrap().as_deref() == Some(&(round + 1))
            })
            .await;
            assert_eq!(database.loads(), 1);
        }
    }

    async fn a_caller_that_cannot_be_served_gets_a_value_although_a_refresh_is_under_way(
        store: Store
    ) {
        let cache = numbers(&store, |builder| builder.refresh_ahead(0.0)).await;
        cache.put("a", &1).await.unwrap();
        let database = Database::gated();
        assert_eq!(*call(&cache, "a", &database, 2).await.unwrap().unwrap().value, 1);
        database.loading(1).await;
        let picky = cache.fresh_within(Duration::ZERO);
        eventually("it is older than that", || async {
            picky.get("a").await.unwrap().is_none()
        })
        .await;
        let waiting = call(&picky, "a", &database, 3);
        everyone_has_asked(&cache).await;
        database.open_gate();
        let found = waiting.await.unwrap().expect("a value: no load has failed");
        assert!([2, 3].contains(&*found.value), "{}", found.value);
    }

    async fn a_slow_load_gives_way_to_a_stale_value_and_still_fills(store: Store) {
        let settings: Settings = |builder| builder.stale_if_error(LONG).soft_timeout(MOMENT);
        let cache = numbers(&store, settings).await;
        stale(&cache, "a").await;
        let database = Database::gated();
        // One who has nothing else to be given waits.
        let cold = call(&cache, "cold", &database, 2);
        database.loading(1).await;
        let found = call(&cache, "a", &database, 2).await.unwrap().unwrap();
        assert_eq!((*found.value, found.source), (1, Source::Stale));
        database.loading(2).await;
        database.open_gate();
        eventually("the load fills the cache", || async {
            cache.get("a").await.unwrap().as_deref() == Some(&2)
        })
        .await;
        let found = cold.await.unwrap().unwrap();
        assert_eq!((*found.value, found.source), (2, Source::Loaded));
        assert_eq!(database.loads(), 2);
    }

    async fn a_caller_waits_no_longer_than_the_hard_timeout_and_the_load_still_fills(
        store: Store
    ) {
        let cache = numbers(&store, |builder| builder.hard_timeout(MOMENT)).await;
        let database = Database::gated();
        let error = call(&cache, "a", &database, 1).await.unwrap().unwrap_err();
        assert!(matches!(error, LoadError::TimedOut), "{error}");
        database.loading(1).await;
        database.open_gate();
        eventually("the load fills the cache", || async {
            cache.get("a").await.unwrap().as_deref() == Some(&1)
        })
        .await;
        assert_eq!(database.loads(), 1);
        // Where there is something stale, it is better than that.
        let settings: Settings = |builder| builder.stale_if_error(LONG).hard_timeout(MOMENT);
        let cache = named(&store.tenant("acme").await, "kept", settings);
        stale(&cache, "a").await;
        let database = Database::gated();
        let found = call(&cache, "a", &database, 2).await.unwrap().unwrap();
        assert_eq!((*found.value, found.source), (1, Source::Stale));
    }

    async fn absence_is_remembered_for_its_ttl_and_only_where_asked_for(store: Store) {
        let acme = store.tenant("acme").await;
        let forgetful = named(&acme, "forgetful", |builder| builder);
        let database = Database::open();
        for loads in 1..=2 {
            assert_eq!(forgetful.get_or_find("a", database.find(None)).await.unwrap(), None);
            assert_eq!(database.loads(), loads);
        }
        let [here, there] = both(&store, |builder| builder.absent_ttl(LONG)).await;
        let database = Database::open();
        for cache in [&here, &there, &here] {
            assert_eq!(cache.get_or_find("a", database.find(None)).await.unwrap(), None);
            assert_eq!(cache.get("a").await.unwrap(), None);
            assert!(!cache.exists("a").await.unwrap());
        }
        assert_eq!(database.loads(), 1);
        assert!(there.inspect("a").await.unwrap().expect("an entry").is_absent);
        // One who will have a value loads it, and everyone finds it.
        assert_eq!(*there.get_or_load("a", database.read(1)).await.unwrap(), 1);
        let found = here.get_or_find("a", database.find(None)).await.unwrap();
        assert_eq!(found.as_deref(), Some(&1));
        assert_eq!(database.loads(), 2);
        // An invalidation ends it as it ends any entry.
        assert_eq!(here.get_or_find("b", database.find(None)).await.unwrap(), None);
        there.invalidate("b").await.unwrap();
        let found = here.get_or_find("b", database.find(Some(2))).await.unwrap();
        assert_eq!(found.as_deref(), Some(&2));
        assert_eq!(there.get("b").await.unwrap().as_deref(), Some(&2));
        // And so does time.
        let brief = named(&acme, "brief", |builder| builder.absent_ttl(MOMENT));
        assert_eq!(brief.get_or_find("a", database.find(None)).await.unwrap(), None);
        eventually("the source is asked again", || async {
            let found = brief.get_or_find("a", database.find(Some(3))).await.unwrap();
            found.as_deref() == Some(&3)
        })
        .await;
    }

    async fn what_is_older_than_a_caller_wants_is_loaded_for_it(store: Store) {
        let cache = numbers(&store, |builder| builder).await;
        cache.put("a", &1).await.unwrap();
        assert!(loaded(&cache.fresh_within(LONG), "a", 2).await.1 != Source::Loaded);
        let picky = cache.fresh_within(Duration::ZERO);
        eventually("it is older than that", || async {
            loaded(&picky, "a", 2).await == (2, Source::Loaded)
        })
        .await;
        // And then it is there for all.
        assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&2));
    }

    async fn a_loader_may_say_unchanged(store: Store) {
        let cache = numbers(&store, |builder| builder.stale_if_error(LONG)).await;
        stale(&cache, "a").await;
        let (tell, told) = oneshot::channel();
        let load = move |load: Loading<u64>| async move {
            let _ = tell.send(load.previous());
            Ok::<Loaded<u64>, Down>(Loaded::Unchanged)
        };
        let found = cache.get_or_load_with("a", load).await.unwrap();
        let previous = told.await.unwrap().expect("what is being replaced");
        assert_eq!((*found.value, found.source), (1, Source::Loaded));
        assert!(Arc::ptr_eq(&previous, &found.value), "the very same, and no copy");
        let entry = cache.inspect("a").await.unwrap().expect("an entry");
        assert!(entry.fresh_for > Some(LONG / 2), "{entry:?}");
        assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&1));
    }

    async fn what_is_unchanged_was_there_before(store: Store) {
        let (cache, database) = (numbers(&store, |builder| builder).await, Database::open());
        let load = |load: Loading<u64>| async move {
            assert_eq!(load.previous(), None);
            Ok::<Loaded<u64>, Down>(Loaded::Unchanged)
        };
        let error = rejection(cache.get_or_load_with("a", load).await);
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(error.to_string().contains("unchanged"), "{error}");
        assert_eq!(cache.inspect("a").await.unwrap(), None);
        assert_eq!(*cache.get_or_load("a", database.read(2)).await.unwrap(), 2);
    }

    async fn a_loader_may_refuse_to_be_stored(store: Store) {
        let [here, there] = both(&store, |builder| builder).await;
        for (n, cache) in [(1, &here), (2, &there), (3, &here)] {
            let load = move |load: Loading<u64>| async move {
                load.do_not_store();
                Ok::<u64, Down>(n)
            };
            let found = cache.get_or_load_with("a", load).await.unwrap();
            assert_eq!((*found.value, found.source), (n, Source::Loaded));
            assert_eq!(here.inspect("a").await.unwrap(), None);
        }
        assert_eq!(loaded(&here, "a", 4).await, (4, Source::Loaded));
        assert_eq!(there.get("a").await.unwrap().as_deref(), Some(&4));
    }

    async fn a_loader_may_set_a_ttl(store: Store) {
        let cache = numbers(&store, |builder| builder).await;
        let lives_for = |time: Duration| {
            move |load: Loading<u64>| async move {
                load.ttl(ttl(time));
                Ok::<u64, Down>(1)
            }
        };
        cache.get_or_load_with("long", lives_for(10 * LONG)).await.unwrap();
        cache.get_or_load_with("brief", lives_for(MOMENT)).await.unwrap();
        loaded(&cache, "usual", 1).await;
        let long = cache.inspect("long").await.unwrap().expect("an entry");
        assert!(long.fresh_for > Some(5 * LONG), "{long:?}");
        let usual = cache.inspect("usual").await.unwrap().expect("an entry");
        assert!(usual.fresh_for <= Some(LONG), "{usual:?}");
        eventually("it dies", || async { !cache.exists("brief").await.unwrap() }).await;
        assert!(cache.exists("usual").await.unwrap());
    }
}

#[test]
fn fresh_within_loads_what_is_older_and_only_that() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let cache = named(&sinew, "number", |builder| builder);
        let picky = cache.fresh_within(MINUTE);
        cache.put("a", &1).await.unwrap();
        hands.advance(MINUTE);
        assert_eq!(loaded(&picky, "a", 2).await, (1, Source::Local));
        hands.advance(Duration::from_millis(1));
        assert_eq!(picky.get("a").await.unwrap(), None);
        assert_eq!(loaded(&cache, "a", 2).await, (1, Source::Local));
        assert_eq!(loaded(&picky, "a", 2).await, (2, Source::Loaded));
        assert_eq!(loaded(&picky, "a", 3).await, (2, Source::Local));
    });
}

#[test]
fn what_is_unchanged_begins_its_life_anew() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let cache = named(&sinew, "number", |builder| builder.jitter(0.0));
        cache.put("a", &1).await.unwrap();
        hands.advance(9 * MINUTE);
        let unchanged = |_: Loading<u64>| async { Ok::<Loaded<u64>, Down>(Loaded::Unchanged) };
        let found = cache.fresh_within(MINUTE).get_or_load_with("a", unchanged).await.unwrap();
        assert_eq!((*found.value, found.source), (1, Source::Loaded));
        // Its value has been there for longer than the TTL.
        hands.advance(3 * MINUTE);
        let entry = cache.inspect("a").await.unwrap().expect("an entry");
        assert_eq!((entry.age, entry.fresh_for), (Some(3 * MINUTE), Some(7 * MINUTE)));
        assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&1));
    });
}

#[test]
fn what_costs_more_is_refreshed_earlier() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let builder = sinew.cache("number").ttl(MINUTE).early_refresh(100.0);
        let cache: Cache<str, u64> = builder.build().unwrap();
        // Loaded in no time, it is never refreshed early.
        let database = Database::open();
        for _ in 0..200 {
            assert_eq!(*cache.get_or_load("cheap", database.read(1)).await.unwrap(), 1);
        }
        assert_eq!(database.loads(), 1);
        let database = Database::gated();
        let first = call(&cache, "dear", &database, 1);
        database.loading(1).await;
        // Shorter than a lease.
        hands.advance(Duration::from_secs(4));
        database.open_gate();
        assert_eq!(*first.await.unwrap().unwrap().value, 1);
        // At random, most of the time: a hundred times its cost is longer than it has left to live.
        eventually("it is refreshed", || async {
            call(&cache, "dear", &database, 2).await.unwrap().unwrap();
            database.loads() > 1
        })
        .await;
    });
}

#[test]
fn a_source_that_could_not_refresh_is_left_alone_for_a_second() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let cache = named(&sinew, "number", |builder| builder.refresh_ahead(0.0));
        cache.put("a", &1).await.unwrap();
        let database = Database::open();
        let served = || async { *cache.get_or_load("a", database.fail()).await.unwrap() };
        assert_eq!(served().await, 1);
        eventually("it has failed", || async { cache.stats().load_errors == 1 }).await;
        for _ in 0..300 {
            assert_eq!(served().await, 1);
            tokio::task::yield_now().await;
        }
        assert_eq!(database.loads(), 1);
        eventually("it is asked again", || async {
            hands.advance(Duration::from_secs(1));
            assert_eq!(served().await, 1);
            database.loads() > 1
        })
        .await;
    });
}

#[test]
fn a_load_that_stores_nothing_gives_its_lease_back() {
    keep(|| async {
        // A clock that stands still: what is not given back is held for ever.
        let (clock, _hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let cache = named(&sinew, "number", |builder| builder);
        let database = Database::open();
        assert_eq!(failing(&cache, "fails").await, None);
        let refuses = |load: Loading<u64>| async move {
            load.do_not_store();
            Ok::<u64, Down>(1)
        };
        cache.get_or_load_with("refuses", refuses).await.unwrap();
        let tags = |load: Loading<u64>| async move {
            load.tag("red");
            Ok::<u64, Down>(1)
        };
        rejection(cache.get_or_load_with("tags", tags).await);
        let unchanged = |_: Loading<u64>| async { Ok::<Loaded<u64>, Down>(Loaded::Unchanged) };
        rejection(cache.get_or_load_with("unchanged", unchanged).await);
        assert_eq!(cache.get_or_find("absent", database.find(None)).await.unwrap(), None);
        for key in ["fails", "refuses", "tags", "unchanged", "absent"] {
            assert_eq!(loaded(&cache, key, 2).await, (2, Source::Loaded), "{key}");
        }
    });
}

#[test]
fn settings_out_of_bounds_are_rejected() {
    keep(|| async {
        let sinew = Sinew::embedded();
        let bad: &[(&str, Settings)] = &[
            ("a TTL of zero", |b| b.ttl(Duration::ZERO)),
            ("a jitter over 1", |b| b.jitter(1.1)),
            ("a refresh_ahead over 1", |b| b.refresh_ahead(1.5)),
            ("a refresh_ahead under 0", |b| b.refresh_ahead(-0.1)),
            ("a refresh_ahead that is no number", |b| b.refresh_ahead(f64::NAN)),
            ("a beta under 0", |b| b.early_refresh(-1.0)),
            ("a beta over 100", |b| b.early_refresh(100.1)),
            ("a beta that is no number", |b| b.early_refresh(f64::NAN)),
            ("an infinite beta", |b| b.early_refresh(f64::INFINITY)),
            ("a soft timeout with nothing stale to give", |b| b.soft_timeout(MINUTE)),
            ("a soft timeout too long", |b| b.stale_if_error(MINUTE).soft_timeout(TOO_LONG)),
            ("a hard timeout too long", |b| b.hard_timeout(TOO_LONG)),
            ("a stale_if_error too long", |b| b.stale_if_error(TOO_LONG)),
            ("a stale_while_revalidate too long", |b| b.stale_while_revalidate(TOO_LONG)),
            ("an absent_ttl of zero", |b| b.absent_ttl(Duration::ZERO)),
            ("an absent_ttl too long", |b| b.absent_ttl(TOO_LONG)),
        ];
        for (what, set) in bad {
            let error = set(sinew.cache("number")).build::<str, u64>().err().expect(what);
            assert_eq!(error.kind(), ErrorKind::Rejected, "{what}: {error}");
        }
        let need_the_envelope: &[(&str, Settings)] = &[
            ("tags", CacheBuilder::tagged),
            ("an absent_ttl", |b| b.absent_ttl(MINUTE)),
            ("a refresh_ahead", |b| b.refresh_ahead(0.8)),
            ("an early refresh", |b| b.early_refresh(1.0)),
            ("stale values", |b| b.stale_while_revalidate(MINUTE)),
            ("stale values for errors", |b| b.stale_if_error(MINUTE)),
            ("a local level", |b| b.local(Local::bytes(1 << 20))),
        ];
        for (what, set) in need_the_envelope {
            let plain = set(sinew.cache("number")).format(Format::PlainJson);
            let error = plain.build::<str, u64>().err().expect(what);
            assert_eq!(error.kind(), ErrorKind::Rejected, "{what}: {error}");
            assert!(error.to_string().contains("PlainJson"), "{what}: {error}");
            assert!(set(sinew.cache("number")).build::<str, u64>().is_ok(), "{what}");
        }
        let good: &[(&str, Settings)] = &[
            ("the least", |b| b.refresh_ahead(0.0).early_refresh(0.0).jitter(0.0)),
            ("the most", |b| b.refresh_ahead(1.0).early_refresh(100.0).jitter(1.0)),
            ("timeouts", |b| b.stale_if_error(LONG).soft_timeout(MOMENT).hard_timeout(MINUTE)),
            ("plain JSON", |b| b.format(Format::PlainJson).hard_timeout(MINUTE)),
        ];
        for (what, set) in good {
            assert!(set(sinew.cache("number")).build::<str, u64>().is_ok(), "{what}");
        }
    });
}
