//! Writers that race each other: the newest version stays, in whatever order they come.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use sinew::{Cache, Clock, Invalidated, PutOptions, Sinew, Ttl};

use crate::laws::{eventually, keep};
use crate::source::Begun;
use crate::world::{SHARED_REDIS, Store, redis_cli};

const HOUR: Duration = Duration::from_secs(3_600);

fn numbers(tenant: &Sinew) -> Cache<u64, u64> {
    tenant.cache("number").ttl(HOUR).build().expect("a cache")
}

async fn found(cache: &Cache<u64, u64>, key: u64) -> Option<u64> {
    cache.get(&key).await.unwrap().map(|value| *value)
}

async fn load(cache: &Cache<u64, u64>, key: u64, value: u64) -> u64 {
    let load = move || async move { Ok::<_, Infallible>(value) };
    *cache.get_or_load(&key, load).await.unwrap()
}

laws! {
    async fn newer_versions_win_in_whatever_order_they_come(store: Store) {
        let processes =
            [numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await)];
        let mut rng = fastrand::Rng::with_seed(7);
        for key in 0..20_u64 {
            let mut versions = [1_u64, 2, 3, 4, 5];
            rng.shuffle(&mut versions);
            let mut greatest = 0;
            for (version, cache) in versions.into_iter().zip(processes.iter().cycle()) {
                let stored = cache.put_versioned(&key, &(version * 10), version).await.unwrap();
                assert_eq!(stored, version > greatest, "{version} of {versions:?}");
                greatest = greatest.max(version);
                assert_eq!(found(&processes[0], key).await, Some(greatest * 10), "{versions:?}");
            }
            assert_eq!(found(&processes[1], key).await, Some(50));
        }
    }

    async fn of_writers_that_race_each_other_the_newest_stays(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let mut versions: Vec<u64> = (1..=100).collect();
        fastrand::Rng::with_seed(7).shuffle(&mut versions);
        let writes = versions.iter().zip([&here, &elsewhere].into_iter().cycle());
        let writes = writes.map(|(version, cache)| async move {
            cache.put_versioned(&1, version, *version).await.unwrap()
        });
        let stored = join_all(writes).await;
        assert!(stored.contains(&true));
        assert_eq!(found(&here, 1).await, Some(100));
        let newest = versions.iter().position(|version| *version == 100).unwrap();
        assert!(stored[newest]);
    }

    async fn versions_are_numbers_of_any_length(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        let pairs: [(u64, u64); 9] = [
            (0, 1),
            (9, 10),
            (99, 100),
            (10_000, 20_000),
            ((1 << 32) - 1, 1 << 32),
            // A double cannot tell these apart,
            (1 << 53, (1 << 53) + 1),
            (u64::MAX - 2, u64::MAX - 1),
            // and these are negative to whoever forgets that they have no sign.
            ((1 << 63) - 1, 1 << 63),
            (9, u64::MAX - 1),
        ];
        for (key, (older, newer)) in (0_u64..).zip(pairs) {
            assert!(cache.put_versioned(&key, &1, older).await.unwrap(), "{older}");
            assert!(cache.put_versioned(&key, &2, newer).await.unwrap(), "{newer} after {older}");
            assert!(!cache.put_versioned(&key, &3, older).await.unwrap(), "{older} after {newer}");
            assert!(!cache.put_versioned(&key, &4, newer).await.unwrap(), "{newer} twice");
            assert_eq!(found(&cache, key).await, Some(2), "{older}, {newer}");
        }
    }

    async fn the_same_version_is_stored_again_only_where_the_entry_is_gone(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        assert!(cache.put_versioned(&1, &10, 5).await.unwrap());
        assert!(!cache.put_versioned(&1, &11, 5).await.unwrap());
        assert_eq!(found(&cache, 1).await, Some(10));
        let briefly = PutOptions::new().ttl(Ttl::new(Duration::from_millis(5)).unwrap());
        cache.put_with(&1, &12, briefly).await.unwrap();
        eventually("the entry is gone", || async { !cache.exists(&1).await.unwrap() }).await;
        assert!(!cache.put_versioned(&1, &13, 4).await.unwrap(), "its version is still known");
        assert!(!cache.exists(&1).await.unwrap());
        assert!(cache.put_versioned(&1, &14, 5).await.unwrap());
        assert_eq!(found(&cache, 1).await, Some(14));
    }

    async fn a_versioned_put_that_arrives_after_an_invalidation_loses(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        assert!(here.put_versioned(&1, &10, 1).await.unwrap());
        assert_eq!(elsewhere.invalidate(&1).await.unwrap(), Invalidated::Done);
        // No one knows how old what is on its way is; not even a great number says so.
        for version in [0, 1, 2, 1_000] {
            assert!(!here.put_versioned(&1, &20, version).await.unwrap(), "{version}");
            assert_eq!(found(&elsewhere, 1).await, None);
        }
        assert_eq!(load(&elsewhere, 1, 30).await, 30, "the key is not blocked");
        assert_eq!(found(&here, 1).await, Some(30));
    }

    async fn a_versioned_put_that_loses_removes_what_a_reader_stored_in_between(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        // Changed and invalidated; and the row of a reader is older than that of the late writer.
        here.invalidate(&1).await.unwrap();
        assert_eq!(load(&elsewhere, 1, 10).await, 10);
        assert_eq!(found(&here, 1).await, Some(10));
        assert!(!here.put_versioned(&1, &20, 2).await.unwrap());
        assert_eq!(found(&here, 1).await, None);
        assert_eq!(found(&elsewhere, 1).await, None);
        assert_eq!(load(&here, 1, 20).await, 20);
    }

    async fn a_versioned_put_that_loses_to_an_invalidation_revokes_loads(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        here.invalidate(&1).await.unwrap();
        let old = Begun::load(&here, &1, 10).await;
        assert!(!elsewhere.put_versioned(&1, &20, 2).await.unwrap());
        assert_eq!(old.lands().await, 10, "it began before");
        assert_eq!(found(&here, 1).await, None);
    }

    async fn a_versioned_put_during_a_load_is_not_overwritten_by_it(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        let old = Begun::load(&here, &1, 10).await;
        assert!(elsewhere.put_versioned(&1, &20, 2).await.unwrap());
        old.lands().await;
        assert_eq!(found(&here, 1).await, Some(20));
    }

    async fn every_way_to_invalidate_holds_up_versions(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        for key in 0..5_u64 {
            assert!(cache.put_versioned(&key, &1, 1).await.unwrap());
            match key {
                0 => { cache.invalidate(&0).await.unwrap(); }
                1 => { cache.invalidate_many(&[1]).await.unwrap(); }
                2 => { cache.expire(&2).await.unwrap(); }
                3 => { cache.invalidate_matching("3").await.unwrap(); }
                _ => { cache.clear().await.unwrap(); }
            }
            assert!(!cache.put_versioned(&key, &2, 2).await.unwrap(), "{key}");
            assert_eq!(found(&cache, key).await, None, "{key}");
        }
    }

    async fn versions_of_tenants_and_keys_are_their_own(store: Store) {
        let (acme, other) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("other").await));
        assert!(acme.put_versioned(&1, &10, 9).await.unwrap());
        assert!(acme.put_versioned(&2, &20, 1).await.unwrap());
        assert!(other.put_versioned(&1, &30, 1).await.unwrap());
        acme.invalidate(&1).await.unwrap();
        assert!(other.put_versioned(&1, &40, 2).await.unwrap());
        assert!(acme.put_versioned(&2, &50, 2).await.unwrap());
    }
}

#[test]
fn five_seconds_after_an_invalidation_versions_are_taken_again() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let cache = numbers(&sinew);
        for change in 0..2 {
            cache.put_versioned(&1, &1, 1).await.unwrap();
            match change {
                0 => cache.invalidate(&1).await.unwrap(),
                _ => cache.expire(&1).await.unwrap(),
            };
            hands.advance(Duration::from_millis(4_999));
            assert!(!cache.put_versioned(&1, &2, 2).await.unwrap());
            hands.advance(Duration::from_millis(1));
            assert!(cache.put_versioned(&1, &2, 2).await.unwrap());
            assert_eq!(found(&cache, 1).await, Some(2));
            hands.advance(HOUR);
            assert_eq!(found(&cache, 1).await, None);
        }
        // A version lives as long as its entry.
        assert!(cache.put_versioned(&1, &1, 1).await.unwrap());
    });
}

#[test]
fn every_version_has_a_ttl() {
    keep(|| async {
        let store = Store::redis().await;
        let cache = numbers(&store.tenant("acme").await);
        let port = SHARED_REDIS.port;
        let left = |key: &str| redis_cli(port, &["PTTL", key]).parse::<i64>().expect("a number");
        let prefix = &store.prefix;
        let version = |key: u64| format!("{prefix}acme:version:{{{prefix}acme:number:{key}}}");
        // Or gone, on a machine that stalls.
        let is_brief = |left: i64| left == -2 || (1..=5_000).contains(&left);
        for key in 1..=4 {
            cache.put_versioned(&key, &1, 1).await.unwrap();
            assert!((1..=3_600_000).contains(&left(&version(key))));
            cache.put_versioned(&key, &2, 2).await.unwrap();
            cache.put_versioned(&key, &1, 1).await.unwrap();
            assert!(left(&version(key)) > 5_000, "that of its entry");
        }
        cache.invalidate(&1).await.unwrap();
        cache.expire(&2).await.unwrap();
        cache.invalidate_matching("3").await.unwrap();
        // Where there was neither an entry nor a version.
        cache.invalidate(&5).await.unwrap();
        for key in [1, 2, 3, 5] {
            let left = left(&version(key));
            assert!(is_brief(left), "{key}: {left}");
        }
        assert!(!cache.put_versioned(&1, &3, 3).await.unwrap());
        assert!(is_brief(left(&version(1))), "refusing one does not prolong it");
        let keys = redis_cli(port, &["--scan", "--pattern", &format!("{prefix}*")]);
        let record = format!("{prefix}_:deployment");
        let others: Vec<&str> = keys.lines().filter(|key| *key != record).collect();
        assert!(others.contains(&version(4).as_str()), "{others:?}");
        for key in others {
            assert_ne!(left(key), -1, "{key} would live for ever");
        }
    });
}
