//! All flags of a place, and the plain keys beside them.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sinew::flag::{Flags, FlagsState, Overlay};

use super::extract::{OfFlags, Place, is_key};
use super::form::{rollout, written};
use crate::dashboard::extract::Asked;
use crate::dashboard::show::{Fault, render, visible};
use crate::duration;
use crate::hub::Hub;

/// How many plain keys are shown.
const OVERLAYS_SHOWN_MAX: usize = 200;
/// In a table, of what is not there.
const NONE: &str = "–";

#[derive(Template)]
#[template(path = "flags.html")]
struct Page {
    has_tenants: bool,
    place: Place,
    query: String,
    /// Of all rules, as the page tells changes by.
    revision: String,
    /// Why what is shown may not be what is saved.
    notice: Option<String>,
    wanted: String,
    rows: Vec<Row>,
    /// Those that are shown.
    overlays: Vec<PlainKey>,
    overlays_more: usize,
    /// The name that someone typed.
    opened: String,
    fault: Option<&'static str>,
}

struct Row {
    key: String,
    kind: String,
    standing: String,
    is_killed: bool,
    owner: String,
    changed: String,
    is_overdue: bool,
}

/// A plain key, and for whom it decides.
pub(super) struct PlainKey {
    pub(super) key: String,
    /// Whether it can have a page.
    pub(super) is_key: bool,
    pub(super) whom: String,
    pub(super) value: bool,
    pub(super) left: String,
}

#[derive(Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    q: String,
    #[serde(default)]
    open: String,
}

/// All flags; or, where one is named, that one: it need not be defined yet.
pub(super) async fn page(
    State(hub): State<Hub>,
    OfFlags { flags, place, .. }: OfFlags,
    Asked(Query { q, open }): Asked<Query>,
) -> Result<Response, Fault> {
    let (wanted, opened) = (q.trim().to_lowercase(), open.trim().to_owned());
    if is_key(&opened) {
        let to = format!("/flags/{opened}?{}", place.query());
        return Ok(Redirect::to(&to).into_response());
    }
    let wrong = "Expected 1 to 100 letters, digits, '.', '_' and '-'.";
    // Before the rules: what changes in between is told of again.
    let (revision, now) = (flags.revision(), Timestamp::now());
    let rows = flags.list().into_iter().map(|(key, flag)| Row::of(key, &written(&flag), now));
    let rows = rows.filter(|row| row.says(&wanted)).collect();
    let mut overlays = plain_keys(&flags, |one| {
        let user = one.user.as_deref().unwrap_or_default();
        [&*one.key, user].iter().any(|text| text.to_lowercase().contains(&wanted))
    });
    let overlays_more = overlays.len().saturating_sub(OVERLAYS_SHOWN_MAX);
    overlays.truncate(OVERLAYS_SHOWN_MAX);
    Ok(render(&Page {
        has_tenants: hub.has_tenants(),
        query: place.query(),
        place,
        revision,
        notice: notice(&flags.state()),
        wanted: q,
        rows,
        overlays: overlays.into_iter().map(PlainKey::of).collect(),
        overlays_more,
        fault: Some(wrong).filter(|_| !opened.is_empty()),
        opened,
    }))
}

/// By flag and user.
pub(super) fn plain_keys(flags: &Flags, is_meant: impl Fn(&Overlay) -> bool) -> Vec<Overlay> {
    let mut overlays = flags.overlays();
    overlays.retain(is_meant);
    overlays
}

/// Why the rules that are known may not be those of the store.
pub(super) fn notice(state: &FlagsState) -> Option<String> {
    match state {
        FlagsState::Stale { since, .. } => {
            let ago = SystemTime::now().duration_since(*since).unwrap_or_default();
            let ago = duration::shown(ago);
            Some(format!("The store has not answered for {ago}: these are its last known flags."))
        }
        FlagsState::Lost { .. } => Some(
            "Redis has lost these flags: the last known hold, and the next change puts them back."
                .to_owned(),
        ),
        FlagsState::Disk => Some(
            "The store does not answer: these are the flags that were last kept on disk."
                .to_owned(),
        ),
        FlagsState::Defaults => Some(
            "The store does not answer, and no flag is known: programs use their own defaults."
                .to_owned(),
        ),
        _ => None,
    }
}

/// What a flag does now, in a few words.
pub(super) fn standing(flag: &Value, now: Timestamp) -> String {
    let time = |name: &str| flag[name].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let has_come = |name: &str| time(name).filter(|at| *at <= now);
    if flag["killed"] == true {
        return "killed".to_owned();
    }
    if let Some(at) = has_come("expires_at") {
        return format!("expired since {at}");
    }
    if flag["enabled"] == false {
        return "off".to_owned();
    }
    if let Some(at) = has_come("off_at") {
        return format!("off since {at}");
    }
    if let Some(at) = time("on_at").filter(|at| *at > now) {
        return format!("scheduled: on from {at}");
    }
    let rules = flag["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let share = rules.last().and_then(rollout).filter(|_| flag["type"] == "bool");
    let rest = match share {
        Some((share, _)) => format!("{} % on", json!(share)),
        None => match flag["default"].as_str() {
            Some("on") if flag["type"] == "bool" => "on".to_owned(),
            Some("off") | None if flag["type"] == "bool" => "off by default".to_owned(),
            Some(variant) => variant.to_owned(),
            None => NONE.to_owned(),
        },
    };
    let by_rules = match rules.len() - usize::from(share.is_some()) {
        0 => String::new(),
        1 => ", 1 rule before".to_owned(),
        n => format!(", {n} rules before"),
    };
    let until = time("off_at").map(|at| format!(", until {at}")).unwrap_or_default();
    format!("{}{by_rules}{until}", visible(&rest))
}

/// How long ago it was changed: a revision is a time by the store's clock.
pub(super) fn changed(flag: &Value, now: Timestamp) -> String {
    let at = flag["revision"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let Some(at) = at else { return NONE.to_owned() };
    let ago = Duration::try_from(now.duration_since(at)).unwrap_or_default();
    format!("{} ago", duration::shown(ago))
}

impl Row {
    fn of(key: String, flag: &Value, now: Timestamp) -> Self {
        let overdue = flag["stale_after"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        Self {
            key,
            kind: flag["type"].as_str().unwrap_or(NONE).to_owned(),
            standing: standing(flag, now),
            is_killed: flag["killed"] == true,
            owner: visible(flag["owner"].as_str().unwrap_or(NONE)),
            changed: changed(flag, now),
            is_overdue: overdue.is_some_and(|at| at <= now),
        }
    }

    fn says(&self, wanted: &str) -> bool {
        [&self.key, &self.owner].iter().any(|text| text.to_lowercase().contains(wanted))
    }
}

impl PlainKey {
    pub(super) fn of(overlay: Overlay) -> Self {
        let left = overlay.expires_at.map(|at| at.duration_since(SystemTime::now()));
        let user = overlay.user.as_deref().map(|user| format!("user {}", visible(user)));
        Self {
            key: visible(&overlay.key),
            is_key: is_key(&overlay.key),
            whom: user.unwrap_or_else(|| "everyone".to_owned()),
            value: overlay.value,
            left: left.map_or_else(
                || "for good".to_owned(),
                |left| duration::shown(left.unwrap_or_default()),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_stands_as_an_evaluation_would_find_it() {
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let told = |fields: Value| {
            let mut flag =
                json!({ "type": "bool", "default": "off", "enabled": true, "rules": [] });
            for (name, value) in fields.as_object().unwrap() {
                flag[name] = value.clone();
            }
            standing(&flag, now)
        };
        let (past, coming) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let rule = json!({ "if": [{ "segment": "beta" }], "then": "on" });
        let tenth = json!({ "if": [], "split": { "on": 12.5, "off": 87.5 } });
        for (fields, expected) in [
            (json!({}), "off by default"),
            (json!({ "default": "on" }), "on"),
            (json!({ "enabled": false, "expires_at": coming }), "off"),
            (json!({ "enabled": false, "killed": true }), "killed"),
            (json!({ "expires_at": past, "rules": [tenth] }), "expired since 2026-01-01T00:00:00Z"),
            (json!({ "on_at": coming }), "scheduled: on from 2027-01-01T00:00:00Z"),
            (json!({ "on_at": past, "off_at": past }), "off since 2026-01-01T00:00:00Z"),
            (json!({ "rules": [tenth] }), "12.5 % on"),
            (json!({ "rules": [rule, tenth] }), "12.5 % on, 1 rule before"),
            (json!({ "rules": [rule, rule] }), "off by default, 2 rules before"),
            (json!({ "type": "string", "default": "red" }), "red"),
            (json!({ "off_at": coming }), "off by default, until 2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(told(fields), expected);
        }
    }

    #[test]
    fn a_revision_says_when_it_was_made() {
        let now = Timestamp::from_millisecond(3_700_000).unwrap();
        assert_eq!(changed(&json!({ "revision": 100_000 }), now), "1 h 0 min ago");
        // Another clock may be ahead.
        assert_eq!(changed(&json!({ "revision": 9_000_000 }), now), "0 s ago");
    }
}
