//! A job, enqueued by hand.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use sinew::job::{Enqueued, NewJob, Unique};

use super::confirm::{done_with, note};
use super::extract::OfQueue;
use crate::auth::Actor;
use crate::dashboard::extract::{OurPage, Said};
use crate::dashboard::show::Fault;
use crate::duration::parse;
use crate::hub::Hub;
use crate::job::audit::Act;

/// As it is typed.
#[derive(Deserialize)]
pub(super) struct Typed {
    kind: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    delay: String,
    #[serde(default)]
    priority: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    unique: String,
    #[serde(default)]
    retain: String,
}

pub(super) async fn enqueue(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfQueue { jobs, whose, .. }: OfQueue,
    Said { said: typed, .. }: Said<Typed>,
) -> Result<Response, Fault> {
    let job = typed.job()?;
    let what = json!({ "queue": whose.queue });
    // What it is given may be a secret.
    let after = json!({ "kind": job.kind, "priority": job.priority, "key": job.key });
    // What is refused is not noted.
    let enqueue = jobs.enqueue_raw(&whose.queue, job).checked()?;
    note(&hub, &whose.tenant, &actor, Act::Enqueue, what, Value::Null, after).await?;
    let enqueued = enqueue.await?;
    let (id, queue, tenant) = (enqueued.id(), whose.queue.as_str(), whose.tenant());
    let by = actor.by("dashboard");
    tracing::info!(%id, queue, tenant, by, "a job was enqueued on the dashboard");
    let said = match enqueued {
        Enqueued::New(_) => "Enqueued:",
        Enqueued::Duplicate(_) => "Not enqueued: another has its unique name,",
        Enqueued::Replaced { .. } => "Enqueued, in the place of the one that had its unique name:",
    };
    Ok(done_with(said, &whose, id))
}

impl Typed {
    fn job(&self) -> Result<NewJob, Fault> {
        let priority = match self.priority.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Fault::part(&format!("no priority: {text:?}, expected 0 to 9, or nothing"))
            })?),
        };
        let unique = some(&self.unique).map(Unique::by);
        Ok(NewJob {
            priority,
            unique,
            key: some(&self.key).map(str::to_owned),
            delay: duration(&self.delay)?,
            retain: duration(&self.retain)?,
            ..NewJob::new(self.kind.trim(), payload(&self.payload)?)
        })
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

fn duration(text: &str) -> Result<Option<Duration>, Fault> {
    some(text).map(parse).transpose().map_err(|what| Fault::part(&what))
}

/// As it is typed, to the byte. Workers read JSON.
fn payload(text: &str) -> Result<Bytes, Fault> {
    let Some(text) = some(text) else { return Ok(Bytes::from_static(b"null")) };
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Err(error) => Err(Fault::part(&format!("the payload is no JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(kind: &str, payload: &str) -> Typed {
        let text = |text: &str| text.to_owned();
        Typed {
            kind: text(kind),
            payload: text(payload),
            delay: text(" 10m "),
            priority: text("9"),
            key: String::new(),
            unique: text("welcome:42"),
            retain: String::new(),
        }
    }

    #[test]
    fn a_job_is_as_it_is_typed() {
        let job = typed(" mail ", "{\"b\": 1, \"a\": 2}\n").job().ok().unwrap();
        assert_eq!((job.kind.as_str(), &job.payload[..]), ("mail", &b"{\"b\": 1, \"a\": 2}"[..]));
        assert_eq!((job.priority, job.delay), (Some(9), Some(Duration::from_secs(600))));
        assert_eq!((job.key, job.retain, job.unique), (None, None, Some(Unique::by("welcome:42"))));
        assert_eq!(typed("mail", "").job().ok().unwrap().payload, "null");
    }

    #[test]
    fn what_is_no_job_is_refused() {
        for bad in [
            typed("mail", "{to: ada}"),
            Typed { priority: "high".to_owned(), ..typed("mail", "1") },
            Typed { delay: "soon".to_owned(), ..typed("mail", "1") },
        ] {
            assert!(bad.job().is_err());
        }
    }
}
