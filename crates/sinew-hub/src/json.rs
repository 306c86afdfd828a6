//! Bodies of JSON, and what is wrong with them.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use sinew::http::Problem;

/// For all bodies that are not told to be longer.
pub(crate) const BODY_LEN_MAX: usize = 64 << 10;
/// More of what a client calls a field is not told back.
const FIELD_CHARS_MAX: usize = 64;
/// What serde's words for a fault begin with.
const FAULTS: [&str; 7] = [
    "invalid type: ",
    "invalid value: ",
    "invalid length ",
    "unknown variant ",
    "unknown field ",
    "missing field ",
    "duplicate field ",
];

/// A body of JSON, and what it should have been.
pub(crate) fn read<T>(body: Result<Json<T>, JsonRejection>, expected: &str) -> Result<T, Problem> {
    read_up_to(BODY_LEN_MAX, body, expected)
}

/// The same, of a route whose bodies may be longer.
pub(crate) fn read_up_to<T>(
    len_max: usize,
    body: Result<Json<T>, JsonRejection>,
    expected: &str,
) -> Result<T, Problem> {
    let in_all = format!("expected a JSON body, {expected}");
    body.map(|Json(body)| body).map_err(|rejection| match rejection {
        JsonRejection::JsonDataError(error) => {
            Problem::bad_request(fault(&error.body_text(), &in_all))
        }
        JsonRejection::JsonSyntaxError(error) => {
            let text = error.body_text();
            let place = text.rsplit_once(" at line ").map_or("", |(_, place)| place);
            Problem::bad_request(match place.split_once(" column ") {
                Some((line, column)) => format!("line {line}, column {column}: {in_all}"),
                None => in_all,
            })
        }
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is too large: expected at most {len_max} bytes"),
        ),
        other => other.into(),
    })
}

/// Which field is wrong and what was expected of it, by serde's words for it, or what was expected in all.
/// What is there instead is left out: it may be a secret.
fn fault(text: &str, in_all: &str) -> String {
    let text = text.split_once(": ").map_or(text, |(_, text)| text);
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    let begins = FAULTS.iter().filter_map(|begin| Some((text.find(*begin)?, *begin)));
    // What comes after the first one may quote the body.
    let Some((at, begin)) = begins.min() else {
        // The words of a type of ours.
        return text.to_owned();
    };
    let path = text[..at].trim_end_matches(": ");
    let what = text.rsplit_once(", expected ").map_or("", |(_, what)| what);
    let named = || {
        let name = text[at..].split('`').nth(1).unwrap_or_default();
        let dot = if path.is_empty() { "" } else { "." };
        shown(&format!("{path}{dot}{name}"))
    };
    match begin {
        "unknown field " => {
            format!("unknown field {:?}: expected {}", shown(path), what.replace('`', ""))
        }
        "missing field " => format!("missing field {:?}: {in_all}", named()),
        "duplicate field " => format!("field {:?} twice: expected it once", named()),
        _ if path.is_empty() => in_all.to_owned(),
        _ => format!("{}: expected {}", shown(path), in_words(what)),
    }
}

fn shown(field: &str) -> String {
    field.chars().take(FIELD_CHARS_MAX).collect()
}

/// Rust's names of types, as those of JSON.
fn in_words(what: &str) -> String {
    match what {
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        what if what.starts_with("struct ") => "an object".to_owned(),
        what => what.replace('`', ""),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        #[serde(default)]
        flag: bool,
        parts: Vec<Part>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Part {
        name: String,
        count: Option<u64>,
        kind: Option<Kind>,
        whose: Option<Whose>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        One,
        Other,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged, expecting = "expected a string or an array of strings")]
    #[allow(dead_code)]
    enum Whose {
        One(String),
        Many(Vec<String>),
    }

    fn told(body: &str) -> String {
        let error = read(Json::<Outer>::from_bytes(body.as_bytes()), "like this").unwrap_err();
        assert_eq!(error.status(), StatusCode::BAD_REQUEST);
        let told = format!("{error:?}");
        assert!(!told.contains("secret"), "{told}");
        let (_, told) = told.split_once("detail: \"").unwrap();
        told.rsplit_once("\", members").unwrap().0.replace("\\\"", "\"")
    }

    #[test]
    fn a_fault_names_its_field_and_what_was_expected_and_nothing_that_is_there() {
        for (body, expected) in [
            (r#"{"parts": [{"name": "a", "count": -1}]}"#, "a whole number, 0 or more"),
            (r#"{"parts": [{"name": "a", "count": 1.5}]}"#, "a whole number, 0 or more"),
            (r#"{"parts": [{"name": "a", "count": "secret, expected secret"}]}"#, "a whole number"),
            (r#"{"parts": [{"name": "a", "count": "missing field `secret`"}]}"#, "a whole number"),
        ] {
            let told = told(body);
            assert!(told.starts_with("parts[0].count: expected "), "{told}");
            assert!(told.contains(expected), "{told}");
        }
        for (body, expected) in [
            (r#"{"parts": [{"name": 7}]}"#, "parts[0].name: expected a string"),
            (r#"{"parts": [7]}"#, "parts[0]: expected an object"),
            (r#"{"parts": "secret"}"#, "parts: expected an array"),
            (r#"{"parts": [], "flag": null}"#, "flag: expected true or false"),
            (
                r#"{"parts": [{"name": "a", "kind": "secret"}]}"#,
                "parts[0].kind: expected one or other",
            ),
            (
                r#"{"parts": [{"name": "a", "whose": {"secret": "secret"}}]}"#,
                "parts[0].whose: expected a string or an array of strings",
            ),
            (r#"{"parts": [], "flog": true}"#, "unknown field \"flog\": expected flag or parts"),
            (
                r#"{"parts": [{"nmae": "secret"}]}"#,
                "unknown field \"parts[0].nmae\": expected one of name, count, kind, whose",
            ),
            (
                r#"{"parts": [{"count": 1}]}"#,
                "missing field \"parts[0].name\": expected a JSON body, like this",
            ),
            ("{}", "missing field \"parts\": expected a JSON body, like this"),
            (
                r#"{"parts": [], "flag": true, "flag": true}"#,
                "field \"flag\" twice: expected it once",
            ),
            ("\"secret\"", "expected a JSON body, like this"),
            ("", "line 1, column 0: expected a JSON body, like this"),
            (r#"{"parts": ["#, "line 1, column 11: expected a JSON body, like this"),
            (r#"{"parts": []} secret"#, "line 1, column 15: expected a JSON body, like this"),
        ] {
            assert_eq!(told(body), expected, "{body}");
        }
    }

    #[test]
    fn no_more_of_a_field_is_told_back_than_a_name_may_be_long() {
        let told = told(&format!(r#"{{"parts": [], "{}": 1}}"#, "x".repeat(60_000)));
        assert!(told.len() < 150, "{told}");
    }
}
