//! What a source has no more is removed, unless someone has written it since.

use std::time::Duration;

use sinew::{Cache, CacheBuilder, Invalidated, Local, Sinew};
use tokio::task::JoinHandle;

use crate::laws::eventually;
use crate::source::Database;
use crate::world::Store;

const HOUR: Duration = Duration::from_secs(3_600);

type Settings = fn(CacheBuilder) -> CacheBuilder;

/// The same cache in two processes.
async fn both(store: &Store, name: &str, settings: Settings) -> [Cache<str, u64>; 2] {
    let build = |tenant: Sinew| settings(tenant.cache(name).ttl(HOUR)).build().expect("a cache");
    [build(store.tenant("acme").await), build(store.tenant("acme").await)]
}

/// One for whom everything that is there is too old, once it is.
async fn picky(cache: &Cache<str, u64>, key: &str) -> Cache<str, u64> {
    let picky = cache.fresh_within(Duration::ZERO);
    eventually("it is older than that", || async { picky.get(key).await.unwrap().is_none() }).await;
    picky
}

/// A look for what the source has no more, which has begun to ask it.
async fn looking(
    cache: &Cache<str, u64>,
    key: &'static str,
    database: &Database,
) -> JoinHandle<Option<u64>> {
    let (cache, find) = (cache.clone(), database.find(None));
    let begun = database.loads();
    let looking =
        tokio::spawn(
            async move { cache.get_or_find(key, find).await.unwrap().map(|value| *value) },
        );
    database.loading(begun + 1).await;
    looking
}

/// What the store has, whatever a process keeps.
async fn is_stored(cache: &Cache<str, u64>, key: &str) -> bool {
    cache.inspect(key).await.unwrap().is_some_and(|entry| !entry.is_absent)
}

laws! {
    async fn what_the_source_has_no_more_is_removed(store: Store) {
        let [here, there] = both(&store, "number", |builder| builder).await;
        there.put("a", &1).await.unwrap();
        let (picky, database) = (picky(&here, "a").await, Database::open());
        assert_eq!(picky.get_or_find("a", database.find(None)).await.unwrap(), None);
        assert_eq!(there.inspect("a").await.unwrap(), None);
        assert_eq!(here.get("a").await.unwrap(), None);
        // And in the background.
        let [here, there] = both(&store, "ahead", |builder| builder.refresh_ahead(0.0)).await;
        there.put("a", &1).await.unwrap();
        let found = here.get_or_find("a", database.find(None)).await.unwrap();
        assert_eq!(found.as_deref(), Some(&1));
        eventually("it is removed", || async { there.inspect("a").await.unwrap().is_none() }).await;
    }

    async fn what_was_written_while_a_load_found_nothing_stays(store: Store) {
        let kinds: [(&str, Settings); 3] = [
            ("forgetful", |builder| builder),
            ("absent", |builder| builder.absent_ttl(HOUR)),
            ("local", |builder| builder.local(Local::bytes(1 << 20))),
        ];
        for (name, settings) in kinds {
            let [here, there] = both(&store, name, settings).await;
            for key in ["put", "put-versioned", "loaded"] {
                assert!(there.put_versioned(key, &1, 1).await.unwrap());
                let (picky, database) = (picky(&here, key).await, Database::gated());
                let old = looking(&picky, key, &database).await;
                match key {
                    "put" => there.put(key, &2).await.unwrap(),
                    "put-versioned" => assert!(there.put_versioned(key, &2, 2).await.unwrap()),
                    _ => {
                        let invalidated = there.invalidate(key).await.unwrap();
                        assert_eq!(invalidated, Invalidated::Done);
                        let loaded = there.get_or_load(key, Database::open().read(2)).await;
                        assert_eq!(*loaded.unwrap(), 2, "{name}: {key}");
                    }
                }
                database.open_gate();
                assert_eq!(old.await.unwrap(), None, "{name}: {key} began before");
                assert!(is_stored(&there, key).await, "{name}: {key} is gone");
                for cache in [&here, &there] {
                    let found = cache.get(key).await.unwrap();
                    assert_eq!(found.as_deref(), Some(&2), "{name}: {key}");
                }
            }
        }
    }

    async fn what_was_invalidated_while_a_load_found_nothing_is_loaded_by_the_next(store: Store) {
        let kinds: [(&str, Settings); 2] =
            [("forgetful", |builder| builder), ("absent", |builder| builder.absent_ttl(HOUR))];
        for (name, settings) in kinds {
            let [here, there] = both(&store, name, settings).await;
            let database = Database::gated();
            let old = looking(&here, "a", &database).await;
            assert_eq!(there.invalidate("a").await.unwrap(), Invalidated::Done);
            database.open_gate();
            assert_eq!(old.await.unwrap(), None, "it began before");
            // That there is none is not remembered of a time before the invalidation.
            for cache in [&here, &there] {
                let found = cache.get_or_find("a", database.find(Some(2))).await.unwrap();
                assert_eq!(found.as_deref(), Some(&2), "{name}");
            }
        }
    }

    async fn what_was_put_while_a_refresh_found_nothing_stays(store: Store) {
        let [here, there] = both(&store, "number", |builder| builder.refresh_ahead(0.0)).await;
        there.put("a", &1).await.unwrap();
        let (old, next) = (Database::gated(), Database::gated());
        let found = here.get_or_find("a", old.find(None)).await.unwrap();
        assert_eq!(found.as_deref(), Some(&1), "it is served while it is refreshed");
        old.loading(1).await;
        there.put("a", &2).await.unwrap();
        old.open_gate();
        // One at a time: where another begins, the first has come to its end.
        eventually("the next refresh begins", || async {
            let found = here.get_or_find("a", next.find(None)).await.unwrap();
            assert_eq!(found.as_deref(), Some(&2));
            next.loads() == 1
        })
        .await;
        assert!(is_stored(&there, "a").await);
    }
}
