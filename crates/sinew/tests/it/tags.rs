//! What tags promise: one step, and every entry that has one is as good as gone.

use std::fmt::Display;
use std::time::Duration;

use sinew::{
    Cache, CacheBuilder, ErrorKind, Invalidated, Local, Outage, PutOptions, Sinew, Source,
};

use crate::laws::{LAW_MAX, eventually, keep};
use crate::outage::{blocking, down, process_at};
use crate::source::{Database, everyone_has_asked, rejection};
use crate::world::{Proxy, start_redis};

const MINUTE: Duration = Duration::from_secs(60);

pub fn tagged(tenant: &Sinew, name: &str) -> Cache<str, u64> {
    tenant.cache(name).ttl(10 * MINUTE).tagged().build().expect("a cache")
}

pub fn numbers(tenant: &Sinew) -> Cache<str, u64> {
    tagged(tenant, "number")
}

pub fn with<T: Display>(tags: impl IntoIterator<Item = T>) -> PutOptions {
    tags.into_iter().fold(PutOptions::new(), PutOptions::tag)
}

/// What kind of cache a builder makes.
type Kind = fn(CacheBuilder) -> CacheBuilder;

laws! {
    async fn what_was_stored_by_one_who_knows_no_tags_is_a_miss_to_one_who_does(store: Store) {
        let (acme, other) = (store.tenant("acme").await, store.tenant("acme").await);
        let plain: Cache<str, u64> = other.cache("number").build().expect("a cache");
        for local in [Local::none(), Local::bytes(1 << 20)] {
            let cache: Cache<str, u64> =
                acme.cache("number").tagged().local(local).build().expect("a cache");
            plain.put("a", &1).await.unwrap();
            assert_eq!(cache.get("a").await.unwrap(), None);
            assert_eq!(*cache.get_or_load("a", Database::open().read(2)).await.unwrap(), 2);
            assert_eq!(plain.get("a").await.unwrap().as_deref(), Some(&2), "which knows no better");
        }
    }

    async fn a_tag_takes_all_entries_that_have_it_and_no_others(store: Store) {
        let (acme, other) = (store.tenant("acme").await, store.tenant("other").await);
        let (cache, elsewhere) = (numbers(&acme), numbers(&store.tenant("acme").await));
        let strangers =
            [tagged(&acme, "price"), numbers(&other), numbers(&store.process().await)];
        let entries: [(&str, &[&str], bool); 4] = [
            ("red", &["red"], false),
            ("blue", &["blue"], true),
            ("both", &["blue", "red"], false),
            ("none", &[], true),
        ];
        for (key, tags, _) in entries {
            cache.put_with(key, &1, with(tags)).await.unwrap();
            assert_eq!(cache.get(key).await.unwrap().as_deref(), Some(&1), "{key}");
            assert_eq!(elsewhere.get(key).await.unwrap().as_deref(), Some(&1), "{key}");
        }
        for stranger in &strangers {
            stranger.put_with("red", &1, with(["red"])).await.unwrap();
        }
        assert_eq!(cache.invalidate_tag("red").await.unwrap(), Invalidated::Done);
        for (key, _, stays) in entries {
            assert_eq!(cache.exists(key).await.unwrap(), stays, "{key}");
            eventually("the other process is told", || async {
                elsewhere.exists(key).await.unwrap() == stays
            })
            .await;
        }
        for stranger in &strangers {
            assert!(stranger.exists("red").await.unwrap(), "of {}", stranger.name());
        }
        // What is stored after that is good.
        cache.put_with("red", &2, with(["red"])).await.unwrap();
        assert_eq!(cache.get("red").await.unwrap().as_deref(), Some(&2));
        assert_eq!(elsewhere.get("red").await.unwrap().as_deref(), Some(&2));
    }

    async fn what_was_loading_when_its_tag_was_invalidated_is_served_to_no_later_caller(
        store: Store
    ) {
        let (here, there) =
            (numbers(&store.tenant("acme").await), numbers(&store.tenant("acme").await));
        here.put_with("witness", &0, with(["red"])).await.unwrap();
        let (old, new) = (Database::gated(), Database::open());
        let begin = |key: &'static str| {
            let (cache, load) = (here.clone(), old.read_tagged(1, &["red"]));
            tokio::spawn(async move { cache.get_or_load_with(key, load).await })
        };
        let begun = [begin("shared"), begin("alone")];
        old.loading(2).await;
        assert_eq!(there.invalidate_tag("red").await.unwrap(), Invalidated::Done);
        eventually("the loading process is told", || async {
            !here.exists("witness").await.unwrap()
        })
        .await;
        let later = [&here, &there, &here, &there].map(|cache| {
            let (cache, load) = (cache.clone(), new.read(2));
            tokio::spawn(async move { cache.get_or_load("shared", load).await })
        });
        everyone_has_asked(&here).await;
        old.open_gate();
        for caller in begun {
            let found = caller.await.unwrap().unwrap();
            assert_eq!(*found.value, 1, "it came before the invalidation");
        }
        for caller in later {
            assert_eq!(*caller.await.unwrap().unwrap(), 2);
        }
        assert_eq!(here.inspect("alone").await.unwrap(), None, "it is not even stored");
        assert_eq!(*there.get_or_load("alone", new.read(3)).await.unwrap(), 3);
    }

    async fn a_put_can_have_tags(store: Store) {
        let cache = numbers(&store.tenant("acme").await);
        let team = 7;
        let options = PutOptions::new().tag("red").tag(format_args!("team:{team}")).tag("red");
        cache.put_with("a", &1, options).await.unwrap();
        let entry = cache.inspect("a").await.unwrap().expect("an entry");
        assert_eq!(entry.tags, ["red", "team:7"]);
        assert!(entry.is_served);
        cache.invalidate_tag("team:70").await.unwrap();
        assert!(cache.exists("a").await.unwrap());
        cache.invalidate_tag(format_args!("team:{team}")).await.unwrap();
        assert_eq!(cache.get("a").await.unwrap(), None);
        // Without tags, it has none of the one before.
        cache.put("a", &2).await.unwrap();
        cache.invalidate_tag("red").await.unwrap();
        assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&2));
    }

    async fn a_loaded_entry_has_the_tags_that_its_loader_named(store: Store) {
        let (cache, database) = (numbers(&store.tenant("acme").await), Database::open());
        let load = || database.read_tagged(1, &["red", "blue"]);
        cache.get_or_load_with("a", load()).await.unwrap();
        cache.get_or_load_with("a", load()).await.unwrap();
        assert_eq!(database.loads(), 1);
        assert_eq!(cache.inspect("a").await.unwrap().expect("an entry").tags, ["blue", "red"]);
        cache.invalidate_tag("blue").await.unwrap();
        assert_eq!(cache.get("a").await.unwrap(), None);
        assert_eq!(*cache.get_or_load("a", database.read(2)).await.unwrap(), 2);
    }

    async fn clear_leaves_nothing_of_the_cache_in_this_tenant(store: Store) {
        let kinds: [(&str, Kind); 2] =
            [("plain", |builder| builder), ("marked", CacheBuilder::tagged)];
        for (name, kind) in kinds {
            let build = |tenant: &Sinew, name: &str| -> Cache<str, u64> {
                kind(tenant.cache(name).ttl(10 * MINUTE)).build().expect("a cache")
            };
            let acme = store.tenant("acme").await;
            let (here, there) =
                (build(&acme, name), build(&store.tenant("acme").await, name));
            let strangers = [
                build(&acme, &format!("{name}.other")),
                build(&store.tenant("other").await, name),
            ];
            let (database, gated) = (Database::open(), Database::gated());
            here.put("put", &1).await.unwrap();
            here.get_or_load("loaded", database.read(1)).await.unwrap();
            there.put("elsewhere", &1).await.unwrap();
            for stranger in &strangers {
                stranger.put("put", &1).await.unwrap();
            }
            let loading = {
                let (cache, load) = (here.clone(), gated.read(1));
                tokio::spawn(async move { cache.get_or_load("loading", load).await })
            };
            gated.loading(1).await;
            for key in ["put", "loaded", "elsewhere"] {
                assert!(there.exists(key).await.unwrap(), "{name}: {key}");
            }
            assert_eq!(there.clear().await.unwrap(), Invalidated::Done);
            gated.open_gate();
            assert_eq!(*loading.await.unwrap().unwrap(), 1, "it came before that");
            for key in ["put", "loaded", "elsewhere", "loading"] {
                assert_eq!(there.get(key).await.unwrap(), None, "{name}: {key}");
                eventually("the other process is told", || async {
                    !here.exists(key).await.unwrap()
                })
                .await;
            }
            for stranger in &strangers {
                assert!(stranger.exists("put").await.unwrap(), "of {}", stranger.name());
            }
            there.put("put", &2).await.unwrap();
            assert_eq!(there.get("put").await.unwrap().as_deref(), Some(&2));
        }
    }

    async fn a_cache_without_tags_refuses_them_and_stores_nothing(store: Store) {
        let acme = store.tenant("acme").await;
        let cache: Cache<str, u64> = acme.cache("number").ttl(10 * MINUTE).build().unwrap();
        let database = Database::open();
        let put = cache.put_with("a", &1, with(["red"])).await.unwrap_err();
        let invalidated = cache.invalidate_tag("red").await.unwrap_err();
        let load = database.read_tagged(1, &["red"]);
        let loaded = rejection(cache.get_or_load_with("a", load).await);
        for error in [put, invalidated, loaded] {
            assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
            assert!(error.to_string().contains(".tagged()"), "the fix is not named: {error}");
        }
        assert_eq!(cache.inspect("a").await.unwrap(), None);
        assert_eq!(*cache.get_or_load("a", database.read(2)).await.unwrap(), 2);
        assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&2));
    }

    async fn bad_tags_are_rejected_and_nothing_is_stored(store: Store) {
        let (cache, database) = (numbers(&store.tenant("acme").await), Database::open());
        let (longest, too_long) = ("t".repeat(128), "t".repeat(129));
        for bad in ["", too_long.as_str()] {
            let put = cache.put_with("a", &1, with([bad])).await.unwrap_err();
            let invalidated = cache.invalidate_tag(bad).await.unwrap_err();
            let load = database.read_tagged(1, &["fine", bad]);
            let loaded = rejection(cache.get_or_load_with("a", load).await);
            for error in [put, invalidated, loaded] {
                assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
                assert!(error.to_string().contains("expected 1 to 128"), "{error}");
            }
        }
        let names: Vec<String> = (0..33).map(|n| format!("tag:{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let put = cache.put_with("a", &1, with(&names)).await.unwrap_err();
        let load = database.read_tagged(1, &names);
        let loaded = rejection(cache.get_or_load_with("a", load).await);
        for error in [put, loaded] {
            assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
            assert!(error.to_string().contains("at most 32"), "{error}");
        }
        assert_eq!(cache.inspect("a").await.unwrap(), None);
        // As many and as long as can be; one that is named again does not count.
        cache.put_with("many", &1, with(names[..32].iter().chain(&names[..32]))).await.unwrap();
        cache.put_with("long", &1, with([longest.as_str()])).await.unwrap();
        cache.put_with("odd", &1, with(["t: {}%é\n"])).await.unwrap();
        for (key, tag) in [("many", names[31]), ("long", longest.as_str()), ("odd", "t: {}%é\n")] {
            assert!(cache.exists(key).await.unwrap(), "{key}");
            cache.invalidate_tag(tag).await.unwrap();
            assert!(!cache.exists(key).await.unwrap(), "{key}");
        }
    }
}

#[test]
fn a_tag_invalidated_during_an_outage_is_made_up_for_before_anyone_reads() {
    keep(|| async {
        let server = blocking(start_redis).await;
        let proxy = Proxy::start(server.port);
        let here = process_at(proxy.port).await;
        let (cache, elsewhere) = (numbers(&here), numbers(&process_at(server.port).await));
        for key in ["red", "blue"] {
            cache.put_with(key, &1, with([key])).await.unwrap();
        }
        proxy.refuse();
        down(&here).await;
        assert_eq!(cache.invalidate_tag("red").await.unwrap(), Invalidated::Queued);
        let loaded = cache.get_or_load_traced("red", Database::open().read(2)).await.unwrap();
        assert_eq!((*loaded.value, loaded.source), (2, Source::Loaded));
        let old = elsewhere.get("red").await.unwrap();
        assert_eq!(old.as_deref(), Some(&1), "no one has told the other process yet");
        proxy.pass();
        // Not the first read that Redis answers, nor any later one, sees what was invalidated.
        let answers = async {
            while !cache.exists("blue").await.unwrap() {
                assert_eq!(cache.get("red").await.unwrap(), None);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LAW_MAX / 3, answers).await.expect("Redis answers");
        assert_eq!(cache.get("red").await.unwrap(), None);
        eventually("the other process is told", || async {
            !elsewhere.exists("red").await.unwrap()
        })
        .await;
        assert!(elsewhere.exists("blue").await.unwrap());
    });
}

#[test]
fn a_put_that_fails_in_an_outage_ends_a_local_copy_in_a_cache_with_tags_too() {
    keep(|| async {
        let mut server = blocking(start_redis).await;
        let sinew = process_at(server.port).await;
        let builder = sinew.cache("number").tagged().on_outage(Outage::Local { ttl: MINUTE });
        let cache: Cache<str, u64> = builder.build().unwrap();
        server.kill();
        down(&sinew).await;
        let database = Database::open();
        for source in [Source::Loaded, Source::Local] {
            let found = cache.get_or_load_traced("a", database.read(1)).await.unwrap();
            assert_eq!((*found.value, found.source), (1, source));
        }
        cache.put("a", &2).await.unwrap_err();
        let found = cache.get_or_load_traced("a", database.read(3)).await.unwrap();
        assert_eq!((*found.value, found.source), (3, Source::Loaded));
        // And so does a tag that is invalidated.
        assert_eq!(cache.invalidate_tag("red").await.unwrap(), Invalidated::Queued);
        let found = cache.get_or_load_traced("a", database.read(4)).await.unwrap();
        assert_eq!((*found.value, found.source), (4, Source::Loaded));
    });
}
