//! When a job recurs and what it is: as a form, with what would come of it, saved after a second thought.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sinew::job::{Expected, Recurring};
use sinew::{ErrorKind, Jobs};

use super::extract::{OfRecurring, Recurs};
use super::recurring::{in_zone, note, word};
use crate::auth::Actor;
use crate::dashboard::extract::{OurPage, Said};
use crate::dashboard::show::{Fault, in_words, render, visible};
use crate::duration::{parse, written};
use crate::hub::Hub;
use crate::job::audit::recurring::{Entry, Outline};
use crate::job::body::RecurringBody;
use crate::job::terms;

/// On it, the page asks for all that it shows again, the form as well.
const SAVED: [(&str, &str); 1] = [("hx-trigger", "job-changed, recurring-saved")];
/// So many ticks are shown.
const NEXT: usize = 5;
const UTC: &str = "UTC";
const DST: [&str; 3] = ["run-once", "skip", "run-twice"];
const MISSED: [&str; 3] = ["fire-once", "fire-all", "skip"];
const OVERLAP: [&str; 3] = ["skip", "allow", "replace"];

/// What is typed: text, of which not all need be right yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    queue: String,
    kind: String,
    payload: String,
    cron: String,
    tz: String,
    every: String,
    dst: String,
    missed: String,
    overlap: String,
    priority: String,
    key: String,
    /// Of what was shown; empty where there was none.
    revision: String,
    paused: bool,
}

#[derive(Template)]
#[template(path = "job_terms.html")]
struct Form {
    recurs: Recurs,
    typed: Typed,
    dst: Vec<Choice>,
    missed: Vec<Choice>,
    overlap: Vec<Choice>,
    zones: Vec<String>,
}

struct Choice {
    name: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "job_terms_preview.html")]
struct Preview {
    zone: String,
    next: Vec<String>,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "job_terms_confirm.html")]
struct Confirm {
    name: String,
    is_new: bool,
    to: String,
    differences: Vec<Difference>,
    /// The next tick.
    next: Option<String>,
    /// As JSON, so that what is confirmed is what is saved.
    terms: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Difference {
    title: &'static str,
    before: String,
    after: String,
}

#[derive(Template)]
#[template(path = "job_terms_saved.html")]
struct Saved {
    name: String,
    revision: u64,
}

/// What was confirmed.
#[derive(Deserialize)]
pub(super) struct Confirmed {
    terms: String,
}

pub(super) async fn form(OfRecurring { at, recurs, .. }: OfRecurring) -> Result<Response, Fault> {
    let typed = at.look().await?.map_or_else(Typed::new, |job| Typed::of(&job.into()));
    let zones = jiff::tz::db().available().map(|zone| zone.to_string());
    Ok(render(&Form {
        dst: choices(&DST, &typed.dst),
        missed: choices(&MISSED, &typed.missed),
        overlap: choices(&OVERLAP, &typed.overlap),
        zones: zones.collect(),
        recurs,
        typed,
    }))
}

fn choices(names: &[&'static str], chosen: &str) -> Vec<Choice> {
    names.iter().map(|&name| Choice { name, is_chosen: name == chosen }).collect()
}

/// When it would fire, and what is wrong so far.
pub(super) async fn preview(
    OfRecurring { jobs, recurs, .. }: OfRecurring,
    Said { said: typed, .. }: Said<Typed>,
) -> Response {
    let scheduled = typed.scheduled(jobs.recurring(&recurs.name));
    let next = scheduled.and_then(|recurring| ticks(&recurring, typed.zone()));
    let fault = match &next {
        Err(what) => Some(what.clone()),
        Ok(_) => typed.checked(&jobs, &recurs.name).err(),
    };
    let zone = visible(typed.zone());
    render(&Preview { zone, next: next.unwrap_or_default(), fault })
}

/// The next ones, by the clock on the wall of a zone.
fn ticks(recurring: &Recurring, zone: &str) -> Result<Vec<String>, String> {
    let next = recurring.next(NEXT).map_err(|error| in_words(&error))?;
    let next = next.into_iter().filter_map(|at| Timestamp::try_from(at).ok());
    Ok(next.map(|at| in_zone(at, zone)).collect())
}

/// The second thought: what exactly would differ.
pub(super) async fn confirm(
    OfRecurring { jobs, at, recurs }: OfRecurring,
    Said { said: typed, .. }: Said<Typed>,
) -> Result<Response, Fault> {
    let recurring = typed.checked(&jobs, &recurs.name).map_err(Fault::Part)?;
    let next = ticks(&recurring, typed.zone()).map_err(Fault::Part)?;
    let before = at.look().await?.map(|job| Typed::of(&job.into()));
    Ok(render(&Confirm {
        name: recurs.in_words(),
        is_new: before.is_none(),
        to: recurs.at(""),
        differences: differences(&before.unwrap_or_default(), &typed),
        next: next.into_iter().next().filter(|_| !typed.paused),
        terms: serde_json::to_string(&typed).unwrap_or_default(),
    }))
}

/// A field of the form: what people call it, and where it is.
type Field = (&'static str, fn(&Typed) -> &str);

fn differences(before: &Typed, after: &Typed) -> Vec<Difference> {
    let fields: [Field; 11] = [
        ("Queue", |typed| typed.queue.as_str()),
        ("Kind", |typed| typed.kind.as_str()),
        ("Payload", |typed| typed.payload.as_str()),
        ("Cron", |typed| typed.cron.as_str()),
        ("Time zone", |typed| typed.tz.as_str()),
        ("Every", |typed| typed.every.as_str()),
        ("When the clock is changed", |typed| typed.dst.as_str()),
        ("Missed ticks", |typed| typed.missed.as_str()),
        ("While the last job runs", |typed| typed.overlap.as_str()),
        ("Priority", |typed| typed.priority.as_str()),
        ("Key", |typed| typed.key.as_str()),
    ];
    let differ = fields.into_iter().filter_map(|(title, of)| {
        let (before, after) = (of(before).trim(), of(after).trim());
        (before != after).then(|| Difference {
            title,
            before: visible(before),
            after: visible(after),
        })
    });
    differ.collect()
}

pub(super) async fn save(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfRecurring { jobs, at, recurs }: OfRecurring,
    Said { said: Confirmed { terms }, .. }: Said<Confirmed>,
) -> Result<Response, Fault> {
    let typed: Typed = serde_json::from_str(&terms)
        .map_err(|_| Fault::part("the form is not complete: expected one from a page"))?;
    let before = at.look().await?.map(RecurringBody::from);
    let expected = typed.expected(before.as_ref())?;
    let recurring = typed.checked(&jobs, &recurs.name).map_err(Fault::Part)?.expected(expected);
    let payload = typed.payload().as_bytes();
    let entry = Entry::put(&recurs.name, before.as_ref(), &typed.outline(), payload);
    note(&hub, &recurs, &actor, entry).await?;
    let saved = match recurring.upsert().await {
        Ok(saved) => saved,
        Err(error) if error.kind() == ErrorKind::Conflict => return Err(conflict()),
        Err(error) => return Err(error.into()),
    };
    let (name, tenant, by) = (recurs.name.as_str(), recurs.tenant(), actor.by("dashboard"));
    let revision = saved.revision;
    tracing::warn!(
        recurring = name,
        tenant,
        revision,
        by,
        "a recurring job was defined on the dashboard"
    );
    Ok((SAVED, render(&Saved { name: recurs.in_words(), revision })).into_response())
}

fn conflict() -> Fault {
    Fault::part(
        "someone else has changed it meanwhile, and nothing is saved: reload the page, and change what is there now",
    )
}

impl Typed {
    /// The form of one that is not defined.
    fn new() -> Self {
        let text = |text: &str| text.to_owned();
        Self {
            tz: text(UTC),
            dst: text(DST[0]),
            missed: text(MISSED[0]),
            overlap: text(OVERLAP[0]),
            ..Self::default()
        }
    }

    fn of(job: &RecurringBody) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            payload: match job.payload.as_deref().map(RawValue::get) {
                None | Some("null") => String::new(),
                Some(payload) => payload.to_owned(),
            },
            cron: text(&job.cron),
            tz: job.tz.clone().unwrap_or_else(|| UTC.to_owned()),
            every: text(&job.every),
            dst: word(job.dst.unwrap_or_default()),
            missed: word(job.missed),
            overlap: word(job.overlap),
            priority: job.priority.map(|priority| priority.to_string()).unwrap_or_default(),
            key: text(&job.key),
            revision: job.revision.to_string(),
            paused: job.paused,
        }
    }

    fn zone(&self) -> &str {
        // An interval goes by no clock on a wall.
        let zone = if self.cron.trim().is_empty() { "" } else { self.tz.trim() };
        if zone.is_empty() { UTC } else { zone }
    }

    /// With when it recurs, and nothing else.
    fn scheduled(&self, recurring: Recurring) -> Result<Recurring, String> {
        let dst = said("when the clock is changed", terms::dst(self.dst.trim()))?;
        let recurring = recurring.tz(self.zone()).dst(dst);
        match (self.cron.trim(), self.every.trim()) {
            ("", "") => {
                Err("When does it recur? Say a cron expression, or an interval.".to_owned())
            }
            (cron, "") => Ok(recurring.cron(cron)),
            ("", every) => Ok(recurring.every(parse(every).map_err(|what| sentence(&what))?)),
            _ => Err("A cron expression and an interval: expected one of them.".to_owned()),
        }
    }

    /// All of it, where nothing is wrong.
    fn checked(&self, jobs: &Jobs, name: &str) -> Result<Recurring, String> {
        let payload = serde_json::from_str::<&RawValue>(self.payload())
            .map_err(|error| format!("The payload is no JSON: {error}."))?;
        let mut recurring = self
            .scheduled(jobs.recurring(name))?
            .missed(said("missed ticks", terms::missed(self.missed.trim()))?)
            .overlap(said("while the last job runs", terms::overlap(self.overlap.trim()))?)
            .job_raw(self.queue.trim(), self.kind.trim(), payload.get().to_owned());
        if !self.priority.trim().is_empty() {
            let priority = self.priority.trim().parse();
            let priority =
                priority.map_err(|_| "No priority: expected 0 to 9, or nothing.".to_owned())?;
            recurring = recurring.priority(priority);
        }
        if let Some(key) = self.key() {
            recurring = recurring.key(key);
        }
        if self.paused {
            recurring = recurring.paused();
        }
        recurring.check().map_err(|error| in_words(&error))?;
        Ok(recurring)
    }

    fn payload(&self) -> &str {
        match self.payload.trim() {
            "" => "null",
            text => text,
        }
    }

    fn key(&self) -> Option<&str> {
        Some(self.key.trim()).filter(|key| !key.is_empty())
    }

    /// What has to be there, so that no one's change is undone.
    fn expected(&self, before: Option<&RecurringBody>) -> Result<Expected, Fault> {
        let found = before.map(|job| job.revision.to_string()).unwrap_or_default();
        let Some(before) = before.filter(|_| found == self.revision) else {
            return if found == self.revision { Ok(Expected::Absent) } else { Err(conflict()) };
        };
        // In another place, there is none yet.
        let moves = before.queue != self.queue.trim() || before.key.as_deref() != self.key();
        Ok(if moves { Expected::Any } else { Expected::Revision(before.revision) })
    }

    /// As it will be, where nothing is wrong.
    fn outline(&self) -> Outline<'_> {
        let cron = Some(self.cron.trim()).filter(|cron| !cron.is_empty());
        Outline {
            queue: self.queue.trim(),
            kind: self.kind.trim(),
            cron,
            tz: cron.map(|_| self.zone()),
            dst: cron.and_then(|_| terms::dst(self.dst.trim()).ok()),
            every: parse(self.every.trim()).ok().map(written),
            missed: terms::missed(self.missed.trim()).unwrap_or_default(),
            overlap: terms::overlap(self.overlap.trim()).unwrap_or_default(),
            priority: self.priority.trim().parse().ok(),
            key: self.key(),
            paused: self.paused,
        }
    }
}

fn said<T>(title: &str, read: Result<T, String>) -> Result<T, String> {
    read.map_err(|what| sentence(&format!("{title}: {what}")))
}

/// As the page says it.
fn sentence(what: &str) -> String {
    match Fault::part(what) {
        Fault::Part(sentence) | Fault::Page(sentence) => sentence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs() -> Jobs {
        sinew::Sinew::embedded().tenant("acme").unwrap().jobs()
    }

    fn nightly() -> Typed {
        Typed {
            queue: "mail".to_owned(),
            kind: "digest".to_owned(),
            cron: "0 2 * * *".to_owned(),
            tz: "Europe/Berlin".to_owned(),
            ..Typed::new()
        }
    }

    #[tokio::test]
    async fn what_is_saved_is_shown_as_it_was_typed() {
        let jobs = jobs();
        let payload = "{\n  \"n\": 12345678901234567890123,\n  \"by\": 1.10\n}";
        let typed = Typed { payload: payload.to_owned(), ..nightly() };
        let saved = typed.checked(&jobs, "nightly").unwrap().upsert().await.unwrap();
        let revision = saved.revision.to_string();
        assert_eq!(Typed::of(&saved.into()), Typed { revision, ..typed });
    }

    #[tokio::test]
    async fn what_is_wrong_is_told() {
        let jobs = jobs();
        for (bad, told) in [
            (Typed { cron: "61 * * * *".to_owned(), ..nightly() }, "inute"),
            (Typed { tz: "Nowhere".to_owned(), ..nightly() }, "time zone"),
            (Typed { cron: String::new(), ..nightly() }, "When does it recur"),
            (Typed { every: "5m".to_owned(), ..nightly() }, "one of them"),
            (Typed { payload: "{".to_owned(), ..nightly() }, "no JSON"),
            (Typed { priority: "high".to_owned(), ..nightly() }, "0 to 9"),
            (Typed { queue: String::new(), ..nightly() }, "queue"),
            (Typed { missed: "all".to_owned(), ..nightly() }, "Missed ticks"),
        ] {
            let fault = bad.checked(&jobs, "nightly").unwrap_err();
            assert!(fault.contains(told), "{fault}");
        }
    }

    #[tokio::test]
    async fn a_change_of_what_was_not_shown_is_refused() {
        let jobs = jobs();
        let saved = nightly().checked(&jobs, "nightly").unwrap().upsert().await.unwrap();
        let body = RecurringBody::from(saved);
        let shown = Typed { revision: body.revision.to_string(), ..nightly() };
        let revision = Expected::Revision(body.revision);
        assert_eq!(shown.expected(Some(&body)).ok(), Some(revision));
        assert_eq!(nightly().expected(None).ok(), Some(Expected::Absent));
        assert!(nightly().expected(Some(&body)).is_err() && shown.expected(None).is_err());
        let moved = Typed { queue: "other".to_owned(), ..shown };
        assert_eq!(moved.expected(Some(&body)).ok(), Some(Expected::Any));
    }

    #[test]
    fn what_differs_is_told_field_by_field() {
        let later = Typed { cron: "0 3 * * *".to_owned(), ..nightly() };
        let expected = Difference {
            title: "Cron",
            before: "0 2 * * *".to_owned(),
            after: "0 3 * * *".to_owned(),
        };
        assert_eq!(differences(&nightly(), &later), [expected]);
        assert!(differences(&nightly(), &nightly()).is_empty());
    }
}
