//! What is said of limits: the requests and replies of the hub, which commands write and read again.

use std::slice;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sinew::limit::{Algorithm, Change, Decision, Down, Limit, Per, Standing};
use sinew::{CacheKey, Segments};
use utoipa::ToSchema;

use super::table::DefinedLimitRow;
use crate::duration;

/// A limit, as it is defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LimitBody {
    pub(crate) name: String,
    /// `gcra`, `fixed-window`, `sliding-window` or `sliding-log`
    pub(crate) algorithm: String,
    /// How much it admits per period
    pub(crate) quota: u64,
    /// The period
    #[schema(example = "1m")]
    pub(crate) per: String,
    /// By GCRA, how much may be taken at once; null where it is the quota
    pub(crate) burst: Option<u64>,
    /// What a subject may owe when a reservation turns out to have cost more
    pub(crate) debt_max: u64,
    /// What each process takes at a time, to hand it out by itself; 0 where none does
    pub(crate) lease: u64,
    /// What is answered while Redis does not answer: `open`, `closed` or `local`
    pub(crate) on_down: String,
    /// Whether it only counts, and stops no one
    pub(crate) shadow: bool,
}

impl From<&Limit> for LimitBody {
    fn from(limit: &Limit) -> Self {
        Self {
            name: limit.name().to_owned(),
            algorithm: limit.algorithm().name().to_owned(),
            quota: limit.quota().limit(),
            per: duration::written(limit.quota().period()),
            burst: limit.burst_max(),
            debt_max: limit.owed_max(),
            lease: limit.permits(),
            on_down: limit.down().name().to_owned(),
            shadow: limit.is_shadow(),
        }
    }
}

/// The limit that is meant, if it can be.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn limit_of(body: &LimitBody) -> Result<Limit, String> {
    let quota = body.quota.per(period(&body.per)?);
    let mut limit = Limit::new(&body.name, algorithm(&body.algorithm)?, quota)
        .debt_max(body.debt_max)
        .lease(body.lease)
        .on_down(on_down(&body.on_down)?);
    if let Some(burst) = body.burst {
        limit = limit.burst(burst);
    }
    if body.shadow {
        limit = limit.shadow();
    }
    limit.validate().map_err(|error| error.to_string())?;
    Ok(limit)
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn algorithm(text: &str) -> Result<Algorithm, String> {
    let names = Algorithm::ALL.map(Algorithm::name);
    let found = Algorithm::ALL.into_iter().find(|one| one.name() == text);
    found.ok_or_else(|| format!("invalid algorithm {text:?}: expected {}", names.join(", ")))
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn on_down(text: &str) -> Result<Down, String> {
    let names = Down::ALL.map(Down::name);
    let found = Down::ALL.into_iter().find(|one| one.name() == text);
    found.ok_or_else(|| format!("invalid on_down {text:?}: expected {}", names.join(", ")))
}

/// # Errors
/// A sentence that says what was expected.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|what| format!("per: {what}"))
}

/// How a limit is to be defined.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DefineBody {
    /// The name in the path, if it is said again
    pub(crate) name: Option<String>,
    /// `gcra`, `fixed-window`, `sliding-window` or `sliding-log`. `gcra` unless said
    #[schema(example = "gcra")]
    pub(crate) algorithm: Option<String>,
    /// How much it is to admit per period
    #[schema(example = 100, minimum = 1)]
    pub(crate) quota: u64,
    /// The period: `1us` to 366 days
    #[schema(example = "1m")]
    pub(crate) per: String,
    /// By GCRA, how much may be taken at once: the quota unless said
    pub(crate) burst: Option<u64>,
    /// What a subject may owe when a reservation turns out to have cost more: nothing unless said
    pub(crate) debt_max: Option<u64>,
    /// What each process takes at a time, to hand it out by itself: nothing unless said
    pub(crate) lease: Option<u64>,
    /// What is answered while Redis does not answer: `open`, `closed` or `local`. `local` unless said
    #[schema(example = "local")]
    pub(crate) on_down: Option<String>,
    /// Whether it only counts, and stops no one
    #[serde(default)]
    pub(crate) shadow: bool,
}

impl DefineBody {
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) fn named(self, name: &str) -> Result<Limit, String> {
        if let Some(other) = self.name.filter(|other| other != name) {
            return Err(format!("a definition of {other:?} for limit {name:?}: expected one name"));
        }
        limit_of(&LimitBody {
            name: name.to_owned(),
            algorithm: self.algorithm.unwrap_or_else(|| Algorithm::Gcra.name().to_owned()),
            quota: self.quota,
            per: self.per,
            burst: self.burst,
            debt_max: self.debt_max.unwrap_or(0),
            lease: self.lease.unwrap_or(0),
            on_down: self.on_down.unwrap_or_else(|| Down::default().name().to_owned()),
            shadow: self.shadow,
        })
    }
}

/// A limit that is defined, and what it decided in this hub since that started, over all tenants.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DefinedBody {
    #[serde(flatten)]
    pub(crate) limit: LimitBody,
    /// Where it is defined: in the `store`, or in the configuration `file`
    pub(crate) source: String,
    /// Of a definition in the store: greater with every change
    pub(crate) revision: Option<u64>,
    /// Requests that were charged to it
    pub(crate) admitted: u64,
    /// Requests that it denied
    pub(crate) denied: u64,
    /// Requests that it would have denied, were it not a shadow
    pub(crate) shadow_denied: u64,
    /// Of all these, those that were decided without Redis
    pub(crate) degraded: u64,
}

impl From<DefinedLimitRow> for DefinedBody {
    fn from(row: DefinedLimitRow) -> Self {
        Self {
            limit: LimitBody::from(&row.limit),
            source: row.source().to_owned(),
            revision: row.revision,
            admitted: row.stats.admitted,
            denied: row.stats.denied,
            shadow_denied: row.stats.shadow_denied,
            degraded: row.stats.degraded,
        }
    }
}

/// What is to be charged: all of it, or nothing.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CheckRequest {
    /// 1 to 16
    #[schema(min_items = 1, max_items = 16)]
    pub(crate) checks: Vec<CheckBody>,
    /// Whether only to say what would be answered: nothing is charged or counted
    #[serde(default)]
    pub(crate) peek: bool,
}

/// What is to be charged to a subject under a limit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CheckBody {
    #[schema(example = "per-user")]
    pub(crate) limit: String,
    pub(crate) subject: SubjectBody,
    /// 1 unless said
    #[schema(minimum = 1)]
    pub(crate) cost: Option<u64>,
}

impl CheckBody {
    /// # Errors
    /// A sentence that says what was expected, after the name of a field.
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.subject.validate().map_err(|what| format!("subject: {what}"))?;
        match self.cost {
            Some(0) => Err(
                r#"cost: 0 asks for nothing: expected 1 or more; with "peek": true beside the checks, nothing is charged"#
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

/// Whom a limit counts: a text or a whole number as it is, or several parts, none of them empty. `"ada"` is a
/// Rust service's `"ada"`, and `["ada", 7]` its `("ada", 7)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string, a whole number, or an array of these")]
pub(crate) enum SubjectBody {
    One(PartBody),
    Many(Vec<PartBody>),
}

impl SubjectBody {
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let parts = match self {
            Self::One(part) => slice::from_ref(part),
            Self::Many(parts) => parts.as_slice(),
        };
        let texts = || parts.iter().map(PartBody::text);
        if texts().any(|text| text == Some("")) {
            return Err("an empty part: expected some text in each".to_owned());
        }
        match (texts().next().flatten(), parts.len()) {
            (Some(dots @ ("." | "..")), 1) => Err(format!(
                "{dots:?} alone: expected another one, as no URL can name that to look at it or reset it"
            )),
            _ => Ok(()),
        }
    }
}

/// A part of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PartBody {
    Text(String),
    Number(u64),
    Negative(i64),
}

impl PartBody {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Negative(_) => None,
        }
    }
}

impl CacheKey for SubjectBody {
    fn segments(&self, into: &mut Segments<'_>) {
        match self {
            Self::One(part) => part.segments(into),
            Self::Many(parts) => {
                for part in parts {
                    part.segments(into);
                }
            }
        }
    }
}

impl CacheKey for PartBody {
    fn segments(&self, into: &mut Segments<'_>) {
        match self {
            Self::Text(text) => text.segments(into),
            Self::Number(number) => number.segments(into),
            Self::Negative(number) => number.segments(into),
        }
    }
}

/// The answer to a check.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DecisionBody {
    /// Whether the request may go on
    pub(crate) allowed: bool,
    /// Whether some limit was decided on without Redis, as its `onDown` says
    pub(crate) degraded: bool,
    /// Until a denied request can pass, if nothing else is charged; null where it was allowed, and where
    /// its cost is more than a limit ever admits
    pub(crate) retry_after_ms: Option<u64>,
    /// In the order of the checks. Where it was denied, only those that were asked before that was clear
    pub(crate) limits: Vec<StandingBody>,
}

impl DecisionBody {
    /// The answer to checks of these limits, in their order.
    pub(crate) fn new(decision: &Decision, limits: &[Limit]) -> Self {
        let standings = decision.limits().iter().filter_map(|standing| {
            Some(StandingBody::new(limits.get(standing.check)?.name(), standing))
        });
        Self {
            allowed: decision.is_allowed(),
            degraded: decision.is_degraded(),
            retry_after_ms: decision.retry_after().map(millis_up),
            limits: standings.collect(),
        }
    }
}

/// How a limit stands for a subject.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StandingBody {
    pub(crate) limit: String,
    /// Whether it admits the cost
    pub(crate) admits: bool,
    /// Whether it only counts, and stops no one
    pub(crate) shadow: bool,
    pub(crate) quota: u64,
    /// The largest cost that it would admit from here on
    pub(crate) remaining: u64,
    /// Until all of it is there again, if nothing else is charged
    pub(crate) reset_ms: u64,
    /// Until it admits the cost, if nothing else is charged; null where it never will
    pub(crate) retry_after_ms: Option<u64>,
}

impl StandingBody {
    pub(crate) fn new(limit: &str, standing: &Standing) -> Self {
        Self {
            limit: limit.to_owned(),
            admits: standing.admits,
            shadow: standing.is_shadow,
            quota: standing.limit,
            remaining: standing.remaining,
            reset_ms: millis_up(standing.reset_after),
            retry_after_ms: standing.retry_after.map(millis_up),
        }
    }
}

/// What a reset has done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ForgottenBody {
    /// Whether anything was charged
    pub(crate) forgotten: bool,
}

/// A change of a definition.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeBody {
    /// When, by the store's clock (RFC 3339)
    #[schema(example = "2026-01-31T12:00:00Z")]
    pub(crate) at: String,
    /// Who made it: `http` where it came over HTTP
    pub(crate) by: String,
    pub(crate) limit: String,
    /// Null where none was defined before
    pub(crate) before: Option<LimitBody>,
    /// Null where the definition was removed
    pub(crate) after: Option<LimitBody>,
}

impl From<Change> for ChangeBody {
    fn from(change: Change) -> Self {
        let at = Timestamp::try_from(change.at).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            at: at.to_string(),
            by: change.by,
            limit: change.name,
            before: change.before.as_ref().map(LimitBody::from),
            after: change.after.as_ref().map(LimitBody::from),
        }
    }
}

/// Never less than it takes.
pub(crate) fn millis_up(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use sinew::limit::{DAY, MINUTE, SECOND};

    use super::*;

    #[test]
    fn a_limit_that_is_shown_is_the_one_that_is_meant() {
        let micro = Duration::from_micros(1);
        for period in [micro, 1_500 * micro, SECOND, MINUTE, 90 * MINUTE, DAY, 366 * DAY] {
            for algorithm in Algorithm::ALL {
                let limit = Limit::new("calls", algorithm, 100.per(period)).debt_max(3);
                let body = LimitBody::from(&limit);
                assert_eq!(limit_of(&body), Ok(limit), "{body:?}");
            }
        }
        let limit = Limit::gcra("calls", 100.per(MINUTE)).burst(7).on_down(Down::Open);
        let limit = limit.lease(5).shadow();
        let body = LimitBody::from(&limit);
        assert_eq!((body.per.as_str(), body.burst, body.lease), ("1m", Some(7), 5));
        assert_eq!(limit_of(&body), Ok(limit));
    }

    #[test]
    fn a_subject_is_the_same_as_a_services_own() {
        let limit = Limit::gcra("calls", 1.per(DAY));
        let read = |json: &str| serde_json::from_str::<SubjectBody>(json).unwrap();
        let key = |check: sinew::limit::Check<'_>| format!("{check:?}");
        assert_eq!(key(limit.of(read("\"a:b\""))), key(limit.of("a:b")));
        assert_eq!(key(limit.of(read("[\"ada\", 7]"))), key(limit.of(("ada", 7))));
        assert_eq!(
            key(limit.of(read("[-7, 18446744073709551615]"))),
            key(limit.of((-7, u64::MAX)))
        );
        assert_eq!(key(limit.of(read("7"))), key(limit.of(7)));
        assert_eq!(key(limit.of(read("-7"))), key(limit.of(-7)));
        for bad in ["1.5", "null", "[1.5]", "[[\"a\"]]", "{\"a\": 1}", "[true]"] {
            assert!(serde_json::from_str::<SubjectBody>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subject_is_one_that_a_path_can_name() {
        let valid = |json: &str| serde_json::from_str::<SubjectBody>(json).unwrap().validate();
        for bad in [r#""""#, r#"[""]"#, r#"["ada", ""]"#] {
            assert!(valid(bad).unwrap_err().contains("expected some text"), "{bad}");
        }
        for bad in [r#"".""#, r#""..""#, r#"["."]"#, r#"[".."]"#] {
            assert!(valid(bad).unwrap_err().contains("no URL can name"), "{bad}");
        }
        for good in [r#""a""#, "7", r#"" ""#, r#""...""#, r#"[".", "."]"#, r#"["..", 7]"#] {
            assert_eq!(valid(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_wait_is_never_told_too_short() {
        assert_eq!(millis_up(Duration::ZERO), 0);
        assert_eq!(millis_up(Duration::from_nanos(1)), 1);
        assert_eq!(millis_up(Duration::from_micros(1_001)), 2);
    }
}
