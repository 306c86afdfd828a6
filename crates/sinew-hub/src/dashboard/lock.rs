//! Locks: those that are held, on demand, and one taken away after a second thought.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use sinew::{Fence, HeldLock};

use super::extract::{OfLock, OfLocks, OurPage, WhichLock};
use super::show::{Fault, render};
use crate::auth::Actor;
use crate::duration;
use crate::hub::{BUSY, Hub};
use crate::lock::kind_in_words;

/// How many holders of a lock are shown.
const HOLDERS_MAX: usize = 10;

#[derive(Template)]
#[template(path = "locks.html")]
struct Page {
    has_tenants: bool,
}

#[derive(Template)]
#[template(path = "locks_held.html")]
struct Held {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    kind: String,
    fence: String,
    held_for: String,
    holders: Vec<Holder>,
    /// How many there are beside those that are shown.
    more: u64,
    waiting: u64,
    vals: String,
}

struct Holder {
    process: String,
    left: String,
}

#[derive(Template)]
#[template(path = "lock_confirm.html")]
struct Confirm {
    which: WhichLock,
    vals: String,
    holding: u64,
    waiting: u64,
}

#[derive(Template)]
#[template(path = "lock_released.html")]
struct Released {
    which: WhichLock,
    vals: String,
    released: u64,
}

/// Without the locks: to find them, every key is looked at.
pub(super) async fn page(State(hub): State<Hub>) -> Response {
    render(&Page { has_tenants: hub.has_tenants() })
}

pub(super) async fn held(
    State(hub): State<Hub>,
    OfLocks { locks, tenant }: OfLocks,
) -> Result<Response, Fault> {
    let _place = hub.heavy_place().ok_or_else(|| Fault::part(BUSY))?;
    let held = locks.list().await?;
    Ok(render(&Held { rows: held.into_iter().map(|held| Row::of(&tenant, held)).collect() }))
}

/// The second thought: from whom it is to be taken.
pub(super) async fn confirm(OfLock { locks, which }: OfLock) -> Result<Response, Fault> {
    let Some(HeldLock { holding, waiting, .. }) = locks.look(&which.name).await? else {
        return Err(Fault::part(&format!("no one holds {:?} any more", which.name)));
    };
    let vals = vals(&which.tenant, &which.name);
    Ok(render(&Confirm { which, vals, holding, waiting }))
}

pub(super) async fn release(
    _: OurPage,
    actor: Actor,
    OfLock { locks, which }: OfLock,
) -> Result<Response, Fault> {
    let released = locks.force_release(&which.name).await?;
    let (lock, tenant) = (which.name.as_str(), which.tenant.as_str());
    let by = actor.by("dashboard");
    tracing::warn!(lock, tenant, released, by, "a lock was taken away on the dashboard");
    let vals = vals(&which.tenant, &which.name);
    Ok(render(&Released { which, vals, released }))
}

/// What a button of the page says of a lock.
fn vals(tenant: &str, name: &str) -> String {
    serde_json::json!({ "tenant": tenant, "name": name }).to_string()
}

impl Row {
    fn of(tenant: &str, held: HeldLock) -> Self {
        let shown = held.holders.into_iter().take(HOLDERS_MAX).map(|holder| Holder {
            process: holder.process,
            left: duration::shown(holder.expires_in),
        });
        let holders: Vec<Holder> = shown.collect();
        Self {
            kind: kind_in_words(held.mode),
            fence: match held.fence == Fence::NONE {
                true => "–".to_owned(),
                false => held.fence.to_string(),
            },
            held_for: held.held_for.map_or_else(|| "–".to_owned(), duration::shown),
            more: held.holding.saturating_sub(holders.len() as u64),
            holders,
            waiting: held.waiting,
            vals: vals(tenant, &held.name),
            name: held.name,
        }
    }
}
