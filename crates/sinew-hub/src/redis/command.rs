//! `sinew redis …`

use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use crate::cli::Outcome;
use crate::cli::request::{At, read_reply};

/// Look at a hub's Redis.
#[derive(Subcommand)]
pub enum RedisCommand {
    /// Show a hub's circuit breakers, or set one by hand
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "\
A breaker keeps a hub from calling a node of Redis that does not answer. It closes by itself.

Examples:
  sinew redis breaker
  sinew redis breaker isolate 127.0.0.1:6379    before maintenance
  sinew redis breaker reset 127.0.0.1:6379      after it"
    )]
    Breaker {
        /// What to do; shows them all unless said
        #[command(subcommand)]
        action: Option<BreakerAction>,
        /// Where to ask
        #[command(flatten)]
        at: At,
    },
}

/// What to do to a breaker.
#[derive(Subcommand)]
pub enum BreakerAction {
    /// Keep the hub from calling a node, until it is reset
    Isolate {
        /// As `sinew redis breaker` shows it
        node: String,
        /// Where to ask
        #[command(flatten)]
        at: At,
    },
    /// Close a breaker and forget what failed
    Reset {
        /// As `sinew redis breaker` shows it
        node: String,
        /// Where to ask
        #[command(flatten)]
        at: At,
    },
}

impl RedisCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let Self::Breaker { action, at } = self;
        let ended = match action {
            None => ask(&at, Method::GET, &["v1", "redis", "breakers"], None).await,
            Some(BreakerAction::Isolate { node, at }) => set(&at, &node, "isolated").await,
            Some(BreakerAction::Reset { node, at }) => set(&at, &node, "closed").await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}

async fn set(at: &At, node: &str, state: &str) -> Result<(), Outcome> {
    let body = serde_json::json!({ "state": state }).to_string();
    ask(at, Method::PUT, &["v1", "redis", "breakers", node], Some(body)).await
}

async fn ask(at: &At, method: Method, path: &[&str], body: Option<String>) -> Result<(), Outcome> {
    let (_, text) = at.request(path)?.send(method, body).await?;
    if at.json {
        println!("{text}");
        return Ok(());
    }
    let reply: Value = read_reply(&text)?;
    let breakers = match reply {
        Value::Array(breakers) => breakers,
        one => vec![one],
    };
    if breakers.is_empty() {
        println!("No breakers: the hub's store is embedded, or was not reached yet.");
        return Ok(());
    }
    let field = |breaker: &Value, name: &str| breaker[name].as_str().unwrap_or("?").to_owned();
    let nodes = breakers.iter().map(|breaker| field(breaker, "node").len());
    let width = nodes.max().unwrap_or(0).max("NODE".len());
    println!("{:<width$}  STATE", "NODE");
    for breaker in &breakers {
        println!("{:<width$}  {}", field(breaker, "node"), field(breaker, "state"));
    }
    Ok(())
}
