//! What a flag is.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::time;
use crate::flag::condition::Condition;
use crate::flag::murmur::BUCKETS;
use crate::flag::percent::Percent;
use crate::kernel::error::{Error, Result};

/// So many variants a flag may have.
const VARIANTS_MAX: usize = 100;
/// So many rules a flag may have.
const RULES_MAX: usize = 64;
/// So many conditions a rule may have.
pub(super) const CONDITIONS_MAX: usize = 32;
/// So many users and so many tenants a flag may name.
const OVERRIDES_MAX: usize = 10_000;
/// Lists and objects of a value lie at most so deep within one another: what is much deeper can be written,
/// and is read by no one.
const DEPTH_MAX: usize = 64;
/// The longest id of a user or a tenant that a flag names, in bytes.
const ID_LEN_MAX: usize = 256;
/// The longest key of a flag, and name of a variant or a segment.
const KEY_LEN_MAX: usize = 100;
/// The longest name of a rule or an owner, in bytes.
const LABEL_LEN_MAX: usize = 128;
/// The longest description, in bytes.
const DESCRIPTION_LEN_MAX: usize = 4_096;

/// The variant of a [`Flag::bool`] that is true.
const ON: &str = "on";
/// The variant of a [`Flag::bool`] that is false.
const OFF: &str = "off";

/// A flag: what it may be, and for whom it is what.
///
/// ```
/// use sinew::flag::Flag;
///
/// let flag: Flag = serde_json::from_str(
///     r#"{"type": "bool", "rules": [
///         {"if": [{"attribute": "plan", "op": "in", "values": ["pro", "team"]}], "then": "on"},
///         {"name": "a tenth of the others", "split": {"on": 10, "off": 90}}
///     ]}"#,
/// )?;
/// flag.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// For whom it is what is decided in this order: [`Flag::killed`], plain keys, [`Flag::expires_at`],
/// [`Flag::enabled`] and the schedule, [`Flag::users`], [`Flag::tenants`], [`Flag::rules`], and
/// [`Flag::default`] for everyone else.
///
/// Of a flag of type bool, the variants are `on` and `off`, and its default and `off` are `off`, unless it
/// says otherwise. Those of another type say all three. Times are text by RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
#[non_exhaustive]
pub struct Flag {
    /// Of what type its values are.
    #[serde(rename = "type")]
    pub kind: FlagType,
    /// The values that it may have, by name.
    pub variants: BTreeMap<String, Value>,
    /// The variant of everyone of whom nothing else says anything.
    pub default: String,
    /// The variant of everyone while it is killed, not enabled, or outside its schedule: of a flag of type
    /// bool, one that is false.
    pub off: String,
    /// Whether it is more than [`Flag::off`].
    pub enabled: bool,
    /// Whether it is [`Flag::off`] whatever else says, plain keys included. A flag that is put in the place of
    /// a killed one is killed, too: that ends by [`Flags::revive`](crate::flag::Flags::revive).
    pub killed: bool,
    /// The first that holds decides.
    pub rules: Vec<Rule>,
    /// The variants of single users, by their ids.
    pub users: BTreeMap<String, String>,
    /// The variants of whole tenants, by their names: the attribute `tenant`.
    pub tenants: BTreeMap<String, String>,
    /// Until then it is [`Flag::off`].
    #[serde(with = "time")]
    pub on_at: Option<SystemTime>,
    /// From then on it is [`Flag::off`].
    #[serde(with = "time")]
    pub off_at: Option<SystemTime>,
    /// From then on it is what the code says: its default there.
    #[serde(with = "time")]
    pub expires_at: Option<SystemTime>,
    /// From then on people are to be reminded to remove it. It decides nothing.
    #[serde(with = "time")]
    pub stale_after: Option<SystemTime>,
    /// Whom to ask about it.
    pub owner: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// The version of the flags at its last change; the store writes it.
    pub revision: u64,
}

/// The type of a flag's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FlagType {
    /// True or false.
    Bool,
    /// Text.
    String,
    /// A number.
    Number,
    /// Any JSON.
    Json,
}

/// For whom a flag is what, if all conditions hold. Without conditions it holds for everyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenRule", into = "WrittenRule")]
pub struct Rule {
    /// What people call it.
    pub name: Option<String>,
    /// All of them have to hold.
    pub conditions: Vec<Condition>,
    /// What it is then.
    pub serve: Serve,
}

/// What a flag is when a [`Rule`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serve {
    /// This variant.
    Then(String),
    /// Each of these variants for its share of the subjects; the shares make 100 %. A subject falls into
    /// the same share each time, and of two shares, whoever was in one that grows stays in it.
    ///
    /// Its bucket is `(murmur3_x86_32(text) as u64 * 100_000) >> 32`, where the text is the key of the flag
    /// and right behind it that of the subject, and the seed is 0. The variants have the buckets from 0 on,
    /// in the order of their names: 1,000 for each percent.
    Split(BTreeMap<String, Percent>),
}

impl FlagType {
    /// The word for it in a flag.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::String => "string",
            Self::Number => "number",
            Self::Json => "json",
        }
    }

    fn has(self, value: &Value) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::String => value.is_string(),
            Self::Number => value.is_number(),
            Self::Json => true,
        }
    }
}

impl Flag {
    /// One that is true or false: off for everyone.
    #[must_use]
    pub fn bool() -> Self {
        let variants = [(ON, true), (OFF, false)];
        let variants = variants.map(|(name, value)| (name.to_owned(), Value::Bool(value)));
        Self::new(FlagType::Bool, variants, OFF, OFF)
    }

    /// One with these variants: `default` is everyone's, `off` that of everyone while it is off.
    #[must_use]
    pub fn new(
        kind: FlagType,
        variants: impl IntoIterator<Item = (String, Value)>,
        default: impl Into<String>,
        off: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            variants: variants.into_iter().collect(),
            default: default.into(),
            off: off.into(),
            enabled: true,
            killed: false,
            rules: Vec::new(),
            users: BTreeMap::new(),
            tenants: BTreeMap::new(),
            on_at: None,
            off_at: None,
            expires_at: None,
            stale_after: None,
            owner: None,
            description: None,
            revision: 0,
        }
    }

    /// Whether the flag can be as it is.
    ///
    /// # Errors
    /// `Rejected`, with the field and what was expected of it.
    pub fn validate(&self) -> Result<()> {
        self.validate_after(None)
    }

    /// The same in the place of another, of which any owner and description may be left as they were.
    pub(crate) fn validate_after(&self, before: Option<&Self>) -> Result<()> {
        self.check().and_then(|()| self.check_sense(before)).map_err(Error::rejected)
    }

    /// What may be read, since it was once written, and is written no more.
    fn check_sense(&self, before: Option<&Self>) -> Result<(), String> {
        if self.kind == FlagType::Bool {
            for (name, value) in [(ON, true), (OFF, false)] {
                let is_other = |is: &Value| *is != Value::Bool(value);
                if self.variants.get(name).is_some_and(is_other) {
                    return Err(format!("variants.{name}: expected {value}"));
                }
            }
            if self.variants.get(&self.off) != Some(&Value::Bool(false)) {
                return Err("off: expected a variant that is false".to_owned());
            }
        }
        for (at, text, was) in [
            ("owner", &self.owner, before.map(|before| &before.owner)),
            ("description", &self.description, before.map(|before| &before.description)),
        ] {
            if text.as_ref().is_some_and(String::is_empty) && was != Some(text) {
                return Err(format!("{at}: expected some text, or none at all"));
            }
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.check_variants()?;
        self.has_variant("default", &self.default)?;
        self.has_variant("off", &self.off)?;
        at_most("rules", self.rules.len(), RULES_MAX)?;
        for (at, rule) in self.rules.iter().enumerate() {
            self.check_rule(&format!("rules[{at}]"), rule)?;
        }
        self.check_overrides("users", &self.users)?;
        self.check_overrides("tenants", &self.tenants)?;
        self.check_times()?;
        let owner_len = self.owner.as_ref().map_or(0, String::len);
        at_most("owner: bytes", owner_len, LABEL_LEN_MAX)?;
        let description_len = self.description.as_ref().map_or(0, String::len);
        at_most("description: bytes", description_len, DESCRIPTION_LEN_MAX)
    }

    fn check_variants(&self) -> Result<(), String> {
        if self.variants.is_empty() {
            return Err("variants: expected at least one".to_owned());
        }
        at_most("variants", self.variants.len(), VARIANTS_MAX)?;
        for (name, value) in &self.variants {
            check_key(name).map_err(|expected| format!("variants: {expected}"))?;
            if !self.kind.has(value) {
                return Err(format!(
                    "variants.{name}: expected a value of type {}",
                    self.kind.name()
                ));
            }
            if !is_within(value, DEPTH_MAX) {
                return Err(format!(
                    "variants.{name}: expected lists and objects at most {DEPTH_MAX} deep"
                ));
            }
        }
        Ok(())
    }

    fn check_rule(&self, at: &str, rule: &Rule) -> Result<(), String> {
        let name_len = rule.name.as_ref().map_or(0, String::len);
        at_most(&format!("{at}.name: bytes"), name_len, LABEL_LEN_MAX)?;
        at_most(&format!("{at}.if"), rule.conditions.len(), CONDITIONS_MAX)?;
        for (nth, condition) in rule.conditions.iter().enumerate() {
            condition.validate(&format!("{at}.if[{nth}]"))?;
        }
        match &rule.serve {
            Serve::Then(variant) => self.has_variant(&format!("{at}.then"), variant),
            Serve::Split(shares) => self.check_split(&format!("{at}.split"), shares),
        }
    }

    fn check_split(&self, at: &str, shares: &BTreeMap<String, Percent>) -> Result<(), String> {
        let mut sum = 0;
        for (variant, share) in shares {
            self.has_variant(at, variant)?;
            let share = share.thousandths().map_err(|error| format!("{at}.{variant}: {error}"))?;
            sum += u64::from(share);
        }
        if sum != u64::from(BUCKETS) {
            let (whole, thousandths) = (sum / 1_000, sum % 1_000);
            return Err(format!(
                "{at}: expected shares that make 100 percent, found {whole}.{thousandths:03}"
            ));
        }
        Ok(())
    }

    fn check_overrides(
        &self,
        at: &str,
        overrides: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        at_most(at, overrides.len(), OVERRIDES_MAX)?;
        for (id, variant) in overrides {
            if !(1..=ID_LEN_MAX).contains(&id.len()) {
                return Err(format!("{at}: expected ids of 1 to {ID_LEN_MAX} bytes"));
            }
            self.has_variant(&format!("{at}.{id}"), variant)?;
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), String> {
        for (at, time) in [
            ("on_at", self.on_at),
            ("off_at", self.off_at),
            ("expires_at", self.expires_at),
            ("stale_after", self.stale_after),
        ] {
            if time.is_some_and(|time| !time::is_writable(time)) {
                return Err(format!("{at}: expected a time before the year 10000"));
            }
        }
        match (self.on_at, self.off_at) {
            (Some(on_at), Some(off_at)) if off_at <= on_at => {
                Err("off_at: expected a time after on_at".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn has_variant(&self, at: &str, variant: &str) -> Result<(), String> {
        if self.variants.contains_key(variant) {
            return Ok(());
        }
        let names: Vec<_> = self.variants.keys().map(|name| format!("`{name}`")).collect();
        Err(format!("{at}: expected a variant, one of {}", names.join(", ")))
    }
}

/// Whether lists and objects lie at most so deep within one another.
fn is_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_within(item, depth - 1)),
        Value::Object(fields) => {
            depth > 0 && fields.values().all(|item| is_within(item, depth - 1))
        }
        _ => true,
    }
}

/// # Errors
/// What was expected of the key of a flag, or of the name of a variant or a segment.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=KEY_LEN_MAX).contains(&key.len()) && key.bytes().all(is_right) {
        return Ok(());
    }
    Err(format!("expected 1 to {KEY_LEN_MAX} of A-Z a-z 0-9 . _ -"))
}

/// The same of one that is to be made. No URL can hold dots alone: they mean something else in paths.
pub(super) fn check_new_key(key: &str) -> Result<(), String> {
    check_key(key)?;
    match key.bytes().all(|byte| byte == b'.') {
        false => Ok(()),
        true => Err(format!("expected 1 to {KEY_LEN_MAX} of A-Z a-z 0-9 . _ - and not dots alone")),
    }
}

pub(super) fn at_most(at: &str, count: usize, max: usize) -> Result<(), String> {
    if count > max {
        return Err(format!("{at}: expected at most {max}, found {count}"));
    }
    Ok(())
}

/// A flag as it is written: what may be left out is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "type")]
    kind: FlagType,
    variants: Option<BTreeMap<String, Value>>,
    default: Option<String>,
    off: Option<String>,
    enabled: Option<bool>,
    killed: Option<bool>,
    rules: Option<Vec<Rule>>,
    users: Option<BTreeMap<String, String>>,
    tenants: Option<BTreeMap<String, String>>,
    #[serde(default, with = "time")]
    on_at: Option<SystemTime>,
    #[serde(default, with = "time")]
    off_at: Option<SystemTime>,
    #[serde(default, with = "time")]
    expires_at: Option<SystemTime>,
    #[serde(default, with = "time")]
    stale_after: Option<SystemTime>,
    owner: Option<String>,
    description: Option<String>,
    revision: Option<u64>,
}

impl TryFrom<Written> for Flag {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let kind = written.kind;
        let mut flag = match kind {
            FlagType::Bool => Self::bool(),
            _ => Self::new(kind, [], "", ""),
        };
        let missing = |at: &str| format!("{at}: expected one for a flag of type {}", kind.name());
        match written.variants {
            Some(variants) => flag.variants = variants,
            None if flag.variants.is_empty() => return Err(missing("variants")),
            None => {}
        }
        for (at, said, of_flag) in
            [("default", written.default, &mut flag.default), ("off", written.off, &mut flag.off)]
        {
            match said {
                Some(variant) => *of_flag = variant,
                None if of_flag.is_empty() => return Err(missing(at)),
                None => {}
            }
        }
        flag.enabled = written.enabled.unwrap_or(true);
        flag.killed = written.killed.unwrap_or_default();
        flag.rules = written.rules.unwrap_or_default();
        flag.users = written.users.unwrap_or_default();
        flag.tenants = written.tenants.unwrap_or_default();
        flag.on_at = written.on_at;
        flag.off_at = written.off_at;
        flag.expires_at = written.expires_at;
        flag.stale_after = written.stale_after;
        flag.owner = written.owner;
        flag.description = written.description;
        flag.revision = written.revision.unwrap_or_default();
        Ok(flag)
    }
}

/// A rule as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, rename = "if")]
    conditions: Vec<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    then: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split: Option<BTreeMap<String, Percent>>,
}

impl TryFrom<WrittenRule> for Rule {
    type Error = &'static str;

    fn try_from(written: WrittenRule) -> Result<Self, &'static str> {
        let serve = match (written.then, written.split) {
            (Some(variant), None) => Serve::Then(variant),
            (None, Some(shares)) => Serve::Split(shares),
            _ => return Err("rules: expected either `then` or `split`"),
        };
        Ok(Self { name: written.name, conditions: written.conditions, serve })
    }
}

impl From<Rule> for WrittenRule {
    fn from(rule: Rule) -> Self {
        let (then, split) = match rule.serve {
            Serve::Then(variant) => (Some(variant), None),
            Serve::Split(shares) => (None, Some(shares)),
        };
        Self { name: rule.name, conditions: rule.conditions, then, split }
    }
}
