//! Entity tags, and the conditions that name them (RFC 9110, 8.8.3 and 13.1).

use std::fmt::Write as _;

use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use sinew::http::Problem;

/// Of a hash of 32 bytes: two values of one entry that share so many are not to be expected.
const BYTES_SHOWN: usize = 8;

/// The tag of a value: the same in every hub and for ever.
pub(super) fn of(value: &str) -> String {
    let digest = Sha256::digest(value);
    let mut tag = String::with_capacity(2 + 2 * BYTES_SHOWN);
    tag.push('"');
    for byte in digest.iter().take(BYTES_SHOWN) {
        // Writing to a String cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Whether the client says that it has the value of this tag.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Refuses what a write could only pass over in silence: the store compares no values.
pub(super) fn refuse_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];
    match conditions.into_iter().find(|name| headers.contains_key(name)) {
        None => Ok(()),
        Some(name) => Err(Problem::bad_request(format!(
            "{name} is not supported for writes: expected none; PUT with ?version=N keeps older writes from winning"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_tag_is_of_the_bytes_alone() {
        // As `printf '{"a":1}' | sha256sum` begins.
        assert_eq!(of("{\"a\":1}"), "\"015abd7f5cc57a2d\"");
        assert_ne!(of("{\"a\":1}"), of("{\"a\": 1}"));
    }

    #[test]
    fn what_the_client_has_is_read_from_all_lists() {
        let tag = of("1");
        let knows = |lists: &[&str]| {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(list).unwrap());
            }
            is_known(&headers, &tag)
        };
        assert!(knows(&[&tag]) && knows(&["*"]) && knows(&[&format!("W/{tag}")]));
        assert!(knows(&["\"a\"", &format!("\"b\" ,{tag}")]));
        assert!(!knows(&[]) && !knows(&["\"a\""]) && !knows(&[tag.trim_matches('"')]));
    }
}
