//! `sinew cache …`
//!
//! With `--store redis://…` a command works on Redis itself; otherwise it asks the hub at
//! `--listen`, since an embedded store lives in the hub's process.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sinew::{Sinew, Tenancy, Tenant};

use super::{Documents, WrittenKey, document, documents};
use crate::cli::request::Request;
use crate::cli::{Outcome, configured};
use crate::config::{Config, Flags, StoreSetting};
use crate::duration;

/// Look at a cache and change it.
#[derive(Subcommand)]
pub enum CacheCommand {
    /// Print an entry
    #[command(after_help = "\
Examples:
  sinew cache get property 456 --tenant tenant123
  sinew cache get property 456:payments:list --tenant tenant123 \\
      --store redis://127.0.0.1:6379 --prefix RentTracker_")]
    Get {
        /// Which entry
        #[command(flatten)]
        entry: Entry,
    },
    /// Store an entry
    #[command(after_help = "\
Examples:
  sinew cache put greeting en '\"hello\"' --ttl 10m
  sinew cache put user 7 - < user.json")]
    Put {
        /// Which entry
        #[command(flatten)]
        entry: Entry,
        /// One JSON document, or - to read it from standard input
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// How long it lives at most: 30s, 10m, 1h 30m
        #[arg(long)]
        ttl: Option<String>,
    },
    /// Remove an entry
    Delete {
        /// Which entry
        #[command(flatten)]
        entry: Entry,
    },
    /// Print what a hub's cache did since the hub started
    #[command(after_help = "Example:\n  sinew cache stats property --listen 127.0.0.1:7463")]
    Stats {
        /// Name of the cache
        cache: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Read settings from this file
        #[arg(long, value_name = "FILE", env = "SINEW_CONFIG")]
        config: Option<PathBuf>,
        /// Where the hub listens [default: 127.0.0.1:7463]
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
    },
}

/// Which entry, and where.
#[derive(Args)]
pub struct Entry {
    /// Name of the cache
    cache: String,
    /// Segments between colons, like 456:payments:list
    key: String,
    /// Whose entry
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

/// Where an entry is.
enum Place {
    Redis(Box<Documents>, WrittenKey),
    Hub(Request),
}

impl CacheCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let ended = match self {
            Self::Get { entry } => get(&entry).await,
            Self::Put { entry, value, ttl } => put(&entry, value, ttl.as_deref()).await,
            Self::Delete { entry } => delete(&entry).await,
            Self::Stats { cache, json, config, listen } => {
                stats(&cache, json, &Flags { config, listen, ..Flags::default() }).await
            }
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}

async fn get(entry: &Entry) -> Result<(), Outcome> {
    let value = match place(entry).await? {
        Place::Redis(cache, key) => {
            let found = cache.get(&key).await.map_err(|e| Outcome::of(&e))?;
            // A look-up hides an outage; a person at a terminal wants to know.
            if found.is_none() && cache.stats().errors > 0 {
                return Err(Outcome::Failed(
                    "Redis did not answer, or the entry is unreadable".to_owned(),
                ));
            }
            found.map(|value| value.get().to_owned())
        }
        Place::Hub(request) => match request.send(Method::GET, None).await {
            // Over HTTP an outage is a miss like any other; a person at a terminal wants to know.
            Err(Outcome::NoSuchEntry) => return Err(request.no_entry().await),
            reply => Some(reply?.1),
        },
    };
    println!("{}", value.ok_or(Outcome::NoSuchEntry)?);
    Ok(())
}

async fn put(entry: &Entry, value: String, ttl: Option<&str>) -> Result<(), Outcome> {
    let text = match value.as_str() {
        "-" => from_standard_input()?,
        _ => value,
    };
    let value = document(text).map_err(Outcome::BadInput)?;
    let parsed = ttl.map(duration::parse_ttl).transpose().map_err(Outcome::BadInput)?;
    match place(entry).await? {
        Place::Redis(cache, key) => {
            let stored = match parsed {
                Some(ttl) => cache.put_with_ttl(&key, &value, ttl).await,
                None => cache.put(&key, &value).await,
            };
            stored.map_err(|e| Outcome::of(&e))
        }
        Place::Hub(mut request) => {
            if let Some(ttl) = ttl {
                request.url.query_pairs_mut().append_pair("ttl", ttl);
            }
            request.send(Method::PUT, Some(value.get().to_owned())).await.map(|_| ())
        }
    }
}

async fn delete(entry: &Entry) -> Result<(), Outcome> {
    match place(entry).await? {
        Place::Redis(cache, key) => match cache.invalidate(&key).await {
            Ok(sinew::Invalidated::Done) => Ok(()),
            // This process ends, and its queue with it.
            Ok(sinew::Invalidated::Queued) => Err(Outcome::Failed(
                "Redis did not answer: the entry may still be there".to_owned(),
            )),
            Err(error) => Err(Outcome::of(&error)),
        },
        Place::Hub(request) => match request.send(Method::DELETE, None).await? {
            (StatusCode::ACCEPTED, _) => Err(Outcome::Failed(
                "the hub cannot reach its store: it will remove the entry once it can; until then others may see it".to_owned(),
            )),
            _ => Ok(()),
        },
    }
}

async fn stats(cache: &str, json: bool, flags: &Flags) -> Result<(), Outcome> {
    let config = configured(flags)?;
    let request = Request::to(config.listen, &["v1", "cache", cache, "stats"])?;
    let (_, text) = request.send(Method::GET, None).await?;
    if json {
        println!("{text}");
        return Ok(());
    }
    let stats: Value = serde_json::from_str(&text)
        .map_err(|_| Outcome::Failed("the hub's reply is not JSON".to_owned()))?;
    let ratio =
        stats["hitRatio"].as_f64().map_or("–".to_owned(), |r| format!("{:.1} %", r * 100.0));
    println!("cache         {cache}");
    println!("hit ratio     {ratio}");
    for (title, field) in [
        ("hits local", "hitsLocal"),
        ("hits redis", "hitsRedis"),
        ("misses", "misses"),
        ("loads", "loads"),
        ("failed loads", "loadErrors"),
        ("store errors", "errors"),
    ] {
        println!("{title:<13} {}", stats[field]);
    }
    Ok(())
}

fn from_standard_input() -> Result<String, Outcome> {
    let mut text = String::new();
    // The largest value that any configuration allows.
    let read = std::io::stdin().take(512 << 20).read_to_string(&mut text);
    read.map_err(|e| Outcome::BadInput(format!("standard input: {e}; expected UTF-8 text")))?;
    Ok(text.trim_end().to_owned())
}

async fn place(entry: &Entry) -> Result<Place, Outcome> {
    let config = configured(&entry.flags)?;
    // Names first: a URL would swallow some, and a connection is dear.
    Sinew::check_cache_name(&entry.cache).map_err(|e| Outcome::of(&e))?;
    if ["", ".", ".."].contains(&entry.key.as_str()) {
        return Err(Outcome::BadInput(format!(
            "invalid key {:?}: expected segments between colons, like 456:payments:list",
            entry.key
        )));
    }
    if entry.tenant.is_some() && config.tenancy() == Tenancy::Single {
        return Err(Outcome::BadInput(
            "--tenant: this deployment is single-tenant: expected no tenant".to_owned(),
        ));
    }
    if matches!(config.store, StoreSetting::Redis(_)) {
        return in_redis(entry, &config).await;
    }
    if let Some(tenant) = &entry.tenant {
        Tenant::new(tenant).map_err(|e| Outcome::of(&e))?;
    }
    let path = ["v1", "cache", &entry.cache, "entries", &entry.key];
    let tenant = entry.tenant.clone();
    Ok(Place::Hub(Request { tenant, ..Request::to(config.listen, &path)? }))
}

async fn in_redis(entry: &Entry, config: &Config) -> Result<Place, Outcome> {
    let opened = async {
        let sinew = config.open()?;
        let scope = match &entry.tenant {
            Some(tenant) => sinew.tenant(tenant)?,
            None => sinew.clone(),
        };
        let ttl = config.caches.get(&entry.cache).unwrap_or(&config.default_ttl);
        let cache = documents(&scope, &entry.cache, *ttl)?;
        sinew.until_up().await?;
        Ok(Place::Redis(Box::new(cache), WrittenKey(entry.key.clone())))
    };
    opened.await.map_err(|e| Outcome::of(&e))
}
