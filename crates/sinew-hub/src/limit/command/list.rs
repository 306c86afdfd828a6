//! `sinew limit list`

use clap::Args;

use super::place::{OfAll, Place, place_of_all};
use crate::cli::table::table;
use crate::cli::{Outcome, print_json};
use crate::limit::body::DefinedBody;

/// Where, and how to print.
#[derive(Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of_all: OfAll,
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Outcome> {
    let place = place_of_all(&args.of_all).await?;
    let limits: Vec<DefinedBody> = match &place {
        Place::Redis(redis, _) => {
            let all = redis.table.all().await.map_err(|e| Outcome::of(&e))?;
            all.into_iter().map(DefinedBody::from).collect()
        }
        Place::Hub(hub) => hub.request(&[])?.get().await?,
    };
    if args.json {
        return print_json(&limits);
    }
    // A process of its own has decided nothing.
    let is_counted = matches!(place, Place::Hub(_));
    let rows: Vec<[String; 9]> = limits.iter().map(|limit| row(limit, is_counted)).collect();
    let titles =
        ["LIMIT", "ALGORITHM", "QUOTA", "PER", "BURST", "ON DOWN", "SOURCE", "ADMITTED", "DENIED"];
    print!("{}", table(titles, &rows));
    Ok(())
}

fn row(defined: &DefinedBody, is_counted: bool) -> [String; 9] {
    let limit = &defined.limit;
    let told = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |n| n.to_string());
    let shadow = if limit.shadow { " shadow" } else { "" };
    // Only GCRA has one.
    let burst = limit.burst.or_else(|| (limit.algorithm == "gcra").then_some(limit.quota));
    [
        limit.name.clone(),
        format!("{}{shadow}", limit.algorithm),
        limit.quota.to_string(),
        limit.per.clone(),
        told(burst),
        limit.on_down.clone(),
        defined.source.clone(),
        told(is_counted.then_some(defined.admitted)),
        told(is_counted.then_some(defined.denied + defined.shadow_denied)),
    ]
}
