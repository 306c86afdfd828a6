//! `sinew stream …`

mod admin;
mod dead;
mod lag;
mod list;
mod place;
mod publish;
mod show;
mod tail;
mod webhook;

use clap::Subcommand;

use crate::cli::Outcome;
use admin::{ForgetArgs, SeekArgs, TrimArgs};
use dead::{DeadArgs, DropDeadArgs, RedriveArgs};
use lag::LagArgs;
use list::{GroupsArgs, ListArgs};
use publish::PublishArgs;
use show::ShowArgs;
use tail::TailArgs;
use webhook::WebhookCommand;

/// Publish events, look at what became of them, and put right what went wrong.
#[derive(Subcommand)]
pub enum StreamCommand {
    /// Publish an event, or many
    #[command(after_help = "\
Examples:
  sinew stream publish orders '{\"order\": 7}' --type OrderPlaced --key ada
  sinew stream publish orders - --dedup order-7 --delay 10m < order.json
  sinew stream publish orders --batch < orders.ndjson")]
    Publish(PublishArgs),
    /// Print events as they come, a JSON line each
    #[command(after_help = "\
It takes nothing from any group. --from goes on after a cursor, which the last
line on standard error names.

Examples:
  sinew stream tail orders --from start --count 10
  sinew stream tail orders --tenant acme | jq .data")]
    Tail(TailArgs),
    /// List topics
    #[command(after_help = "Example:\n  sinew stream list --tenant acme")]
    List(ListArgs),
    /// List the groups of a topic
    #[command(after_help = "Example:\n  sinew stream groups orders --json")]
    Groups(GroupsArgs),
    /// Tell how far behind groups are, and fail where one is too far
    #[command(after_help = "\
Exit codes:
  0  no group is further behind than said      1  one is, or it did not work
  2  bad input                                 3  there is no such topic

Examples:
  sinew stream lag
  sinew stream lag orders --fail-above 1000 --fail-older 5m
  sinew stream lag --watch")]
    Lag(LagArgs),
    /// Show one event, by its place
    #[command(after_help = "Example:\n  sinew stream show orders 3:1795316265410-0")]
    Show(ShowArgs),
    /// List what a group has given up
    #[command(after_help = "\
Examples:
  sinew stream dead orders billing
  sinew stream dead orders billing --errors")]
    Dead(DeadArgs),
    /// Give dead letters back to their group
    #[command(after_help = "\
Examples:
  sinew stream redrive orders billing 3:1795316265410-0
  sinew stream redrive orders billing --all --dry-run")]
    Redrive(RedriveArgs),
    /// Remove dead letters for good
    #[command(after_help = "Example:\n  sinew stream drop-dead orders billing --all --yes")]
    DropDead(DropDeadArgs),
    /// Remove now what every group has finished for longer than it is kept
    #[command(after_help = "Example:\n  sinew stream trim orders --dry-run")]
    Trim(TrimArgs),
    /// Let a group go on somewhere else: handle events again, or pass over them
    #[command(after_help = "\
Examples:
  sinew stream seek orders billing --to 2026-01-31T12:00:00Z
  sinew stream seek orders billing --to end --force --yes")]
    Seek(SeekArgs),
    /// Remove a group, and all that it has not finished
    #[command(after_help = "Example:\n  sinew stream forget orders old-billing")]
    Forget(ForgetArgs),
    /// Send the events of a topic to a URL
    #[command(subcommand)]
    Webhook(WebhookCommand),
}

impl StreamCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let ended = match self {
            Self::Publish(args) => publish::publish(&args).await,
            Self::Tail(args) => tail::tail(&args).await,
            Self::List(args) => list::list(&args).await,
            Self::Groups(args) => list::groups(&args).await,
            Self::Lag(args) => lag::lag(&args).await,
            Self::Show(args) => show::show(&args).await,
            Self::Dead(args) => dead::dead(&args).await,
            Self::Redrive(args) => dead::redrive(&args).await,
            Self::DropDead(args) => dead::drop_dead(&args).await,
            Self::Trim(args) => admin::trim(&args).await,
            Self::Seek(args) => admin::seek(&args).await,
            Self::Forget(args) => admin::forget(&args).await,
            Self::Webhook(command) => command.run().await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}
