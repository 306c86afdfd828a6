//! Prefixes, tenants and spaces: the parts of a key that are names, valid by construction.

use std::sync::Arc;

use super::error::{Error, Result};

/// The longest name, in bytes.
const NAME_LEN_MAX: usize = 64;
/// The longest name of a topic.
const TOPIC_LEN_MAX: usize = 128;

/// Spaces that belong to capabilities, hence to no cache.
const RESERVED_SPACES: &[&str] = &[
    "counter",
    "deployment",
    "feature",
    "flag",
    "job",
    "lease",
    "limit",
    "lock",
    "rate-limit",
    "rate-limit-places",
    "session",
    "stats",
    "stream",
    "tag",
    "version",
];

/// Whether a deployment serves one tenant or many. It is recorded in Redis at first use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tenancy {
    /// Keys have no tenant part.
    Single,
    /// Every key has a tenant part; what belongs to no tenant is under `_`.
    #[default]
    Multi,
}

impl Tenancy {
    /// The word recorded in Redis.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Multi => "multi",
        }
    }
}

/// What every key of a service begins with: empty, or up to 64 of `[A-Za-z0-9_.-]` ending in `_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(pub(super) Arc<str>);

impl Prefix {
    /// Takes a valid prefix, e.g. `BillingService_`.
    ///
    /// # Errors
    /// `Rejected` with the rule when it is not one.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let valid = text.is_empty()
            || (text.len() <= NAME_LEN_MAX
                && text.ends_with('_')
                && text.bytes().all(|b| is_name_byte(b) || b == b'_'));
        if !valid {
            return Err(Error::rejected(format!(
                "invalid prefix {:?}: expected nothing, or up to {NAME_LEN_MAX} of A-Z a-z 0-9 _ . - ending in _",
                shown(text)
            )));
        }
        Ok(Self(text.into()))
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tenant's name: 1 to 64 of `[A-Za-z0-9.-]`. [`Tenant::new`] is the only way to get one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(pub(super) Arc<str>);

impl Tenant {
    /// Takes a valid tenant name.
    ///
    /// # Errors
    /// `Rejected` with the rule when it is not one.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        name(text.as_ref(), "tenant").map(Self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A cache's part of the key space: 1 to 64 of `[A-Za-z0-9.-]`, and no capability's word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Space(pub(super) Arc<str>);

impl Space {
    pub(crate) fn new(text: &str) -> Result<Self> {
        let text = name(text, "cache")?;
        if RESERVED_SPACES.contains(&&*text) {
            return Err(Error::rejected(format!(
                "a cache cannot be called {text:?}: that word belongs to a capability of Sinew; choose another"
            )));
        }
        Ok(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether entries of caches may be in a space of this name.
pub(super) fn is_a_caches(space: &str) -> bool {
    name(space, "cache").is_ok() && !RESERVED_SPACES.contains(&space)
}

fn name(text: &str, what: &str) -> Result<Arc<str>> {
    // Dots alone mean something else in paths and URLs.
    let valid = text.len() <= NAME_LEN_MAX
        && text.bytes().all(is_name_byte)
        && text.bytes().any(|byte| byte != b'.');
    if !valid {
        return Err(Error::rejected(format!(
            "invalid {what} {:?}: expected 1 to {NAME_LEN_MAX} of A-Z a-z 0-9 . - and not only dots",
            shown(text)
        )));
    }
    Ok(text.into())
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-'
}

/// The beginning of a bad name, so that a megabyte of input does not become a megabyte of message.
fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(40).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A limit's name: 1 to 64 of `[A-Za-z0-9.-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LimitName(pub(super) Arc<str>);

impl LimitName {
    pub(crate) fn new(text: &str) -> Result<Self> {
        name(text, "limit").map(Self)
    }
}

/// An environment of flags: 1 to 64 of `[A-Za-z0-9.-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EnvName(Arc<str>);

impl EnvName {
    pub(crate) fn new(text: &str) -> Result<Self> {
        name(text, "environment").map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A topic of events: 1 to 128 of `[A-Za-z0-9._-]`. One that ends in `.dead` is the dead letters of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicName(Arc<str>);

impl TopicName {
    /// What the topic of dead letters has after its topic's name.
    const DEAD: &str = ".dead";

    pub(crate) fn new(text: &str) -> Result<Self> {
        let name = wide_name(text, TOPIC_LEN_MAX, "topic")?;
        if name.strip_suffix(Self::DEAD).is_some_and(|living| {
            living.bytes().all(|byte| byte == b'.') || living.ends_with(Self::DEAD)
        }) {
            return Err(Error::rejected(format!(
                "invalid topic {:?}: expected the name of a topic before .dead, which has dead letters",
                shown(text)
            )));
        }
        Ok(Self(name))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the dead letters of another, which no one publishes to.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.ends_with(Self::DEAD)
    }

    /// The topic that events are published to: itself, or the one whose dead letters it is.
    pub(crate) fn living(&self) -> &str {
        self.0.strip_suffix(Self::DEAD).unwrap_or(&self.0)
    }
}

/// A group of consumers: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupName(Arc<str>);

impl GroupName {
    pub(crate) fn new(text: &str) -> Result<Self> {
        wide_name(text, NAME_LEN_MAX, "group").map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A queue of jobs: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QueueName(Arc<str>);

impl QueueName {
    pub(crate) fn new(text: &str) -> Result<Self> {
        wide_name(text, NAME_LEN_MAX, "queue").map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A kind of job: 1 to 128 of `[A-Za-z0-9._-]`. It is chosen and stays, whatever a type is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KindName(Arc<str>);

impl KindName {
    pub(crate) fn new(text: &str) -> Result<Self> {
        wide_name(text, TOPIC_LEN_MAX, "kind of job").map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name that is never beside a tenant's, hence may have an underscore.
fn wide_name(text: &str, len_max: usize, what: &str) -> Result<Arc<str>> {
    let valid = text.len() <= len_max
        && text.bytes().all(|byte| is_name_byte(byte) || byte == b'_')
        && text.bytes().any(|byte| byte != b'.');
    if !valid {
        return Err(Error::rejected(format!(
            "invalid {what} {:?}: expected 1 to {len_max} of A-Z a-z 0-9 . _ - and not only dots",
            shown(text)
        )));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_rejected_with_the_rule() {
        let long = "a".repeat(65);
        for bad in ["", ".", "..", "_", "a_b", "a:b", "a b", "ä", "a{b}", "a*", long.as_str()] {
            let error = Tenant::new(bad).unwrap_err().to_string();
            assert!(error.contains("expected 1 to 64 of"), "{error}");
        }
        for bad in ["x", "a:_", "ä_", long.as_str()] {
            assert!(Prefix::new(bad).is_err(), "{bad}");
        }
        for word in RESERVED_SPACES {
            assert!(Space::new(word).is_err());
        }
        assert!(Tenant::new("x".repeat(10_000)).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn a_topic_may_be_the_dead_letters_of_another() {
        let dead = TopicName::new("a.b_c.dead").unwrap();
        assert!(dead.is_dead() && dead.living() == "a.b_c");
        let living = TopicName::new("dead").unwrap();
        assert!(!living.is_dead() && living.living() == "dead");
        let long = "a".repeat(129);
        for bad in ["", "..", ".dead", "a.dead.dead", "a:b", "~a", "a{b}", "ä", long.as_str()] {
            assert!(TopicName::new(bad).is_err(), "{bad}");
        }
        for bad in ["", "~parked", "a b", &long[..65]] {
            assert!(GroupName::new(bad).is_err(), "{bad}");
        }
        assert!(TopicName::new(&long[..128]).is_ok() && GroupName::new(&long[..64]).is_ok());
    }
}
