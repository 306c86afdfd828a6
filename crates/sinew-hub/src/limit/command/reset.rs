//! `sinew limit reset`

use clap::Args;
use reqwest::Method;

use super::place::{Place, place, refuse_terms_at_hub};
use super::subject::subject;
use super::terms::Terms;
use crate::cli::confirm::{Consent, consent};
use crate::cli::request::read_reply;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::limit::body::ForgottenBody;
use crate::limit::check_name;

/// Which limit and whose, and where.
#[derive(Args)]
pub struct ResetArgs {
    /// Name of the limit
    limit: String,
    /// Who is limited: segments between colons, like ada or 456:export; a colon in one is %3A
    subject: String,
    #[command(flatten)]
    terms: Terms,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn reset(args: &ResetArgs) -> Result<(), Outcome> {
    let failed = |error: sinew::Error| Outcome::of(&error);
    check_name(&args.limit).map_err(failed)?;
    let subject = subject(&args.subject)?;
    let said = args.terms.in_place_of(&args.limit)?;
    let place = place(&args.whose).await?;
    if matches!(place, Place::Hub(_)) {
        refuse_terms_at_hub(said.as_ref())?;
    }
    let (limit, whose) = (&args.limit, args.whose.shown());
    let whose = format!("{:?}{whose} under limit {limit:?} in {place}", args.subject);
    let question = format!("Forget what was charged to {whose}?");
    consent(Consent::of(args.yes), &question)?;
    let reset = match place {
        Place::Redis(redis, _) => {
            let limit = redis.limit(limit, said).await?;
            let forgotten = redis.limiter.reset(limit.of(&subject)).await.map_err(failed)?;
            ForgottenBody { forgotten }
        }
        Place::Hub(hub) => {
            let request = hub.request(&[limit, subject.as_str()])?;
            read_reply(&request.send(Method::DELETE, None).await?.1)?
        }
    };
    match reset.forgotten {
        _ if args.json => print_json(&reset)?,
        true => println!("Forgot what was charged to {whose}."),
        false => println!("Nothing was charged to {whose}."),
    }
    Ok(())
}
