//! `sinew limit define|remove`

use clap::Args;
use reqwest::{Method, StatusCode};
use sinew::limit::Expected;

use super::place::{Place, place_of_all};
use super::terms::Terms;
use crate::cli::Outcome;
use crate::cli::confirm::{Consent, consent};
use crate::cli::whose::Whose;
use crate::limit::body::{LimitBody, limit_of};
use crate::limit::{check_name, in_words};

/// By whom a change on Redis itself is said to be.
const BY: &str = "command line";

/// What a limit is to be, and where.
#[derive(Args)]
pub struct DefineArgs {
    /// Name of the limit
    name: String,
    /// How much is admitted per period
    #[arg(long, value_name = "N")]
    quota: u64,
    /// The period: 30s, 1m, 24h
    #[arg(long, value_name = "TIME")]
    per: String,
    /// What each process takes at a time, to hand it out by itself [default: nothing]
    #[arg(long, value_name = "N")]
    lease: Option<u64>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    whose: Whose,
}

/// Which limit, and where.
#[derive(Args)]
pub struct RemoveArgs {
    /// Name of the limit
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn define(args: &DefineArgs) -> Result<(), Outcome> {
    let body = args.terms.body(&args.name, args.quota, &args.per)?;
    let body = LimitBody { lease: args.lease.unwrap_or(0), ..body };
    let limit = limit_of(&body).map_err(Outcome::BadInput)?;
    let place = place_of_all(&args.whose).await?;
    let what = format!("limit {:?} in {place}: {}", args.name, in_words(&body));
    let is_new = match place {
        Place::Redis(redis, _) => {
            let defined = redis.table.define(&limit, Expected::Any, BY).await;
            let before = defined.map_err(|e| Outcome::of(&e))?.before;
            before.is_none() && !redis.table.is_filed(&args.name)
        }
        Place::Hub(hub) => {
            let request = hub.request(&[args.name.as_str()])?;
            let body = serde_json::to_string(&body).map_err(|e| Outcome::Failed(e.to_string()))?;
            let (status, _) = request.send(Method::PUT, Some(body)).await?;
            status == StatusCode::CREATED
        }
    };
    println!("{} {what}.", if is_new { "Defined" } else { "Changed" });
    Ok(())
}

pub(super) async fn remove(args: &RemoveArgs) -> Result<(), Outcome> {
    let failed = |error: sinew::Error| Outcome::of(&error);
    check_name(&args.name).map_err(failed)?;
    let place = place_of_all(&args.whose).await?;
    let what = format!("the definition of limit {:?} in {place}", args.name);
    consent(Consent::of(args.yes), &format!("Remove {what}, for every process and tenant?"))?;
    match place {
        Place::Redis(redis, _) => {
            let removed = redis.table.remove(&args.name, Expected::Any, BY).await;
            removed.map_err(failed)?.ok_or_else(|| {
                let name = &args.name;
                Outcome::NoSuchLimit(format!(
                    "no limit {name:?} is defined in the store: expected one of `sinew limit list`"
                ))
            })?;
        }
        Place::Hub(hub) => {
            hub.request(&[args.name.as_str()])?.send(Method::DELETE, None).await?;
        }
    }
    println!("Removed {what}.");
    Ok(())
}
