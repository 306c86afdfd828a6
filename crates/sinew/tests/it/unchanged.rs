//! What a load finds unchanged keeps the tags that it had.

use std::time::Duration;

use sinew::{Cache, CacheBuilder, Invalidated, Local, PutOptions, Source};

use crate::laws::eventually;
use crate::source::{Database, rejection};
use crate::world::Store;

const HOUR: Duration = Duration::from_secs(3_600);

type Settings = fn(CacheBuilder) -> CacheBuilder;

/// Without and with a level in the process, which knows tags by itself.
const LEVELS: [(&str, Settings); 2] =
    [("plain", |builder| builder), ("local", |builder| builder.local(Local::bytes(1 << 20)))];

/// The same cache in two processes.
async fn both(store: &Store, name: &str, settings: Settings) -> [Cache<str, u64>; 2] {
    let build = |tenant: sinew::Sinew| {
        settings(tenant.cache(name).ttl(HOUR).tagged()).build().expect("a cache")
    };
    [build(store.tenant("acme").await), build(store.tenant("acme").await)]
}

fn red() -> PutOptions {
    PutOptions::new().tag("red")
}

async fn tags_of(cache: &Cache<str, u64>, key: &str) -> Vec<String> {
    cache.inspect(key).await.unwrap().expect("an entry").tags
}

/// Makes an entry out of date, and waits until the other process knows.
async fn expire([here, there]: &[Cache<str, u64>; 2], key: &str) {
    assert_eq!(there.expire(key).await.unwrap(), Invalidated::Done);
    eventually("it is told", || async { here.get(key).await.unwrap().is_none() }).await;
}

laws! {
    async fn what_is_loaded_unchanged_is_found_by_the_tags_that_it_had(store: Store) {
        for (name, settings) in LEVELS {
            let processes = both(&store, name, settings).await;
            let ([here, there], database) = (&processes, Database::open());
            here.get_or_load_with("a", database.read_tagged(1, &["red"])).await.unwrap();
            // Once it is confirmed by a loader that names a tag, and once by one that names none.
            let named: [&[&str]; 2] = [&["blue"], &[]];
            for tags in named {
                expire(&processes, "a").await;
                let found = here.get_or_load_with("a", database.confirm_tagged(tags)).await;
                let found = found.unwrap();
                assert_eq!((*found.value, found.source), (1, Source::Loaded), "{name}");
                assert_eq!(tags_of(here, "a").await, ["blue", "red"], "{name}");
                assert_eq!(there.get("a").await.unwrap().as_deref(), Some(&1), "{name}");
            }
            assert_eq!(there.invalidate_tag("red").await.unwrap(), Invalidated::Done);
            assert_eq!(there.get("a").await.unwrap(), None, "{name}");
            eventually("the other process is told", || async {
                here.get("a").await.unwrap().is_none()
            })
            .await;
            // Nor is it there to be confirmed.
            let refused = here.get_or_load_with("a", database.confirm_tagged(&[])).await;
            assert!(rejection(refused).to_string().contains("unchanged"), "{name}");
            assert_eq!(*here.get_or_load("a", database.read(2)).await.unwrap(), 2, "{name}");
        }
    }

    async fn what_is_refreshed_unchanged_is_found_by_the_tags_that_it_had(store: Store) {
        let levels: [(&str, Settings); 2] = [
            ("plain", |builder| builder.refresh_ahead(0.0)),
            ("local", |builder| builder.refresh_ahead(0.0).local(Local::bytes(1 << 20))),
        ];
        for (name, settings) in levels {
            let ([here, there], database) = (both(&store, name, settings).await, Database::open());
            here.put_with("a", &1, red()).await.unwrap();
            // A hit here needs no loader, and so refreshes nothing.
            if name == "local" {
                eventually("it is kept here", || async {
                    let before = here.stats().hits_local;
                    assert_eq!(here.get("a").await.unwrap().as_deref(), Some(&1));
                    here.stats().hits_local > before
                })
                .await;
            }
            let found = here.get_or_load_with("a", database.confirm_tagged(&["blue"])).await;
            let found = found.unwrap();
            assert_eq!(*found.value, 1, "{name}");
            assert!(matches!(found.source, Source::Local | Source::Redis), "{name}");
            eventually("it is refreshed", || async {
                tags_of(&here, "a").await == ["blue", "red"]
            })
            .await;
            assert_eq!(database.loads(), 1, "{name}");
            assert_eq!(there.invalidate_tag("red").await.unwrap(), Invalidated::Done);
            assert_eq!(there.get("a").await.unwrap(), None, "{name}");
            eventually("the other process is told", || async {
                here.get("a").await.unwrap().is_none()
            })
            .await;
        }
    }

    async fn what_was_unchanged_when_a_tag_that_it_had_was_invalidated_is_not_stored(store: Store) {
        for (name, settings) in LEVELS {
            let processes = both(&store, name, settings).await;
            let ([here, there], database) = (&processes, Database::gated());
            here.put_with("a", &1, red()).await.unwrap();
            here.put_with("witness", &1, red()).await.unwrap();
            expire(&processes, "a").await;
            let loading = {
                let (here, load) = (here.clone(), database.confirm_tagged(&[]));
                tokio::spawn(async move { here.get_or_load_with("a", load).await })
            };
            database.loading(1).await;
            assert_eq!(there.invalidate_tag("red").await.unwrap(), Invalidated::Done);
            eventually("the loading process is told", || async {
                !here.exists("witness").await.unwrap()
            })
            .await;
            database.open_gate();
            let found = loading.await.unwrap().unwrap();
            assert_eq!(*found.value, 1, "it came before the invalidation");
            assert_eq!(here.get("a").await.unwrap(), None, "{name}");
            assert_eq!(there.get("a").await.unwrap(), None, "{name}");
            let anew = there.get_or_load("a", Database::open().read(2)).await.unwrap();
            assert_eq!(*anew, 2, "{name}");
        }
    }
}
