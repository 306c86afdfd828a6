//! Definitions and changes, as they are written.

use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;

use super::{Change, DefinedLimit};
use crate::limit::algorithm::Algorithm;
use crate::limit::definition::Limit;
use crate::limit::down::Down;
use crate::limit::quota::Per;

#[derive(Deserialize)]
struct Definition {
    algorithm: String,
    quota: u64,
    per_us: u64,
    burst: Option<u64>,
    #[serde(default)]
    debt_max: u64,
    #[serde(default)]
    lease: u64,
    on_down: String,
    #[serde(default)]
    shadow: bool,
}

#[derive(Deserialize)]
struct Entry {
    at_ms: u64,
    by: String,
    name: String,
    before: Option<String>,
    after: Option<String>,
}

pub(super) fn text(limit: &Limit) -> String {
    let quota = limit.quota();
    json!({
        "algorithm": limit.algorithm().name(),
        "quota": quota.limit(),
        "per_us": u64::try_from(quota.period().as_micros()).unwrap_or(u64::MAX),
        "burst": limit.burst_max(),
        "debt_max": limit.owed_max(),
        "lease": limit.permits(),
        "on_down": limit.down().name(),
        "shadow": limit.is_shadow(),
    })
    .to_string()
}

/// # Errors
/// What was expected, without what is there: that may be anything, and of any length.
pub(super) fn limit_of(name: &str, text: &[u8]) -> Result<Limit, String> {
    let written: Definition =
        serde_json::from_slice(text).map_err(|_| "expected a definition as JSON".to_owned())?;
    let algorithm = Algorithm::ALL.into_iter().find(|one| one.name() == written.algorithm);
    let algorithm = algorithm.ok_or("expected an algorithm that this version knows")?;
    let down = Down::ALL.into_iter().find(|one| one.name() == written.on_down);
    let down = down.ok_or("expected on_down to be open, closed or local")?;
    let quota = written.quota.per(Duration::from_micros(written.per_us));
    let mut limit = Limit::new(name, algorithm, quota)
        .debt_max(written.debt_max)
        .lease(written.lease)
        .on_down(down);
    if let Some(burst) = written.burst {
        limit = limit.burst(burst);
    }
    if written.shadow {
        limit = limit.shadow();
    }
    limit.validate().map_err(|error| error.to_string())?;
    Ok(limit)
}

/// A row of the store.
///
/// # Errors
/// As [`limit_of`].
pub(super) fn defined_of(name: &[u8], row: &[u8]) -> Result<DefinedLimit, String> {
    let name = str::from_utf8(name).map_err(|_| "expected the name of a limit")?;
    let (revision, text) = split(row).ok_or("expected a revision and a definition")?;
    Ok(DefinedLimit { limit: limit_of(name, text)?, revision })
}

/// The revision of a row, and the rest.
pub(super) fn split(row: &[u8]) -> Option<(u64, &[u8])> {
    let space = row.iter().position(|byte| *byte == b' ')?;
    let (revision, rest) = row.split_at_checked(space)?;
    let revision = str::from_utf8(revision).ok()?.parse().ok()?;
    Some((revision, rest.get(1..)?))
}

/// As `scripts/define.lua` writes it.
pub(super) fn entry(
    at_ms: u64,
    by: &str,
    name: &str,
    before: Option<&[u8]>,
    after: Option<&str>,
) -> String {
    let before = before.map(String::from_utf8_lossy);
    json!({ "at_ms": at_ms, "by": by, "name": name, "before": before, "after": after }).to_string()
}

/// `None` where it is not ours.
pub(super) fn change_of(entry: &[u8]) -> Option<Change> {
    // What was there before may have been anything, and is passed on to the byte.
    let Entry { at_ms, by, name, before, after } =
        serde_json::from_str(&String::from_utf8_lossy(entry)).ok()?;
    let limit = |text: Option<String>| limit_of(&name, text?.as_bytes()).ok();
    let (before, after) = (limit(before), limit(after));
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(at_ms))?;
    Some(Change { at, by, name, before, after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::MINUTE;

    #[test]
    fn a_definition_is_read_as_it_was_written() {
        let quota = 100.per(MINUTE);
        let mut limits: Vec<Limit> =
            Algorithm::ALL.into_iter().map(|one| Limit::new("calls", one, quota)).collect();
        limits.extend(Down::ALL.map(|down| Limit::gcra("calls", quota).on_down(down)));
        let full = Limit::gcra("calls", 7.per(Duration::from_micros(3)));
        limits.push(full.burst(20).debt_max(5).lease(2).shadow());
        for limit in limits {
            let text = text(&limit);
            assert_eq!(limit_of("calls", text.as_bytes()), Ok(limit), "{text}");
        }
    }

    #[test]
    fn what_may_be_missing_is_as_if_it_was_never_said() {
        let least = br#"{"algorithm":"gcra","quota":100,"per_us":60000000,"on_down":"open"}"#;
        let limit = Limit::gcra("calls", 100.per(MINUTE)).on_down(Down::Open);
        assert_eq!(limit_of("calls", least), Ok(limit));
    }

    #[test]
    fn what_is_no_row_says_what_was_expected() {
        let good = text(&Limit::gcra("calls", 100.per(MINUTE)));
        assert!(defined_of(b"calls", format!("7 {good}").as_bytes()).is_ok());
        for (name, row, told) in [
            ("calls", String::new(), "expected a revision"),
            ("calls", good.clone(), "expected a revision"),
            ("calls", format!("-7 {good}"), "expected a revision"),
            ("calls", format!("7  {good}x"), "expected a definition"),
            ("calls", format!("7 {}", good.replace("gcra", "grca")), "expected an algorithm"),
            ("calls", format!("7 {}", good.replace("local", "never")), "expected on_down"),
            ("calls", format!("7 {}", good.replace("60000000", "0")), "expected"),
            ("c:lls", format!("7 {good}"), "expected 1 to 64"),
        ] {
            let error = defined_of(name.as_bytes(), row.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{row}: {error}");
        }
        assert!(defined_of(b"\xFF", format!("7 {good}").as_bytes()).is_err());
    }
}
