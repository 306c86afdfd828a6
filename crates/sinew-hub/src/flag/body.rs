//! What is said of flags: the requests and replies of the hub, which commands write and read again.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sinew::flag::{
    DecidedBy, EvalError, Explanation, Flag, FlagChange, Flags, Overlay, Segment, Written,
};
use utoipa::ToSchema;

use super::schema::{FlagBody, FlagSegmentBody};

/// All flags of an environment.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FlagListBody {
    /// Greater with every change of a flag or a segment; 0 where there never was one
    pub(crate) version: u64,
    /// `live`; `stale`: the store does not answer, and these are the last known; `lost`: it answers and has
    /// lost them, these are the last known, and the next change puts them back
    pub(crate) state: String,
    /// By key
    #[schema(value_type = BTreeMap<String, FlagBody>)]
    pub(crate) flags: BTreeMap<String, Flag>,
    /// The plain keys of the store that decide before flags do
    pub(crate) overlays: Vec<OverlayBody>,
}

impl FlagListBody {
    pub(crate) fn of(flags: &Flags) -> Self {
        let listed = flags.list().into_iter().map(|(key, flag)| (key, Flag::clone(&flag)));
        let mut overlays: Vec<OverlayBody> =
            flags.overlays().into_iter().map(OverlayBody::from).collect();
        overlays.sort_by(|a, b| (&a.flag, &a.user).cmp(&(&b.flag, &b.user)));
        Self {
            version: flags.version(),
            state: flags.state().name().to_owned(),
            flags: listed.collect(),
            overlays,
        }
    }
}

/// A plain key like `feature:new-ui:global`.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OverlayBody {
    #[schema(example = "new-ui")]
    pub(crate) flag: String,
    /// Null where it is for everyone
    pub(crate) user: Option<String>,
    pub(crate) value: bool,
    /// When it ends by itself, if it does (RFC 3339)
    pub(crate) expires_at: Option<String>,
}

impl From<Overlay> for OverlayBody {
    fn from(overlay: Overlay) -> Self {
        Self {
            flag: overlay.key,
            user: overlay.user,
            value: overlay.value,
            expires_at: overlay.expires_at.map(time),
        }
    }
}

/// All segments of an environment.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct SegmentListBody {
    /// By name
    #[schema(value_type = BTreeMap<String, FlagSegmentBody>)]
    pub(crate) segments: BTreeMap<String, Segment>,
}

/// A change that was made.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WrittenBody {
    /// Of the flag from now on
    pub(crate) revision: u64,
    /// Null where there was none before
    #[schema(value_type = Option<FlagBody>)]
    pub(crate) before: Option<Flag>,
    /// Null where it is gone
    #[schema(value_type = Option<FlagBody>)]
    pub(crate) after: Option<Flag>,
}

impl WrittenBody {
    /// Whether anything was written: what is that already is not.
    pub(crate) fn is_change(&self) -> bool {
        self.before != self.after
    }
}

impl From<Written> for WrittenBody {
    fn from(written: Written) -> Self {
        Self { revision: written.revision, before: written.before, after: written.after }
    }
}

/// Which change is to be taken back.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBackBody {
    /// As `GET /v1/audit?kind=flag` has it
    pub(crate) change: String,
}

/// A change of a flag, or of a segment.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FlagChangeBody {
    /// With which it can be taken back
    pub(crate) id: String,
    /// When, by the store's clock (RFC 3339)
    #[schema(example = "2026-01-31T12:00:00Z")]
    pub(crate) at: String,
    /// Who made it: `http` where it came over HTTP, and no one had to say who they are
    pub(crate) by: String,
    /// Its key; of a segment, `segment:` and its name
    pub(crate) flag: String,
    /// Null where there was none before
    #[schema(value_type = Option<FlagBody>)]
    pub(crate) before: Option<Flag>,
    /// Null where it was removed
    #[schema(value_type = Option<FlagBody>)]
    pub(crate) after: Option<Flag>,
    /// What became of a segment, where it was one that was changed
    pub(crate) segment: Option<SegmentChangeBody>,
    /// How many flags came back with it, where the store had lost them all
    pub(crate) put_back: Option<usize>,
}

/// A change of a segment.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct SegmentChangeBody {
    pub(crate) name: String,
    /// Null where there was none before
    #[schema(value_type = Option<FlagSegmentBody>)]
    pub(crate) before: Option<Segment>,
    /// Null where it was removed
    #[schema(value_type = Option<FlagSegmentBody>)]
    pub(crate) after: Option<Segment>,
}

impl From<FlagChange> for FlagChangeBody {
    fn from(change: FlagChange) -> Self {
        Self {
            id: change.id.to_string(),
            at: time(change.at),
            by: change.by,
            flag: change.key,
            before: change.before,
            after: change.after,
            segment: change.segment.map(|segment| SegmentChangeBody {
                name: segment.name,
                before: segment.before,
                after: segment.after,
            }),
            put_back: change.put_back,
        }
    }
}

/// What someone sees of a flag, and why.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WhyBody {
    pub(crate) flag: String,
    /// Null where the code's own default is to be used
    pub(crate) value: Option<Value>,
    pub(crate) variant: Option<String>,
    /// As OpenFeature calls it; null where there is an error
    #[schema(example = "TARGETING_MATCH")]
    pub(crate) reason: Option<String>,
    /// As OpenFeature calls it, like `TARGETING_KEY_MISSING`
    pub(crate) error: Option<String>,
    /// The error in words
    pub(crate) error_details: Option<String>,
    /// `killed`, `user-overlay`, `global-overlay`, `schedule`, `expired`, `off`, `user-override`,
    /// `tenant-override`, `rule`, `default` or `nothing`
    #[schema(example = "rule")]
    pub(crate) decided_by: String,
    /// Which rule, from 1, as `steps` count them
    #[schema(example = 1)]
    pub(crate) rule: Option<usize>,
    /// Its name, if it has one
    pub(crate) rule_name: Option<String>,
    /// Where the user is among all, from 0 to 99,999, if a rule has asked for that
    pub(crate) bucket: Option<u32>,
    /// What was looked at, in the order in which it was
    pub(crate) steps: Vec<String>,
    /// Of all flags, when this was decided
    pub(crate) version: u64,
    /// Of all flags, as `GET /v1/flags` has it
    #[schema(example = "live")]
    pub(crate) state: String,
}

impl WhyBody {
    pub(crate) fn new(flag: &str, flags: &Flags, explanation: Explanation) -> Self {
        let (decided_by, rule, rule_name) = match explanation.decided_by {
            DecidedBy::Killed => ("killed", None, None),
            DecidedBy::UserOverlay => ("user-overlay", None, None),
            DecidedBy::GlobalOverlay => ("global-overlay", None, None),
            DecidedBy::Schedule => ("schedule", None, None),
            DecidedBy::Expired => ("expired", None, None),
            DecidedBy::Off => ("off", None, None),
            DecidedBy::UserOverride => ("user-override", None, None),
            DecidedBy::TenantOverride => ("tenant-override", None, None),
            DecidedBy::Rule { index, name } => ("rule", Some(index + 1), name),
            DecidedBy::Default => ("default", None, None),
            _ => ("nothing", None, None),
        };
        let (evaluation, error) = match explanation.evaluation {
            Ok(evaluation) => (Some(evaluation), None),
            Err(error) => (None, Some(error)),
        };
        let reason = evaluation.as_ref().map(|evaluation| evaluation.reason.name().to_owned());
        let variant = evaluation.as_ref().and_then(|evaluation| evaluation.variant.as_deref());
        Self {
            flag: flag.to_owned(),
            variant: variant.map(str::to_owned),
            reason,
            error: error.as_ref().map(|error| error.code().to_owned()),
            error_details: error.as_ref().map(ToString::to_string),
            decided_by: decided_by.to_owned(),
            rule,
            rule_name,
            bucket: explanation.bucket,
            steps: explanation.steps,
            version: flags.version(),
            state: flags.state().name().to_owned(),
            value: evaluation.and_then(|evaluation| evaluation.value),
        }
    }

    /// Whether there is no such flag.
    pub(crate) fn is_of_nothing(&self) -> bool {
        self.error.as_deref() == Some(EvalError::FlagNotFound.code())
    }
}

/// Always so many digits: they stand below each other.
fn time(at: SystemTime) -> String {
    format!("{:.3}", Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_as_many_digits_each() {
        for (ms, text) in [(0, "1970-01-01T00:00:00.000Z"), (1_950, "1970-01-01T00:00:01.950Z")] {
            assert_eq!(time(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)), text);
        }
    }
}
