//! Who would see what: a draft and what is saved, evaluated for those who are typed and for made-up ids.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use sinew::Tenant;
use sinew::flag::{DecidedBy, EvalContext, Explanation, Flag, FlagPreview, Flags};

use super::differences::Differences;
use super::editor::Faults;
use super::extract::{OfFlag, Said};
use super::form::{FieldFault, Typed, written};
use crate::dashboard::show::{Fault, percent, ratio, render, visible};
use crate::flag::context;
use crate::hub::{BUSY, Hub};

/// How many lines of samples are evaluated.
const SAMPLES_MAX: usize = 20;
/// How many ids are made up.
const CROWD_LEN: u32 = 1_000;
/// For how long those who are typed are evaluated, and then those who are made up: drafts and attributes may be large,
/// and whoever may look may ask as often as they like.
const EVALUATING_MAX: Duration = Duration::from_secs(1);
/// How long a line of somebody, or of a crowd, may be: the time that one evaluation takes grows with it.
const LINE_LEN_MAX: usize = 4_096;
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
    draft: Option<FlagPreview>,
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
        Preview::of(flags, key, draft.as_ref(), &typed, tenant.as_ref(), faults)
    });
    let preview = evaluated.await.map_err(|_| Fault::part("the flag could not be evaluated"))?;
    Ok(render(&preview))
}

impl Preview {
    fn of(
        flags: Flags,
        key: String,
        draft: Option<&Flag>,
        typed: &Typed,
        tenant: Option<&Tenant>,
        faults: Vec<FieldFault>,
    ) -> Self {
        let before = flags.get(&key).map(|flag| written(&flag));
        let after = draft.map(written);
        let draft = draft.map(|draft| flags.preview(&key, draft));
        let drafted = &Drafted { flags, key, draft };
        let lines = typed.samples.lines().map(str::trim).filter(|line| !line.is_empty());
        let contexts: Result<Vec<_>, String> = lines
            .clone()
            .take(SAMPLES_MAX)
            .map(|line| somebody(line, tenant).map(|cx| (line, cx)))
            .collect();
        let lines_len = lines.count();
        let (samples, samples_fault) = match contexts {
            Ok(contexts) => {
                let samples = in_time(contexts.into_iter())
                    .map(|(line, cx)| Sample::of(drafted, line, &cx))
                    .collect::<Vec<_>>();
                let shown = samples.len();
                let is_cut = shown < lines_len;
                (samples, is_cut.then(|| format!("only the first {shown} lines are evaluated")))
            }
            Err(what) => (Vec::new(), Some(what)),
        };
        let (crowd_len, shares, crowd_fault) = match shares(drafted, &typed.crowd, tenant) {
            Ok((crowd_len, shares)) => (crowd_len, shares, None),
            Err(what) => (0, Vec::new(), Some(what)),
        };
        Self {
            faults: Faults::of(faults),
            changes: after.map(|after| Differences::between(before.as_ref(), Some(&after))),
            samples,
            samples_fault,
            shares,
            crowd_len,
            crowd_fault,
        }
    }
}

impl Drafted {
    fn now(&self, cx: &EvalContext) -> Explanation {
        self.flags.explain(&self.key, cx)
    }

    fn then(&self, cx: &EvalContext) -> Option<Explanation> {
        self.draft.as_ref().map(|draft| draft.explain(cx))
    }
}

impl Sample {
    fn of(drafted: &Drafted, line: &str, cx: &EvalContext) -> Self {
        let now = drafted.now(cx);
        let (seen_now, then) = (seen(&now), drafted.then(cx));
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

/// As many of them as there is time for, and the first in any case.
fn in_time<T>(all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let began = Instant::now();
    let is_in_time = move |n: usize| n == 0 || began.elapsed() < EVALUATING_MAX;
    all.enumerate().take_while(move |(n, _)| is_in_time(*n)).map(|(_, one)| one)
}

/// What made-up ids see, in which the attributes are those that are typed; and how many ids there was time for.
fn shares(
    drafted: &Drafted,
    attributes: &str,
    tenant: Option<&Tenant>,
) -> Result<(u32, Vec<Share>), String> {
    let (None, attributes) = apart(attributes)? else {
        return Err("ids are made up: expected attributes only, like plan=pro".to_owned());
    };
    let mut counts = BTreeMap::<String, (u64, u64)>::new();
    let mut crowd_len = 0;
    for n in in_time(0..CROWD_LEN) {
        let cx = context::written(Some(&format!("made-up-{n:03}")), &attributes, tenant)?;
        counts.entry(seen(&drafted.now(&cx))).or_default().0 += 1;
        if let Some(then) = drafted.then(&cx) {
            counts.entry(seen(&then)).or_default().1 += 1;
        }
        crowd_len += 1;
    }
    let share = |count: u64| percent(ratio(count, u64::from(crowd_len)));
    let has_draft = drafted.draft.is_some();
    let row =
        |(what, (now, then))| Share { what, now: share(now), then: has_draft.then(|| share(then)) };
    Ok((crowd_len, counts.into_iter().map(row).collect()))
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
    if line.len() > LINE_LEN_MAX {
        return Err(format!("a line is too long: expected at most {LINE_LEN_MAX} bytes"));
    }
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
        assert!(apart(&format!("x={}", "a".repeat(LINE_LEN_MAX - 2))).is_ok());
        let line = format!("x={}", "a".repeat(LINE_LEN_MAX - 1));
        let long = apart(&line);
        assert!(long.unwrap_err().contains("expected at most 4096 bytes"));
    }

    #[test]
    fn what_is_wrong_with_an_attribute_is_told() {
        assert!(somebody("ada plan=pro age=42", None).is_ok());
        for bad in ["ada =pro", "plan=pro plan=team"] {
            assert!(somebody(bad, None).is_err(), "{bad}");
        }
    }
}
