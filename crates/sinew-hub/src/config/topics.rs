//! `[[topics]]`: the topics that a hub declares, as everyone who names no tenant sees them.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Fault;
use super::caches::word;
use super::layers::File;
use super::read::scalar;
use crate::duration;
use crate::stream::settings::{
    KEEP_MAX, LEN_MAX, NAME_EXPECTED, PARTITIONS, TopicSettings, is_name,
};

/// What the setting looks like, for messages.
pub(super) const EXPECTED: &str =
    "topics: expected tables, like [[topics]] name = \"orders\", partitions = 16";

pub(super) fn read(
    file: &File,
    tables: &DeArray<'_>,
    faults: &mut Vec<Fault>,
) -> Vec<TopicSettings> {
    let mut topics: Vec<TopicSettings> = Vec::new();
    for table in tables {
        let at = file.at(table.span().start);
        let Some(settings) = table.get_ref().as_table() else {
            faults.push(Fault { origin: at, message: EXPECTED.to_owned() });
            continue;
        };
        let Some(topic) = one(file, settings, faults) else { continue };
        match topic.name.is_empty() {
            true => {
                let message = "topics: a topic has no name: expected name = \"orders\"";
                faults.push(Fault { origin: at, message: message.to_owned() });
            }
            false if topics.iter().any(|other| other.name == topic.name) => {
                let message = format!("topics: {:?} twice: expected it once", topic.name);
                faults.push(Fault { origin: at, message });
            }
            false => topics.push(topic),
        }
    }
    topics
}

/// A topic, whose name is empty where none is said; none where it has faults, which are told.
fn one(file: &File, settings: &DeTable<'_>, faults: &mut Vec<Fault>) -> Option<TopicSettings> {
    let (mut topic, known) = (TopicSettings::default(), faults.len());
    for (key, value) in settings {
        let read = match key.get_ref().as_ref() {
            "name" => name(value).map(|name| topic.name = name),
            "partitions" => number("partitions", value, &PARTITIONS)
                .map(|partitions| topic.partitions = Some(partitions)),
            "len_max" => {
                number("len_max", value, &LEN_MAX).map(|len_max| topic.len_max = Some(len_max))
            }
            "keep" => keep(value).map(|keep| topic.keep = Some(keep)),
            unknown => Err(format!(
                "unknown key {unknown:?} of a topic: expected name, partitions, len_max or keep"
            )),
        };
        if let Err(message) = read {
            faults.push(Fault { origin: file.at(key.span().start), message });
        }
    }
    (faults.len() == known).then_some(topic)
}

fn name(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let name = word(value).filter(|name| is_name(name));
    name.map(str::to_owned).ok_or_else(|| format!("invalid name of a topic: {NAME_EXPECTED}"))
}

fn number<N>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    allowed: &RangeInclusive<N>,
) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = scalar(value.get_ref()).and_then(|text| text.parse().ok());
    number.filter(|number| allowed.contains(number)).ok_or_else(|| {
        let (least, most) = (allowed.start(), allowed.end());
        format!("invalid {key}: expected a whole number from {least} to {most}")
    })
}

fn keep(value: &Spanned<DeValue<'_>>) -> Result<Duration, String> {
    let text =
        word(value).ok_or_else(|| format!("invalid keep: {}, in quotes", duration::EXPECTED))?;
    let time = duration::parse(text).map_err(|what| format!("keep: {what}"))?;
    match time <= KEEP_MAX {
        true => Ok(time),
        false => Err(format!("keep: {text} is out of bounds: expected at most 3650d")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::layers::Layers;
    use super::*;

    fn settings(text: &str) -> Result<Vec<TopicSettings>, Vec<String>> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("sinew.toml"), text);
        let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
        layers.settle().map(|config| config.topics).map_err(faults)
    }

    #[test]
    fn a_file_names_topics_and_says_as_much_of_them_as_it_wants() {
        let read = settings(
            "[[topics]]\nname = \"orders\"\npartitions = 16\nlen_max = 5000\nkeep = \"2h\"\n\
             [[topics]]\nname = \"images\"\n",
        )
        .unwrap();
        let orders = TopicSettings {
            name: "orders".to_owned(),
            partitions: Some(16),
            len_max: Some(5_000),
            keep: Some(Duration::from_secs(7_200)),
        };
        let images = TopicSettings { name: "images".to_owned(), ..TopicSettings::default() };
        assert_eq!(read, [orders, images]);
        assert_eq!(settings(""), Ok(Vec::new()));
    }

    #[test]
    fn every_fault_of_topics_is_told_with_its_line() {
        let faults = settings(
            "[[topics]]\nname = \"or ders\"\npartitions = 65\nlen_max = 0\nkeep = \"soon\"\ncolour = 1\n\
             [[topics]]\npartitions = 2\n[[topics]]\nname = \"a\"\n[[topics]]\nname = \"a\"\n\
             [[topics]]\nname = \"a.dead\"\n",
        )
        .unwrap_err();
        for (line, told) in [
            (2, "invalid name of a topic: expected 1 to 128 characters"),
            (3, "invalid partitions: expected a whole number from 1 to 64"),
            (4, "invalid len_max: expected a whole number from 1 to 100000000"),
            (5, "keep: invalid duration"),
            (6, "unknown key \"colour\" of a topic"),
            (7, "a topic has no name"),
            (11, "\"a\" twice"),
            (14, "invalid name of a topic"),
        ] {
            let at = format!("sinew.toml:{line}: ");
            let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
            assert!(found, "line {line} {told}: {faults:#?}");
        }
        assert_eq!(faults.len(), 8, "{faults:#?}");
        let faults = settings("topics = 5\n").unwrap_err();
        assert!(faults[0].contains("topics: expected tables"), "{faults:?}");
    }
}
