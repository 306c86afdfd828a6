//! `sinew limit check|peek`

use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use sinew::limit::Limit;

use super::place::{AtHub, InRedis, Place, place, place_up_or_down, refuse_terms_at_hub};
use super::subject::subject;
use super::terms::{Terms, from_one};
use crate::cache::WrittenKey;
use crate::cli::request::read_reply;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration;
use crate::limit::body::{CheckBody, CheckRequest, DecisionBody, PartBody, SubjectBody};
use crate::limit::check_name;

/// Which limit, whose and how much, and where.
#[derive(Args)]
pub struct CheckArgs {
    /// Name of the limit
    limit: String,
    /// Who is limited: segments between colons, like ada or 456:export; a colon in one is %3A
    subject: String,
    /// How much it costs
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true, value_parser = from_one)]
    cost: u64,
    #[command(flatten)]
    terms: Terms,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Whether it is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Check,
    Peek,
}

pub(super) async fn check(args: &CheckArgs, mode: Mode) -> Result<(), Outcome> {
    // Names first: a connection is dear.
    check_name(&args.limit).map_err(|e| Outcome::of(&e))?;
    let subject = subject(&args.subject)?;
    let said = args.terms.in_place_of(&args.limit)?;
    if mode == Mode::Peek && args.terms.say_on_down() {
        return Err(Outcome::BadInput(
            "--on-down: a look needs Redis: expected none, or `sinew limit check`".to_owned(),
        ));
    }
    let place = match (mode, &said) {
        // It says itself what is to be answered while Redis is down.
        (Mode::Check, Some(_)) => place_up_or_down(&args.whose).await?,
        _ => place(&args.whose).await?,
    };
    let decision = match place {
        Place::Redis(redis, _) => in_redis(&redis, args, said, &subject, mode).await?,
        Place::Hub(hub) => {
            refuse_terms_at_hub(said.as_ref())?;
            at_hub(&hub, args, &subject, mode).await?
        }
    };
    told(&decision, args, mode)
}

async fn in_redis(
    redis: &InRedis,
    args: &CheckArgs,
    said: Option<Limit>,
    subject: &WrittenKey,
    mode: Mode,
) -> Result<DecisionBody, Outcome> {
    // This process ends with the command, and what it had taken in advance would be lost.
    let limit = redis.limit(&args.limit, said).await?.lease(0);
    let check = [limit.of(subject).cost(args.cost)];
    let decision = match mode {
        Mode::Check => redis.limiter.check(check).await,
        Mode::Peek => redis.limiter.peek(check).await,
    };
    let decision = decision.map_err(|e| Outcome::of(&e))?;
    Ok(DecisionBody::new(&decision, std::slice::from_ref(&limit)))
}

async fn at_hub(
    hub: &AtHub,
    args: &CheckArgs,
    subject: &WrittenKey,
    mode: Mode,
) -> Result<DecisionBody, Outcome> {
    let parts = subject.parts().map(|part| PartBody::Text(part.into_owned()));
    let check = CheckBody {
        limit: args.limit.clone(),
        subject: SubjectBody::Many(parts.collect()),
        cost: Some(args.cost),
    };
    let body = CheckRequest { checks: vec![check], peek: mode == Mode::Peek };
    let body = serde_json::to_string(&body).map_err(|e| Outcome::Failed(e.to_string()))?;
    let request = hub.request(&["check"])?;
    let (status, text) = request.reply(Method::POST, Some(body)).await?;
    match status {
        // A limit that is closed while Redis is away, unless the hub could not ask any.
        StatusCode::SERVICE_UNAVAILABLE => {
            serde_json::from_str(&text).map_err(|_| request.refused(status, &text))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::OK => read_reply(&text),
        _ => Err(request.refused(status, &text)),
    }
}

fn told(decision: &DecisionBody, args: &CheckArgs, mode: Mode) -> Result<(), Outcome> {
    if args.json {
        print_json(decision)?;
        return match decision.allowed {
            true => Ok(()),
            false => Err(Outcome::Ended { code: Outcome::NOT_NOW, told: None }),
        };
    }
    let degraded = if decision.degraded { " It was decided without Redis." } else { "" };
    if !decision.allowed {
        let (limit, cost) = (&args.limit, args.cost);
        return Err(Outcome::NotNow(match decision.retry_after_ms {
            Some(ms) => {
                format!("limit {limit:?} denies it: try again in {}.{degraded}", seconds(ms))
            }
            None => format!(
                "limit {limit:?} never admits a cost of {cost} at once: expected a lower one.{degraded}"
            ),
        }));
    }
    let allowed = if mode == Mode::Check { "Allowed" } else { "Would be allowed" };
    match decision.limits.first() {
        Some(standing) if standing.admits => println!(
            "{allowed}: {} of {} left, and all of it in {}.{degraded}",
            standing.remaining,
            standing.quota,
            seconds(standing.reset_ms)
        ),
        Some(_) => println!("{allowed}: the limit would deny it, and is in shadow.{degraded}"),
        None => println!("{allowed}.{degraded}"),
    }
    Ok(())
}

/// Not before it is so.
fn seconds(ms: u64) -> String {
    duration::shown(Duration::from_secs(ms.div_ceil(1_000)))
}
