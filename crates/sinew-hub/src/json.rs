//! Bodies of JSON, and what is wrong with them.

use std::fmt;
use std::marker::PhantomData;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde_json::value::RawValue;
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

/// JSON that services can read: of fewer than 128 levels, with numbers that a double can hold, and text that is Unicode. Nothing
/// of it is kept while it is looked through.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Readable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
                Ok(Readable)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
                Ok(Readable)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
                Ok(Readable)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Readable, E> {
                Ok(Readable)
            }

            fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
                Ok(Readable)
            }

            fn visit_unit<E>(self) -> Result<Readable, E> {
                Ok(Readable)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Readable, A::Error> {
                while all.next_element::<Readable>()?.is_some() {}
                Ok(Readable)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Readable, A::Error> {
                while all.next_entry::<Readable, Readable>()?.is_some() {}
                Ok(Readable)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// JSON as it is written, where services can read it.
pub(crate) fn readable(json: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice::<Readable>(json).ok()?;
    serde_json::from_slice(json).ok()
}

/// Refuses what a service could not read again, by the name that it has.
pub(crate) fn check_readable(name: &str, value: &RawValue) -> Result<(), Problem> {
    match serde_json::from_str::<Readable>(value.get()) {
        Ok(Readable) => Ok(()),
        Err(_) => {
            let shown: String = name.chars().take(FIELD_CHARS_MAX).collect();
            Err(Problem::bad_request(format!(
                "{shown:?} is JSON that a service may not be able to read: expected fewer than 128 levels, numbers that a double can hold, and text that is Unicode"
            )))
        }
    }
}

/// What is read of an object alone: serde takes an array for one, field by field.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// A whole number from `MIN` to `MAX`, which says so to whoever sends another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Within<T, const MIN: u64, const MAX: u64>(pub(crate) T);

impl<'de, T: TryFrom<u64>, const MIN: u64, const MAX: u64> Deserialize<'de>
    for Within<T, MIN, MAX>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

        impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> Visitor<'_> for Number<T, MIN, MAX> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number, {MIN} to {MAX}")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
                let within = Some(number).filter(|number| (MIN..=MAX).contains(number));
                let within = within.and_then(|number| T::try_from(number).ok());
                within.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_u64(Number::<T, MIN, MAX>(PhantomData)).map(Self)
    }
}

/// An array, of which no more is kept than may be sent: many small things take far more memory than their text.
pub(crate) struct UpTo<T, const MAX: usize> {
    pub(crate) kept: Vec<T>,
    /// With those that were not kept.
    pub(crate) count: usize,
}

impl<T, const MAX: usize> Default for UpTo<T, MAX> {
    fn default() -> Self {
        Self { kept: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for UpTo<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = UpTo<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut all = UpTo::default();
                while all.count < MAX {
                    let Some(item) = items.next_element()? else { return Ok(all) };
                    all.kept.push(item);
                    all.count += 1;
                }
                while items.next_element::<IgnoredAny>()?.is_some() {
                    all.count += 1;
                }
                Ok(all)
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// A body that is an object, and what it should have been.
pub(crate) fn object<T>(
    body: Result<Json<Object<T>>, JsonRejection>,
    expected: &str,
) -> Result<T, Problem> {
    read(body, expected).map(|Object(body)| body)
}

/// A line of many that is an object, and what it should have been; `number` says which line.
pub(crate) fn line<T: DeserializeOwned>(
    number: usize,
    text: &str,
    expected: &str,
) -> Result<T, Problem> {
    // By itself: two that belong on two lines are none.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        let column = error.column();
        Problem::bad_request(format!(
            "line {number}, column {column}: expected an object as JSON, {expected}"
        ))
    })?;
    let of_line = |problem: Problem| problem.within(&format!("line {number}"));
    match Json::<Object<T>>::from_bytes(text.as_bytes()) {
        // What is escaped is only looked at where it is kept.
        Err(JsonRejection::JsonSyntaxError(_)) => {
            Err(of_line(Problem::bad_request(format!("expected an object as JSON, {expected}"))))
        }
        read => object(read, expected).map_err(of_line),
    }
}

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
        "u8" => "a whole number, 0 to 255".to_owned(),
        "u16" => "a whole number, 0 to 65,535".to_owned(),
        "u32" => "a whole number, 0 to 4,294,967,295".to_owned(),
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
    struct Bounded {
        count: Option<Within<u8, 1, 9>>,
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
    fn an_array_is_no_object_whatever_is_in_it() {
        let read =
            |body: &str| object(Json::<Object<Part>>::from_bytes(body.as_bytes()), "like this");
        let part = read(r#"{"name": "a", "count": 7}"#).unwrap();
        assert_eq!((part.name.as_str(), part.count), ("a", Some(7)));
        for body in [r#"["a", 7, null, null]"#, r#"["a"]"#, "[]", "7"] {
            let told = format!("{:?}", read(body).unwrap_err());
            assert!(told.contains("expected a JSON body, like this"), "{told}");
        }
        let told = format!("{:?}", read(r#"{"name": "a", "count": -1}"#).unwrap_err());
        assert!(told.contains("count: expected a whole number, 0 or more"), "{told}");
    }

    #[test]
    fn a_number_that_is_not_within_its_bounds_is_told_them() {
        let read = |body: &str| {
            let read = Json::<Object<Bounded>>::from_bytes(body.as_bytes());
            object(read, "like this").map(|of| of.count.map(|Within(count)| count))
        };
        assert_eq!(read(r#"{"count": 9}"#).unwrap(), Some(9));
        assert_eq!(read(r#"{"count": null}"#).unwrap(), None);
        for bad in ["0", "10", "300", "-1", "1.5", "\"secret\""] {
            let told = format!("{:?}", read(&format!(r#"{{"count": {bad}}}"#)).unwrap_err());
            assert!(told.contains("count: expected a whole number, 1 to 9"), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn of_many_lines_it_is_said_which_is_wrong_and_where() {
        let told = |text: &str| format!("{:?}", line::<Part>(7, text, "like this").unwrap_err());
        assert_eq!(line::<Part>(7, r#"{"name": "a"}"#, "like this").unwrap().name, "a");
        for (text, expected) in [
            (r#"{"name": "#, "line 7, column 9: expected an object"),
            (r#"{"name": "a"}, {"name": "b"}"#, "line 7, column 14: expected an object"),
            (r#"{"name": 7}"#, "line 7: name: expected a string"),
            ("7", "line 7: expected a JSON body, like this"),
        ] {
            let told = told(text);
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn no_more_of_an_array_is_kept_than_may_be_sent() {
        let read = |body: &str| {
            let read = Json::<UpTo<Object<Part>, 2>>::from_bytes(body.as_bytes());
            super::read(read, "like this").map(|all| (all.kept.len(), all.count))
        };
        let part = r#"{"name": "a"}"#;
        assert_eq!(read("[]").unwrap(), (0, 0));
        assert_eq!(read(&format!("[{part}, {part}]")).unwrap(), (2, 2));
        let many = format!("[{}{part}]", format!("{part},").repeat(300_000));
        assert_eq!(read(&many).unwrap(), (2, 300_001));
        let told = format!("{:?}", read(&format!("[{part}, 7]")).unwrap_err());
        assert!(told.contains("[1]: expected an object"), "{told}");
        assert!(read(&format!("[{part}, {part}, {part}")).is_err());
    }

    #[test]
    fn no_more_of_a_field_is_told_back_than_a_name_may_be_long() {
        let told = told(&format!(r#"{{"parts": [], "{}": 1}}"#, "x".repeat(60_000)));
        assert!(told.len() < 150, "{told}");
    }
}
