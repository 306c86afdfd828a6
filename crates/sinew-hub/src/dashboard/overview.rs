//! The first page: is it well, and is it of use?

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sinew::{Breaker, BreakerState, Stats, Status};

use super::events;
use super::series::{Of, Series, total};
use super::show::{percent, ratio, render};
use crate::duration;
use crate::hub::Hub;

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    tiles: Tiles,
    caches: Vec<CacheRow>,
}

#[derive(Template)]
#[template(path = "tiles.html")]
struct Tiles {
    store: String,
    status: &'static str,
    reason: Option<String>,
    up_for: String,
    hit_ratio: String,
    hit_ratio_ever: String,
    operations_per_second: u64,
    operations_ever: u64,
    errors: u64,
    breaker: String,
    breaker_note: String,
    /// Whether every breaker is closed.
    all_pass: bool,
}

struct CacheRow {
    name: String,
    hit_ratio: String,
    stats: Stats,
}

pub(super) async fn page(State(hub): State<Hub>) -> Response {
    render(&Page { tiles: tiles_of(&hub), caches: caches_of(&hub) })
}

/// The tiles alone: the page fetches them again and again.
pub(super) async fn tiles(State(hub): State<Hub>) -> Response {
    render(&tiles_of(&hub))
}

/// The points of all caches together.
pub(super) async fn events(State(hub): State<Hub>) -> impl IntoResponse {
    events::of(hub, Series::caches, Of::All)
}

fn tiles_of(hub: &Hub) -> Tiles {
    let status = hub.sinew().status();
    let ever = total(hub.sinew());
    let minute = hub.series().caches().last(&Of::All, 60);
    let reason = match &status {
        Status::Down(error) | Status::Failed(error) => Some(error.to_string()),
        _ => None,
    };
    let breakers = hub.sinew().breakers();
    let (breaker, breaker_note, all_pass) = breakers_in_words(&breakers);
    Tiles {
        breaker,
        breaker_note,
        all_pass,
        store: hub.sinew().store(),
        status: status.name(),
        reason,
        up_for: duration::shown(hub.up_since().elapsed()),
        hit_ratio: percent(ratio(minute.hits(), minute.requests())),
        hit_ratio_ever: percent(ever.hit_ratio()),
        operations_per_second: hub.series().caches().last(&Of::All, 1).requests(),
        operations_ever: ever.requests(),
        errors: ever.errors,
    }
}

fn breakers_in_words(breakers: &[Breaker]) -> (String, String, bool) {
    let held_back: Vec<String> = breakers
        .iter()
        .filter(|breaker| breaker.state() != BreakerState::Closed)
        .map(|breaker| format!("{} {}", breaker.name(), breaker.state().name()))
        .collect();
    let (word, note) = match (breakers, held_back.as_slice()) {
        ([], _) => ("–".to_owned(), "no Redis to guard".to_owned()),
        ([_], []) => ("closed".to_owned(), "calls pass".to_owned()),
        ([one], _) => (one.state().name().to_owned(), "calls are held back".to_owned()),
        (all, []) => ("closed".to_owned(), format!("all {} nodes", all.len())),
        (all, held) => (format!("{} of {} not closed", held.len(), all.len()), held.join(" · ")),
    };
    (word, note, held_back.is_empty())
}

fn caches_of(hub: &Hub) -> Vec<CacheRow> {
    let row = |(name, stats): (String, Stats)| CacheRow {
        name,
        hit_ratio: percent(stats.hit_ratio()),
        stats,
    };
    hub.sinew().cache_stats().into_iter().map(row).collect()
}
