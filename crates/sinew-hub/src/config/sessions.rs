//! `[sessions]`: how long the sessions of users last, and how many one user may have.

use std::time::Duration;

use sinew::session::Evict;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::caches::word;
use super::layers::File;
use super::read::{is_said, scalar};
use super::{Fault, Origin};
use crate::duration;
use crate::session::settings::SessionSettings;

/// What the library takes.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(400 * 86_400);
const PER_USER_MAX: u32 = 1_000;

pub(super) fn read(
    file: &File,
    settings: &DeTable<'_>,
    faults: &mut Vec<Fault>,
) -> SessionSettings {
    let (mut idle, mut absolute, mut most, mut when_full) = (None, None, None, Evict::Oldest);
    for (key, value) in settings {
        let key: &str = key.get_ref();
        let read = match key {
            "idle" => time(key, value).map(|it| idle = Some(it)),
            "absolute" => time(key, value).map(|it| absolute = Some(it)),
            "max_per_user" => count(value).map(|it| most = Some(it)),
            "when_full" => evict(value).map(|it| when_full = it),
            unknown => Err(format!(
                "unknown key {unknown:?} of sessions: expected idle, absolute, max_per_user or when_full"
            )),
        };
        if let Err(message) = read {
            faults.push(Fault { origin: at(file, settings, key), message });
        }
    }
    let lasting = lasting(file, settings, idle, absolute, faults);
    if is_said("when_full", settings) && !is_said("max_per_user", settings) {
        let message =
            "when_full has no effect without a maximum: expected max_per_user = 5 beside it";
        let origin = at(file, settings, "when_full");
        faults.push(Fault { origin, message: message.to_owned() });
    }
    SessionSettings { max_per_user: most.map(|most| (most, when_full)), ..lasting }
}

/// How long sessions last by a table that says `idle` and `absolute`, or leaves them out.
pub(super) fn lasting(
    file: &File,
    settings: &DeTable<'_>,
    idle: Option<Duration>,
    absolute: Option<Duration>,
    faults: &mut Vec<Fault>,
) -> SessionSettings {
    let is_absolute_known = absolute.is_some() || !is_said("absolute", settings);
    let lasting = SessionSettings::lasting(idle, absolute);
    if is_absolute_known && lasting.idle > lasting.absolute {
        let (idle, absolute) =
            (duration::written(lasting.idle), duration::written(lasting.absolute));
        let message = format!(
            "an idle time of {idle} is out of bounds: expected at most {absolute}, as absolute is"
        );
        faults.push(Fault { origin: at(file, settings, "idle"), message });
    }
    lasting
}

/// Where a key of a table stands.
fn at(file: &File, settings: &DeTable<'_>, key: &str) -> Origin {
    let said = settings.iter().find(|(said, _)| said.get_ref() == key);
    file.at(said.map_or(0, |(said, _)| said.span().start))
}

pub(super) fn time(key: &str, value: &Spanned<DeValue<'_>>) -> Result<Duration, String> {
    let text =
        word(value).ok_or_else(|| format!("invalid {key}: {}, in quotes", duration::EXPECTED))?;
    let time = duration::parse(text).map_err(|what| format!("{key}: {what}"))?;
    match (SHORTEST..=LONGEST).contains(&time) {
        true => Ok(time),
        false => Err(format!("{key}: {text} is out of bounds: expected 1s to 400d")),
    }
}

fn count(value: &Spanned<DeValue<'_>>) -> Result<u32, String> {
    let number = scalar(value.get_ref()).and_then(|text| text.parse().ok());
    let number = number.filter(|number| (1..=PER_USER_MAX).contains(number));
    number.ok_or_else(|| {
        format!("invalid max_per_user: expected a whole number from 1 to {PER_USER_MAX}")
    })
}

fn evict(value: &Spanned<DeValue<'_>>) -> Result<Evict, String> {
    match word(value) {
        Some("oldest") => Ok(Evict::Oldest),
        Some("refuse") => Ok(Evict::Refuse),
        _ => Err("invalid when_full: expected \"oldest\" or \"refuse\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::layers::Layers;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn settings(text: &str) -> Result<SessionSettings, Vec<String>> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("sinew.toml"), text);
        let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
        layers.settle().map(|config| config.sessions).map_err(faults)
    }

    #[test]
    fn a_file_says_how_long_sessions_last_and_how_many_a_user_may_have() {
        let said = "[sessions]\nidle = \"1h\"\nabsolute = \"7d\"\nmax_per_user = 5\nwhen_full = \"refuse\"\n";
        let read = settings(said).unwrap();
        assert_eq!((read.idle, read.absolute), (HOUR, 168 * HOUR));
        assert!(matches!(read.max_per_user, Some((5, Evict::Refuse))));
        let read = settings("[sessions]\nmax_per_user = 1\n").unwrap();
        assert!(matches!(read.max_per_user, Some((1, Evict::Oldest))));
        for unsaid in ["", "[sessions]\n"] {
            let read = settings(unsaid).unwrap();
            assert_eq!((read.idle, read.absolute), (HOUR / 2, 12 * HOUR));
            assert!(read.max_per_user.is_none());
        }
        // A short life leaves no room for the usual idle time.
        let read = settings("[sessions]\nabsolute = \"10m\"\n").unwrap();
        assert_eq!((read.idle, read.absolute), (HOUR / 6, HOUR / 6));
    }

    #[test]
    fn every_fault_of_sessions_is_told_with_its_line() {
        let faults = settings(
            "[sessions]\nidle = \"10ms\"\nabsolute = \"401d\"\nmax_per_user = 1_001\n\
             when_full = \"newest\"\ncolour = 1\n",
        )
        .unwrap_err();
        for (line, told) in [
            (2, "idle: 10ms is out of bounds: expected 1s to 400d"),
            (3, "absolute: 401d is out of bounds"),
            (4, "invalid max_per_user: expected a whole number from 1 to 1000"),
            (5, "invalid when_full: expected \"oldest\" or \"refuse\""),
            (6, "unknown key \"colour\" of sessions: expected idle, absolute"),
        ] {
            let at = format!("sinew.toml:{line}: ");
            let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
            assert!(found, "line {line} {told}: {faults:#?}");
        }
        assert_eq!(faults.len(), 5, "{faults:#?}");
        for (text, line, told) in [
            ("[sessions]\nidle = \"13h\"\n", 2, "of 13h is out of bounds: expected at most 12h"),
            ("[sessions]\nidle = 5\n", 2, "invalid idle: expected a duration"),
            ("[sessions]\nidle = \"soon\"\n", 2, "idle: invalid duration"),
            ("[sessions]\nwhen_full = \"oldest\"\n", 2, "expected max_per_user = 5 beside it"),
            ("sessions = 5\n", 1, "sessions: expected a table, like [sessions]"),
        ] {
            let faults = settings(text).unwrap_err();
            let at = format!("sinew.toml:{line}: ");
            assert!(faults[0].starts_with(&at) && faults[0].contains(told), "{faults:?}");
            assert_eq!(faults.len(), 1, "{faults:?}");
        }
    }
}
