//! The largest and the hottest keys of a cache, on demand: the first takes a look at thousands.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::entry::vals;
use super::extract::OfCache;
use super::show::{Fault, percent, render, visible};
use crate::cache::key::as_written;
use crate::hub::{BUSY, Hub};
use crate::size;

/// How many keys are looked at.
const KEYS_MAX: usize = 10_000;
/// How many are shown.
const TOP: usize = 20;

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
    OfCache { documents, tenant }: OfCache,
) -> Result<Response, Fault> {
    let _place = hub.heavy_place().ok_or_else(|| Fault::part(BUSY))?;
    let sizes = documents.largest(KEYS_MAX, TOP).await?;
    let row = |key: &str, bytes: u64| row(&tenant, key, size::shown(bytes));
    Ok(render(&Keys {
        cache: documents.name().to_owned(),
        title: "Biggest keys",
        note: "Among the first 10,000 keys that were found.",
        measure: "Size",
        rows: sizes.iter().map(|size| row(&size.key, size.bytes)).collect(),
    }))
}

pub(super) async fn hottest(OfCache { documents, tenant }: OfCache) -> Response {
    let row = |key: &str, share: f64| row(&tenant, key, percent(Some(share)));
    render(&Keys {
        cache: documents.name().to_owned(),
        title: "Hottest keys",
        note: "From a sample of the look-ups in this hub since it started.",
        measure: "Share of look-ups",
        rows: documents.hottest(TOP).iter().map(|heat| row(&heat.key, heat.share)).collect(),
    })
}

fn row(tenant: &str, stored: &str, amount: String) -> Row {
    let key = as_written(stored);
    Row { vals: vals(tenant, &key), key: visible(&key), amount }
}
