//! Jobs that were given up.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sinew::http::Problem;
use sinew::job::{DeadJobs, JobId, JobState};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{NoQuery, OfQueue, id};
use super::{known, problem};
use crate::auth::Actor;
use crate::busy::busy;
use crate::hub::Hub;
use crate::job::audit::Act;
use crate::job::body::{CountBody, DeadGroupBody, DroppedBody, RetriedBody};
use crate::job::dead::{HowMany, Meant};
use crate::json;
use crate::openapi::ProblemBody;
use crate::places::Place;
use crate::stream::audit::BY;
use crate::stream::http::extract::time;

/// Of those that are named one by one.
const IDS_MAX: usize = 256;
/// How many are looked for at once.
const LOOKS_AT_ONCE: usize = 16;
const EXPECTED: &str = r#"like {"ids": ["01KAPX2V9QJ7M3B0N8R5T4W6YZ"]}, {"fingerprint": "IQNj5i7xdtLhtg9G"} or {"all": true}"#;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(dead_groups))
        .routes(routes!(retry_dead))
        .routes(routes!(drop_dead_jobs))
}

/// Dead jobs by what the trouble is.
///
/// Those troubles first that most have, 1,000 at most of a partition. Errors that differ in numbers and ids only are one.
#[utoipa::path(get, path = "/v1/queues/{queue}/dead/groups", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    responses(
        (status = 200, body = [DeadGroupBody], description = "Those first that most have"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at lists at once",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn dead_groups(
    State(hub): State<Hub>,
    _: NoQuery,
    of: OfQueue,
) -> Result<Json<Vec<DeadGroupBody>>, Problem> {
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let groups = of.handle().dead().groups().await.map_err(problem)?;
    if groups.is_empty() {
        known(&of).await?;
    }
    Ok(Json(groups.into_iter().map(DeadGroupBody::from).collect()))
}

/// Which dead jobs: by their ids, by what is said of them, or all.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WhichDeadBody {
    /// 256 at most
    #[schema(example = json!(["01KAPX2V9QJ7M3B0N8R5T4W6YZ"]))]
    ids: Option<Vec<String>>,
    /// Those of a kind
    kind: Option<String>,
    /// Those with a trouble, as `dead/groups` tells it
    fingerprint: Option<String>,
    /// Those that died so long ago at least
    #[schema(example = "1h")]
    older_than: Option<String>,
    /// `true`: all that there are now
    #[serde(default)]
    all: bool,
    /// `true`: only say how many they are
    #[serde(default)]
    dry_run: bool,
}

/// Which dead jobs.
enum WhichDead {
    These(Vec<JobId>),
    Of { kind: Option<String>, fingerprint: Option<String>, older_than: Option<Duration> },
}

/// The same, as it was asked, and whether to do anything with them.
struct Asked {
    which: WhichDead,
    told: Value,
    is_dry: bool,
}

impl Asked {
    fn read(
        queue: &str,
        body: Result<Json<json::Object<WhichDeadBody>>, JsonRejection>,
    ) -> Result<Self, Problem> {
        let WhichDeadBody { ids, kind, fingerprint, older_than, all, dry_run } =
            json::object(body, EXPECTED)?;
        let is_of = kind.is_some() || fingerprint.is_some() || older_than.is_some();
        let told = json!({ "queue": queue, "ids": ids, "kind": kind, "fingerprint": fingerprint,
            "older_than": older_than, "all": all });
        let which = match ids {
            Some(ids) if !is_of && !all && (1..=IDS_MAX).contains(&ids.len()) => {
                let ids = ids.iter().map(|text| id(text));
                WhichDead::These(ids.collect::<Result<_, _>>()?)
            }
            None if is_of != all => {
                let older_than = older_than.map(|text| time("older_than", &text)).transpose()?;
                WhichDead::Of { kind, fingerprint, older_than }
            }
            _ => {
                return Err(Problem::bad_request(format!(
                    "expected 1 to {IDS_MAX} ids, or kind, fingerprint or older_than, or all: {EXPECTED}"
                )));
            }
        };
        Ok(Self { which, told, is_dry: dry_run })
    }
}

impl WhichDead {
    /// Those that are meant, and of these the ids that are named.
    fn of(self, of: &OfQueue) -> (DeadJobs, Option<Vec<JobId>>) {
        let dead = of.handle().dead();
        match self {
            Self::These(ids) => (dead, Some(ids)),
            Self::Of { kind, fingerprint, older_than } => {
                let (kind, fingerprint) = (kind.as_deref(), fingerprint.as_deref());
                (dead.filter(Meant { kind, fingerprint, older_than }.filter()), None)
            }
        }
    }

    /// A place for the act. Those that are named one by one are few, and need none.
    fn place(&self, hub: &Hub, of: &OfQueue) -> Result<Option<Place>, Problem> {
        match self {
            Self::These(_) => Ok(None),
            Self::Of { .. } => hub.bulk_place(of.of.tenant()).map(Some).ok_or_else(busy),
        }
    }

    /// How many they are now, at most.
    async fn count(self, hub: &Hub, of: &OfQueue) -> Result<CountBody, Problem> {
        let _place = hub.heavy_place().ok_or_else(busy)?;
        let there = known(of).await?;
        let handle = &of.handle();
        let HowMany { at_most, is_exact } = match self {
            Self::These(ids) => {
                let looks = ids.into_iter().map(|id| async move {
                    let found = handle.find(id).await.map_err(problem)?;
                    Ok::<_, Problem>(found.is_some_and(|job| job.state == JobState::Dead))
                });
                let found: Vec<bool> =
                    stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
                let at_most = found.into_iter().filter(|is_dead| *is_dead).count() as u64;
                HowMany { at_most, is_exact: true }
            }
            Self::Of { kind, fingerprint, older_than } => {
                let (kind, fingerprint) = (kind.as_deref(), fingerprint.as_deref());
                let meant = Meant { kind, fingerprint, older_than };
                meant.count(handle, there.dead).await.map_err(problem)?
            }
        };
        Ok(CountBody { count: at_most, exact: is_exact })
    }
}

/// What came of it, or how many they are.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum RetriedOrCountBody {
    Retried(RetriedBody),
    Count(CountBody),
}

/// Have dead jobs wait again, with all their attempts.
///
/// One whose unique name another job has by now stays dead.
#[utoipa::path(post, path = "/v1/queues/{queue}/dead/retry", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = WhichDeadBody,
    responses(
        (status = 200, body = RetriedOrCountBody, description = "How many of them wait again; or of a dry run, how many they are"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, there are too many of this kind at once, or the store is away: some may wait again",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn retry_dead(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfQueue,
    body: Result<Json<json::Object<WhichDeadBody>>, JsonRejection>,
) -> Result<Json<RetriedOrCountBody>, Problem> {
    let Asked { which, told, is_dry } = Asked::read(&of.queue, body)?;
    if is_dry {
        return Ok(Json(RetriedOrCountBody::Count(which.count(&hub, &of).await?)));
    }
    let _place = which.place(&hub, &of)?;
    let before = known(&of).await?;
    let (dead, ids) = which.of(&of);
    of.of.note(Act::Retry, &actor, told, json!({ "dead": before.dead }), json!(null)).await?;
    let redriven = match ids {
        Some(ids) => dead.retry(&ids).await,
        None => dead.retry_all().await,
    };
    let redriven = redriven.map_err(problem)?;
    let (by, tenant, queue) = (actor.by(BY), of.of.tenant(), &of.queue);
    let retried = redriven.retried;
    if retried > 0 {
        tracing::warn!(by, tenant, queue, retried, "dead jobs were retried over HTTP");
    }
    Ok(Json(RetriedOrCountBody::Retried(redriven.into())))
}

/// What came of it, or how many they are.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum DroppedOrCountBody {
    Dropped(DroppedBody),
    Count(CountBody),
}

/// Remove dead jobs for good.
#[utoipa::path(post, path = "/v1/queues/{queue}/dead/drop", tag = "job",
    params(
        ("queue" = String, Path, description = "Name of the queue"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose queue"),
    ),
    request_body = WhichDeadBody,
    responses(
        (status = 200, body = DroppedOrCountBody, description = "How many of them are gone; or of a dry run, how many they are"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "There is no such queue"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The audit has no room, there are too many of this kind at once, or the store is away: some may be gone",
            headers(("Retry-After" = u64, description = "When to try again, in seconds"))),
    ))]
async fn drop_dead_jobs(
    State(hub): State<Hub>,
    actor: Actor,
    of: OfQueue,
    body: Result<Json<json::Object<WhichDeadBody>>, JsonRejection>,
) -> Result<Json<DroppedOrCountBody>, Problem> {
    let Asked { which, told, is_dry } = Asked::read(&of.queue, body)?;
    if is_dry {
        return Ok(Json(DroppedOrCountBody::Count(which.count(&hub, &of).await?)));
    }
    let _place = which.place(&hub, &of)?;
    let before = known(&of).await?;
    let (dead, ids) = which.of(&of);
    of.of.note(Act::DropDead, &actor, told, json!({ "dead": before.dead }), json!(null)).await?;
    let dropped = match ids {
        Some(ids) => dead.drop(&ids).await,
        None => dead.drop_all().await,
    };
    let dropped = dropped.map_err(problem)?;
    let (by, tenant, queue) = (actor.by(BY), of.of.tenant(), &of.queue);
    if dropped > 0 {
        tracing::warn!(by, tenant, queue, dropped, "dead jobs were removed over HTTP");
    }
    Ok(Json(DroppedOrCountBody::Dropped(DroppedBody { dropped })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Asked, Problem> {
        Asked::read("mail", Json::<json::Object<WhichDeadBody>>::from_bytes(body.as_bytes()))
    }

    #[test]
    fn it_is_said_in_one_way_which_are_meant() {
        let ids = read(r#"{"ids": ["01KAPX2V9QJ7M3B0N8R5T4W6YZ"], "dry_run": true}"#).unwrap();
        assert!(matches!(&ids.which, WhichDead::These(ids) if ids.len() == 1) && ids.is_dry);
        for good in [
            r#"{"all": true}"#,
            r#"{"fingerprint": "IQNj5i7xdtLhtg9G"}"#,
            r#"{"kind": "a", "older_than": "1h"}"#,
        ] {
            assert!(matches!(read(good).unwrap().which, WhichDead::Of { .. }), "{good}");
        }
        for bad in [
            "{}",
            r#"{"ids": []}"#,
            r#"{"ids": ["7"]}"#,
            r#"{"ids": ["01KAPX2V9QJ7M3B0N8R5T4W6YZ"], "all": true}"#,
            r#"{"kind": "a", "all": true}"#,
            r#"{"all": false}"#,
            r#"{"older_than": "soon"}"#,
            r#"{"all": true, "colour": 1}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
