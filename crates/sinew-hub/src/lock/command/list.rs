//! `sinew lock list`

use std::time::Duration;

use clap::Args;

use super::place::place;
use crate::cli::place::Place;
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration;
use crate::lock::body::HeldLockBody;

/// A hub takes so long at most, and then says so itself.
const PATIENCE: Duration = Duration::from_secs(40);

/// Whose locks, and where.
#[derive(Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Outcome> {
    let held: Vec<HeldLockBody> = match place(&args.whose).await? {
        Place::Redis(locks, _) => {
            let held = locks.list().await.map_err(|e| Outcome::of(&e))?;
            held.into_iter().map(HeldLockBody::from).collect()
        }
        Place::Hub(hub) => {
            let mut request = hub.request(&[])?;
            request.patience = PATIENCE;
            request.get().await?
        }
    };
    if args.json {
        return print_json(&held);
    }
    let rows: Vec<[String; 7]> = held.iter().map(row).collect();
    print!("{}", table(["LOCK", "KIND", "HOLDER", "FENCE", "HELD FOR", "LEFT", "WAITING"], &rows));
    Ok(())
}

fn row(held: &HeldLockBody) -> [String; 7] {
    let holder = match (held.holders.as_slice(), held.holding, held.permits) {
        ([one], 1, None) => one.process.clone(),
        (_, holding, Some(permits)) => format!("{holding} of {permits}"),
        (_, holding, None) => format!("{holding} holders"),
    };
    // That of the last of them: then it is free, unless someone extends.
    let left = held.holders.iter().map(|holder| holder.expires_in_ms).max();
    [
        held.name.clone(),
        held.kind.clone(),
        holder,
        held.fence.map_or_else(|| "–".to_owned(), |fence| fence.to_string()),
        held.held_for_ms
            .map_or_else(|| "–".to_owned(), |ms| duration::shown(Duration::from_millis(ms))),
        duration::shown(Duration::from_millis(left.unwrap_or(0))),
        held.waiting.to_string(),
    ]
}
