//! `[[queues]]`: the queues of jobs that a hub declares, as everyone who names no tenant sees them.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Fault;
use super::caches::word;
use super::layers::File;
use super::read::scalar;
use crate::job::settings::{QueueSetting, is_name};
use crate::job::terms;

/// What the setting looks like, for messages.
pub(super) const EXPECTED: &str =
    "queues: expected tables, like [[queues]] name = \"mail\", global = 200";

pub(super) fn read(
    file: &File,
    tables: &DeArray<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<QueueSetting> {
    let mut queues: Vec<QueueSetting> = Vec::new();
    for table in tables {
        let at = file.at(table.span().start);
        let Some(settings) = table.get_ref().as_table() else {
            faults.push(Fault { origin: at, message: EXPECTED.to_owned() });
            continue;
        };
        let Some(queue) = one(file, settings, faults) else { continue };
        let fault = match queue.check() {
            _ if queue.name.is_empty() => {
                Some("queues: a queue has no name: expected name = \"mail\"".to_owned())
            }
            _ if queues.iter().any(|other| other.name == queue.name) => {
                Some(format!("queues: {:?} twice: expected it once", queue.name))
            }
            Err(error) => Some(format!("queues: {:?}: {error}", queue.name)),
            Ok(()) => None,
        };
        match fault {
            Some(message) => faults.push(Fault { origin: at, message }),
            None => queues.push(queue),
        }
    }
    queues
}

/// A queue, whose name is empty where none is said; none where it has faults, which are told.
fn one(file: &File, settings: &DeTable<'_>, faults: &mut Vec<Fault>) -> Option<QueueSetting> {
    let (mut queue, known) = (QueueSetting::default(), faults.len());
    for (key, value) in settings {
        let name: &str = key.get_ref();
        let read = match name {
            "name" => called(value).map(|it| queue.name = it),
            "partitions" => number(name, value).map(|it| queue.partitions = Some(it)),
            "len_max" => number(name, value).map(|it| queue.len_max = Some(it)),
            "global" => number(name, value).map(|it| queue.global = Some(it)),
            "per_key" => number(name, value).map(|it| queue.per_key = Some(it)),
            "rate" => terms::rate(word(value).unwrap_or_default()).map(|it| queue.rate = Some(it)),
            unknown => Err(format!(
                "unknown key {unknown:?} of a queue: expected name, partitions, len_max, global, per_key or rate"
            )),
        };
        if let Err(message) = read {
            faults.push(Fault { origin: file.at(key.span().start), message });
        }
    }
    (faults.len() == known).then_some(queue)
}

fn called(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let name = word(value).filter(|name| is_name(name));
    name.map(str::to_owned).ok_or_else(|| {
        "invalid name of a queue: expected 1 to 64 characters of A-Z a-z 0-9 . _ -".to_owned()
    })
}

fn number<N: std::str::FromStr>(key: &str, value: &Spanned<DeValue<'_>>) -> Result<N, String> {
    let number = scalar(value.get_ref()).and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("invalid {key}: expected a whole number"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::layers::Layers;
    use super::*;

    fn settings(text: &str) -> Result<Vec<QueueSetting>, Vec<String>> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("sinew.toml"), text);
        let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
        layers.settle().map(|config| config.queues).map_err(faults)
    }

    #[test]
    fn a_file_names_queues_and_says_as_much_of_them_as_it_wants() {
        let read = settings(
            "[[queues]]\nname = \"mail\"\npartitions = 4\nglobal = 200\nper_key = 3\nrate = \"100/1s\"\n\
             [[queues]]\nname = \"images\"\n",
        )
        .unwrap();
        let mail = QueueSetting {
            name: "mail".to_owned(),
            partitions: Some(4),
            len_max: None,
            global: Some(200),
            per_key: Some(3),
            rate: Some((100, Duration::from_secs(1))),
        };
        let images = QueueSetting { name: "images".to_owned(), ..QueueSetting::default() };
        assert_eq!(read, [mail, images]);
        assert_eq!(settings(""), Ok(Vec::new()));
    }

    #[test]
    fn every_fault_of_queues_is_told_with_its_line() {
        let faults = settings(
            "[[queues]]\nname = \"or ders\"\npartitions = \"many\"\nrate = \"soon\"\ncolour = 1\n\
             [[queues]]\nglobal = 2\n[[queues]]\nname = \"a\"\n[[queues]]\nname = \"a\"\n\
             [[queues]]\nname = \"b\"\npartitions = 33\n",
        )
        .unwrap_err();
        for (line, told) in [
            (2, "invalid name of a queue"),
            (3, "invalid partitions: expected a whole number"),
            (4, "invalid rate: expected starts per window"),
            (5, "unknown key \"colour\" of a queue"),
            (6, "a queue has no name"),
            (10, "\"a\" twice"),
            (12, "33 partitions are out of bounds"),
        ] {
            let at = format!("sinew.toml:{line}: ");
            let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
            assert!(found, "line {line} {told}: {faults:#?}");
        }
        assert_eq!(faults.len(), 7, "{faults:#?}");
        let faults = settings("queues = 5\n").unwrap_err();
        assert!(faults[0].contains("queues: expected tables"), "{faults:?}");
    }
}
