//! Points as server-sent events: all so far as one, then each new one.

use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;

use super::series::{Of, Point, Points, Series};
use crate::hub::Hub;

pub(super) fn of<P: Point>(
    hub: Hub,
    points: fn(&Series) -> &Points<P>,
    whose: Of,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // Before the first look: no point falls between the two, and the page drops one that comes twice.
    let ticks = hub.series().ticks();
    let so_far = stream::iter([event(&points(hub.series()).so_far(&whose))]);
    // An open stream would hold up a stop.
    let mut stopping = hub.stopping();
    let stopped = async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let following =
        stream::unfold((ticks, hub, whose), move |(mut ticks, hub, whose)| async move {
            loop {
                match ticks.recv().await {
                    // What no one has used yet has none.
                    Ok(()) => {
                        if let Some(point) = points(hub.series()).newest(&whose) {
                            return Some((event(&[point]), (ticks, hub, whose)));
                        }
                    }
                    // A slow reader misses points; the chart has a gap.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
    let events = so_far.chain(following).take_until(Box::pin(stopped));
    Sse::new(events.map(Ok)).keep_alive(KeepAlive::default())
}

fn event(points: &[impl Point]) -> Event {
    let data = serde_json::to_string(points).unwrap_or_default();
    Event::default().event("points").data(data)
}
