//! What a process knows: the flags of a document, and the plain keys above them.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Compiled;
use super::ready::{By, Decision, Outcome, Ready, Steps};
use crate::flag::context::EvalContext;
use crate::flag::document::Flag;
use crate::flag::evaluation::{DecidedBy, EvalError, Evaluation, Explanation, Reason};
use crate::flag::overlays::Overlays;
use crate::kernel::clock::UnixMillis;

/// A draft of a flag, made ready once to be evaluated often; or why it is none.
#[derive(Debug)]
pub(crate) struct Draft(Result<Ready, String>);

/// All that decides an evaluation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) overlays: Overlays,
}

impl Rules {
    /// `None` where there is no such flag that is true or false, or it leaves that to the code. How old the
    /// rules are makes no difference.
    pub(crate) fn enabled(
        &self,
        key: &str,
        cx: &EvalContext,
        now: UnixMillis,
        _is_stale: bool,
    ) -> Option<bool> {
        self.decide(key, cx, now, &mut ()).outcome.ok()?.variant?.value.as_bool()
    }

    /// What a flag is, or else `default`, as a value of this type.
    pub(crate) fn evaluate<T: DeserializeOwned>(
        &self,
        key: &str,
        cx: &EvalContext,
        default: T,
        now: UnixMillis,
        is_stale: bool,
    ) -> Evaluation<T> {
        let version = self.compiled.version;
        let instead = |reason| (None, None, reason);
        let (value, variant, reason) = match self.decide(key, cx, now, &mut ()).outcome {
            Ok(Outcome { variant: None, reason }) => instead(reason),
            Ok(Outcome { variant: Some(variant), reason }) => {
                match T::deserialize(&variant.value) {
                    Ok(value) => {
                        (Some(value), Some(Arc::clone(&variant.name)), reason.aged(is_stale))
                    }
                    Err(_) => instead(Reason::Error),
                }
            }
            Err(EvalError::FlagNotFound) => instead(Reason::Default),
            Err(_) => instead(Reason::Error),
        };
        Evaluation { value: value.unwrap_or(default), variant, reason, version }
    }

    /// What a flag is; a value of `None` leaves it to the code.
    pub(crate) fn try_evaluate(
        &self,
        key: &str,
        cx: &EvalContext,
        now: UnixMillis,
        is_stale: bool,
    ) -> Result<Evaluation<Option<Value>>, EvalError> {
        self.answer(self.decide(key, cx, now, &mut ()).outcome, is_stale)
    }

    /// The same, and how it came about.
    pub(crate) fn explain(
        &self,
        key: &str,
        cx: &EvalContext,
        now: UnixMillis,
        is_stale: bool,
    ) -> Explanation {
        let mut steps = Vec::new();
        let decision = self.decide(key, cx, now, &mut steps);
        self.explained(decision, steps, is_stale)
    }

    /// With the segments that are known now.
    pub(crate) fn draft(&self, key: &str, flag: &Flag) -> Draft {
        Draft(match flag.validate() {
            Ok(()) => Ready::new(key, flag, &self.compiled.segments)
                .ok_or_else(|| EvalError::ParseError.to_string()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The same as [`Rules::explain`], as if this draft were saved.
    pub(crate) fn preview(
        &self,
        key: &str,
        draft: &Draft,
        cx: &EvalContext,
        now: UnixMillis,
    ) -> Explanation {
        let mut steps = Vec::new();
        let decision = match &draft.0 {
            Ok(ready) => self.decide_ready(key, ready, cx, now, &mut steps),
            Err(why) => {
                steps.push(why.clone());
                Decision::failed(EvalError::ParseError)
            }
        };
        self.explained(decision, steps, false)
    }

    fn decide(
        &self,
        key: &str,
        cx: &EvalContext,
        now: UnixMillis,
        steps: &mut impl Steps,
    ) -> Decision<'_> {
        if let Some(ready) = self.compiled.flags.get(key) {
            return self.decide_ready(key, ready, cx, now, steps);
        }
        match self.overlays.find(key, cx.targeting_key(), now) {
            Some(overlaid) => Decision::plain(overlaid, steps),
            None => {
                steps.say(|| {
                    format!("there is no flag {key:?}, and no plain key of this user or everyone")
                });
                Decision::failed(EvalError::FlagNotFound)
            }
        }
    }

    fn decide_ready<'a>(
        &self,
        key: &str,
        ready: &'a Ready,
        cx: &EvalContext,
        now: UnixMillis,
        steps: &mut impl Steps,
    ) -> Decision<'a> {
        let overlaid = match ready.is_bool() {
            true => self.overlays.find(key, cx.targeting_key(), now),
            false => None,
        };
        ready.decide(overlaid, cx, now, steps)
    }

    fn answer(
        &self,
        outcome: Result<Outcome<'_>, EvalError>,
        is_stale: bool,
    ) -> Result<Evaluation<Option<Value>>, EvalError> {
        let Outcome { variant, reason } = outcome?;
        Ok(Evaluation {
            value: variant.map(|variant| variant.value.clone()),
            variant: variant.map(|variant| Arc::clone(&variant.name)),
            reason: reason.aged(is_stale),
            version: self.compiled.version,
        })
    }

    fn explained(&self, decision: Decision<'_>, steps: Vec<String>, is_stale: bool) -> Explanation {
        let Decision { outcome, by, bucket } = decision;
        let decided_by = match by {
            By::Nothing => DecidedBy::Nothing,
            By::Killed => DecidedBy::Killed,
            By::UserOverlay => DecidedBy::UserOverlay,
            By::GlobalOverlay => DecidedBy::GlobalOverlay,
            By::Schedule => DecidedBy::Schedule,
            By::Expired => DecidedBy::Expired,
            By::Off => DecidedBy::Off,
            By::UserOverride => DecidedBy::UserOverride,
            By::TenantOverride => DecidedBy::TenantOverride,
            By::Rule(index, name) => DecidedBy::Rule { index, name: name.map(str::to_owned) },
            By::Default => DecidedBy::Default,
        };
        Explanation { evaluation: self.answer(outcome, is_stale), decided_by, bucket, steps }
    }
}
