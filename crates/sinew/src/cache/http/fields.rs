//! Header fields as a cache sees them: what it keeps, what it compares, what it brings up to date.

use std::borrow::Cow;
use std::time::SystemTime;

use ::http::header::{AGE, CONNECTION, VARY};
use ::http::{HeaderMap, HeaderName};

/// Fields of one connection, which are nobody else's (RFC 9111, 3.1; RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What describes the stored content, and so stays as it was stored (RFC 9111, 3.2).
const OF_THE_CONTENT: [&str; 4] =
    ["content-encoding", "content-length", "content-range", "content-type"];

/// The lines of a field as text. What is not UTF-8 is replaced, so that the rest still counts.
pub(super) fn lines(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Cow<'_, str>> {
    headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()))
}

/// A field that can have one line only, as text.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A field that is a date. `None` for one that cannot be read, too.
pub(super) fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?.trim()).ok()
}

/// The members of a list: the commas in quoted strings separate none (RFC 9110, 5.6.1).
pub(super) fn members(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    let all = std::iter::from_fn(move || {
        let text = rest?;
        let (member, others) = match end_of_member(text) {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        };
        rest = others;
        Some(member.trim())
    });
    all.filter(|member| !member.is_empty())
}

fn end_of_member(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    // A quote without an end must not hide the directives behind it: one may be no-store.
    if quoted { text.find(',') } else { None }
}

/// The fields that may be stored.
pub(super) fn without_hop_by_hop(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for line in lines(headers, CONNECTION) {
        for name in members(&line) {
            kept.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}

/// The names in `Vary`, in one order. `None` where it names what no request can be compared by: `*`.
pub(super) fn vary(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in lines(headers, VARY) {
        for name in members(&line) {
            if name == "*" {
                return None;
            }
            names.push(HeaderName::from_bytes(name.as_bytes()).ok()?);
        }
    }
    in_one_order(&mut names);
    Some(names)
}

/// Sorted, and each once: equal sets of names are to be equal lists.
pub(super) fn in_one_order(names: &mut Vec<HeaderName>) {
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
}

/// The stored fields, brought up to date by those of a 304 (RFC 9111, 3.2 and 4.3.4).
pub(super) fn freshened(stored: &HeaderMap, newer: &HeaderMap) -> HeaderMap {
    let mut fresh = stored.clone();
    // The age of what was validated is that of the 304.
    fresh.remove(AGE);
    let newer = without_hop_by_hop(newer);
    for name in newer.keys().filter(|name| !OF_THE_CONTENT.contains(&name.as_str())) {
        fresh.remove(name);
        for line in newer.get_all(name) {
            fresh.append(name.clone(), line.clone());
        }
    }
    fresh
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn commas_in_quotes_separate_nothing() {
        let list = |line| members(line).collect::<Vec<_>>();
        assert_eq!(list("a, b=\"c, d\" ,,e"), ["a", "b=\"c, d\"", "e"]);
        assert_eq!(list(r#"a="\",b", c"#), [r#"a="\",b""#, "c"]);
        assert_eq!(list("private=\"x, no-store"), ["private=\"x", "no-store"]);
        assert!(list(" , ").is_empty());
    }

    #[test]
    fn what_belongs_to_the_connection_is_not_kept() {
        let response = headers(&[
            ("connection", "close, X-Hop"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-hop", "1"),
            ("x-kept", "1"),
        ]);
        let kept = without_hop_by_hop(&response);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn vary_is_a_set_of_names() {
        let names = |fields: &[_]| vary(&headers(fields)).map(|names| names.len());
        assert_eq!(names(&[]), Some(0));
        assert_eq!(names(&[("vary", "Accept, Origin"), ("vary", "origin")]), Some(2));
        assert_eq!(names(&[("vary", "Accept, *")]), None);
        assert_eq!(names(&[("vary", "a b")]), None);
        assert_eq!(
            vary(&headers(&[("vary", "b, A")])),
            vary(&headers(&[("vary", "a"), ("vary", "B")]))
        );
    }

    #[test]
    fn a_304_replaces_fields_and_leaves_what_describes_the_content() {
        let stored = headers(&[
            ("age", "100"),
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("x-b", "kept"),
        ]);
        let newer = headers(&[
            ("content-length", "0"),
            ("content-type", "text/html"),
            ("x-a", "3"),
            ("connection", "close"),
        ]);
        let expected = headers(&[
            ("content-length", "5"),
            ("content-type", "text/plain"),
            ("x-a", "3"),
            ("x-b", "kept"),
        ]);
        assert_eq!(freshened(&stored, &newer), expected);
    }

    proptest! {
        #[test]
        fn any_line_comes_apart_and_loses_only_commas_and_blanks(
            line in "\\PC{0,40}|[a,\"\\\\ =]{0,20}",
        ) {
            let solid = |text: &str| -> String {
                text.chars().filter(|c| *c != ',' && !c.is_whitespace()).collect()
            };
            let together: String = members(&line).collect();
            prop_assert_eq!(solid(&together), solid(&line));
            prop_assert!(members(&line).all(|member| !member.is_empty()));
        }
    }
}
