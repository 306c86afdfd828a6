//! `sinew flag …`

mod act;
mod audit;
mod list;
mod place;
mod set;
mod terms;
mod why;

use clap::Subcommand;

use crate::cli::Outcome;
use act::{KeyArgs, RemoveArgs, RollBackArgs};
use audit::AuditArgs;
use list::{GetArgs, ListArgs};
use set::SetArgs;
use why::WhyArgs;

/// What to do where there is no flag of a key.
pub(crate) const EXPECTED: &str =
    "expected one, as by `sinew flag set KEY on`; `sinew flag list` shows those that are";

/// Look at feature flags, and change what users see.
#[derive(Subcommand)]
pub enum FlagCommand {
    /// List the flags, and the plain keys that decide before them
    #[command(after_help = "\
Examples:
  sinew flag list
  sinew flag list --env prod --tenant acme --store redis://127.0.0.1:6379 --json")]
    List(ListArgs),
    /// Print a flag as JSON, as `sinew flag set KEY --file` takes it
    #[command(after_help = "\
Example:
  sinew flag get new-ui > new-ui.json")]
    Get(GetArgs),
    /// Make a flag, or change it
    #[command(after_help = "\
`off` hides it from all, and keeps the rest for when it is on again. `on` brings
that back: a share, rules, users and tenants. What was for no one, a share of 0
too, is then for everyone. --rollout is the share of all whom no rule with conditions, no --user
and no --of-tenant is about: 100 is everyone. What is not said stays as it is.
With --file the flag is as the file says; a kill alone stays, until `revive`.
A file that has a `revision` is for the flag of that revision alone.

A flag that is not there becomes one that is true or false. Others are made by
--file; their variants have the names that the file gives them.

Where someone else changes it at the same time, nothing is done, and it ends with 1.

Examples:
  sinew flag set new-ui on --rollout 10
  sinew flag set new-ui --rollout 100
  sinew flag set new-ui --user ada=on --user bob=off --owner growth
  sinew flag set new-ui off
  sinew flag set new-ui --on-at 2026-11-01T00:00:00Z --dry-run
  sinew flag get algo | sed s/v1/v2/ | sinew flag set algo --file -")]
    Set(Box<SetArgs>),
    /// Switch a flag off for everyone, whatever else is said of it
    #[command(after_help = "\
What is only a plain key becomes a flag by that, which stays when it is revived.

Example:
  sinew flag kill new-ui")]
    Kill(KeyArgs),
    /// Let a flag be again what it was before it was killed
    #[command(after_help = "\
Example:
  sinew flag revive new-ui")]
    Revive(KeyArgs),
    /// Say what someone sees of a flag, and which rule decides
    #[command(after_help = "\
A value that reads as a number, true, false or a JSON array of strings is that;
otherwise it is a text. Quotes make it one: --with 'code=\"7\"'.

Examples:
  sinew flag why new-ui --user ada
  sinew flag why new-ui --user ada --with plan=pro --with seats=12 --json")]
    Why(WhyArgs),
    /// Tell who has changed which flag, and what
    #[command(after_help = "\
Examples:
  sinew flag audit
  sinew flag audit new-ui --count 5 --json")]
    Audit(AuditArgs),
    /// Make a flag what it was before a change
    #[command(after_help = "\
`sinew flag audit KEY` has the changes with their ids. It is a change itself,
and can be taken back. Where it removes the flag, since the change has made it,
or ends a kill, it asks first, unless told --yes.

Example:
  sinew flag roll-back new-ui 1795300000000-0")]
    RollBack(RollBackArgs),
    /// Remove a flag: everyone gets what the code says by itself
    #[command(after_help = "\
Example:
  sinew flag remove new-ui --yes")]
    Remove(RemoveArgs),
}

impl FlagCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let ended = match self {
            Self::List(args) => list::list(&args).await,
            Self::Get(args) => list::get(&args).await,
            Self::Set(args) => set::set(&args).await,
            Self::Kill(args) => act::kill(&args).await,
            Self::Revive(args) => act::revive(&args).await,
            Self::Why(args) => why::why(&args).await,
            Self::Audit(args) => audit::audit(&args).await,
            Self::RollBack(args) => act::roll_back(&args).await,
            Self::Remove(args) => act::remove(&args).await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}
