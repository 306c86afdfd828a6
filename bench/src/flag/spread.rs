//! How far a rollout to a tenth of everyone is from a tenth of a million users.

use serde_json::json;
use sinew::flag::{EvalContext, Flags};

use super::{BAR, put};
use crate::measure::Row;

const KEY: &str = "a-tenth";
const USERS: u32 = 1_000_000;
const BAR_POINTS: f64 = 0.1;

pub async fn row(flags: &Flags) -> Row {
    put(flags, KEY, json!({ "rules": [{ "split": { "on": 10, "off": 90 } }] })).await;
    let is_on = |user: &u32| flags.enabled(KEY, &EvalContext::user(format!("user-{user}")));
    let on = (0..USERS).filter(is_on).count();
    let percent = on as f64 * 100.0 / f64::from(USERS);
    let off_by = (percent - 10.0).abs();
    eprintln!("flag.spread: {percent} % of {USERS}");
    Row::of_times("flag.spread", BAR, off_by, BAR_POINTS, "points of percent")
}
