//! What is dead: by what the trouble was, one by one, and what becomes of it.

use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use sinew::job::{DeadFilter, DeadGroup, JobId, JobPage, QueueHandle, Redriven};

use super::confirm::{Confirm, done, note};
use super::extract::{OfQueue, Whose};
use super::live::{Again, Seen, live};
use super::many;
use super::queue::look;
use super::shelf::Row;
use crate::auth::Actor;
use crate::dashboard::extract::{Asked, OurPage};
use crate::dashboard::show::{Fault, render, time, visible};
use crate::duration::parse;
use crate::hub::{BUSY, Hub};
use crate::job::audit::Act;
use crate::job::dead::{self, HowMany};
use crate::job::terms;
use crate::places::Place;

/// So many are on a page, and so many troubles.
const SHOWN: usize = 50;
const GROUPS_SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "job_dead.html")]
struct Page {
    whose: Whose,
    groups: String,
    list: String,
    which: Which,
}

#[derive(Template)]
#[template(path = "job_dead_groups.html")]
struct Groups {
    rows: Vec<Group>,
    more: usize,
}

struct Group {
    fingerprint: String,
    kind: String,
    error: String,
    count: u64,
    newest: String,
    show: String,
    retry: String,
    drop: String,
}

#[derive(Template)]
#[template(path = "job_dead_list.html")]
struct List {
    rows: Vec<Row>,
    /// Whether some are left out.
    is_part: bool,
    retry: String,
    drop: String,
    first: Option<String>,
    next: Option<String>,
}

/// Which of them, as the page says it. All that is said has to be so.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Which {
    /// One alone.
    #[serde(default)]
    id: String,
    #[serde(default)]
    fingerprint: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    older_than: String,
    /// A request that names none is one that has lost the name: that all are meant is said.
    #[serde(default)]
    all: bool,
}

/// Where a page goes on.
#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: String,
}

/// The same, understood.
enum Meant {
    One(JobId),
    Of(DeadFilter),
}

pub(super) async fn page(OfQueue { whose, .. }: OfQueue, Asked(which): Asked<Which>) -> Response {
    render(&Page {
        groups: whose.at("/dead/groups"),
        list: which.at(&whose, "/dead/list", ""),
        whose,
        which,
    })
}

pub(super) async fn groups(
    State(hub): State<Hub>,
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(seen): Asked<Seen>,
) -> Response {
    let part = match hub.heavy_place() {
        Some(_place) => table(&queue, &whose).await,
        None => Err(Fault::part(BUSY)),
    };
    live(part, Again { url: whose.at("/dead/groups"), every: "2s", target: "groups" }, &seen)
}

async fn table(queue: &QueueHandle, whose: &Whose) -> Result<Groups, Fault> {
    let groups = queue.dead().groups().await?;
    Ok(Groups {
        more: groups.len().saturating_sub(GROUPS_SHOWN),
        rows: groups.iter().take(GROUPS_SHOWN).map(|group| Group::of(whose, group)).collect(),
    })
}

pub(super) async fn list(
    State(hub): State<Hub>,
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(which): Asked<Which>,
    Asked(After { after }): Asked<After>,
    Asked(seen): Asked<Seen>,
) -> Response {
    let part = match hub.heavy_place() {
        Some(_place) => some(&queue, &whose, &which, &after).await,
        None => Err(Fault::part(BUSY)),
    };
    let url = which.at(&whose, "/dead/list", &after);
    live(part, Again { url, every: "3s", target: "dead-list" }, &seen)
}

async fn some(
    queue: &QueueHandle,
    whose: &Whose,
    which: &Which,
    after: &str,
) -> Result<List, Fault> {
    let from = Some(after).filter(|after| !after.is_empty());
    let dead = queue.dead().filter(which.filter()?);
    let JobPage { jobs, next } = dead.page(from, SHOWN).await?;
    // Whatever is shown is meant by its buttons, and nothing else.
    let all = Which { all: !which.is_part(), ..which.clone() };
    Ok(List {
        rows: jobs.iter().map(|job| Row::of(whose, job)).collect(),
        is_part: which.is_part(),
        retry: all.at(whose, "/dead/retry", ""),
        drop: all.at(whose, "/dead/drop", ""),
        first: from.map(|_| which.at(whose, "/dead/list", "")),
        next: next.map(|next| which.at(whose, "/dead/list", &next)),
    })
}

pub(super) async fn confirm_retry(
    State(hub): State<Hub>,
    of: OfQueue,
    Asked(which): Asked<Which>,
) -> Result<Response, Fault> {
    let count = how_many(&hub, &of.queue, &of.whose, &which).await?;
    let name = of.whose.in_words();
    Ok(render(&Confirm {
        question: format!(
            "Have {count} of queue {name} tried again? They wait from now on, each with all its attempts."
        ),
        act: "Try again",
        method: "put",
        to: which.at(&of.whose, "/dead/retry", ""),
        is_danger: false,
        target: "asked",
        from: "retry",
    }))
}

pub(super) async fn confirm_drop(
    State(hub): State<Hub>,
    of: OfQueue,
    Asked(which): Asked<Which>,
) -> Result<Response, Fault> {
    let count = how_many(&hub, &of.queue, &of.whose, &which).await?;
    let name = of.whose.in_words();
    Ok(render(&Confirm {
        question: format!("Drop {count} of queue {name}? What is dropped is gone."),
        act: "Drop",
        method: "delete",
        to: which.at(&of.whose, "/dead/drop", ""),
        is_danger: true,
        target: "asked",
        from: "drop",
    }))
}

pub(super) async fn retry(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(which): Asked<Which>,
) -> Result<Response, Fault> {
    let meant = which.read()?;
    let _place = meant.place(&hub, &whose)?;
    note_dead(&hub, &actor, Act::Retry, &queue, &whose, &which).await?;
    let redriven = match meant {
        Meant::One(id) => queue.dead().retry(&[id]).await?,
        Meant::Of(filter) => queue.dead().filter(filter).retry_all().await?,
    };
    let (queue, tenant, by) = (whose.queue.as_str(), whose.tenant(), actor.by("dashboard"));
    let retried = redriven.retried;
    if retried > 0 {
        tracing::warn!(queue, tenant, retried, by, "dead jobs were retried on the dashboard");
    }
    Ok(done(in_words(redriven)))
}

pub(super) async fn drop(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(which): Asked<Which>,
) -> Result<Response, Fault> {
    let meant = which.read()?;
    let _place = meant.place(&hub, &whose)?;
    note_dead(&hub, &actor, Act::DropDead, &queue, &whose, &which).await?;
    let dropped = match meant {
        Meant::One(id) => queue.dead().drop(&[id]).await?,
        Meant::Of(filter) => queue.dead().filter(filter).drop_all().await?,
    };
    let (queue, tenant, by) = (whose.queue.as_str(), whose.tenant(), actor.by("dashboard"));
    if dropped > 0 {
        tracing::warn!(queue, tenant, dropped, by, "dead jobs were removed on the dashboard");
    }
    Ok(done(format!("Dropped: {dropped}.")))
}

async fn note_dead(
    hub: &Hub,
    actor: &Actor,
    act: Act,
    queue: &QueueHandle,
    whose: &Whose,
    which: &Which,
) -> Result<(), Fault> {
    let before = json!({ "dead": look(queue, whose).await?.dead });
    note(hub, &whose.tenant, actor, act, which.told(&whose.queue), before, Value::Null).await
}

/// How many are meant, in words.
async fn how_many(
    hub: &Hub,
    queue: &QueueHandle,
    whose: &Whose,
    which: &Which,
) -> Result<String, Fault> {
    if let Meant::One(id) = which.read()? {
        return Ok(format!("dead job {id}"));
    }
    let _place = hub.heavy_place().ok_or_else(|| Fault::part(BUSY))?;
    let dead = look(queue, whose).await?.dead;
    if which.all {
        return Ok(many(dead, "dead job", "dead jobs"));
    }
    let HowMany { at_most, is_exact } = which.meant()?.count(queue, dead).await?;
    let count = many(at_most, "dead job", "dead jobs");
    let age = which.older_than.trim();
    let (kind, trouble) = (which.kind.trim(), which.fingerprint.trim());
    let said = [
        (!kind.is_empty()).then(|| format!("of kind {kind}")),
        (!trouble.is_empty()).then(|| format!("with trouble {trouble}")),
        (!age.is_empty()).then(|| format!("that died at least {age} ago")),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    let most = if is_exact { "" } else { "at most " };
    Ok(format!("{most}{count} {}", said.join(" and ")))
}

fn in_words(Redriven { retried, duplicates, gone }: Redriven) -> String {
    let stay = (duplicates > 0)
        .then(|| format!(" Still dead, since another has its unique name: {duplicates}."));
    let gone = (gone > 0).then(|| format!(" Not there any more: {gone}."));
    format!("Tried again: {retried}.{}{}", stay.unwrap_or_default(), gone.unwrap_or_default())
}

impl Meant {
    /// A place for the act. One job alone needs none.
    fn place(&self, hub: &Hub, whose: &Whose) -> Result<Option<Place>, Fault> {
        match self {
            Self::One(_) => Ok(None),
            Self::Of(_) => {
                hub.bulk_place(whose.tenant()).map(Some).ok_or_else(|| Fault::part(BUSY))
            }
        }
    }
}

impl Which {
    fn of(fingerprint: &str) -> Self {
        Self { fingerprint: fingerprint.to_owned(), ..Self::default() }
    }

    /// Whether some are left out.
    fn is_part(&self) -> bool {
        ![&self.fingerprint, &self.kind, &self.older_than].iter().all(|said| said.trim().is_empty())
    }

    fn at(&self, whose: &Whose, below: &str, after: &str) -> String {
        let all = if self.all { "true" } else { "" };
        let pairs = [
            ("id", self.id.trim()),
            ("fingerprint", self.fingerprint.trim()),
            ("kind", self.kind.trim()),
            ("older_than", self.older_than.trim()),
            ("all", all),
            ("after", after),
        ];
        let said: Vec<(&str, &str)> =
            pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        whose.with(below, &said)
    }

    fn filter(&self) -> Result<DeadFilter, Fault> {
        Ok(self.meant()?.filter())
    }

    fn meant(&self) -> Result<dead::Meant<'_>, Fault> {
        let older_than = some_text(&self.older_than).map(parse).transpose();
        Ok(dead::Meant {
            kind: some_text(&self.kind),
            fingerprint: some_text(&self.fingerprint),
            older_than: older_than.map_err(|what| Fault::part(&what))?,
        })
    }

    /// For an act: which are meant is said in one way.
    fn read(&self) -> Result<Meant, Fault> {
        match (some_text(&self.id), self.is_part(), self.all) {
            (Some(id), false, false) => {
                terms::id(id).map(Meant::One).map_err(|what| Fault::part(&what))
            }
            (None, true, false) | (None, false, true) => self.filter().map(Meant::Of),
            (None, false, false) => {
                Err(Fault::page("no job is named: expected an id, a filter, or all=true"))
            }
            _ => Err(Fault::page("expected one of an id, a filter, and all=true")),
        }
    }

    /// As over HTTP.
    fn told(&self, queue: &str) -> Value {
        json!({ "queue": queue, "ids": some_text(&self.id).map(|id| [id]), "kind": some_text(&self.kind),
            "fingerprint": some_text(&self.fingerprint), "older_than": some_text(&self.older_than),
            "all": self.all })
    }
}

fn some_text(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

impl Group {
    fn of(whose: &Whose, group: &DeadGroup) -> Self {
        let which = Which::of(&group.fingerprint);
        let newest = Duration::from_millis(group.newest_ms);
        Self {
            show: which.at(whose, "/dead/list", ""),
            retry: which.at(whose, "/dead/retry", ""),
            drop: which.at(whose, "/dead/drop", ""),
            fingerprint: visible(&group.fingerprint),
            kind: visible(&group.kind),
            error: visible(&group.error),
            count: group.count,
            newest: time(UNIX_EPOCH + newest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(id: &str, kind: &str, all: bool) -> Which {
        Which { id: id.to_owned(), kind: kind.to_owned(), all, ..Which::default() }
    }

    #[test]
    fn which_are_meant_is_said_in_one_way() {
        let id = "01KAPX2V9QJ7M3B0N8R5T4W6YZ";
        assert!(matches!(which(id, "", false).read(), Ok(Meant::One(_))));
        assert!(matches!(which("", "mail", false).read(), Ok(Meant::Of(_))));
        assert!(matches!(which("", "", true).read(), Ok(Meant::Of(_))));
        for bad in [
            which("", "", false),
            which(" ", " ", false),
            which(id, "", true),
            which(id, "mail", false),
            which("", "mail", true),
            which("7", "", false),
            Which { older_than: "soon".to_owned(), ..Which::default() },
        ] {
            assert!(bad.read().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_says_what_was_meant_and_no_more() {
        let whose = Whose { tenant: String::new(), queue: "mail".to_owned() };
        let of = |which: Which| which.at(&whose, "/dead/retry", "");
        assert_eq!(of(which("", "a&b", false)), "/jobs/mail/dead/retry?kind=a%26b");
        assert_eq!(of(which("", "", true)), "/jobs/mail/dead/retry?all=true");
        assert_eq!(which("", "", false).at(&whose, "/dead/list", ""), "/jobs/mail/dead/list");
    }

    #[test]
    fn what_came_of_it_is_told() {
        let redriven = Redriven { retried: 2, duplicates: 1, gone: 0 };
        assert_eq!(
            in_words(redriven),
            "Tried again: 2. Still dead, since another has its unique name: 1."
        );
    }
}
