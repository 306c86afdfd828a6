//! Who would see what: a draft and what is saved, evaluated for those who are typed and for made-up ids.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use sinew::Tenant;
use sinew::flag::{DecidedBy, EvalContext, Explanation, Flag, Flags};

use super::differences::Differences;
use super::editor::Faults;
use super::extract::{OfFlag, Said};
use super::form::{FieldFault, Typed, written};
use crate::dashboard::show::{Fault, percent, ratio, render, visible};
use crate::flag::context;
use crate::hub::{BUSY, Hub};

/// How many lines of samples are evaluated.
const SAMPLES_MAX: usize = 20;
/// How many ids are made up, and at least, where the draft is so large that fewer have to do.
const CROWD_LEN: u32 = 1_000;
const CROWD_LEN_MIN: u32 = 50;
/// Of the draft, which is compiled for each of them, in bytes. More takes seconds, and whoever sees a flag may
/// ask for it as often as they like.
const CROWD_DRAFTS_LEN_MAX: usize = 16 << 20;
/// What of a value is shown.
const VALUE_CHARS_MAX: usize = 60;

#[derive(Template)]
#[template(path = "flag_preview.html")]
struct Preview {
    faults: Faults,
    /// `None` where the draft is none yet: what is saved is evaluated alone.
    changes: Option<Differences>,
    samples: Vec<Sample>,
    samples_fault: Option<String>,
    shares: Vec<Share>,
    crowd_len: u32,
    crowd_fault: Option<String>,
}

/// What one who was typed sees.
struct Sample {
    who: String,
    now: String,
    /// With the draft; `None` where there is none.
    then: Option<String>,
    differs: bool,
    reason: &'static str,
    why: String,
    bucket: Option<String>,
    steps: Vec<String>,
}

/// How many made-up ids see this.
struct Share {
    what: String,
    now: String,
    then: Option<String>,
}

/// What is evaluated: what is saved, and the draft if it is one.
struct Drafted {
    flags: Flags,
    key: String,
    draft: Option<Flag>,
    /// The draft without its overrides, which know no made-up id: it is compiled for each of them.
    draft_of_crowd: Option<Flag>,
    crowd_len: u32,
}

/// By what the form says now; nothing is saved.
pub(super) async fn preview(
    State(hub): State<Hub>,
    OfFlag { flags, tenant, key, .. }: OfFlag,
    Said { said: typed, .. }: Said<Typed>,
) -> Result<Response, Fault> {
    let busy = hub.heavy_place().ok_or_else(|| Fault::part(BUSY))?;
    let evaluated = tokio::task::spawn_blocking(move || {
        let _busy = busy;
        let (draft, faults) = match typed.flag(Timestamp::now()) {
            Ok(draft) => (Some(draft), Vec::new()),
            Err(faults) => (None, faults),
        };
        Preview::of(&Drafted::new(flags, key, draft), &typed, tenant.as_ref(), faults)
    });
    let preview = evaluated.await.map_err(|_| Fault::part("the flag could not be evaluated"))?;
    Ok(render(&preview))
}

impl Preview {
    fn of(
        drafted: &Drafted,
        typed: &Typed,
        tenant: Option<&Tenant>,
        faults: Vec<FieldFault>,
    ) -> Self {
        let before = drafted.flags.get(&drafted.key).map(|flag| written(&flag));
        let after = drafted.draft.as_ref().map(written);
        let lines = typed.samples.lines().map(str::trim).filter(|line| !line.is_empty());
        let contexts: Result<Vec<_>, String> = lines
            .clone()
            .take(SAMPLES_MAX)
            .map(|line| somebody(line, tenant).map(|cx| (line, cx)))
            .collect();
        let is_cut = lines.count() > SAMPLES_MAX;
        let (samples, samples_fault) = match contexts {
            Ok(contexts) => (
                contexts.into_iter().map(|(line, cx)| Sample::of(drafted, line, &cx)).collect(),
                is_cut.then(|| format!("only the first {SAMPLES_MAX} lines are evaluated")),
            ),
            Err(what) => (Vec::new(), Some(what)),
        };
        let (shares, crowd_fault) = match shares(drafted, &typed.crowd, tenant) {
            Ok(shares) => (shares, None),
            Err(what) => (Vec::new(), Some(what)),
        };
        Self {
            faults: Faults::of(faults),
            changes: after.map(|after| Differences::between(before.as_ref(), Some(&after))),
            samples,
            samples_fault,
            shares,
            crowd_len: drafted.crowd_len,
            crowd_fault,
        }
    }
}

impl Drafted {
    fn new(flags: Flags, key: String, draft: Option<Flag>) -> Self {
        let without_users = |draft: &Flag| {
            let mut draft = written(draft);
            draft.as_object_mut()?.remove("users");
            let crowd_len = crowd_len(draft.to_string().len());
            Some((serde_json::from_value::<Flag>(draft).ok()?, crowd_len))
        };
        let (draft_of_crowd, crowd_len) = match draft.as_ref().and_then(without_users) {
            Some((draft, crowd_len)) => (Some(draft), crowd_len),
            None => (None, CROWD_LEN),
        };
        Self { draft_of_crowd, crowd_len, flags, key, draft }
    }

    fn now(&self, cx: &EvalContext) -> Explanation {
        self.flags.explain(&self.key, cx)
    }

    fn then(&self, draft: Option<&Flag>, cx: &EvalContext) -> Option<Explanation> {
        draft.map(|draft| self.flags.preview(&self.key, draft, cx))
    }
}

impl Sample {
    fn of(drafted: &Drafted, line: &str, cx: &EvalContext) -> Self {
        let now = drafted.now(cx);
        let (seen_now, then) = (seen(&now), drafted.then(drafted.draft.as_ref(), cx));
        let seen_then = then.as_ref().map(seen);
        let decided = then.unwrap_or(now);
        Self {
            who: visible(line),
            differs: seen_then.as_ref().is_some_and(|then| *then != seen_now),
            now: seen_now,
            then: seen_then,
            reason: decided.evaluation.as_ref().map_or("ERROR", |found| found.reason.name()),
            why: why(&decided.decided_by),
            bucket: decided.bucket.map(|at| format!("{} %", f64::from(at) / 1_000.0)),
            steps: decided.steps.iter().map(|step| visible(step)).collect(),
        }
    }
}

/// How many ids are made up for a draft of so many bytes.
fn crowd_len(draft_len: usize) -> u32 {
    let fitting = CROWD_DRAFTS_LEN_MAX / draft_len.max(1);
    u32::try_from(fitting).unwrap_or(u32::MAX).clamp(CROWD_LEN_MIN, CROWD_LEN)
}

/// What made-up ids see, in which the attributes are those that are typed.
fn shares(
    drafted: &Drafted,
    attributes: &str,
    tenant: Option<&Tenant>,
) -> Result<Vec<Share>, String> {
    let (None, attributes) = apart(attributes)? else {
        return Err("ids are made up: expected attributes only, like plan=pro".to_owned());
    };
    let mut counts = BTreeMap::<String, (u64, u64)>::new();
    for n in 0..drafted.crowd_len {
        let cx = context::written(Some(&format!("made-up-{n:03}")), &attributes, tenant)?;
        counts.entry(seen(&drafted.now(&cx))).or_default().0 += 1;
        if let Some(then) = drafted.then(drafted.draft_of_crowd.as_ref(), &cx) {
            counts.entry(seen(&then)).or_default().1 += 1;
        }
    }
    let share = |count: u64| percent(ratio(count, u64::from(drafted.crowd_len)));
    let has_draft = drafted.draft_of_crowd.is_some();
    let row =
        |(what, (now, then))| Share { what, now: share(now), then: has_draft.then(|| share(then)) };
    Ok(counts.into_iter().map(row).collect())
}

/// What somebody sees, in a word or two.
fn seen(explanation: &Explanation) -> String {
    let found = match &explanation.evaluation {
        Ok(found) => found,
        Err(error) => return error.to_string(),
    };
    match (&found.variant, &found.value) {
        (Some(variant), _) => visible(variant),
        (None, Some(value)) => {
            let value = value.to_string();
            visible(&value[..value.floor_char_boundary(VALUE_CHARS_MAX)])
        }
        (None, None) => "the code's default".to_owned(),
    }
}

fn why(decided_by: &DecidedBy) -> String {
    let words = match decided_by {
        DecidedBy::Killed => "the kill switch",
        DecidedBy::UserOverlay => "a plain key of the user",
        DecidedBy::GlobalOverlay => "a plain key for everyone",
        DecidedBy::Schedule => "the schedule",
        DecidedBy::Expired => "the expiry",
        DecidedBy::Off => "it is not enabled",
        DecidedBy::UserOverride => "the user's override",
        DecidedBy::TenantOverride => "the tenant's override",
        DecidedBy::Rule { index, name } => {
            let name = name.as_deref().map(|name| format!(" ({})", visible(name)));
            return format!("rule {}{}", index + 1, name.unwrap_or_default());
        }
        DecidedBy::Default => "the default",
        _ => "nothing: there is no such flag",
    };
    words.to_owned()
}

/// Somebody who is typed: an id, and attributes as `sinew flag why` takes them.
fn somebody(line: &str, tenant: Option<&Tenant>) -> Result<EvalContext, String> {
    let (id, attributes) = apart(line)?;
    context::written(id, &attributes, tenant)
}

/// The one word that is no attribute, and the others.
fn apart(line: &str) -> Result<(Option<&str>, Vec<String>), String> {
    let (attributes, ids): (Vec<&str>, Vec<&str>) =
        words(line).into_iter().partition(|word| word.contains('='));
    let attributes = attributes.into_iter().map(str::to_owned).collect();
    match ids.as_slice() {
        [] => Ok((None, attributes)),
        [id] => Ok((Some(*id), attributes)),
        _ => Err(format!(
            "{line:?}: expected one id, and attributes with their values, like ada plan=pro age=42"
        )),
    }
}

/// Text between quotes may have blanks.
fn words(line: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let ends = |c: char| {
        is_quoted ^= c == '"';
        c.is_whitespace() && !is_quoted
    };
    line.split(ends).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_one_id_and_attributes_in_any_order() {
        let read = apart(r#" plan=pro ada  name="Ada L." roles=["a b","c"] at=1=2"#).unwrap();
        let attributes = ["plan=pro", "name=\"Ada L.\"", "roles=[\"a b\",\"c\"]", "at=1=2"];
        assert_eq!(read, (Some("ada"), attributes.map(str::to_owned).to_vec()));
        assert_eq!(apart("  ").unwrap(), (None, Vec::new()));
        assert!(apart("ada bob").unwrap_err().contains("expected one id"));
    }

    #[test]
    fn a_large_draft_is_not_compiled_for_a_thousand_ids() {
        assert_eq!((crowd_len(0), crowd_len(10_000)), (CROWD_LEN, CROWD_LEN));
        assert_eq!((crowd_len(1 << 17), crowd_len(1 << 20)), (128, CROWD_LEN_MIN));
    }

    #[test]
    fn what_is_wrong_with_an_attribute_is_told() {
        assert!(somebody("ada plan=pro age=42", None).is_ok());
        for bad in ["ada =pro", "plan=pro plan=team"] {
            assert!(somebody(bad, None).is_err(), "{bad}");
        }
    }
}
