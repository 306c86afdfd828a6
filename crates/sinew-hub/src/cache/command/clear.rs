//! `sinew cache clear`

use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};

use super::place::{AtHub, Place, Whose, place};
use super::print_json;
use crate::cache::body::RemovedBody;
use crate::cache::removal::{Removed, Which};
use crate::cli::Outcome;
use crate::cli::confirm::{Consent, consent};
use crate::cli::request::read_reply;

/// A hub takes so long at most, and then says so itself.
const PATIENCE: Duration = Duration::from_secs(40);

/// Which entries to remove, and where.
#[derive(Args)]
pub struct ClearArgs {
    /// Name of the cache
    cache: String,
    #[command(flatten)]
    which: WhichArgs,
    /// Say what would be removed, and remove nothing. Entries are not counted
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// One of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct WhichArgs {
    /// Entries with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Entries whose key matches, as redis-cli shows it after the cache's name: '*:list', '4?6'
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<String>,
    /// Every entry of the cache
    #[arg(long)]
    all: bool,
}

impl WhichArgs {
    fn which(&self) -> Which {
        match (&self.tag, &self.pattern, self.all) {
            (Some(tag), _, _) => Which::Tagged(tag.clone()),
            (None, Some(pattern), _) => Which::Matching(pattern.clone()),
            // Without any of them, clap does not come here.
            (None, None, _) => Which::All,
        }
    }
}

pub(super) async fn clear(args: ClearArgs) -> Result<(), Outcome> {
    let which = args.which.which();
    which.check().await.map_err(|e| Outcome::of(&e))?;
    let place = place(&args.whose, &args.cache).await?;
    if let (Place::Redis(redis, _), Which::Tagged(_)) = (&place, &which) {
        redis.must_be_tagged()?;
    }
    let what = in_words(&which, &args, &place);
    if args.dry_run {
        return would(&what, &args, &place);
    }
    consent(Consent::of(args.yes), &format!("Remove {what}?"))?;
    let removed = match &place {
        Place::Redis(redis, _) => {
            which.remove_from(&redis.cache).await.map_err(|e| Outcome::of(&e))?
        }
        Place::Hub(hub) => remove_at_hub(hub, &which).await?,
    };
    told(removed, &what, &args, &place)
}

fn in_words(which: &Which, args: &ClearArgs, place: &Place) -> String {
    let (cache, whose) = (&args.cache, args.whose.shown());
    let of = match which {
        Which::Tagged(tag) => format!(" that has the tag {tag:?}"),
        Which::Matching(pattern) => format!(" whose key matches {pattern:?}"),
        Which::All => String::new(),
    };
    format!("every entry of cache {cache:?}{whose}{of} in {place}")
}

/// What a removal would be about. How many entries that are, the store knows once they are gone.
fn would(what: &str, args: &ClearArgs, place: &Place) -> Result<(), Outcome> {
    if !args.json {
        println!("Would remove {what}. They are not counted.");
        return Ok(());
    }
    let WhichArgs { tag, pattern, all } = &args.which;
    print_json(&serde_json::json!({
        "wouldRemove": {
            "cache": args.cache,
            "tenant": args.whose.tenant,
            "tag": tag,
            "match": pattern,
            "all": all,
            "in": place.to_string(),
        },
        // As after a removal, where no one has counted.
        "removed": null,
    }))
}

async fn remove_at_hub(hub: &AtHub, which: &Which) -> Result<Removed, Outcome> {
    let mut request = hub.request(&["entries"])?;
    request.patience = PATIENCE;
    let (name, value) = match which {
        Which::Tagged(tag) => ("tag", tag.as_str()),
        Which::Matching(pattern) => ("match", pattern.as_str()),
        Which::All => ("all", "true"),
    };
    request.url.query_pairs_mut().append_pair(name, value);
    match request.send(Method::DELETE, None).await? {
        (StatusCode::ACCEPTED, _) => Ok(Removed::Queued),
        (StatusCode::NO_CONTENT, _) => Ok(Removed::Uncounted),
        (_, text) => read_reply(&text).map(|body: RemovedBody| Removed::Counted(body.removed)),
    }
}

fn told(removed: Removed, what: &str, args: &ClearArgs, place: &Place) -> Result<(), Outcome> {
    let count = match (removed, place) {
        (Removed::Counted(count), _) => Some(count),
        (Removed::Uncounted, _) => None,
        // This process ends, and its queue with it.
        (Removed::Queued, Place::Redis(..)) => {
            return Err(Outcome::Failed(
                "Redis did not answer: the entries may still be there".to_owned(),
            ));
        }
        (Removed::Queued, Place::Hub(_)) => {
            return Err(Outcome::Failed(
                "the hub cannot reach its store: it will remove the entries once it can; until then others may see them".to_owned(),
            ));
        }
    };
    match count {
        _ if args.json => print_json(&serde_json::json!({ "removed": count }))?,
        Some(1) => println!("Removed 1 entry."),
        Some(count) => println!("Removed {count} entries."),
        None => println!("Removed {what}."),
    }
    Ok(())
}
