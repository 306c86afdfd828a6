//! Who is given what, and what holds for all flags.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;
use crate::flag::condition::{Condition, Op};
use crate::flag::context::EvalContext;
use crate::flag::document::{Flag, Rule, Segment, Serve};
use crate::flag::evaluation::{DecidedBy, EvalError, Reason};
use crate::flag::overlays::Overlays;
use crate::flag::percent::{Percent, PercentExt as _};
use crate::kernel::clock::UnixMillis;

const NOW: UnixMillis = UnixMillis(1_795_300_000_000);
const PAST: &str = "2026-11-01T00:00:00Z";
const FUTURE: &str = "2027-11-01T00:00:00Z";

/// A flag `ui`, and what it is said to be in JSON.
fn ui(flag: &Value) -> Rules {
    rules(&json!({ "flags": { "ui": flag } }))
}

fn rules(document: &Value) -> Rules {
    let (document, left_out) = Document::read(document.to_string().as_bytes()).unwrap();
    assert_eq!(left_out, Vec::<String>::new());
    Rules { compiled: Arc::new(Compiled::new(&document, 7)), overlays: Overlays::default() }
}

/// Why, by what, and which variant.
fn told(rules: &Rules, cx: &EvalContext) -> (&'static str, DecidedBy, Option<String>) {
    let explained = rules.explain("ui", cx, NOW, false);
    let evaluation = explained.evaluation.unwrap();
    let variant = evaluation.variant.map(|name| name.to_string());
    (evaluation.reason.name(), explained.decided_by, variant)
}

#[test]
fn what_comes_first_decides() {
    let mut flag = json!({
        "type": "bool", "killed": true, "enabled": false, "default": "on",
        "on_at": FUTURE, "expires_at": PAST,
        "users": { "u1": "off" }, "tenants": { "acme": "off" },
        "rules": [
            { "name": "pro users", "if": [{ "attribute": "plan", "op": "is", "values": ["pro"] }],
              "then": "off" },
        ],
    });
    let cx = EvalContext::user("u1").tenant("acme").with("plan", "pro");
    let mut plain = Overlays::default();
    plain.set("ui", None, Some((false, None)));
    plain.set("ui", Some("u1"), Some((true, None)));
    let of = |flag: &Value, overlays: &Overlays| {
        told(&Rules { overlays: overlays.clone(), ..ui(flag) }, &cx)
    };
    let off = Some("off".to_owned());

    assert_eq!(of(&flag, &plain), ("DISABLED", DecidedBy::Killed, off.clone()));
    flag["killed"] = json!(false);
    assert_eq!(
        of(&flag, &plain),
        ("TARGETING_MATCH", DecidedBy::UserOverlay, Some("on".to_owned()))
    );
    plain.set("ui", Some("u1"), None);
    assert_eq!(of(&flag, &plain), ("STATIC", DecidedBy::GlobalOverlay, off.clone()));
    plain.set("ui", None, None);
    assert_eq!(of(&flag, &plain), ("DISABLED", DecidedBy::Expired, None));
    flag["expires_at"] = json!(FUTURE);
    assert_eq!(of(&flag, &plain), ("DISABLED", DecidedBy::Off, off.clone()));
    flag["enabled"] = json!(true);
    assert_eq!(of(&flag, &plain), ("DISABLED", DecidedBy::Schedule, off.clone()));
    flag["on_at"] = json!(null);
    flag["off_at"] = json!(PAST);
    assert_eq!(of(&flag, &plain), ("DISABLED", DecidedBy::Schedule, off.clone()));
    flag["on_at"] = json!(PAST);
    flag["off_at"] = json!(FUTURE);
    assert_eq!(of(&flag, &plain), ("TARGETING_MATCH", DecidedBy::UserOverride, off.clone()));
    flag["users"] = json!({});
    assert_eq!(of(&flag, &plain), ("TARGETING_MATCH", DecidedBy::TenantOverride, off.clone()));
    flag["tenants"] = json!({});
    let rule = DecidedBy::Rule { index: 0, name: Some("pro users".to_owned()) };
    assert_eq!(of(&flag, &plain), ("TARGETING_MATCH", rule, off));
    flag["rules"] = json!([]);
    assert_eq!(of(&flag, &plain), ("STATIC", DecidedBy::Default, Some("on".to_owned())));
}

#[test]
fn plain_keys_stand_alone_and_say_nothing_of_other_types() {
    let mut rules = rules(&json!({ "flags": {
        "text": { "type": "string", "variants": { "a": "x" }, "default": "a", "off": "a" },
        "yes-no": { "type": "bool", "variants": { "yes": true, "no": false }, "default": "no", "off": "no" },
        "always": { "type": "bool", "variants": { "on": true }, "default": "on", "off": "on" },
    } }));
    for name in ["alone", "text", "yes-no", "always"] {
        rules.overlays.set(name, Some("u1"), Some((name != "always", Some(UnixMillis(NOW.0 + 1)))));
    }
    let (u1, u2) = (EvalContext::user("u1"), EvalContext::user("u2"));
    let enabled = |key, cx, now| rules.enabled(key, cx, now, false);
    assert_eq!(enabled("alone", &u1, NOW), Some(true));
    assert_eq!(enabled("alone", &u2, NOW), None);
    assert_eq!(enabled("alone", &u1, UnixMillis(NOW.0 + 1)), None);
    assert_eq!(enabled("yes-no", &u1, NOW), Some(true));
    assert_eq!(enabled("yes-no", &u2, NOW), Some(false));
    assert_eq!(enabled("always", &u1, NOW), Some(false));
    assert_eq!(enabled("text", &u1, NOW), None);
    assert_eq!(rules.evaluate("text", &u1, String::new(), NOW, false).value, "x");
    let variant = |key| rules.try_evaluate(key, &u1, NOW, false).unwrap().variant.unwrap();
    assert_eq!(
        ["alone", "yes-no", "always"].map(variant).each_ref().map(|name| &**name),
        ["on", "yes", "off"]
    );
}

#[test]
fn what_cannot_be_evaluated_is_the_default_of_the_code_and_says_why() {
    let rules = rules(&json!({ "flags": {
        "split": { "type": "bool", "rules": [{ "split": { "on": 50, "off": 50 } }] },
        "size": { "type": "number", "variants": { "one": 1, "half": 0.5 }, "default": "half", "off": "one" },
        "gone": {
            "type": "number", "variants": { "one": 1 }, "default": "one", "off": "one", "expires_at": PAST,
        },
    } }));
    let cx = EvalContext::new();
    let failed = |key| rules.try_evaluate(key, &cx, NOW, false).unwrap_err();
    assert_eq!(failed("none"), EvalError::FlagNotFound);
    assert_eq!(failed("split"), EvalError::TargetingKeyMissing);
    assert_eq!(rules.enabled("none", &cx, NOW, false), None);
    assert_eq!(rules.enabled("split", &cx, NOW, false), None);
    assert_eq!(rules.enabled("size", &cx, NOW, false), None);
    let number = |key| rules.evaluate(key, &cx, 9_i64, NOW, false);
    for (key, reason) in
        [("none", Reason::Default), ("size", Reason::Error), ("gone", Reason::Disabled)]
    {
        let evaluation = number(key);
        assert_eq!(
            (evaluation.value, evaluation.variant, evaluation.reason),
            (9, None, reason),
            "{key}"
        );
    }
    assert!(rules.evaluate("split", &cx, true, NOW, false).value);
    assert_eq!(rules.evaluate("split", &cx, true, NOW, false).reason, Reason::Error);
    let evaluation = rules.evaluate("size", &cx, 9.0, NOW, false);
    assert_eq!(
        (evaluation.value, evaluation.variant.as_deref(), evaluation.version),
        (0.5, Some("half"), 7)
    );
    assert_eq!(rules.try_evaluate("gone", &cx, NOW, false).unwrap().value, None);
}

#[test]
fn old_rules_decide_the_same_and_say_that_they_are_old() {
    let fresh = ui(&json!({ "type": "bool", "default": "on" }));
    for (rules, is_stale, reason) in [
        (fresh.clone(), false, Reason::Static),
        (fresh, true, Reason::Stale),
        (ui(&json!({ "type": "bool", "killed": true })), true, Reason::Disabled),
    ] {
        let evaluation = rules.evaluate("ui", &EvalContext::new(), false, NOW, is_stale);
        assert_eq!(evaluation.reason, reason);
        assert_eq!(evaluation.value, reason != Reason::Disabled);
    }
}

#[test]
fn a_subject_gets_the_variant_that_others_compute() {
    let quarters = json!({ "clubs": 25, "diamonds": 25, "hearts": 25, "spades": 25 });
    let halves = json!({ "heads": 50, "tails": 50 });
    for (key, shares, subjects) in [
        (
            "fractional-flag",
            &quarters,
            &[
                ("jack", "hearts"),
                ("queen", "spades"),
                ("ten", "clubs"),
                ("nine", "diamonds"),
                ("3", "clubs"),
            ][..],
        ),
        (
            "shared-seed",
            &quarters,
            &[("seven", "hearts"), ("eight", "diamonds"), ("nine", "clubs"), ("two", "spades")][..],
        ),
        (
            "fractional-flag-shorthand",
            &halves,
            &[("jon@company.com", "heads"), ("jane@company.com", "tails")][..],
        ),
    ] {
        let mut names = shares.as_object().unwrap().keys();
        let variants: Value = names.clone().map(|name| (name.clone(), json!(name))).collect();
        let first = names.next();
        let rules = rules(&json!({ "flags": { key: {
            "type": "string", "variants": variants, "default": first, "off": first,
            "rules": [{ "split": shares }],
        } } }));
        for (subject, expected) in subjects {
            let cx = EvalContext::user(*subject);
            let evaluation = rules.evaluate(key, &cx, String::new(), NOW, false);
            assert_eq!(
                (evaluation.value.as_str(), evaluation.reason),
                (*expected, Reason::Split),
                "{subject}"
            );
        }
    }
}

#[test]
fn a_segment_is_any_of_all_and_one_that_is_not_defined_has_nobody() {
    let is = |attribute: &str, value: &str| json!({ "attribute": attribute, "op": "is", "values": [value] });
    let rules = rules(&json!({
        "segments": { "beta": { "any": [[is("plan", "pro"), is("country", "no")], [is("staff", "yes")]] } },
        "flags": {
            "ui": { "type": "bool", "rules": [{ "if": [{ "segment": "beta" }], "then": "on" }] },
            "other": { "type": "bool", "rules": [{ "if": [{ "segment": "gone" }], "then": "on" }] },
        },
    }));
    for (cx, expected) in [
        (EvalContext::new().with("plan", "pro").with("country", "no"), true),
        (EvalContext::new().with("plan", "pro").with("country", "se"), false),
        (EvalContext::new().with("staff", "yes"), true),
        (EvalContext::new(), false),
    ] {
        assert_eq!(rules.enabled("ui", &cx, NOW, false), Some(expected), "{cx:?}");
        assert_eq!(rules.enabled("other", &cx, NOW, false), Some(false), "{cx:?}");
    }
}

#[test]
fn an_explanation_names_the_rules_that_do_not_hold_and_the_bucket() {
    let rules = ui(&json!({ "type": "bool", "rules": [
        { "name": "pro users", "if": [{ "attribute": "plan", "op": "in", "values": ["pro", "team"] }],
          "then": "on" },
        { "split": { "on": 10, "off": 90 } },
    ] }));
    for user in 0..100 {
        let cx = EvalContext::user(format!("u{user}")).with("plan", 7);
        let explained = rules.explain("ui", &cx, NOW, false);
        let bucket = explained.bucket.unwrap();
        let has = if bucket < 90_000 { "off has 0 to 89999" } else { "on has 90000 to 99999" };
        let not = "rule 1 \"pro users\" does not hold: plan in [\"pro\",\"team\"]";
        assert_eq!(
            explained.steps,
            [
                format!("{not} (plan is the number 7)"),
                format!("rule 2 holds, and \"u{user}\" falls into bucket {bucket}: {has}"),
            ]
        );
        assert_eq!(explained.decided_by, DecidedBy::Rule { index: 1, name: None });
    }
    let unknown = rules.explain("ui", &EvalContext::user("u1"), NOW, false);
    assert!(unknown.steps[0].ends_with(" (plan is not known)"), "{:?}", unknown.steps);
}

#[test]
fn a_killed_flag_is_false_whatever_its_off_says() {
    for (variants, name) in
        [(json!({ "on": true, "no": false }), "no"), (json!({ "on": true }), "off")]
    {
        let flag = json!({
            "type": "bool", "variants": variants, "default": "on", "off": "on", "killed": true,
        });
        let rules = ui(&flag);
        assert_eq!(rules.enabled("ui", &EvalContext::new(), NOW, false), Some(false));
        assert_eq!(told(&rules, &EvalContext::new()).2.as_deref(), Some(name));
    }
}

#[test]
fn a_draft_is_evaluated_as_if_it_were_saved() {
    let mut rules = ui(&json!({ "type": "bool" }));
    let (cx, mut draft) = (EvalContext::user("u1"), Flag::bool());
    draft.default = "on".to_owned();
    let ready = rules.draft("ui", &draft);
    let previewed = rules.preview("ui", &ready, &cx, NOW);
    assert_eq!(previewed.evaluation.unwrap().value, Some(json!(true)));
    rules.overlays.set("ui", None, Some((false, None)));
    assert_eq!(rules.preview("ui", &ready, &cx, NOW).decided_by, DecidedBy::GlobalOverlay);
    draft.default = "maybe".to_owned();
    let previewed = rules.preview("ui", &rules.draft("ui", &draft), &cx, NOW);
    assert_eq!(previewed.evaluation, Err(EvalError::ParseError));
    assert!(previewed.steps[0].contains("default: expected a variant"), "{:?}", previewed.steps);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(vec!["pro", "free", "u1", "", "a"]).prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(json!(["pro", "a"])),
        Just(json!({ "nested": 1 })),
        Just(Value::Null),
    ]
}

fn any_cx() -> impl Strategy<Value = EvalContext> {
    let name = select(vec!["plan", "age", "tenant", "roles"]);
    let attributes = prop::collection::hash_map(name, any_value(), 0..4);
    let key = prop::option::of(select(vec!["u1", "u2", "", "ada"]));
    (key, attributes).prop_map(|(key, attributes)| {
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
        let mut context: serde_json::Map<String, Value> = attributes.collect();
        context.extend(key.map(|key| ("targetingKey".to_owned(), json!(key))));
        EvalContext::from_json(&context).unwrap()
    })
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let attribute = select(vec!["plan", "age", "tenant", "roles", "targetingKey"]);
    let op = select(Op::ALL.to_vec());
    let on_attribute = (attribute, op, prop::collection::vec(any_value(), 1..4))
        .prop_map(|(attribute, op, values)| Condition::Attribute {
            attribute: attribute.to_owned(),
            op,
            values,
        })
        .prop_filter("a condition that may be", |condition| condition.validate("").is_ok());
    prop_oneof![
        4 => on_attribute,
        1 => select(vec!["beta", "gone"]).prop_map(|name| Condition::Segment(name.to_owned())),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let serve = prop_oneof![
        select(vec!["on", "off"]).prop_map(|name| Serve::Then(name.to_owned())),
        (0_u32..=100_000).prop_map(|share| Serve::Split(shares(share))),
    ];
    (
        prop::option::of(Just("a rule".to_owned())),
        prop::collection::vec(any_condition(), 0..3),
        serve,
    )
        .prop_map(|(name, conditions, serve)| Rule { name, conditions, serve })
}

fn shares(on: u32) -> BTreeMap<String, Percent> {
    let on = (f64::from(on) / 1_000.0).percent();
    [("on".to_owned(), on), ("off".to_owned(), on.rest())].into()
}

fn any_flag() -> impl Strategy<Value = Flag> {
    let time =
        || {
            prop::option::of((0_u64..2_000_000).prop_map(|back_ms| {
                UNIX_EPOCH + Duration::from_millis(NOW.0 + 1_000_000 - back_ms)
            }))
        };
    let states = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (states, prop::collection::vec(any_rule(), 0..4), time(), time(), time()).prop_map(
        |((killed, is_off, has_user, has_tenant), rules, on_at, off_at, expires_at)| {
            let mut flag = Flag::bool();
            flag.killed = killed && is_off;
            flag.enabled = killed || !is_off;
            flag.rules = rules;
            flag.on_at = on_at;
            flag.off_at = off_at.filter(|off_at| on_at.is_none_or(|on_at| on_at < *off_at));
            flag.expires_at = expires_at;
            if has_user {
                flag.users.insert("u1".to_owned(), "on".to_owned());
            }
            if has_tenant {
                flag.tenants.insert("pro".to_owned(), "on".to_owned());
            }
            flag
        },
    )
}

fn any_document() -> impl Strategy<Value = Document> {
    let way = any_condition()
        .prop_filter("no segment in a segment", |one| matches!(one, Condition::Attribute { .. }));
    let any = prop::collection::vec(prop::collection::vec(way, 0..3), 0..3);
    (any_flag(), any).prop_map(|(flag, any)| {
        let mut document = Document::default();
        document.flags.insert("ui".to_owned(), flag);
        document.segments.insert("beta".to_owned(), Segment { any });
        document
    })
}

fn of_document(document: &Document) -> Rules {
    Rules { compiled: Arc::new(Compiled::new(document, 7)), overlays: Overlays::default() }
}

proptest! {
    #[test]
    fn every_way_to_ask_gives_the_same_answer(
        document in any_document(), cx in any_cx(), is_stale in any::<bool>(),
    ) {
        let rules = of_document(&document);
        let answer = rules.try_evaluate("ui", &cx, NOW, is_stale);
        let explained = rules.explain("ui", &cx, NOW, is_stale);
        prop_assert_eq!(&explained.evaluation, &answer);
        let flag = &document.flags["ui"];
        let previewed = rules.preview("ui", &rules.draft("ui", flag), &cx, NOW);
        prop_assert_eq!(previewed.decided_by, explained.decided_by);
        let value = answer.as_ref().ok().and_then(|answer| answer.value.as_ref()?.as_bool());
        prop_assert_eq!(rules.enabled("ui", &cx, NOW, is_stale), value);
        for default in [true, false] {
            let evaluation = rules.evaluate("ui", &cx, default, NOW, is_stale);
            prop_assert_eq!(evaluation.value, value.unwrap_or(default));
            if let Ok(answer) = &answer {
                prop_assert_eq!((&evaluation.variant, evaluation.reason), (&answer.variant, answer.reason));
            }
        }
    }

    #[test]
    fn a_document_decides_the_same_once_it_was_written_and_read(document in any_document(), cx in any_cx()) {
        let (read, left_out) = Document::read(document.to_json().unwrap().as_bytes()).unwrap();
        prop_assert_eq!(left_out, Vec::<String>::new());
        prop_assert_eq!(&read, &document);
        let of = |document| of_document(document).explain("ui", &cx, NOW, false);
        prop_assert_eq!(of(&read), of(&document));
    }

    #[test]
    fn whoever_was_in_a_share_stays_in_it_when_it_grows(
        user in "[a-z0-9]{1,12}", small in 0_u32..=100_000, more in 0_u32..=100_000,
    ) {
        let large = (small + more).min(100_000);
        let has = |share| {
            let mut flag = Flag::bool();
            let serve = Serve::Split(shares(share));
            flag.rules = vec![Rule { name: None, conditions: Vec::new(), serve }];
            let mut document = Document::default();
            document.flags.insert("ui".to_owned(), flag);
            of_document(&document).enabled("ui", &EvalContext::user(&user), NOW, false)
        };
        prop_assert!(has(large) >= has(small));
        prop_assert_eq!((has(0), has(100_000)), (Some(false), Some(true)));
    }
}
