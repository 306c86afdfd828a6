//! `sinew limit …`

mod check;
mod define;
mod list;
mod place;
mod reset;
mod subject;
mod terms;

use clap::Subcommand;

use crate::cli::Outcome;
use check::{CheckArgs, Mode};
use define::{DefineArgs, RemoveArgs};
use list::ListArgs;
use reset::ResetArgs;

/// Ask limits for leave, look at them, and define them.
#[derive(Subcommand)]
pub enum LimitCommand {
    /// Ask a limit for leave, and charge it
    #[command(after_help = "\
With --quota and --per the limit is as they say, and need not be defined; that
needs --store redis://…. While that Redis is down, it is decided here, as --on-down
says, and the answer tells so. `local` then counts in this process alone, which
ends with the command, so that everything is admitted that the limit admits at
once, again and again: where that matters, say `--on-down closed`.

Exit codes:
  0   it is allowed, and charged
  75  it is denied, and charged nothing; when to try again is said
  1   it could not be asked        2  bad input        3  no such limit is defined

Examples:
  sinew limit check per-user ada --tenant acme
  sinew limit check uploads 456:export --cost 20 --json
  sinew limit check mails nightly --quota 100 --per 1m --store redis://10.0.0.7:6379")]
    Check(CheckArgs),
    /// Say what `check` would answer now, and charge nothing
    #[command(after_help = "\
Exit codes are those of `sinew limit check`. A look needs Redis, whatever is to be
answered while that is down.

Example:
  sinew limit peek per-user ada --tenant acme")]
    Peek(CheckArgs),
    /// Forget all that was charged to a subject under a limit
    #[command(after_help = "\
Processes that have just denied it may do so for up to a second more. Where nothing
was charged, that is said, and is no error: look for a slip in the subject. What
was charged under a limit that is not defined is forgotten by the line of its
`sinew limit check`, with --quota and --per; that needs --store redis://….

Exit codes:
  0   nothing is charged to it any more
  1   it could not be asked        2  bad input        3  no such limit is defined

Examples:
  sinew limit reset per-user ada --tenant acme --yes
  sinew limit reset mails nightly --quota 100 --per 1m --store redis://10.0.0.7:6379")]
    Reset(ResetArgs),
    /// List the limits that are defined, with what a hub decided since it started
    #[command(after_help = "\
DENIED has what a limit in shadow would have denied, too. Redis itself counts
nothing: with --store redis://… there is a dash instead, and null in JSON.

Examples:
  sinew limit list
  sinew limit list --store redis://127.0.0.1:6379 --json")]
    List(ListArgs),
    /// Define a limit for every process and tenant, or change it
    #[command(after_help = "\
Of a limit that is there, what is not said stays as it is; the defaults are those
of a new one, which needs --quota and --per. It is kept in the store, wins over a
limit of this name in a configuration file, and holds everywhere within about a
second, also for what was charged before. By another algorithm everyone's count
begins anew: that is asked first, unless told --yes.

Where someone else changes it at the same time, nothing is done, and it ends with 1.

Examples:
  sinew limit define per-user --quota 100 --per 1m
  sinew limit define per-user --quota 200
  sinew limit define uploads --quota 1000 --per 1h --burst 50 --on-down closed
  sinew limit define trial --quota 10 --per 1s --algorithm sliding-window --shadow")]
    Define(DefineArgs),
    /// Remove a limit's definition from the store
    #[command(after_help = "\
One of this name in a hub's configuration file holds again; where there is none,
checks of it are answered with an error.

Example:
  sinew limit remove trial --yes")]
    Remove(RemoveArgs),
}

impl LimitCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let ended = match self {
            Self::Check(args) => check::check(&args, Mode::Check).await,
            Self::Peek(args) => check::check(&args, Mode::Peek).await,
            Self::Reset(args) => reset::reset(&args).await,
            Self::List(args) => list::list(&args).await,
            Self::Define(args) => define::define(&args).await,
            Self::Remove(args) => define::remove(&args).await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}
