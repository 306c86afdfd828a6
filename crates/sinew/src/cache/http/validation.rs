//! Conditional requests: those of clients, answered from the store, and those of this cache
//! (RFC 9110, 13; RFC 9111, 4.3).

use ::http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use ::http::{HeaderMap, HeaderValue};

use super::fields;
use super::policy::Metadata;

/// The conditions by which the service is asked whether a stored response is still right.
pub(super) fn conditions(stored: &HeaderMap) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    let pairs = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
    for (validator, condition) in pairs {
        if let Some(value) = stored.get(validator) {
            conditions.insert(condition, value.clone());
        }
    }
    conditions
}

/// Puts this cache's conditions in the place of the client's: what comes back is to be whole, or
/// to be about what is stored.
pub(super) fn replace(headers: &mut HeaderMap, conditions: HeaderMap) {
    headers.remove(IF_NONE_MATCH);
    headers.remove(IF_MODIFIED_SINCE);
    headers.extend(conditions);
}

/// Whether a client that sent these conditions has the stored response already.
pub(super) fn is_not_modified(asked: &HeaderMap, stored: &HeaderMap, metadata: &Metadata) -> bool {
    if asked.contains_key(IF_NONE_MATCH) {
        // Whatever the date says (RFC 9110, 13.1.3).
        return fields::lines(asked, IF_NONE_MATCH).any(|line| names(&line, stored.get(ETAG)));
    }
    let since = fields::date(asked, IF_MODIFIED_SINCE);
    since.is_some_and(|since| metadata.last_modified() <= since)
}

/// Whether a 304 is about the stored response (RFC 9111, 4.3.4).
pub(super) fn is_about(not_modified: &HeaderMap, stored: &HeaderMap) -> bool {
    match (not_modified.get(ETAG).and_then(text), stored.get(ETAG).and_then(text)) {
        (Some(newer), Some(stored)) => opaque(newer) == opaque(stored),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// Whether a response to HEAD tells of the same content as the stored one (RFC 9111, 4.3.5).
pub(super) fn describes(head: &HeaderMap, stored: &HeaderMap) -> bool {
    [ETAG, LAST_MODIFIED].iter().all(|validator| head.get(validator) == stored.get(validator))
}

/// The weak comparison: caches compare no other way (RFC 9110, 13.1.2).
fn names(line: &str, etag: Option<&HeaderValue>) -> bool {
    let Some(etag) = etag.and_then(text) else { return line.trim() == "*" };
    line.trim() == "*" || tags(line).any(|tag| tag == opaque(etag))
}

fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

fn opaque(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix("W/").unwrap_or(etag)
}

/// The tags of a list, each without its `W/`. A comma in quotes separates nothing, and a backslash
/// is a letter like any other, unlike in quoted strings (RFC 9110, 8.8.3).
fn tags(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    let all = std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            return None;
        }
        let start = rest.find('"').filter(|at| matches!(&rest[..*at], "" | "W/"));
        let closing = start.and_then(|start| Some(start + 1 + rest[start + 1..].find('"')? + 1));
        // What is not quoted ends with the comma.
        let end = closing.or_else(|| rest.find(',')).unwrap_or(rest.len());
        let (tag, others) = rest.split_at(end);
        rest = others;
        Some(opaque(tag))
    });
    all.fuse()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use ::http::{HeaderName, StatusCode};
    use proptest::prelude::*;

    use super::*;

    const MONDAY: &str = "Mon, 20 Nov 2023 12:00:00 GMT";
    const TUESDAY: &str = "Tue, 21 Nov 2023 12:00:00 GMT";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn not_modified(asked: &[(&'static str, &str)], stored: &[(&'static str, &str)]) -> bool {
        let (asked, stored) = (headers(asked), headers(stored));
        let now = SystemTime::now();
        is_not_modified(&asked, &stored, &Metadata::of(StatusCode::OK, &stored, now, now))
    }

    #[test]
    fn a_client_has_it_if_a_tag_matches_weakly() {
        for (asked, etag, expected) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("\"b\" , W/\"a\"", "\"a\"", true),
            ("\"a,b\"", "\"a,b\"", true),
            ("\"x\\\", \"a\"", "\"a\"", true),
            ("*", "\"a\"", true),
            ("a", "a", true),
            ("\"b\"", "\"a\"", false),
            ("\"a,b\"", "\"a\"", false),
            ("w/\"a\"", "\"a\"", false),
            ("", "\"a\"", false),
        ] {
            let found = not_modified(&[("if-none-match", asked)], &[("etag", etag)]);
            assert_eq!(found, expected, "{asked} and {etag}");
        }
        assert!(not_modified(&[("if-none-match", "*")], &[]));
        assert!(!not_modified(&[("if-none-match", "\"a\"")], &[]));
    }

    #[test]
    fn a_date_counts_where_there_is_no_tag() {
        let stored = [("last-modified", MONDAY)];
        assert!(not_modified(&[("if-modified-since", MONDAY)], &stored));
        assert!(not_modified(&[("if-modified-since", TUESDAY)], &stored));
        assert!(!not_modified(&[("if-modified-since", MONDAY)], &[("last-modified", TUESDAY)]));
        assert!(!not_modified(&[("if-modified-since", "yesterday")], &stored));
        let both = [("if-modified-since", TUESDAY), ("if-none-match", "\"b\"")];
        assert!(!not_modified(&both, &[("last-modified", MONDAY), ("etag", "\"a\"")]));
        // Without it, the date of the response (RFC 9111, 4.3.2).
        assert!(not_modified(&[("if-modified-since", TUESDAY)], &[("date", MONDAY)]));
        assert!(!not_modified(&[("if-modified-since", MONDAY)], &[("date", TUESDAY)]));
    }

    #[test]
    fn the_clients_conditions_make_way_for_the_caches_own() {
        let mut asked = headers(&[("if-none-match", "\"x\""), ("accept", "a")]);
        replace(&mut asked, conditions(&headers(&[("etag", "\"a\""), ("last-modified", MONDAY)])));
        let expected = [("accept", "a"), ("if-none-match", "\"a\""), ("if-modified-since", MONDAY)];
        assert_eq!(asked, headers(&expected));
        replace(&mut asked, HeaderMap::new());
        assert_eq!(asked, headers(&[("accept", "a")]));
    }

    #[test]
    fn a_304_with_another_tag_is_about_something_else() {
        let stored = headers(&[("etag", "\"a\"")]);
        assert!(is_about(&headers(&[]), &stored));
        assert!(is_about(&headers(&[("etag", "W/\"a\"")]), &stored));
        assert!(!is_about(&headers(&[("etag", "\"b\"")]), &stored));
        assert!(!is_about(&headers(&[("etag", "\"b\"")]), &headers(&[])));
    }

    proptest! {
        #[test]
        fn any_list_of_tags_comes_to_its_end(line in "\\PC{0,40}|[W/\",\\\\ a]{0,30}") {
            prop_assert!(tags(&line).count() <= line.len());
        }

        #[test]
        fn a_tag_is_found_in_any_list_that_has_it(
            before in prop::collection::vec("(W/)?\"[!#-~]{0,5}\"", 0..3), tag in "[!#-~]{0,5}",
        ) {
            let mut list = before;
            list.push(format!("\"{tag}\""));
            let line = list.join(", ");
            let etag = format!("W/\"{tag}\"");
            prop_assert!(not_modified(&[("if-none-match", &line)], &[("etag", &etag)]), "{}", line);
        }
    }
}
