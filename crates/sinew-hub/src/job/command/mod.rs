//! `sinew job …`

mod dead;
mod enqueue;
mod list;
mod place;
mod queue;
mod recurring;
mod show;
mod stats;
mod watch;
mod webhook;

use clap::Subcommand;

use crate::cli::Outcome;
use dead::{BulkArgs, DeadArgs};
use enqueue::EnqueueArgs;
use list::{DoneArgs, ListArgs, QueuesArgs};
use queue::{DeclareArgs, QueueArgs};
use recurring::RecurringCommand;
use show::{CancelArgs, ShowArgs};
use stats::StatsArgs;
use watch::WatchArgs;
use webhook::WebhookCommand;

/// Enqueue background jobs, look at what becomes of them, and put right what went wrong.
#[derive(Subcommand)]
pub enum JobCommand {
    /// Enqueue a job, or many
    #[command(after_help = "\
Examples:
  sinew job enqueue mail email.send '{\"to\": \"ada\"}' --delay 10m --retain 1d
  sinew job enqueue mail email.send - --unique welcome:42 --within 1h < mail.json
  sinew job enqueue mail email.send --batch --key acme < mails.ndjson")]
    Enqueue(Box<EnqueueArgs>),
    /// Show queues, live: what waits, runs and is dead, and how fast jobs end
    #[command(after_help = "\
Examples:
  sinew job watch
  sinew job watch mail images --tenant acme
  sinew job watch --json --count 2 | tail -1 | jq '.queues[].done_per_second'")]
    Watch(WatchArgs),
    /// List queues
    #[command(after_help = "Example:\n  sinew job queues --tenant acme")]
    Queues(QueuesArgs),
    /// List the jobs of a queue that are in a state
    #[command(after_help = "\
Examples:
  sinew job list mail --state running
  sinew job list mail --state dead --kind email.send --older-than 1d --json")]
    List(ListArgs),
    /// List the jobs of a queue that were done last, whether they are kept or not
    #[command(after_help = "Example:\n  sinew job done mail --count 100")]
    Done(DoneArgs),
    /// Show one job: how it stands, what became of it, and what it was given
    #[command(after_help = "\
Examples:
  sinew job show mail 01KAPX2V9QJ7M3B0N8R5T4W6YZ
  sinew job show mail 01KAPX2V9QJ7M3B0N8R5T4W6YZ --wait 5m --json | jq .result")]
    Show(ShowArgs),
    /// Cancel jobs that have not ended
    #[command(after_help = "\
One that runs is told to stop, and what it says does not count.

Example:
  sinew job cancel mail 01KAPX2V9QJ7M3B0N8R5T4W6YZ")]
    Cancel(CancelArgs),
    /// List what has killed the jobs of a queue: how many, and what one of them said
    #[command(after_help = "Example:\n  sinew job dead mail")]
    Dead(DeadArgs),
    /// Have dead jobs tried again, with all their attempts
    #[command(after_help = "\
Examples:
  sinew job retry mail 01KAPX2V9QJ7M3B0N8R5T4W6YZ
  sinew job retry mail --fingerprint IQNj5i7xdtLhtg9G --dry-run
  sinew job retry mail --all --yes")]
    Retry(BulkArgs),
    /// Remove dead jobs for good
    #[command(
        after_help = "Example:\n  sinew job drop-dead mail --kind email.send --older-than 30d"
    )]
    DropDead(BulkArgs),
    /// Have nobody take the jobs of a queue until it is resumed
    #[command(after_help = "Example:\n  sinew job pause mail")]
    Pause(QueueArgs),
    /// Have the jobs of a queue taken again
    #[command(after_help = "Example:\n  sinew job resume mail")]
    Resume(QueueArgs),
    /// Make a queue, or change what it is limited to
    #[command(after_help = "\
Examples:
  sinew job declare mail --global 200 --per-key 3 --rate 100/1s
  sinew job declare mail --rate 0
  sinew job declare events --partitions 8")]
    Declare(DeclareArgs),
    /// List who takes the jobs of a queue
    #[command(after_help = "Example:\n  sinew job workers mail")]
    Workers(QueueArgs),
    /// Tell what became of the jobs of a queue, by the minute or the day
    #[command(after_help = "\
Examples:
  sinew job stats mail --count 60
  sinew job stats mail --days --kinds")]
    Stats(StatsArgs),
    /// Look for jobs that nobody would come to, and put that right; workers do so each minute
    #[command(after_help = "Example:\n  sinew job audit mail")]
    Audit(QueueArgs),
    /// Look at jobs that recur, define them, and have them run
    #[command(subcommand)]
    Recurring(RecurringCommand),
    /// Send the jobs of a queue to a URL, instead of a worker
    #[command(subcommand)]
    Webhook(WebhookCommand),
}

impl JobCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let ended = match self {
            Self::Enqueue(args) => enqueue::enqueue(&args).await,
            Self::Watch(args) => watch::watch(&args).await,
            Self::Queues(args) => list::queues_of(&args).await,
            Self::List(args) => list::list(&args).await,
            Self::Done(args) => list::done(&args).await,
            Self::Show(args) => show::show(&args).await,
            Self::Cancel(args) => show::cancel(&args).await,
            Self::Dead(args) => dead::dead(&args).await,
            Self::Retry(args) => dead::retry(&args).await,
            Self::DropDead(args) => dead::drop_dead(&args).await,
            Self::Pause(args) => queue::pause(&args).await,
            Self::Resume(args) => queue::resume(&args).await,
            Self::Declare(args) => queue::declare(&args).await,
            Self::Workers(args) => queue::workers(&args).await,
            Self::Stats(args) => stats::stats(&args).await,
            Self::Audit(args) => queue::audit(&args).await,
            Self::Recurring(command) => command.run().await,
            Self::Webhook(command) => command.run().await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}
