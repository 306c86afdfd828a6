//! JSON merge patch (RFC 7396). What a patch does not name stays as it was written, to the digit.

use serde_json::value::{RawValue, to_raw_value};
use sinew::http::Problem;

use crate::json;
use crate::session::body::Data;

/// Refuses what a service could not read again.
pub(super) fn check(data: &Data) -> Result<(), Problem> {
    data.iter().try_for_each(|(name, value)| json::check_readable(name, value))
}

/// What a value becomes by a patch that was checked; `None` where that removes it.
///
/// # Errors
/// When the value cannot be read.
pub(super) fn merged(
    value: Option<&RawValue>,
    patch: &RawValue,
) -> serde_json::Result<Option<Box<RawValue>>> {
    if patch.get() == "null" {
        return Ok(None);
    }
    if !is_object(patch) {
        return Ok(Some(patch.to_owned()));
    }
    let mut members = match value.filter(|value| is_object(value)) {
        Some(value) => serde_json::from_str(value.get())?,
        None => Data::new(),
    };
    for (name, patch) in serde_json::from_str::<Data>(patch.get())? {
        match merged(members.get(&name).map(|value| &**value), &patch)? {
            Some(value) => members.insert(name, value),
            None => members.remove(&name),
        };
    }
    to_raw_value(&members).map(Some)
}

/// Whether what a patch makes of a value depends on what the value is.
pub(super) fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn patched(value: &str, patch: &str) -> String {
        let (value, patch) = (raw(value), raw(patch));
        let merged = merged(Some(&value), &patch).unwrap();
        merged.map_or_else(|| "nothing".to_owned(), |value| value.get().to_owned())
    }

    #[test]
    fn a_patch_is_merged_as_the_standard_says() {
        for (value, patch, merged) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "nothing"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(patched(value, patch), merged, "{value} by {patch}");
        }
    }

    #[test]
    fn what_a_patch_does_not_name_is_left_as_it_was_written() {
        let merged = patched(r#"{"n":1.10,"big":123456789012345678901234567890}"#, r#"{"a": 1e2}"#);
        assert_eq!(merged, r#"{"a":1e2,"big":123456789012345678901234567890,"n":1.10}"#);
    }

    #[test]
    fn what_no_service_could_read_again_is_refused() {
        let data = |text: &str| Data::from([("cart".to_owned(), raw(text))]);
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(&data(&nested(100))).is_ok());
        for bad in [nested(200), nested(100_000), "1e999".to_owned(), r#""\ud800""#.to_owned()] {
            let shown: String = bad.chars().take(20).collect();
            let problem = check(&data(&bad)).unwrap_err();
            assert!(format!("{problem:?}").contains("cart"), "{shown}: {problem:?}");
        }
    }
}
