//! Who has changed a flag, and how; and a change taken back after a second thought.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sinew::ErrorKind;
use sinew::flag::{ChangeId, Flag, FlagChange, Flags};
use sinew::limit::Expected;

use super::differences::Differences;
use super::editor::Done;
use super::extract::{OfFlag, Said};
use super::form::written;
use super::{CHANGED, CHANGES_MAX, SAVED};
use crate::dashboard::extract::{Asked, OurPage};
use crate::dashboard::show::{Fault, render, visible};
use crate::hub::Hub;

/// How many changes are shown.
const TOP: usize = 20;

#[derive(Template)]
#[template(path = "flag_changes.html")]
struct Changes {
    key: String,
    query: String,
    rows: Vec<Row>,
}

struct Row {
    at: String,
    by: String,
    differences: Differences,
    /// What the button says of it.
    vals: String,
}

#[derive(Template)]
#[template(path = "flag_back_confirm.html")]
struct Confirm {
    key: String,
    query: String,
    place: String,
    at: String,
    by: String,
    /// Whether it was not there before.
    removes: bool,
    differences: Differences,
    change: String,
    revision: String,
}

/// Which change, and on top of which revision it is taken back.
#[derive(Deserialize)]
pub(super) struct Which {
    change: String,
    /// Empty where there is no flag now.
    #[serde(default)]
    revision: String,
}

/// What has become of a flag since a revision of it was shown.
pub(super) struct News {
    /// The flag of that revision, where it is remembered.
    pub(super) base: Option<Value>,
    pub(super) newest: Option<Value>,
    /// Who has changed it.
    pub(super) by: Vec<String>,
    /// Whether all changes since are remembered.
    pub(super) is_whole: bool,
}

pub(super) async fn changes(OfFlag { flags, place, key, .. }: OfFlag) -> Result<Response, Fault> {
    let changes = flags.history(Some(&key), TOP).await?;
    let rows = changes.iter().map(Row::of).collect();
    Ok(render(&Changes { query: place.query(), key, rows }))
}

/// The second thought: what it would be again.
pub(super) async fn confirm(
    OfFlag { flags, place, key, .. }: OfFlag,
    Asked(Which { change, .. }): Asked<Which>,
) -> Result<Response, Fault> {
    let found = found(&flags, &key, &change).await?;
    let (now, again) = (flags.get(&key), found.before.as_ref().map(written));
    let now = now.map(|flag| written(&flag));
    Ok(render(&Confirm {
        query: place.query(),
        place: place.in_words(),
        at: at(&found),
        by: visible(&found.by),
        removes: again.is_none(),
        differences: Differences::between(now.as_ref(), again.as_ref()),
        revision: revision(now.as_ref()),
        change,
        key,
    }))
}

/// Writes what was before a change, if the flag is still what was shown: what has come since would be lost.
pub(super) async fn roll_back(
    _: OurPage,
    State(hub): State<Hub>,
    OfFlag { flags, place, by, key, .. }: OfFlag,
    Said { said: Which { change, revision }, .. }: Said<Which>,
) -> Result<Response, Fault> {
    let expected = match revision.as_str() {
        "" => Expected::Absent,
        text => Expected::Revision(
            text.parse()
                .map_err(|_| Fault::part("the form is not complete: expected one from a page"))?,
        ),
    };
    let FlagChange { id, .. } = found(&flags, &key, &change).await?;
    let revision = match flags.roll_back(&key, &id, expected, &by).await {
        Ok(written) => written.revision,
        Err(error) if error.kind() == ErrorKind::Conflict => return Ok(too_late()),
        Err(error) => return Err(error.into()),
    };
    let (tenant, env) = (&place.tenant, place.env_at(&hub));
    tracing::warn!(
        flag = key,
        change,
        revision,
        tenant,
        env,
        by,
        "a flag was rolled back on the dashboard"
    );
    Ok((SAVED, render(&Done { key, what: "rolled back", revision })).into_response())
}

fn too_late() -> Response {
    let what = "someone else has changed it meanwhile: look at the last changes, and choose again";
    (CHANGED, Fault::part(what)).into_response()
}

async fn found(flags: &Flags, key: &str, change: &str) -> Result<FlagChange, Fault> {
    let found = match change.parse::<ChangeId>() {
        Ok(change) => flags.past_change(key, &change).await?,
        Err(_) => None,
    };
    found.ok_or_else(|| Fault::part("that change is too long ago, and no longer remembered"))
}

/// What has become of a flag since a revision of it; an empty one is of none.
pub(super) async fn news_since(flags: &Flags, key: &str, shown: &str) -> sinew::Result<News> {
    let changes = flags.history(Some(key), CHANGES_MAX).await?;
    let mut after: Vec<_> =
        changes.iter().map(|change| change.after.as_ref().map(written)).collect();
    let since = match shown {
        "" => changes.iter().position(|change| change.before.is_none()).map(|at| at + 1),
        shown => after.iter().position(|flag| revision(flag.as_ref()) == shown),
    };
    let mut by: Vec<String> =
        changes.iter().take(since.unwrap_or(0)).map(|change| visible(&change.by)).collect();
    by.sort_unstable();
    by.dedup();
    let base = since.and_then(|at| after.get(at).cloned()).flatten();
    let newest = match after.is_empty() {
        true => flags.get(key).map(|flag| written(&flag)),
        false => after.swap_remove(0),
    };
    Ok(News { base, newest, by, is_whole: since.is_some() })
}

/// Of a flag as JSON; empty where there is none.
pub(super) fn revision(flag: Option<&Value>) -> String {
    let revision = flag.and_then(|flag| flag["revision"].as_u64());
    revision.map(|revision| revision.to_string()).unwrap_or_default()
}

fn at(change: &FlagChange) -> String {
    Timestamp::try_from(change.at).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

impl News {
    pub(super) fn revision(&self) -> String {
        revision(self.newest.as_ref())
    }
}

impl Row {
    fn of(change: &FlagChange) -> Self {
        let as_json = |flag: &Option<Flag>| flag.as_ref().map(written);
        let (before, after) = (as_json(&change.before), as_json(&change.after));
        Self {
            at: at(change),
            by: visible(&change.by),
            differences: Differences::between(before.as_ref(), after.as_ref()),
            vals: serde_json::json!({ "change": change.id.to_string() }).to_string(),
        }
    }
}
