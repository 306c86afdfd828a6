//! Events of a topic: the last ones, and one by its place.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use sinew::Streams;
use sinew::stream::{EntryId, Event, Place, StoredEvent};

use super::extract::{OfTopic, WhichPlace, Whose};
use super::time;
use crate::dashboard::extract::Asked;
use crate::dashboard::show::{Fault, render, visible};
use crate::hub::{BUSY, Hub};

/// So many are shown.
const LAST: usize = 20;
/// How far back they are looked for, nearest first.
const BACK: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(600),
    Duration::from_secs(36_000),
    Duration::from_secs(30 * 86_400),
];
/// So many of them at once, and so many times.
const PAGE_LEN: usize = 100;
const PAGES_MAX: usize = 20;
/// Of an event's data, in characters.
const DATA_CHARS_MAX: usize = 10_000;

#[derive(Template)]
#[template(path = "stream_events.html")]
struct Last {
    whose: Whose,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "stream_event.html")]
struct Look {
    row: Row,
}

/// An event, as a page shows it.
pub(super) struct Row {
    pub(super) place: String,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) source: String,
    pub(super) key: String,
    pub(super) at: String,
    pub(super) data: String,
    /// The group that it was redriven to.
    pub(super) redriven_to: String,
    pub(super) vals: String,
}

impl Row {
    pub(super) fn of(whose: &Whose, place: &str, event: &Event<Bytes>) -> Self {
        let data = String::from_utf8_lossy(&event.data);
        let shown: String = data.chars().take(DATA_CHARS_MAX).collect();
        Self {
            vals: whose.vals(place),
            place: place.to_owned(),
            id: visible(&event.id()),
            kind: visible(event.kind()),
            source: visible(&event.source()),
            key: visible(event.key().unwrap_or_default()),
            at: time(event.time()),
            data: visible(&shown),
            redriven_to: String::new(),
        }
    }

    fn stored(whose: &Whose, stored: StoredEvent) -> Self {
        let redriven_to = stored.redriven_to.unwrap_or_default();
        Self { redriven_to, ..Self::of(whose, &stored.place.to_string(), &stored.event) }
    }
}

/// The newest first. Events are read forwards: it begins ever further back until there are some.
pub(super) async fn last(
    State(hub): State<Hub>,
    OfTopic { streams, whose }: OfTopic,
) -> Result<Response, Fault> {
    let _place = hub.heavy_place().ok_or_else(|| Fault::part(BUSY))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut found: Vec<StoredEvent> = Vec::new();
    for back in BACK {
        let ms = u64::try_from(now.saturating_sub(back).as_millis()).unwrap_or(u64::MAX);
        let (newest, is_whole) = since(&streams, &whose.topic, ms).await?;
        // Where there are too many to come to the newest, those of a shorter time are newer.
        if is_whole || found.is_empty() {
            found = newest;
        }
        if found.len() >= LAST || !is_whole {
            break;
        }
    }
    let newest = found.into_iter().rev().take(LAST);
    let rows = newest.map(|stored| Row::stored(&whose, stored)).collect();
    Ok(render(&Last { whose, rows }))
}

/// The last of the events since a time, and whether they are the newest.
async fn since(streams: &Streams, topic: &str, ms: u64) -> Result<(Vec<StoredEvent>, bool), Fault> {
    let mut after = Place { partition: 0, entry: EntryId { ms, seq: 0 } };
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = streams.events(topic, Some(&after), PAGE_LEN).await?;
        let Some(last) = page.last() else { return Ok((found, true)) };
        after = last.place;
        found.extend(page);
        found.drain(..found.len().saturating_sub(LAST));
    }
    Ok((found, false))
}

pub(super) async fn look(
    OfTopic { streams, whose }: OfTopic,
    Asked(which): Asked<WhichPlace>,
) -> Result<Response, Fault> {
    let found = streams.event(&whose.topic, &which.read()?).await?;
    let stored = found
        .ok_or_else(|| Fault::part("there is no event at that place: it may have been trimmed"))?;
    Ok(render(&Look { row: Row::stored(&whose, stored) }))
}
