//! Caches: all of them, and one.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sinew::{Sinew, Stats};

use super::events;
use super::extract::{Asked, CacheName};
use super::series::{CachePoint, Of, Series};
use super::show::{in_words, percent, ratio, render};
use crate::auth::Actor;
use crate::hub::Hub;

#[derive(Template)]
#[template(path = "caches.html")]
struct ListPage {
    caches: Vec<Row>,
    /// The name that someone typed.
    wanted: String,
    fault: Option<String>,
}

struct Row {
    name: String,
    hit_ratio: String,
    stats: Stats,
}

#[derive(Template)]
#[template(path = "cache.html")]
struct Page {
    cache: String,
    has_tenants: bool,
    /// `None` for whoever sees one tenant only: it counts the look-ups of all.
    now: Option<Now>,
}

/// What changes by the second.
#[derive(Template)]
#[template(path = "cache_now.html")]
struct Now {
    hit_ratio: String,
    hit_ratio_ever: String,
    requests_per_second: u64,
    requests_ever: u64,
    loads_per_second: u64,
    loads_ever: u64,
    load_errors: u64,
    stale: u64,
    stale_ever: u64,
    inconsistencies: u64,
    checked: u64,
    errors: u64,
    levels: [Level; 4],
}

/// How many look-ups ended so.
struct Level {
    name: &'static str,
    minute: u64,
    minute_share: String,
    ever: u64,
    ever_share: String,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    open: String,
}

/// All caches; or, where one is named, that one: a fleet's Redis has caches that no one has used
/// in this hub.
pub(super) async fn list(
    State(hub): State<Hub>,
    actor: Actor,
    Asked(ListQuery { open }): Asked<ListQuery>,
) -> Response {
    let wanted = open.trim().to_owned();
    let fault = match wanted.as_str() {
        "" => None,
        name => match Sinew::check_cache_name(name) {
            Ok(()) => return Redirect::to(&format!("/caches/{name}")).into_response(),
            Err(error) => Some(in_words(&error)),
        },
    };
    let row =
        |(name, stats): (String, Stats)| Row { name, hit_ratio: percent(stats.hit_ratio()), stats };
    let caches = match actor.tenant() {
        None => hub.cache_stats().into_iter().map(row).collect(),
        // They count the look-ups of all.
        Some(_) => Vec::new(),
    };
    render(&ListPage { caches, wanted, fault })
}

pub(super) async fn page(
    State(hub): State<Hub>,
    actor: Actor,
    CacheName(cache): CacheName,
) -> Response {
    let now = actor.tenant().is_none().then(|| Now::of(&hub, &cache));
    render(&Page { has_tenants: hub.has_tenants(), cache, now })
}

/// The part of the page that it fetches again and again.
pub(super) async fn now(State(hub): State<Hub>, CacheName(cache): CacheName) -> Response {
    render(&Now::of(&hub, &cache))
}

pub(super) async fn events(
    State(hub): State<Hub>,
    CacheName(cache): CacheName,
) -> impl IntoResponse {
    events::of(hub, Series::caches, Of::Named(cache))
}

impl Now {
    fn of(hub: &Hub, cache: &str) -> Self {
        let (of, caches) = (Of::Named(cache.to_owned()), hub.series().caches());
        let (second, minute) = (caches.last(&of, 1), caches.last(&of, 60));
        let ever = hub.sinew().cache_stats().remove(cache).unwrap_or_default();
        Self {
            hit_ratio: percent(ratio(minute.hits(), minute.requests())),
            hit_ratio_ever: percent(ever.hit_ratio()),
            requests_per_second: second.requests(),
            requests_ever: ever.requests(),
            loads_per_second: second.loads,
            loads_ever: ever.loads,
            load_errors: ever.load_errors,
            stale: minute.stale,
            stale_ever: ever.stale,
            inconsistencies: ever.inconsistencies,
            checked: ever.checked,
            errors: ever.errors,
            levels: levels_of(&minute, &ever),
        }
    }
}

fn levels_of(minute: &CachePoint, ever: &Stats) -> [Level; 4] {
    let of_a_minute = minute.requests();
    let level = |name, minute, ever_count| Level {
        name,
        minute,
        minute_share: percent(ratio(minute, of_a_minute)),
        ever: ever_count,
        ever_share: percent(ratio(ever_count, ever.requests())),
    };
    [
        level("this process", minute.local, ever.hits_local),
        level("Redis", minute.redis, ever.hits_redis),
        level("stale", minute.stale, ever.stale),
        level("miss", minute.misses, ever.misses),
    ]
}
