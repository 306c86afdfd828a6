//! `sinew limit list`

use clap::Args;
use serde_json::Value;

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
    // A process of its own has decided nothing.
    let is_counted = matches!(place, Place::Hub(_));
    if args.json {
        return match is_counted {
            true => print_json(&limits),
            false => print_json(&uncounted(&limits)?),
        };
    }
    print!("{}", shown(&limits, is_counted));
    Ok(())
}

/// What was not counted is null, and not zero.
fn uncounted(limits: &[DefinedBody]) -> Result<Value, Outcome> {
    let mut all = serde_json::to_value(limits).map_err(|e| Outcome::Failed(e.to_string()))?;
    for limit in all.as_array_mut().into_iter().flatten() {
        for count in ["admitted", "denied", "shadowDenied", "degraded"] {
            limit[count] = Value::Null;
        }
    }
    Ok(all)
}

fn shown(limits: &[DefinedBody], is_counted: bool) -> String {
    // Few limits have these: they take room only where one does.
    let has_lease = limits.iter().any(|defined| defined.limit.lease > 0);
    let has_debt = limits.iter().any(|defined| defined.limit.debt_max > 0);
    let titles = [
        ("LIMIT", true),
        ("ALGORITHM", true),
        ("QUOTA", true),
        ("PER", true),
        ("BURST", true),
        ("LEASE", has_lease),
        ("DEBT", has_debt),
        ("ON DOWN", true),
        ("SOURCE", true),
        ("ADMITTED", true),
        ("DENIED", true),
    ];
    let rows: Vec<Vec<String>> = limits
        .iter()
        .map(|defined| {
            let cells = row(defined, is_counted).into_iter().zip(titles);
            cells.filter_map(|(cell, (_, is_shown))| is_shown.then_some(cell)).collect()
        })
        .collect();
    let titles = titles.into_iter().filter_map(|(title, is_shown)| is_shown.then_some(title));
    table(titles.collect::<Vec<_>>(), &rows)
}

fn row(defined: &DefinedBody, is_counted: bool) -> [String; 11] {
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
        limit.lease.to_string(),
        limit.debt_max.to_string(),
        limit.on_down.clone(),
        defined.source.clone(),
        told(is_counted.then_some(defined.admitted)),
        told(is_counted.then_some(defined.denied + defined.shadow_denied)),
    ]
}
