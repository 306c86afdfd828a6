//! `sinew redis …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use crate::cli::request::Request;
use crate::cli::{Outcome, configured};
use crate::config::Flags;

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

/// Which hub to ask, and how to print.
#[derive(Args)]
pub struct At {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Read settings from this file
    #[arg(long, value_name = "FILE", env = "SINEW_CONFIG")]
    config: Option<PathBuf>,
    /// Where the hub listens [default: 127.0.0.1:7463]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl RedisCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let Self::Breaker { action, at } = self;
        let ended = match action {
            None => ask(at, Method::GET, &["v1", "redis", "breakers"], None).await,
            Some(BreakerAction::Isolate { node, at }) => set(at, &node, "isolated").await,
            Some(BreakerAction::Reset { node, at }) => set(at, &node, "closed").await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}

async fn set(at: At, node: &str, state: &str) -> Result<(), Outcome> {
    let body = serde_json::json!({ "state": state }).to_string();
    ask(at, Method::PUT, &["v1", "redis", "breakers", node], Some(body)).await
}

async fn ask(at: At, method: Method, path: &[&str], body: Option<String>) -> Result<(), Outcome> {
    let flags = Flags { config: at.config, listen: at.listen, ..Flags::default() };
    let config = configured(&flags)?;
    let (_, text) = Request::to(config.listen, path)?.send(method, body).await?;
    if at.json {
        println!("{text}");
        return Ok(());
    }
    let reply: Value = serde_json::from_str(&text)
        .map_err(|_| Outcome::Failed("the hub's reply is not JSON".to_owned()))?;
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
