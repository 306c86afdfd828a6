//! One entry: looked at, and evicted after a second thought.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use sinew::Invalidated;
use sinew::cache::Inspected;
use sinew::http::Problem;

use super::cache::CachePath;
use super::show::{fault, render};
use crate::cache::{Documents, WrittenKey, documents};
use crate::hub::Hub;
use crate::{duration, size};

/// How much of a value is shown.
const SHOWN_MAX: usize = 4 << 10;

/// Which entry, as the page says it.
#[derive(Deserialize)]
pub(super) struct Which {
    /// Empty for entries that belong to none.
    #[serde(default)]
    tenant: String,
    key: String,
}

type WhichQuery = Result<Query<Which>, QueryRejection>;

#[derive(Template)]
#[template(path = "entry.html")]
struct Entry {
    cache: String,
    which: Which,
    vals: String,
    age: String,
    fresh_for: String,
    expires_in: String,
    size: String,
    tags: Vec<String>,
    finds: &'static str,
    value: Option<String>,
    /// The whole value's size, where it is not all shown.
    cut: Option<String>,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    cache: String,
    which: Which,
    vals: String,
}

#[derive(Template)]
#[template(path = "evicted.html")]
struct Evicted {
    which: Which,
    is_queued: bool,
}

pub(super) async fn look(
    State(hub): State<Hub>,
    path: CachePath,
    which: WhichQuery,
) -> Result<Response, Problem> {
    let (Path(cache), Query(which)) = (path?, which?);
    let documents = match open_entry(&hub, &cache, &which) {
        Ok(documents) => documents,
        Err(message) => return Ok(fault(message)),
    };
    let key = WrittenKey(which.key.clone());
    let entry = match documents.inspect(&key).await {
        Ok(Some(entry)) => entry,
        Ok(None) => return Ok(fault(format!("There is no entry {:?}.", which.key))),
        Err(error) => return Ok(fault(error.to_string())),
    };
    let value = match entry.is_served && !entry.is_absent {
        true => documents.get(&key).await?,
        false => None,
    };
    let text = value.as_ref().map(|value| value.get());
    Ok(render(&Entry::of(cache, which, &entry, text)))
}

/// The second thought: what exactly is to go.
pub(super) async fn confirm(
    State(hub): State<Hub>,
    path: CachePath,
    which: WhichQuery,
) -> Result<Response, Problem> {
    let (Path(cache), Query(which)) = (path?, which?);
    if let Err(message) = open_entry(&hub, &cache, &which) {
        return Ok(fault(message));
    }
    let vals = vals(&which.tenant, &which.key);
    Ok(render(&Confirm { cache, which, vals }))
}

pub(super) async fn evict(
    State(hub): State<Hub>,
    headers: HeaderMap,
    path: CachePath,
    which: WhichQuery,
) -> Result<Response, Problem> {
    // A page of another site cannot send it without being asked about first, and we refuse then.
    if !headers.contains_key("hx-request") {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "expected the header HX-Request, as the dashboard's own page sends it",
        ));
    }
    let (Path(cache), Query(which)) = (path?, which?);
    let documents = match open_entry(&hub, &cache, &which) {
        Ok(documents) => documents,
        Err(message) => return Ok(fault(message)),
    };
    match documents.invalidate(&WrittenKey(which.key.clone())).await {
        Ok(invalidated) => {
            let is_queued = invalidated == Invalidated::Queued;
            Ok(render(&Evicted { which, is_queued }))
        }
        Err(error) => Ok(fault(error.to_string())),
    }
}

/// A cache as the page names it.
///
/// # Errors
/// A sentence for the page.
pub(super) fn open(hub: &Hub, cache: &str, tenant: &str) -> Result<Documents, String> {
    let opened = || {
        let scope = match tenant.trim() {
            "" => hub.sinew().clone(),
            tenant => hub.sinew().tenant(tenant)?,
        };
        documents(&scope, cache, hub.caches().of(cache))
    };
    opened().map_err(|error: sinew::Error| error.to_string())
}

fn open_entry(hub: &Hub, cache: &str, which: &Which) -> Result<Documents, String> {
    if which.key.is_empty() {
        return Err("no key: expected segments between colons, like 456:payments:list".to_owned());
    }
    open(hub, cache, &which.tenant)
}

/// What a button of the page says of an entry.
pub(super) fn vals(tenant: &str, key: &str) -> String {
    serde_json::json!({ "tenant": tenant, "key": key }).to_string()
}

impl Entry {
    fn of(cache: String, which: Which, entry: &Inspected, value: Option<&str>) -> Self {
        let time = |time: Option<std::time::Duration>, none: &str| {
            time.map_or_else(|| none.to_owned(), duration::shown)
        };
        let shown = value.map(|value| &value[..value.floor_char_boundary(SHOWN_MAX)]);
        let is_cut = shown.map(str::len) != value.map(str::len);
        Self {
            vals: vals(&which.tenant, &which.key),
            age: time(entry.age, "unknown"),
            fresh_for: time(entry.fresh_for, "no more"),
            expires_in: time(entry.expires_in, "unknown"),
            size: size::shown(entry.bytes),
            tags: entry.tags.clone(),
            finds: finds(entry),
            cut: value.filter(|_| is_cut).map(|value| size::shown(value.len() as u64)),
            value: shown.map(str::to_owned),
            cache,
            which,
        }
    }
}

/// What a look-up finds, in words.
fn finds(entry: &Inspected) -> &'static str {
    match (entry.is_served, entry.is_absent) {
        (true, false) => "its value",
        (true, true) => "that there is no such thing",
        (false, _) => "nothing: it is out of date, or cannot be read",
    }
}
