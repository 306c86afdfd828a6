//! What an evaluation answers, and why.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// The value of a flag for somebody, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evaluation<T> {
    /// The value.
    pub value: T,
    /// What it is called in the flag; `None` where it is the code's default, or a plain key's that no
    /// variant has.
    pub variant: Option<Arc<str>>,
    /// Why it is this value.
    pub reason: Reason,
    /// The version of the flags that it was evaluated by; 0 where there were none.
    pub version: u64,
}

/// Why a value is what it is, in OpenFeature's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It is everyone's.
    Static,
    /// A rule, an override or a plain key is about this subject.
    TargetingMatch,
    /// The subject falls into a share.
    Split,
    /// The flag is killed, off, expired, or outside its schedule.
    Disabled,
    /// One of the first three, by flags that may be out of date: Redis has not answered for a while.
    Stale,
    /// There is no such flag.
    Default,
    /// It could not be evaluated, or the value is not of the type that was asked for.
    Error,
}

impl Reason {
    /// The word for it on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Stale => "STALE",
            Self::Default => "DEFAULT",
            Self::Error => "ERROR",
        }
    }

    /// The decision is the same by old rules; only how far it is to be trusted is not.
    pub(super) fn aged(self, is_stale: bool) -> Self {
        match self {
            Self::Static | Self::TargetingMatch | Self::Split if is_stale => Self::Stale,
            other => other,
        }
    }
}

/// Why a flag could not be evaluated, in OpenFeature's words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvalError {
    /// There is no such flag.
    FlagNotFound,
    /// The flag deals out shares, and the context has no key of a subject.
    TargetingKeyMissing,
    /// The value is not of the type that was asked for.
    TypeMismatch,
    /// What is to be evaluated is no flag.
    ParseError,
    /// The context is not what it may be: what was expected.
    InvalidContext(String),
    /// Anything else.
    General(String),
}

impl EvalError {
    /// The word for it on the wire.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::TargetingKeyMissing => "TARGETING_KEY_MISSING",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::ParseError => "PARSE_ERROR",
            Self::InvalidContext(_) => "INVALID_CONTEXT",
            Self::General(_) => "GENERAL",
        }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FlagNotFound => "there is no such flag",
            Self::TargetingKeyMissing => "the flag deals out shares: expected a targeting key",
            Self::TypeMismatch => "the flag's value is not of the expected type",
            Self::ParseError => "expected a flag that is valid",
            Self::InvalidContext(why) | Self::General(why) => why,
        })
    }
}

impl std::error::Error for EvalError {}

/// How an evaluation came about, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// What an evaluation answers; its value is `None` where the code's default is to be used.
    pub evaluation: Result<Evaluation<Option<Value>>, EvalError>,
    /// What has decided.
    pub decided_by: DecidedBy,
    /// Where the subject falls among the flag's shares, 0 to 99,999, if it came to that.
    pub bucket: Option<u32>,
    /// What was looked at, in order, a line each.
    pub steps: Vec<String>,
}

/// What of a flag has decided an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecidedBy {
    /// Nothing: there is no such flag, or it is not valid.
    Nothing,
    /// Its kill switch.
    Killed,
    /// A plain key of this user.
    UserOverlay,
    /// A plain key of everyone.
    GlobalOverlay,
    /// It is outside its schedule.
    Schedule,
    /// It has expired.
    Expired,
    /// It is not enabled.
    Off,
    /// Its override of this user.
    UserOverride,
    /// Its override of this tenant.
    TenantOverride,
    /// A rule.
    Rule {
        /// Its place among the rules, from 0.
        index: usize,
        /// What it is called.
        name: Option<String>,
    },
    /// Its default: no rule holds.
    Default,
}
