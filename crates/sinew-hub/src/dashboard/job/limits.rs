//! What of a queue may run at a time, and how many may start: shown, and changed after a second thought.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sinew::job::{QueueHandle, QueueLook, QueueSettings};

use super::confirm::{Confirm, note};
use super::extract::{OfQueue, Whose};
use crate::auth::Actor;
use crate::dashboard::extract::{Asked, OurPage, asked};
use crate::dashboard::show::{Fault, render};
use crate::duration::{parse, written};
use crate::hub::Hub;
use crate::job::audit::Act;

/// On it, the page asks for the limits again, and for what else has changed.
const CHANGED: [(&str, &str); 1] = [("hx-trigger", "job-changed, job-limits-changed")];

#[derive(Template)]
#[template(path = "job_limits.html")]
struct Form {
    whose: Whose,
    typed: Typed,
}

#[derive(Template)]
#[template(path = "job_limits_changed.html")]
struct Changed {
    name: String,
    now: String,
}

/// Each as it is typed: empty for none.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Typed {
    #[serde(default)]
    global: String,
    #[serde(default)]
    per_key: String,
    #[serde(default)]
    rate: String,
    #[serde(default)]
    per: String,
}

/// What may be: 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    global: u64,
    per_key: u64,
    rate: (u64, Duration),
}

/// Also of a queue that is not there yet.
pub(super) async fn form(OfQueue { queue, whose, .. }: OfQueue) -> Result<Response, Fault> {
    let limits = Limits::of(&queue.look().await?.unwrap_or_default());
    Ok(render(&Form { whose, typed: Typed::of(&limits) }))
}

/// The second thought: from what to what.
pub(super) async fn confirm(
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(typed): Asked<Typed>,
) -> Result<Response, Fault> {
    let (before, after) = from_to(&queue, &typed).await?;
    let name = whose.in_words();
    let (was, is) = (before.in_words(), after.in_words());
    let typed = Typed::of(&after);
    let pairs = [
        ("tenant", whose.tenant.trim()),
        ("global", typed.global.as_str()),
        ("per_key", typed.per_key.as_str()),
        ("rate", typed.rate.as_str()),
        ("per", typed.per.as_str()),
    ];
    Ok(render(&Confirm {
        question: format!(
            "Change the limits of queue {name}, from {was} to {is}? It holds at once, for every worker."
        ),
        act: "Change them",
        method: "put",
        to: format!("/jobs/{}/limits{}", whose.queue, asked(&pairs)),
        is_danger: true,
        target: "asked-limits",
        from: "change-limits",
    }))
}

pub(super) async fn change(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(typed): Asked<Typed>,
) -> Result<Response, Fault> {
    let (before, after) = from_to(&queue, &typed).await?;
    if before != after {
        let what = json!({ "queue": whose.queue });
        note(&hub, &whose.tenant, &actor, Act::Queue, what, before.told(), after.told()).await?;
        queue.declare(after.settings()).await?;
        let (name, tenant, by) = (whose.queue.as_str(), whose.tenant(), actor.by("dashboard"));
        tracing::warn!(queue = name, tenant, by, "limits of a queue were changed on the dashboard");
    }
    let page = Changed { name: whose.in_words(), now: after.in_words() };
    Ok((CHANGED, render(&page)).into_response())
}

/// What they are, and are to be, where a queue may have those.
async fn from_to(queue: &QueueHandle, typed: &Typed) -> Result<(Limits, Limits), Fault> {
    let after = typed.limits()?;
    let look = queue.look().await?.unwrap_or_default();
    after.settings().partitions(look.partitions.max(1)).check()?;
    Ok((Limits::of(&look), after))
}

impl Typed {
    fn of(limits: &Limits) -> Self {
        let text = |limit: u64| if limit == 0 { String::new() } else { limit.to_string() };
        let (starts, per) = limits.rate;
        Self {
            global: text(limits.global),
            per_key: text(limits.per_key),
            rate: text(starts),
            per: if starts == 0 { String::new() } else { written(per) },
        }
    }

    fn limits(&self) -> Result<Limits, Fault> {
        let per = match (self.rate.trim(), self.per.trim()) {
            ("" | "0", _) => Duration::from_secs(1),
            (_, "") => {
                return Err(Fault::part(
                    "so many starts in how long: expected a duration like 1s or 1m",
                ));
            }
            (_, per) => parse(per).map_err(|what| Fault::part(&what))?,
        };
        let limits = Limits {
            global: number("how many run at a time", &self.global)?,
            per_key: number("how many of a key do", &self.per_key)?,
            rate: (number("how many start", &self.rate)?, per),
        };
        limits.settings().check()?;
        Ok(limits)
    }
}

fn number(what: &str, text: &str) -> Result<u64, Fault> {
    match text.trim() {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            Fault::part(&format!(
                "{what}: {text:?} is no limit: expected a whole number, or nothing"
            ))
        }),
    }
}

impl Limits {
    fn of(look: &QueueLook) -> Self {
        let (starts, per_ms) = look.rate;
        let per = if starts == 0 { Duration::from_secs(1) } else { Duration::from_millis(per_ms) };
        Self { global: look.global, per_key: look.per_key, rate: (starts, per) }
    }

    fn settings(&self) -> QueueSettings {
        let (starts, per) = self.rate;
        QueueSettings::new().global(self.global).per_key(self.per_key).rate(starts, per)
    }

    /// As it is said over HTTP.
    fn told(&self) -> Value {
        let (starts, per) = self.rate;
        let rate = json!({ "starts": starts, "per": written(per) });
        json!({ "global": self.global, "per_key": self.per_key, "rate": rate })
    }

    fn in_words(&self) -> String {
        let global = (self.global > 0).then(|| format!("{} at a time", self.global));
        let per_key = (self.per_key > 0).then(|| format!("{} of a key at a time", self.per_key));
        let (starts, per) = self.rate;
        let rate = (starts > 0).then(|| format!("{starts} starts in {}", written(per)));
        match [global, per_key, rate].into_iter().flatten().collect::<Vec<_>>() {
            none if none.is_empty() => "no limit".to_owned(),
            some => some.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(global: &str, rate: &str, per: &str) -> Typed {
        let text = |text: &str| text.to_owned();
        Typed { global: text(global), rate: text(rate), per: text(per), per_key: String::new() }
    }

    fn limits(typed: &Typed) -> Option<Limits> {
        typed.limits().ok()
    }

    #[test]
    fn limits_are_read_as_they_are_shown() {
        let some = typed("200", "100", "1m");
        let read = limits(&some).unwrap();
        assert_eq!(read.in_words(), "200 at a time, 100 starts in 1m");
        assert_eq!(Typed::of(&read), some);
        let none = limits(&typed("", "", "")).unwrap();
        assert_eq!((none.in_words().as_str(), Typed::of(&none)), ("no limit", Typed::default()));
        assert_eq!(limits(&typed("0", "0", "soon")), Some(none));
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for bad in
            [typed("x", "", ""), typed("-1", "", ""), typed("", "5", ""), typed("", "5", "2d")]
        {
            assert_eq!(limits(&bad), None);
        }
    }
}
