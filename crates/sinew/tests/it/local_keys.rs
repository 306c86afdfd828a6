//! Names of entries in the level of the process: whatever one is written from, its entry is found
//! again, told from all others, and hears of changes.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use sinew::{Cache, CacheKey, Local, Segments, Sinew, Source};

use crate::laws::eventually;
use crate::world::Store;

const HOUR: Duration = Duration::from_secs(3_600);

/// A key of any type: a cache is the same, whatever its handles are asked with.
type Name = dyn CacheKey;
type Numbers = Cache<Name, u64>;

fn numbers(tenant: &Sinew) -> Numbers {
    tenant.cache("number").ttl(HOUR).local(Local::bytes(1 << 20)).build().expect("a cache")
}

/// Whoever uses one cache, and a stranger.
struct Users {
    here: Numbers,
    /// Built once more in the same process.
    twin: Numbers,
    /// Another tenant, in the same process.
    stranger: Numbers,
    /// Another process.
    elsewhere: Numbers,
}

impl Users {
    async fn of(store: &Store) -> Self {
        let process = store.process().await;
        let tenant = |name: &str| process.tenant(name).expect("a tenant");
        Self {
            here: numbers(&tenant("acme")),
            twin: numbers(&tenant("acme")),
            stranger: numbers(&tenant("other")),
            elsewhere: numbers(&store.tenant("acme").await),
        }
    }
}

/// The entry, and where it was found; loaded as `value` where it is not there.
async fn look(cache: &Numbers, name: &Name, value: u64) -> (u64, Source) {
    let load = move || ready(Ok::<_, Infallible>(value));
    let found = cache.get_or_load_traced(name, load).await.expect("a value");
    (*found.value, found.source)
}

/// Looks it up until it comes from this process.
async fn brought_here(cache: &Numbers, name: &Name, value: u64) {
    eventually("the entry is kept here", || async {
        look(cache, name, value).await == (value, Source::Local)
    })
    .await;
}

fn named(name: impl CacheKey + 'static) -> Box<Name> {
    Box::new(name)
}

/// A key that has nothing but its `Display`.
struct User(u64);

impl CacheKey for User {
    fn segments(&self, into: &mut Segments<'_>) {
        into.push(format_args!("user-{}", self.0));
    }
}

/// Names of all shapes, no two of which are written the same way.
fn shapes() -> Vec<Box<Name>> {
    let long = |len: usize, last: &str| format!("{}{last}", "x".repeat(len - last.len()));
    vec![
        named(0_u8),
        named(7_u64),
        named(u64::MAX),
        named(u128::MAX),
        named(-7_i64),
        named(i64::MIN),
        named(""),
        named("a"),
        named("a\0"),
        named("é"),
        named("07"),
        named("7 "),
        named("-"),
        named("*"),
        named("a:b"),
        named("a%3Ab"),
        named("12345678"),
        named("123456789"),
        // A few words hold forty bytes.
        named(long(39, "a")),
        named(long(40, "a")),
        named(long(40, "b")),
        named(long(41, "a")),
        named(long(41, "b")),
        named(long(300, "a")),
        named(User(7)),
        named(("a", "b")),
        named(("ab", "")),
        named(("", "ab")),
        named(("list", 7_u32)),
        named((7_u32, "list")),
        named((7_u64, -7_i64)),
        named((1_u8, 2_u16, 3_u32)),
        named((1_u8, 2_u16, 3_u32, 4_u64)),
        named((1_u64, -2_i64, "c", "d")),
        named((1_u64, long(41, "a"))),
        named((long(41, "a"), 1_u64)),
        named((long(20, "a"), long(20, "b"), long(20, "c"), long(20, "d"))),
    ]
}

/// Names that are written the same way, each from two types.
fn alike() -> Vec<[Box<Name>; 2]> {
    vec![
        [named(7_u64), named("7")],
        [named(8_u64), named(8_i8)],
        [named(u64::MAX), named(u64::MAX.to_string())],
        [named(u128::MAX), named(u128::MAX.to_string())],
        [named(-7_i64), named("-7")],
        [named(User(7)), named("user-7")],
        [named((7_u64, "list")), named(("7", "list"))],
        [named((1_u64, -2_i64, "c", 4_u8)), named(("1", "-2", "c", "4"))],
        // Only one of them is too long for a few words.
        [
            named((1_u64, u64::MAX, u64::MAX)),
            named(("1", u64::MAX.to_string(), u64::MAX.to_string())),
        ],
    ]
}

laws! {
    async fn an_entry_is_kept_under_a_name_of_any_shape_and_hears_of_changes(store: Store) {
        let Users { here, twin, stranger, elsewhere } = Users::of(&store).await;
        let (shapes, first) = (shapes(), |n: u64| n * 10);
        for (n, name) in (1..).zip(&shapes) {
            let name = &**name;
            let value = first(n);
            brought_here(&here, name, value).await;
            let found = look(&twin, name, 0).await;
            assert_eq!(found, (value, Source::Local), "{n}: handles of one cache share it");
            brought_here(&stranger, name, value + 1_000_000).await;
            // A change elsewhere,
            match n % 3 {
                0 => elsewhere.put(name, &(value + 1)).await.unwrap(),
                1 => { elsewhere.invalidate(name).await.unwrap(); }
                _ => { elsewhere.expire(name).await.unwrap(); }
            }
            eventually("the change shows", || async {
                look(&here, name, value + 1).await.0 == value + 1
            })
            .await;
            brought_here(&here, name, value + 1).await;
            // and one by another handle of this process.
            twin.invalidate(name).await.unwrap();
            let found = look(&here, name, value + 2).await;
            assert_eq!(found, (value + 2, Source::Loaded), "{n}: it shows at once");
            brought_here(&twin, name, value + 2).await;
            here.put(name, &(value + 3)).await.unwrap();
            assert_eq!(look(&twin, name, 0).await.0, value + 3, "{n}: it shows at once");
        }
        // None was taken for another.
        for (n, name) in (1..).zip(&shapes) {
            let name = &**name;
            for cache in [&here, &twin, &elsewhere] {
                eventually("it is what it was", || async {
                    look(cache, name, 0).await.0 == first(n) + 3
                })
                .await;
            }
            assert_eq!(look(&stranger, name, 0).await.0, first(n) + 1_000_000, "{n}");
        }
    }

    async fn names_that_are_written_the_same_way_are_one_entry(store: Store) {
        let Users { here, twin, elsewhere, .. } = Users::of(&store).await;
        for (n, [one, same]) in alike().iter().enumerate() {
            for (name, other) in [(&**one, &**same), (&**same, &**one)] {
                here.invalidate(name).await.unwrap();
                brought_here(&here, name, 1).await;
                brought_here(&here, other, 1).await;
                twin.invalidate(other).await.unwrap();
                let found = look(&here, name, 2).await;
                assert_eq!(found, (2, Source::Loaded), "{n}: invalidated by its other name");
                brought_here(&here, name, 2).await;
                brought_here(&here, other, 2).await;
                here.put(other, &3).await.unwrap();
                assert_eq!(look(&twin, name, 0).await.0, 3, "{n}: put by its other name");
                brought_here(&here, name, 3).await;
                brought_here(&here, other, 3).await;
                elsewhere.invalidate(other).await.unwrap();
                eventually("the change shows", || async { look(&here, name, 4).await.0 == 4 })
                    .await;
                assert_eq!(look(&here, other, 0).await.0, 4, "{n}: both are told");
            }
        }
    }

    async fn clearing_a_cache_ends_what_is_kept_under_names_of_all_shapes(store: Store) {
        let Users { here, stranger, elsewhere, .. } = Users::of(&store).await;
        let shapes = shapes();
        for name in shapes.iter().map(|name| &**name) {
            brought_here(&here, name, 1).await;
            brought_here(&stranger, name, 1).await;
        }
        elsewhere.clear().await.unwrap();
        for name in shapes.iter().map(|name| &**name) {
            eventually("the change shows", || async { look(&here, name, 2).await.0 == 2 }).await;
            brought_here(&here, name, 2).await;
        }
        here.clear().await.unwrap();
        for (n, name) in shapes.iter().enumerate() {
            let name = &**name;
            assert_eq!(look(&here, name, 3).await, (3, Source::Loaded), "{n}");
            assert_eq!(look(&stranger, name, 0).await.0, 1, "{n}");
        }
    }
}
