//! `sinew cache info|largest|hottest`

use std::time::Duration;

use clap::Args;

use super::place::{Entry, Place, Whose, place};
use super::print_json;
use crate::cache::body::{InfoBody, KeyHeatBody, KeySizeBody};
use crate::cli::Outcome;
use crate::cli::request::At;
use crate::cli::table::{harmless, table};
use crate::{duration, size};

/// Which entry, and where.
#[derive(Args)]
pub struct InfoArgs {
    #[command(flatten)]
    entry: Entry,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Of which cache, how many, and where.
#[derive(Args)]
pub struct LargestArgs {
    /// Name of the cache
    cache: String,
    /// How many keys to look at, at most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    keys: u32,
    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    top: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Of which cache, how many, and where.
#[derive(Args)]
pub struct HottestArgs {
    /// Name of the cache
    cache: String,
    /// Whose entries
    #[arg(long)]
    tenant: Option<String>,
    /// How many to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    top: u32,
    #[command(flatten)]
    at: At,
}

pub(super) async fn info(args: &InfoArgs) -> Result<(), Outcome> {
    let (place, key) = args.entry.place().await?;
    let info: InfoBody = match place {
        Place::Redis(redis, _) => {
            let found = redis.cache.inspect(&key).await.map_err(|e| Outcome::of(&e))?;
            found.ok_or(Outcome::NoSuchEntry)?.into()
        }
        Place::Hub(hub) => hub.request(&["info", key.as_str()])?.get().await?,
    };
    if args.json {
        return print_json(&info);
    }
    let time = |seconds: Option<f64>, none: &str| {
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        time.map_or_else(|| none.to_owned(), duration::shown)
    };
    let tags = if info.tags.is_empty() { "none".to_owned() } else { info.tags.join(", ") };
    println!("size          {}", size::shown(info.bytes));
    println!("age           {}", time(info.age_seconds, "unknown"));
    println!("fresh for     {}", time(info.fresh_for_seconds, "no more"));
    println!("expires in    {}", time(info.expires_in_seconds, "unknown"));
    println!("tags          {}", harmless(&tags));
    println!("a look-up     {}", found_in_words(&info));
    Ok(())
}

fn found_in_words(info: &InfoBody) -> &'static str {
    match (info.served, info.absent) {
        (true, false) => "finds it",
        (true, true) => "finds that there is no such thing",
        // What can be read says when it was written.
        (false, _) if info.age_seconds.is_none() => {
            "finds nothing: it is encrypted with a key that is not known here, or damaged"
        }
        (false, _) => "finds nothing: it is out of date",
    }
}

pub(super) async fn largest(args: &LargestArgs) -> Result<(), Outcome> {
    let sizes: Vec<KeySizeBody> = match place(&args.whose, &args.cache).await? {
        Place::Redis(redis, _) => {
            let largest = redis.cache.largest(args.keys as usize, args.top as usize).await;
            let largest = largest.map_err(|e| Outcome::of(&e))?;
            largest.into_iter().map(KeySizeBody::from).collect()
        }
        Place::Hub(hub) => {
            let mut request = hub.request(&["keys", "largest"])?;
            request
                .url
                .query_pairs_mut()
                .append_pair("keys", &args.keys.to_string())
                .append_pair("top", &args.top.to_string());
            request.get().await?
        }
    };
    if args.json {
        return print_json(&sizes);
    }
    let rows: Vec<[String; 2]> =
        sizes.into_iter().map(|row| [row.key, size::shown(row.bytes)]).collect();
    print!("{}", table(["KEY", "SIZE"], &rows));
    Ok(())
}

pub(super) async fn hottest(args: &HottestArgs) -> Result<(), Outcome> {
    let mut request = args.at.request(&["v1", "cache", &args.cache, "keys", "hottest"])?;
    request.tenant.clone_from(&args.tenant);
    request.url.query_pairs_mut().append_pair("top", &args.top.to_string());
    let hottest: Vec<KeyHeatBody> = request.get().await?;
    if args.at.json {
        return print_json(&hottest);
    }
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let rows: Vec<[String; 2]> =
        hottest.into_iter().map(|row| [row.key, share(row.share)]).collect();
    print!("{}", table(["KEY", "LOOK-UPS"], &rows));
    Ok(())
}
