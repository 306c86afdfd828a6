use std::time::UNIX_EPOCH;

use ::http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const BASE: u64 = 1_700_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(BASE + seconds)
}

fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(at(seconds))
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for &(name, value) in fields {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

/// Asked for and received at 0.
fn response(status: u16, fields: &[(&'static str, &str)]) -> Metadata {
    Metadata::of(StatusCode::from_u16(status).unwrap(), &headers(fields), at(0), at(0))
}

fn ok(fields: &[(&'static str, &str)]) -> Metadata {
    response(200, fields)
}

fn asked(cache_control: &str) -> RequestDirectives {
    RequestDirectives::of(&headers(&[("cache-control", cache_control)]))
}

fn rules() -> Rules {
    Rules::default()
}

#[test]
fn s_maxage_goes_before_max_age_and_that_before_expires() {
    let expires = date(30);
    let lifetime = |fields: &[(&'static str, &str)]| ok(fields).lifetime(rules()).as_secs();
    let all = [("expires", expires.as_str()), ("cache-control", "max-age=20, s-maxage=10")];
    assert_eq!(lifetime(&all), 10);
    assert_eq!(lifetime(&[("expires", &expires), ("cache-control", "max-age=20")]), 20);
    assert_eq!(lifetime(&[("expires", &expires)]), 30);
    assert_eq!(lifetime(&[("expires", &expires), ("date", &date(10))]), 20);
    assert_eq!(lifetime(&[("expires", "0")]), 0);
    assert_eq!(lifetime(&[]), 0);
}

#[test]
fn heuristics_give_a_tenth_of_the_age_and_a_day_at_most() {
    let heuristics = Rules { heuristics: true, ..rules() };
    let lifetime = |metadata: Metadata| metadata.lifetime(heuristics).as_secs();
    let modified = httpdate::fmt_http_date(at(0) - Duration::from_secs(1000));
    let long_ago = httpdate::fmt_http_date(at(0) - 10_000 * HOUR);
    assert_eq!(lifetime(ok(&[("last-modified", &modified)])), 100);
    assert_eq!(lifetime(ok(&[("last-modified", &long_ago)])), 24 * 3600);
    assert_eq!(lifetime(ok(&[("last-modified", &date(50))])), 0, "modified in the future");
    assert_eq!(lifetime(response(302, &[("last-modified", &modified)])), 0);
    let public = [("last-modified", modified.as_str()), ("cache-control", "public")];
    assert_eq!(lifetime(response(302, &public)), 100);
    assert_eq!(ok(&[("last-modified", &modified)]).lifetime(rules()).as_secs(), 0, "off");
}

#[test]
fn age_counts_what_others_had_it_for_the_way_and_the_time_here() {
    let age = |fields: &[(&'static str, &str)], requested| {
        let metadata = Metadata::of(StatusCode::OK, &headers(fields), at(requested), at(100));
        metadata.age(at(130)).as_secs()
    };
    assert_eq!(age(&[], 100), 30);
    assert_eq!(age(&[("age", "7")], 100), 37);
    assert_eq!(age(&[("age", "7")], 90), 47, "the delay may have been on the way here");
    assert_eq!(age(&[("date", &date(60))], 100), 70, "apparent age");
    assert_eq!(age(&[("age", "50"), ("date", &date(60))], 100), 80, "the greater one");
    assert_eq!(age(&[("date", &date(900))], 100), 30, "a clock ahead of ours");
    assert_eq!(age(&[("age", "seven")], 100), 30);
    assert_eq!(age(&[("age", "7, 9")], 100), 37);
}

#[test]
fn what_may_be_stored() {
    let stored = |status, cache_control: &'static str, more: &[(&'static str, &str)]| {
        let mut fields = vec![("cache-control", cache_control)];
        fields.extend_from_slice(more);
        let asked = Asked::default();
        response(status, &fields).may_be_stored(&headers(&fields), &asked, rules())
    };
    for (status, cache_control, expected) in [
        (200, "max-age=1", true),
        (200, "", true),
        (200, "no-store", false),
        (200, "no-store, max-age=1", false),
        (200, "private, max-age=1", false),
        (200, "private=\"x\", max-age=1", false),
        (200, "no-cache", true),
        (200, "must-understand, no-store, max-age=1", true),
        (206, "max-age=1", false),
        (304, "max-age=1", false),
        (101, "max-age=1", false),
        (302, "", false),
        (302, "public", false),
        (302, "max-age=1", true),
        (404, "", true),
        (500, "", false),
        (500, "s-maxage=1", true),
        (418, "must-understand, max-age=1", false),
    ] {
        assert_eq!(stored(status, cache_control, &[]), expected, "{status} {cache_control}");
    }
    assert!(!stored(200, "max-age=1", &[("set-cookie", "a=b")]));
    assert!(stored(200, "public, max-age=1", &[("set-cookie", "a=b")]));
    assert!(!stored(200, "max-age=1", &[("vary", "*")]));
    assert!(stored(200, "max-age=1", &[("vary", "accept")]));
    assert!(!stored(200, "max-age=1", &[("content-range", "bytes 0-1/2")]));
}

#[test]
fn credentials_need_the_responses_word() {
    let credentials = Asked { is_authorized: true, ..Asked::default() };
    for (cache_control, expected) in [
        ("max-age=1", false),
        ("max-age=1, public", true),
        ("s-maxage=1", true),
        ("max-age=1, must-revalidate", true),
    ] {
        let metadata = ok(&[("cache-control", cache_control)]);
        assert_eq!(metadata.is_for(&credentials, rules()), expected, "{cache_control}");
        assert!(metadata.is_for(&credentials, Rules { share_authorized: true, ..rules() }));
        assert!(metadata.is_for(&Asked::default(), rules()));
    }
}

#[test]
fn it_is_kept_for_as_long_as_it_is_of_use() {
    let kept = |fields: &[(&'static str, &str)]| {
        ok(fields).keep_for(rules(), HOUR).map(|ttl| ttl.duration().as_secs())
    };
    for (cache_control, expected) in [
        ("max-age=60", Some(60)),
        ("max-age=60, stale-while-revalidate=10, stale-if-error=30", Some(90)),
        ("max-age=60, stale-if-error=30, must-revalidate", Some(60)),
        ("max-age=0", None),
        ("no-cache, max-age=60", None),
    ] {
        let fields = [("cache-control", cache_control)];
        assert_eq!(kept(&fields), expected, "{cache_control}");
        let with_etag = [("cache-control", cache_control), ("etag", "\"a\"")];
        assert_eq!(kept(&with_etag), Some(expected.unwrap_or(0) + 3600), "{cache_control}");
    }
    assert_eq!(kept(&[("cache-control", "max-age=60"), ("age", "50")]), Some(10));
    assert_eq!(kept(&[("cache-control", "max-age=60"), ("age", "60")]), None);
    let for_ever = kept(&[("cache-control", "max-age=99999999999")]);
    assert_eq!(for_ever, Some(Ttl::MAX.duration().as_secs()));
}

#[test]
fn a_response_is_reused_while_both_sides_agree() {
    use Reuse::{Fresh, Stale, StaleWhileRevalidate};
    let (by_request, by_age) = (Reuse::Validate(Fwd::Request), Reuse::Validate(Fwd::Stale));
    // Each received at 0 and looked at after 30 seconds.
    for (response, request, expected) in [
        ("max-age=60", "", Fresh),
        ("max-age=30", "", by_age),
        ("max-age=60", "no-cache", by_request),
        ("max-age=60", "max-age=30", Fresh),
        ("max-age=60", "max-age=29", by_request),
        ("max-age=60", "min-fresh=30", Fresh),
        ("max-age=60", "min-fresh=31", by_request),
        ("max-age=60, no-cache", "", by_age),
        ("max-age=20", "max-stale", Stale),
        ("max-age=20", "max-stale=10", Stale),
        ("max-age=20", "max-stale=9", by_age),
        ("max-age=20, must-revalidate", "max-stale", by_age),
        ("max-age=20, proxy-revalidate", "max-stale", by_age),
        ("s-maxage=20", "max-stale", by_age),
        ("max-age=20, stale-while-revalidate=10", "", StaleWhileRevalidate),
        ("s-maxage=20, stale-while-revalidate=10", "", StaleWhileRevalidate),
        ("max-age=20, stale-while-revalidate=9", "", by_age),
        ("max-age=20, stale-while-revalidate=10, must-revalidate", "", by_age),
        ("max-age=20, stale-while-revalidate=10", "max-age=50", by_age),
        ("max-age=20, stale-while-revalidate=10", "max-age=50, max-stale", StaleWhileRevalidate),
    ] {
        let metadata = ok(&[("cache-control", response)]);
        let reuse = metadata.reuse(&asked(request), rules(), at(30));
        assert_eq!(reuse, expected, "{response} for {request}");
    }
}

#[test]
fn a_stale_response_may_be_better_than_an_error() {
    for (response, request, expected) in [
        ("max-age=20, stale-if-error=10", "", true),
        ("max-age=20, stale-if-error=9", "", false),
        ("max-age=20", "stale-if-error=10", true),
        ("max-age=20", "", false),
        ("max-age=60", "", false),
        ("max-age=20, stale-if-error=10, must-revalidate", "", false),
        ("max-age=20, stale-if-error=10, no-cache", "", false),
    ] {
        let metadata = ok(&[("cache-control", response)]);
        let better = metadata.is_better_than_an_error(&asked(request), rules(), at(30));
        assert_eq!(better, expected, "{response} for {request}");
    }
}

fn directive() -> impl Strategy<Value = String> {
    prop_oneof![
        (
            prop::sample::select(vec![
                "max-age",
                "s-maxage",
                "stale-while-revalidate",
                "stale-if-error",
                "min-fresh",
                "max-stale",
            ]),
            0..100u64,
        )
            .prop_map(|(name, seconds)| format!("{name}={seconds}")),
        prop::sample::select(vec!["no-cache", "must-revalidate", "public", "max-stale"])
            .prop_map(str::to_owned),
    ]
}

fn cache_control() -> impl Strategy<Value = String> {
    prop::collection::vec(directive(), 0..4).prop_map(|said| said.join(", "))
}

proptest! {
    /// A response that grows older is never reused more freely.
    #[test]
    fn age_never_makes_a_response_better(
        said in cache_control(), request in cache_control(), age in 0..300u64, more in 0..300u64,
    ) {
        let rank = |reuse| match reuse {
            Reuse::Fresh => 0,
            Reuse::StaleWhileRevalidate => 1,
            Reuse::Stale => 2,
            Reuse::Validate(_) => 3,
        };
        let (metadata, asked) = (ok(&[("cache-control", &said)]), asked(&request));
        let reuse = |seconds| rank(metadata.reuse(&asked, rules(), at(seconds)));
        prop_assert!(reuse(age) <= reuse(age + more));
        let on_error = |seconds| metadata.is_better_than_an_error(&asked, rules(), at(seconds));
        prop_assert!(on_error(age) || !on_error(age + more));
    }

    /// What is no longer in the store is what nobody could have been given.
    #[test]
    fn it_is_kept_while_it_could_be_served(said in cache_control(), age in 0..300u64) {
        let metadata = ok(&[("cache-control", &said)]);
        let kept = metadata.keep_for(rules(), Duration::ZERO).map_or(Duration::ZERO, Ttl::duration);
        let nothing = RequestDirectives::default();
        let is_served = !matches!(metadata.reuse(&nothing, rules(), at(age)), Reuse::Validate(_))
            || metadata.is_better_than_an_error(&nothing, rules(), at(age));
        prop_assert!(!is_served || Duration::from_secs(age) <= kept, "{}", said);
    }

    #[test]
    fn no_field_makes_the_policy_panic(
        age in "\\PC{0,12}", expires in "\\PC{0,30}", date in "\\PC{0,30}", now in 0..u64::from(u32::MAX),
    ) {
        let mut fields = HeaderMap::new();
        for (name, value) in [("age", age), ("expires", expires), ("date", date)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                fields.insert(HeaderName::from_static(name), value);
            }
        }
        let now = UNIX_EPOCH + Duration::from_secs(now);
        let metadata = Metadata::of(StatusCode::OK, &fields, now, at(0));
        metadata.ttl(Rules { heuristics: true, ..rules() }, now);
        metadata.keep_for(rules(), Duration::MAX);
    }
}
