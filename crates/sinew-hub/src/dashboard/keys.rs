//! The largest and the hottest keys of a cache, on demand: the first takes a look at thousands.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use sinew::http::Problem;

use super::cache::CachePath;
use super::entry::{open, vals};
use super::show::{fault, percent, render};
use crate::cache::key::as_written;
use crate::hub::{BUSY, Hub};
use crate::size;

/// How many keys are looked at.
const KEYS_MAX: usize = 10_000;
/// How many are shown.
const TOP: usize = 20;

#[derive(Deserialize)]
pub(super) struct KeysQuery {
    #[serde(default)]
    tenant: String,
}

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys {
    cache: String,
    title: &'static str,
    note: &'static str,
    /// What the second column says.
    measure: &'static str,
    rows: Vec<Row>,
}

struct Row {
    key: String,
    amount: String,
    vals: String,
}

pub(super) async fn largest(
    State(hub): State<Hub>,
    path: CachePath,
    query: Result<Query<KeysQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (Path(cache), Query(KeysQuery { tenant })) = (path?, query?);
    let documents = match open(&hub, &cache, &tenant) {
        Ok(documents) => documents,
        Err(message) => return Ok(fault(message)),
    };
    let Some(_place) = hub.heavy_place() else {
        return Ok(fault(BUSY.to_owned()));
    };
    let sizes = match documents.largest(KEYS_MAX, TOP).await {
        Ok(sizes) => sizes,
        Err(error) => return Ok(fault(error.to_string())),
    };
    let row = |key: &str, bytes: u64| row(&tenant, key, size::shown(bytes));
    Ok(render(&Keys {
        cache,
        title: "Biggest keys",
        note: "Among the first 10,000 keys that were found.",
        measure: "Size",
        rows: sizes.iter().map(|size| row(&size.key, size.bytes)).collect(),
    }))
}

pub(super) async fn hottest(
    State(hub): State<Hub>,
    path: CachePath,
    query: Result<Query<KeysQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (Path(cache), Query(KeysQuery { tenant })) = (path?, query?);
    let documents = match open(&hub, &cache, &tenant) {
        Ok(documents) => documents,
        Err(message) => return Ok(fault(message)),
    };
    let row = |key: &str, share: f64| row(&tenant, key, percent(Some(share)));
    Ok(render(&Keys {
        cache,
        title: "Hottest keys",
        note: "By a sample of the look-ups in this hub.",
        measure: "Share of look-ups",
        rows: documents.hottest(TOP).iter().map(|heat| row(&heat.key, heat.share)).collect(),
    }))
}

fn row(tenant: &str, stored: &str, amount: String) -> Row {
    let key = as_written(stored);
    Row { vals: vals(tenant, &key), key, amount }
}
