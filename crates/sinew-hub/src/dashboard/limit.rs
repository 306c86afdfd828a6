//! Limits: all of them, and what one decided.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use sinew::limit::LimitStats;

use super::events;
use super::extract::{Asked, LimitName, OfLimit};
use super::series::{LimitPoint, Of, Series};
use super::show::{in_words, percent, render, visible};
use crate::cache::key::as_written;
use crate::hub::Hub;
use crate::limit::body::LimitBody;
use crate::limit::check_name;
use crate::limit::table::DefinedLimitRow;

/// How many subjects are shown.
const TOP: usize = 20;
/// In a table, of what is not known or not there.
const NOT_KNOWN: &str = "–";

#[derive(Template)]
#[template(path = "limits.html")]
struct ListPage {
    rows: Vec<Row>,
    /// Why there are none to show.
    away: Option<String>,
    /// The name that someone typed.
    wanted: String,
    fault: Option<String>,
}

/// A limit, as far as this hub knows it.
struct Row {
    name: String,
    algorithm: String,
    quota: String,
    burst: String,
    on_down: String,
    source: &'static str,
    admitted_per_second: String,
    denied_per_second: String,
    ever: LimitStats,
}

#[derive(Template)]
#[template(path = "limit.html")]
struct Page {
    limit: String,
    has_tenants: bool,
    now: Now,
}

/// What changes by the second.
#[derive(Template)]
#[template(path = "limit_now.html")]
struct Now {
    /// `None` where there are no points of it: it was not asked for yet, or too many others were before.
    second: Option<LimitPoint>,
    minute: LimitPoint,
    ever: LimitStats,
}

#[derive(Template)]
#[template(path = "limit_busiest.html")]
struct Busiest {
    rows: Vec<Busy>,
}

struct Busy {
    subject: String,
    share: String,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    open: String,
}

/// All limits; or, where one is named, that one: it need not be defined yet.
pub(super) async fn list(
    State(hub): State<Hub>,
    Asked(ListQuery { open }): Asked<ListQuery>,
) -> Response {
    let wanted = open.trim().to_owned();
    let fault = match wanted.as_str() {
        "" => None,
        name => match check_name(name) {
            Ok(()) => return Redirect::to(&format!("/limits/{name}")).into_response(),
            Err(error) => Some(in_words(&error)),
        },
    };
    let (rows, away) = match rows(&hub).await {
        Ok(rows) => (rows, None),
        Err(error) => (Vec::new(), Some(in_words(&error))),
    };
    render(&ListPage { rows, away, wanted, fault })
}

/// Those that are defined, and then the others.
async fn rows(hub: &Hub) -> sinew::Result<Vec<Row>> {
    let defined = hub.limits().all().await?;
    let others = hub.limits().others(&defined);
    let others = others.into_iter().map(|(name, ever)| Row::unknown(hub, name, ever));
    Ok(defined.into_iter().map(|row| Row::defined(hub, row)).chain(others).collect())
}

pub(super) async fn page(State(hub): State<Hub>, LimitName(limit): LimitName) -> Response {
    let now = Now::of(&hub, &limit);
    render(&Page { has_tenants: hub.has_tenants(), limit, now })
}

/// The part of the page that it fetches again and again.
pub(super) async fn now(State(hub): State<Hub>, LimitName(limit): LimitName) -> Response {
    render(&Now::of(&hub, &limit))
}

pub(super) async fn events(
    State(hub): State<Hub>,
    LimitName(limit): LimitName,
) -> impl IntoResponse {
    events::of(hub, Series::limits, Of::Named(limit))
}

pub(super) async fn busiest(OfLimit { limiter, name }: OfLimit) -> Response {
    let busiest = limiter.busiest(&name, TOP);
    let rows = busiest.iter().map(|busy| Busy {
        subject: visible(&as_written(&busy.subject)),
        share: percent(Some(busy.share)),
    });
    render(&Busiest { rows: rows.collect() })
}

impl Row {
    fn defined(hub: &Hub, row: DefinedLimitRow) -> Self {
        let (limit, source) = (LimitBody::from(&row.limit), row.source());
        let shadow = if limit.shadow { ", in shadow" } else { "" };
        Self {
            burst: match (limit.burst, limit.algorithm.as_str()) {
                (Some(burst), _) => burst.to_string(),
                (None, "gcra") => limit.quota.to_string(),
                (None, _) => NOT_KNOWN.to_owned(),
            },
            algorithm: format!("{}{shadow}", limit.algorithm),
            quota: format!("{} per {}", limit.quota, limit.per),
            on_down: limit.on_down,
            source,
            ..Self::unknown(hub, limit.name, row.stats)
        }
    }

    fn unknown(hub: &Hub, name: String, ever: LimitStats) -> Self {
        let second = hub.series().limits().newest(&Of::Named(name.clone()));
        let not_known = || NOT_KNOWN.to_owned();
        // What no one has asked for yet was not counted.
        let told = |count: Option<u64>| count.map_or_else(not_known, |n| n.to_string());
        Self {
            name,
            algorithm: not_known(),
            quota: not_known(),
            burst: not_known(),
            on_down: not_known(),
            source: NOT_KNOWN,
            admitted_per_second: told(second.map(|point| point.admitted)),
            denied_per_second: told(second.map(|point| point.denied)),
            ever,
        }
    }
}

impl Now {
    fn of(hub: &Hub, limit: &str) -> Self {
        let (of, limits) = (Of::Named(limit.to_owned()), hub.series().limits());
        Self {
            second: limits.newest(&of),
            minute: limits.last(&of, 60),
            ever: hub.sinew().limiter().stats().remove(limit).unwrap_or_default(),
        }
    }
}
