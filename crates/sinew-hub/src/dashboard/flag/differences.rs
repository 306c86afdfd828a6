//! What differs between two flags, field by field, as people read it.

use std::collections::BTreeMap;

use askama::Template;
use serde_json::Value;

use crate::dashboard::show::visible;

/// How many are shown.
const SHOWN_MAX: usize = 50;
/// What of a value is shown.
const CHARS_MAX: usize = 300;

/// The fields that differ.
#[derive(Debug, Template)]
#[template(path = "flag_differences.html")]
pub(super) struct Differences {
    pub(super) rows: Vec<Difference>,
    /// How many there are beside those that are shown.
    pub(super) more: usize,
}

/// A field before and after; `None` where there is none.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Differences {
    /// Between two flags as JSON; `None` is one that is not there.
    pub(super) fn between(before: Option<&Value>, after: Option<&Value>) -> Self {
        let (mut before, after) = (fields(before), fields(after));
        let mut rows = Vec::new();
        for (field, after) in after {
            let before = before.remove(&field);
            if before.as_ref() != Some(&after) {
                rows.push(Difference { field, before, after: Some(after) });
            }
        }
        let gone = |(field, before)| Difference { field, before: Some(before), after: None };
        rows.extend(before.into_iter().map(gone));
        rows.sort_by(|a, b| a.field.cmp(&b.field));
        let more = rows.len().saturating_sub(SHOWN_MAX);
        rows.truncate(SHOWN_MAX);
        Self { rows: rows.into_iter().map(Difference::shown).collect(), more }
    }
}

impl Difference {
    fn shown(self) -> Self {
        Self {
            field: shown(&self.field),
            before: self.before.as_deref().map(shown),
            after: self.after.as_deref().map(shown),
        }
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(text),
    }
}

/// The fields of a flag with what they are, lists and maps taken apart.
fn fields(flag: Option<&Value>) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for (name, value) in flag.and_then(Value::as_object).into_iter().flatten() {
        match (name.as_str(), value) {
            // It differs every time.
            ("revision", _) | (_, Value::Null) => {}
            ("rules", Value::Array(rules)) => {
                let rules = rules.iter().zip(1_usize..);
                fields.extend(rules.map(|(rule, n)| (format!("rule {n}"), rule_in_words(rule))));
            }
            ("users" | "tenants" | "variants", Value::Object(map)) => {
                let one = name.trim_end_matches('s');
                fields.extend(map.iter().map(|(key, value)| (format!("{one} {key}"), text(value))));
            }
            (name, value) => {
                fields.insert(name.replace('_', " "), text(value));
            }
        }
    }
    fields
}

/// A rule as a sentence says it.
fn rule_in_words(rule: &Value) -> String {
    let conditions = rule["if"].as_array().map(Vec::as_slice).unwrap_or_default();
    let conditions: Vec<String> = conditions.iter().map(condition_in_words).collect();
    let whom = match conditions.as_slice() {
        [] => "everyone".to_owned(),
        all => format!("if {}", all.join(" and ")),
    };
    let what = match (&rule["then"], rule["split"].as_object()) {
        (Value::String(variant), _) => variant.clone(),
        (_, Some(split)) => {
            let shares =
                split.iter().map(|(variant, share)| format!("{} % {variant}", text(share)));
            shares.collect::<Vec<_>>().join(", ")
        }
        _ => return rule.to_string(),
    };
    match rule["name"].as_str() {
        Some(name) => format!("{name}: {whom}: {what}"),
        None => format!("{whom}: {what}"),
    }
}

fn condition_in_words(condition: &Value) -> String {
    if let Some(segment) = condition["segment"].as_str() {
        return format!("in segment {segment}");
    }
    let (attribute, op) = (condition["attribute"].as_str(), condition["op"].as_str());
    let (Some(attribute), Some(op)) = (attribute, op) else { return condition.to_string() };
    let values = condition["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let values: Vec<String> = values.iter().map(text).collect();
    format!("{attribute} {} {}", op.replace('_', " "), values.join(", "))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
        let told = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
        let rows = Differences::between(before, after).rows;
        rows.iter()
            .map(|d| format!("{} {} > {}", d.field, told(&d.before), told(&d.after)))
            .collect()
    }

    #[test]
    fn only_what_differs_is_told_and_that_in_words() {
        let before = json!({
            "type": "bool", "enabled": true, "owner": null, "revision": 1, "users": { "u1": "on" },
            "rules": [{ "if": [{ "attribute": "plan", "op": "not_in", "values": ["pro", 7] }], "then": "on" }],
        });
        let after = json!({
            "type": "bool", "enabled": false, "owner": "growth", "revision": 2,
            "rules": [
                { "name": "pro", "if": [{ "segment": "beta" }, { "attribute": "age", "op": "at_least", "values": [18] }], "then": "on" },
                { "if": [], "split": { "off": 87.5, "on": 12.5 } },
            ],
        });
        assert_eq!(
            told(Some(&before), Some(&after)),
            [
                "enabled true > false",
                "owner – > growth",
                "rule 1 if plan not in pro, 7: on > pro: if in segment beta and age at least 18: on",
                "rule 2 – > everyone: 87.5 % off, 12.5 % on",
                "user u1 on > –",
            ]
        );
        assert!(told(Some(&before), Some(&before)).is_empty());
        assert_eq!(told(None, Some(&json!({ "on_at": "x" }))), ["on at – > x"]);
        assert_eq!(told(Some(&json!({ "owner": "a\u{0}" })), None), ["owner a\\u{0} > –"]);
    }

    #[test]
    fn what_is_told_is_bounded() {
        let users: serde_json::Map<String, Value> =
            (0..60).map(|n| (format!("u{n}"), json!("x".repeat(1_000)))).collect();
        let differences = Differences::between(None, Some(&json!({ "users": users })));
        assert_eq!((differences.rows.len(), differences.more), (SHOWN_MAX, 10));
        let longest = differences.rows[0].after.as_ref().map(|after| after.chars().count());
        assert_eq!(longest, Some(CHARS_MAX + 1));
    }
}
