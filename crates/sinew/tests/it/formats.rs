//! How values are written, and what becomes of bytes that no cache wrote.

mod garbage;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sinew::{
    Cache, Compression, ErrorKind, Format, Invalidated, Keyring, LoadError, Local, Sinew, Source,
};

use crate::laws::keep;
use crate::world::{SHARED_REDIS, Store, redis_cli};

const HOUR: Duration = Duration::from_secs(3_600);
/// Of an envelope without tags.
const HEADER_LEN: usize = 52;
const CODING_AT: usize = 5;
const FLAGS_AT: usize = 6;
const TAG_COUNT_AT: usize = 7;
const TAGGED: u8 = 8;

const FORMATS: [Format; 3] = [Format::Json, Format::MessagePack, Format::Postcard];

/// A format, and how it is compressed.
type Way = (Format, Option<Compression>);

const PLAINLY: Way = (Format::Json, None);

fn compressions() -> [Option<Compression>; 3] {
    [None, Some(Compression::lz4().above(0)), Some(Compression::zstd().above(0))]
}

fn ways() -> Vec<Way> {
    let compressed = |format| compressions().map(|compression| (format, compression));
    FORMATS.into_iter().flat_map(compressed).collect()
}

fn keyring() -> Keyring {
    Keyring::new(1, [1; 32])
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
    note: Option<String>,
    marks: Vec<i32>,
    counts: BTreeMap<String, u8>,
}

fn row(id: u64) -> Row {
    Row {
        id,
        name: "1 Elm Street, ".repeat(100),
        note: Some("é".to_owned()),
        marks: vec![i32::MIN, -1, 0, 7],
        counts: [("a".to_owned(), 1), ("b".to_owned(), 2)].into(),
    }
}

/// One of a few dozen bytes, that still compresses.
fn small(id: u64) -> Row {
    let name = "ab".repeat(40);
    Row { id, name, note: None, marks: Vec::new(), counts: BTreeMap::new() }
}

fn written(tenant: &Sinew, name: &str, way: Way, keyring: Option<&Keyring>) -> Cache<u64, Row> {
    builder(tenant, name, way, keyring).build().expect("a cache")
}

fn builder(
    tenant: &Sinew,
    name: &str,
    (format, compression): Way,
    keyring: Option<&Keyring>,
) -> sinew::CacheBuilder {
    let mut builder = tenant.cache(name).ttl(HOUR).format(format);
    if let Some(compression) = compression {
        builder = builder.compress(compression);
    }
    if let Some(keyring) = keyring {
        builder = builder.encrypt(keyring.clone());
    }
    builder
}

async fn load(cache: &Cache<u64, Row>, key: u64, value: Row) -> (Row, Source) {
    let load = move || ready(Ok::<_, Infallible>(value));
    let loaded = cache.get_or_load_traced(&key, load).await.unwrap();
    (Row::clone(&loaded.value), loaded.source)
}

async fn find(cache: &Cache<u64, Row>, key: u64, value: Option<Row>) -> Option<Row> {
    let find = move || ready(Ok::<_, Infallible>(value));
    cache.get_or_find(&key, find).await.unwrap().map(|value| Row::clone(&value))
}

async fn found(cache: &Cache<u64, Row>, key: u64) -> Option<Row> {
    cache.get(&key).await.unwrap().map(|value| Row::clone(&value))
}

/// Puts an entry, and says how large it is in the store.
async fn size(cache: &Cache<u64, Row>) -> u64 {
    cache.put(&1, &row(1)).await.unwrap();
    cache.inspect(&1).await.unwrap().expect("an entry").bytes
}

/// That an entry is a miss, is counted as a failure, and is replaced by the next load.
async fn is_refused(cache: &Cache<u64, Row>, key: u64, what: &str) {
    let errors = cache.stats().errors;
    assert_eq!(found(cache, key).await, None, "{what}");
    assert!(cache.stats().errors > errors, "{what} is counted");
    assert!(!cache.exists(&key).await.unwrap(), "{what}");
    assert_eq!(load(cache, key, row(99)).await, (row(99), Source::Loaded), "{what}");
    assert_eq!(found(cache, key).await, Some(row(99)), "{what} is replaced");
}

laws! {
    async fn what_is_written_in_any_way_every_handle_reads(store: Store) {
        let (here, elsewhere) = (store.tenant("acme").await, store.tenant("acme").await);
        let keyring = keyring();
        for (name, keyring) in [("open", None), ("sealed", Some(&keyring))] {
            let mut keys = Vec::new();
            for (key, way) in (0_u64..).zip(ways()) {
                let writer = written(&here, name, way, keyring);
                // By every road to the store.
                match key % 3 {
                    0 => writer.put(&key, &row(key)).await.unwrap(),
                    1 => assert!(writer.put_versioned(&key, &row(key), 1).await.unwrap()),
                    _ => assert_eq!(load(&writer, key, row(key)).await.1, Source::Loaded),
                }
                keys.push(key);
            }
            let counted = || {
                let stats = written(&elsewhere, name, PLAINLY, keyring).stats();
                (stats.errors, stats.misses, stats.loads)
            };
            let before = counted();
            for way in ways() {
                let reader = written(&elsewhere, name, way, keyring);
                for key in &keys {
                    let found = found(&reader, *key).await;
                    assert_eq!(found, Some(row(*key)), "{name}: {key}, read by {way:?}");
                }
                let load = |missing: Vec<u64>| {
                    ready(Err::<HashMap<u64, Row>, _>(io::Error::other(format!("{missing:?}"))))
                };
                let found = reader.get_or_load_many(&keys, load).await.unwrap();
                assert_eq!(found.len(), keys.len());
            }
            assert_eq!(counted(), before, "hits, all of them");
        }
    }

    async fn compression_makes_entries_smaller(store: Store) {
        let (acme, keyring) = (store.tenant("acme").await, keyring());
        for format in FORMATS {
            let plain = size(&written(&acme, "row", (format, None), None)).await;
            for compression in compressions().into_iter().skip(1) {
                let packed = size(&written(&acme, "row", (format, compression), None)).await;
                assert!(packed * 4 < plain, "{format:?} {compression:?}: {packed} of {plain}");
            }
            // The key's id, a nonce, and the tag.
            let sealed = size(&written(&acme, "row", (format, None), Some(&keyring))).await;
            assert_eq!(sealed, plain + 4 + 24 + 16, "{format:?}");
        }
    }

    async fn what_is_not_encrypted_is_a_miss_where_there_is_a_keyring(store: Store) {
        let (acme, keyring) = (store.tenant("acme").await, keyring());
        for way in ways() {
            let (open, sealed) =
                (written(&acme, "row", way, None), written(&acme, "row", way, Some(&keyring)));
            open.put(&1, &row(1)).await.unwrap();
            is_refused(&sealed, 1, "what anyone could have planted").await;
            is_refused(&open, 1, "what takes a key").await;
        }
        let absent = |keyring| -> Cache<u64, Row> {
            builder(&acme, "row", PLAINLY, keyring).absent_ttl(HOUR).build().expect("a cache")
        };
        let (open, sealed) = (absent(None), absent(Some(&keyring)));
        assert_eq!(find(&open, 2, None).await, None);
        assert_eq!(find(&open, 2, Some(row(2))).await, None, "remembered");
        assert_eq!(find(&sealed, 2, Some(row(2))).await, Some(row(2)), "an absence, planted");
        assert_eq!(find(&sealed, 3, None).await, None);
        assert_eq!(find(&sealed, 3, Some(row(3))).await, None, "remembered, by a proof");
        assert_eq!(find(&open, 3, Some(row(3))).await, Some(row(3)));
    }

    async fn keys_are_rotated_without_a_miss(store: Store) {
        let (here, elsewhere) = (store.tenant("acme").await, store.tenant("acme").await);
        let (old, new) = (Keyring::new(1, [1; 32]), Keyring::new(2, [2; 32]));
        // As they are rolled out, one after the other.
        let reads_new = new.clone().rotated(1, [1; 32]);
        let writes_new = old.clone().rotated(2, [2; 32]);
        let steps = [&old, &reads_new, &writes_new, &new];
        for (key, pair) in (0_u64..).step_by(2).zip(steps.windows(2)) {
            let (before, after) = (
                written(&here, "row", PLAINLY, Some(pair[0])),
                written(&elsewhere, "row", PLAINLY, Some(pair[1])),
            );
            before.put(&key, &row(key)).await.unwrap();
            after.put(&(key + 1), &row(key + 1)).await.unwrap();
            assert_eq!(found(&after, key).await, Some(row(key)), "{pair:?}");
            assert_eq!(found(&before, key + 1).await, Some(row(key + 1)), "{pair:?}");
        }
        let only_new = written(&here, "row", PLAINLY, Some(&new));
        is_refused(&only_new, 0, "a key that was dropped").await;
        let only_old = written(&here, "row", PLAINLY, Some(&old));
        is_refused(&only_old, 5, "a key that is not known yet").await;
        only_new.put(&7, &row(7)).await.unwrap();
        let another = written(&here, "row", PLAINLY, Some(&Keyring::new(2, [3; 32])));
        is_refused(&another, 7, "another key of the same id").await;
    }

    async fn plain_json_is_a_cache_like_any_other(store: Store) {
        let (here, elsewhere) = (store.tenant("acme").await, store.tenant("acme").await);
        let way = (Format::PlainJson, None);
        let (here, elsewhere) =
            (written(&here, "plain", way, None), written(&elsewhere, "plain", way, None));
        here.put(&1, &row(1)).await.unwrap();
        assert_eq!(found(&elsewhere, 1).await, Some(row(1)));
        assert_eq!(load(&here, 2, row(2)).await, (row(2), Source::Loaded));
        assert_eq!(load(&elsewhere, 2, row(9)).await.0, row(2));
        assert!(here.put_versioned(&3, &row(3), 2).await.unwrap());
        assert!(!elsewhere.put_versioned(&3, &row(9), 1).await.unwrap());
        assert_eq!(found(&elsewhere, 3).await, Some(row(3)));
        elsewhere.invalidate(&1).await.unwrap();
        elsewhere.expire(&2).await.unwrap();
        assert_eq!((found(&here, 1).await, found(&here, 2).await), (None, None));
        let inspected = here.inspect(&3).await.unwrap().expect("an entry");
        assert_eq!((inspected.age, inspected.is_served), (None, true));
        assert!(inspected.fresh_for.is_some_and(|left| left <= HOUR));
    }

    async fn plain_json_and_enveloped_entries_miss_each_other(store: Store) {
        let acme = store.tenant("acme").await;
        let plain = written(&acme, "row", (Format::PlainJson, None), None);
        let enveloped = written(&acme, "row", PLAINLY, None);
        plain.put(&1, &row(1)).await.unwrap();
        is_refused(&enveloped, 1, "JSON without an envelope").await;
        is_refused(&plain, 1, "an envelope").await;
    }
}

/// A connection that says what it is told to, of bytes too.
struct Raw(Mutex<::redis::Connection>);

impl Raw {
    /// To the Redis that laws share.
    fn open() -> Self {
        let client = ::redis::Client::open(format!("redis://127.0.0.1:{}", SHARED_REDIS.port));
        let connection = client.expect("a URL").get_connection().expect("a connection");
        Self(Mutex::new(connection))
    }

    fn get(&self, key: &str) -> Vec<u8> {
        ::redis::cmd("GET").arg(key).query(&mut *self.0.lock()).expect("a value")
    }

    fn set(&self, key: &str, bytes: &[u8]) {
        ::redis::cmd("SET").arg(key).arg(bytes).exec(&mut *self.0.lock()).expect("a reply");
    }

    fn run(&self, words: &[&str]) {
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]).exec(&mut *self.0.lock()).expect("a reply");
    }
}

#[test]
fn an_entry_says_how_it_is_written_and_an_encrypted_one_not_what() {
    keep(|| async {
        let store = Store::redis().await;
        let (acme, raw, keyring) = (store.tenant("acme").await, Raw::open(), keyring());
        let key = format!("{}acme:row:1", store.prefix);
        for (layout, format) in (0_u8..).zip(FORMATS) {
            for (packed, compression) in (0_u8..).zip(compressions()) {
                for (sealed, keyring) in [(0_u8, None), (1, Some(&keyring))] {
                    let cache = written(&acme, "row", (format, compression), keyring);
                    cache.put(&1, &row(1)).await.unwrap();
                    let stored = raw.get(&key);
                    assert_eq!(stored[..CODING_AT], *b"\xF5SNW\x02");
                    let coding = layout | (packed << 3) | (sealed << 5);
                    assert_eq!(stored[CODING_AT], coding, "{format:?} {compression:?}");
                    let shows = stored.windows(8).any(|part| part == b"1 Elm St");
                    match (packed, sealed) {
                        (_, 1) => assert!(!shows, "{format:?} {compression:?}"),
                        (0, _) => assert!(shows, "{format:?}"),
                        _ => {}
                    }
                }
            }
        }
    });
}

#[test]
fn a_ciphertext_copied_from_another_tenant_or_key_is_a_miss() {
    keep(|| async {
        let store = Store::redis().await;
        let (raw, keyring) = (Raw::open(), keyring());
        let (acme, other) = (store.tenant("acme").await, store.tenant("other").await);
        let at = |tenant: &str, key: u64| format!("{}{tenant}:row:{key}", store.prefix);
        for way in ways() {
            let (acme, other) = (
                written(&acme, "row", way, Some(&keyring)),
                written(&other, "row", way, Some(&keyring)),
            );
            other.put(&1, &row(1)).await.unwrap();
            acme.put(&2, &row(2)).await.unwrap();
            for from in [at("other", 1), at("acme", 2)] {
                raw.set(&at("acme", 1), &raw.get(&from));
                is_refused(&acme, 1, "a copy").await;
            }
            // Where it belongs, it opens.
            raw.set(&at("acme", 2), &raw.get(&at("acme", 2)));
            assert_eq!(found(&acme, 2).await, Some(row(2)));
        }
    });
}

#[test]
fn plain_json_is_what_redis_cli_reads_and_writes() {
    keep(|| async {
        let store = Store::redis().await;
        let acme = store.tenant("acme").await;
        let cache: Cache<u64, Property> =
            acme.cache("property").ttl(HOUR).format(Format::PlainJson).build().unwrap();
        let port = SHARED_REDIS.port;
        let key = format!("{}acme:property:1", store.prefix);
        let left = || redis_cli(port, &["PTTL", &key]).parse::<i64>().expect("a number");
        cache.put(&1, &elm_street()).await.unwrap();
        assert_eq!(redis_cli(port, &["GET", &key]), r#"{"id":456,"address":"1 Elm St"}"#);
        assert!((1..=3_600_000).contains(&left()));
        // As another service writes it, with a field that this one does not know.
        let foreign = r#"{ "address": "2 Oak St", "id": 7, "rent": 900 }"#;
        assert_eq!(redis_cli(port, &["SET", &key, foreign, "EX", "60"]), "OK");
        let oak_street = Property { id: 7, address: "2 Oak St".to_owned() };
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&oak_street));
        let load = || ready(Ok::<_, Infallible>(elm_street()));
        assert_eq!(*cache.get_or_load(&1, load).await.unwrap(), oak_street, "not loaded");
        for garbage in ["", "7", "null", r#"{"id":7}"#, r#"{"id":7,"address":"2 Oak"#, "garbage!"] {
            redis_cli(port, &["SET", &key, garbage]);
            let errors = cache.stats().errors;
            assert_eq!(cache.get(&1).await.unwrap(), None, "{garbage}");
            assert!(cache.stats().errors > errors, "{garbage}");
            assert_eq!(*cache.get_or_load(&1, load).await.unwrap(), elm_street(), "{garbage}");
            assert_eq!(redis_cli(port, &["GET", &key]), r#"{"id":456,"address":"1 Elm St"}"#);
            assert!((1..=3_600_000).contains(&left()));
        }
        assert_eq!(redis_cli(port, &["DEL", &key]), "1");
        assert_eq!(cache.get(&1).await.unwrap(), None);
    });
}

#[test]
fn plain_json_has_no_room_for_what_needs_the_envelope() {
    keep(|| async {
        let sinew = Sinew::embedded();
        let plain = || sinew.cache("row").format(Format::PlainJson);
        let refused = |builder: sinew::CacheBuilder| {
            let error = builder.build::<u64, Row>().err().expect("it is refused");
            assert_eq!(error.kind(), ErrorKind::Rejected);
            assert!(error.to_string().contains("PlainJson"), "{error}");
        };
        refused(plain().tagged());
        refused(plain().absent_ttl(HOUR));
        refused(plain().local(Local::bytes(1 << 20)));
        refused(plain().refresh_ahead(0.5));
        refused(plain().stale_if_error(HOUR));
        refused(plain().stale_while_revalidate(HOUR));
        refused(plain().compress(Compression::lz4()));
        refused(plain().encrypt(keyring()));
        plain().build::<u64, Row>().expect("a cache");
    });
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Property {
    id: u64,
    address: String,
}

fn elm_street() -> Property {
    Property { id: 456, address: "1 Elm St".to_owned() }
}

const GOLDEN_V1: &[u8] = include_bytes!("../golden/envelope-v1.bin");

#[test]
fn an_entry_of_the_first_version_is_still_served() {
    keep(|| async {
        let (store, raw) = (Store::redis().await, Raw::open());
        let acme = store.tenant("acme").await;
        let key = format!("{}acme:property:1", store.prefix);
        let cache: Cache<u64, Property> = acme.cache("property").ttl(HOUR).build().unwrap();
        let kept: Cache<u64, Property> = acme
            .cache("property")
            .stale_if_error(HOUR)
            .local(Local::bytes(1 << 20))
            .build()
            .unwrap();
        raw.set(&key, GOLDEN_V1);
        for cache in [&cache, &kept] {
            assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&elm_street()));
        }
        let load = || ready(Err::<Property, _>(io::Error::other("it is there")));
        assert_eq!(*cache.get_or_load(&1, load).await.unwrap(), elm_street());
        assert_eq!(cache.stats().errors, 0);
        let inspected = cache.inspect(&1).await.unwrap().expect("an entry");
        assert!(inspected.is_served && inspected.age.is_some());
        cache.expire(&1).await.unwrap();
        assert_eq!(cache.get(&1).await.unwrap(), None, "it has no room for what it was");
    });
}

#[test]
fn what_unpacks_to_more_than_the_limit_is_a_miss() {
    keep(|| async {
        let (store, raw) = (Store::redis().await, Raw::open());
        let url = format!("redis://127.0.0.1:{}", SHARED_REDIS.port);
        let large = Sinew::builder().prefix(&store.prefix).deadline(Duration::from_secs(10));
        let large = large.value_len_max(8 << 20).connect(&url).await.unwrap();
        let small = store.process().await;
        let key = format!("{}acme:text:1", store.prefix);
        for compression in [Compression::lz4(), Compression::zstd()] {
            let build = |sinew: &Sinew| -> Cache<u64, String> {
                let acme = sinew.tenant("acme").expect("a tenant");
                acme.cache("text").ttl(HOUR).compress(compression).build().expect("a cache")
            };
            let (large, small) = (build(&large), build(&small));
            let text = "a".repeat(4 << 20);
            large.put(&1, &text).await.unwrap();
            let bomb = raw.get(&key);
            assert!(bomb.len() < 100_000, "{compression:?}: {}", bomb.len());
            assert_eq!(large.get(&1).await.unwrap().as_deref(), Some(&text), "it is a value");
            let mut bombs = vec![bomb.clone()];
            if compression == Compression::lz4() {
                // Of which the first four bytes say how long it is: they lie.
                for said in [1_u32 << 20, 16, 0, u32::MAX] {
                    let mut lie = bomb.clone();
                    lie[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&said.to_le_bytes());
                    bombs.push(lie);
                }
            }
            for bomb in bombs {
                raw.set(&key, &bomb);
                let errors = small.stats().errors;
                assert_eq!(small.get(&1).await.unwrap(), None, "{compression:?}");
                assert!(small.stats().errors > errors, "{compression:?}");
                let load = || ready(Ok::<_, Infallible>("short".to_owned()));
                assert_eq!(*small.get_or_load(&1, load).await.unwrap(), "short");
                assert_eq!(*small.get(&1).await.unwrap().expect("it is replaced"), "short");
            }
        }
    });
}
