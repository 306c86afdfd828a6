//! `Cache-Control`, as a request and as a response has it (RFC 9111, 5.2; RFC 5861).

use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::{CACHE_CONTROL, PRAGMA};

use super::fields::{lines, members};

/// The largest number of seconds that a cache has to know (RFC 9111, 1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

/// What a request says of the responses that it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestDirectives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) min_fresh: Option<Duration>,
    /// Without a limit: for as long as can be.
    pub(super) max_stale: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

/// What a response says of its storing and reuse. `no-cache` and `private` that name fields count
/// as those that do not, which RFC 9111 allows, and which errs on the safe side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResponseDirectives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) s_maxage: Option<Duration>,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        if !headers.contains_key(CACHE_CONTROL) {
            // Only where there is nothing newer (RFC 9111, 5.4).
            said.no_cache = lines(headers, PRAGMA)
                .any(|line| members(&line).any(|member| member.eq_ignore_ascii_case("no-cache")));
            return said;
        }
        each(headers, |name, value| match name {
            "no-store" => said.no_store = true,
            "no-cache" => said.no_cache = true,
            "only-if-cached" => said.only_if_cached = true,
            "max-age" => first(&mut said.max_age, value),
            "min-fresh" => first(&mut said.min_fresh, value),
            "max-stale" if value.is_none() => said.max_stale = Some(Duration::MAX),
            "max-stale" => first(&mut said.max_stale, value),
            "stale-if-error" => first(&mut said.stale_if_error, value),
            _ => {}
        });
        said
    }
}

impl ResponseDirectives {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut said = Self::default();
        each(headers, |name, value| match name {
            "no-store" => said.no_store = true,
            "no-cache" => said.no_cache = true,
            "private" => said.private = true,
            "public" => said.public = true,
            "must-revalidate" => said.must_revalidate = true,
            "proxy-revalidate" => said.proxy_revalidate = true,
            "must-understand" => said.must_understand = true,
            "max-age" => first(&mut said.max_age, value),
            "s-maxage" => first(&mut said.s_maxage, value),
            "stale-while-revalidate" => first(&mut said.stale_while_revalidate, value),
            "stale-if-error" => first(&mut said.stale_if_error, value),
            _ => {}
        });
        said
    }
}

fn each(headers: &HeaderMap, mut said: impl FnMut(&str, Option<&str>)) {
    for line in lines(headers, CACHE_CONTROL) {
        for member in members(&line) {
            let (name, value) = match member.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
                None => (member, None),
            };
            said(&name.to_ascii_lowercase(), value);
        }
    }
}

/// Of a directive that is there twice, the first counts (RFC 9111, 4.2.1).
fn first(slot: &mut Option<Duration>, value: Option<&str>) {
    if slot.is_none() {
        *slot = Some(seconds(value));
    }
}

/// A number of seconds. What is none, is zero: with freshness that cannot be read, a response is
/// stale (RFC 9111, 4.2.1).
pub(super) fn seconds(value: Option<&str>) -> Duration {
    let digits = value.map(|value| value.trim().trim_matches('"'));
    let digits = digits.filter(|d| !d.is_empty() && d.bytes().all(|byte| byte.is_ascii_digit()));
    // What does not fit is more than enough.
    let seconds = digits.map_or(0, |digits| digits.parse().unwrap_or(SECONDS_MAX));
    Duration::from_secs(seconds.min(SECONDS_MAX))
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers(name: HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &line in lines {
            headers.append(&name, HeaderValue::from_static(line));
        }
        headers
    }

    fn response(lines: &[&'static str]) -> ResponseDirectives {
        ResponseDirectives::of(&headers(CACHE_CONTROL, lines))
    }

    fn request(lines: &[&'static str]) -> RequestDirectives {
        RequestDirectives::of(&headers(CACHE_CONTROL, lines))
    }

    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn directives_are_read_in_any_case_and_from_any_line() {
        let said = response(&["Public, MAX-AGE=60", "s-maxage=\"5\", must-revalidate, x=1"]);
        let expected = ResponseDirectives {
            public: true,
            must_revalidate: true,
            max_age: secs(60),
            s_maxage: secs(5),
            ..ResponseDirectives::default()
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn of_two_the_first_counts_and_what_is_no_number_is_zero() {
        assert_eq!(response(&["max-age=1, max-age=2"]).max_age, secs(1));
        for bad in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=a"] {
            assert_eq!(response(&[bad]).max_age, secs(0), "{bad}");
        }
        assert_eq!(response(&["max-age=99999999999999999999999"]).max_age, secs(SECONDS_MAX));
    }

    #[test]
    fn named_fields_count_as_all() {
        let said = response(&["private=\"set-cookie, x\", no-cache=\"a\", no-store"]);
        assert!(said.private && said.no_cache && said.no_store);
    }

    #[test]
    fn a_request_says_what_it_takes() {
        let said = request(&["max-stale, min-fresh=3, only-if-cached"]);
        assert_eq!(said.max_stale, Some(Duration::MAX));
        assert_eq!(said.min_fresh, secs(3));
        assert!(said.only_if_cached && !said.no_cache);
        assert_eq!(request(&["max-stale=7"]).max_stale, secs(7));
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut asked = headers(PRAGMA, &["No-Cache"]);
        assert!(RequestDirectives::of(&asked).no_cache);
        asked.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!RequestDirectives::of(&asked).no_cache);
    }

    proptest! {
        #[test]
        fn no_line_makes_a_reader_panic(line in prop::collection::vec(32..=255u8, 0..60)) {
            prop_assume!(!line.contains(&127));
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_bytes(&line).unwrap());
            let said = ResponseDirectives::of(&headers);
            prop_assert!(said.max_age.is_none_or(|age| age.as_secs() <= SECONDS_MAX));
            RequestDirectives::of(&headers);
        }

        #[test]
        fn no_store_is_never_missed(
            before in "[a-z]{1,8}(=\"[a-z ,]{0,6}\"|=[0-9]{1,3})?", after in "[a-z=,\" ]{0,12}",
        ) {
            let line = format!("{before}, no-store, {after}");
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_str(&line).unwrap());
            prop_assert!(ResponseDirectives::of(&headers).no_store, "{}", line);
        }
    }
}
