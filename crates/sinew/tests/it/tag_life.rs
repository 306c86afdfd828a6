//! How long tags are remembered: longer than any entry that may have them.

use std::time::Duration;

use sinew::{Cache, Clock, LoadError, Loading, Sinew, Traced, Ttl};
use tokio::task::JoinHandle;

use crate::laws::{eventually, keep};
use crate::source::{Database, Down};
use crate::tags::{numbers, tagged, with};
use crate::world::{SHARED_REDIS, Store, redis_cli};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Enough tags for the embedded store to look for those that it can forget.
const MANY: u32 = 2_000;

fn ttl(duration: Duration) -> Ttl {
    Ttl::new(duration).expect("within bounds")
}

/// Where a cache of the tenant `acme` has its tags.
fn hash_of(store: &Store, cache: &str) -> String {
    format!("{0}acme:tag:{{{0}acme:{cache}}}", store.prefix)
}

fn cli(arguments: &[&str]) -> String {
    redis_cli(SHARED_REDIS.port, arguments)
}

fn lives_for(key: &str) -> Duration {
    let left_ms = cli(&["PTTL", key]);
    Duration::from_millis(left_ms.parse().expect("a key with a TTL"))
}

#[test]
fn tags_that_are_lost_take_their_entries_with_them() {
    keep(|| async {
        let store = Store::redis().await;
        let cache = numbers(&store.tenant("acme").await);
        let hash = hash_of(&store, "number");
        cache.put_with("invalidated", &1, with(["red"])).await.unwrap();
        cache.invalidate_tag("red").await.unwrap();
        assert!(!cache.exists("invalidated").await.unwrap());
        cache.put_with("good", &1, with(["blue"])).await.unwrap();
        cache.put("bare", &1).await.unwrap();
        for key in ["good", "bare"] {
            assert!(cache.exists(key).await.unwrap(), "{key}");
        }
        assert_eq!(cli(&["DEL", &hash]), "1");
        let elsewhere = numbers(&store.tenant("acme").await);
        for key in ["invalidated", "good", "bare"] {
            let entry = format!("{}acme:number:{key}", store.prefix);
            assert_eq!(cli(&["EXISTS", &entry]), "1", "{key} is still in the store");
            assert_eq!(elsewhere.get(key).await.unwrap(), None, "{key}");
            eventually("the loss is told", || async { !cache.exists(key).await.unwrap() }).await;
        }
        // Nor do they come back with the tags, which are numbered from the beginning again.
        elsewhere.put_with("new", &2, with(["red"])).await.unwrap();
        assert_eq!(cli(&["HGET", &hash, "n"]), "0");
        for key in ["invalidated", "good", "bare"] {
            assert_eq!(elsewhere.get(key).await.unwrap(), None, "{key}");
            assert_eq!(cache.get(key).await.unwrap(), None, "{key}");
        }
        assert_eq!(elsewhere.get("new").await.unwrap().as_deref(), Some(&2));
        eventually("the new tags are told", || async { cache.exists("new").await.unwrap() }).await;
    });
}

#[test]
fn long_dead_tags_are_forgotten() {
    keep(|| async {
        let store = Store::redis().await;
        let second = Duration::from_secs(1);
        let cache: Cache<str, u64> =
            store.tenant("acme").await.cache("number").ttl(second).tagged().build().unwrap();
        let hash = hash_of(&store, "number");
        // The hash dies with its last entry: a machine that stalls for so long shows nothing.
        for _ in 0..5 {
            cache.invalidate_tag("pulse").await.unwrap();
            let generation = cli(&["HGET", &hash, "gen"]);
            for n in 0..50 {
                cache.invalidate_tag(n).await.unwrap();
            }
            eventually("all tags but one are forgotten", || async {
                cache.invalidate_tag("pulse").await.unwrap();
                // Beside it there are the generation, the sequence and the TTL.
                cli(&["HLEN", &hash]) == "4"
            })
            .await;
            if cli(&["HGET", &hash, "gen"]) == generation {
                assert_eq!(cli(&["HEXISTS", &hash, "t:pulse"]), "1");
                return;
            }
        }
        panic!("the machine stalled each time, and the hash died first");
    });
}

#[test]
fn an_entry_whose_own_ttl_outlives_the_caches_keeps_its_tags_alive() {
    keep(|| async {
        let store = Store::redis().await;
        let acme = store.tenant("acme").await;
        let long = ttl(100 * MINUTE);
        // By a put, by a load, and by a setting.
        let (put, loaded) = (tagged(&acme, "put"), tagged(&acme, "loaded"));
        let kept = acme.cache("kept").ttl(10 * MINUTE).tagged().stale_if_error(100 * MINUTE);
        let kept: Cache<str, u64> = kept.build().unwrap();
        for cache in [&put, &loaded] {
            cache.put("short", &1).await.unwrap();
            assert!(lives_for(&hash_of(&store, cache.name())) <= 20 * MINUTE);
        }
        put.put_with("long", &1, with(["red"]).ttl(long)).await.unwrap();
        let load = move |load: Loading<u64>| async move {
            load.ttl(long);
            load.tag("red");
            Ok::<u64, Down>(1)
        };
        loaded.get_or_load_with("long", load).await.unwrap();
        kept.put_with("long", &1, with(["red"])).await.unwrap();
        for cache in [&put, &loaded, &kept] {
            let name = cache.name();
            let (hash, entry) =
                (hash_of(&store, name), format!("{}acme:{name}:long", store.prefix));
            assert!(lives_for(&entry) > 80 * MINUTE, "{name}");
            assert!(lives_for(&hash) > lives_for(&entry), "{name}");
            // Those who need them for less leave it so.
            let elsewhere = tagged(&store.tenant("acme").await, name);
            elsewhere.put("short", &1).await.unwrap();
            elsewhere.invalidate_tag("blue").await.unwrap();
            assert!(lives_for(&hash) > lives_for(&entry), "{name}");
            assert!(elsewhere.exists("long").await.unwrap(), "{name}");
            elsewhere.invalidate_tag("red").await.unwrap();
            assert!(!elsewhere.exists("long").await.unwrap(), "{name}");
        }
    });
}

#[test]
fn an_entry_is_good_for_as_long_as_it_was_put_for() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let builder = sinew.cache("number").ttl(MINUTE).jitter(0.0).tagged();
        let cache: Cache<str, u64> = builder.build().unwrap();
        for key in ["red", "blue"] {
            cache.put_with(key, &1, with([key]).ttl(ttl(10 * MINUTE))).await.unwrap();
        }
        // Long after the tags of the cache's own TTL would have died.
        hands.advance(9 * MINUTE);
        assert!(cache.exists("red").await.unwrap());
        cache.invalidate_tag("red").await.unwrap();
        assert!(!cache.exists("red").await.unwrap());
        assert!(cache.exists("blue").await.unwrap());
    });
}

type Load = JoinHandle<Result<Traced<u64>, LoadError<Down>>>;

/// A load of what has the tag "red", and a TTL of its own where it is told one.
fn load_red(
    cache: &Cache<str, u64>,
    key: &'static str,
    database: &Database,
    own: Option<Ttl>,
) -> Load {
    let (cache, read) = (cache.clone(), database.read_tagged(1, &["red"]));
    let load = move |loading: Loading<u64>| {
        if let Some(ttl) = own {
            loading.ttl(ttl);
        }
        read(loading)
    };
    tokio::spawn(async move { cache.get_or_load_with(key, load).await })
}

#[test]
fn what_was_loading_until_its_tag_was_forgotten_is_not_served() {
    keep(|| async {
        for own in [None, Some(ttl(10 * MINUTE))] {
            let (clock, hands) = Clock::manual();
            let sinew = Sinew::builder().clock(clock).embedded().unwrap();
            let builder = sinew.cache("number").ttl(SECOND).jitter(0.0).tagged();
            let cache: Cache<str, u64> = builder.build().unwrap();
            let database = Database::gated();
            let loading = load_red(&cache, "a", &database, own);
            database.loading(1).await;
            cache.invalidate_tag("red").await.unwrap();
            for n in 0..MANY {
                cache.invalidate_tag(n).await.unwrap();
            }
            // The tags of the cache live for two seconds after the last of these.
            for _ in 0..3 {
                hands.advance(SECOND);
                cache.invalidate_tag("pulse").await.unwrap();
            }
            database.open_gate();
            assert_eq!(*loading.await.unwrap().unwrap().value, 1, "it began before");
            assert_eq!(cache.get("a").await.unwrap(), None, "with a TTL of its own: {own:?}");
        }
    });
}

#[test]
fn what_was_loading_until_redis_forgot_its_tag_is_not_served() {
    keep(|| async {
        let store = Store::redis().await;
        // The hash dies with its last entry: a machine that stalls for so long shows nothing.
        for round in 0..5 {
            let name = format!("number{round}");
            let builder = store.tenant("acme").await.cache(&name).ttl(SECOND).tagged();
            let cache: Cache<str, u64> = builder.build().unwrap();
            let (database, hash) = (Database::gated(), hash_of(&store, &name));
            let loading = [("usual", None), ("long", Some(ttl(10 * MINUTE)))]
                .map(|(key, own)| load_red(&cache, key, &database, own));
            database.loading(2).await;
            cache.invalidate_tag("red").await.unwrap();
            let generation = cli(&["HGET", &hash, "gen"]);
            let was_known = cli(&["HEXISTS", &hash, "t:red"]) == "1";
            eventually("the tag is forgotten", || async {
                cache.invalidate_tag("pulse").await.unwrap();
                cli(&["HEXISTS", &hash, "t:red"]) == "0"
            })
            .await;
            database.open_gate();
            for load in loading {
                assert_eq!(*load.await.unwrap().unwrap().value, 1, "it began before");
            }
            for key in ["usual", "long"] {
                assert_eq!(cache.get(key).await.unwrap(), None, "{key}");
            }
            if was_known && cli(&["HGET", &hash, "gen"]) == generation {
                return;
            }
        }
        panic!("the machine stalled each time, and the hash died first");
    });
}

#[test]
fn a_tag_is_remembered_for_as_long_as_an_entry_lives_that_has_it() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let builder = sinew.cache("number").ttl(MINUTE).jitter(0.0).tagged();
        let cache: Cache<str, u64> = builder.build().unwrap();
        let red = || with(["red"]).ttl(ttl(100 * MINUTE));
        cache.put_with("first", &1, red()).await.unwrap();
        // Not so long after it that the tags were told to live longer than for the first.
        hands.advance(49 * MINUTE);
        cache.put_with("second", &1, red()).await.unwrap();
        cache.invalidate_tag("red").await.unwrap();
        for n in 0..MANY {
            cache.invalidate_tag(n).await.unwrap();
        }
        for _ in 0..9 {
            assert_eq!(cache.get("second").await.unwrap(), None);
            assert!(cache.inspect("second").await.unwrap().is_some(), "it is still stored");
            hands.advance(11 * MINUTE);
            cache.invalidate_tag("pulse").await.unwrap();
        }
    });
}
