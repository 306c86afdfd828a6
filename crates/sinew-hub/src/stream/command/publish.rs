//! `sinew stream publish`

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use sinew::Streams;
use sinew::stream::NewEvent;

use super::place::{Place, failed, place, unreadable};
use crate::cli::input::{self, Line};
use crate::cli::place::AtHub;
use crate::cli::request::read_reply;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration;
use crate::stream::body::{PublishedBody, PublishedEventBody};

/// What data may look like, for messages.
const LIKE: &str = r#"{"order": 7}"#;
const BATCH: &str = "application/cloudevents-batch+json";

/// Which event, and where to.
#[derive(Args)]
pub struct PublishArgs {
    /// Name of the topic
    topic: String,
    /// What happened, as JSON; - reads it from standard input. Or --batch
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    data: Option<String>,
    /// Of which type it is [default: the topic's name]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Events of one key go to one partition
    #[arg(long)]
    key: Option<String>,
    /// What it is called [default: its place, and in a batch a name of the command's with the number of the line]
    #[arg(long, conflicts_with = "batch")]
    id: Option<String>,
    /// What is published with the same one again within ten minutes is a duplicate; in a batch, the same line
    #[arg(long, value_name = "TEXT")]
    dedup: Option<String>,
    /// When it is to come: from now, like 10m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    delay: Option<Duration>,
    /// Read events from standard input, the data of one a line
    #[arg(long)]
    batch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// A line of a batch, as it is sent: known again by its source and id.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<&'a str>,
    data: &'a RawValue,
}

pub(super) async fn publish(args: &PublishArgs) -> Result<(), Outcome> {
    let Some(data) = &args.data else { return batch(args).await };
    let data = input::read(data, LIKE)?;
    let published = match &place(&args.whose).await? {
        Place::Redis(streams, _) => in_redis(streams, args, &data).await?,
        Place::Hub(hub) => at_hub(hub, args, &data).await?,
    };
    if args.json {
        return print_json(&PublishedBody { events: published });
    }
    print(&published);
    Ok(())
}

/// What was published is told also where the rest was not.
async fn batch(args: &PublishArgs) -> Result<(), Outcome> {
    // All are read before the first is published.
    let lines = input::lines(LIKE).map_err(|outcome| match outcome {
        Outcome::BadInput(what) => Outcome::BadInput(nothing_of(&what)),
        other => other,
    })?;
    let place = place(&args.whose).await?;
    let name = match &args.dedup {
        Some(name) => name.clone(),
        None => unique()?,
    };
    let (mut published, mut ended) = (Vec::with_capacity(lines.len()), Ok(()));
    for some in input::batches(&lines) {
        match send(&place, args, &name, some).await {
            Ok(events) => {
                if !args.json {
                    print(&events);
                }
                published.extend(events);
            }
            Err(outcome) => {
                ended = Err(broken_off(args, outcome, some, &published));
                break;
            }
        }
    }
    if args.json {
        print_json(&PublishedBody { events: published })?;
    }
    ended
}

/// How far it came, and how to go on: not with the same where that is refused for good.
fn broken_off(
    args: &PublishArgs,
    outcome: Outcome,
    lines: &[Line],
    published: &[PublishedEventBody],
) -> Outcome {
    let first = lines.first().map_or(0, |line| line.number);
    let last = lines.last().map_or(0, |line| line.number);
    match outcome {
        Outcome::Failed(what) => {
            let then = match args.dedup {
                Some(_) => "; the same again within ten minutes publishes the rest",
                None => "",
            };
            Outcome::Failed(format!(
                "{what}\nlines before {first} are published, of {first} to {last} some may be{then}"
            ))
        }
        Outcome::BadInput(what) if published.is_empty() => Outcome::BadInput(nothing_of(&what)),
        Outcome::BadInput(what) => Outcome::BadInput(format!(
            "{what}\nlines before {first} are published, line {first} and those after it are not"
        )),
        other => other,
    }
}

/// What is wrong, where it was found out before anything was published.
fn nothing_of(what: &str) -> String {
    format!("{what}\nnothing was published")
}

/// For ids that no other batch has.
fn unique() -> Result<String, Outcome> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| Outcome::Failed(format!("no random bytes: {e}")))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

/// The same at either place.
async fn send(
    place: &Place,
    args: &PublishArgs,
    name: &str,
    lines: &[Line],
) -> Result<Vec<PublishedEventBody>, Outcome> {
    let source = format!("/v1/streams/{}", args.topic);
    let delay = args.delay.map(duration::written);
    let event = |line: &Line| {
        serde_json::to_string(&CloudEvent {
            specversion: "1.0",
            id: format!("{name}.{}", line.number),
            source: &source,
            r#type: args.kind.as_deref().unwrap_or(&args.topic),
            partitionkey: args.key.as_deref(),
            delay: delay.as_deref(),
            data: &line.data,
        })
    };
    let events: serde_json::Result<Vec<String>> = lines.iter().map(event).collect();
    let text = format!("[{}]", events.map_err(unreadable)?.join(","));
    match place {
        Place::Redis(streams, _) => {
            let mut events = NewEvent::batch_from_cloud_json(text.as_bytes()).map_err(failed)?;
            for event in &mut events {
                event.extensions.remove("delay");
                event.delay = args.delay;
            }
            let ids: Vec<Option<String>> = events.iter().map(|event| event.id.clone()).collect();
            let published = streams.publish_events(&args.topic, events).await.map_err(failed)?;
            let told = ids.into_iter().zip(&published);
            Ok(told.map(|(id, published)| PublishedEventBody::new(id, published)).collect())
        }
        Place::Hub(hub) => {
            let mut request = hub.request(&[&args.topic])?;
            request.content_type = BATCH;
            let (_, text) = request.send(Method::POST, Some(text)).await?;
            read_reply::<PublishedBody>(&text).map(|reply| reply.events)
        }
    }
}

fn print(published: &[PublishedEventBody]) {
    for event in published {
        println!("{}", told(event));
    }
}

fn told(event: &PublishedEventBody) -> String {
    match (&event.place, &event.due) {
        (Some(place), _) if event.duplicate => format!("{place} duplicate"),
        (Some(place), _) => place.clone(),
        (None, Some(due)) => format!("due {due}"),
        (None, None) => "duplicate of one that is delayed".to_owned(),
    }
}

async fn in_redis(
    streams: &Streams,
    args: &PublishArgs,
    data: &RawValue,
) -> Result<Vec<PublishedEventBody>, Outcome> {
    let event = NewEvent {
        id: args.id.clone(),
        kind: args.kind.clone(),
        key: args.key.clone(),
        delay: args.delay,
        dedup: args.dedup.clone(),
        data: data.get().to_owned().into(),
        ..NewEvent::default()
    };
    let published = streams.publish_events(&args.topic, vec![event]).await.map_err(failed)?;
    let told = |published| PublishedEventBody::new(args.id.clone(), published);
    Ok(published.iter().map(told).collect())
}

async fn at_hub(
    hub: &AtHub,
    args: &PublishArgs,
    data: &RawValue,
) -> Result<Vec<PublishedEventBody>, Outcome> {
    let mut request = hub.request(&[&args.topic])?;
    request.idempotency_key = args.dedup.clone();
    let (_, text) = request.send(Method::POST, Some(plain(args, data)?)).await?;
    read_reply::<PublishedBody>(&text).map(|reply| reply.events)
}

/// Data goes as it was written: a value would lose digits.
fn plain(args: &PublishArgs, data: &RawValue) -> Result<String, Outcome> {
    let member = |name: &str, value: Option<&str>| match value {
        None => Ok(String::new()),
        Some(value) => serde_json::to_string(value).map(|value| format!(",\"{name}\":{value}")),
    };
    let delay = args.delay.map(duration::written);
    let members = [
        member("type", args.kind.as_deref()),
        member("key", args.key.as_deref()),
        member("id", args.id.as_deref()),
        member("delay", delay.as_deref()),
    ];
    let members: serde_json::Result<String> = members.into_iter().collect();
    let members = members.map_err(unreadable)?;
    Ok(format!("{{\"data\":{}{members}}}", data.get()))
}
