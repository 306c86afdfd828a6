//! Conditions, made ready to be looked at often: nothing is allocated, and values are searched in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Condition, Op};
use crate::flag::context::{Attribute, EvalContext};

/// A condition, ready.
#[derive(Debug)]
pub(in crate::flag) enum Predicate {
    Attribute {
        name: Box<str>,
        test: Test,
    },
    /// Of one that is not defined, `None`.
    Segment(Option<Arc<SegmentTest>>),
}

/// A segment, ready: any of all of these.
#[derive(Debug)]
pub(in crate::flag) struct SegmentTest(pub(in crate::flag) Box<[Box<[Predicate]>]>);

#[derive(Debug)]
pub(in crate::flag) enum Test {
    OneOf(Values),
    NoneOf(Values),
    LessThan(f64),
    AtMost(f64),
    MoreThan(f64),
    AtLeast(f64),
    StartsWith(Box<[Box<str>]>),
    EndsWith(Box<[Box<str>]>),
    Contains(Box<[Box<str>]>),
    /// A comparison without a value that it could be made with.
    Never,
}

/// Values by kind, each sorted.
#[derive(Debug)]
pub(in crate::flag) struct Values {
    texts: Box<[Box<str>]>,
    numbers: Box<[f64]>,
    has_true: bool,
    has_false: bool,
}

impl Predicate {
    pub(in crate::flag) fn new(
        condition: &Condition,
        segments: &BTreeMap<String, Arc<SegmentTest>>,
    ) -> Self {
        match condition {
            Condition::Segment(name) => Self::Segment(segments.get(name).cloned()),
            Condition::Attribute { attribute, op, values } => {
                Self::Attribute { name: attribute.as_str().into(), test: Test::new(*op, values) }
            }
        }
    }

    pub(in crate::flag) fn holds(&self, cx: &EvalContext) -> bool {
        match self {
            Self::Segment(segment) => segment.as_ref().is_some_and(|segment| segment.has(cx)),
            Self::Attribute { name, test } => test.holds(cx.attribute(name)),
        }
    }

    /// What it looks at, as it is in a context: for people, who see there why `42` is not `"42"`.
    pub(in crate::flag) fn found(&self, cx: &EvalContext) -> Option<String> {
        let Self::Attribute { name, .. } = self else { return None };
        Some(match cx.attribute(name) {
            Some(attribute) => format!("{name} is {attribute}"),
            None => format!("{name} is not known"),
        })
    }
}

impl SegmentTest {
    fn has(&self, cx: &EvalContext) -> bool {
        self.0.iter().any(|all| all.iter().all(|predicate| predicate.holds(cx)))
    }
}

impl Test {
    fn new(op: Op, values: &[Value]) -> Self {
        let number = values.first().and_then(Value::as_f64);
        let compare = |test: fn(f64) -> Self| number.map_or(Self::Never, test);
        match op {
            Op::Is | Op::In => Self::OneOf(Values::new(values)),
            Op::IsNot | Op::NotIn => Self::NoneOf(Values::new(values)),
            Op::LessThan => compare(Self::LessThan),
            Op::AtMost => compare(Self::AtMost),
            Op::MoreThan => compare(Self::MoreThan),
            Op::AtLeast => compare(Self::AtLeast),
            Op::StartsWith => Self::StartsWith(texts(values)),
            Op::EndsWith => Self::EndsWith(texts(values)),
            Op::Contains => Self::Contains(texts(values)),
        }
    }

    fn holds(&self, attribute: Option<Attribute<'_>>) -> bool {
        let Some(attribute) = attribute else { return matches!(self, Self::NoneOf(_)) };
        match self {
            Self::OneOf(values) => values.have(attribute),
            Self::NoneOf(values) => !values.have(attribute),
            Self::LessThan(bound) => number(attribute).is_some_and(|number| number < *bound),
            Self::AtMost(bound) => number(attribute).is_some_and(|number| number <= *bound),
            Self::MoreThan(bound) => number(attribute).is_some_and(|number| number > *bound),
            Self::AtLeast(bound) => number(attribute).is_some_and(|number| number >= *bound),
            Self::StartsWith(parts) => {
                any_text(attribute, |text| parts.iter().any(|part| text.starts_with(&**part)))
            }
            Self::EndsWith(parts) => {
                any_text(attribute, |text| parts.iter().any(|part| text.ends_with(&**part)))
            }
            Self::Contains(parts) => match attribute {
                Attribute::List(items) => items.iter().any(|item| has_text(parts, item)),
                _ => any_text(attribute, |text| parts.iter().any(|part| text.contains(&**part))),
            },
            Self::Never => false,
        }
    }
}

impl Values {
    fn new(values: &[Value]) -> Self {
        // The two zeros are one number.
        let mut numbers: Vec<f64> =
            values.iter().filter_map(Value::as_f64).map(|number| number + 0.0).collect();
        numbers.sort_unstable_by(f64::total_cmp);
        Self {
            texts: texts(values),
            numbers: numbers.into(),
            has_true: values.contains(&Value::Bool(true)),
            has_false: values.contains(&Value::Bool(false)),
        }
    }

    fn have(&self, attribute: Attribute<'_>) -> bool {
        match attribute {
            Attribute::Text(text) => has_text(&self.texts, text),
            Attribute::Bool(true) => self.has_true,
            Attribute::Bool(false) => self.has_false,
            Attribute::Number(number) => {
                self.numbers.binary_search_by(|one| one.total_cmp(&(number + 0.0))).is_ok()
            }
            Attribute::List(items) => items.iter().any(|item| has_text(&self.texts, item)),
        }
    }
}

/// The texts among the values, sorted.
fn texts(values: &[Value]) -> Box<[Box<str>]> {
    let mut texts: Vec<Box<str>> =
        values.iter().filter_map(Value::as_str).map(Into::into).collect();
    texts.sort_unstable();
    texts.into()
}

fn has_text(sorted: &[Box<str>], text: &str) -> bool {
    sorted.binary_search_by(|one| (**one).cmp(text)).is_ok()
}

fn number(attribute: Attribute<'_>) -> Option<f64> {
    match attribute {
        Attribute::Number(number) => Some(number),
        _ => None,
    }
}

fn any_text(attribute: Attribute<'_>, is_so: impl Fn(&str) -> bool) -> bool {
    match attribute {
        Attribute::Text(text) => is_so(text),
        Attribute::List(items) => items.iter().any(|item| is_so(item)),
        Attribute::Bool(_) | Attribute::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(op: Op, values: Value, cx: &EvalContext) -> bool {
        let Value::Array(values) = values else { panic!("expected a list: {values}") };
        let condition = Condition::Attribute { attribute: "it".to_owned(), op, values };
        Predicate::new(&condition, &BTreeMap::new()).holds(cx)
    }

    #[test]
    fn each_comparison_holds_for_what_it_says() {
        let text = EvalContext::new().with("it", "pro-team");
        let number = EvalContext::new().with("it", 12);
        let yes = EvalContext::new().with("it", true);
        let list = EvalContext::new().with("it", vec!["admin".to_owned(), "author".to_owned()]);
        for (op, values, cx, expected) in [
            (Op::Is, json!(["pro-team"]), &text, true),
            (Op::Is, json!(["pro"]), &text, false),
            (Op::IsNot, json!(["pro"]), &text, true),
            (Op::In, json!(["a", "pro-team", "z"]), &text, true),
            (Op::NotIn, json!(["a", "pro-team", "z"]), &text, false),
            (Op::StartsWith, json!(["x", "pro"]), &text, true),
            (Op::StartsWith, json!(["team"]), &text, false),
            (Op::EndsWith, json!(["team"]), &text, true),
            (Op::EndsWith, json!(["pro"]), &text, false),
            (Op::Contains, json!(["o-t"]), &text, true),
            (Op::Contains, json!(["O-T"]), &text, false),
            (Op::Is, json!([12]), &number, true),
            (Op::Is, json!([12.0]), &number, true),
            (Op::Is, json!(["12"]), &number, false),
            (Op::LessThan, json!([12]), &number, false),
            (Op::AtMost, json!([12]), &number, true),
            (Op::MoreThan, json!([11.5]), &number, true),
            (Op::AtLeast, json!([12.5]), &number, false),
            (Op::AtLeast, json!([1]), &text, false),
            (Op::Contains, json!(["1"]), &number, false),
            (Op::Is, json!([true]), &yes, true),
            (Op::Is, json!([false]), &yes, false),
            (Op::Is, json!(["true"]), &yes, false),
            (Op::In, json!(["author"]), &list, true),
            (Op::IsNot, json!(["author"]), &list, false),
            (Op::NotIn, json!(["guest"]), &list, true),
            (Op::Contains, json!(["admin"]), &list, true),
            (Op::Contains, json!(["adm"]), &list, false),
            (Op::StartsWith, json!(["auth"]), &list, true),
        ] {
            assert_eq!(holds(op, values.clone(), cx), expected, "{op:?} {values} of {cx:?}");
        }
    }

    #[test]
    fn of_an_attribute_that_is_missing_only_negations_hold() {
        for op in Op::ALL {
            let is_negation = matches!(op, Op::IsNot | Op::NotIn);
            assert_eq!(holds(op, json!(["x"]), &EvalContext::new()), is_negation, "{op:?}");
            assert_eq!(holds(op, json!([7]), &EvalContext::user("u1")), is_negation, "{op:?}");
        }
    }

    #[test]
    fn zero_is_zero_and_not_a_number_is_nothing() {
        for zero in [0.0, -0.0] {
            let cx = EvalContext::new().with("it", zero);
            assert!(holds(Op::Is, json!([0]), &cx));
            assert!(holds(Op::In, json!([-0.0, 1]), &cx));
        }
        let cx = EvalContext::new().with("it", f64::NAN);
        for op in [Op::Is, Op::LessThan, Op::AtMost, Op::MoreThan, Op::AtLeast] {
            assert!(!holds(op, json!([0]), &cx), "{op:?}");
        }
    }
}
