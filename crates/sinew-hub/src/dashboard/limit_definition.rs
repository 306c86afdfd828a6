//! The definition of a limit: looked at, and changed after a second thought.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use sinew::ErrorKind;
use sinew::limit::{Algorithm, Down, Expected};

use super::extract::{Asked, LimitName, OurPage};
use super::show::{Fault, render};
use crate::auth::Actor;
use crate::hub::Hub;
use crate::limit::body::{ChangeBody, DefinedBody, LimitBody, limit_of};
use crate::limit::in_words;

/// By whom a change is said to be, where nobody signs in.
const BY: &str = "dashboard";
/// Of all limits together; so many are remembered.
const CHANGES_MAX: usize = 1_000;
/// Of one limit, that are shown.
const TOP: usize = 20;
/// On it, the page fetches the definition and its changes again.
const CHANGED: [(&str, &str); 1] = [("hx-trigger", "limit-changed")];

#[derive(Template)]
#[template(path = "limit_definition.html")]
struct Definition {
    limit: String,
    note: String,
    revision: String,
    algorithms: Vec<Choice>,
    quota: String,
    per: String,
    burst: String,
    debt_max: String,
    lease: String,
    downs: Vec<Choice>,
    shadow: bool,
}

struct Choice {
    name: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "limit_confirm.html")]
struct Confirm {
    limit: String,
    before: Option<String>,
    after: String,
    begins_anew: bool,
    /// What is asked for, as it was asked for.
    query: String,
}

#[derive(Template)]
#[template(path = "limit_changed.html")]
struct Changed {
    limit: String,
    was_there: bool,
    after: String,
}

#[derive(Template)]
#[template(path = "limit_changes.html")]
struct Changes {
    rows: Vec<Change>,
}

struct Change {
    at: String,
    by: String,
    before: String,
    after: String,
}

/// A definition, as the form says it.
#[derive(Deserialize)]
pub(super) struct Terms {
    algorithm: String,
    quota: String,
    per: String,
    #[serde(default)]
    burst: String,
    #[serde(default)]
    debt_max: String,
    #[serde(default)]
    lease: String,
    on_down: String,
    #[serde(default)]
    shadow: bool,
    /// Of what was shown; empty where the store had none.
    #[serde(default)]
    revision: String,
}

pub(super) async fn definition(
    State(hub): State<Hub>,
    LimitName(name): LimitName,
) -> Result<Response, Fault> {
    let found = found(&hub, &name).await?;
    let is_used = hub.limits().others(&[]).contains_key(&name);
    Ok(render(&Definition::of(name, found, is_used)))
}

/// The second thought: what it is, and what it is to be.
pub(super) async fn confirm(
    State(hub): State<Hub>,
    LimitName(name): LimitName,
    RawQuery(query): RawQuery,
    Asked(terms): Asked<Terms>,
) -> Result<Response, Fault> {
    let after = terms.limit(&name)?;
    terms.expected()?;
    let before = found(&hub, &name).await?.map(|found| found.limit);
    let begins_anew = before.as_ref().is_some_and(|before| before.algorithm != after.algorithm);
    Ok(render(&Confirm {
        limit: name,
        before: before.as_ref().map(in_words),
        after: in_words(&after),
        begins_anew,
        query: query.unwrap_or_default(),
    }))
}

pub(super) async fn change(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    LimitName(name): LimitName,
    Asked(terms): Asked<Terms>,
) -> Result<Response, Fault> {
    let after = terms.limit(&name)?;
    let limit = limit_of(&after).map_err(|what| Fault::part(&what))?;
    let defined = match hub.limits().define(&limit, terms.expected()?, actor.by(BY)).await {
        Ok(defined) => defined,
        Err(error) if error.kind() == ErrorKind::Conflict => {
            let what =
                "someone else has changed it meanwhile: look at what it is now, and change that";
            return Ok((CHANGED, Fault::part(what)).into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let (limit, revision) = (name.as_str(), defined.revision);
    tracing::warn!(limit, revision, "a limit was changed on the dashboard");
    let was_there = defined.before.is_some() || hub.limits().is_filed(&name);
    let page = Changed { was_there, after: in_words(&after), limit: name };
    Ok((CHANGED, render(&page)).into_response())
}

pub(super) async fn changes(
    State(hub): State<Hub>,
    LimitName(name): LimitName,
) -> Result<Response, Fault> {
    let changes = hub.limits().changes(CHANGES_MAX).await?;
    let changes = changes.into_iter().map(ChangeBody::from);
    let rows = changes.filter(|change| change.limit == name).take(TOP).map(Change::of);
    Ok(render(&Changes { rows: rows.collect() }))
}

async fn found(hub: &Hub, name: &str) -> sinew::Result<Option<DefinedBody>> {
    Ok(hub.limits().row(name).await?.map(DefinedBody::from))
}

impl Terms {
    fn limit(&self, name: &str) -> Result<LimitBody, Fault> {
        let body = LimitBody {
            name: name.to_owned(),
            algorithm: self.algorithm.clone(),
            quota: number("quota", &self.quota)?,
            per: self.per.trim().to_owned(),
            burst: match self.burst.trim() {
                "" => None,
                text => Some(number("burst", text)?),
            },
            debt_max: match self.debt_max.trim() {
                "" => 0,
                text => number("debt", text)?,
            },
            lease: match self.lease.trim() {
                "" => 0,
                text => number("lease", text)?,
            },
            on_down: self.on_down.clone(),
            shadow: self.shadow,
        };
        limit_of(&body).map_err(|what| Fault::part(&what))?;
        Ok(body)
    }

    fn expected(&self) -> Result<Expected, Fault> {
        match self.revision.as_str() {
            "" => Ok(Expected::Absent),
            text => number("revision", text).map(Expected::Revision),
        }
    }
}

fn number(what: &str, text: &str) -> Result<u64, Fault> {
    let number = text.trim().parse::<u64>();
    number.map_err(|_| Fault::part(&format!("invalid {what} {text:?}: expected a whole number")))
}

impl Definition {
    /// `is_used`: whether this hub has decided by a limit of that name.
    fn of(name: String, found: Option<DefinedBody>, is_used: bool) -> Self {
        let note = match found.as_ref().map(|found| found.revision) {
            Some(Some(revision)) => {
                format!("Revision {revision} in the store, for every process and tenant.")
            }
            Some(None) => {
                "From the configuration of this hub. A change is kept in the store, and holds in its place."
                    .to_owned()
            }
            None if is_used => {
                "Not defined, although this hub has decided by it: it is a program's own, which nothing said here changes, or it was removed."
                    .to_owned()
            }
            None => "Not defined. What is said here defines it.".to_owned(),
        };
        let revision = found.as_ref().and_then(|found| found.revision);
        let limit = found.map(|found| found.limit);
        let (algorithm, on_down) = match &limit {
            Some(limit) => (limit.algorithm.clone(), limit.on_down.clone()),
            None => (Algorithm::Gcra.name().to_owned(), Down::default().name().to_owned()),
        };
        let text = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        Self {
            note,
            revision: text(revision),
            algorithms: choices(&Algorithm::ALL.map(Algorithm::name), &algorithm),
            quota: text(limit.as_ref().map(|limit| limit.quota)),
            burst: text(limit.as_ref().and_then(|limit| limit.burst)),
            debt_max: text(limit.as_ref().map(|limit| limit.debt_max).filter(|debt| *debt > 0)),
            lease: text(limit.as_ref().map(|limit| limit.lease).filter(|lease| *lease > 0)),
            downs: choices(&Down::ALL.map(Down::name), &on_down),
            shadow: limit.as_ref().is_some_and(|limit| limit.shadow),
            per: limit.map(|limit| limit.per).unwrap_or_default(),
            limit: name,
        }
    }
}

fn choices(names: &[&'static str], chosen: &str) -> Vec<Choice> {
    names.iter().map(|&name| Choice { name, is_chosen: name == chosen }).collect()
}

impl Change {
    fn of(change: ChangeBody) -> Self {
        let told = |limit: Option<&LimitBody>| limit.map_or_else(|| "–".to_owned(), in_words);
        Self {
            before: told(change.before.as_ref()),
            after: told(change.after.as_ref()),
            at: change.at,
            by: change.by,
        }
    }
}
