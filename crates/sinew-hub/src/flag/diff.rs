//! What a change has changed, for people.

use std::collections::BTreeSet;

use serde_json::Value;

/// More of a value is not shown.
const VALUE_CHARS_MAX: usize = 60;
/// More lines are not shown.
const LINES_MAX: usize = 200;
/// It changes with every change.
const REVISION: &str = "revision";

/// A line for each part that is another than before: `rules[0].split.on: 10 → 25`.
pub(crate) fn lines(before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", before, after, &mut lines);
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("… and {more} more"));
    }
    lines
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(_)), Some(Value::Object(_)) | None)
        | (None, Some(Value::Object(_))) => {
            let fields = [before, after].into_iter().filter_map(|value| value?.as_object());
            let names: BTreeSet<&String> = fields.flat_map(|fields| fields.keys()).collect();
            for name in names.into_iter().filter(|name| !path.is_empty() || *name != REVISION) {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                compare(&path, field(before, name), field(after, name), lines);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for at in 0..old.len().max(new.len()) {
                compare(&format!("{path}[{at}]"), old.get(at), new.get(at), lines);
            }
        }
        // What says nothing is as good as not there.
        (None, Some(value)) | (Some(value), None) if is_nothing(value) => {}
        _ => lines.push(format!("{path}: {} → {}", shown(before), shown(after))),
    }
}

fn field<'a>(value: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    value?.get(name)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_where_and_from_what_to_what() {
        let before = json!({
            "enabled": true, "default": "off", "revision": 1,
            "rules": [{ "split": { "on": 10, "off": 90 } }], "users": { "ada": "on" },
        });
        let mut after = before.clone();
        after["revision"] = json!(2);
        assert!(lines(Some(&before), Some(&after)).is_empty());
        after["rules"][0]["split"] = json!({ "on": 25.5, "off": 74.5 });
        after["users"] = json!({});
        after["owner"] = Value::Null;
        after["rules"].as_array_mut().unwrap().push(json!({ "then": "on" }));
        let expected = [
            "rules[0].split.off: 90 → 74.5",
            "rules[0].split.on: 10 → 25.5",
            "rules[1].then: – → \"on\"",
            "users.ada: \"on\" → –",
        ];
        assert_eq!(lines(Some(&before), Some(&after)), expected);
    }

    #[test]
    fn what_is_new_or_gone_is_told_field_by_field_and_in_bounds() {
        let flag = json!({ "type": "bool", "users": {}, "description": "ä".repeat(100) });
        let new = lines(None, Some(&flag));
        assert_eq!(new.len(), 2, "{new:?}");
        assert!(new[0].starts_with("description: – → \"ää") && new[0].ends_with("ä…"), "{new:?}");
        assert_eq!(new[1], "type: – → \"bool\"");
        assert_eq!(lines(Some(&flag), None)[1], "type: \"bool\" → –");
        let many: Vec<usize> = (0..LINES_MAX + 3).collect();
        let many = lines(Some(&json!([])), Some(&json!(many)));
        assert_eq!((many.len(), many[LINES_MAX].as_str()), (LINES_MAX + 1, "… and 3 more"));
        assert!(lines(None, None).is_empty());
    }
}
