//! The topics that the configuration names.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use sinew::stream::{Topic, check_topic};
use sinew::{Sinew, Streams};

/// How soon after Redis has come back empty its topics are there again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What a name looks like, for messages.
pub(crate) const NAME_EXPECTED: &str =
    "expected 1 to 128 characters of A-Z a-z 0-9 . _ -, and no .dead at the end";

/// What the library takes.
pub(crate) const PARTITIONS: RangeInclusive<u16> = 1..=64;
pub(crate) const LEN_MAX: RangeInclusive<u64> = 1..=100_000_000;
pub(crate) const KEEP_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// What is said of a topic. The rest is as the library has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    pub(crate) name: String,
    pub(crate) partitions: Option<u16>,
    pub(crate) len_max: Option<u64>,
    pub(crate) keep: Option<Duration>,
}

impl TopicSettings {
    /// Whether declaring it would be refused, whatever is there.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_topic(&self.name).map_err(|error| error.to_string())?;
        within("partitions", self.partitions, &PARTITIONS)?;
        within("len_max", self.len_max, &LEN_MAX)?;
        match self.keep.is_some_and(|keep| keep > KEEP_MAX) {
            true => Err("keep is out of bounds: expected at most 3650d".to_owned()),
            false => Ok(()),
        }
    }

    /// Declares it, or changes it where it is there.
    pub(crate) async fn declare(&self, streams: &Streams) -> sinew::Result<Topic> {
        let mut topic = streams.topic(&self.name);
        if let Some(partitions) = self.partitions {
            topic = topic.partitions(partitions);
        }
        if let Some(len_max) = self.len_max {
            topic = topic.len_max(len_max);
        }
        if let Some(keep) = self.keep {
            topic = topic.keep(keep);
        }
        topic.declare().await
    }
}

fn within<N: Copy + Display + PartialOrd>(
    name: &str,
    said: Option<N>,
    allowed: &RangeInclusive<N>,
) -> Result<(), String> {
    match said {
        Some(said) if !allowed.contains(&said) => {
            let (least, most) = (allowed.start(), allowed.end());
            Err(format!("{name} of {said} is out of bounds: expected {least} to {most}"))
        }
        _ => Ok(()),
    }
}

/// Whether a topic may be called so, by whoever publishes there.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(is_plain) && !text.ends_with(".dead")
}

/// Declares topics once the store is there, and again whenever it has lost them.
pub(crate) async fn keep_declared(sinew: Sinew, topics: Vec<TopicSettings>) {
    let (streams, mut told) = (sinew.streams(), vec![false; topics.len()]);
    while !topics.is_empty() {
        for (topic, was_told) in topics.iter().zip(&mut told) {
            match topic.declare(&streams).await {
                Ok(_) => *was_told = false,
                // One that is away comes back, and says so itself.
                Err(error) if error.is_retryable() => {}
                Err(error) => {
                    if !std::mem::replace(was_told, true) {
                        let (name, error) = (&topic.name, format!("{error:#}"));
                        tracing::error!(topic = name, error, "a topic is not as configured");
                    }
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_be_called_what_a_key_can_hold_and_no_dead_letters() {
        for good in ["orders", "a", "Orders.v2_eu-west", "dead", &"x".repeat(128)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "or ders", "orders.dead", "a:b", "é", "{a}", &"x".repeat(129)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
