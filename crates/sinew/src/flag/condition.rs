//! What a rule or a segment asks of a context.

mod predicate;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use predicate::{Predicate, SegmentTest};

/// The longest name of an attribute or a segment, in bytes.
const NAME_LEN_MAX: usize = 128;
/// So many values a condition may name.
const VALUES_MAX: usize = 10_000;
/// So many of them are shown to people.
const SHOWN_MAX: usize = 5;

/// What a rule or a segment asks of a context:
///
/// ```json
/// {"attribute": "plan", "op": "in", "values": ["pro", "team"]}
/// {"segment": "beta"}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Condition {
    /// Something of an attribute; `targetingKey` and `tenant` are attributes too.
    Attribute {
        /// Its name.
        attribute: String,
        /// How it is compared.
        op: Op,
        /// With what: texts, numbers, true or false. They are equal only to their own kind.
        values: Vec<Value>,
    },
    /// That it belongs to this segment; to one that is not defined nobody belongs.
    Segment(String),
}

/// How an attribute is compared.
///
/// Where the context does not have the attribute, only [`Op::IsNot`] and [`Op::NotIn`] hold. Of an
/// attribute that is a list, one item is enough, and for those two it takes all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// It is this value.
    Is,
    /// It is not this value.
    IsNot,
    /// It is one of these values.
    In,
    /// It is none of these values.
    NotIn,
    /// It is a number less than this one.
    LessThan,
    /// It is a number and this one or less.
    AtMost,
    /// It is a number greater than this one.
    MoreThan,
    /// It is a number and this one or greater.
    AtLeast,
    /// It is a text that starts with one of these.
    StartsWith,
    /// It is a text that ends with one of these.
    EndsWith,
    /// It is a text that has one of these in it, or a list with one of these as an item.
    Contains,
}

/// A condition as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attribute: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    op: Option<Op>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
}

impl Op {
    /// All that there are.
    pub const ALL: [Self; 11] = [
        Self::Is,
        Self::IsNot,
        Self::In,
        Self::NotIn,
        Self::LessThan,
        Self::AtMost,
        Self::MoreThan,
        Self::AtLeast,
        Self::StartsWith,
        Self::EndsWith,
        Self::Contains,
    ];

    /// The word for it in a flag.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::IsNot => "is_not",
            Self::In => "in",
            Self::NotIn => "not_in",
            Self::LessThan => "less_than",
            Self::AtMost => "at_most",
            Self::MoreThan => "more_than",
            Self::AtLeast => "at_least",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
            Self::Contains => "contains",
        }
    }
}

impl Condition {
    /// # Errors
    /// The field, which `at` is the way to, and what was expected of it.
    pub(super) fn validate(&self, at: &str) -> Result<(), String> {
        match self {
            Self::Segment(segment) => name(&format!("{at}.segment"), segment),
            Self::Attribute { attribute, op, values } => {
                name(&format!("{at}.attribute"), attribute)?;
                validate_values(*op, values).map_err(|expected| format!("{at}.values: {expected}"))
            }
        }
    }
}

fn name(at: &str, name: &str) -> Result<(), String> {
    match name.len() {
        1..=NAME_LEN_MAX => Ok(()),
        len => Err(format!("{at}: expected 1 to {NAME_LEN_MAX} bytes, found {len}")),
    }
}

fn validate_values(op: Op, values: &[Value]) -> Result<(), String> {
    let (counts, is_right, kind): (_, fn(&Value) -> bool, _) = match op {
        Op::Is | Op::IsNot => (1..=1, is_plain, "text, a number, true or false"),
        Op::In | Op::NotIn => (1..=VALUES_MAX, is_plain, "texts, numbers, true or false"),
        Op::LessThan | Op::AtMost | Op::MoreThan | Op::AtLeast => {
            (1..=1, Value::is_number, "a number")
        }
        Op::StartsWith | Op::EndsWith | Op::Contains => (1..=VALUES_MAX, Value::is_string, "texts"),
    };
    if !counts.contains(&values.len()) {
        let expected = match counts.end() {
            1 => "one value".to_owned(),
            max => format!("1 to {max} values"),
        };
        return Err(format!("expected {expected} for `{}`, found {}", op.name(), values.len()));
    }
    if !values.iter().all(is_right) {
        return Err(format!("expected {kind} for `{}`", op.name()));
    }
    Ok(())
}

fn is_plain(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

/// As people read it: `plan in ["pro","team"]`, `in segment beta`. Of many values, the first few.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => write!(f, "in segment {segment}"),
            Self::Attribute { attribute, op, values } => {
                write!(f, "{attribute} {} ", op.name().replace('_', " "))?;
                match values.as_slice() {
                    [value] => write!(f, "{value}"),
                    values => {
                        let shown = values.len().min(SHOWN_MAX);
                        write!(f, "{}", Value::from(&values[..shown]))?;
                        match values.len() - shown {
                            0 => Ok(()),
                            more => write!(f, " and {more} more"),
                        }
                    }
                }
            }
        }
    }
}

impl TryFrom<Written> for Condition {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        match written {
            Written {
                attribute: Some(attribute),
                op: Some(op),
                values: Some(values),
                segment: None,
            } => Ok(Self::Attribute { attribute, op, values }),
            Written { attribute: None, op: None, values: None, segment: Some(segment) } => {
                Ok(Self::Segment(segment))
            }
            _ => Err("if: expected `attribute`, `op` and `values`, or `segment` alone"),
        }
    }
}

impl From<Condition> for Written {
    fn from(condition: Condition) -> Self {
        let nothing = Self { attribute: None, op: None, values: None, segment: None };
        match condition {
            Condition::Attribute { attribute, op, values } => {
                Self { attribute: Some(attribute), op: Some(op), values: Some(values), ..nothing }
            }
            Condition::Segment(segment) => Self { segment: Some(segment), ..nothing },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_is_read_as_it_was_written() {
        for op in Op::ALL {
            let written = json!({ "attribute": "plan", "op": op.name(), "values": ["pro"] });
            let condition: Condition = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&condition).unwrap(), written);
        }
        let written = json!({ "segment": "beta" });
        let condition: Condition = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(condition, Condition::Segment("beta".to_owned()));
        assert_eq!(serde_json::to_value(&condition).unwrap(), written);
    }

    #[test]
    fn what_is_no_condition_says_what_was_expected() {
        for (written, told) in [
            (json!({}), "`segment` alone"),
            (json!({ "attribute": "plan" }), "`segment` alone"),
            (json!({ "segment": "a", "attribute": "plan", "op": "is", "values": ["x"] }), "alone"),
            (json!({ "attribute": "plan", "op": "like", "values": ["x"] }), "`starts_with`"),
            (json!({ "attribute": "plan", "op": "is", "value": "x" }), "`value`"),
        ] {
            let error = serde_json::from_value::<Condition>(written.clone()).unwrap_err();
            assert!(error.to_string().contains(told), "{written}: {error}");
        }
    }

    #[test]
    fn each_comparison_says_what_values_it_takes() {
        for (op, values, told) in [
            ("is", json!([]), "one value for `is`, found 0"),
            ("is_not", json!(["a", "b"]), "one value for `is_not`, found 2"),
            ("in", json!([]), "1 to 10000 values for `in`, found 0"),
            ("not_in", json!([["a"]]), "texts, numbers, true or false"),
            ("at_least", json!(["7"]), "a number for `at_least`"),
            ("contains", json!([7]), "texts for `contains`"),
        ] {
            let written = json!({ "attribute": "plan", "op": op, "values": values });
            let condition: Condition = serde_json::from_value(written).unwrap();
            let error = condition.validate("rules[0].if[1]").unwrap_err();
            assert!(error.starts_with("rules[0].if[1].values: expected "), "{error}");
            assert!(error.contains(told), "{error}");
        }
        let nameless = Condition::Segment(String::new());
        let error = nameless.validate("any[0][0]").unwrap_err();
        assert!(error.starts_with("any[0][0].segment: expected 1 to 128 bytes"), "{error}");
    }
}
