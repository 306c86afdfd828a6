//! `sinew cache get|put|delete`

use std::io::Read as _;

use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::value::RawValue;
use sinew::{Invalidated, PutOptions};

use super::place::{AtHub, Entry, InRedis, Place};
use crate::cache::{WrittenKey, document, version};
use crate::cli::Outcome;
use crate::duration;

/// What to store, and how.
#[derive(Args)]
pub struct PutArgs {
    #[command(flatten)]
    entry: Entry,
    /// One JSON document, or - to read it from standard input
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// How long it lives at most: 30s, 10m, 1h 30m
    #[arg(long)]
    ttl: Option<String>,
    /// A tag, by which it can be cleared with others; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Store it only over an older version
    #[arg(
        long,
        value_name = "N",
        value_parser = version,
        allow_negative_numbers = true,
        conflicts_with_all = ["ttl", "tags"]
    )]
    version: Option<u64>,
}

pub(super) async fn get(entry: &Entry) -> Result<(), Outcome> {
    let (place, key) = entry.place().await?;
    let value = match place {
        Place::Redis(redis, _) => {
            let found = redis.cache.get(&key).await.map_err(|e| Outcome::of(&e))?;
            // A look-up hides an outage; a person at a terminal wants to know.
            if found.is_none() && redis.cache.stats().errors > 0 {
                return Err(Outcome::Failed(
                    "Redis did not answer, or the entry is unreadable".to_owned(),
                ));
            }
            found.map(|value| value.get().to_owned())
        }
        Place::Hub(hub) => {
            let request = hub.request(&["entries", key.as_str()])?;
            match request.send(Method::GET, None).await {
                // Over HTTP an outage is a miss like any other; a person at a terminal wants to know.
                Err(Outcome::NoSuchEntry) => return Err(request.no_entry().await),
                reply => Some(reply?.1),
            }
        }
    };
    println!("{}", value.ok_or(Outcome::NoSuchEntry)?);
    Ok(())
}

pub(super) async fn put(mut args: PutArgs) -> Result<(), Outcome> {
    if args.value == "-" {
        args.value = from_standard_input()?;
    }
    let value = document(std::mem::take(&mut args.value)).map_err(Outcome::BadInput)?;
    let mut options = PutOptions::new();
    if let Some(ttl) = &args.ttl {
        options = options.ttl(duration::parse_ttl(ttl).map_err(Outcome::BadInput)?);
    }
    let (place, key) = args.entry.place().await?;
    match place {
        Place::Redis(redis, _) => put_in_redis(&redis, &key, &args, value, options).await,
        Place::Hub(hub) => put_at_hub(&hub, &key, &args, value.get().to_owned()).await,
    }
}

async fn put_in_redis(
    redis: &InRedis,
    key: &WrittenKey,
    args: &PutArgs,
    value: Box<RawValue>,
    options: PutOptions,
) -> Result<(), Outcome> {
    if !args.tags.is_empty() {
        redis.must_be_tagged()?;
    }
    let stored = match args.version {
        Some(version) => redis.cache.put_versioned(key, &value, version).await,
        None => {
            let options = args.tags.iter().fold(options, PutOptions::tag);
            redis.cache.put_with(key, &value, options).await.map(|()| true)
        }
    };
    match stored.map_err(|e| Outcome::of(&e))? {
        true => Ok(()),
        false => Err(Outcome::Failed(
            "that version is not newer than what is there, or came within 5 s of an invalidation"
                .to_owned(),
        )),
    }
}

async fn put_at_hub(
    hub: &AtHub,
    key: &WrittenKey,
    args: &PutArgs,
    value: String,
) -> Result<(), Outcome> {
    let mut request = hub.request(&["entries", key.as_str()])?;
    let ttl = args.ttl.iter().map(|ttl| ("ttl", ttl.clone()));
    let tags = args.tags.iter().map(|tag| ("tag", tag.clone()));
    let version = args.version.iter().map(|version| ("version", version.to_string()));
    let query: Vec<(&str, String)> = ttl.chain(tags).chain(version).collect();
    if !query.is_empty() {
        request.url.query_pairs_mut().extend_pairs(query);
    }
    request.send(Method::PUT, Some(value)).await.map(|_| ())
}

pub(super) async fn delete(entry: &Entry) -> Result<(), Outcome> {
    let (place, key) = entry.place().await?;
    match place {
        Place::Redis(redis, _) => match redis.cache.invalidate(&key).await {
            Ok(Invalidated::Done) => Ok(()),
            // This process ends, and its queue with it.
            Ok(Invalidated::Queued) => Err(Outcome::Failed(
                "Redis did not answer: the entry may still be there".to_owned(),
            )),
            Err(error) => Err(Outcome::of(&error)),
        },
        Place::Hub(hub) => {
            let request = hub.request(&["entries", key.as_str()])?;
            match request.send(Method::DELETE, None).await? {
                (StatusCode::ACCEPTED, _) => Err(Outcome::Failed(
                    "the hub cannot reach its store: it will remove the entry once it can; until then others may see it".to_owned(),
                )),
                _ => Ok(()),
            }
        }
    }
}

fn from_standard_input() -> Result<String, Outcome> {
    let mut text = String::new();
    // The largest value that any configuration allows.
    let read = std::io::stdin().take(512 << 20).read_to_string(&mut text);
    read.map_err(|e| Outcome::BadInput(format!("standard input: {e}; expected UTF-8 text")))?;
    Ok(text.trim_end().to_owned())
}
