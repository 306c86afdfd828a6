//! Webhooks: where events are pushed to, paused and resumed after a second thought.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use sinew::stream::{WebhookAt, Webhooks};
use url::Url;

use super::extract::{OfStreams, asked, query};
use super::{NOT_KNOWN, ago};
use crate::auth::Actor;
use crate::dashboard::extract::{Asked, OurPage};
use crate::dashboard::show::{Fault, render, visible};
use crate::hub::Hub;
use crate::stream::audit::{self, Act};

#[derive(Template)]
#[template(path = "stream_webhooks.html")]
struct Page {
    has_tenants: bool,
}

#[derive(Template)]
#[template(path = "stream_webhooks_all.html")]
struct All {
    rows: Vec<Row>,
    query: String,
}

struct Row {
    name: String,
    topic: String,
    group: String,
    /// Without path and query: a token may be in them.
    host: String,
    paused: Option<String>,
    last: String,
    is_good: bool,
    vals: String,
}

#[derive(Template)]
#[template(path = "stream_webhook_confirm.html")]
struct Confirm {
    name: String,
    is_paused: bool,
    to: String,
    vals: String,
}

#[derive(Deserialize)]
pub(super) struct Which {
    name: String,
    /// `true`, or `false` to go on.
    #[serde(default)]
    pause: bool,
}

pub(super) async fn page(State(hub): State<Hub>) -> Response {
    render(&Page { has_tenants: hub.has_tenants() })
}

pub(super) async fn all(
    State(hub): State<Hub>,
    OfStreams { streams, tenant }: OfStreams,
) -> Result<Response, Fault> {
    let all = streams.webhooks().list().await?;
    let rows = all.into_iter().map(|at| Row::of(&hub, &tenant, at)).collect();
    Ok(render(&All { rows, query: query(&tenant) }))
}

pub(super) async fn confirm(
    OfStreams { streams, tenant }: OfStreams,
    Asked(which): Asked<Which>,
) -> Result<Response, Fault> {
    let Some(at) = streams.webhooks().get(&which.name).await? else {
        return Err(Fault::part(&format!("there is no webhook {:?} any more", which.name)));
    };
    let is_paused = at.paused.is_some();
    let pause = if is_paused { "false" } else { "true" };
    let asked = asked(&[("tenant", &tenant), ("name", &at.name), ("pause", pause)]);
    let to = format!("/streams/~webhooks/switch{asked}");
    let vals = vals(&tenant, &at.name, !is_paused);
    Ok(render(&Confirm { name: at.name, is_paused, to, vals }))
}

pub(super) async fn switch(
    _: OurPage,
    actor: Actor,
    State(hub): State<Hub>,
    OfStreams { streams, tenant }: OfStreams,
    Asked(which): Asked<Which>,
) -> Result<Response, Fault> {
    let reason = which.pause.then_some("paused on the dashboard");
    let Some(before) = streams.webhooks().get(&which.name).await? else {
        return Err(Fault::part(&format!("there is no webhook {:?} any more", which.name)));
    };
    // What is so already is not noted.
    if before.paused.is_some() == which.pause {
        return all(State(hub), OfStreams { streams, tenant }).await;
    }
    let what =
        json!({ "webhook": which.name, "act": if which.pause { "pause" } else { "resume" } });
    let after = json!({ "reason": reason });
    let noted = audit::note(&streams, Act::Webhook, &actor, what, json!(null), after).await;
    noted.map_err(|_| {
        Fault::part("this cannot be noted in the audit now, and is not done: try again soon")
    })?;
    if streams.webhooks().set_paused(&which.name, reason).await?.is_none() {
        return Err(Fault::part(&format!("there is no webhook {:?} any more", which.name)));
    }
    hub.deliveries().look_again();
    all(State(hub), OfStreams { streams, tenant }).await
}

/// What a button of the page says of a webhook.
fn vals(tenant: &str, name: &str, pause: bool) -> String {
    json!({ "tenant": tenant, "name": name, "pause": pause }).to_string()
}

impl Row {
    fn of(hub: &Hub, tenant: &str, at: WebhookAt) -> Self {
        let of = Some(tenant.trim()).filter(|tenant| !tenant.is_empty());
        let last = hub.deliveries().last(of, &at.name);
        let url = Url::parse(&at.webhook.url).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or(NOT_KNOWN);
        Self {
            vals: vals(tenant, &at.name, at.paused.is_none()),
            group: Webhooks::group_of(&at.name),
            host: host.to_owned(),
            paused: at.paused.map(|it| format!("{}, {}", visible(&it.reason), ago(Some(it.since)))),
            is_good: last.as_ref().is_none_or(|last| last.is_good),
            last: last.map_or_else(
                || NOT_KNOWN.to_owned(),
                |last| format!("{}, {}", visible(&last.told), ago(Some(last.at))),
            ),
            topic: at.webhook.topic,
            name: at.name,
        }
    }
}
