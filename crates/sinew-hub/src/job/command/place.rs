//! Where jobs are.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use sinew::Jobs;

use crate::cli::Outcome;
use crate::cli::request::{Request, read_reply};
use crate::cli::whose::Whose;
use crate::job::body::QueueBody;

pub(super) type Place = crate::cli::place::Place<Jobs>;

/// How many queues are looked at in Redis at once.
const LOOKS_AT_ONCE: usize = 16;

/// Queues, and their jobs.
pub(super) async fn place(whose: &Whose) -> Result<Place, Outcome> {
    whose.place(&["v1", "queues"], |sinew, _| Ok(sinew.jobs())).await
}

/// Jobs that recur.
pub(super) async fn recurring_place(whose: &Whose) -> Result<Place, Outcome> {
    whose.place(&["v1", "recurring"], |sinew, _| Ok(sinew.jobs())).await
}

pub(super) fn failed(error: sinew::Error) -> Outcome {
    Outcome::of(&error)
}

/// What a hub replies; what is not there is told as that.
pub(super) async fn ask(
    request: &Request,
    method: Method,
    body: Option<String>,
) -> Result<String, Outcome> {
    let (status, text) = request.reply(method, body).await?;
    match status.is_success() {
        true => Ok(text),
        false => Err(refused(request, status, &text)),
    }
}

/// What a reply means that does not say it worked.
pub(super) fn refused(request: &Request, status: StatusCode, text: &str) -> Outcome {
    match (status, request.refused(status, text)) {
        // As a hub says it, and not as any server does; without what to do about it over HTTP.
        (StatusCode::NOT_FOUND, Outcome::BadInput(told)) => {
            let missing = told.split_once(": GET ").map_or(&*told, |(missing, _)| missing);
            Outcome::NoSuchJob(missing.to_owned())
        }
        // Who was first has changed what was to be replaced.
        (StatusCode::PRECONDITION_FAILED, Outcome::BadInput(told)) => Outcome::Failed(told),
        (_, other) => other,
    }
}

/// What a hub replies to a question.
pub(super) async fn get<T: DeserializeOwned>(request: &Request) -> Result<T, Outcome> {
    read_reply(&ask(request, Method::GET, None).await?)
}

/// The same, with questions about it.
pub(super) fn asking(mut request: Request, questions: &[(&str, Option<&str>)]) -> Request {
    for (name, value) in questions {
        if let Some(value) = value {
            request.url.query_pairs_mut().append_pair(name, value);
        }
    }
    request
}

/// All queues, by name.
pub(super) async fn queues(place: &Place) -> Result<Vec<QueueBody>, Outcome> {
    let hub = match place {
        Place::Redis(jobs, _) => return queues_in_redis(jobs).await,
        Place::Hub(hub) => hub,
    };
    let mut queues: Vec<QueueBody> = Vec::new();
    loop {
        let last = queues.last().map(|last| last.queue.as_str());
        let request = asking(hub.request(&[])?, &[("after", last)]);
        let page: Vec<QueueBody> = get(&request).await?;
        if page.is_empty() {
            return Ok(queues);
        }
        queues.extend(page);
    }
}

async fn queues_in_redis(jobs: &Jobs) -> Result<Vec<QueueBody>, Outcome> {
    let names = jobs.queues().await.map_err(failed)?;
    let looks = names.into_iter().map(|name| async move {
        let look = jobs.queue(&name).look().await.map_err(failed)?;
        // One that is listed may have been lost.
        Ok::<_, Outcome>(look.map(|look| QueueBody::new(&name, &look)))
    });
    let found: Vec<Option<QueueBody>> =
        stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// A queue that is there.
pub(super) async fn queue(place: &Place, name: &str) -> Result<QueueBody, Outcome> {
    match place {
        Place::Redis(jobs, _) => {
            let look = jobs.queue(name).look().await.map_err(failed)?;
            let look = look.ok_or_else(|| Outcome::NoSuchJob(format!("no queue {name:?}")))?;
            Ok(QueueBody::new(name, &look))
        }
        Place::Hub(hub) => get(&hub.request(&[name])?).await,
    }
}
