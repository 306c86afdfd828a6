//! What a group has given up: by what went wrong, one by one, and what becomes of it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use sinew::Streams;
use sinew::stream::DeadLetter;

use super::event::Row;
use super::extract::{OfTopic, WhichLetters, Whose, asked};
use super::time;
use crate::auth::Actor;
use crate::dashboard::extract::{Asked, OurPage};
use crate::dashboard::show::{Fault, render, visible};
use crate::hub::{BUSY, Hub};
use crate::stream::audit::{self, Act};
use crate::stream::http::dead::Which;

/// So many letters are shown.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "stream_dead.html")]
struct Page {
    whose: Whose,
}

#[derive(Template)]
#[template(path = "stream_dead_letters.html")]
struct Letters {
    whose: Whose,
    reasons: Vec<Reason>,
    letters: Vec<Letter>,
    /// Of the buttons for all.
    vals: String,
}

struct Reason {
    reason: String,
    count: u64,
    first: String,
    last: String,
}

struct Letter {
    event: Row,
    original: String,
    reason: String,
    attempts: u32,
    crashes: u32,
    first: String,
    dead: String,
    /// When and what, the newest last.
    errors: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "stream_dead_confirm.html")]
struct Confirm {
    whose: Whose,
    /// Empty: all of them.
    place: String,
    is_removal: bool,
    /// Where the answer goes: a form would be in the body.
    to: String,
    vals: String,
}

#[derive(Template)]
#[template(path = "stream_dead_done.html")]
struct Done {
    whose: Whose,
    is_removal: bool,
    count: u64,
    vals: String,
}

pub(super) async fn page(OfTopic { whose, .. }: OfTopic) -> Response {
    render(&Page { whose })
}

pub(super) async fn letters(
    State(hub): State<Hub>,
    OfTopic { streams, whose }: OfTopic,
) -> Result<Response, Fault> {
    let _place = hub.heavy_place().ok_or_else(|| Fault::part(BUSY))?;
    let dead = streams.dead(&whose.topic, &whose.group);
    let reasons = dead.groups().await?.into_iter().map(|group| Reason {
        reason: visible(&group.reason),
        count: group.count,
        first: time(group.first),
        last: time(group.last),
    });
    let reasons = reasons.collect();
    let letters = dead.list(None, SHOWN).await?;
    let letters = letters.into_iter().map(|letter| Letter::of(&whose, letter)).collect();
    let vals = whose.vals_of_all();
    Ok(render(&Letters { whose, reasons, letters, vals }))
}

pub(super) async fn confirm_redrive(
    of: OfTopic,
    Asked(which): Asked<WhichLetters>,
) -> Result<Response, Fault> {
    confirm(of, &which, false)
}

pub(super) async fn confirm_removal(
    of: OfTopic,
    Asked(which): Asked<WhichLetters>,
) -> Result<Response, Fault> {
    confirm(of, &which, true)
}

/// The second thought: which of them, or all.
fn confirm(of: OfTopic, which: &WhichLetters, is_removal: bool) -> Result<Response, Fault> {
    // Empty: all of them.
    let place: String = match which.read()? {
        Which::These(places) => places.iter().map(ToString::to_string).collect(),
        Which::All => String::new(),
    };
    let act = if is_removal { "remove" } else { "redrive" };
    let (topic, group) = (&of.whose.topic, &of.whose.group);
    let which = if place.is_empty() { ("all", "true") } else { ("place", place.as_str()) };
    let asked = asked(&[("tenant", &of.whose.tenant), which]);
    let to = format!("/streams/{topic}/groups/{group}/dead/{act}{asked}");
    let vals = of.whose.vals("");
    Ok(render(&Confirm { whose: of.whose, place, is_removal, to, vals }))
}

pub(super) async fn redrive(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfTopic { streams, whose }: OfTopic,
    Asked(which): Asked<WhichLetters>,
) -> Result<Response, Fault> {
    let which = which.read()?;
    note_dead(&hub, &streams, &actor, Act::Redrive, &whose, &which).await?;
    let dead = streams.dead(&whose.topic, &whose.group);
    let count = match which {
        Which::These(places) => dead.redrive(&places).await?,
        Which::All => dead.redrive_all().await?,
    };
    let (topic, group, by) = (whose.topic.as_str(), whose.group.as_str(), actor.by("dashboard"));
    tracing::info!(topic, group, count, by, "dead letters were redriven on the dashboard");
    let vals = whose.vals("");
    Ok(render(&Done { whose, is_removal: false, count, vals }))
}

pub(super) async fn remove(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfTopic { streams, whose }: OfTopic,
    Asked(which): Asked<WhichLetters>,
) -> Result<Response, Fault> {
    let which = which.read()?;
    note_dead(&hub, &streams, &actor, Act::DropDead, &whose, &which).await?;
    let dead = streams.dead(&whose.topic, &whose.group);
    let count = match which {
        Which::These(places) => dead.remove(&places).await?,
        Which::All => dead.remove_all().await?,
    };
    let (topic, group, by) = (whose.topic.as_str(), whose.group.as_str(), actor.by("dashboard"));
    tracing::warn!(topic, group, count, by, "dead letters were removed on the dashboard");
    let vals = whose.vals("");
    Ok(render(&Done { whose, is_removal: true, count, vals }))
}

async fn note_dead(
    hub: &Hub,
    streams: &Streams,
    actor: &Actor,
    act: Act,
    whose: &Whose,
    which: &Which,
) -> Result<(), Fault> {
    let (topic, group) = (&whose.topic, &whose.group);
    let lag = streams.lag(topic).await?.into_iter().find(|lag| lag.group == *group);
    if lag.is_none() {
        // Looked for among those of all groups.
        let _place = hub.heavy_place().ok_or_else(|| Fault::part(BUSY))?;
        if streams.dead(topic, group).list(None, 1).await?.is_empty() {
            return Err(Fault::part("there is no such group, and no letter that it has left"));
        }
    }
    let before = json!({ "dead": lag.map(|lag| lag.dead) });
    note(streams, actor, act, which.told(topic, group), before).await
}

/// As over HTTP, and by which way it came. What cannot be noted is not done.
pub(super) async fn note(
    streams: &Streams,
    actor: &Actor,
    act: Act,
    mut what: Value,
    before: Value,
) -> Result<(), Fault> {
    what["by"] = json!("dashboard");
    audit::note(streams, act, actor, what, before, Value::Null).await.map_err(|_| {
        Fault::part("this cannot be noted in the audit now, and is not done: try again soon")
    })
}

impl Letter {
    fn of(whose: &Whose, letter: DeadLetter) -> Self {
        let errors = letter.errors.iter().map(|(at, error)| (time(*at), visible(error)));
        Self {
            errors: errors.collect(),
            event: Row::of(whose, &letter.place.to_string(), &letter.event),
            original: letter.original.to_string(),
            reason: visible(&letter.reason),
            attempts: letter.attempts,
            crashes: letter.crashes,
            first: time(letter.first_at),
            dead: time(letter.dead_at),
        }
    }
}
