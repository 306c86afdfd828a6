//! A flag as its form has it: text, of which not all need be right yet.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sinew::flag::{Flag, Percent, PercentExt as _};

use crate::duration;

/// What a flag is of, as the form names it.
pub(super) const KINDS: [&str; 4] = ["bool", "string", "number", "json"];
/// The fields in which something may be wrong.
pub(super) const FIELDS: [&str; 14] = [
    "type",
    "variants",
    "default",
    "off",
    "rollout",
    "rules",
    "users",
    "tenants",
    "on_at",
    "off_at",
    "expires_at",
    "stale_after",
    "owner",
    "description",
];
const MAPS: [&str; 3] = ["variants", "users", "tenants"];
const TIMES: [&str; 4] = ["on_at", "off_at", "expires_at", "stale_after"];

/// What the form says, and what is asked beside it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) variants: String,
    pub(super) default: String,
    pub(super) off: String,
    pub(super) enabled: bool,
    pub(super) killed: bool,
    /// The share of `on` among those whom no rule is about; empty where the last rule gives none.
    pub(super) rollout: String,
    pub(super) rollout_name: String,
    pub(super) rules: String,
    pub(super) users: String,
    pub(super) tenants: String,
    pub(super) on_at: String,
    pub(super) off_at: String,
    pub(super) expires_at: String,
    pub(super) stale_after: String,
    pub(super) owner: String,
    pub(super) description: String,
    /// Of what was shown; empty where there was no flag.
    pub(super) revision: String,
    /// One a line: an id and attributes.
    pub(super) samples: String,
    /// What made-up ids have for attributes.
    pub(super) crowd: String,
}

/// What is wrong in a field.
#[derive(Debug, PartialEq)]
pub(super) struct FieldFault {
    pub(super) field: &'static str,
    pub(super) what: String,
}

impl Typed {
    /// A flag as the form shows it.
    pub(super) fn of(flag: &Value) -> Self {
        let text = |name: &str| flag[name].as_str().unwrap_or_default().to_owned();
        let map = |name: &str| match &flag[name] {
            Value::Object(map) if !map.is_empty() => pretty(&flag[name]),
            _ => String::new(),
        };
        let (rules, rollout) = apart(flag);
        let share = rollout.map(|(share, _)| json!(share).to_string());
        let name = rollout.and_then(|(_, name)| name);
        Self {
            kind: text("type"),
            variants: map("variants"),
            default: text("default"),
            off: text("off"),
            enabled: flag["enabled"].as_bool().unwrap_or(true),
            killed: flag["killed"].as_bool().unwrap_or(false),
            rollout: share.unwrap_or_default(),
            rollout_name: name.unwrap_or_default().to_owned(),
            rules: if rules.is_empty() { String::new() } else { pretty(&json!(rules)) },
            users: map("users"),
            tenants: map("tenants"),
            on_at: text("on_at"),
            off_at: text("off_at"),
            expires_at: text("expires_at"),
            stale_after: text("stale_after"),
            owner: text("owner"),
            description: text("description"),
            revision: flag["revision"].as_u64().map(|n| n.to_string()).unwrap_or_default(),
            samples: String::new(),
            crowd: String::new(),
        }
    }

    /// The form of a flag that is not there yet.
    pub(super) fn new() -> Self {
        Self::of(&json!({ "type": "bool", "default": "off", "off": "off", "enabled": true }))
    }

    /// The flag that is typed.
    ///
    /// # Errors
    /// What is wrong, field by field.
    pub(super) fn flag(&self, now: Timestamp) -> Result<Flag, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let mut fault = |field, what| faults.push(FieldFault { field, what });
        if !KINDS.contains(&self.kind.as_str()) {
            fault("type", format!("invalid type: expected one of {}", KINDS.join(", ")));
        }
        let mut flag = Map::new();
        flag.insert("type".to_owned(), json!(self.kind));
        flag.insert("enabled".to_owned(), json!(self.enabled));
        flag.insert("killed".to_owned(), json!(self.killed));
        for (field, text) in [
            ("default", &self.default),
            ("off", &self.off),
            ("owner", &self.owner),
            ("description", &self.description),
        ] {
            if !text.trim().is_empty() {
                flag.insert(field.to_owned(), json!(text.trim()));
            }
        }
        for (field, text) in MAPS.iter().zip([&self.variants, &self.users, &self.tenants]) {
            match map(text) {
                Ok(map) if map.is_empty() => {}
                Ok(map) => {
                    flag.insert((*field).to_owned(), Value::Object(map));
                }
                Err(what) => fault(*field, what),
            }
        }
        let times = [&self.on_at, &self.off_at, &self.expires_at, &self.stale_after];
        for (field, text) in TIMES.iter().zip(times) {
            match time(text, now) {
                Ok(None) => {}
                Ok(Some(time)) => {
                    flag.insert((*field).to_owned(), json!(time.to_string()));
                }
                Err(what) => fault(*field, what),
            }
        }
        let mut all_rules = Vec::new();
        match rules(&self.rules) {
            Ok(rules) => all_rules.extend(rules),
            Err(what) => fault("rules", what),
        }
        match self.rollout() {
            Ok(rollout) => all_rules.extend(rollout),
            Err(what) => fault("rollout", what),
        }
        flag.insert("rules".to_owned(), Value::Array(all_rules));
        match faults.is_empty() {
            true => read(&Value::Object(flag)),
            false => Err(faults),
        }
    }

    /// The rule that the share of `on` makes.
    fn rollout(&self) -> Result<Option<Value>, String> {
        let text = self.rollout.trim();
        if self.kind != "bool" || text.is_empty() {
            return Ok(None);
        }
        let share = text.parse::<f64>().ok().map(f64::percent);
        let share = share.filter(|share| share.thousandths().is_ok()).ok_or_else(|| {
            format!("invalid share {text:?}: expected 0 to 100 with at most 3 decimals, or nothing")
        })?;
        let mut rule = json!({ "if": [], "split": { "on": share, "off": share.rest() } });
        if !self.rollout_name.is_empty() {
            rule["name"] = json!(self.rollout_name);
        }
        Ok(Some(rule))
    }
}

/// A flag as JSON. Only what was never checked cannot be written.
pub(super) fn written(flag: &Flag) -> Value {
    serde_json::to_value(flag).unwrap_or_default()
}

/// The rules without the last one where that only gives everyone else a share of `on`; and that.
fn apart(flag: &Value) -> (&[Value], Option<(Percent, Option<&str>)>) {
    let rules = flag["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let apart = rules.split_last().and_then(|(last, rest)| Some((rest, rollout(last)?)));
    match apart {
        Some((rest, rollout)) if flag["type"] == "bool" => (rest, Some(rollout)),
        _ => (rules, None),
    }
}

/// The share of `on` that a rule gives of everyone, and the rule's name.
pub(super) fn rollout(rule: &Value) -> Option<(Percent, Option<&str>)> {
    let is_of_all = rule["if"].as_array().is_none_or(Vec::is_empty);
    let split = rule["split"].as_object().filter(|_| is_of_all)?;
    let is_of_two = split.keys().all(|variant| variant == "on" || variant == "off");
    let share = split.get("on").cloned().unwrap_or(json!(0));
    let share = serde_json::from_value(share).ok().filter(|_| is_of_two)?;
    Some((share, rule["name"].as_str()))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn map(text: &str) -> Result<Map<String, Value>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text)
        .map_err(|error| expected(&error, r#"a JSON object like {"u1": "on"}"#))
}

fn rules(text: &str) -> Result<Vec<Value>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).map_err(|error| {
        let example =
            r#"[{"if": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "then": "on"}]"#;
        expected(&error, &format!("a JSON list like {example}"))
    })
}

fn expected(error: &serde_json::Error, what: &str) -> String {
    format!("line {}, column {}: expected {what}", error.line(), error.column())
}

/// A time as people write it: in UTC unless an offset is said; a duration counts from now.
fn time(text: &str, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let in_utc = || {
        let civil = text.parse::<DateTime>().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let from_now = || {
        let later = now.checked_add(duration::parse(text).ok()?).ok()?;
        Timestamp::from_second(later.as_second()).ok()
    };
    let time = text.parse::<Timestamp>().ok().or_else(in_utc).or_else(from_now);
    time.map(Some).ok_or_else(|| {
        format!(
            "invalid time {text:?}: expected one in UTC like 2026-11-01T09:00:00Z or 2026-11-01 09:00, or a duration from now like 7d",
        )
    })
}

/// A flag as JSON, read.
///
/// # Errors
/// What is wrong, and in which field.
fn read(flag: &Value) -> Result<Flag, Vec<FieldFault>> {
    let read = match serde_json::from_value::<Flag>(flag.clone()) {
        Ok(read) => read,
        Err(error) => {
            let what = error.to_string();
            let (field, place) = culprit(flag).unwrap_or_else(|| (named_in(&what), String::new()));
            return Err(vec![FieldFault { field, what: format!("{place}{what}") }]);
        }
    };
    match read.validate() {
        Ok(()) => Ok(read),
        Err(error) => {
            let what = error.to_string();
            Err(vec![FieldFault { field: named_in(&what), what }])
        }
    }
}

/// The field without which a flag could be read, and where in it: serde's words do not say that.
fn culprit(flag: &Value) -> Option<(&'static str, String)> {
    let is_read = |flag: Value| serde_json::from_value::<Flag>(flag).is_ok();
    let with = |field: &str, value: Option<Value>| {
        let mut other = flag.clone();
        if let Some(fields) = other.as_object_mut() {
            fields.remove(field);
            fields.extend(value.map(|value| (field.to_owned(), value)));
        }
        other
    };
    let is_culprit = |field: &str| !flag[field].is_null() && is_read(with(field, None));
    let field = FIELDS.into_iter().find(|&field| is_culprit(field))?;
    let rules = flag["rules"].as_array().filter(|_| field == "rules");
    let is_wrong = |rule: &Value| !is_read(with("rules", Some(json!([rule]))));
    let at = rules.and_then(|rules| rules.iter().position(is_wrong));
    Some((field, at.map(|at| format!("rule {}: ", at + 1)).unwrap_or_default()))
}

/// The first field that the words for a fault name, be it one of several.
fn named_in(what: &str) -> &'static str {
    let words = what.split(|c: char| !(c.is_ascii_alphabetic() || c == '_'));
    let named = |word: &str| {
        FIELDS.into_iter().find(|field| *field == word || field.strip_suffix('s') == Some(word))
    };
    words.filter(|word| !word.is_empty()).find_map(named).unwrap_or("type")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn bool_flag(rules: &Value) -> Value {
        json!({
            "type": "bool", "default": "off", "off": "off", "enabled": true, "killed": false, "rules": rules,
            "users": { "u1": "on" }, "on_at": "2026-11-01T00:00:00Z", "owner": "growth", "revision": 7,
        })
    }

    /// What of a flag comes back from its form.
    fn again(flag: &Value) -> Value {
        written(&Typed::of(flag).flag(NOW).unwrap())
    }

    #[test]
    fn what_the_form_shows_is_the_flag_that_it_says() {
        let condition = json!({ "attribute": "plan", "op": "in", "values": ["pro"] });
        let pro = json!({ "name": "pro", "if": [condition], "then": "on" });
        let share = |on, off| json!({ "if": [], "split": { "on": on, "off": off } });
        let named = json!({ "name": "a tenth", "if": [], "split": { "on": 10, "off": 90 } });
        for rules in [
            json!([]),
            json!([pro]),
            json!([share(json!(12.345), json!(87.655))]),
            json!([pro, share(json!(0), json!(100))]),
            json!([named, pro, named]),
        ] {
            let read = again(&bool_flag(&rules));
            assert_eq!(read["rules"].as_array().map(Vec::len), rules.as_array().map(Vec::len));
            for field in ["default", "users", "on_at", "owner"] {
                assert_eq!(read[field], bool_flag(&rules)[field], "{field}");
            }
            let typed = Typed { revision: String::new(), ..Typed::of(&bool_flag(&rules)) };
            let of_read = Typed { revision: String::new(), ..Typed::of(&read) };
            // The order of an object's members says nothing.
            let value = |rules: &str| serde_json::from_str::<Value>(rules).ok();
            assert_eq!(value(&of_read.rules), value(&typed.rules), "{rules}");
            assert_eq!(of_read.rollout, typed.rollout, "{rules}");
        }
        let typed = Typed::of(&bool_flag(&json!([pro, named])));
        assert_eq!((typed.rollout.as_str(), typed.rollout_name.as_str()), ("10", "a tenth"));
        assert!(
            typed.rules.contains("plan") && !typed.rules.contains("a tenth"),
            "{}",
            typed.rules
        );
        // A rule that is about someone is no share of everyone else.
        let some = json!({ "if": [{ "segment": "beta" }], "split": { "on": 10, "off": 90 } });
        assert_eq!(Typed::of(&bool_flag(&json!([some]))).rollout, "");
    }

    #[test]
    fn what_is_wrong_is_said_at_its_field() {
        let good = Typed::of(&bool_flag(&json!([])));
        let said = |typed: Typed| {
            let faults = typed.flag(NOW).unwrap_err();
            faults.into_iter().map(|fault| (fault.field, fault.what)).collect::<Vec<_>>()
        };
        for (typed, field, words) in [
            (Typed { rollout: "101".into(), ..good.clone() }, "rollout", "expected 0 to 100"),
            (Typed { rollout: "1.2345".into(), ..good.clone() }, "rollout", "3 decimals"),
            (Typed { rules: "[{".into(), ..good.clone() }, "rules", "line 1, column 2: expected"),
            (Typed { rules: "{}".into(), ..good.clone() }, "rules", "expected a JSON list"),
            (Typed { users: "u1: on".into(), ..good.clone() }, "users", "expected a JSON object"),
            (Typed { off_at: "soon".into(), ..good.clone() }, "off_at", "expected one in UTC"),
            (Typed { kind: "text".into(), ..good.clone() }, "type", "expected one of"),
        ] {
            let said = said(typed);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].0 == field && said[0].1.contains(words), "{field}: {said:?}");
        }
        let rules = r#"[{"if": [], "then": "on"}, {"if": [], "then": "on", "whom": "all"}]"#;
        let said_of_rules = said(Typed { rules: rules.into(), ..good.clone() });
        assert_eq!(said_of_rules[0].0, "rules");
        assert!(said_of_rules[0].1.starts_with("rule 2: "), "{said_of_rules:?}");
        let both = said(Typed { rules: "x".into(), on_at: "x".into(), ..good });
        assert_eq!(both.iter().map(|(field, _)| *field).collect::<Vec<_>>(), ["on_at", "rules"]);
    }

    #[test]
    fn times_are_in_utc_or_count_from_now() {
        let told = |text: &str| time(text, NOW).unwrap().map(|time| time.to_string());
        assert_eq!(told(" "), None);
        assert_eq!(told("2026-11-01T09:00:00+02:00").as_deref(), Some("2026-11-01T07:00:00Z"));
        assert_eq!(told("2026-11-01 09:00").as_deref(), Some("2026-11-01T09:00:00Z"));
        assert_eq!(told("2026-11-01").as_deref(), Some("2026-11-01T00:00:00Z"));
        assert_eq!(told("1d 12h").as_deref(), Some("1970-01-02T12:00:00Z"));
        assert!(time("tomorrow", NOW).unwrap_err().contains("expected one in UTC"));
    }

    #[test]
    fn a_fault_is_at_the_field_that_its_words_name_first() {
        assert_eq!(named_in("rule 2: no variant \"blue\""), "rules");
        assert_eq!(named_in("invalid off_at: expected a time after on_at"), "off_at");
        assert_eq!(named_in("user u1: expected a variant"), "users");
        assert_eq!(named_in("too large"), "type");
    }
}
