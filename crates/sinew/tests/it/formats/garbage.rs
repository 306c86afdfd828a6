//! Bytes that no cache wrote, or that someone changed: a miss, and a metric.

use super::*;

#[test]
fn garbage_of_every_kind_is_a_miss_and_a_metric() {
    keep(|| meets_garbage("json", PLAINLY, None));
}

#[test]
fn garbage_of_every_kind_is_a_miss_and_a_metric_among_lz4() {
    let lz4 = Compression::lz4().above(0);
    keep(|| meets_garbage("lz4", (Format::MessagePack, Some(lz4)), None));
}

#[test]
fn garbage_of_every_kind_is_a_miss_and_a_metric_among_zstd() {
    let zstd = Compression::zstd().above(0);
    keep(|| meets_garbage("zstd", (Format::Postcard, Some(zstd)), None));
}

#[test]
fn garbage_of_every_kind_is_a_miss_and_a_metric_among_what_is_encrypted() {
    keep(|| meets_garbage("sealed", PLAINLY, Some(keyring())));
}

/// What stored bytes can be.
#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    /// No entry.
    Garbage,
    /// No bytes: a list, say.
    AnotherType,
    /// What was an entry: it may be read as one, and then everyone reads the same.
    Uncertain,
}

/// A cache, and one of the same entries that does all that can be done with them.
struct Place {
    cache: Cache<u64, Row>,
    greedy: Cache<u64, Row>,
}

async fn meets_garbage(name: &'static str, way: Way, keyring: Option<Keyring>) {
    let (store, raw) = (Store::redis().await, Raw::open());
    let acme = store.tenant("acme").await;
    let key = format!("{}acme:{name}:1", store.prefix);
    let builder = builder(&acme, name, way, keyring.as_ref());
    let greedy = builder.clone().tagged().absent_ttl(HOUR).refresh_ahead(0.5).early_refresh(1.0);
    let greedy = greedy.stale_while_revalidate(HOUR).stale_if_error(HOUR);
    let place = Place {
        cache: builder.build().expect("a cache"),
        greedy: greedy.local(Local::bytes(1 << 20)).build().expect("a cache"),
    };
    place.cache.put(&1, &small(1)).await.unwrap();
    let valid = raw.get(&key);
    assert_eq!(valid[CODING_AT] == 0, name == "json", "it is written as it should be");
    let mut all = garbage(&valid);
    all.extend(changed_in_one_byte(&valid, keyring.is_some()));
    for (what, bytes, meaning) in all {
        survives(&place, &format!("{name}: {what}"), meaning, || raw.set(&key, &bytes)).await;
    }
    let others: [&[&str]; 5] = [
        &["RPUSH", &key, "x"],
        &["HSET", &key, "data", "x"],
        &["SADD", &key, "x"],
        &["ZADD", &key, "1", "x"],
        &["XADD", &key, "*", "data", "x"],
    ];
    for words in others {
        let plant = || {
            raw.run(&["DEL", &key]);
            raw.run(words);
        };
        survives(&place, &format!("{name}: {}", words[0]), Meaning::AnotherType, plant).await;
    }
}

async fn survives(place: &Place, what: &str, meaning: Meaning, plant: impl Fn()) {
    let Place { cache, greedy } = place;
    plant();
    let before = cache.stats();
    let read = found(cache, 1).await;
    let after = cache.stats();
    if meaning != Meaning::Uncertain {
        assert_eq!(read, None, "{what}");
        assert_eq!(after.misses - before.misses, 1, "{what}");
    }
    if meaning == Meaning::Garbage {
        assert!(after.errors > before.errors, "{what} is not counted");
    }
    assert_eq!(cache.exists(&1).await.unwrap(), read.is_some(), "{what}");
    cache.inspect(&1).await.unwrap();
    // Whatever it makes of it, it comes to an end.
    greedy.get(&1).await.unwrap();
    greedy.inspect(&1).await.unwrap();

    let expected = read.clone().unwrap_or_else(|| small(9));
    assert_eq!(load(cache, 1, small(9)).await.0, expected, "{what}");
    assert_eq!(found(cache, 1).await, Some(expected.clone()), "{what} is replaced");

    plant();
    let load = |missing: Vec<u64>| {
        let rows: Vec<(u64, Row)> = missing.into_iter().map(|key| (key, small(key + 8))).collect();
        ready(Ok::<_, Infallible>(rows))
    };
    let many = cache.get_or_load_many(&[1, 2], load).await.unwrap();
    assert_eq!((many.len(), &*many[&1]), (2, &expected), "{what}, in a batch");

    plant();
    assert_eq!(cache.expire(&1).await.unwrap(), Invalidated::Done, "{what}");
    assert_eq!(found(cache, 1).await, None, "{what}, expired");
    plant();
    let fails = || ready(Err::<Row, _>(io::Error::other("no")));
    match cache.get_or_load(&1, fails).await {
        Ok(value) => assert_eq!(Some(&*value), read.as_ref(), "{what}"),
        Err(LoadError::Source(_)) => assert_eq!(read, None, "{what}"),
        Err(error) => panic!("{what}: {error}"),
    }
    assert_eq!(cache.invalidate(&1).await.unwrap(), Invalidated::Done, "{what}");
    assert_eq!(found(cache, 1).await, None, "{what}, invalidated");
}

type Planted = (String, Vec<u8>, Meaning);

/// What no cache can have written.
fn garbage(valid: &[u8]) -> Vec<Planted> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for len in [1, 7, 8, 16, 51, 52, 300] {
        let mut bytes = vec![0; len];
        rng.fill(&mut bytes);
        all.push((format!("{len} random bytes"), bytes));
    }
    for text in ["", "7", "null", "[]", r#"{"id":1}"#, "garbage, as a person writes it"] {
        all.push((format!("the text {text:?}"), text.as_bytes().to_vec()));
    }
    for len in (0..valid.len()).step_by(11) {
        all.push((format!("{len} bytes of an entry"), valid[..len].to_vec()));
    }
    all.push(("an entry of another type and version".to_owned(), GOLDEN_V1.to_vec()));
    for coding in [0x03, 0x07, 0x18, 0x40, 0x80] {
        let mut bytes = valid.to_vec();
        bytes[CODING_AT] = coding;
        all.push((format!("the coding {coding:#x}"), bytes));
    }
    let (header, payload) = valid.split_at(HEADER_LEN);
    let len = u8::try_from(payload.len()).expect("a small row");
    let swallows_all = [&[len][..], payload].concat();
    let lies: [(u8, &[u8]); 6] = [
        (1, b""),
        (3, b"\x05ab"),
        (u8::MAX, b"\x01a\x01b"),
        (1, b"\xFFab"),
        (1, b"\x02\xFF\xFE"),
        (1, &swallows_all),
    ];
    for (count, tags) in lies {
        let mut bytes = [header, tags].concat();
        (bytes[FLAGS_AT], bytes[TAG_COUNT_AT]) = (TAGGED, count);
        all.push((format!("{count} tags in {} bytes", tags.len()), bytes));
    }
    let mut planted: Vec<Planted> =
        all.into_iter().map(|(what, bytes)| (what, bytes, Meaning::Garbage)).collect();
    for n in 0..8 {
        let mut bytes = valid.to_vec();
        rng.fill(&mut bytes[CODING_AT..]);
        planted.push((format!("random bytes of our version, {n}"), bytes, Meaning::Uncertain));
    }
    for flag in [1, 2, 4, 8] {
        let mut bytes = valid.to_vec();
        bytes[FLAGS_AT] = flag;
        planted.push((format!("the flag {flag}"), bytes, Meaning::Uncertain));
    }
    planted
}

/// An entry with one byte changed: each of the first eight, and one in seven of the rest.
fn changed_in_one_byte(valid: &[u8], is_sealed: bool) -> Vec<Planted> {
    let rest = (8..valid.len()).step_by(7);
    let changed = (0..8).chain(rest).map(|at| {
        let mut bytes = valid.to_vec();
        bytes[at] ^= 0xFF;
        // Times and nonce are not authenticated; what is before them, no reader misreads.
        let meaning = match at < 8 || (is_sealed && at >= HEADER_LEN) {
            true => Meaning::Garbage,
            false => Meaning::Uncertain,
        };
        (format!("byte {at} changed"), bytes, meaning)
    });
    changed.collect()
}
