//! Asking the limits, and what Envoy is told.

use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use sinew::limit::http::{HeaderStyle, rate_limit_headers};
use sinew::limit::{Check, Decision, Limit, Limiter, Standing};
use tonic::Status;

use super::message::{self, Code, DescriptorStatus, HeaderValue, RateLimit, RateLimitResponse};
use super::plan::Plan;
use super::{failed, unit};

/// Charges all that a request asks, or nothing.
///
/// # Errors
/// `INVALID_ARGUMENT` for more than the library takes. `UNAVAILABLE` where the store does not answer,
/// and a limit is closed until it does, or one is to be looked at only.
pub(super) async fn answer(limiter: &Limiter, plan: &Plan) -> Result<RateLimitResponse, Status> {
    let (looks, charges): (Vec<usize>, Vec<usize>) =
        (0..plan.charges.len()).partition(|place| plan.charges[*place].hits == 0);
    let mut told = Told { standings: vec![None; plan.charges.len()], ..Told::default() };
    if !looks.is_empty() {
        let checks = checks(plan, &looks);
        let decision = limiter.peek(&checks).await.map_err(|error| failed(&error))?;
        told.take(plan, &looks, &checks, &decision)?;
    }
    if !charges.is_empty() {
        let checks = checks(plan, &charges);
        let decision = match told.is_over {
            // Nothing is charged to a request that is denied.
            true => limiter.peek(&checks).await,
            false => limiter.check(&checks).await,
        };
        let decision = decision.map_err(|error| failed(&error))?;
        told.take(plan, &charges, &checks, &decision)?;
    }
    told.say_when_to_come_again();
    let statuses = plan.places.iter().map(|place| match place {
        Some(place) => status(&plan.charges[*place].limit, told.standings[*place].as_ref()),
        None => DescriptorStatus { code: Code::Ok as i32, ..DescriptorStatus::default() },
    });
    Ok(RateLimitResponse {
        overall_code: code(told.is_over),
        statuses: statuses.collect(),
        response_headers_to_add: told.headers,
    })
}

fn checks<'a>(plan: &'a Plan, places: &[usize]) -> Vec<Check<'a>> {
    let charges = places.iter().map(|place| &plan.charges[*place]);
    // Of what is only looked at: whether one more would pass.
    charges.map(|charge| charge.limit.of(&charge.subject).cost(charge.hits.max(1))).collect()
}

/// What the limits have told so far.
#[derive(Default)]
struct Told {
    is_over: bool,
    /// One for each charge: none where it was clear before it was asked.
    standings: Vec<Option<Standing>>,
    headers: Vec<HeaderValue>,
    /// Of each denial, until it can pass, if it ever can.
    waits: Vec<Option<Duration>>,
}

impl Told {
    fn take(
        &mut self,
        plan: &Plan,
        places: &[usize],
        checks: &[Check<'_>],
        decision: &Decision,
    ) -> Result<(), Status> {
        if !decision.is_allowed() {
            self.is_over = true;
            self.waits.push(decision.retry_after());
        }
        for standing in decision.limits() {
            let place = places[standing.check];
            if standing.is_shut(&plan.charges[place].limit) {
                return Err(Status::unavailable(
                    "the store is away, and a limit closed until it is back",
                ));
            }
            self.standings[place] = Some(*standing);
        }
        let headers = rate_limit_headers(decision, checks, HeaderStyle::Draft);
        self.headers.extend(headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?.to_owned();
            Some(HeaderValue { key: name.as_str().to_owned(), value })
        }));
        Ok(())
    }

    /// Once, however many deny it: when all of them can pass.
    fn say_when_to_come_again(&mut self) {
        let longest = self
            .waits
            .iter()
            .try_fold(Duration::ZERO, |longest, wait| wait.map(|wait| wait.max(longest)));
        if let Some(wait) = longest.filter(|_| self.is_over) {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let key = RETRY_AFTER.as_str().to_owned();
            self.headers.push(HeaderValue { key, value: seconds.max(1).to_string() });
        }
    }
}

/// How a limit stands, where it was asked.
fn status(limit: &Limit, standing: Option<&Standing>) -> DescriptorStatus {
    let Some(standing) = standing else {
        return DescriptorStatus { code: Code::Ok as i32, ..DescriptorStatus::default() };
    };
    DescriptorStatus {
        code: code(standing.denies()),
        current_limit: Some(RateLimit {
            requests_per_unit: to_u32(limit.quota().limit()),
            unit: unit::of(limit.quota().period()),
            name: limit.name().to_owned(),
        }),
        limit_remaining: to_u32(standing.remaining),
        duration_until_reset: Some(duration(standing.reset_after)),
    }
}

fn code(is_over: bool) -> i32 {
    if is_over { Code::OverLimit as i32 } else { Code::Ok as i32 }
}

/// Envoy's numbers end there.
fn to_u32(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn duration(duration: Duration) -> message::Duration {
    message::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
