//! `sinew cache …`
//!
//! With `--store redis://…` a command works on Redis itself; otherwise it asks the hub at
//! `--listen`, since an embedded store lives in the hub's process.

mod clear;
mod entry;
mod look;
mod place;
mod stats;
mod warm;

use clap::Subcommand;

use crate::cli::request::At;
use crate::cli::{Outcome, print_json};
use clear::ClearArgs;
use entry::PutArgs;
use look::{HottestArgs, InfoArgs, LargestArgs};
use place::Entry;
use warm::WarmArgs;

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
  sinew cache put user 7 - --tag team:3 --tag staff < user.json
  sinew cache put user 7 '{\"name\": \"Ada\"}' --version 12     not over version 12 or a newer one")]
    Put(PutArgs),
    /// Remove the entry of one key, at once and without a question
    #[command(after_help = "\
Whoever looks it up next loads it from its source. `clear`, which removes many, asks first.

Example:
  sinew cache delete user 7 --tenant acme")]
    Delete {
        /// Which entry
        #[command(flatten)]
        entry: Entry,
    },
    /// Remove the entries that have a tag, whose key matches, or all
    #[command(after_help = "\
Examples:
  sinew cache clear user --tag team:3
  sinew cache clear property --match '*:list' --tenant tenant123 --dry-run --json
  sinew cache clear greeting --all --yes")]
    Clear(ClearArgs),
    /// Store the entries of a file, one JSON object a line, that are not there yet
    #[command(after_help = "\
A line is like {\"key\": \"456:list\", \"value\": [1, 2], \"ttl\": \"10m\", \"tags\": [\"team:3\"]};
ttl and tags may be left out. A line that is not as expected ends it, and is told
with its number and how many entries were stored before it. A key that comes
again is there already; with --replace, its last line stays.

Examples:
  sinew cache warm user users.ndjson --tenant acme
  export-users | sinew cache warm user - --replace --yes")]
    Warm(WarmArgs),
    /// Print what is known of an entry, without its value
    #[command(after_help = "Example:\n  sinew cache info user 7 --tenant acme")]
    Info(InfoArgs),
    /// List the largest entries of a cache
    #[command(after_help = "\
Examples:
  sinew cache largest user --tenant acme
  sinew cache largest user --keys 100000 --top 5 --json")]
    Largest(LargestArgs),
    /// List the entries of a cache that are looked up most in a hub, from a sample
    #[command(after_help = "\
Of the look-ups since the hub started: nearly each of the first, later about one
in a thousand, which counts for those that were passed over. The older ones count
for less and less.

Example:
  sinew cache hottest property --tenant tenant123 --top 5")]
    Hottest(HottestArgs),
    /// List a hub's caches, with what they did since the hub started
    #[command(after_help = "Example:\n  sinew cache list --json")]
    List {
        /// Where to ask
        #[command(flatten)]
        at: At,
    },
    /// Print what a hub's cache did since the hub started
    #[command(after_help = "Example:\n  sinew cache stats property --listen 127.0.0.1:7463")]
    Stats {
        /// Name of the cache
        cache: String,
        /// Where to ask
        #[command(flatten)]
        at: At,
    },
}

impl CacheCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let ended = match self {
            Self::Get { entry } => entry::get(&entry).await,
            Self::Put(args) => entry::put(args).await,
            Self::Delete { entry } => entry::delete(&entry).await,
            Self::Clear(args) => clear::clear(args).await,
            Self::Warm(args) => warm::warm(args).await,
            Self::Info(args) => look::info(&args).await,
            Self::Largest(args) => look::largest(&args).await,
            Self::Hottest(args) => look::hottest(&args).await,
            Self::List { at } => stats::list(&at).await,
            Self::Stats { cache, at } => stats::stats(&cache, &at).await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}
