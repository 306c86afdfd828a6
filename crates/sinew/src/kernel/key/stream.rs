//! The keys of streams.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::session::Code;
use super::{Encoder, KEY_LEN_MAX, Scope};
use crate::kernel::error::{Error, Result};
use crate::kernel::name::{GroupName, TopicName};

/// What an event is called in a key is its digest where it is longer, in bytes.
const EVENT_LEN_MAX: usize = 256;

/// The keys of one partition of a topic: one hash tag, hence one slot. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PartitionKeys(Arc<Partition>);

#[derive(PartialEq, Eq)]
struct Partition {
    topic: TopicName,
    partition: u16,
    /// What all of its keys begin with, before the colon. Of dead letters: that of their topic.
    root: String,
    /// The same of what belongs to its log.
    own: String,
    log: String,
    meta: String,
    groups: String,
    later: String,
    bodies: String,
    dead: String,
}

/// The keys of a group in a partition. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GroupKeys(Arc<Group>);

#[derive(PartialEq, Eq)]
struct Group {
    name: GroupName,
    members: String,
    due: String,
    tries: String,
    own: String,
    done_prefix: String,
}

impl Scope {
    /// The keys of a partition. Of `orders.dead` they are those of the dead letters of `orders`.
    pub(crate) fn stream(&self, topic: &TopicName, partition: u16) -> PartitionKeys {
        let (scope, of) = (self.as_str(), topic.living());
        let root = format!("{scope}stream:{{{scope}{of}:p{partition}}}");
        let own = match topic.is_dead() {
            true => format!("{root}:dead"),
            false => root.clone(),
        };
        let log = match topic.is_dead() {
            true => own.clone(),
            false => format!("{own}:log"),
        };
        PartitionKeys(Arc::new(Partition {
            topic: topic.clone(),
            partition,
            log,
            meta: format!("{own}:meta"),
            groups: format!("{own}:groups"),
            later: format!("{own}:later"),
            bodies: format!("{own}:bodies"),
            // Dead letters of dead letters are their own topic's, under a name of their own.
            dead: format!("{own}:dead"),
            root,
            own,
        }))
    }

    /// Which topics were declared.
    pub(crate) fn stream_topics(&self) -> String {
        format!("{}stream:topics", self.as_str())
    }

    /// Where webhooks are defined.
    pub(crate) fn stream_webhooks(&self) -> String {
        format!("{}stream:webhooks", self.as_str())
    }

    /// Since when webhooks fail.
    pub(crate) fn stream_webhooks_failing(&self) -> String {
        format!("{}stream:webhooks-failing", self.as_str())
    }

    /// Where a message to everyone is told.
    pub(crate) fn stream_channel(&self, channel: &str) -> String {
        format!("{}stream-broadcast:{channel}", self.as_str())
    }
}

impl PartitionKeys {
    pub(crate) fn topic(&self) -> &TopicName {
        &self.0.topic
    }

    pub(crate) fn partition(&self) -> u16 {
        self.0.partition
    }

    /// The events.
    pub(crate) fn log(&self) -> &str {
        &self.0.log
    }

    /// How it was declared, and what is counted.
    pub(crate) fn meta(&self) -> &str {
        &self.0.meta
    }

    /// What is known of its groups.
    pub(crate) fn groups(&self) -> &str {
        &self.0.groups
    }

    /// When delayed events are due.
    pub(crate) fn later(&self) -> &str {
        &self.0.later
    }

    /// What delayed events are.
    pub(crate) fn bodies(&self) -> &str {
        &self.0.bodies
    }

    /// Its dead letters.
    pub(crate) fn dead(&self) -> &str {
        &self.0.dead
    }

    /// That an event with this dedup id was published.
    ///
    /// # Errors
    /// `Rejected` where the id is empty, or the key were too long.
    pub(crate) fn dup(&self, id: &str) -> Result<String> {
        if id.is_empty() {
            return Err(Error::rejected("an empty dedup id: expected some text"));
        }
        let mut key = format!("{}:dup:", self.0.root);
        // Writing to a String cannot fail.
        let _ = Encoder(&mut key).write_str(id);
        match key.len() <= KEY_LEN_MAX {
            true => Ok(key),
            false => Err(Error::rejected(format!(
                "a dedup id of {} bytes is too long: expected a key of at most {KEY_LEN_MAX} bytes with prefix, tenant and topic",
                id.len()
            ))),
        }
    }

    pub(crate) fn group(&self, name: &GroupName) -> GroupKeys {
        let root = format!("{}:g:{}", self.0.own, name.as_str());
        GroupKeys(Arc::new(Group {
            name: name.clone(),
            members: format!("{root}:members"),
            due: format!("{root}:due"),
            tries: format!("{root}:tries"),
            own: format!("{root}:own"),
            done_prefix: format!("{root}:done:"),
        }))
    }
}

impl GroupKeys {
    pub(crate) fn name(&self) -> &GroupName {
        &self.0.name
    }

    /// Consumers, and when their leases end.
    pub(crate) fn members(&self) -> &str {
        &self.0.members
    }

    /// When parked entries are due.
    pub(crate) fn due(&self) -> &str {
        &self.0.due
    }

    /// What went wrong with entries.
    pub(crate) fn tries(&self) -> &str {
        &self.0.tries
    }

    /// Who owns the partition.
    pub(crate) fn own(&self) -> &str {
        &self.0.own
    }

    /// That an event was finished.
    pub(crate) fn done(&self, event: &str) -> String {
        let prefix = &self.0.done_prefix;
        match event.len() <= EVENT_LEN_MAX {
            true => format!("{prefix}{event}"),
            // No other event of that length is called so.
            false => format!("{prefix}{}", Code::digest(&[b"event\0", event.as_bytes()])),
        }
    }
}

impl fmt::Debug for PartitionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PartitionKeys").field(&self.0.log).finish()
    }
}

impl fmt::Debug for GroupKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GroupKeys").field(&self.0.members).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::name::{Prefix, Tenant};

    fn scope(tenant: &str) -> Scope {
        Scope::tenant(&Prefix::new("p_").unwrap(), &Tenant::new(tenant).unwrap())
    }

    #[test]
    fn the_keys_of_a_partition_are_in_one_slot() {
        let topic = TopicName::new("orders").unwrap();
        let keys = scope("t").stream(&topic, 3);
        let group = keys.group(&GroupName::new("billing").unwrap());
        let root = "p_t:stream:{p_t:orders:p3}:";
        let all =
            [keys.log(), keys.meta(), keys.groups(), keys.later(), keys.bodies(), keys.dead()];
        let of_group = [group.members(), group.due(), group.tries(), group.own()];
        for key in all.into_iter().chain(of_group) {
            assert!(key.starts_with(root), "{key}");
        }
        assert_eq!(keys.dup("a{b}").unwrap(), format!("{root}dup:a%7Bb%7D"));
        assert_eq!(group.done("0:1-1"), format!("{root}g:billing:done:0:1-1"));
        assert!(keys.dup(&"x".repeat(1_000)).is_err() && keys.dup("").is_err());
        assert!(group.done(&"x".repeat(100_000)).len() < 200);
        assert_ne!(keys.log(), scope("u").stream(&topic, 3).log());
        assert_ne!(keys.log(), scope("t").stream(&topic, 4).log());
    }

    #[test]
    fn the_dead_letters_of_a_topic_are_the_log_of_another() {
        let [living, dead] = ["orders", "orders.dead"].map(|name| TopicName::new(name).unwrap());
        let (living, dead) = (scope("t").stream(&living, 0), scope("t").stream(&dead, 0));
        assert_eq!(living.dead(), dead.log());
        let billing = GroupName::new("billing").unwrap();
        assert_ne!(living.group(&billing).due(), dead.group(&billing).due());
        assert!(dead.meta().starts_with(dead.log()) && dead.dead() != dead.log());
    }
}
