//! Points as server-sent events: all so far as one, then each new one.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::series::{Of, Point, Points, Series};
use crate::hub::Hub;
use crate::serve::stopped;

/// How long a stream goes on. Its page asks for it again, and whoever has been signed out since is not let in.
pub(super) const GOES_ON_MAX: Duration = Duration::from_secs(60);

pub(super) fn of<P: Point>(
    hub: Hub,
    points: fn(&Series) -> &Points<P>,
    whose: Of,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // Before the first look: no point falls between the two, and the page drops one that comes twice.
    let ticks = hub.series().ticks();
    let so_far = stream::iter([event(&points(hub.series()).so_far(&whose))]);
    let stopping = hub.stopping();
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
    let events = for_a_while(so_far.chain(following), stopping, GOES_ON_MAX);
    Sse::new(events.map(Ok)).keep_alive(KeepAlive::default())
}

/// A stream that ends before long: an open one would hold up a stop, and be seen by someone who may not see
/// it any more.
pub(super) fn for_a_while<S: Stream>(
    events: S,
    stopping: watch::Receiver<bool>,
    most: Duration,
) -> impl Stream<Item = S::Item> {
    let over = async move {
        let _ = tokio::time::timeout(most, stopped(stopping)).await;
    };
    events.take_until(Box::pin(over))
}

fn event(points: &[impl Point]) -> Event {
    let data = serde_json::to_string(points).unwrap_or_default();
    Event::default().event("points").data(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_ends_with_the_hub_and_before_long() {
        let stopping = watch::Sender::new(false);
        for most in [Duration::from_millis(1), Duration::MAX] {
            let events = for_a_while(stream::pending::<()>(), stopping.subscribe(), most);
            assert_eq!(events.count().await, 0);
            // The next one has all the time, and is stopped.
            stopping.send_replace(true);
        }
    }
}
