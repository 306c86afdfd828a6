//! Streams: topics, groups and who is behind, events, dead letters, webhooks.

mod dead;
mod event;
mod extract;
mod group;
mod history;
mod list;
mod topic;
mod webhook;

use axum::Router;
use axum::routing::get;
use sinew::stream::{Count, GroupLag};

use crate::dashboard::show::{NOT_KNOWN, ago, time};
use crate::duration::shown;
use crate::hub::Hub;

pub(crate) use history::Histories;

/// No topic begins with `~`: what is no topic does.
pub(super) fn routes() -> Router<Hub> {
    Router::new()
        .route("/streams", get(list::page))
        .route("/streams/~topics", get(list::topics))
        .route("/streams/~webhooks", get(webhook::page))
        .route("/streams/~webhooks/all", get(webhook::all))
        .route("/streams/~webhooks/switch", get(webhook::confirm).put(webhook::switch))
        .route("/streams/{topic}", get(topic::page))
        .route("/streams/{topic}/now", get(topic::now))
        .route("/streams/{topic}/events", get(history::events))
        .route("/streams/{topic}/last", get(event::last))
        .route("/streams/{topic}/event", get(event::look))
        .route("/streams/{topic}/groups/{group}", get(group::page))
        .route("/streams/{topic}/groups/{group}/now", get(group::now))
        .route("/streams/{topic}/groups/{group}/forget", get(group::confirm).delete(group::forget))
        .route("/streams/{topic}/groups/{group}/dead", get(dead::page))
        .route("/streams/{topic}/groups/{group}/dead/letters", get(dead::letters))
        .route(
            "/streams/{topic}/groups/{group}/dead/redrive",
            get(dead::confirm_redrive).put(dead::redrive),
        )
        .route(
            "/streams/{topic}/groups/{group}/dead/remove",
            get(dead::confirm_removal).delete(dead::remove),
        )
}

/// A group as a row of a table.
struct GroupRow {
    group: String,
    mode: &'static str,
    waiting: String,
    held: u64,
    parked: u64,
    dead: u64,
    consumers: u32,
    oldest: String,
    seen: String,
    is_forgotten: bool,
}

impl From<GroupLag> for GroupRow {
    fn from(lag: GroupLag) -> Self {
        Self {
            mode: lag.mode.name(),
            waiting: count(lag.waiting),
            held: lag.held,
            parked: lag.parked,
            dead: lag.dead,
            consumers: lag.consumers,
            oldest: lag.oldest_unacked.map_or_else(|| NOT_KNOWN.to_owned(), shown),
            seen: ago(lag.seen_at),
            is_forgotten: lag.is_forgotten,
            group: lag.group,
        }
    }
}

fn count(count: Count) -> String {
    match count.is_exact {
        true => count.n.to_string(),
        false => format!("≈ {}", count.n),
    }
}
