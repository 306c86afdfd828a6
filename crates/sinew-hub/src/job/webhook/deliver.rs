//! One job to one endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sinew::job::{JobToken, PullEnd, PulledJob, Puller, QueueWebhook};
use sinew::{Jobs, Streams};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::under_way::UnderWay;
use crate::auth::Actor;
use crate::job::audit::{self, Act};
use crate::json;
use crate::serve::stopped;
use crate::stream::body::time;
use crate::webhook::address::CLOSED;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::post::{Answer, Poster};
use crate::webhook::room::{Place, Room};
use crate::webhook::sign::sign;

/// On which jobs are held, and how often that is renewed.
pub(super) const LEASE: Duration = Duration::from_secs(30);
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How often an end is told to a store that does not hear it.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// However soon an endpoint asks to be tried again.
const PUT_OFF_MIN: Duration = Duration::from_secs(1);
/// For the log, once: what this hub may not reach.
pub(super) const LEFT: &str = "this hub leaves the jobs of a queue's webhook to others";
const RUNS: &str = "sinew_queue_webhook_runs_total";

/// What sends the jobs of one queue.
pub(super) struct Delivery {
    pub(super) queue: String,
    pub(super) webhook: QueueWebhook,
    /// Of the tenant, as are its streams, in one of which is what was changed.
    pub(super) jobs: Jobs,
    pub(super) streams: Streams,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) poster: Poster,
    pub(super) room: Room,
    /// Of the queue's jobs, under this definition and those before it.
    pub(super) under_way: UnderWay,
    /// That something is to be looked at before its time.
    pub(super) kicked: Arc<Notify>,
}

/// A job, as an endpoint gets it.
#[derive(Serialize)]
struct JobMessage<'a> {
    id: String,
    queue: &'a str,
    kind: &'a str,
    /// As it was written; null where it is no JSON.
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    key: Option<&'a str>,
    attempt: u32,
    failures: u32,
    crashes: u32,
    enqueued_at: Timestamp,
    fence: u64,
}

impl Delivery {
    /// Runs a job, and tells what became of it: until it has ended, or is no longer ours, or runs are to be cut off. One
    /// that has no place yet waits for it, unless this definition is to end.
    pub(super) async fn run(
        &self,
        puller: &Puller,
        job: PulledJob,
        delivering: Option<Place>,
        ending: watch::Receiver<bool>,
        cut: watch::Receiver<bool>,
    ) {
        let end = tokio::select! {
            end = self.send(&job, delivering, ending) => end,
            () = until_lost(puller, &job.token) => {
                count("lost");
                return;
            }
            () = stopped(cut) => {
                count("cut_off");
                PullEnd::Back
            }
        };
        self.tell(puller, &job.token, end).await;
    }

    async fn send(
        &self,
        job: &PulledJob,
        delivering: Option<Place>,
        ending: watch::Receiver<bool>,
    ) -> PullEnd {
        // Who waits for a place has not begun: it fails no endpoint, and the next definition may have it.
        let (_delivering, looking_up) = tokio::select! {
            biased;
            () = stopped(ending) => {
                count("held_back");
                return PullEnd::Back;
            }
            places = self.places(delivering) => places,
        };
        let Ok(permit) = self.endpoint.breaker.permit() else {
            count("held_back");
            return PullEnd::Back;
        };
        let (headers, body) = self.request(job);
        let within = job.timeout.unwrap_or(self.webhook.timeout).min(QueueWebhook::TIMEOUT_MAX);
        let answer = self.poster.post(&self.webhook.url, headers, body, within, looking_up).await;
        let told = match &answer {
            Ok(answer) => answer.status.to_string(),
            Err(what) => what.clone(),
        };
        let is_left = told == CLOSED;
        if is_left && self.endpoint.last().is_none_or(|last| last.told != told) {
            tracing::warn!(queue = self.queue, why = told, "{LEFT}");
        }
        let is_good = matches!(&answer, Ok(answer) if answer.status.is_success());
        self.endpoint.note(told.clone(), is_good);
        match is_unwell(&answer) {
            true => permit.failed(),
            false => permit.succeeded(),
        }
        let (outcome, end) = outcome_of(answer, told, is_left);
        count(outcome);
        if outcome == "gone" {
            self.pause(&StatusCode::GONE.to_string()).await;
        }
        end
    }

    /// For the delivery, where it has none yet, and for the look-up before it.
    async fn places(&self, delivering: Option<Place>) -> (Place, Place) {
        let delivering = match delivering {
            Some(place) => place,
            None => self.room.delivering().await,
        };
        (delivering, self.room.looking_up().await)
    }

    /// Until it is heard, or the job is another's.
    async fn tell(&self, puller: &Puller, token: &JobToken, end: PullEnd) {
        let (began, mut may_be_heard) = (Instant::now(), false);
        loop {
            match puller.finish(token, end.clone()).await {
                Ok(true) => return,
                // What was told already is not told again.
                Ok(false) if may_be_heard => return,
                Ok(false) => return count("lost"),
                Err(error) if error.is_retryable() && began.elapsed() < LEASE => {
                    may_be_heard |= error.maybe_applied();
                }
                Err(error) => {
                    let (job, error) = (token.id().to_string(), format!("{error:#}"));
                    tracing::warn!(
                        queue = self.queue,
                        job,
                        error,
                        "the end of a job was not heard"
                    );
                    return count("lost");
                }
            }
            sleep(TELL_EVERY).await;
        }
    }

    /// Pauses the webhook, unless it has another endpoint by now. Where the store is away, or the audit has no room, the
    /// next job asks for it again.
    async fn pause(&self, why: &str) {
        let _alone = self.endpoint.pausing.lock().await;
        let webhooks = self.jobs.webhooks();
        let Ok(Some(at)) = webhooks.get(&self.queue).await else { return };
        if at.paused.is_none() && at.webhook.url == self.webhook.url {
            let what = json!({ "queue": self.queue, "act": "pause" });
            let (actor, after) = (Actor::hub(), json!({ "reason": why }));
            let noted =
                audit::note(&self.streams, Act::Webhook, &actor, what, Value::Null, after).await;
            // Only what was looked at: another definition may have taken its place meanwhile.
            if noted.is_ok() && webhooks.pause_at(&at, why).await.is_ok_and(|is_paused| is_paused) {
                tracing::warn!(queue = self.queue, why, "a queue's webhook is paused by its hub");
            }
        }
        self.kicked.notify_one();
    }

    fn request(&self, job: &PulledJob) -> (HeaderMap, Bytes) {
        let payload = json::readable(&job.payload);
        let other = payload.is_none().then(|| STANDARD.encode(&job.payload));
        let message = JobMessage {
            id: job.id.to_string(),
            queue: &self.queue,
            kind: &job.kind,
            payload,
            payload_base64: other,
            key: job.key.as_deref(),
            attempt: job.attempt,
            failures: job.failures,
            crashes: job.crashes,
            enqueued_at: time(job.enqueued_at),
            fence: job.fence.get(),
        };
        // Numbers, text and what was JSON before are always written.
        let body = Bytes::from(serde_json::to_vec(&message).unwrap_or_default());
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let trace = job.traceparent.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(trace)) = trace {
            headers.insert(HeaderName::from_static("traceparent"), trace);
        }
        sign(&mut headers, &self.webhook.secrets, message.id, job.attempt, &body);
        (headers, body)
    }
}

/// Whether that speaks against the endpoint, and not only against the job: it does not answer as it should, or lets nobody in.
fn is_unwell(answer: &Result<Answer, String>) -> bool {
    let Ok(Answer { status, .. }) = answer else { return true };
    match *status {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::GONE
        | StatusCode::TOO_MANY_REQUESTS => true,
        other => !other.is_success() && !other.is_client_error(),
    }
}

/// What an answer means for the job, and as what it is counted.
fn outcome_of(
    answer: Result<Answer, String>,
    told: String,
    is_left: bool,
) -> (&'static str, PullEnd) {
    match answer {
        Ok(answer) if answer.status.is_success() => ("done", PullEnd::Done(None)),
        Ok(Answer { status: StatusCode::GONE, .. }) => ("gone", PullEnd::Back),
        Ok(Answer {
            status: StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(after),
        }) => ("put_off", PullEnd::Snooze(after.max(PUT_OFF_MIN))),
        // Its breaker opens, so a hub that may reach it has the job: none of its attempts is used up here.
        Err(_) if is_left => ("left", PullEnd::Back),
        Ok(Answer { retry_after, .. }) => {
            let after = retry_after.map(|after| after.max(PUT_OFF_MIN));
            ("failed", PullEnd::Failed { error: told, after })
        }
        Err(_) => ("failed", PullEnd::Failed { error: told, after: None }),
    }
}

/// Holds a job for as long as it is ours. A store that is away is asked until the lease is over.
async fn until_lost(puller: &Puller, token: &JobToken) {
    let mut held_since = Instant::now();
    loop {
        sleep(RENEW_EVERY).await;
        let asked_at = Instant::now();
        match puller.renew(std::slice::from_ref(token), LEASE).await {
            Ok(lost) if lost.is_empty() => held_since = asked_at,
            Err(_) if held_since.elapsed() < LEASE => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(RUNS, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_endpoint_answers_is_what_becomes_of_the_job() {
        let of = |status: u16, after_s: Option<u64>| {
            let status = StatusCode::from_u16(status).unwrap();
            let retry_after = after_s.map(Duration::from_secs);
            outcome_of(Ok(Answer { status, retry_after }), status.to_string(), false)
        };
        let failed = |error: &str, after: Option<u64>| {
            let after = after.map(Duration::from_secs);
            ("failed", PullEnd::Failed { error: error.to_owned(), after })
        };
        for (answered, expected) in [
            (of(204, None), ("done", PullEnd::Done(None))),
            (of(410, None), ("gone", PullEnd::Back)),
            (of(503, Some(7)), ("put_off", PullEnd::Snooze(Duration::from_secs(7)))),
            (of(429, Some(0)), ("put_off", PullEnd::Snooze(PUT_OFF_MIN))),
            (of(503, None), failed("503 Service Unavailable", None)),
            (of(500, Some(7)), failed("500 Internal Server Error", Some(7))),
            (of(404, None), failed("404 Not Found", None)),
            (of(302, None), failed("302 Found", None)),
        ] {
            assert_eq!(answered, expected);
        }
        let timed_out = outcome_of(Err("no reply".to_owned()), "no reply".to_owned(), false);
        assert_eq!(timed_out, failed("no reply", None));
        let closed = outcome_of(Err(CLOSED.to_owned()), CLOSED.to_owned(), true);
        assert_eq!(closed, ("left", PullEnd::Back));
    }

    #[test]
    fn jobs_that_an_endpoint_refuses_do_not_speak_against_it() {
        let answered = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            is_unwell(&Ok(Answer { status, retry_after: None }))
        };
        for well in [200, 204, 400, 404, 409, 413, 415, 422] {
            assert!(!answered(well), "{well}");
        }
        for unwell in [302, 401, 403, 408, 410, 429, 500, 502, 503, 504] {
            assert!(answered(unwell), "{unwell}");
        }
        assert!(is_unwell(&Err("no reply".to_owned())));
    }
}
