//! What pages of jobs take from a request.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;
use sinew::Jobs;
use sinew::job::{JobId, QueueHandle, RecurringAt};

use crate::dashboard::extract::{Asked, asked, is_plain, named};
use crate::dashboard::show::Fault;
use crate::hub::Hub;
use crate::job::terms;

/// The jobs of a tenant.
pub(super) struct OfJobs {
    pub(super) jobs: Jobs,
    pub(super) tenant: String,
}

/// A queue of a tenant. It need not be there.
pub(super) struct OfQueue {
    pub(super) jobs: Jobs,
    pub(super) queue: QueueHandle,
    pub(super) whose: Whose,
}

/// A job of a queue. It need not be there.
pub(super) struct OfJob {
    pub(super) queue: QueueHandle,
    pub(super) whose: Whose,
    pub(super) id: JobId,
}

/// A recurring job. It need not be defined.
pub(super) struct OfRecurring {
    pub(super) jobs: Jobs,
    pub(super) at: RecurringAt,
    pub(super) recurs: Recurs,
}

/// Which queue, as the path and the query say it.
#[derive(Clone)]
pub(super) struct Whose {
    pub(super) tenant: String,
    pub(super) queue: String,
}

/// Which recurring job, as the path and the query say it.
#[derive(Clone)]
pub(super) struct Recurs {
    pub(super) tenant: String,
    pub(super) name: String,
}

#[derive(Deserialize)]
struct Tenant {
    #[serde(default)]
    tenant: String,
}

/// What a page of many is asked for: by name, the one that is to be opened in its place.
#[derive(Deserialize)]
pub(super) struct Open {
    #[serde(default)]
    pub(super) open: String,
    #[serde(default)]
    pub(super) tenant: String,
}

/// Whether something is to stop, or to go on.
#[derive(Deserialize)]
pub(super) struct Switch {
    pub(super) pause: bool,
}

impl Whose {
    /// For a log.
    pub(super) fn tenant(&self) -> Option<&str> {
        tenant_of(&self.tenant)
    }

    /// Of the queue's page, or of what is below it.
    pub(super) fn at(&self, below: &str) -> String {
        self.with(below, &[])
    }

    pub(super) fn with(&self, below: &str, pairs: &[(&str, &str)]) -> String {
        address(&format!("/jobs/{}{below}", self.queue), &self.tenant, pairs)
    }

    /// Of all queues of whoever's this is.
    pub(super) fn all(&self) -> String {
        address("/jobs", &self.tenant, &[])
    }

    /// Where it is resumed, or paused where it is not.
    pub(super) fn switch(&self, is_paused: bool) -> String {
        self.with("/switch", &[("pause", if is_paused { "false" } else { "true" })])
    }

    /// Of the page of a job, or of what is below it.
    pub(super) fn job(&self, id: &JobId, below: &str) -> String {
        self.at(&format!("/job/{id}{below}"))
    }

    /// For a sentence: `"mail" of tenant acme`.
    pub(super) fn in_words(&self) -> String {
        in_words(&self.queue, &self.tenant)
    }
}

impl Recurs {
    /// For a log.
    pub(super) fn tenant(&self) -> Option<&str> {
        tenant_of(&self.tenant)
    }

    /// Of its page, or of what is below it.
    pub(super) fn at(&self, below: &str) -> String {
        self.with(below, &[])
    }

    pub(super) fn with(&self, below: &str, pairs: &[(&str, &str)]) -> String {
        address(&format!("/jobs/~recurring/{}{below}", self.name), &self.tenant, pairs)
    }

    /// Where it is resumed, or paused where it is not.
    pub(super) fn switch(&self, is_paused: bool) -> String {
        self.with("/switch", &[("pause", if is_paused { "false" } else { "true" })])
    }

    /// Of all queues of whoever's this is.
    pub(super) fn queues(&self) -> String {
        address("/jobs", &self.tenant, &[])
    }

    /// Of all that recur.
    pub(super) fn all(&self) -> String {
        address("/jobs/~recurring", &self.tenant, &[])
    }

    /// Of a queue's page.
    pub(super) fn queue(&self, queue: &str) -> Whose {
        Whose { tenant: self.tenant.clone(), queue: queue.to_owned() }
    }

    pub(super) fn in_words(&self) -> String {
        in_words(&self.name, &self.tenant)
    }
}

fn tenant_of(tenant: &str) -> Option<&str> {
    Some(tenant.trim()).filter(|tenant| !tenant.is_empty())
}

fn in_words(name: &str, tenant: &str) -> String {
    match tenant.trim() {
        "" => format!("{name:?}"),
        tenant => format!("{name:?} of tenant {tenant}"),
    }
}

/// Of a page of a tenant.
pub(super) fn address(path: &str, tenant: &str, pairs: &[(&str, &str)]) -> String {
    let tenant = Some(("tenant", tenant.trim())).filter(|(_, tenant)| !tenant.is_empty());
    let all: Vec<(&str, &str)> = tenant.into_iter().chain(pairs.iter().copied()).collect();
    match all.is_empty() {
        true => path.to_owned(),
        false => format!("{path}{}", asked(&all)),
    }
}

/// What the path says of a name, which stands in the paths that a page asks for.
async fn said(parts: &mut Parts, hub: &Hub, name: &str) -> Result<String, Fault> {
    let path = Path::<BTreeMap<String, String>>::from_request_parts(parts, hub).await.ok();
    let said = path.and_then(|Path(mut path)| path.remove(name)).unwrap_or_default();
    match is_plain(&said) {
        true => Ok(said),
        false => Err(Fault::page(&format!(
            "the address names no {name}: expected A-Z a-z 0-9 . _ - and not only dots"
        ))),
    }
}

impl FromRequestParts<Hub> for OfJobs {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Asked(Tenant { tenant }) = Asked::<Tenant>::from_request_parts(parts, hub).await?;
        let jobs = hub.jobs(named(&tenant)?.as_ref()).map_err(|what| Fault::part(&what))?;
        Ok(Self { jobs, tenant })
    }
}

impl FromRequestParts<Hub> for OfQueue {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let queue = said(parts, hub, "queue").await?;
        let OfJobs { jobs, tenant } = OfJobs::from_request_parts(parts, hub).await?;
        Ok(Self { queue: jobs.queue(&queue), jobs, whose: Whose { tenant, queue } })
    }
}

impl FromRequestParts<Hub> for OfJob {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let id = said(parts, hub, "id").await?;
        let id = terms::id(&id).map_err(|what| Fault::page(&what))?;
        let OfQueue { queue, whose, .. } = OfQueue::from_request_parts(parts, hub).await?;
        Ok(Self { queue, whose, id })
    }
}

impl FromRequestParts<Hub> for OfRecurring {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let name = said(parts, hub, "name").await?;
        let OfJobs { jobs, tenant } = OfJobs::from_request_parts(parts, hub).await?;
        Ok(Self { at: jobs.recurring_at(&name), jobs, recurs: Recurs { tenant, name } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_whose_where_it_is_someones() {
        let of = |tenant: &str| Whose { tenant: tenant.to_owned(), queue: "mail".to_owned() };
        assert_eq!(of("").at("/now"), "/jobs/mail/now");
        assert_eq!(of(" acme ").at(""), "/jobs/mail?tenant=acme");
        assert_eq!(of("").with("/dead", &[("kind", "a&b")]), "/jobs/mail/dead?kind=a%26b");
        assert_eq!(of("acme").with("", &[("x", "1")]), "/jobs/mail?tenant=acme&x=1");
        assert_eq!(of("acme").in_words(), "\"mail\" of tenant acme");
        let recurs = Recurs { tenant: String::new(), name: "nightly".to_owned() };
        assert_eq!(recurs.at("/now"), "/jobs/~recurring/nightly/now");
    }
}
