//! What is read and written, and what is not.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;
use crate::flag::percent::PercentExt as _;

fn flag(written: Value) -> Result<Flag, String> {
    let flag: Flag = serde_json::from_value(written).map_err(|error| error.to_string())?;
    flag.check()?;
    Ok(flag)
}

fn document(written: &Value) -> (Document, Vec<String>) {
    Document::read(written.to_string().as_bytes()).unwrap()
}

/// A list in a list, so many.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::from(1), |inner, _| Value::Array(vec![inner]))
}

fn full() -> Value {
    json!({
        "type": "bool", "variants": { "on": true, "off": false }, "default": "off", "off": "off",
        "enabled": true, "killed": false,
        "rules": [
            { "name": "pro users", "if": [
                { "attribute": "plan", "op": "in", "values": ["pro", "team"] }, { "segment": "beta" },
            ], "then": "on" },
            { "name": "a tenth", "if": [], "split": { "on": 10, "off": 90 } },
        ],
        "users": { "u1": "on" }, "tenants": { "acme": "off" },
        "on_at": "2026-11-01T00:00:00Z", "off_at": null, "expires_at": null, "stale_after": null,
        "owner": "growth", "description": "the new one", "revision": 1_795_300_000_000_u64,
    })
}

#[test]
fn a_flag_is_written_as_it_was_read() {
    let read = flag(full()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), full());
    let on_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_491_200);
    assert_eq!(read.on_at, Some(on_at));
    let shares = [("on", 10.percent()), ("off", 90.percent())];
    let shares = shares.map(|(name, share)| (name.to_owned(), share)).into();
    assert_eq!(read.rules[1].serve, Serve::Split(shares));
}

#[test]
fn a_bool_flag_need_say_nothing_but_its_type() {
    assert_eq!(flag(json!({ "type": "bool" })), Ok(Flag::bool()));
}

#[test]
fn times_with_an_offset_are_the_same_times() {
    let on_at = |text: &str| flag(json!({ "type": "bool", "on_at": text })).map(|flag| flag.on_at);
    assert_eq!(on_at("2026-11-01T02:00:00+02:00"), on_at("2026-11-01T00:00:00Z"));
    assert!(on_at("2026-11-01").is_err());
    assert!(on_at("2026-11-01T00:00:00").is_err());
}

#[test]
fn what_is_no_flag_says_which_field_and_what_was_expected() {
    for (patch, told) in [
        (json!({ "type": "boolean" }), "unknown variant `boolean`"),
        (json!({ "colour": "red" }), "unknown field `colour`"),
        (json!({ "variants": {} }), "variants: expected at least one"),
        (
            json!({ "variants": { "on": 1, "off": false } }),
            "variants.on: expected a value of type bool",
        ),
        (json!({ "variants": { "on": true, "o f": false } }), "variants: expected 1 to 100 of"),
        (
            json!({ "type": "json", "variants": { "on": nested(65), "off": 0 } }),
            "variants.on: expected lists and objects at most 64 deep",
        ),
        (json!({ "default": "maybe" }), "default: expected a variant, one of `off`, `on`"),
        (json!({ "off": "maybe" }), "off: expected a variant"),
        (json!({ "rules": [{ "if": [] }] }), "either `then` or `split`"),
        (
            json!({ "rules": [{ "then": "on", "split": { "on": 100 } }] }),
            "either `then` or `split`",
        ),
        (json!({ "rules": [{ "then": "maybe" }] }), "rules[0].then: expected a variant"),
        (json!({ "rules": [{ "split": { "maybe": 100 } }] }), "rules[0].split: expected a variant"),
        (
            json!({ "rules": [{ "split": { "on": 10, "off": 80.5 } }] }),
            "make 100 percent, found 90.500",
        ),
        (json!({ "rules": [{ "split": { "on": 0.0001, "off": 99.9999 } }] }), "at most 3 decimals"),
        (
            json!({ "rules": vec![json!({ "then": "on" }); 65] }),
            "rules: expected at most 64, found 65",
        ),
        (
            json!({ "rules": [{ "then": "on", "if": vec![json!({ "segment": "a" }); 33] }] }),
            "rules[0].if: expected at most 32",
        ),
        (
            json!({ "rules": [{ "then": "on", "if": [{ "segment": "" }] }] }),
            "rules[0].if[0].segment: expected",
        ),
        (json!({ "users": { "u1": "maybe" } }), "users.u1: expected a variant"),
        (json!({ "tenants": { "": "on" } }), "tenants: expected ids of 1 to 256 bytes"),
        (json!({ "off_at": "2026-10-31T00:00:00Z" }), "off_at: expected a time after on_at"),
        (json!({ "owner": "x".repeat(129) }), "owner: bytes: expected at most 128"),
    ] {
        let mut written = full();
        let fields = written.as_object_mut().unwrap();
        fields.extend(patch.as_object().unwrap().clone());
        let error = flag(written).unwrap_err();
        assert!(error.contains(told), "{patch}: {error}");
    }
    let error =
        flag(json!({ "type": "string", "variants": { "a": "x" }, "default": "a" })).unwrap_err();
    assert!(error.contains("off: expected one for a flag of type string"), "{error}");
    let error = flag(json!({ "type": "number" })).unwrap_err();
    assert!(error.contains("variants: expected one"), "{error}");
}

#[test]
fn what_makes_no_sense_is_read_where_it_is_there_and_not_written() {
    for (patch, told) in [
        (json!({ "off": "on" }), "off: expected a variant that is false"),
        (json!({ "variants": { "on": false, "off": true } }), "variants.on: expected true"),
        (
            json!({ "variants": { "on": true }, "off": "on", "rules": [], "tenants": {}, "default": "on" }),
            "off: expected a variant that is false",
        ),
        (json!({ "owner": "" }), "owner: expected some text"),
        (json!({ "description": "" }), "description: expected some text"),
    ] {
        let mut written = full();
        written.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        let (document, left_out) = document(&json!({ "flags": { "...": written } }));
        assert_eq!(left_out, Vec::<String>::new(), "{patch}");
        let flag = &document.flags["..."];
        let error = flag.validate().unwrap_err().to_string();
        assert!(error.contains(told), "{patch}: {error}");
        // Else it could not be killed any more.
        let mut killed = Document { segments: beta(), ..document.clone() };
        killed.flags.values_mut().for_each(|flag| flag.killed = true);
        killed.validate_flag("...", Some(flag)).unwrap();
        let error = killed.validate_flag("...", None).unwrap_err().to_string();
        assert!(error.contains("not dots alone"), "{error}");
    }
    let other_names = json!({ "blue": true, "grey": false });
    let named =
        json!({ "type": "bool", "variants": other_names, "default": "grey", "off": "grey" });
    flag(named).unwrap().validate().unwrap();
}

fn beta() -> BTreeMap<String, Segment> {
    BTreeMap::from([("beta".to_owned(), Segment::default())])
}

#[test]
fn the_deepest_value_that_may_be_written_is_read() {
    let mut deepest = full();
    deepest["type"] = json!("json");
    deepest["variants"]["on"] = nested(64);
    let (document, left_out) = document(&json!({ "flags": { "deepest": deepest } }));
    assert_eq!((document.flags.len(), left_out), (1, Vec::new()));
}

#[test]
fn one_flag_that_cannot_be_read_loses_no_other_and_is_not_lost() {
    let written = json!({
        "flags": { "good": full(), "later": { "type": "bool", "colour": "red" }, "no key": full() },
        "segments": { "beta": { "any": [] }, "later": { "none": [] } },
        "environment": { "name": "prod" },
    });
    let (mut document, left_out) = document(&written);
    assert_eq!(document.flags.keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(document.segments.keys().collect::<Vec<_>>(), ["beta"]);
    assert_eq!(left_out.len(), 3, "{left_out:?}");
    assert!(
        left_out.iter().any(|why| why.starts_with("flag \"later\": unknown field `colour`")),
        "{left_out:?}"
    );

    let rewritten: Value = serde_json::from_str(&document.to_json().unwrap()).unwrap();
    assert_eq!(rewritten, written);
    document.flags.insert("later".to_owned(), Flag::bool());
    let rewritten = document.to_json().unwrap();
    let (read, _) = Document::read(rewritten.as_bytes()).unwrap();
    assert_eq!(read.flags.get("later"), Some(&Flag::bool()));
}

#[test]
fn what_is_no_document_is_told_and_nothing_is_an_empty_one() {
    for bytes in ["", "null", "[]", "{", r#"{"flags": []}"#, r#"{"segments": 7}"#] {
        assert!(Document::read(bytes.as_bytes()).is_err(), "{bytes}");
    }
    assert!(Document::read(b"\xFF").is_err());
    assert_eq!(document(&json!({})), (Document::default(), Vec::new()));
}

#[test]
fn a_rule_refers_to_a_segment_that_is_there_and_a_segment_to_none() {
    let mut document = document(&json!({ "flags": { "ui": full() } })).0;
    let error = document.validate_flag("ui", None).unwrap_err().to_string();
    assert!(
        error.contains("flag \"ui\": rules[0].if[1].segment: expected one that is defined"),
        "{error}"
    );
    document.segments.insert("beta".to_owned(), Segment::default());
    document.validate_flag("ui", None).unwrap();
    let beta = document.segments.remove("beta");
    let error = document.validate_segment("beta", beta.as_ref()).unwrap_err().to_string();
    assert!(error.contains("flag \"ui\": rules[0].if[1].segment"), "{error}");
    let nested = Segment { any: vec![vec![Condition::Segment("beta".to_owned())]] };
    assert!(nested.validate().is_err());
    document.segments.insert("nested".to_owned(), nested);
    let error = document.validate_segment("nested", None).unwrap_err().to_string();
    assert!(error.contains("segment \"nested\": any[0][0]: expected an attribute"), "{error}");
}

#[test]
fn no_flag_that_cannot_be_stands_in_the_way_of_another() {
    // As someone may have written it by hand: it refers to a segment that is not there.
    let mut document =
        document(&json!({ "flags": { "lost": full(), "ui": { "type": "bool" } } })).0;
    let before = document.flags.clone();
    document.flags.values_mut().for_each(|flag| flag.killed = true);
    for (key, before) in &before {
        document.validate_flag(key, Some(before)).unwrap();
    }
    document.validate_segment("other", None).unwrap();
    document.flags.remove("lost");
    document.validate_flag("lost", before.get("lost")).unwrap();
}

#[test]
fn there_are_as_many_flags_as_there_may_be() {
    let flags = (0..=FLAGS_MAX).map(|nth| (format!("flag-{nth}"), Flag::bool())).collect();
    let mut document = Document { flags, ..Document::default() };
    let error = document.validate_flag("flag-7", None).unwrap_err().to_string();
    assert!(error.contains("flags: expected at most 2000, found 2001"), "{error}");
    document.validate_flag("flag-7", Some(&Flag::bool())).unwrap();
    document.flags.pop_first();
    document.validate_flag("flag-7", None).unwrap();
    for flag in document.flags.values_mut() {
        flag.description = Some("x".repeat(4_096));
    }
    let error = document.to_json().unwrap_err().to_string();
    assert!(error.contains("expected at most 4194304"), "{error}");
}
