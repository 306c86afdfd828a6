//! `sinew job webhook …`: at a hub, which sends the jobs of a queue and keeps an audit of what is changed.

use clap::{Args, Subcommand};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::place::{ask, get, refused};
use crate::cli::place::{AtHub, Place};
use crate::cli::request::read_reply;
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};

/// Send the jobs of a queue to a URL, instead of a worker.
#[derive(Subcommand)]
pub enum WebhookCommand {
    /// List webhooks, without their secrets
    #[command(after_help = "Example:\n  sinew job webhook list --tenant acme")]
    List(ListArgs),
    /// Define the webhook of a queue, or change what is said of it; a secret that the hub has made is printed once
    #[command(after_help = "\
Examples:
  sinew job webhook put mail --url https://example.com/jobs
  sinew job webhook put mail --timeout 20s --concurrency 2")]
    Put(PutArgs),
    /// Remove the webhook of a queue; its jobs wait for workers
    #[command(after_help = "Example:\n  sinew job webhook remove mail")]
    Remove(QueueArgs),
    /// Send no jobs until it is resumed
    #[command(after_help = "Example:\n  sinew job webhook pause mail")]
    Pause(QueueArgs),
    /// Send jobs again
    #[command(after_help = "Example:\n  sinew job webhook resume mail")]
    Resume(QueueArgs),
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
pub struct QueueArgs {
    /// Name of the queue
    queue: String,
    #[command(flatten)]
    whose: Whose,
}

/// What a webhook is to be. What is not said of one that is there stays as it is.
#[derive(Args)]
pub struct PutArgs {
    /// Name of the queue
    queue: String,
    /// Where its jobs are sent; of a new one
    #[arg(long)]
    url: Option<String>,
    /// How long a run may take, unless the job says so itself [default of a new one: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    timeout: Option<String>,
    /// How many jobs each hub has under way at once [default of a new one: 8]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    concurrency: Option<u16>,
    /// What requests are signed with, like whsec_…; others on this machine may see it [default of a new one: the
    /// hub makes one]
    #[arg(long)]
    secret: Option<String>,
    /// With which they are signed as well, while the endpoint changes to the other
    #[arg(long, value_name = "SECRET", requires = "secret")]
    old_secret: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// What stays of one that is there, by its names in a reply and in a request.
const STAYS: [&str; 3] = ["url", "timeout", "concurrency"];

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

async fn hub(whose: &Whose, root: &[&str]) -> Result<AtHub, Outcome> {
    match whose.place(root, |_, _| Ok(())).await? {
        Place::Hub(hub) => Ok(hub),
        Place::Redis((), address) => Err(Outcome::BadInput(format!(
            "webhooks are a hub's, and {address} is none: expected --listen with the address of one, and no --store"
        ))),
    }
}

/// Of one queue.
async fn hub_of_queues(whose: &Whose) -> Result<AtHub, Outcome> {
    hub(whose, &["v1", "queues"]).await
}

async fn list(args: &ListArgs) -> Result<(), Outcome> {
    let hub = hub(&args.whose, &["v1", "queue-webhooks"]).await?;
    let webhooks: Vec<Map<String, Value>> = get(&hub.request(&[])?).await?;
    if args.json {
        return print_json(&webhooks);
    }
    if webhooks.is_empty() {
        println!("No webhook{}.", args.whose.shown());
        return Ok(());
    }
    let row = |webhook: &Map<String, Value>| {
        let said = |of: Option<&Value>| of.and_then(Value::as_str).unwrap_or("–").to_owned();
        let paused = webhook.get("paused").and_then(|paused| paused.get("reason"));
        [said(webhook.get("url")), said(webhook.get("queue")), said(paused)]
    };
    let rows: Vec<[String; 3]> = webhooks.iter().map(row).collect();
    print!("{}", table(["URL", "QUEUE", "PAUSED"], &rows));
    Ok(())
}

async fn put(args: &PutArgs) -> Result<(), Outcome> {
    let hub = hub_of_queues(&args.whose).await?;
    let mut request = hub.request(&[&args.queue, "webhook"])?;
    let (status, text) = request.reply(Method::GET, None).await?;
    let (mut body, revision) = match status {
        StatusCode::NOT_FOUND => (args.anew()?, 0),
        status if !status.is_success() => return Err(refused(&request, status, &text)),
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
    let body = Value::Object(body).to_string();
    let webhook: Map<String, Value> = read_reply(&ask(&request, Method::PUT, Some(body)).await?)?;
    if args.json {
        return print_json(&webhook);
    }
    let said = |name: &str| webhook.get(name).and_then(Value::as_str);
    let (done, whose) = (if revision == 0 { "Defined" } else { "Changed" }, args.whose.shown());
    let url = said("url").unwrap_or_default();
    println!("{done} the webhook of queue {:?}{whose}: its jobs are sent to {url}.", args.queue);
    if let Some(secret) = said("secret") {
        println!("Its secret, which is not shown again: {secret}");
    }
    Ok(())
}

impl PutArgs {
    fn anew(&self) -> Result<Map<String, Value>, Outcome> {
        match &self.url {
            Some(_) => Ok(Map::new()),
            None => Err(Outcome::BadInput(format!(
                "queue {:?} has no webhook: expected --url to define it",
                self.queue
            ))),
        }
    }

    fn said(&self) -> Map<String, Value> {
        let said = [
            ("url", self.url.as_ref().map(|it| json!(it))),
            ("timeout", self.timeout.as_ref().map(|it| json!(it))),
            ("concurrency", self.concurrency.map(|it| json!(it))),
            ("secret", self.secret.as_ref().map(|it| json!(it))),
            ("old_secret", self.old_secret.as_ref().map(|it| json!(it))),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

async fn remove(args: &QueueArgs) -> Result<(), Outcome> {
    let request = hub_of_queues(&args.whose).await?.request(&[&args.queue, "webhook"])?;
    ask(&request, Method::DELETE, None).await?;
    println!("Removed the webhook of queue {:?}{}.", args.queue, args.whose.shown());
    Ok(())
}

async fn switch(args: &QueueArgs, act: &str, done: &str) -> Result<(), Outcome> {
    let request = hub_of_queues(&args.whose).await?.request(&[&args.queue, "webhook", act])?;
    ask(&request, Method::POST, Some("{}".to_owned())).await?;
    println!("{done} the webhook of queue {:?}{}.", args.queue, args.whose.shown());
    Ok(())
}
