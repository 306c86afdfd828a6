//! `[limits.NAME]`: a limit that the file defines.

use sinew::limit::{Algorithm, Down, Limit};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::caches::{switch, word};
use super::layers::File;
use super::read::scalar;
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
    let (mut quota, mut per) = (None, None);
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
            "algorithm" => text("algorithm", value, algorithm).map(|it| limit.algorithm = it),
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
        if !settings.iter().any(|(said, _)| said.get_ref() == key) {
            fault(table_at.clone(), format!("limit {name:?} has no {key}: expected {like}"));
        }
    }
    if faults.len() > faults_before {
        return None;
    }
    limit_of(&LimitBody { quota: quota?, per: per?, ..limit })
        .map_err(|message| faults.push(Fault { origin: table_at.clone(), message }))
        .ok()
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
