//! A flag, made ready, and how it is decided for somebody.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::flag::condition::{Predicate, SegmentTest};
use crate::flag::context::EvalContext;
use crate::flag::document::{Flag, FlagType, Serve, millis};
use crate::flag::evaluation::{EvalError, Reason};
use crate::flag::murmur::Murmur;
use crate::flag::overlays::Overlaid;
use crate::kernel::clock::UnixMillis;

/// What a plain key says where no variant of a flag does.
static PLAIN: LazyLock<[Variant; 2]> = LazyLock::new(|| {
    [("off", false), ("on", true)]
        .map(|(name, value)| Variant { name: name.into(), value: Value::Bool(value) })
});

/// A value, and what it is called.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) name: Arc<str>,
    pub(super) value: Value,
}

/// A flag, ready.
#[derive(Debug)]
pub(super) struct Ready {
    is_bool: bool,
    enabled: bool,
    killed: bool,
    default: Arc<Variant>,
    off: Arc<Variant>,
    /// What a plain key's `false` and `true` are called here.
    plain: [Option<Arc<Variant>>; 2],
    on_at: Option<UnixMillis>,
    off_at: Option<UnixMillis>,
    expires_at: Option<UnixMillis>,
    users: HashMap<Box<str>, Arc<Variant>>,
    tenants: HashMap<Box<str>, Arc<Variant>>,
    rules: Box<[Rule]>,
    /// Of its key, to which that of a subject is added.
    hash: Murmur,
}

#[derive(Debug)]
struct Rule {
    name: Option<Box<str>>,
    conditions: Box<[(Predicate, Box<str>)]>,
    serve: Share,
}

#[derive(Debug)]
enum Share {
    All(Arc<Variant>),
    /// Each up to its bucket, which it does not have any more.
    Split(Box<[(u32, Arc<Variant>)]>),
}

/// What was decided. It borrows everything: deciding allocates nothing.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) outcome: Result<Outcome<'a>, EvalError>,
    pub(super) by: By<'a>,
    pub(super) bucket: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Outcome<'a> {
    /// `None` leaves it to the code.
    pub(super) variant: Option<&'a Variant>,
    pub(super) reason: Reason,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum By<'a> {
    Nothing,
    Killed,
    UserOverlay,
    GlobalOverlay,
    Schedule,
    Expired,
    Off,
    UserOverride,
    TenantOverride,
    Rule(usize, Option<&'a str>),
    Default,
}

/// Who is told what is looked at.
pub(super) trait Steps {
    fn say(&mut self, line: impl FnOnce() -> String);
}

/// Nobody: no line is made.
impl Steps for () {
    fn say(&mut self, _line: impl FnOnce() -> String) {}
}

impl Steps for Vec<String> {
    fn say(&mut self, line: impl FnOnce() -> String) {
        self.push(line());
    }
}

impl Ready {
    /// `None` where it names a variant that it does not have.
    pub(super) fn new(
        key: &str,
        flag: &Flag,
        segments: &BTreeMap<String, Arc<SegmentTest>>,
    ) -> Option<Self> {
        let variants = flag.variants.iter().map(|(name, value)| {
            let variant = Variant { name: name.as_str().into(), value: value.clone() };
            (name.as_str(), Arc::new(variant))
        });
        let variants: BTreeMap<&str, Arc<Variant>> = variants.collect();
        let variant = |name: &String| variants.get(name.as_str()).cloned();
        let overrides = |of: &BTreeMap<String, String>| {
            let found = of.iter().map(|(id, name)| Some((id.as_str().into(), variant(name)?)));
            found.collect::<Option<HashMap<Box<str>, Arc<Variant>>>>()
        };
        let rules = flag.rules.iter().map(|rule| {
            let serve = match &rule.serve {
                Serve::Then(name) => Share::All(variant(name)?),
                Serve::Split(shares) => {
                    let mut upto = 0;
                    let parts = shares.iter().map(|(name, share)| {
                        upto += share.thousandths().ok()?;
                        Some((upto, variant(name)?))
                    });
                    Share::Split(parts.collect::<Option<_>>()?)
                }
            };
            let conditions = rule.conditions.iter().map(|condition| {
                (Predicate::new(condition, segments), condition.to_string().into())
            });
            let name = rule.name.as_deref().map(Into::into);
            Some(Rule { name, conditions: conditions.collect(), serve })
        });
        Some(Self {
            is_bool: flag.kind == FlagType::Bool,
            enabled: flag.enabled,
            killed: flag.killed,
            default: variant(&flag.default)?,
            off: variant(&flag.off)?,
            plain: PLAIN.each_ref().map(|plain| {
                let named = variants.get(&*plain.name).filter(|one| one.value == plain.value);
                named.or_else(|| variants.values().find(|one| one.value == plain.value)).cloned()
            }),
            on_at: flag.on_at.map(millis),
            off_at: flag.off_at.map(millis),
            expires_at: flag.expires_at.map(millis),
            users: overrides(&flag.users)?,
            tenants: overrides(&flag.tenants)?,
            rules: rules.collect::<Option<_>>()?,
            hash: Murmur::new(0).with(key.as_bytes()),
        })
    }

    /// Whether plain keys say anything about it.
    pub(super) fn is_bool(&self) -> bool {
        self.is_bool
    }

    pub(super) fn decide(
        &self,
        overlaid: Option<Overlaid>,
        cx: &EvalContext,
        now: UnixMillis,
        steps: &mut impl Steps,
    ) -> Decision<'_> {
        if self.killed {
            steps.say(|| "it is killed, so it is off".to_owned());
            return Decision::of(By::Killed, Reason::Disabled, self.killed_to());
        }
        if let Some(overlaid) = overlaid {
            return self.overlaid(overlaid, steps);
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            steps.say(|| "it has expired, so it is what the code says".to_owned());
            let outcome = Ok(Outcome { variant: None, reason: Reason::Disabled });
            return Decision { outcome, by: By::Expired, bucket: None };
        }
        if !self.enabled {
            steps.say(|| "it is not enabled, so it is off".to_owned());
            return Decision::of(By::Off, Reason::Disabled, &self.off);
        }
        let is_early = self.on_at.is_some_and(|at| now < at);
        if is_early || self.off_at.is_some_and(|at| at <= now) {
            steps.say(|| "it is outside its schedule, so it is off".to_owned());
            return Decision::of(By::Schedule, Reason::Disabled, &self.off);
        }
        if let Some(user) = cx.targeting_key()
            && let Some(variant) = self.users.get(user)
        {
            steps.say(|| format!("it has an override of user {user:?}"));
            return Decision::of(By::UserOverride, Reason::TargetingMatch, variant);
        }
        if let Some(tenant) = cx.tenant_name()
            && let Some(variant) = self.tenants.get(tenant)
        {
            steps.say(|| format!("it has an override of tenant {tenant:?}"));
            return Decision::of(By::TenantOverride, Reason::TargetingMatch, variant);
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let failed = rule.conditions.iter().find(|(predicate, _)| !predicate.holds(cx));
            match failed {
                Some((predicate, text)) => steps.say(|| {
                    let found = predicate.found(cx).map(|found| format!(" ({found})"));
                    let found = found.unwrap_or_default();
                    format!("{} does not hold: {text}{found}", rule.told(index))
                }),
                None => return self.ruled(index, rule, cx, steps),
            }
        }
        steps.say(|| "nothing else decides, so it is its default".to_owned());
        Decision::of(By::Default, Reason::Static, &self.default)
    }

    /// Whatever else it says, a flag that is true or false and killed is false: one that says otherwise may
    /// have been written before that was refused.
    fn killed_to(&self) -> &Variant {
        match self.is_bool && self.off.value == Value::Bool(true) {
            true => self.plain[0].as_deref().unwrap_or(&PLAIN[0]),
            false => &self.off,
        }
    }

    fn overlaid(&self, overlaid: Overlaid, steps: &mut impl Steps) -> Decision<'_> {
        let mut decision = Decision::plain(overlaid, steps);
        let plain = &self.plain[usize::from(overlaid.value())];
        if let (Ok(outcome), Some(variant)) = (&mut decision.outcome, plain) {
            outcome.variant = Some(variant);
        }
        decision
    }

    fn ruled<'a>(
        &'a self,
        index: usize,
        rule: &'a Rule,
        cx: &EvalContext,
        steps: &mut impl Steps,
    ) -> Decision<'a> {
        let by = By::Rule(index, rule.name.as_deref());
        let shares = match &rule.serve {
            Share::All(variant) => {
                steps.say(|| format!("{} holds", rule.told(index)));
                let is_everyones = rule.conditions.is_empty();
                let reason = if is_everyones { Reason::Static } else { Reason::TargetingMatch };
                return Decision::of(by, reason, variant);
            }
            Share::Split(shares) => shares,
        };
        let Some(subject) = cx.targeting_key() else {
            steps
                .say(|| format!("{} deals out shares: expected a targeting key", rule.told(index)));
            return Decision { outcome: Err(EvalError::TargetingKeyMissing), by, bucket: None };
        };
        let bucket = self.hash.with(subject.as_bytes()).bucket();
        let share = shares.iter().position(|(upto, _)| bucket < *upto);
        let variant = match share {
            Some(at) => &shares[at].1,
            None => &self.default,
        };
        steps.say(|| {
            let buckets = share.map(|at| {
                let from = at.checked_sub(1).map_or(0, |before| shares[before].0);
                format!(": {} has {from} to {}", variant.name, shares[at].0 - 1)
            });
            let (rule, buckets) = (rule.told(index), buckets.unwrap_or_default());
            format!("{rule} holds, and {subject:?} falls into bucket {bucket}{buckets}")
        });
        let decision = Decision::of(by, Reason::Split, variant);
        Decision { bucket: Some(bucket), ..decision }
    }
}

impl Rule {
    /// People count from 1.
    fn told(&self, index: usize) -> String {
        let nth = index + 1;
        match &self.name {
            Some(name) => format!("rule {nth} {name:?}"),
            None => format!("rule {nth}"),
        }
    }
}

impl<'a> Decision<'a> {
    fn of(by: By<'a>, reason: Reason, variant: &'a Variant) -> Self {
        Self { outcome: Ok(Outcome { variant: Some(variant), reason }), by, bucket: None }
    }

    /// Of a plain key, where there is no flag beside it.
    pub(super) fn plain(overlaid: Overlaid, steps: &mut impl Steps) -> Self {
        let variant = &PLAIN[usize::from(overlaid.value())];
        let (by, reason, whose) = match overlaid {
            Overlaid::User(_) => (By::UserOverlay, Reason::TargetingMatch, "this user"),
            Overlaid::Everyone(_) => (By::GlobalOverlay, Reason::Static, "everyone"),
        };
        steps.say(|| format!("a plain key turns it {} for {whose}", variant.name));
        Self::of(by, reason, variant)
    }

    pub(super) fn failed(error: EvalError) -> Self {
        Self { outcome: Err(error), by: By::Nothing, bucket: None }
    }
}
