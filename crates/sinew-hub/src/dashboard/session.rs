//! Sessions: those of one user, on demand, ended after a second thought.

use askama::Template;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use sinew::session::{SessionId, Sessions};

use super::extract::{Asked, OurPage, named};
use super::show::{Fault, render, visible};
use crate::auth::Actor;
use crate::duration::shown;
use crate::hub::Hub;
use crate::session::between;
use crate::session::body::SessionBody;

#[derive(Template)]
#[template(path = "sessions.html")]
struct Page {
    has_tenants: bool,
}

#[derive(Template)]
#[template(path = "sessions_found.html")]
struct Found {
    who: Who,
    rows: Vec<Row>,
    /// What the button says that ends all of them.
    vals: String,
}

/// A session, without the values that it keeps.
struct Row {
    id: String,
    device: String,
    address: String,
    age: String,
    unused: String,
    left: String,
    names: Vec<String>,
    vals: String,
}

#[derive(Template)]
#[template(path = "session_confirm.html")]
struct Confirm {
    who: Who,
    /// The one that is to be ended; all of them unless said.
    row: Option<Row>,
    count: usize,
    vals: String,
}

#[derive(Template)]
#[template(path = "session_ended.html")]
struct Ended {
    who: Who,
    is_one: bool,
    was_there: bool,
    vals: String,
}

/// Whose sessions, as the page says it, and perhaps which of them.
#[derive(Deserialize)]
pub(super) struct Who {
    /// Empty for users who belong to none.
    #[serde(default)]
    tenant: String,
    user: String,
    /// Empty where all are meant.
    #[serde(default)]
    id: String,
}

/// The sessions of the user whom the page names.
pub(super) struct OfUser {
    sessions: Sessions,
    who: Who,
    id: Option<SessionId>,
}

impl FromRequestParts<Hub> for OfUser {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Asked(who) = Asked::<Who>::from_request_parts(parts, hub).await?;
        let sessions =
            hub.sessions(named(&who.tenant)?.as_ref()).map_err(|what| Fault::part(&what))?;
        let id = match who.id.as_str() {
            "" => None,
            text => Some(text.parse::<SessionId>().map_err(|_| {
                Fault::part("that is no id of a session: expected one from a page")
            })?),
        };
        Ok(Self { sessions, who, id })
    }
}

/// Without sessions: whose they are is yet to be said.
pub(super) async fn page(State(hub): State<Hub>) -> Response {
    render(&Page { has_tenants: hub.has_tenants() })
}

pub(super) async fn found(OfUser { sessions, who, .. }: OfUser) -> Result<Response, Fault> {
    let rows = rows(&sessions, &who).await?;
    let vals = who.vals("");
    Ok(render(&Found { who, rows, vals }))
}

/// The second thought: which is to be ended.
pub(super) async fn confirm(OfUser { sessions, who, id }: OfUser) -> Result<Response, Fault> {
    let rows = rows(&sessions, &who).await?;
    let (count, vals) = (rows.len(), who.vals(&who.id));
    let row = match id {
        None => None,
        Some(_) => {
            let row = rows.into_iter().find(|row| row.id == who.id);
            Some(row.ok_or_else(|| Fault::part("that session has ended already"))?)
        }
    };
    Ok(render(&Confirm { who, row, count, vals }))
}

pub(super) async fn end(
    _: OurPage,
    actor: Actor,
    OfUser { sessions, who, id }: OfUser,
) -> Result<Response, Fault> {
    let is_one = id.is_some();
    let was_there = match &id {
        Some(id) => sessions.revoke(&who.user, id).await?,
        None => sessions.logout_all(&who.user).await.map(|()| true)?,
    };
    // Not whose: logs outlive the reasons for which one was logged out.
    let (by, tenant) = (actor.by("dashboard"), who.tenant.as_str());
    tracing::warn!(by, tenant, is_one, "sessions of a user were ended on the dashboard");
    let vals = who.vals("");
    Ok(render(&Ended { who, is_one, was_there, vals }))
}

async fn rows(sessions: &Sessions, who: &Who) -> sinew::Result<Vec<Row>> {
    let now = Timestamp::now();
    let found = sessions.list(&who.user).await?;
    Ok(found.into_iter().map(|info| Row::of(who, info.into(), now)).collect())
}

impl Who {
    /// What a button of the page says: this user, and one session or all.
    fn vals(&self, id: &str) -> String {
        let (tenant, user) = (&self.tenant, &self.user);
        serde_json::json!({ "tenant": tenant, "user": user, "id": id }).to_string()
    }
}

impl Row {
    fn of(who: &Who, session: SessionBody, now: Timestamp) -> Self {
        let unknown = || "–".to_owned();
        Self {
            device: session.device.map_or_else(unknown, |device| visible(&device)),
            address: session.address.map_or_else(unknown, |address| address.to_string()),
            age: shown(between(session.created_at, now)),
            unused: shown(between(session.seen_at, now)),
            // Unless it is used, and then at most until it ends anyway.
            left: shown(between(now, session.expires_at.min(session.ends_at))),
            names: session.names.iter().map(|name| visible(name)).collect(),
            vals: who.vals(&session.id),
            id: session.id,
        }
    }
}
