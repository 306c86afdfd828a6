//! `sinew limit define|remove`

use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sinew::ErrorKind;
use sinew::limit::{Expected, Limit};

use super::place::{AtHub, InRedis, OfAll, Place, place_of_all};
use super::terms::{Terms, from_zero};
use crate::cli::confirm::{Consent, consent};
use crate::cli::request::read_reply;
use crate::cli::{Outcome, print_json};
use crate::limit::body::{DefinedBody, LimitBody, limit_of};
use crate::limit::{check_name, in_words};

/// By whom a change on Redis itself is said to be.
const BY: &str = "command line";

/// What a limit is to be, and where.
#[derive(Args)]
pub struct DefineArgs {
    /// Name of the limit
    name: String,
    #[command(flatten)]
    terms: Terms,
    /// What each process takes at a time, to hand it out by itself [default: 0, nothing]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = from_zero)]
    lease: Option<u64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of_all: OfAll,
}

/// Which limit, and where.
#[derive(Args)]
pub struct RemoveArgs {
    /// Name of the limit
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of_all: OfAll,
}

pub(super) async fn define(args: &DefineArgs) -> Result<(), Outcome> {
    // Names first: a connection is dear.
    check_name(&args.name).map_err(|e| Outcome::of(&e))?;
    let place = place_of_all(&args.of_all).await?;
    let before = match &place {
        Place::Redis(redis, _) => {
            let row = redis.table.row(&args.name).await.map_err(|e| Outcome::of(&e))?;
            row.map(DefinedBody::from)
        }
        Place::Hub(hub) => at_hub(hub, &args.name).await?,
    };
    let after = args.body(before.as_ref())?;
    let limit = limit_of(&after).map_err(Outcome::BadInput)?;
    let what = format!("limit {:?} in {place}: {}", args.name, change(before.as_ref(), &after));
    if before.as_ref().is_some_and(|before| before.limit.algorithm != after.algorithm) {
        let question =
            format!("By another algorithm, everyone's count begins anew. Change {what}?");
        consent(Consent::of(args.yes), &question)?;
    }
    let revision = before.as_ref().and_then(|before| before.revision);
    let revision = match &place {
        Place::Redis(redis, _) => define_in_redis(redis, &limit, revision).await?,
        Place::Hub(hub) => define_at_hub(hub, &after, revision).await?,
    };
    if args.json {
        let before = before.map(|before| before.limit);
        return print_json(&json!({ "before": before, "after": after, "revision": revision }));
    }
    println!("{} {what}.", if before.is_some() { "Changed" } else { "Defined" });
    Ok(())
}

impl DefineArgs {
    /// What it is to be, where it is this.
    fn body(&self, before: Option<&DefinedBody>) -> Result<LimitBody, Outcome> {
        let body = match before {
            Some(before) => self.terms.over(before.limit.clone()),
            None => self.terms.alone(&self.name).ok_or_else(|| {
                let name = &self.name;
                Outcome::BadInput(format!(
                    "limit {name:?} is not defined yet: expected --quota and --per"
                ))
            })?,
        };
        Ok(LimitBody { lease: self.lease.unwrap_or(body.lease), ..body })
    }
}

/// What a hub has under a name.
async fn at_hub(hub: &AtHub, name: &str) -> Result<Option<DefinedBody>, Outcome> {
    match hub.request(&[name])?.get().await {
        Ok(defined) => Ok(Some(defined)),
        Err(Outcome::NoSuchLimit(_)) => Ok(None),
        Err(outcome) => Err(outcome),
    }
}

fn change(before: Option<&DefinedBody>, after: &LimitBody) -> String {
    let before = before.map(|before| format!("{} → ", in_words(&before.limit)));
    format!("{}{}", before.unwrap_or_default(), in_words(after))
}

/// In place of this revision, or of none in the store. The new one.
async fn define_in_redis(
    redis: &InRedis,
    limit: &Limit,
    revision: Option<u64>,
) -> Result<u64, Outcome> {
    let expected = revision.map_or(Expected::Absent, Expected::Revision);
    match redis.table.define(limit, expected, BY).await {
        Ok(defined) => Ok(defined.revision),
        Err(error) if error.kind() == ErrorKind::Conflict => Err(overtaken(limit.name(), revision)),
        Err(error) => Err(Outcome::of(&error)),
    }
}

/// The same through a hub.
async fn define_at_hub(
    hub: &AtHub,
    after: &LimitBody,
    revision: Option<u64>,
) -> Result<u64, Outcome> {
    let mut request = hub.request(&[after.name.as_str()])?;
    request.revision = Some(revision.unwrap_or(0));
    let body = serde_json::to_string(after).map_err(|e| Outcome::Failed(e.to_string()))?;
    let (status, text) = request.reply(Method::PUT, Some(body)).await?;
    match status {
        StatusCode::PRECONDITION_FAILED => Err(overtaken(&after.name, revision)),
        status if status.is_success() => {
            Ok(read_reply::<DefinedBody>(&text)?.revision.unwrap_or(0))
        }
        _ => Err(request.refused(status, &text)),
    }
}

/// `revision`: of what was found before, if anything was.
fn overtaken(name: &str, revision: Option<u64>) -> Outcome {
    // What is defined there and cannot be read is as good as nothing to whoever looks.
    let rest = match revision {
        Some(_) => String::new(),
        None => format!(
            "; if `sinew limit list` does not show it, what is there cannot be read: `sinew limit remove {name}` takes it away"
        ),
    };
    Outcome::Failed(format!(
        "someone else has changed limit {name:?} meanwhile, and nothing was done: look at what it is now, and try again{rest}"
    ))
}

pub(super) async fn remove(args: &RemoveArgs) -> Result<(), Outcome> {
    let failed = |error: sinew::Error| Outcome::of(&error);
    check_name(&args.name).map_err(failed)?;
    let place = place_of_all(&args.of_all).await?;
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
    match args.json {
        true => print_json(&json!({ "removed": true }))?,
        false => println!("Removed {what}."),
    }
    Ok(())
}
