//! `sinew stream webhook …`: at a hub, which delivers them and keeps an audit of what is changed.

use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::place::{ask, get};
use crate::cli::place::{AtHub, Place};
use crate::cli::request::read_reply;
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};

/// Send the events of a topic to a URL.
#[derive(Subcommand)]
pub enum WebhookCommand {
    /// List webhooks, without their secrets
    List(ListArgs),
    /// Define one, or change what is said of it; a secret that the hub has made is printed once
    #[command(after_help = "\
Examples:
  sinew stream webhook put mail --topic orders --url https://example.com/in
  sinew stream webhook put mail --timeout 20s --concurrency 2")]
    Put(PutArgs),
    /// Remove one; its group stays, until it is forgotten
    Remove(NameArgs),
    /// Deliver nothing until it is resumed
    Pause(NameArgs),
    /// Deliver again, what came meanwhile included
    Resume(NameArgs),
}

/// Whose webhooks.
#[derive(Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which webhook.
#[derive(Args)]
pub struct NameArgs {
    /// Name of the webhook
    name: String,
    #[command(flatten)]
    whose: Whose,
}

/// What a webhook is to be. What is not said of one that is there stays as it is.
#[derive(Args)]
pub struct PutArgs {
    /// Name of the webhook
    name: String,
    /// Name of the topic; of a new one
    #[arg(long)]
    topic: Option<String>,
    /// Where events are sent; of a new one
    #[arg(long)]
    url: Option<String>,
    /// Only events of this type, which may be said several times [default of a new one: all]
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<String>,
    /// Events of all types, again
    #[arg(long, conflicts_with = "kinds")]
    all_types: bool,
    /// Keep the order of keys; --ordered=false no longer
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ordered: Option<bool>,
    /// structured or binary [default of a new one: structured]
    #[arg(long)]
    mode: Option<String>,
    /// How long a delivery may take [default of a new one: 10s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// After so many failures an event is a dead letter [default of a new one: 20]
    #[arg(long, value_name = "N")]
    attempts: Option<u32>,
    /// How many deliveries each hub has under way at once [default of a new one: 8]
    #[arg(long, value_name = "N")]
    concurrency: Option<u16>,
    /// What deliveries are signed with, like whsec_…; others on this machine may see it [default of a new
    /// one: the hub makes one]
    #[arg(long)]
    secret: Option<String>,
    /// With which they are signed as well, while receivers change to the other
    #[arg(long, value_name = "SECRET", requires = "secret")]
    old_secret: Option<String>,
    #[command(flatten)]
    whose: Whose,
}

/// What stays of one that is there, by its names in a reply and in a request.
const STAYS: [&str; 8] =
    ["topic", "url", "kinds", "timeout", "attempts", "concurrency", "ordered", "mode"];

impl WebhookCommand {
    pub(super) async fn run(&self) -> Result<(), Outcome> {
        match self {
            Self::List(args) => list(args).await,
            Self::Put(args) => put(args).await,
            Self::Remove(args) => remove(args).await,
            Self::Pause(args) => switch(args, "pause", "Paused").await,
            Self::Resume(args) => switch(args, "resume", "Resumed").await,
        }
    }
}

async fn hub(whose: &Whose) -> Result<AtHub, Outcome> {
    match whose.place(&["v1", "subscriptions"], |_, _| Ok(())).await? {
        Place::Hub(hub) => Ok(hub),
        Place::Redis((), address) => Err(Outcome::BadInput(format!(
            "webhooks are a hub's, and {address} is none: expected --listen with the address of one, and no --store"
        ))),
    }
}

async fn list(args: &ListArgs) -> Result<(), Outcome> {
    let webhooks: Vec<Map<String, Value>> = get(&hub(&args.whose).await?.request(&[])?).await?;
    if args.json {
        return print_json(&webhooks);
    }
    if webhooks.is_empty() {
        println!("No webhook{}.", args.whose.shown());
        return Ok(());
    }
    let row = |webhook: &Map<String, Value>| {
        let said = |of: Option<&Value>| of.and_then(Value::as_str).unwrap_or("–").to_owned();
        let text = |name: &str| said(webhook.get(name));
        let paused = webhook.get("paused").and_then(|paused| paused.get("reason"));
        [text("url"), text("name"), text("topic"), said(paused)]
    };
    let rows: Vec<[String; 4]> = webhooks.iter().map(row).collect();
    print!("{}", table(["URL", "NAME", "TOPIC", "PAUSED"], &rows));
    Ok(())
}

async fn put(args: &PutArgs) -> Result<(), Outcome> {
    let mut request = hub(&args.whose).await?.request(&[&args.name])?;
    let (status, text) = request.reply(Method::GET, None).await?;
    let (mut body, revision) = match status {
        StatusCode::NOT_FOUND => (args.anew()?, 0),
        status if !status.is_success() => return Err(request.refused(status, &text)),
        _ => {
            let mut there: Map<String, Value> = read_reply(&text)?;
            let revision = there.get("revision").and_then(Value::as_u64).unwrap_or_default();
            there.retain(|name, _| STAYS.contains(&name.as_str()));
            (there, revision)
        }
    };
    body.extend(args.said());
    // Who changes it meanwhile is not undone.
    request.revision = Some(revision);
    println!("{}", ask(&request, Method::PUT, Some(Value::Object(body))).await?);
    Ok(())
}

impl PutArgs {
    fn anew(&self) -> Result<Map<String, Value>, Outcome> {
        match (&self.topic, &self.url) {
            (Some(_), Some(_)) => Ok(Map::new()),
            _ => Err(Outcome::BadInput(format!(
                "there is no webhook {:?}: expected --topic and --url to define it",
                self.name
            ))),
        }
    }

    fn said(&self) -> Map<String, Value> {
        let kinds = (self.all_types || !self.kinds.is_empty()).then(|| json!(self.kinds));
        let said = [
            ("topic", self.topic.as_ref().map(|it| json!(it))),
            ("url", self.url.as_ref().map(|it| json!(it))),
            ("kinds", kinds),
            ("ordered", self.ordered.map(|it| json!(it))),
            ("mode", self.mode.as_ref().map(|it| json!(it))),
            ("timeout", self.timeout.as_ref().map(|it| json!(it))),
            ("attempts", self.attempts.map(|it| json!(it))),
            ("concurrency", self.concurrency.map(|it| json!(it))),
            ("secret", self.secret.as_ref().map(|it| json!(it))),
            ("old_secret", self.old_secret.as_ref().map(|it| json!(it))),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

async fn remove(args: &NameArgs) -> Result<(), Outcome> {
    let request = hub(&args.whose).await?.request(&[&args.name])?;
    let webhook: Map<String, Value> = get(&request).await?;
    ask(&request, Method::DELETE, None).await?;
    println!("Removed webhook {:?}{}.", args.name, args.whose.shown());
    let text = |name: &str| webhook.get(name).and_then(Value::as_str);
    if let (Some(topic), Some(group)) = (text("topic"), text("group")) {
        println!(
            "What it has not delivered stays with group {group:?}, and keeps its place in topic {topic:?}, until: sinew stream forget {topic} {group} --force"
        );
    }
    Ok(())
}

async fn switch(args: &NameArgs, act: &str, done: &str) -> Result<(), Outcome> {
    let request = hub(&args.whose).await?.request(&[&args.name, act])?;
    ask(&request, Method::POST, Some(json!({}))).await?;
    println!("{done} webhook {:?}{}.", args.name, args.whose.shown());
    Ok(())
}
