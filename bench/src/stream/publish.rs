//! Publishing alone, where nobody reads: one event at a time by 64 tasks, and many at once.

use std::sync::Arc;
use std::time::Duration;

use super::{BATCH, Ours, PUBLISHERS, Place, RAW, SEA_STREAMER, batch, event};
use crate::measure::{Effort, Row, in_turn, rate};
use crate::peer::streams::{Carrier, Line as _, Raw, SeaStreamer};

const TASKS: u64 = 64;

pub async fn rows(effort: Effort, place: &Place) -> Vec<Row> {
    let (raw, sea) = (Raw::new(&place.url, 1), SeaStreamer::rolling(&place.url));
    vec![
        single(effort, place, RAW, &raw).await,
        single(effort, place, SEA_STREAMER, &sea).await,
        many(effort, place, RAW, &raw).await,
        many(effort, place, SEA_STREAMER, &sea).await,
    ]
}

async fn single(effort: Effort, place: &Place, peer: &'static str, theirs: &impl Carrier) -> Row {
    let ours = Ours::new(place);
    let our_events = async |time| singles(place, &ours, time).await;
    let their_events = async |time| singles(place, theirs, time).await;
    let (ours, theirs) = in_turn(effort, "stream.publish", our_events, their_events).await;
    Row::of_rates("stream.publish", peer, ours, theirs)
}

async fn singles(place: &Place, carrier: &impl Carrier, time: Duration) -> f64 {
    let line = Arc::new(carrier.open(place.new_topic(), None).await);
    let publishing = Arc::clone(&line);
    let publish = move |n: u64| {
        let line = Arc::clone(&publishing);
        async move { line.publish_one(event(n)).await }
    };
    let events = rate(TASKS, time, publish).await;
    drop(line);
    place.clear().await;
    events
}

async fn many(effort: Effort, place: &Place, peer: &'static str, theirs: &impl Carrier) -> Row {
    let ours = Ours::new(place);
    let our_events = async |time| batches(place, &ours, time).await;
    let their_events = async |time| batches(place, theirs, time).await;
    let (ours, theirs) = in_turn(effort, "stream.publish_many", our_events, their_events).await;
    Row::of_rates("stream.publish_many", peer, ours, theirs)
}

async fn batches(place: &Place, carrier: &impl Carrier, time: Duration) -> f64 {
    let line = Arc::new(carrier.open(place.new_topic(), None).await);
    let publishing = Arc::clone(&line);
    let publish = move |n: u64| {
        let line = Arc::clone(&publishing);
        async move { line.publish(batch(n * BATCH)).await }
    };
    let batches = rate(PUBLISHERS, time, publish).await;
    drop(line);
    place.clear().await;
    batches * BATCH as f64
}
