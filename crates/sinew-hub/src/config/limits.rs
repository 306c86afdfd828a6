//! `[limits.NAME]`: a limit that the file defines.

use std::time::Duration;

use sinew::limit::{Algorithm, Down, Limit, Per as _, Quota, SECOND};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::caches::{switch, word};
use super::layers::File;
use super::read::{is_said, scalar};
use super::{Fault, Origin};
use crate::limit::body::{LimitBody, algorithm, limit_of, on_down, period};

/// The limit of a table, if nothing is wrong with that.
pub(super) fn read(
    file: &File,
    name: &str,
    table_at: &Origin,
    settings: &DeTable<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Limit> {
    let (mut how, mut quota, mut per) = (Some(Algorithm::Gcra), None, None);
    let mut limit = LimitBody {
        name: name.to_owned(),
        algorithm: Algorithm::Gcra.name().to_owned(),
        quota: 0,
        per: String::new(),
        burst: None,
        debt_max: 0,
        lease: 0,
        on_down: Down::default().name().to_owned(),
        shadow: false,
    };
    let faults_before = faults.len();
    let mut fault = |origin: Origin, message: String| faults.push(Fault { origin, message });
    for (key, value) in settings {
        let read = match key.get_ref().as_ref() {
            "algorithm" => {
                let read = text("algorithm", value, algorithm);
                how = read.as_ref().ok().and_then(|name| algorithm(name).ok());
                read.map(|it| limit.algorithm = it)
            }
            "quota" => whole("quota", value).map(|it| quota = Some(it)),
            "per" => text("per", value, period).map(|it| per = Some(it)),
            "burst" => whole("burst", value).map(|it| limit.burst = Some(it)),
            "debt_max" => whole("debt_max", value).map(|it| limit.debt_max = it),
            "lease" => whole("lease", value).map(|it| limit.lease = it),
            "on_down" => text("on_down", value, on_down).map(|it| limit.on_down = it),
            "shadow" => switch("shadow", value).map(|it| limit.shadow = it),
            unknown => Err(format!(
                "unknown key {unknown:?} of limit {name:?}: expected algorithm, quota, per, burst, debt_max, lease, on_down or shadow"
            )),
        };
        if let Err(message) = read {
            fault(file.at(key.span().start), message);
        }
    }
    for (key, like) in [("quota", "quota = 100"), ("per", "per = \"1m\"")] {
        if !is_said(key, settings) {
            fault(table_at.clone(), format!("limit {name:?} has no {key}: expected {like}"));
        }
    }
    // The library's own rule for names, asked of the library.
    if let Err(error) = Limit::gcra(name, 1.per(SECOND)).validate() {
        fault(table_at.clone(), error.to_string());
    }
    let is_burst_read = limit.burst.is_some() || !is_said("burst", settings);
    let how = how.filter(|_| is_burst_read);
    let every = per.as_deref().and_then(|per| period(per).ok());
    for (key, message) in wrong_numbers(&limit, how, quota, every) {
        let said = settings.iter().find(|(said, _)| said.get_ref() == key);
        let origin = said.map_or_else(|| table_at.clone(), |(said, _)| file.at(said.span().start));
        fault(origin, message);
    }
    if faults.len() > faults_before {
        return None;
    }
    limit_of(&LimitBody { quota: quota?, per: per?, ..limit })
        .map_err(|message| faults.push(Fault { origin: table_at.clone(), message }))
        .ok()
}

/// What is wrong with the numbers that could be read, by key: with each by itself, and, where all that
/// they are measured by could be read, with all of them together.
fn wrong_numbers(
    limit: &LimitBody,
    how: Option<Algorithm>,
    quota: Option<u64>,
    per: Option<Duration>,
) -> Vec<(&'static str, String)> {
    // A name that cannot be is a fault of its own.
    let name = match Limit::gcra(limit.name.as_str(), 1.per(SECOND)).validate() {
        Ok(()) => limit.name.as_str(),
        Err(_) => "unnamed",
    };
    let any = |quota: Quota| Limit::fixed_window(name, quota);
    let mut wrong = Vec::new();
    let mut judge = |key, limit: Limit| {
        let fault = limit.validate().err();
        wrong.extend(fault.as_ref().map(|error| (key, error.to_string())));
        fault.is_none()
    };
    let quota = quota.filter(|&quota| judge("quota", any(quota.per(SECOND))));
    let per = per.filter(|&per| judge("per", any(1.per(per))));
    let burst_fits = limit.burst.is_none_or(|burst| {
        let any = match how {
            Some(how) if how != Algorithm::Gcra => Limit::new(name, how, 1.per(SECOND)),
            // No burst drains too slowly for this one.
            _ => Limit::gcra(name, 1_000.per(Duration::from_micros(1))),
        };
        judge("burst", any.burst(burst))
    });
    let debt_max = limit.debt_max;
    let debt_fits = judge("debt_max", any(1.per(SECOND)).debt_max(debt_max));
    // Of a quota that is more than any lease.
    let lease_fits = judge("lease", any(1_000_000_000.per(SECOND)).lease(limit.lease));

    let (Some(how), Some(quota), Some(per), true) = (how, quota, per, burst_fits) else {
        return wrong;
    };
    let whole = Limit::new(name, how, quota.per(per));
    let (key, whole) = match limit.burst {
        Some(burst) => ("burst", whole.burst(burst)),
        None => ("quota", whole),
    };
    if judge(key, whole.clone()) {
        if debt_fits {
            judge("debt_max", whole.clone().debt_max(debt_max));
        }
        if lease_fits {
            judge("lease", whole.lease(limit.lease));
        }
    }
    wrong
}

/// A word that means something.
fn text<T>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    meaning: impl Fn(&str) -> Result<T, String>,
) -> Result<String, String> {
    let text = word(value).ok_or_else(|| format!("invalid {key}: expected text in quotes"))?;
    meaning(text).map(|_| text.to_owned())
}

fn whole(key: &str, value: &Spanned<DeValue<'_>>) -> Result<u64, String> {
    let number = scalar(value.get_ref()).and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("invalid {key}: expected a whole number, 0 or more"))
}
