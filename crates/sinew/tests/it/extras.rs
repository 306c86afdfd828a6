//! Beside look-ups: counters, warming, the checker, and what people look at.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream;
use parking_lot::Mutex;
use sinew::{Cache, Clock, ErrorKind, Invalidated, ManualClock, PutOptions, Sinew, Ttl, Warmed};
use tokio::time::Instant;

use crate::laws::{eventually, keep};
use crate::source::{Database, Down};
use crate::world::{SHARED_REDIS, Store, redis_cli};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn numbers(tenant: &Sinew) -> Cache<u64, u64> {
    tenant.cache("number").ttl(HOUR).build().expect("a cache")
}

fn ttl(duration: Duration) -> Ttl {
    Ttl::new(duration).expect("within bounds")
}

fn found(value: u64) -> impl FnOnce() -> std::future::Ready<Result<Option<u64>, Infallible>> {
    move || ready(Ok(Some(value)))
}

/// Ten times the key; there is no row of a seventh one.
async fn row(database: Database, key: u64) -> Result<u64, Down> {
    database.passes_for(&[key]).await;
    match key.is_multiple_of(7) {
        true => Err(Down),
        false => Ok(key * 10),
    }
}

laws! {
    async fn a_counter_adds_up_what_all_processes_add(store: Store) {
        let here = numbers(&store.tenant("acme").await).counter("views").unwrap();
        let elsewhere = numbers(&store.tenant("acme").await).counter("views").unwrap();
        assert_eq!(here.get().await.unwrap(), 0);
        assert_eq!(here.add(1, ttl(HOUR)).await.unwrap(), 1);
        assert_eq!(elsewhere.add(10, ttl(HOUR)).await.unwrap(), 11);
        assert_eq!(here.add(-20, ttl(HOUR)).await.unwrap(), -9);
        assert_eq!(here.add(0, ttl(HOUR)).await.unwrap(), -9);
        let additions = (0..50).map(|n| {
            let counter = if n % 2 == 0 { &here } else { &elsewhere };
            async move { counter.add(1, ttl(HOUR)).await.unwrap() }
        });
        let mut counts = futures_util::future::join_all(additions).await;
        counts.sort_unstable();
        assert_eq!(counts, (-8..=41).collect::<Vec<i64>>(), "each is told a number of its own");
        assert_eq!(elsewhere.get().await.unwrap(), 41);
    }

    async fn counters_are_told_apart_and_are_no_entries(store: Store) {
        let (acme, other) = (store.tenant("acme").await, store.tenant("other").await);
        let cache = numbers(&acme);
        let views = cache.counter("views").unwrap();
        views.add(1, ttl(HOUR)).await.unwrap();
        for stranger in [
            cache.counter("likes").unwrap(),
            numbers(&other).counter("views").unwrap(),
            acme.cache("page").build::<u64, u64>().unwrap().counter("views").unwrap(),
            cache.counter("views:1").unwrap(),
        ] {
            assert_eq!(stranger.get().await.unwrap(), 0);
        }
        let texts: Cache<str, u64> = acme.cache("number").build().unwrap();
        assert_eq!(texts.get("views").await.unwrap(), None);
        texts.put("views", &7).await.unwrap();
        texts.invalidate("views").await.unwrap();
        cache.clear().await.unwrap();
        acme.clear_caches().await.unwrap();
        assert_eq!(views.get().await.unwrap(), 1, "clearing entries leaves it");
        let long = "x".repeat(1_100);
        for bad in ["", long.as_str()] {
            let error = cache.counter(bad).err().expect("it is refused");
            assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        }
    }

    async fn a_counter_lives_for_its_ttl(store: Store) {
        let counter = numbers(&store.tenant("acme").await).counter("views").unwrap();
        counter.add(5, ttl(Duration::from_millis(20))).await.unwrap();
        eventually("its time is over", || async { counter.get().await.unwrap() == 0 }).await;
        assert_eq!(counter.add(1, ttl(HOUR)).await.unwrap(), 1, "it begins anew");
    }

    async fn a_counter_that_would_overflow_stays_what_it_is(store: Store) {
        let counter = numbers(&store.tenant("acme").await).counter("views").unwrap();
        counter.add(i64::MAX, ttl(HOUR)).await.unwrap();
        let error = counter.add(1, ttl(HOUR)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(counter.get().await.unwrap(), i64::MAX);
        counter.add(i64::MIN, ttl(HOUR)).await.unwrap();
        assert_eq!(counter.add(1, ttl(HOUR)).await.unwrap(), 0);
        counter.add(i64::MIN, ttl(HOUR)).await.unwrap();
        let error = counter.add(-1, ttl(HOUR)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(counter.get().await.unwrap(), i64::MIN);
    }

    async fn a_counter_tells_large_numbers_exactly(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        // A double cannot hold the first, nor the second.
        for (name, number) in [("a", (1_i64 << 53) + 1), ("b", i64::MAX - 1), ("c", i64::MIN + 1)] {
            let counter = cache.counter(name).unwrap();
            let told = counter.add(number, ttl(HOUR)).await.unwrap();
            assert_eq!((told, counter.get().await.unwrap()), (number, number));
        }
    }

    async fn warming_loads_what_is_missing_and_goes_on_where_a_load_fails(store: Store) {
        let (here, elsewhere) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        for key in [1, 2, 3] {
            elsewhere.put(&key, &5).await.unwrap();
        }
        let (rows, told) = (Database::open(), Mutex::new(Vec::new()));
        let load = |key: &u64| row(rows.clone(), *key);
        let progress = |so_far: Warmed| told.lock().push(so_far);
        let warmed = here.warm(stream::iter(1..=20), 10_000, load, progress).await;
        // Seven and fourteen cannot be loaded.
        assert_eq!(warmed, Warmed { found: 3, loaded: 15, failed: 2 });
        let told = told.into_inner();
        let done: Vec<u64> = told.iter().map(Warmed::done).collect();
        assert_eq!(done, (1..=20).collect::<Vec<u64>>(), "told after each");
        assert_eq!(told.last(), Some(&warmed));
        let mut begun = rows.calls().concat();
        begun.sort_unstable();
        assert_eq!(begun, (4..=20).collect::<Vec<u64>>(), "each once, and none that was there");
        for key in 1..=20_u64 {
            let expected = match key {
                1..=3 => Some(5),
                7 | 14 => None,
                key => Some(key * 10),
            };
            assert_eq!(elsewhere.get(&key).await.unwrap().as_deref(), expected.as_ref(), "{key}");
        }
        let again = here.warm(stream::iter(15..=20), 10_000, load, |_| {}).await;
        assert_eq!(again, Warmed { found: 6, ..Warmed::default() });
        let none = here.warm(stream::empty(), 10_000, load, |_| panic!("no key")).await;
        assert_eq!(none, Warmed::default());
    }

    async fn warming_that_is_dropped_stops_and_its_loads_run_to_their_end(store: Store) {
        let (cache, rows) = (numbers(&store.tenant("acme").await), Database::gated());
        let pulled = AtomicU64::new(0);
        let keys = (0..1_000_000_u64).map(|n| {
            pulled.fetch_add(1, Ordering::SeqCst);
            // None that has no row.
            n * 7 + 1
        });
        let load = |key: &u64| row(rows.clone(), *key);
        tokio::select! {
            warmed = cache.warm(stream::iter(keys), 10_000, load, |_| {}) => {
                panic!("there is no end of keys: {warmed:?}")
            }
            () = rows.loading(5) => {}
        }
        let pulled_then = pulled.load(Ordering::SeqCst);
        assert!((5..=16).contains(&pulled_then), "{pulled_then} at once");
        rows.open_gate();
        eventually("the loads that had begun are stored", || async {
            let begun = rows.calls().concat();
            let there = begun.iter().map(|key| cache.exists(key));
            let there = futures_util::future::join_all(there).await;
            there.into_iter().all(Result::unwrap)
        })
        .await;
        assert_eq!(pulled.load(Ordering::SeqCst), pulled_then);
        assert!(rows.loads() >= 5);
    }

    async fn warming_loads_sixteen_at_once_at_most(store: Store) {
        let (cache, rows) = (numbers(&store.tenant("acme").await), Database::gated());
        let keys = (0..100_u64).map(|n| n * 7 + 1);
        let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let load = |key: &u64| {
            let (loading, under_way, most) =
                (row(rows.clone(), *key), Arc::clone(&under_way), Arc::clone(&most));
            async move {
                most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let row = loading.await;
                under_way.fetch_sub(1, Ordering::SeqCst);
                row
            }
        };
        let warming = cache.warm(stream::iter(keys), 10_000, load, |_| {});
        let opening = async {
            rows.loading(16).await;
            rows.open_gate();
        };
        let (warmed, ()) = futures_util::join!(warming, opening);
        assert_eq!(warmed, Warmed { loaded: 100, ..Warmed::default() });
        assert_eq!(most.load(Ordering::SeqCst), 16);
    }

    async fn the_greatest_rate_is_a_rate(store: Store) {
        let (cache, rows) = (numbers(&store.tenant("acme").await), Database::open());
        let load = |key: &u64| row(rows.clone(), *key);
        for rate in [u32::MAX, 2_000_000_000, 1_000_000_000] {
            cache.clear().await.unwrap();
            let warmed = cache.warm(stream::iter(1..=3), rate, load, |_| {}).await;
            assert_eq!(warmed.loaded, 3, "{rate}");
        }
    }

    async fn an_entry_can_be_looked_into(store: Store) {
        let acme = store.tenant("acme").await;
        let cache: Cache<u64, u64> = acme
            .cache("number")
            .ttl(HOUR)
            .jitter(0.0)
            .tagged()
            .absent_ttl(HOUR)
            .stale_if_error(HOUR)
            .build()
            .unwrap();
        assert!(cache.inspect(&1).await.unwrap().is_none());
        cache.put_with(&1, &7, PutOptions::new().tag("b").tag("a")).await.unwrap();
        let before = cache.stats();
        let one = cache.inspect(&1).await.unwrap().expect("an entry");
        assert!(one.bytes > 1);
        assert!(one.age.is_some_and(|age| age <= MINUTE), "{one:?}");
        assert!(one.fresh_for.is_some_and(|left| left <= HOUR && left > HOUR - MINUTE), "{one:?}");
        let kept_for = one.expires_in.expect("it has a TTL");
        assert!(kept_for <= 2 * HOUR && kept_for > 2 * HOUR - MINUTE, "{one:?}");
        assert_eq!(one.tags, ["a", "b"]);
        assert!(one.is_served && !one.is_absent);

        cache.get_or_find(&2, || ready(Ok::<_, Infallible>(None))).await.unwrap();
        let two = cache.inspect(&2).await.unwrap().expect("an entry");
        assert!(two.is_served && two.is_absent && two.tags.is_empty(), "{two:?}");
        assert!(two.expires_in.is_some_and(|left| left <= HOUR), "not kept past its time");

        cache.put_with(&3, &7, PutOptions::new().tag("a")).await.unwrap();
        cache.expire(&3).await.unwrap();
        let three = cache.inspect(&3).await.unwrap().expect("it is still there");
        assert!(!three.is_served && three.fresh_for.is_none(), "{three:?}");
        assert!(three.expires_in.is_some_and(|left| left > HOUR), "{three:?}");

        cache.invalidate_tag("b").await.unwrap();
        let one = cache.inspect(&1).await.unwrap().expect("it is still there");
        assert!(!one.is_served && one.fresh_for.is_some(), "{one:?}");
        cache.clear().await.unwrap();
        let two = cache.inspect(&2).await.unwrap().expect("it is still there");
        assert!(!two.is_served, "{two:?}");
        cache.invalidate(&1).await.unwrap();
        assert!(cache.inspect(&1).await.unwrap().is_none());
        // But for the one look-up above.
        assert_eq!(cache.stats().requests() - before.requests(), 1);
        let plainly = numbers(&store.tenant("plain").await);
        plainly.put(&1, &7).await.unwrap();
        let one = plainly.inspect(&1).await.unwrap().expect("an entry");
        assert_eq!(one.fresh_for, one.expires_in, "the store's clock says it");
    }

    async fn the_largest_entries_are_told(store: Store) {
        let acme = store.tenant("acme").await;
        let cache: Cache<(u64, &str), String> = acme.cache("text").build().unwrap();
        for id in 0..30 {
            cache.put(&(id, "small"), &"x".to_owned()).await.unwrap();
        }
        for (id, len) in [(1, 1_000), (2, 3_000), (3, 2_000)] {
            cache.put(&(id, "large"), &"x".repeat(len)).await.unwrap();
        }
        // Strangers, each larger than all of them.
        let larger = "x".repeat(5_000);
        let strangers = [
            acme.cache("text2").build::<(u64, &str), String>().unwrap(),
            store.tenant("other").await.cache("text").build().unwrap(),
        ];
        for stranger in strangers {
            stranger.put(&(1, "large"), &larger).await.unwrap();
        }
        let everything = 1 << 30;
        let largest = cache.largest(everything, 3).await.unwrap();
        let keys: Vec<&str> = largest.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["2:large", "3:large", "1:large"]);
        for (one, id) in largest.iter().zip([2, 3, 1]) {
            let inspected = cache.inspect(&(id, "large")).await.unwrap().expect("an entry");
            assert_eq!(one.bytes, inspected.bytes);
        }
        assert_eq!(cache.largest(everything, 100).await.unwrap().len(), 33);
        assert!(cache.largest(everything, 0).await.unwrap().is_empty());
        cache.clear().await.unwrap();
        assert!(cache.largest(everything, 3).await.unwrap().is_empty());
    }
}

#[test]
fn a_counter_lives_from_the_first_addition_on() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let counter = numbers(&sinew).counter("views").unwrap();
        counter.add(1, ttl(MINUTE)).await.unwrap();
        hands.advance(MINUTE - SECOND);
        assert_eq!(counter.add(1, ttl(MINUTE)).await.unwrap(), 2, "this prolongs nothing");
        hands.advance(SECOND);
        assert_eq!(counter.get().await.unwrap(), 0);
        assert_eq!(counter.add(1, ttl(MINUTE)).await.unwrap(), 1);

        let store = Store::redis().await;
        let counter = numbers(&store.tenant("acme").await).counter("views").unwrap();
        let key = format!("{}acme:counter:number:views", store.prefix);
        let left = || redis_cli(SHARED_REDIS.port, &["PTTL", &key]).parse::<i64>().unwrap();
        counter.add(1, ttl(HOUR)).await.unwrap();
        assert!((1..=3_600_000).contains(&left()));
        counter.add(1, ttl(10 * HOUR)).await.unwrap();
        assert!((1..=3_600_000).contains(&left()), "{}", left());
        assert_eq!(redis_cli(SHARED_REDIS.port, &["GET", &key]), "2");
    });
}

#[test]
fn warming_keeps_to_its_rate() {
    // Time stands still but for those who wait for it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (cache, loads) = (numbers(&Sinew::embedded()), Mutex::new(Vec::new()));
        let load = |key: &u64| {
            loads.lock().push(Instant::now());
            ready(Ok::<_, Infallible>(*key))
        };
        let warmed = cache.warm(stream::iter(1..=9), 4, load, |_| {}).await;
        assert_eq!(warmed.loaded, 9);
        let loads = loads.into_inner();
        for (earlier, later) in loads.iter().zip(&loads[1..]) {
            let gap = *later - *earlier;
            assert!(gap >= Duration::from_millis(249), "{gap:?}");
        }
        let took = loads[8] - loads[0];
        assert!(took < 3 * SECOND, "{took:?}: slower than it has to be");
    });
}

/// What the checker asks: rows that the test changes.
#[derive(Clone, Default)]
struct Truth {
    rows: Arc<Mutex<HashMap<u64, u64>>>,
    asked: Arc<Mutex<HashMap<u64, u32>>>,
}

impl Truth {
    fn set(&self, key: u64, value: u64) {
        self.rows.lock().insert(key, value);
    }

    fn read(&self, key: u64) -> Result<u64, io::Error> {
        *self.asked.lock().entry(key).or_default() += 1;
        self.rows.lock().get(&key).copied().ok_or_else(|| io::Error::other("no such row"))
    }

    fn asked(&self, key: u64) -> u32 {
        self.asked.lock().get(&key).copied().unwrap_or_default()
    }

    /// The cache with all of its hits checked.
    fn checks(&self, cache: &Cache<u64, u64>) -> Cache<u64, u64> {
        let truth = self.clone();
        cache.checked(1.0, move |key: u64| ready(truth.read(key))).expect("a share")
    }
}

/// Lets time pass until the source was asked so often.
async fn is_asked(truth: &Truth, hands: &ManualClock, key: u64, times: u32) {
    eventually("the source is asked", || async {
        hands.advance(SECOND);
        truth.asked(key) == times
    })
    .await;
}

#[test]
fn only_a_difference_that_lasts_is_an_inconsistency() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let (truth, year) = (Truth::default(), 365 * 24 * HOUR);
        let cache = truth.checks(&sinew.cache("number").ttl(year).build().unwrap());
        let counts = || (cache.stats().checked, cache.stats().inconsistencies);
        let asked = |key, times| is_asked(&truth, &hands, key, times);
        // The same.
        truth.set(1, 10);
        cache.put(&1, &10).await.unwrap();
        cache.get(&1).await.unwrap();
        eventually("it is compared", || async { counts() == (1, 0) }).await;
        // Another one, and it stays so.
        truth.set(2, 20);
        cache.put(&2, &99).await.unwrap();
        cache.get(&2).await.unwrap();
        eventually("it counts", || async {
            hands.advance(SECOND);
            counts() == (2, 1)
        })
        .await;
        assert_eq!((truth.asked(1), truth.asked(2)), (1, 2));
        // Changes that are under way: one that is invalidated,
        truth.set(3, 30);
        cache.put(&3, &99).await.unwrap();
        cache.get(&3).await.unwrap();
        eventually("it is compared", || async { counts().0 == 3 }).await;
        assert_eq!(cache.invalidate(&3).await.unwrap(), Invalidated::Done);
        asked(3, 2).await;
        // one that is written anew, be it the same,
        truth.set(4, 40);
        cache.put(&4, &99).await.unwrap();
        cache.get(&4).await.unwrap();
        eventually("it is compared", || async { counts().0 == 4 }).await;
        cache.put(&4, &99).await.unwrap();
        asked(4, 2).await;
        // and one that the cache knew of first.
        truth.set(5, 50);
        cache.put(&5, &51).await.unwrap();
        cache.get(&5).await.unwrap();
        eventually("it is compared", || async { counts().0 == 5 }).await;
        truth.set(5, 51);
        asked(5, 2).await;
        // A source that does not answer says nothing.
        cache.put(&6, &60).await.unwrap();
        cache.get(&6).await.unwrap();
        asked(6, 1).await;
        // Whoever looks it up, and however: here, by a load and by a batch.
        for (key, inconsistencies) in [(7, 2), (8, 3)] {
            truth.set(key, 70);
            cache.put(&key, &99).await.unwrap();
            match key {
                7 => {
                    let load = || ready(Ok::<_, Infallible>(0));
                    assert_eq!(*cache.get_or_load(&key, load).await.unwrap(), 99);
                }
                _ => {
                    let load =
                        |_: Vec<u64>| ready(Ok::<HashMap<u64, u64>, Infallible>(HashMap::new()));
                    assert_eq!(*cache.get_or_load_many(&[key], load).await.unwrap()[&key], 99);
                }
            }
            eventually("it counts", || async {
                hands.advance(SECOND);
                counts().1 == inconsistencies
            })
            .await;
        }
        assert_eq!(counts(), (7, 3));
        assert_eq!(truth.asked(6), 1);
    });
}

#[test]
fn the_share_that_is_checked_is_a_share() {
    keep(|| async {
        let (cache, truth) = (numbers(&Sinew::embedded()), Truth::default());
        let reading = || {
            let truth = truth.clone();
            move |key: u64| ready(truth.read(key))
        };
        for bad in [-0.1, 1.1, f64::NAN] {
            let error = cache.checked(bad, reading()).err().expect("it is refused");
            assert_eq!(error.kind(), ErrorKind::Rejected, "{bad}");
        }
        truth.set(1, 10);
        cache.put(&1, &10).await.unwrap();
        let never = cache.checked(0.0, reading()).unwrap();
        for _ in 0..200 {
            never.get(&1).await.unwrap();
            // A handle without a checker does not check either.
            cache.get(&1).await.unwrap();
        }
        assert_eq!(never.stats().checked, 0);
        let half = cache.checked(0.5, reading()).unwrap();
        let mut look_ups = 0_u64;
        eventually("twenty are compared", || {
            look_ups += 1;
            let half = half.clone();
            async move {
                half.get(&1).await.unwrap();
                half.stats().checked >= 20
            }
        })
        .await;
        assert!(look_ups > 20, "{look_ups}: all of them");
        assert_eq!(half.stats().inconsistencies, 0);
    });
}

#[test]
fn an_entry_grows_old_as_it_is_looked_into() {
    keep(|| async {
        let (clock, hands) = Clock::manual();
        let sinew = Sinew::builder().clock(clock).embedded().unwrap();
        let cache: Cache<u64, u64> =
            sinew.cache("number").ttl(MINUTE).jitter(0.0).stale_if_error(HOUR).build().unwrap();
        cache.put(&1, &7).await.unwrap();
        let mut bytes = None;
        let ages: [(u32, Option<u32>); 4] =
            [(0, Some(60)), (10, Some(50)), (59, Some(1)), (60, None)];
        for (age, fresh_for) in ages {
            let one = cache.inspect(&1).await.unwrap().expect("an entry");
            assert_eq!(one.age, Some(age * SECOND));
            assert_eq!(one.fresh_for, fresh_for.map(|left| left * SECOND));
            assert_eq!(one.expires_in, Some(MINUTE + HOUR - age * SECOND));
            assert_eq!(one.is_served, fresh_for.is_some(), "{age}");
            assert_eq!(*bytes.get_or_insert(one.bytes), one.bytes);
            let next = [10, 59, 60, 61].into_iter().find(|next| *next > age).unwrap_or(age);
            hands.advance((next - age) * SECOND);
        }
        // By then, a second past its end.
        hands.advance(HOUR - SECOND);
        assert!(cache.inspect(&1).await.unwrap().is_none());
    });
}

#[test]
fn the_hottest_keys_are_told() {
    keep(|| async {
        let sinew = Sinew::embedded();
        let (acme, other) = (sinew.tenant("acme").unwrap(), sinew.tenant("other").unwrap());
        let cache = numbers(&acme);
        assert!(cache.hottest(10).is_empty());
        let page: Cache<u64, u64> = acme.cache("page").build().unwrap();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            // Missing or not: it is looked up.
            match rng.u32(0..20) {
                0..10 => cache.get(&1).await.unwrap(),
                10..14 => cache.get_or_find(&2, found(2)).await.unwrap(),
                14..16 => cache.get(&rng.u64(1_000..2_000)).await.unwrap(),
                16..18 => numbers(&other).get(&3).await.unwrap(),
                _ => page.get(&4).await.unwrap(),
            };
        }
        let hottest = cache.hottest(10);
        assert_eq!((hottest[0].key.as_str(), hottest[1].key.as_str()), ("1", "2"));
        // Ten, and four, of the sixteen of this cache and tenant.
        assert!((0.45..0.8).contains(&hottest[0].share), "{}", hottest[0].share);
        assert!((0.1..0.4).contains(&hottest[1].share), "{}", hottest[1].share);
        assert!(
            hottest[1..].iter().zip(&hottest[2..]).all(|(more, less)| more.share >= less.share)
        );
        assert!(hottest.iter().all(|one| one.key != "3" && one.key != "4"), "{hottest:?}");
        assert_eq!((hottest.len(), cache.hottest(1).len()), (10, 1));
        assert_eq!(numbers(&other).hottest(10).len(), 1);
        assert!((numbers(&other).hottest(1)[0].share - 1.0).abs() < 1e-9);
    });
}
