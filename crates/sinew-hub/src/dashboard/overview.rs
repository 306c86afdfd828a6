//! The first page: is it well, and is it of use?

use std::convert::Infallible;

use askama::Template;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use sinew::{Breaker, BreakerState, Stats, Status};
use tokio::sync::broadcast::error::RecvError;

use super::series::{Point, total};
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

/// All points so far as one event, then each new one.
pub(super) async fn events(
    State(hub): State<Hub>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let new = hub.series().new_points();
    let so_far = stream::iter([event("points", &hub.series().points())]);
    let following = stream::unfold(new, |mut new| async move {
        loop {
            match new.recv().await {
                Ok(point) => return Some((event("points", &[point]), new)),
                // A slow reader misses points; the chart has a gap.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    // An open stream would hold up a stop.
    let mut stopping = hub.stopping();
    let stopped = async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let events = so_far.chain(following).take_until(Box::pin(stopped));
    Sse::new(events.map(Ok)).keep_alive(KeepAlive::default())
}

fn event(name: &str, points: &[Point]) -> Event {
    let data = serde_json::to_string(points).unwrap_or_default();
    Event::default().event(name).data(data)
}

fn tiles_of(hub: &Hub) -> Tiles {
    let status = hub.sinew().status();
    let ever = total(hub.sinew());
    let (requests, hits) = hub.series().last(60);
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
        hit_ratio: percent(ratio(hits, requests)),
        hit_ratio_ever: percent(ever.hit_ratio()),
        operations_per_second: hub.series().last(1).0,
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

fn ratio(hits: u64, requests: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)]
    let ratio = hits as f64 / requests as f64;
    (requests > 0).then_some(ratio)
}

fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
