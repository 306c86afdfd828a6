//! `sinew flag list|get`

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::place::Whereabouts;
use super::terms::{is_for_everyone, share_of_on};
use crate::cli::table::{harmless, table};
use crate::cli::{Outcome, print_json};
use crate::flag::body::OverlayBody;

/// More of an owner, a user or a state is not shown: there are 80 columns.
const CELL_CHARS_MAX: usize = 26;

/// Where, and how to print.
#[derive(Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Which flag, and where.
#[derive(Args)]
pub struct GetArgs {
    /// Key of the flag
    key: String,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let listed = place.list().await?;
    if args.json {
        return print_json(&listed);
    }
    let now = Timestamp::now();
    let mut rows = Vec::with_capacity(listed.flags.len());
    for (key, flag) in &listed.flags {
        rows.push(row(key, &json_of(flag)?, now));
    }
    match rows.is_empty() && listed.overlays.is_empty() {
        true => println!("No flag{} in {place}.", args.whereabouts.shown()),
        false => print!("{}", table(["FLAG", "TYPE", "STATE", "OWNER"], &rows)),
    }
    if !listed.overlays.is_empty() {
        let rows: Vec<[String; 4]> = listed.overlays.iter().map(overlay).collect();
        print!("\n{}", table(["PLAIN KEY OF", "USER", "VALUE", "UNTIL"], &rows));
    }
    warn_of(&listed.state);
    Ok(())
}

pub(super) async fn get(args: &GetArgs) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let flag = place.flag(&args.key).await?.ok_or_else(|| place.no_such(&args.key))?;
    let text = serde_json::to_string_pretty(&flag).map_err(|e| Outcome::Failed(e.to_string()))?;
    println!("{text}");
    Ok(())
}

/// Says why flags in this state may not be those of the store.
pub(super) fn warn_of(state: &str) {
    match state {
        "live" => {}
        "lost" => eprintln!(
            "warning: Redis has lost these flags: the last known hold, and the next change puts them back"
        ),
        _ => eprintln!("warning: the store does not answer: the last known flags hold"),
    }
}

/// A flag, or what there is in its place, as it is written.
pub(super) fn json_of(flag: &impl Serialize) -> Result<Value, Outcome> {
    serde_json::to_value(flag).map_err(|e| Outcome::Failed(e.to_string()))
}

fn row(key: &str, flag: &Value, now: Timestamp) -> [String; 4] {
    let text = |field: &str| {
        let text = flag[field].as_str().filter(|text| !text.is_empty());
        text.unwrap_or("–").to_owned()
    };
    [key.to_owned(), text("type"), cell(&state(flag, now)), cell(&text("owner"))]
}

/// What someone has typed, as far as there is room: a table cuts its first column only.
fn cell(text: &str) -> String {
    let text = harmless(text);
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What it is for those of whom nothing else is said.
fn state(flag: &Value, now: Timestamp) -> String {
    let time = |field: &str| flag[field].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    if flag["killed"] == true {
        return "killed".to_owned();
    }
    if time("expires_at").is_some_and(|at| at <= now) {
        return "expired".to_owned();
    }
    if flag["enabled"] == false {
        return "off".to_owned();
    }
    if let Some(at) = time("on_at").filter(|at| *at > now) {
        return format!("on at {at}");
    }
    if time("off_at").is_some_and(|at| at <= now) {
        return "off".to_owned();
    }
    let rules = flag["rules"].as_array().map_or(&[][..], Vec::as_slice);
    let last = rules.iter().find(|rule| is_for_everyone(rule));
    let shared = last.map_or_else(
        || flag["default"].as_str().unwrap_or("off").to_owned(),
        |rule| share_of_on(rule).unwrap_or_else(|| "split".to_owned()),
    );
    match rules.len() - usize::from(last.is_some()) {
        0 => shared,
        1 => format!("{shared}, 1 rule"),
        more => format!("{shared}, {more} rules"),
    }
}

fn overlay(overlay: &OverlayBody) -> [String; 4] {
    [
        overlay.flag.clone(),
        overlay.user.as_deref().map_or_else(|| "everyone".to_owned(), cell),
        overlay.value.to_string(),
        overlay.expires_at.clone().unwrap_or_else(|| "–".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_someone_has_typed_fits_the_table_and_is_none_of_the_terminals_business() {
        let long = "\u{1b}[2J".repeat(100);
        let flag = json!({ "type": "string", "default": long, "owner": long });
        let rows = [row(&"k".repeat(100), &flag, Timestamp::UNIX_EPOCH)];
        let flags = table(["FLAG", "TYPE", "STATE", "OWNER"], &rows);
        let (flag, user) = ("k".repeat(100), Some(long));
        let until = Some("2026-11-01T00:00:00.123Z".to_owned());
        let rows = [overlay(&OverlayBody { flag, user, value: false, expires_at: until })];
        let plain = table(["PLAIN KEY OF", "USER", "VALUE", "UNTIL"], &rows);
        for text in [flags, plain] {
            assert!(text.lines().all(|line| line.chars().count() == 80), "{text}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }

    #[test]
    fn a_state_is_that_of_everyone_else() {
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let told = |flag: Value| state(&flag, now);
        let (before, after) = ("2026-05-01T00:00:00Z", "2026-07-01T00:00:00Z");
        let tenth = json!({ "if": [], "split": { "on": 10, "off": 90 } });
        let pro = json!({ "if": [{ "segment": "pro" }], "then": "on" });
        for (flag, expected) in [
            (json!({ "default": "off" }), "off"),
            (json!({ "default": "on", "enabled": true }), "on"),
            (json!({ "default": "on", "enabled": false }), "off"),
            (json!({ "default": "on", "killed": true }), "killed"),
            (json!({ "default": "on", "expires_at": before }), "expired"),
            (json!({ "default": "on", "expires_at": after }), "on"),
            (json!({ "default": "on", "on_at": after }), "on at 2026-07-01T00:00:00Z"),
            (json!({ "default": "on", "on_at": before, "off_at": before }), "off"),
            (json!({ "default": "off", "rules": [tenth] }), "10 %"),
            (json!({ "default": "off", "rules": [pro, tenth] }), "10 %, 1 rule"),
            (json!({ "default": "a", "rules": [pro, pro] }), "a, 2 rules"),
            (json!({ "default": "a", "rules": [{ "split": { "a": 1, "b": 99 } }] }), "split"),
            (json!({ "default": "off", "rules": [{ "then": "on" }] }), "on"),
        ] {
            assert_eq!(told(flag.clone()), expected, "{flag}");
        }
    }
}
