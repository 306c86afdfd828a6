//! `sinew lock …`

mod list;
mod place;
mod process;
mod release;
mod run;

use clap::Subcommand;

use crate::cli::Outcome;
use list::ListArgs;
use release::ReleaseArgs;
use run::RunArgs;

/// Run a command under a lock, look at locks, and take one away.
#[derive(Subcommand)]
pub enum LockCommand {
    /// Run a command while holding a lock, on one machine of the fleet at a time
    #[command(after_help = "\
The lock is renewed for as long as the command runs, and freed when it has
ended. --ttl is how long others wait if this machine dies. If the lock is lost,
the command and all of its process group get SIGTERM, and SIGKILL after 10 s;
why it was lost is said, as far as it is known here.
SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to it; under nohup, SIGHUP
ends neither.

The command finds the lock's name in SINEW_LOCK_NAME, and in SINEW_LOCK_FENCE a
number that grows with every grant: let what it writes to refuse smaller ones.
If sinew itself is killed by SIGKILL, the command goes on without the lock, and
only that number keeps it from doing harm.

The command does not get the terminal's input. One that opens the terminal by
itself to ask there, as ssh and sudo do for a password, is stopped by it while
the lock is renewed: with --max-hold it is ended in the end.

Exit codes:
  as the command's, 128 + N if signal N ended it; 1 at least if the lock was lost
  75   someone else holds the lock, and the command did not run
  126  it cannot be run        127  there is no such command
  1    Redis does not answer   2    bad input

Examples:
  sinew lock run nightly-import --store redis://10.0.0.7:6379 -- /opt/import.sh
  sinew lock run report --wait 10m -- sh -c 'make report && mail-it'
  sinew lock run sync --max-hold 2h -- rsync -a /data backup:/data

In a crontab, on every machine, instead of `flock -n /var/lock/import CMD`,
which knows one machine only:
  SINEW_STORE=redis://10.0.0.7:6379
  0 3 * * *  sinew lock run nightly-import -- /opt/import.sh || [ $? -eq 75 ]")]
    Run(RunArgs),
    /// List the locks that are held now
    #[command(after_help = "\
Every key of the deployment is looked at: for people, not for scripts that run
all the time.

HOLDER is a process, by its number; of a lock that is held over HTTP, the hub.
Where the store is Redis, that has its address:
  redis-cli client list | grep NUMBER

Examples:
  sinew lock list --tenant acme
  sinew lock list --store redis://127.0.0.1:6379 --json")]
    List(ListArgs),
    /// Take a lock away from all who hold it
    #[command(after_help = "\
They go on until they hear of it, a third of their TTL later at most; until then
only the fence keeps them from doing harm. The next in line gets the lock at once.

Examples:
  sinew lock release nightly-import --force
  sinew lock release pool --force --yes --tenant acme")]
    Release(ReleaseArgs),
}

impl LockCommand {
    /// Runs it.
    pub(crate) async fn run(self) -> Outcome {
        let ended = match self {
            Self::Run(args) => return run::run(&args).await.unwrap_or_else(|outcome| outcome),
            Self::List(args) => list::list(&args).await,
            Self::Release(args) => release::release(&args).await,
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}
