//! Where streams are.

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sinew::Streams;

use crate::cli::Outcome;
use crate::cli::request::{Request, read_reply};
use crate::cli::whose::Whose;
use crate::stream::body::{GroupBody, TopicBody};
use crate::stream::terms;

pub(super) type Place = crate::cli::place::Place<Streams>;

/// Of a hub's list.
const PAGE_LEN: usize = 1_000;

pub(super) async fn place(whose: &Whose) -> Result<Place, Outcome> {
    whose.place(&["v1", "streams"], |sinew, _| Ok(sinew.streams())).await
}

pub(super) fn failed(error: sinew::Error) -> Outcome {
    Outcome::of(&error)
}

pub(super) fn unreadable(error: serde_json::Error) -> Outcome {
    Outcome::Failed(format!("an event is no JSON: {error}"))
}

/// What a hub replies; what is not there is told as that.
pub(super) async fn ask(
    request: &Request,
    method: Method,
    body: Option<Value>,
) -> Result<String, Outcome> {
    let (status, text) = request.reply(method, body.map(|body| body.to_string())).await?;
    if status.is_success() {
        return Ok(text);
    }
    Err(match (status, request.refused(status, &text)) {
        // As a hub says it, and not as any server does.
        (StatusCode::NOT_FOUND, Outcome::BadInput(told)) => Outcome::NoSuchStream(in_words(&told)),
        (_, other) => other,
    })
}

/// The same, read.
pub(super) async fn get<T: DeserializeOwned>(request: &Request) -> Result<T, Outcome> {
    read_reply(&ask(request, Method::GET, None).await?)
}

/// Without what to do about it over HTTP.
pub(super) fn in_words(told: &str) -> String {
    told.split_once(": GET ").map_or(told, |(missing, _)| missing).to_owned()
}

/// A place among events, as someone has typed it.
pub(super) fn typed(text: &str) -> Result<sinew::stream::Place, Outcome> {
    terms::place(text).map_err(Outcome::BadInput)
}

/// All topics, by name.
pub(super) async fn topics(place: &Place) -> Result<Vec<TopicBody>, Outcome> {
    let hub = match place {
        Place::Redis(streams, _) => {
            let topics = streams.topics().await.map_err(failed)?;
            return Ok(topics.into_iter().map(TopicBody::from).collect());
        }
        Place::Hub(hub) => hub,
    };
    let mut topics: Vec<TopicBody> = Vec::new();
    loop {
        let mut request = hub.request(&[])?;
        if let Some(last) = topics.last() {
            request.url.query_pairs_mut().append_pair("after", &last.topic);
        }
        let page: Vec<TopicBody> = get(&request).await?;
        let is_last = page.len() < PAGE_LEN;
        topics.extend(page);
        if is_last {
            return Ok(topics);
        }
    }
}

/// A topic that is there.
pub(super) async fn topic(place: &Place, topic: &str) -> Result<TopicBody, Outcome> {
    match place {
        Place::Redis(streams, _) => {
            let info = streams.look(topic).await.map_err(failed)?;
            let info = info.ok_or_else(|| Outcome::NoSuchStream(format!("no topic {topic:?}")))?;
            Ok(info.into())
        }
        Place::Hub(hub) => get(&hub.request(&[topic])?).await,
    }
}

/// A group that is there, without its consumers.
pub(super) async fn group(place: &Place, of: &str, group: &str) -> Result<GroupBody, Outcome> {
    topic(place, of).await.and_then(|found| group_of(found, group))
}

pub(super) fn group_of(found: TopicBody, group: &str) -> Result<GroupBody, Outcome> {
    let TopicBody { topic, groups, .. } = found;
    let found = groups.into_iter().find(|one| one.group == group);
    found.ok_or_else(|| no_group(&topic, group))
}

pub(super) fn no_group(topic: &str, group: &str) -> Outcome {
    Outcome::NoSuchStream(format!("no group {group:?} of topic {topic:?}"))
}
