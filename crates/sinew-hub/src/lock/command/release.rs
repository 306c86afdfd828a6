//! `sinew lock release`

use clap::Args;
use reqwest::Method;

use super::place::place;
use crate::cli::Outcome;
use crate::cli::confirm::{Consent, consent};
use crate::cli::place::Place;
use crate::cli::request::read_reply;
use crate::cli::whose::Whose;
use crate::lock::body::ReleasedBody;

/// Which lock, and where.
#[derive(Args)]
pub struct ReleaseArgs {
    /// Name of the lock
    name: String,
    /// Take it away from those who hold it: there is no other way without their token
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn release(args: &ReleaseArgs) -> Result<(), Outcome> {
    if !args.force {
        return Err(Outcome::BadInput(
            "a lock is released by who holds it: expected --force to take it away from them"
                .to_owned(),
        ));
    }
    let place = place(&args.whose).await?;
    let what = format!("lock {:?}{} in {place}", args.name, args.whose.shown());
    // A URL would swallow them.
    if matches!(place, Place::Hub(_)) && ["", ".", ".."].contains(&args.name.as_str()) {
        return Err(Outcome::BadInput(format!(
            "a hub has no lock {:?}: expected a name that a URL can hold",
            args.name
        )));
    }
    consent(Consent::of(args.yes), &format!("Take {what} away from all who hold it?"))?;
    let released = match place {
        Place::Redis(locks, _) => {
            locks.force_release(&args.name).await.map_err(|e| Outcome::of(&e))?
        }
        Place::Hub(hub) => {
            let mut request = hub.request(&[args.name.as_str()])?;
            request.url.query_pairs_mut().append_pair("force", "true");
            let (_, text) = request.send(Method::DELETE, None).await?;
            read_reply::<ReleasedBody>(&text)?.released
        }
    };
    match released {
        _ if args.json => println!("{}", serde_json::json!({ "released": released })),
        0 => println!("No one held {what}."),
        1 => println!("Took {what} away from 1 holder."),
        count => println!("Took {what} away from {count} holders."),
    }
    Ok(())
}
