//! How often a handler begins that takes twenty leases, where another member waits for what is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sinew::Sinew;
use sinew::stream::{Ack, Ctx, Event};

use super::{BAR, Place, SEA_STREAMER, streams};
use crate::measure::Row;
use crate::peer::streams::{GROUP, sea_runs};

const TOPIC: &str = "slow";
const LEASE: Duration = Duration::from_secs(1);
const TAKES: Duration = Duration::from_secs(20);

pub async fn rows(place: &Place) -> Vec<Row> {
    eprintln!("stream.slow_handler: {TAKES:?}");
    // At once: they do nothing but wait.
    let (ours, theirs) = tokio::join!(runs(&place.url), sea_runs(&place.url, LEASE, TAKES));
    place.clear().await;
    let (ours, theirs) = (ours as f64, theirs as f64);
    vec![
        Row::of_times("stream.slow_handler", SEA_STREAMER, ours, theirs, "runs"),
        Row::of_times("stream.slow_handler", BAR, ours, 1.0, "runs"),
    ]
}

async fn runs(url: &str) -> u64 {
    let begun = Arc::new(AtomicU64::new(0));
    let mut members = Vec::new();
    for _ in 0..2 {
        let sinew = Sinew::connect(url).await.expect("a connection");
        let begun = Arc::clone(&begun);
        let handler = move |_: Event<String>, _: Ctx| {
            begun.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::time::sleep(TAKES).await;
                Ok(Ack::Done)
            }
        };
        let member = streams(&sinew).subscribe::<String>(TOPIC, GROUP).lease(LEASE);
        members.push((sinew, member.start(handler).expect("a subscription")));
    }
    streams(&members[0].0).publish(TOPIC, "slow").await.expect("published");
    // Another would have it by then, and not be heard of in time if it had it at the end.
    tokio::time::sleep(TAKES + 3 * LEASE).await;
    let mut handled = 0;
    for (_sinew, member) in members {
        handled += member.stop().await.expect("an end").handled;
    }
    assert_eq!(handled, 1, "it was finished");
    begun.load(Ordering::Relaxed)
}
