//! The page of a flag, and how pages hear of changes.

use std::convert::Infallible;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use sinew::flag::Flags;

use super::differences::Differences;
use super::extract::{OfFlag, OfFlags};
use super::form::written;
use super::history::{news_since, revision};
use super::list::{PlainKey, notice, plain_keys};
use crate::dashboard::events::{GOES_ON_MAX, for_a_while};
use crate::dashboard::extract::Asked;
use crate::dashboard::show::{Fault, render};
use crate::hub::{BUSY, Hub};

/// How many plain keys are shown.
const OVERLAYS_SHOWN_MAX: usize = 50;

#[derive(Template)]
#[template(path = "flag.html")]
struct Page {
    key: String,
    query: String,
    place: String,
    revision: String,
    notice: Option<String>,
    overlays: Vec<PlainKey>,
    overlays_more: usize,
}

#[derive(Template)]
#[template(path = "flag_news.html")]
struct Latest {
    key: String,
    query: String,
    /// `None` where nothing is new.
    news: Option<Told>,
}

struct Told {
    by: Vec<String>,
    /// `None` where it is not known what was changed.
    differences: Option<Differences>,
}

#[derive(Deserialize)]
pub(super) struct Shown {
    /// Of the flag in the form; empty where there was none.
    #[serde(default)]
    revision: String,
}

pub(super) async fn page(OfFlag { flags, place, key, .. }: OfFlag) -> Response {
    let revision = flags.revision();
    let mut overlays = plain_keys(&flags, |one| *one.key == *key);
    let overlays_more = overlays.len().saturating_sub(OVERLAYS_SHOWN_MAX);
    overlays.truncate(OVERLAYS_SHOWN_MAX);
    render(&Page {
        query: place.query(),
        place: place.in_words(),
        revision,
        notice: notice(&flags.state()),
        overlays: overlays.into_iter().map(PlainKey::of).collect(),
        overlays_more,
        key,
    })
}

/// Whether the flag is another than the form has, and how.
pub(super) async fn news(
    OfFlag { flags, place, key, .. }: OfFlag,
    Asked(shown): Asked<Shown>,
) -> Response {
    let now = revision(flags.get(&key).map(|flag| written(&flag)).as_ref());
    let news = match now == shown.revision {
        true => None,
        false => Some(Told::since(&flags, &key, &shown.revision).await),
    };
    render(&Latest { query: place.query(), key, news })
}

/// The revision of all rules now, and whenever it has changed.
pub(super) async fn events(
    State(hub): State<Hub>,
    OfFlags { flags, .. }: OfFlags,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Fault> {
    let place = hub.listening_place().ok_or_else(|| Fault::page(BUSY))?;
    // Before the first look: no change falls between the two, and the page drops one that comes twice.
    let changes = flags.changes();
    let now = stream::iter([event(&flags)]);
    let following =
        stream::unfold((changes, flags, place), |(mut changes, flags, place)| async move {
            changes.next().await?;
            Some((event(&flags), (changes, flags, place)))
        });
    let events = for_a_while(now.chain(following), hub.stopping(), GOES_ON_MAX);
    Ok(Sse::new(events.map(Ok)).keep_alive(KeepAlive::default()))
}

fn event(flags: &Flags) -> Event {
    Event::default().event("flags").data(flags.revision())
}

impl Told {
    async fn since(flags: &Flags, key: &str, shown: &str) -> Self {
        let Ok(news) = news_since(flags, key, shown).await else {
            return Self { by: Vec::new(), differences: None };
        };
        let differences = || Differences::between(news.base.as_ref(), news.newest.as_ref());
        Self { differences: news.is_whole.then(differences), by: news.by }
    }
}
