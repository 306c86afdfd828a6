//! `sinew session …`

mod list;
mod place;
mod revoke;

use clap::{Arg, ArgAction, Subcommand};

use crate::cli::Outcome;
use list::ListArgs;
use revoke::RevokeArgs;

/// Look at the sessions of a user, and end them.
#[derive(Subcommand)]
pub enum SessionCommand {
    /// List the sessions of a user that are live
    #[command(after_help = "\
The one that was used last comes first, of a thousand at most. A session's id
names it and opens nothing; neither its token nor what it keeps is shown.

Examples:
  sinew session list ada --tenant acme
  sinew session list ada --store redis://127.0.0.1:6379 --json")]
    List(ListArgs),
    /// End one session of a user, or all of them: the user is logged out there
    // Without -h, as which an id may begin.
    #[command(
        disable_help_flag = true,
        arg = Arg::new("help").long("help").action(ArgAction::Help).help("Print help"),
        after_help = "\
It holds at once, for every service. A session that has ended does not come back.
Of all of them, it says how many were live just before: a thousand at most are
counted.

Exit codes:
  0  it worked      1  it did not work
  2  bad input      3  the user has no such session, or none

Examples:
  sinew session revoke ada nq0jYJ2vVZ3r5sT1kX8b4g --tenant acme
  sinew session revoke ada --all-but nq0jYJ2vVZ3r5sT1kX8b4g --dry-run
  sinew session revoke ada --all --yes"
    )]
    Revoke(RevokeArgs),
}

impl SessionCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let ended = match self {
            Self::List(args) => list::list(&args).await,
            Self::Revoke(args) => revoke::revoke(&args).await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}
