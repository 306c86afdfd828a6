//! `sinew limit reset`

use clap::Args;
use reqwest::Method;
use sinew::limit::{Limit, Per as _, SECOND};

use super::place::{Place, place};
use crate::cache::WrittenKey;
use crate::cli::Outcome;
use crate::cli::confirm::{Consent, consent};
use crate::cli::whose::Whose;
use crate::limit::check_name;

/// Which limit and whose, and where.
#[derive(Args)]
pub struct ResetArgs {
    /// Name of the limit
    limit: String,
    /// Who is limited: segments between colons, like ada or 456:export; a colon in one is %3A
    subject: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn reset(args: &ResetArgs) -> Result<(), Outcome> {
    let failed = |error: sinew::Error| Outcome::of(&error);
    check_name(&args.limit).map_err(failed)?;
    let subject = WrittenKey::new(args.subject.as_str()).map_err(Outcome::BadInput)?;
    let place = place(&args.whose).await?;
    let (limit, whose) = (&args.limit, args.whose.shown());
    let what =
        format!("what was charged to {:?}{whose} under limit {limit:?} in {place}", args.subject);
    consent(Consent::of(args.yes), &format!("Forget {what}?"))?;
    match place {
        Place::Redis(redis, _) => {
            // It goes by the name alone: the limit may be one that only services define.
            let limit = Limit::gcra(limit.as_str(), 1.per(SECOND));
            redis.limiter.reset(limit.of(&subject)).await.map_err(failed)?;
        }
        Place::Hub(hub) => {
            hub.request(&[limit, subject.as_str()])?.send(Method::DELETE, None).await?;
        }
    }
    println!("Forgot {what}.");
    Ok(())
}
