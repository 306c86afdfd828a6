//! The form of a flag: shown, and saved after a second thought. Who was not fast enough keeps what was typed.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use sinew::ErrorKind;
use sinew::flag::{Flag, Flags};
use sinew::limit::Expected;

use super::differences::Differences;
use super::extract::{OfFlag, Place, Said};
use super::form::{FIELDS, FieldFault, KINDS, Typed, written};
use super::history::news_since;
use super::list::{changed, standing};
use super::{LOADED, SAVED};
use crate::dashboard::extract::OurPage;
use crate::dashboard::show::{Fault, render};
use crate::hub::Hub;

#[derive(Template)]
#[template(path = "flag_editor.html")]
struct Editor {
    key: String,
    query: String,
    note: String,
    is_killed: bool,
    is_new: bool,
    kinds: Vec<Choice>,
    variants: Vec<String>,
    typed: Typed,
}

struct Choice {
    name: &'static str,
    is_chosen: bool,
}

/// What is wrong, for the place of each field in the form that is shown; empty where nothing is.
#[derive(Template)]
#[template(path = "flag_faults.html")]
pub(super) struct Faults {
    rows: Vec<FieldFault>,
}

#[derive(Template)]
#[template(path = "flag_confirm.html")]
struct Confirm {
    key: String,
    query: String,
    place: String,
    is_new: bool,
    differences: Differences,
    revision: String,
    /// As JSON, so that what is confirmed is what is saved.
    flag: String,
    faults: Faults,
}

#[derive(Template)]
#[template(path = "flag_wrong.html")]
struct Wrong {
    faults: Faults,
}

#[derive(Template)]
#[template(path = "flag_conflict.html")]
struct Conflict {
    /// What someone else has changed; `None` where that is not remembered.
    theirs: Option<Differences>,
    by: Vec<String>,
    /// What both have changed.
    both: Vec<String>,
    /// Whether it could be told what only they have changed.
    keeps_theirs: bool,
    /// The form, with theirs below what was typed.
    editor: Editor,
}

#[derive(Template)]
#[template(path = "flag_said.html")]
pub(super) struct Done {
    pub(super) key: String,
    pub(super) what: &'static str,
    pub(super) revision: u64,
}

/// What was confirmed.
#[derive(Deserialize)]
pub(super) struct Confirmed {
    flag: String,
    #[serde(default)]
    revision: String,
}

pub(super) async fn form(OfFlag { flags, place, key, .. }: OfFlag) -> Response {
    let found = flags.get(&key).map(|flag| written(&flag));
    let typed = found.as_ref().map_or_else(Typed::new, Typed::of);
    let editor = Editor::of(key, &place, found.as_ref(), typed);
    (LOADED, render(&editor)).into_response()
}

/// The second thought: what exactly would differ.
pub(super) async fn confirm(
    OfFlag { flags, place, key, .. }: OfFlag,
    Said { said: typed, .. }: Said<Typed>,
) -> Response {
    let draft = match typed.flag(Timestamp::now()) {
        Ok(draft) => written(&draft),
        Err(faults) => return render(&Wrong { faults: Faults::of(faults) }),
    };
    let found = flags.get(&key).map(|flag| written(&flag));
    render(&Confirm {
        query: place.query(),
        place: place.in_words(),
        is_new: found.is_none(),
        differences: Differences::between(found.as_ref(), Some(&draft)),
        revision: typed.revision,
        flag: draft.to_string(),
        faults: Faults::of(Vec::new()),
        key,
    })
}

pub(super) async fn save(
    _: OurPage,
    State(hub): State<Hub>,
    OfFlag { flags, place, by, key, .. }: OfFlag,
    Said { said: confirmed, .. }: Said<Confirmed>,
) -> Result<Response, Fault> {
    let incomplete = || Fault::part("the form is not complete: expected one from a page");
    let flag: Flag = serde_json::from_str(&confirmed.flag).map_err(|_| incomplete())?;
    let expected = match confirmed.revision.as_str() {
        "" => Expected::Absent,
        text => Expected::Revision(text.parse().map_err(|_| incomplete())?),
    };
    match flags.put(&key, flag.clone(), expected, &by).await {
        Ok(saved) => {
            let revision = saved.revision;
            let (tenant, env) = (&place.tenant, place.env_at(&hub));
            tracing::warn!(
                flag = key,
                revision,
                tenant,
                env,
                by,
                "a flag was changed on the dashboard"
            );
            let what = if saved.before.is_some() { "changed" } else { "defined" };
            Ok((SAVED, render(&Done { key, what, revision })).into_response())
        }
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let mine = written(&flag);
            let conflict = Conflict::of(&flags, &place, key, &mine, &confirmed.revision).await?;
            Ok((LOADED, render(&conflict)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

impl Editor {
    fn of(key: String, place: &Place, found: Option<&Value>, typed: Typed) -> Self {
        let now = Timestamp::now();
        let note = match found {
            Some(flag) => format!("Now: {}. Changed {}.", standing(flag, now), changed(flag, now)),
            None => "Not defined. What is said here defines it.".to_owned(),
        };
        let variants = serde_json::from_str::<Map<String, Value>>(&typed.variants);
        let variants =
            variants.map(|variants| variants.into_iter().map(|(name, _)| name).collect());
        let kind = |name| Choice { name, is_chosen: name == typed.kind };
        Self {
            query: place.query(),
            note,
            is_killed: found.is_some_and(|flag| flag["killed"] == true),
            is_new: found.is_none(),
            kinds: KINDS.map(kind).into(),
            variants: variants.unwrap_or_else(|_| vec!["off".to_owned(), "on".to_owned()]),
            typed,
            key,
        }
    }
}

impl Faults {
    pub(super) fn of(faults: Vec<FieldFault>) -> Self {
        let mut rows: Vec<FieldFault> =
            FIELDS.map(|field| FieldFault { field, what: String::new() }).into();
        for fault in faults {
            if let Some(row) = rows.iter_mut().find(|row| row.field == fault.field) {
                row.what = fault.what;
            }
        }
        Self { rows }
    }
}

impl Conflict {
    async fn of(
        flags: &Flags,
        place: &Place,
        key: String,
        mine: &Value,
        revision: &str,
    ) -> sinew::Result<Self> {
        let news = news_since(flags, &key, revision).await?;
        let (merged, both) = match &news.newest {
            Some(theirs) => merged(news.base.as_ref().unwrap_or(theirs), theirs, mine),
            None => (mine.clone(), Vec::new()),
        };
        let mut typed = Typed::of(&merged);
        typed.revision = news.revision();
        let newest = news.newest.as_ref();
        let theirs = news.is_whole.then(|| Differences::between(news.base.as_ref(), newest));
        let editor = Editor::of(key, place, newest, typed);
        let keeps_theirs = news.base.is_some() && newest.is_some();
        Ok(Self { theirs, by: news.by, both, keeps_theirs, editor })
    }
}

/// What was typed, on top of what someone else has made of the flag meanwhile; and the fields that both have
/// changed, of which what was typed is kept.
fn merged(base: &Value, theirs: &Value, mine: &Value) -> (Value, Vec<String>) {
    let (mut fields, mut both) = (Map::new(), Vec::new());
    let all = [theirs, mine].into_iter().filter_map(Value::as_object).flatten();
    for (name, _) in all {
        let (was, is, typed) = (&base[name], &theirs[name], &mine[name]);
        // The kill switch has a button of its own.
        let is_mine = typed != was && name != "killed" && name != "revision";
        if is_mine && is != was && is != typed && !both.contains(name) {
            both.push(name.clone());
        }
        let kept = if is_mine { typed } else { is };
        fields.insert(name.clone(), kept.clone());
    }
    (Value::Object(fields), both)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_only_one_has_changed_is_kept_and_what_both_have_is_told() {
        let base = json!({ "owner": "a", "rules": [], "on_at": null, "off": "off", "killed": false, "revision": 1 });
        let theirs = json!({ "owner": "b", "rules": [1], "on_at": null, "off": "off", "killed": true, "revision": 2 });
        let mine = json!({ "owner": "c", "rules": [], "on_at": "x", "off": "off", "killed": false, "description": "d" });
        let (flag, both) = merged(&base, &theirs, &mine);
        assert_eq!(
            flag,
            json!({
                "owner": "c", "rules": [1], "on_at": "x", "off": "off", "killed": true, "revision": 2,
                "description": "d",
            })
        );
        assert_eq!(both, ["owner"]);
        // The same change is no conflict.
        assert!(merged(&base, &mine, &mine).1.is_empty());
    }
}
