//! Entity tags, and the conditions that name them (RFC 9110, 8.8.3 and 13.1).

use std::fmt::{Arguments, Write as _};

use axum::Json;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sinew::http::Problem;
use sinew::limit::Expected;

/// Of a hash of 32 bytes: two values of one entry that share so many are not to be expected.
const BYTES_SHOWN: usize = 8;

/// The tag of a text: the same in every hub and for ever.
pub(crate) fn of(value: &str) -> String {
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
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Refuses what a write could only pass over in silence: the store compares no values.
pub(crate) fn refuse_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];
    match conditions.into_iter().find(|name| headers.contains_key(name)) {
        None => Ok(()),
        Some(name) => Err(Problem::bad_request(format!(
            "{name} is not supported for writes: expected none; PUT with ?version=N keeps older writes from winning"
        ))),
    }
}

/// A definition, with its revision as `If-Match` takes it.
pub(crate) fn tagged(status: StatusCode, revision: u64, body: impl Serialize) -> Response {
    let about =
        [(header::ETAG, format!("\"{revision}\"")), (header::CACHE_CONTROL, "no-store".to_owned())];
    (status, about, Json(body)).into_response()
}

/// On which condition a change is made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Of(Expected),
    /// Something of the name is there.
    There,
}

impl Condition {
    /// What a change is to find. `found` is the revision that is there; 0 where there is none, as `none` says.
    pub(crate) fn expected(self, found: u64, none: &str) -> Result<Expected, Problem> {
        match (self, found) {
            (Self::Of(expected), _) => Ok(expected),
            (Self::There, 0) => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                format!("{none}: expected one, as If-Match: * says"),
            )),
            (Self::There, found) => Ok(Expected::Revision(found)),
        }
    }
}

/// Refuses what the store would, by what was looked at. `found` is the revision that is there; 0 where there is none.
pub(crate) fn refuse_other(
    expected: Expected,
    found: u64,
    what: Arguments<'_>,
) -> Result<(), Problem> {
    let is_other = match expected {
        Expected::Any => false,
        Expected::Absent => found != 0,
        Expected::Revision(revision) => found != revision,
    };
    match is_other {
        true => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            format!("{what} is another revision than was expected, or is not defined"),
        )),
        false => Ok(()),
    }
}

/// The condition of a change, by `If-Match` and `If-None-Match`.
pub(crate) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let condition = match (value(headers, header::IF_MATCH), value(headers, header::IF_NONE_MATCH))
    {
        (Ok(None), Ok(None)) => Some(Condition::Of(Expected::Any)),
        (Ok(None), Ok(Some("*"))) => Some(Condition::Of(Expected::Absent)),
        (Ok(Some("*")), Ok(None)) => Some(Condition::There),
        (Ok(Some(tag)), Ok(None)) => revision(tag).map(Condition::Of),
        _ => None,
    };
    condition.ok_or_else(|| {
        Problem::bad_request(
            "the conditions are not what they should be: expected If-Match with one revision between quotes or *, or If-None-Match: *, or neither",
        )
    })
}

/// The one value of a header; an error where there is more, or no text.
fn value(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// `"0"` is the tag of what is not in the store.
fn revision(tag: &str) -> Option<Expected> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    Some(match digits.parse::<u64>().ok()? {
        0 => Expected::Absent,
        revision => Expected::Revision(revision),
    })
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

    fn condition_of(lines: &[(HeaderName, &str)]) -> Result<Condition, StatusCode> {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        condition(&headers).map_err(|problem| problem.status())
    }

    #[test]
    fn one_revision_or_any_or_none_at_all_is_taken_and_nothing_else() {
        let (is, is_not) = (header::IF_MATCH, header::IF_NONE_MATCH);
        let of = |expected| Ok(Condition::Of(expected));
        assert_eq!(condition_of(&[]), of(Expected::Any));
        assert_eq!(condition_of(&[(is.clone(), "\"7\"")]), of(Expected::Revision(7)));
        assert_eq!(condition_of(&[(is.clone(), " \"0\"")]), of(Expected::Absent));
        assert_eq!(condition_of(&[(is.clone(), "*")]), Ok(Condition::There));
        assert_eq!(condition_of(&[(is_not.clone(), "*")]), of(Expected::Absent));
        for bad in
            ["7", "\"*\"", "", "W/\"7\"", "\"7\", \"8\"", "\"a\"", "\"+7\"", "\"\"", "\"-1\""]
        {
            let refused = condition_of(&[(is.clone(), bad)]);
            assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        for bad in [
            [(is.clone(), "\"7\""), (is.clone(), "\"7\"")],
            [(is, "\"7\""), (is_not.clone(), "*")],
            [(is_not.clone(), "*"), (is_not, "\"7\"")],
        ] {
            assert_eq!(condition_of(&bad), Err(StatusCode::BAD_REQUEST), "{bad:?}");
        }
    }

    #[test]
    fn a_change_is_refused_where_something_else_is_there_than_it_is_to_find() {
        let refuses = |expected, found| refuse_other(expected, found, format_args!("it")).is_err();
        assert!(!refuses(Expected::Any, 0) && !refuses(Expected::Any, 7));
        assert!(!refuses(Expected::Absent, 0) && refuses(Expected::Absent, 7));
        assert!(!refuses(Expected::Revision(7), 7) && refuses(Expected::Revision(7), 8));
        assert!(refuses(Expected::Revision(7), 0));
        let there = |found| Condition::There.expected(found, "it is not").ok();
        assert_eq!((there(7), there(0)), (Some(Expected::Revision(7)), None));
    }
}
