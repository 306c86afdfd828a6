//! The kill switch: turned after a second thought.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use sinew::{Error, ErrorKind};

use super::SAVED;
use super::editor::Done;
use super::extract::OfFlag;
use crate::dashboard::extract::OurPage;
use crate::dashboard::show::{Fault, render};
use crate::hub::Hub;

#[derive(Template)]
#[template(path = "flag_kill_confirm.html")]
struct Confirm {
    key: String,
    query: String,
    place: String,
    is_killed: bool,
}

/// The second thought: whom it concerns.
pub(super) async fn confirm(OfFlag { flags, place, key, .. }: OfFlag) -> Result<Response, Fault> {
    let flag = flags.get(&key).ok_or_else(gone)?;
    let is_killed = super::form::written(&flag)["killed"] == true;
    let (query, place) = (place.query(), place.in_words());
    Ok(render(&Confirm { key, query, place, is_killed }))
}

pub(super) async fn kill(
    _: OurPage,
    State(hub): State<Hub>,
    OfFlag { flags, place, by, key, .. }: OfFlag,
) -> Result<Response, Fault> {
    let revision = flags.kill(&key, &by).await.map_err(fault)?.revision;
    let (tenant, env) = (&place.tenant, place.env_at(&hub));
    tracing::warn!(flag = key, revision, tenant, env, by, "a flag was killed on the dashboard");
    Ok((SAVED, render(&Done { key, what: "killed", revision })).into_response())
}

pub(super) async fn revive(
    _: OurPage,
    State(hub): State<Hub>,
    OfFlag { flags, place, by, key, .. }: OfFlag,
) -> Result<Response, Fault> {
    let revision = flags.revive(&key, &by).await.map_err(fault)?.revision;
    let (tenant, env) = (&place.tenant, place.env_at(&hub));
    tracing::warn!(flag = key, revision, tenant, env, by, "a flag was revived on the dashboard");
    Ok((SAVED, render(&Done { key, what: "revived", revision })).into_response())
}

/// A switch is turned whatever else has changed: it is in conflict with nothing but that there is no flag.
fn fault(error: Error) -> Fault {
    match error.kind() {
        ErrorKind::Conflict => gone(),
        _ => error.into(),
    }
}

fn gone() -> Fault {
    Fault::part("there is no such flag any more")
}
