//! What a flag looks like, for `/openapi.json`: the library reads and writes it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A feature flag.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlagBody {
    /// `bool`, `string`, `number` or `json`
    #[schema(example = "bool")]
    r#type: String,
    /// Its values by name. Of a bool flag `on` and `off` unless said
    #[schema(example = json!({"on": true, "off": false}))]
    variants: Option<BTreeMap<String, Value>>,
    /// The variant of everyone else. Of a bool flag `off` unless said
    default: Option<String>,
    /// The variant while it is off, or killed. Of a bool flag one that is false: `off` unless said
    off: Option<String>,
    /// Whether its rules hold: true unless said
    #[serde(default)]
    enabled: bool,
    /// Whether it was switched off in an emergency: nothing else counts then. No PUT ends that
    #[serde(default)]
    killed: bool,
    /// The first whose conditions all hold decides
    #[serde(default)]
    rules: Vec<FlagRuleBody>,
    /// Variants of single users
    #[serde(default)]
    users: BTreeMap<String, String>,
    /// Variants of single tenants
    #[serde(default)]
    tenants: BTreeMap<String, String>,
    /// It is off before (RFC 3339)
    #[schema(example = "2026-11-01T00:00:00Z")]
    on_at: Option<String>,
    /// It is off from then on (RFC 3339)
    off_at: Option<String>,
    /// It is as if it were not there from then on (RFC 3339)
    expires_at: Option<String>,
    /// When someone should ask whether it is still needed (RFC 3339)
    stale_after: Option<String>,
    /// Who answers for it
    owner: Option<String>,
    description: Option<String>,
    /// The version of the last change: given by the store, and not read
    #[serde(default)]
    #[schema(read_only)]
    revision: u64,
}

/// Who gets which variant: `then`, or one of `split` by who they are.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlagRuleBody {
    name: Option<String>,
    /// All have to hold; where there are none, it is for everyone
    #[serde(default)]
    r#if: Vec<FlagConditionBody>,
    /// A variant
    then: Option<String>,
    /// Percent by variant, with at most three decimals, that are 100 in all
    #[schema(example = json!({"on": 10, "off": 90}))]
    split: Option<BTreeMap<String, f64>>,
}

/// Something of an attribute, or that a segment has the user.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlagConditionBody {
    #[schema(example = "plan")]
    attribute: Option<String>,
    /// `is`, `is_not`, `in`, `not_in`, `less_than`, `at_most`, `more_than`, `at_least`, `starts_with`,
    /// `ends_with` or `contains`
    #[schema(example = "in")]
    op: Option<String>,
    #[schema(example = json!(["pro", "team"]))]
    values: Option<Vec<Value>>,
    /// The name of a segment, in place of all these
    segment: Option<String>,
}

/// Users that rules can name together.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlagSegmentBody {
    /// Whoever meets all conditions of one of these
    any: Vec<Vec<FlagConditionBody>>,
}
