//! Flags as a provider of OpenFeature, for code that is written against its SDK.

use std::fmt;

use async_trait::async_trait;
use open_feature::provider::{FeatureProvider, ProviderMetadata, ResolutionDetails};
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue as Field, EvaluationError, EvaluationErrorCode,
    EvaluationReason, EvaluationResult, StructValue, Value as Resolved,
};
use serde_json::{Map, Value};

use super::Flags;
use super::context::EvalContext;
use super::evaluation::{EvalError, Reason};

/// Whole numbers that a float has exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A provider for the `open-feature` crate.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use open_feature::{EvaluationContext, OpenFeature};
///
/// let flags = sinew::Sinew::embedded().flags().open().await?;
/// let provider = sinew::flag::OpenFeature::new(flags);
/// OpenFeature::singleton_mut().await.set_provider(provider).await;
///
/// let client = OpenFeature::singleton().await.create_client();
/// let cx = EvaluationContext::default().with_targeting_key("u1");
/// assert!(!client.get_bool_value("new-ui", Some(&cx), None).await.unwrap_or(false));
/// # Ok(()) }
/// ```
///
/// A custom field is an attribute if it is text, a number, true or false, or a struct field with a
/// `Vec<String>`; others are left out. An evaluation that leaves the value to the code, as that of a flag
/// that has expired, is an error, on which the SDK has its caller use a default.
///
/// # When Redis is down
/// As [`Flags::evaluate`]: what was known last counts.
pub struct OpenFeature {
    flags: Flags,
    metadata: ProviderMetadata,
}

impl OpenFeature {
    /// A provider of these flags.
    #[must_use]
    pub fn new(flags: Flags) -> Self {
        Self { flags, metadata: ProviderMetadata::new("sinew") }
    }

    fn resolve<T>(
        &self,
        key: &str,
        context: &EvaluationContext,
        read: fn(&Value) -> Option<T>,
    ) -> EvaluationResult<ResolutionDetails<T>> {
        let evaluated = self.flags.try_evaluate(key, &cx_of(context)).map_err(failed)?;
        let Some(value) = evaluated.value else {
            let why = "the flag leaves it to the code: expected a default".to_owned();
            return Err(failed(EvalError::General(why)));
        };
        let value = read(&value).ok_or_else(|| failed(EvalError::TypeMismatch))?;
        let variant = evaluated.variant.map(|name| name.to_string());
        let reason = Some(told(evaluated.reason));
        Ok(ResolutionDetails { value, variant, reason, flag_metadata: None })
    }
}

#[async_trait]
impl FeatureProvider for OpenFeature {
    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        self.resolve(flag_key, evaluation_context, Value::as_bool)
    }

    async fn resolve_int_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        self.resolve(flag_key, evaluation_context, whole)
    }

    async fn resolve_float_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        self.resolve(flag_key, evaluation_context, Value::as_f64)
    }

    async fn resolve_string_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        self.resolve(flag_key, evaluation_context, |value| value.as_str().map(str::to_owned))
    }

    async fn resolve_struct_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        self.resolve(flag_key, evaluation_context, |value| value.as_object().map(struct_of))
    }
}

impl fmt::Debug for OpenFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFeature").finish_non_exhaustive()
    }
}

fn cx_of(context: &EvaluationContext) -> EvalContext {
    let mut cx = match &context.targeting_key {
        Some(key) => EvalContext::user(key),
        None => EvalContext::new(),
    };
    for (name, field) in &context.custom_fields {
        cx = match field {
            Field::Bool(value) => cx.with(name, *value),
            Field::Int(number) => cx.with(name, *number),
            Field::Float(number) => cx.with(name, *number),
            Field::String(text) => cx.with(name, text.as_str()),
            Field::Struct(other) => match other.downcast_ref::<Vec<String>>() {
                Some(texts) => cx.with(name, texts.clone()),
                None => cx,
            },
            Field::DateTime(_) => cx,
        };
    }
    cx
}

fn told(reason: Reason) -> EvaluationReason {
    match reason {
        Reason::Static => EvaluationReason::Static,
        Reason::TargetingMatch => EvaluationReason::TargetingMatch,
        Reason::Split => EvaluationReason::Split,
        Reason::Disabled => EvaluationReason::Disabled,
        Reason::Default => EvaluationReason::Default,
        Reason::Error => EvaluationReason::Error,
        Reason::Stale => EvaluationReason::Other(reason.name().to_owned()),
    }
}

fn failed(error: EvalError) -> EvaluationError {
    let message = Some(error.to_string());
    let code = match error {
        EvalError::FlagNotFound => EvaluationErrorCode::FlagNotFound,
        EvalError::TargetingKeyMissing => EvaluationErrorCode::TargetingKeyMissing,
        EvalError::TypeMismatch => EvaluationErrorCode::TypeMismatch,
        EvalError::ParseError => EvaluationErrorCode::ParseError,
        EvalError::InvalidContext(_) => EvaluationErrorCode::InvalidContext,
        EvalError::General(why) => EvaluationErrorCode::General(why),
    };
    EvaluationError { code, message }
}

fn whole(value: &Value) -> Option<i64> {
    let of_float = |number: f64| {
        let is_whole = number.fract() == 0.0 && number.abs() <= EXACT_MAX;
        #[allow(clippy::cast_possible_truncation)]
        is_whole.then_some(number as i64)
    };
    value.as_i64().or_else(|| value.as_f64().and_then(of_float))
}

fn struct_of(object: &Map<String, Value>) -> StructValue {
    let fields = object.iter().filter_map(|(name, value)| Some((name.clone(), resolved(value)?)));
    StructValue { fields: fields.collect() }
}

/// The SDK has no null: it is left out.
fn resolved(value: &Value) -> Option<Resolved> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => Resolved::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Resolved::Int(number),
            None => Resolved::Float(number.as_f64()?),
        },
        Value::String(text) => Resolved::String(text.clone()),
        Value::Array(items) => Resolved::Array(items.iter().filter_map(resolved).collect()),
        Value::Object(object) => Resolved::Struct(struct_of(object)),
    })
}
