//! `/v1/streams/…`.

pub(crate) mod dead;
pub(crate) mod extract;
mod group;
mod look;
mod publish;
mod pull;
mod subscription;
mod tail;
mod topic;

use axum::http::StatusCode;
use sinew::http::Problem;
use sinew::{ErrorKind, Streams};
use utoipa_axum::router::OpenApiRouter;

use crate::hub::Hub;
use crate::stream::body::{GroupBody, TopicBody};

pub(crate) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .merge(publish::routes(value_len_max))
        .merge(topic::routes())
        .merge(look::routes())
        .merge(tail::routes())
        .merge(group::routes())
        .merge(pull::routes())
        .merge(dead::routes())
        .merge(subscription::routes())
}

/// An error of the library. What conflicts is a key, and what is set up otherwise is a topic or a group.
pub(crate) fn problem(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Conflict => Problem::new(
            StatusCode::BAD_GATEWAY,
            "what the store has under the keys of this topic is no stream",
        ),
        ErrorKind::Unavailable { .. } if is_full(&error) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        _ => error.into(),
    }
}

/// The same, where another number of partitions, or another way to share them, is the caller's to know of.
fn problem_of_setting(error: sinew::Error) -> Problem {
    match error.kind() {
        ErrorKind::Misconfigured => Problem::new(StatusCode::CONFLICT, error.to_string()),
        _ => problem(error),
    }
}

/// Whether there was no room, in the library's words for it, which name no host.
fn is_full(error: &sinew::Error) -> bool {
    let told = error.to_string();
    told.starts_with("topic ") && told.contains(" is full")
        || told.starts_with("the dead letters are full")
}

/// What the library writes and cannot be read is a fault of ours.
pub(crate) fn unreadable(error: serde_json::Error) -> Problem {
    tracing::error!(%error, "an event is no JSON");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
}

/// A topic that is there.
async fn known(streams: &Streams, topic: &str) -> Result<TopicBody, Problem> {
    let info = streams.look(topic).await.map_err(problem)?;
    info.map(TopicBody::from).ok_or_else(|| no_topic(topic))
}

/// A group that is there, without its consumers.
async fn known_group(streams: &Streams, topic: &str, group: &str) -> Result<GroupBody, Problem> {
    known(streams, topic).await.and_then(|found| group_of(found, group))
}

fn group_of(TopicBody { topic, groups, .. }: TopicBody, group: &str) -> Result<GroupBody, Problem> {
    let found = groups.into_iter().find(|one| one.group == group);
    found.ok_or_else(|| no_group(&topic, group))
}

fn no_group(topic: &str, group: &str) -> Problem {
    let (topic, group) = (shown(topic), shown(group));
    Problem::new(StatusCode::NOT_FOUND, format!("no group {group:?} of topic {topic:?}"))
}

fn no_topic(topic: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "no topic {:?}: GET /v1/streams lists those that are, and the first event makes one",
            shown(topic)
        ),
    )
}

/// Names are short; what is not one may be anything.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}
