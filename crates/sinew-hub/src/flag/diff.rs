//! What differs between two flags, or two segments, part by part, as people read it.

use std::collections::BTreeMap;

use serde_json::Value;

/// More of a value is not shown.
const CHARS_MAX: usize = 300;
/// So much is shown of what both sides have in common where they differ late.
const COMMON_CHARS_MAX: usize = 40;
/// More lines are not shown.
const LINES_MAX: usize = 200;

/// A part before and after; `None` where there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) part: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// Between two of them as JSON; `None` is one that is not there.
pub(crate) fn between(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let (mut before, after) = (parts(before), parts(after));
    let mut differences = Vec::new();
    for (part, after) in after {
        let before = before.remove(&part);
        if before.as_ref() != Some(&after) {
            differences.push(Difference { part, before, after: Some(after) });
        }
    }
    let gone = |(part, before)| Difference { part, before: Some(before), after: None };
    differences.extend(before.into_iter().map(gone));
    differences.sort_by(|a, b| a.part.cmp(&b.part));
    differences
}

/// The same as lines: `rule 1: everyone: 90 % off, 10 % on → everyone: 75 % off, 25 % on`.
pub(crate) fn lines(before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
    let differences = between(before, after);
    let more = differences.len().saturating_sub(LINES_MAX);
    let shown = differences.iter().take(LINES_MAX);
    let mut lines: Vec<String> = shown.map(Difference::line).collect();
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}

impl Difference {
    fn line(&self) -> String {
        let Self { part, before, after } = self.shortened();
        let shown = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        format!("{part}: {} → {}", shown(before), shown(after))
    }

    /// What is shown of it: both sides from where they begin to differ, if that is late.
    pub(crate) fn shortened(&self) -> Self {
        let skipped = match (&self.before, &self.after) {
            (Some(before), Some(after)) => skipped(before, after),
            _ => 0,
        };
        let shown = |text: &String| match skipped {
            0 => beginning(text),
            _ => format!("…{}", beginning(&text.chars().skip(skipped).collect::<String>())),
        };
        Self {
            part: beginning(&self.part),
            before: self.before.as_ref().map(shown),
            after: self.after.as_ref().map(shown),
        }
    }
}

/// How many characters two texts have in common that need not be shown.
fn skipped(before: &str, after: &str) -> usize {
    let common = before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count();
    match common > CHARS_MAX / 2 {
        true => common - COMMON_CHARS_MAX,
        false => 0,
    }
}

/// What is shown of a text.
fn beginning(text: &str) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// All parts with what they are, lists and maps taken apart.
fn parts(of: Option<&Value>) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    for (name, value) in of.and_then(Value::as_object).into_iter().flatten() {
        match (name.as_str(), value) {
            // It differs every time.
            ("revision", _) | (_, Value::Null) => {}
            ("rules", Value::Array(rules)) => parts.extend(numbered("rule", rules, rule_in_words)),
            ("any", Value::Array(ways)) => parts.extend(numbered("way", ways, conditions_in_words)),
            ("users" | "tenants" | "variants", Value::Object(map)) => {
                let one = name.trim_end_matches('s');
                parts.extend(map.iter().map(|(key, value)| (format!("{one} {key}"), text(value))));
            }
            (name, value) => {
                parts.insert(name.replace('_', " "), text(value));
            }
        }
    }
    parts
}

fn numbered(
    one: &str,
    all: &[Value],
    in_words: impl Fn(&Value) -> String,
) -> impl Iterator<Item = (String, String)> {
    all.iter().zip(1_usize..).map(move |(value, n)| (format!("{one} {n}"), in_words(value)))
}

/// A rule as a sentence says it.
fn rule_in_words(rule: &Value) -> String {
    let whom = match conditions_in_words(&rule["if"]) {
        none if none.is_empty() => "everyone".to_owned(),
        all => format!("if {all}"),
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

/// All that have to hold.
fn conditions_in_words(conditions: &Value) -> String {
    let conditions = conditions.as_array().into_iter().flatten();
    conditions.map(condition_in_words).collect::<Vec<_>>().join(" and ")
}

fn condition_in_words(condition: &Value) -> String {
    if let Some(segment) = condition["segment"].as_str() {
        return format!("in segment {segment}");
    }
    let (attribute, op) = (condition["attribute"].as_str(), condition["op"].as_str());
    let (Some(attribute), Some(op)) = (attribute, op) else { return condition.to_string() };
    let values = condition["values"].as_array().into_iter().flatten();
    let values: Vec<String> = values.map(text).collect();
    format!("{attribute} {} {}", op.replace('_', " "), values.join(", "))
}

/// A text that reads like a number or the like stands in quotes.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) if serde_json::from_str::<Value>(text).is_err() => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_told_and_that_in_words() {
        let before = json!({
            "type": "bool", "enabled": true, "owner": null, "revision": 1, "users": { "u1": "on" },
            "rules": [{ "if": [{ "attribute": "plan", "op": "not_in", "values": ["pro", 7] }], "then": "on" }],
        });
        let after = json!({
            "type": "bool", "enabled": false, "owner": "growth", "revision": 2, "users": {},
            "rules": [
                { "name": "pro", "if": [{ "segment": "beta" }, { "attribute": "age", "op": "at_least", "values": [18] }], "then": "on" },
                { "if": [], "split": { "off": 87.5, "on": 12.5 } },
            ],
        });
        assert_eq!(
            lines(Some(&before), Some(&after)),
            [
                "enabled: true → false",
                "owner: – → growth",
                "rule 1: if plan not in pro, 7: on → pro: if in segment beta and age at least 18: on",
                "rule 2: – → everyone: 87.5 % off, 12.5 % on",
                "user u1: on → –",
            ]
        );
        let mut again = before.clone();
        again["revision"] = json!(2);
        assert!(lines(Some(&before), Some(&again)).is_empty());
        assert!(lines(None, None).is_empty());
    }

    #[test]
    fn a_text_is_told_from_what_it_reads_like() {
        let [before, after] = [json!("7"), json!(7)]
            .map(|seats| json!({ "variants": { "few": seats, "many": "a lot" } }));
        assert_eq!(lines(Some(&before), Some(&after)), [r#"variant few: "7" → 7"#]);
        assert_eq!(lines(None, Some(&after))[1], "variant many: – → a lot");
    }

    #[test]
    fn a_segment_is_told_way_by_way() {
        let plan = |plan: &str| json!([{ "attribute": "plan", "op": "is", "values": [plan] }]);
        let before = json!({ "any": [plan("pro")] });
        let after = json!({ "any": [plan("pro"), plan("team")] });
        assert_eq!(lines(Some(&before), Some(&after)), ["way 2: – → plan is team"]);
        assert_eq!(lines(Some(&before), None), ["way 1: plan is pro → –"]);
    }

    #[test]
    fn what_differs_late_is_told_from_shortly_before() {
        let rule = |count: u32, then: &str| {
            let values: Vec<String> = (0..count).map(|n| format!("user-{n}")).collect();
            let condition = json!({ "attribute": "targetingKey", "op": "in", "values": values });
            json!({ "rules": [{ "if": [condition], "then": then }] })
        };
        let one_more = lines(Some(&rule(100, "on")), Some(&rule(101, "on")));
        assert_eq!(one_more.len(), 1);
        let (before, after) = one_more[0].split_once(" → ").unwrap();
        assert!(before.starts_with("rule 1: …") && before.ends_with("user-99: on"), "{before}");
        assert!(after.starts_with('…') && after.ends_with("user-99, user-100: on"), "{after}");
        let variant = lines(Some(&rule(100, "ön")), Some(&rule(100, "on")));
        let (before, after) = variant[0].split_once(" → ").unwrap();
        assert!(before.ends_with(": ön") && after.ends_with(": on"), "{variant:?}");
    }

    #[test]
    fn what_is_told_is_bounded() {
        let users: serde_json::Map<String, Value> =
            (0..LINES_MAX + 3).map(|n| (format!("u{n}"), json!("ä".repeat(1_000)))).collect();
        let many = lines(None, Some(&json!({ "users": users })));
        assert_eq!((many.len(), many[LINES_MAX].as_str()), (LINES_MAX + 1, "… and 3 more"));
        assert_eq!(many[0], format!("user u0: – → {}…", "ä".repeat(CHARS_MAX)));
    }
}
