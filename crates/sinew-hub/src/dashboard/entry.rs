//! One entry: looked at, and evicted after a second thought.

use askama::Template;
use axum::response::Response;
use sinew::Invalidated;
use sinew::cache::Inspected;

use super::extract::{OfEntry, OurPage, Which};
use super::show::{Fault, render};
use crate::{duration, size};

/// How much of a value is shown.
const SHOWN_MAX: usize = 4 << 10;

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

pub(super) async fn look(OfEntry { documents, which, key }: OfEntry) -> Result<Response, Fault> {
    let Some(entry) = documents.inspect(&key).await? else {
        return Err(Fault::part(&format!("there is no entry {:?}", which.key)));
    };
    let value = match entry.is_served && !entry.is_absent {
        true => documents.get(&key).await?,
        false => None,
    };
    let text = value.as_ref().map(|value| value.get());
    Ok(render(&Entry::of(documents.name().to_owned(), which, &entry, text)))
}

/// The second thought: what exactly is to go.
pub(super) async fn confirm(OfEntry { documents, which, .. }: OfEntry) -> Response {
    let vals = vals(&which.tenant, &which.key);
    render(&Confirm { cache: documents.name().to_owned(), which, vals })
}

pub(super) async fn evict(
    _: OurPage,
    OfEntry { documents, which, key }: OfEntry,
) -> Result<Response, Fault> {
    let is_queued = documents.invalidate(&key).await? == Invalidated::Queued;
    Ok(render(&Evicted { which, is_queued }))
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
        // What can be read says when it was written. Why it cannot, the library does not say.
        (false, _) if entry.age.is_none() => {
            "nothing: it is encrypted with a key that this server does not have, or damaged"
        }
        (false, _) => "nothing: it is out of date",
    }
}
