//! `/v1/audit`: who has changed what.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sinew::flag::{ChangeId, FlagChange};
use sinew::http::{Problem, RequestTenant};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::flag::body::FlagChangeBody;
use crate::flag::http::extract::env_of;
use crate::hub::{BUSY, Hub};
use crate::limit::body::ChangeBody;
use crate::openapi::ProblemBody;
use crate::stream::body::EventBody;
use crate::{flag, job, limit, stream};

const COUNT_DEFAULT: usize = 100;
const COUNT_MAX: usize = 1_000;

pub(crate) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(audit))
}

/// What was changed.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Feature flags of a tenant, in an environment
    Flag,
    /// Definitions of limits, which all tenants share
    Limit,
    /// Groups, dead letters and subscriptions of a tenant, each change as a CloudEvent
    Stream,
    /// Queues, dead jobs, recurring jobs and webhooks of queues of a tenant, each change as a CloudEvent
    Job,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// What was changed: `limit`, `flag`, `stream` or `job`
    #[param(inline)]
    kind: Kind,
    /// How many to tell of: 1 to 1,000. 100 unless said
    #[param(minimum = 1, maximum = 1000)]
    count: Option<usize>,
    /// Of flags: the key of the only one to tell of
    key: Option<String>,
    /// Of flags: in which environment; in the configured one unless said
    env: Option<String>,
    /// Of one flag: the id of the only change to tell of, however long ago it was
    change: Option<String>,
}

impl AuditQuery {
    fn is_good(&self) -> bool {
        let of_flags = self.key.is_some() || self.env.is_some() || self.change.is_some();
        self.count.is_none_or(|count| (1..=COUNT_MAX).contains(&count))
            && (self.kind == Kind::Flag || !of_flags)
            && (self.key.is_some() || self.change.is_none())
    }
}

/// The changes of one kind.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ChangesBody {
    Flags(Vec<FlagChangeBody>),
    Limits(Vec<ChangeBody>),
    Streams(Vec<EventBody>),
}

/// The last changes, the newest first.
///
/// A thousand are kept of limits, and about ten thousand of the flags of an environment, of a tenant's
/// streams, and of its jobs. Those of one flag are
/// looked for among the last two thousand of all.
#[utoipa::path(get, path = "/v1/audit", tag = "audit",
    params(
        AuditQuery,
        ("X-Flags-Env" = Option<String>, Header, description = "Of flags: in which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flags, streams or jobs; limits are everyone's"),
    ),
    responses(
        (status = 200, body = ChangesBody, description = "The newest first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or too many look at changes of flags at once"),
    ))]
async fn audit(
    State(hub): State<Hub>,
    tenant: Option<RequestTenant>,
    headers: HeaderMap,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<ChangesBody>, Problem> {
    let asked = query.ok().map(|Query(asked)| asked).filter(AuditQuery::is_good);
    let AuditQuery { kind, count, key, env, change } = asked.ok_or_else(|| {
        Problem::bad_request(
            "the query is not what it should be: expected kind=limit, kind=flag, kind=stream or kind=job, and count=N from 1 to 1000 or no count; of flags also key=KEY and env=NAME, or neither, and with a key change=ID",
        )
    })?;
    let count = count.unwrap_or(COUNT_DEFAULT);
    Ok(Json(match kind {
        Kind::Limit => {
            let changes = hub.limits().changes(count).await.map_err(limit::http::problem)?;
            ChangesBody::Limits(changes.into_iter().map(ChangeBody::from).collect())
        }
        Kind::Stream | Kind::Job => {
            let tenant = tenant.as_ref().map(|RequestTenant(tenant)| tenant);
            let streams = hub.streams(tenant).map_err(Problem::bad_request)?;
            let topic = if kind == Kind::Job { job::audit::TOPIC } else { stream::audit::TOPIC };
            let changes = stream::audit::last(&streams, topic, count).await;
            let changes = changes.map_err(stream::http::problem)?;
            let changes: serde_json::Result<_> = changes.iter().map(EventBody::of).collect();
            ChangesBody::Streams(changes.map_err(stream::http::unreadable)?)
        }
        Kind::Flag => {
            let tenant = tenant.as_ref().map(|RequestTenant(tenant)| tenant);
            let env = env_of(&headers, env)?;
            let flags = hub.flags(tenant, env.as_deref()).await.map_err(Problem::bad_request)?;
            // A change has two flags of up to a mebibyte, and one of a rare flag is looked for among all.
            let place = hub.heavy_place();
            let _place =
                place.ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY))?;
            let changes = match (&key, change) {
                (Some(key), Some(change)) => {
                    let change: ChangeId = change.parse()?;
                    let past = flags.past_change(key, &change).await;
                    past.map(|past| past.into_iter().collect::<Vec<FlagChange>>())
                }
                _ => flags.history(key.as_deref(), count).await,
            };
            let changes = changes.map_err(flag::http::problem)?;
            ChangesBody::Flags(changes.into_iter().map(FlagChangeBody::from).collect())
        }
    }))
}
