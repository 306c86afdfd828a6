//! The command line.

pub(crate) mod confirm;
pub(crate) mod input;
mod output;
pub(crate) mod place;
pub(crate) mod progress;
pub(crate) mod request;
pub(crate) mod table;
pub(crate) mod whose;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sinew::Status;

use crate::auth::command::{TokenCommand, UserCommand};
use crate::cache::command::CacheCommand;
use crate::config::{Config, Fault, Flags};
use crate::flag::command::FlagCommand;
use crate::hub::Hub;
use crate::job::command::JobCommand;
use crate::limit::command::LimitCommand;
use crate::limit::rls;
use crate::lock::command::LockCommand;
use crate::redis::command::RedisCommand;
use crate::serve::StopSignals;
use crate::session::command::SessionCommand;
use crate::stream::command::StreamCommand;
use crate::{serve, telemetry};

pub(crate) use output::{Outcome, print_json};

/// What holds a fleet of services together on Redis: cache-aside with promises, in one binary.
#[derive(Parser)]
#[command(
    name = "sinew",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  sinew demo                                        everything at once, in this process
  sinew serve --store redis://127.0.0.1:6379        the hub on a Redis
  sinew cache put greeting en '\"hello\"' --ttl 10m   store an entry
  sinew cache get greeting en --tenant acme         look one up
  sinew cache clear user --tag team:7 --dry-run     say what would be removed
  sinew lock run nightly -- /opt/nightly.sh         run a command on one machine only
  sinew limit define per-user --quota 100 --per 1m  limit requests over all machines
  sinew flag set new-ui on --rollout 10             show something to a tenth of the users
  sinew stream lag --fail-above 1000                are events waiting for someone
  sinew job watch                                   what background jobs are doing, live
  sinew token new billing --scope cache:write       let a program in at a hub, and not everyone

Exit codes:
  0  it worked          1  it did not work
  2  bad input          3  there is no such entry, limit, session, flag,
                           topic, group, queue or job
  75 someone else holds the lock (sinew lock run, which otherwise ends as
     its command does), or the limit denies it (sinew limit check)"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the HTTP API and the dashboard
    #[command(after_help = "\
Examples:
  sinew serve
  sinew serve --store redis://:password@10.0.0.7:6379 --prefix BillingService_
  SINEW_STORE=redis://127.0.0.1:6379 sinew serve --config sinew.toml
  sinew serve --config sinew.toml --rls-listen 127.0.0.1:8081")]
    Serve(ServeArgs),
    /// Serve the hub and the reference platform, with data and a little live traffic
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// Look at a cache and change it
    #[command(
        subcommand,
        after_help = "\
With --store redis://… a command works on Redis itself, under --prefix and
--tenancy; otherwise it asks the hub at --listen, which has its own.

What names one entry (put, delete) is done at once. What goes over many
(clear, warm --replace) asks first, unless told --yes."
    )]
    Cache(CacheCommand),
    /// Run a command under a lock, look at locks, and take one away
    #[command(
        subcommand,
        after_help = "\
With --store redis://… a command works on Redis itself, under --prefix and
--tenancy. Otherwise list and release ask the hub at --listen; run needs Redis."
    )]
    Lock(LockCommand),
    /// Ask rate limits for leave, look at them, and define them
    #[command(
        subcommand,
        after_help = "\
With --store redis://… a command works on Redis itself, under --prefix and
--tenancy; otherwise it asks the hub at --listen, which has its own.

A limit is defined for all tenants; what is charged is each tenant's own."
    )]
    Limit(LimitCommand),
    /// Look at the sessions of a user, and end them
    #[command(
        subcommand,
        after_help = "\
With --store redis://… a command works on Redis itself, under --prefix and
--tenancy; otherwise it asks the hub at --listen, which has its own.

One session is ended at once. To end all of a user's asks first, unless told
--yes."
    )]
    Session(SessionCommand),
    /// Look at feature flags, and change what users see
    #[command(
        subcommand,
        after_help = "\
With --store redis://… a command works on Redis itself, under --prefix and
--tenancy; otherwise it asks the hub at --listen, which has its own.

Each tenant has flags of its own, in each environment (--env), and so has who
names no tenant. What is changed holds everywhere within a tenth of a second."
    )]
    Flag(FlagCommand),
    /// Publish events, look at what became of them, and put right what went wrong
    #[command(
        subcommand,
        after_help = "\
With --store redis://… a command works on Redis itself, under --prefix and
--tenancy; otherwise it asks the hub at --listen, which has its own, and keeps
an audit of what is changed (GET /v1/audit?kind=stream).

What goes over many (drop-dead --all, seek, forget) asks first, unless told
--yes."
    )]
    Stream(StreamCommand),
    /// Enqueue background jobs, look at what becomes of them, and put right what went wrong
    #[command(
        subcommand,
        after_help = "\
With --store redis://… a command works on Redis itself, under --prefix and
--tenancy; otherwise it asks the hub at --listen, which has its own, and keeps
an audit of what is changed (GET /v1/audit?kind=job).

What goes over many dead jobs (retry and drop-dead by anything but ids) and
recurring drop ask first, unless told --yes."
    )]
    Job(JobCommand),
    /// Look at a hub's Redis
    #[command(subcommand)]
    Redis(RedisCommand),
    /// Make tokens, by which programs are let in at a hub
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make what a hub knows people by
    #[command(subcommand)]
    User(UserCommand),
    /// Look at the hub's configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Args)]
struct ServeArgs {
    #[command(flatten)]
    flags: Flags,
    /// Where Envoy's rate limit service (gRPC) listens, like 127.0.0.1:8081 [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    rls_listen: Option<String>,
    /// Listen on an address that others can reach, although nobody has to say who they are: the
    /// configuration names no [[tokens]] and no [[users]], or Envoy asks there
    #[arg(long)]
    insecure: bool,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Explain every fault of the configuration, with its line, and what is likely a slip
    #[command(after_help = "Example:\n  sinew config check --config sinew.toml")]
    Check {
        #[command(flatten)]
        flags: Flags,
        /// Where Envoy's rate limit service is to listen, as `sinew serve` will be told
        #[arg(long, value_name = "ADDRESS")]
        rls_listen: Option<String>,
    },
}

/// As a shell tells of one whose reader went away.
const READER_IS_GONE: i32 = 141;

/// Who reads what is printed may have seen enough, as `head` has: that is no fault.
fn end_with_the_reader() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(READER_IS_GONE);
        }
        tell(panic);
    }));
}

/// Runs the command line of this process.
pub async fn run() -> ExitCode {
    end_with_the_reader();
    // clap itself says what was expected, and ends with 2.
    let outcome = match Cli::parse().command {
        Command::Serve(args) => run_serve(&args).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => crate::demo::run(&args).await,
        Command::Cache(command) => command.run().await,
        Command::Lock(command) => command.run().await,
        Command::Limit(command) => command.run().await,
        Command::Session(command) => command.run().await,
        Command::Flag(command) => command.run().await,
        Command::Stream(command) => command.run().await,
        Command::Job(command) => command.run().await,
        Command::Redis(command) => command.run().await,
        Command::Token(command) => command.run(),
        Command::User(command) => command.run(),
        Command::Config(ConfigCommand::Check { flags, rls_listen }) => {
            check_config(&Flags { rls_listen, ..flags })
        }
    };
    outcome.tell()
}

/// Reads the configuration.
pub(crate) fn configured(flags: &Flags) -> Result<Config, Outcome> {
    Config::read(flags).map_err(|faults| Outcome::BadInput(listed(&faults)))
}

fn check_config(flags: &Flags) -> Outcome {
    match configured(flags) {
        Ok(config) => {
            for warning in config.doubts.iter().chain(&config.exposed) {
                eprintln!("warning: {warning}");
            }
            match &flags.config {
                Some(file) => println!("{} is valid, with variables and flags.", file.display()),
                None => {
                    println!("Variables and flags are valid; no file was named (--config FILE).");
                }
            }
            Outcome::Worked
        }
        Err(outcome) => outcome,
    }
}

fn listed(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

async fn run_serve(args: &ServeArgs) -> Outcome {
    let flags = Flags { rls_listen: args.rls_listen.clone(), ..args.flags.clone() };
    let config = match configured(&flags) {
        Ok(config) => config,
        Err(outcome) => return outcome,
    };
    telemetry::log("info");
    let envoy = config.rls_listen;
    let is_guarded = args.insecure || config.auth.is_on();
    let allowed = may_listen(config.listen, is_guarded, "--listen").and_then(|()| {
        envoy.map_or(Ok(()), |address| may_listen(address, args.insecure, "--rls-listen"))
    });
    if let Err(message) = allowed {
        return Outcome::BadInput(message);
    }
    for doubt in &config.doubts {
        tracing::warn!("{doubt}");
    }
    let (hub, listener, signals) = match start(&config).await {
        Ok(started) => started,
        Err(outcome) => return outcome,
    };
    let for_envoy = match envoy {
        None => None,
        Some(address) => match serve::listen(address, "--rls-listen").await {
            Ok(listener) => Some(listener),
            Err(message) => return Outcome::Failed(message),
        },
    };
    tracing::info!(address = %address_of(&listener), store = hub.sinew().store(), "serving");
    if matches!(config.store, crate::config::StoreSetting::Embedded) {
        tracing::info!("the embedded store keeps nothing across a restart; --store redis://… does");
    }
    if let Some(listener) = &for_envoy {
        tracing::info!(rls = %address_of(listener), "serving Envoy");
    }
    let serving = async {
        let envoys = async {
            match for_envoy {
                Some(listener) => rls::serve(listener, hub.clone(), config.rls.clone()).await,
                None => Ok(()),
            }
        };
        let http = serve::serve(listener, serve::router(hub.clone()), hub.stopping());
        tokio::try_join!(http, envoys).map(|_| ())
    };
    until_stopped(&hub, signals, serving).await
}

/// Where nobody has to say who they are, only this machine may ask, unless someone says otherwise.
pub(crate) fn may_listen(address: SocketAddr, allowed: bool, flag: &str) -> Result<(), String> {
    if address.ip().is_loopback() || allowed {
        return Ok(());
    }
    let guarded = match flag {
        "--listen" => "[[tokens]] or [[users]] in the configuration, ",
        _ => "",
    };
    Err(format!(
        "{flag} {address} can be reached by others, and there is no authentication: expected a loopback address, {guarded}or --insecure"
    ))
}

/// Opens the store and takes the hub's address.
pub(crate) async fn start(
    config: &Config,
) -> Result<(Hub, tokio::net::TcpListener, StopSignals), Outcome> {
    // First: what is counted before is lost.
    let metrics = telemetry::record_metrics();
    let sinew = config.open().map_err(|e| Outcome::of(&e))?;
    let listener = serve::listen(config.listen, "--listen").await.map_err(Outcome::Failed)?;
    // Before anyone is told that the hub is there.
    let signals = StopSignals::hear()
        .map_err(|e| Outcome::Failed(format!("cannot listen for signals: {e}")))?;
    let hub = Hub::new(sinew, config, metrics).map_err(|e| Outcome::of(&e))?;
    Ok((hub, listener, signals))
}

pub(crate) fn address_of(listener: &tokio::net::TcpListener) -> String {
    listener.local_addr().map_or_else(|e| e.to_string(), |address| address.to_string())
}

/// Serves until told to stop, or until the store turns out never to do.
pub(crate) async fn until_stopped(
    hub: &Hub,
    mut signals: StopSignals,
    serving: impl Future<Output = std::io::Result<()>>,
) -> Outcome {
    let mut serving = std::pin::pin!(serving);
    let outcome = tokio::select! {
        result = &mut serving => return served(result),
        () = signals.received() => Outcome::Worked,
        error = never_will_do(hub) => Outcome::of(&error),
    };
    tracing::info!("stopping");
    hub.stop();
    let (served_to_the_end, (), ()) =
        tokio::join!(serving, hub.deliveries().ended(), hub.queue_runs().ended());
    // No reserve begins any more.
    hub.reserves_ended().await;
    match served(served_to_the_end) {
        Outcome::Worked => outcome,
        failed => failed,
    }
}

fn served(result: std::io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Worked,
        Err(error) => Outcome::Failed(format!("the server failed: {error}")),
    }
}

/// A store that was never up and cannot be: wrong credentials, too old, other tenancy. Once it
/// was up, an error of this kind is someone's passing mistake, and the hub stays.
async fn never_will_do(hub: &Hub) -> sinew::Error {
    let mut settled = hub.sinew().until_up().await;
    loop {
        match (settled, hub.sinew().status()) {
            (Ok(()), _) | (_, Status::Up) => return std::future::pending().await,
            (_, Status::Failed(error)) => return error,
            _ => settled = hub.sinew().until_up().await,
        }
    }
}
