//! What a flag is to be, on the command line.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const THOUSANDTHS: u32 = 100_000;
/// Takes away what was said before.
const NONE: &str = "none";

/// All of it may be left out.
#[derive(Args)]
pub struct Terms {
    /// Whether it is on, for those for whom it was, or else for everyone
    #[arg(value_parser = ["on", "off"])]
    state: Option<String>,
    /// The share of everyone else for whom it is on: 10, 12.5, 0.001
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, value_parser = percent)]
    rollout: Option<u32>,
    /// The variant of everyone else
    #[arg(long, value_name = "VARIANT", conflicts_with = "rollout")]
    default: Option<String>,
    /// The variant of a user, or none to take it away; may be repeated
    #[arg(long = "user", value_name = "ID=VARIANT", value_parser = pair)]
    users: Vec<(String, String)>,
    /// The variant of a tenant, or none to take it away; may be repeated
    #[arg(long = "of-tenant", value_name = "NAME=VARIANT", value_parser = pair)]
    tenants: Vec<(String, String)>,
    /// It is off until then (RFC 3339), or none
    #[arg(long, value_name = "TIME", value_parser = time)]
    on_at: Option<String>,
    /// It is off from then on, or none
    #[arg(long, value_name = "TIME", value_parser = time)]
    off_at: Option<String>,
    /// It is as if it were not there from then on, or none
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_at: Option<String>,
    /// When someone should ask whether it is still needed, or none
    #[arg(long, value_name = "TIME", value_parser = time)]
    stale_after: Option<String>,
    /// Who answers for it, or none
    #[arg(long, value_name = "NAME", value_parser = words)]
    owner: Option<String>,
    /// What it is for, or none
    #[arg(long, value_name = "TEXT", value_parser = words)]
    description: Option<String>,
}

impl Terms {
    /// A flag of which what is not said stays as it is.
    pub(super) fn over(&self, before: Option<Map<String, Value>>) -> Map<String, Value> {
        let mut flag = before.unwrap_or_else(|| {
            // It is off for all whom nothing is said of.
            Map::from_iter([
                ("type".to_owned(), json!("bool")),
                ("default".to_owned(), json!("off")),
            ])
        });
        if let Some(state) = &self.state {
            flag.insert("enabled".to_owned(), json!(state == "on"));
        }
        let is_bool = flag.get("type").is_some_and(|kind| kind == "bool");
        match (self.rollout, &self.default) {
            // Also those who have no id, and fall into no share.
            (Some(THOUSANDTHS), _) => {
                for_everyone_else(&mut flag, None);
                flag.insert("default".to_owned(), json!(variant(&flag, true)));
            }
            (Some(share), _) => {
                let split = split(&flag, share);
                for_everyone_else(&mut flag, Some(split));
            }
            (None, Some(variant)) => {
                flag.insert("default".to_owned(), json!(variant));
            }
            // Else it is for those for whom it was before it was switched off.
            (None, None) if self.says_only_on() && is_bool && is_for_no_one(&flag) => {
                // One that is for everyone has shown it to nobody.
                for_everyone_else(&mut flag, None);
                flag.insert("default".to_owned(), json!(variant(&flag, true)));
            }
            (None, None) => {}
        }
        for (field, pairs) in [("users", &self.users), ("tenants", &self.tenants)] {
            if !pairs.is_empty() {
                override_for(&mut flag, field, pairs);
            }
        }
        let texts = [
            ("on_at", &self.on_at),
            ("off_at", &self.off_at),
            ("expires_at", &self.expires_at),
            ("stale_after", &self.stale_after),
            ("owner", &self.owner),
            ("description", &self.description),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                let value = (text != NONE).then_some(text);
                flag.insert(field.to_owned(), json!(value));
            }
        }
        flag
    }

    /// Why not everyone sees what was said, and how they do. `at` is a key, and where it is, as a command takes them.
    pub(super) fn doubt(&self, at: &str, flag: &Value) -> Option<String> {
        let fields = flag.as_object()?;
        let everyones = fields.get("rules")?.as_array()?.iter().position(is_for_everyone);
        if let (Some(index), true) = (everyones, self.default.is_some()) {
            let nth = index + 1;
            return Some(format!(
                "rule {nth} is for everyone, so that no one gets the default: `sinew flag get {at}` has the rules, and --file sets them"
            ));
        }
        let is_on = everyones.is_none() && is_true(fields, &flag["default"]);
        if self.says_only_on() && flag["type"] == "bool" && !is_on {
            return Some(format!(
                "it is not on for everyone, but for those for whom it was: `sinew flag set {at} --rollout 100` shows it to all others"
            ));
        }
        None
    }

    /// Whether it is said for whom it is to be, but not that it is on, and someone would see it if it were.
    pub(super) fn would_be_seen(&self, flag: &Value) -> bool {
        let is_of_whom = self.rollout.is_some()
            || self.default.is_some()
            || !self.users.is_empty()
            || !self.tenants.is_empty();
        let is_for_someone =
            flag["type"] != "bool" || flag.as_object().is_some_and(|fields| !is_for_no_one(fields));
        self.state.is_none() && is_of_whom && is_for_someone
    }

    /// Whether it is to be on, without a word of for whom.
    fn says_only_on(&self) -> bool {
        self.state.as_deref() == Some("on") && self.rollout.is_none() && self.default.is_none()
    }

    /// Whether nothing is said.
    pub(super) fn are_none(&self) -> bool {
        let Self {
            state,
            rollout,
            default,
            users,
            tenants,
            on_at,
            off_at,
            expires_at,
            stale_after,
            owner,
            description,
        } = self;
        let words = [state, default, on_at, off_at, expires_at, stale_after, owner, description];
        words.iter().all(|word| word.is_none())
            && rollout.is_none()
            && users.is_empty()
            && tenants.is_empty()
    }
}

/// Whether nobody comes past a rule.
pub(super) fn is_for_everyone(rule: &Value) -> bool {
    rule["if"].as_array().is_none_or(Vec::is_empty)
}

/// What a rule for everyone says, where it is of `on` alone.
pub(super) fn share_of_on(rule: &Value) -> Option<String> {
    match (&rule["then"], &rule["split"]) {
        (Value::String(variant), _) => Some(variant.clone()),
        (_, Value::Object(split)) => Some(format!("{} %", split.get("on")?)),
        _ => None,
    }
}

/// Whether a bool flag is true for nobody, also where it is on.
fn is_for_no_one(flag: &Map<String, Value>) -> bool {
    let is_on = |value: &Value| is_true(flag, value);
    let serves = |rule: &Value| {
        let mut split = rule["split"].as_object().into_iter().flatten();
        let is_some = |share: &Value| share.as_f64().is_some_and(|share| share > 0.0);
        is_on(&rule["then"]) || split.any(|(name, share)| names_true(flag, name) && is_some(share))
    };
    let rules = flag.get("rules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let everyones = rules.iter().position(is_for_everyone);
    // Nobody comes past that one: neither to further rules, nor to the default.
    let reached = &rules[..everyones.map_or(rules.len(), |index| index + 1)];
    let overrides = ["users", "tenants"].map(|field| flag.get(field).and_then(Value::as_object));
    let is_default_on = everyones.is_none() && flag.get("default").is_some_and(is_on);
    !is_default_on
        && !reached.iter().any(serves)
        && !overrides.into_iter().flatten().flat_map(Map::values).any(is_on)
}

/// Rules after one that is for everyone are for no one.
fn for_everyone_else(flag: &mut Map<String, Value>, rule: Option<Value>) {
    let mut rules = match flag.remove("rules") {
        Some(Value::Array(rules)) => rules,
        _ => Vec::new(),
    };
    let conditional = rules.iter().position(is_for_everyone).unwrap_or(rules.len());
    rules.truncate(conditional);
    rules.extend(rule);
    flag.insert("rules".to_owned(), Value::Array(rules));
}

fn split(flag: &Map<String, Value>, share: u32) -> Value {
    let shares = [(true, share), (false, THOUSANDTHS - share)];
    let shares = shares.map(|(value, share)| (variant(flag, value), number(share)));
    json!({ "if": [], "split": Map::from_iter(shares) })
}

/// The variant of a bool flag that is true, or the one that is false.
fn variant(flag: &Map<String, Value>, value: bool) -> String {
    let variants = flag.get("variants").and_then(Value::as_object);
    let named = variants.into_iter().flatten().find(|(_, one)| **one == value);
    let usual = if value { "on" } else { "off" };
    named.map_or_else(|| usual.to_owned(), |(name, _)| name.clone())
}

/// Whether this is the name of a variant of a bool flag that is true: there may be several.
fn is_true(flag: &Map<String, Value>, variant: &Value) -> bool {
    variant.as_str().is_some_and(|name| names_true(flag, name))
}

fn names_true(flag: &Map<String, Value>, name: &str) -> bool {
    match flag.get("variants").and_then(|variants| variants.get(name)) {
        Some(value) => *value == true,
        None => name == "on",
    }
}

/// In percent, as people write it.
fn number(thousandths: u32) -> Value {
    match thousandths % 1_000 {
        0 => json!(thousandths / 1_000),
        _ => json!(f64::from(thousandths) / 1_000.0),
    }
}

fn override_for(flag: &mut Map<String, Value>, field: &str, pairs: &[(String, String)]) {
    let mut overrides = match flag.remove(field) {
        Some(Value::Object(overrides)) => overrides,
        _ => Map::new(),
    };
    for (id, variant) in pairs {
        match variant.as_str() {
            NONE => {
                overrides.remove(id);
            }
            variant => {
                overrides.insert(id.clone(), json!(variant));
            }
        }
    }
    flag.insert(field.to_owned(), Value::Object(overrides));
}

/// In thousandths of a percent.
fn percent(text: &str) -> Result<u32, String> {
    let wrong = || "expected 0 to 100, with at most 3 decimals".to_owned();
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_good = !whole.is_empty() && is_number(whole) && is_number(decimals);
    if !is_good || decimals.len() > 3 || text.ends_with('.') {
        return Err(wrong());
    }
    let thousandths = format!("{whole}{decimals:0<3}").parse::<u32>().map_err(|_| wrong())?;
    match thousandths <= THOUSANDTHS {
        true => Ok(thousandths),
        false => Err(wrong()),
    }
}

/// An empty one would be shown as a blank.
fn words(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected some text, or none".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// The last `=` separates: ids may have one.
fn pair(text: &str) -> Result<(String, String), String> {
    let parts = text.rsplit_once('=').filter(|(id, variant)| !id.is_empty() && !variant.is_empty());
    let (id, variant) = parts.ok_or_else(|| "expected one like ada=on, or ada=none".to_owned())?;
    Ok((id.to_owned(), variant.to_owned()))
}

fn time(text: &str) -> Result<String, String> {
    if text == NONE {
        return Ok(text.to_owned());
    }
    let time: Timestamp = text
        .parse()
        .map_err(|_| "expected a time like 2026-11-01T00:00:00Z, or none".to_owned())?;
    Ok(time.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        terms: Terms,
    }

    fn over(words: &[&str], before: Option<Value>) -> Value {
        let line = Line::try_parse_from([&["line"], words].concat()).ok().unwrap();
        let before = before.map(|before| before.as_object().unwrap().clone());
        Value::Object(line.terms.over(before))
    }

    #[test]
    fn a_new_flag_is_off_for_all_of_whom_nothing_is_said() {
        let new = over(&["--user", "ada=on"], None);
        assert_eq!(new, json!({ "type": "bool", "default": "off", "users": { "ada": "on" } }));
        assert_eq!(over(&["on"], None)["default"], "on");
        let tenth = over(&["on", "--rollout", "12.5"], None);
        assert_eq!((&tenth["enabled"], &tenth["default"]), (&json!(true), &json!("off")));
        assert_eq!(tenth["rules"][0]["split"], json!({ "on": 12.5, "off": 87.5 }));
    }

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let pro = json!({ "if": [{ "segment": "pro" }], "then": "on" });
        let tenth = json!({ "if": [], "split": { "on": 10, "off": 90 } });
        let before = json!({
            "type": "bool", "enabled": true, "default": "off", "rules": [pro, tenth],
            "users": { "ada": "on", "bob": "off" }, "owner": "growth", "on_at": "2026-11-01T00:00:00Z",
        });
        let off = over(&["off"], Some(before.clone()));
        assert_eq!(off["enabled"], false);
        assert_eq!(off["rules"], before["rules"]);
        let more = over(&["--rollout", "25"], Some(before.clone()));
        assert_eq!(more["rules"][0], before["rules"][0]);
        assert_eq!(more["rules"][1]["split"], json!({ "on": 25, "off": 75 }));
        assert_eq!(more["rules"].as_array().unwrap().len(), 2);
        let all = over(&["--rollout", "100"], Some(before.clone()));
        assert_eq!((&all["default"], &all["rules"]), (&json!("on"), &json!([pro])));
        for words in
            [&["on"][..], &["on", "--user", "ada=on"], &["on", "--on-at", "2026-11-01T00:00:00Z"]]
        {
            assert_eq!(over(words, Some(before.clone())), before, "{words:?}");
        }
        assert_eq!(over(&["--default", "on"], Some(before.clone()))["rules"], before["rules"]);
        let words =
            ["--user", "ada=none", "--user", "cyd=on", "--owner", "none", "--on-at", "none"];
        let changed = over(&words, Some(before.clone()));
        assert_eq!(changed["users"], json!({ "bob": "off", "cyd": "on" }));
        assert_eq!((&changed["owner"], &changed["on_at"]), (&Value::Null, &Value::Null));
        assert_eq!(over(&[], Some(before.clone())), before);
    }

    #[test]
    fn off_and_then_on_brings_back_what_was_there() {
        let flag = |fields: Value| {
            let mut flag = json!({ "type": "bool", "enabled": true, "default": "off" });
            flag.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            flag
        };
        let split = |on: u32| json!([{ "if": [], "split": { "on": on, "off": 100 - on } }]);
        let pro = json!([{ "if": [{ "segment": "pro" }], "then": "on" }]);
        // Two variants are true.
        let of_two = |fields: Value| {
            let variants = json!({ "blue": true, "teal": true, "grey": false });
            let mut flag = json!({ "variants": variants, "default": "grey", "off": "grey" });
            flag.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            flag
        };
        for fields in [
            json!({ "rules": split(10) }),
            json!({ "rules": pro }),
            json!({ "users": { "ada": "on" } }),
            json!({ "tenants": { "acme": "on", "other": "off" } }),
            json!({ "default": "on", "users": { "bob": "off" } }),
            of_two(json!({ "users": { "ada": "teal" } })),
            of_two(json!({ "rules": [{ "if": [], "split": { "teal": 10, "grey": 90 } }] })),
            of_two(json!({ "rules": [{ "if": [{ "segment": "pro" }], "then": "teal" }] })),
            of_two(json!({ "default": "teal" })),
        ] {
            let before = flag(fields);
            let off = over(&["off"], Some(before.clone()));
            assert_eq!(off["enabled"], false);
            let on = over(&["on"], Some(off));
            assert_eq!(on, before);
            assert_eq!(over(&["on"], Some(on)), before, "said twice, it is no more");
        }
        // It was for no one, and is to be on.
        for fields in [json!({}), json!({ "users": { "bob": "off" }, "rules": [] })] {
            let off = over(&["off"], Some(flag(fields)));
            assert_eq!(over(&["on"], Some(off))["default"], "on");
        }
        let pro_or = |last: Value| json!([pro[0], last]);
        let none = json!({ "if": [{ "segment": "pro" }], "split": { "on": 0, "off": 100 } });
        let then_off = json!({ "if": [], "then": "off" });
        for (rules, kept) in [
            (split(0), json!([])),
            (json!([then_off]), json!([])),
            (json!([none, then_off, pro[0]]), json!([none])),
        ] {
            for default in ["off", "on"] {
                let before = flag(json!({ "rules": rules, "default": default }));
                let on = over(&["on"], Some(over(&["off"], Some(before))));
                assert_eq!((&on["default"], &on["rules"]), (&json!("on"), &kept));
            }
        }
        let before = flag(json!({ "rules": pro_or(then_off) }));
        assert_eq!(over(&["on"], Some(before.clone())), before, "it is for some");
        let off = over(&["off"], None);
        assert_eq!((&off["enabled"], &off["default"]), (&json!(false), &json!("off")));
        assert_eq!(over(&["on"], Some(off))["default"], "on");
    }

    #[test]
    fn what_not_everyone_sees_is_told() {
        let told = |words: &[&str], flag: &Value| {
            let line = Line::try_parse_from([&["line"], words].concat()).ok().unwrap();
            line.terms.doubt("ui", flag)
        };
        let all = json!({ "type": "bool", "default": "on", "rules": [] });
        let split = json!([{ "if": [], "split": { "on": 10, "off": 90 } }]);
        let tenth = json!({ "type": "bool", "default": "on", "rules": split });
        assert_eq!(told(&["on"], &all), None);
        assert!(told(&["on"], &tenth).unwrap().contains("`sinew flag set ui --rollout 100`"));
        assert_eq!(told(&["on", "--rollout", "10"], &tenth), None);
        let variants = json!({ "blue": true, "teal": true, "grey": false });
        let teal = json!({ "type": "bool", "variants": variants, "default": "teal", "rules": [] });
        assert_eq!(told(&["on"], &teal), None);
        assert_eq!(told(&["--owner", "growth"], &tenth), None);
        assert!(told(&["--default", "on"], &tenth).unwrap().starts_with("rule 1 is for everyone"));
    }

    #[test]
    fn what_is_said_of_a_flag_that_is_off_may_be_seen_by_no_one() {
        let seen = |words: &[&str], flag: &Value| {
            let line = Line::try_parse_from([&["line"], words].concat()).ok().unwrap();
            line.terms.would_be_seen(flag)
        };
        let all = json!({ "type": "bool", "default": "on", "rules": [], "enabled": false });
        for words in [["--rollout", "100"], ["--user", "ada=on"], ["--default", "on"]] {
            assert!(seen(&words, &all), "{words:?}");
            assert!(!seen(&[&["off"], &words[..]].concat(), &all), "{words:?}");
        }
        assert!(!seen(&["--owner", "growth"], &all));
        // To switch that on would show it to everyone.
        let none = json!({ "type": "bool", "default": "off", "users": { "bob": "off" } });
        assert!(!seen(&["--user", "bob=off"], &none));
    }

    #[test]
    fn what_is_true_may_have_another_name() {
        let before = json!({ "type": "bool", "variants": { "blue": true, "grey": false } });
        let tenth = over(&["--rollout", "10"], Some(before.clone()));
        assert_eq!(tenth["rules"][0]["split"], json!({ "blue": 10, "grey": 90 }));
        assert_eq!(over(&["on"], Some(before))["default"], "blue");
    }

    #[test]
    fn a_flag_of_another_type_keeps_its_variants() {
        let before = json!({ "type": "string", "default": "a", "rules": [], "enabled": false });
        let on = over(&["on"], Some(before.clone()));
        assert_eq!((&on["enabled"], &on["default"]), (&json!(true), &json!("a")));
        assert_eq!(over(&["--default", "b"], Some(before))["default"], "b");
    }

    #[test]
    fn shares_have_three_decimals_at_most() {
        for (text, expected) in [
            ("0", 0),
            ("10", 10_000),
            ("12.5", 12_500),
            ("0.001", 1),
            ("99.999", 99_999),
            ("100", 100_000),
        ] {
            assert_eq!(percent(text), Ok(expected));
        }
        for bad in ["", ".5", "5.", "100.001", "-1", "1e1", "0.0001", "1,5", "99999999999"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
        assert_eq!(number(12_345).to_string(), "12.345");
        assert_eq!(number(100_000).to_string(), "100");
    }

    #[test]
    fn ids_may_have_an_equals_sign_and_times_are_those_of_a_calendar() {
        assert_eq!(pair("a=b=on"), Ok(("a=b".to_owned(), "on".to_owned())));
        for bad in ["ada", "=on", "ada="] {
            assert!(pair(bad).is_err(), "{bad}");
        }
        assert_eq!(time("2026-11-01T01:00:00+01:00"), Ok("2026-11-01T00:00:00Z".to_owned()));
        for bad in ["tomorrow", "2026-11-01", "2026-13-01T00:00:00Z"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert_eq!((words("growth"), words(" ").is_err()), (Ok("growth".to_owned()), true));
    }
}
