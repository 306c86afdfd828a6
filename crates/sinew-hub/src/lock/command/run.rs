//! `sinew lock run`

use std::ffi::OsString;
use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use sinew::{Acquire, Guard, Locks, Loss, Released};
use tokio::time::Instant;

use super::place::redis;
use super::process::{Group, Signals, code_of};
use crate::cli::Outcome;
use crate::cli::whose::Whose;
use crate::duration;

/// How long a command may take to end once its lock is lost.
const GRACE: Duration = Duration::from_secs(10);
/// How long a place in line takes to be given up, when it is.
const LEAVING_MAX: Duration = Duration::from_secs(1);

/// Which lock, and what to run under it.
#[derive(Args)]
pub struct RunArgs {
    /// Name of the lock
    name: String,
    /// How long others wait if this machine dies
    #[arg(long, value_name = "TIME", default_value = "30s", allow_hyphen_values = true, value_parser = duration::parse)]
    ttl: Duration,
    /// How long to wait in line if someone else holds the lock; not at all unless said
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = duration::parse)]
    wait: Option<Duration>,
    /// For how long to hold the lock at most: then it is lost, and the command ended
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = duration::parse)]
    max_hold: Option<Duration>,
    #[command(flatten)]
    whose: Whose,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs it to its end.
///
/// # Errors
/// Where it did not begin.
pub(super) async fn run(args: &RunArgs) -> Result<Outcome, Outcome> {
    let locks = redis(&args.whose).await?;
    let mut signals = Signals::hear()?;
    let guard = acquire(args, &locks, &mut signals).await?;
    let ran = under(&guard, args, &mut signals).await;
    let was_lost = guard.is_lost();
    if was_lost && matches!(ran, Ok((_, false))) {
        // It was paused, and the command with it or not.
        warn(args, &format!("was lost before its command had ended{}", why(&guard)));
    }
    match guard.release().await {
        Ok(Released::Gone) if !was_lost => {
            warn(args, "was taken away just before its command had ended");
        }
        Ok(_) => {}
        Err(_) => warn(args, "could not be freed: it is free once its TTL has run out"),
    }
    // Only now: the lock is free before this process ends.
    let (ended, _) = ran?;
    let code = if was_lost { ended.max(1) } else { ended };
    Ok(Outcome::Ended { code, told: None })
}

async fn acquire(args: &RunArgs, locks: &Locks, signals: &mut Signals) -> Result<Guard, Outcome> {
    let mut lock = locks.lock(&args.name).ttl(args.ttl);
    if let Some(wait) = args.wait {
        lock = lock.wait(wait);
    }
    if let Some(max_hold) = args.max_hold {
        lock = lock.max_hold(max_hold);
    }
    let acquired = tokio::select! {
        biased;
        acquired = lock.acquire() => acquired.map_err(|e| Outcome::of(&e))?,
        signal = signals.next() => {
            // The place in line is given up in the background. What is asked then goes the same way,
            // behind it; the first may still have overtaken it.
            let behind = async {
                for _ in 0..2 {
                    let _ = locks.look(&args.name).await;
                }
            };
            let _ = tokio::time::timeout(LEAVING_MAX, behind).await;
            return Err(Outcome::Ended { code: code_of(signal), told: None });
        }
    };
    match acquired {
        Acquire::Got(guard) => Ok(guard),
        Acquire::Held { retry_after } => {
            let wait = match args.wait {
                None => "wait in line with --wait 10m".to_owned(),
                Some(wait) => format!("wait for longer than --wait {}", duration::written(wait)),
            };
            Err(Outcome::NotNow(format!(
                "someone else holds lock {:?}: the command did not run; try again in {}, or {wait}",
                args.name,
                duration::shown(retry_after.max(Duration::from_secs(1))),
            )))
        }
    }
}

/// Where a command stands with its lock.
#[derive(Clone, Copy)]
enum Standing {
    Held,
    /// Told to end, and killed at this time.
    Lost(Instant),
    Killed,
}

/// Runs the command while the lock is held. Its exit code, and whether the loss of the lock ended it.
async fn under(
    guard: &Guard,
    args: &RunArgs,
    signals: &mut Signals,
) -> Result<(u8, bool), Outcome> {
    let fence = guard.fence().to_string();
    let variables = [("SINEW_LOCK_NAME", args.name.as_str()), ("SINEW_LOCK_FENCE", fence.as_str())];
    let mut group = Group::start(&args.command, variables)?;
    let mut standing = Standing::Held;
    let status = loop {
        tokio::select! {
            biased;
            status = group.ended() => break status,
            () = guard.lost(), if matches!(standing, Standing::Held) => {
                group.send(Group::TERMINATE);
                // One that is stopped, by the terminal or by hand, would not hear of it.
                group.send(Group::CONTINUE);
                warn(args, &format!("was lost{}: its command is ended", why(guard)));
                standing = Standing::Lost(Instant::now() + GRACE);
            }
            () = killed_at(standing) => {
                group.send(Group::KILL);
                standing = Standing::Killed;
            }
            signal = signals.next() => group.send(signal),
        }
    };
    let status = status
        .map_err(|error| Outcome::Failed(format!("the command cannot be waited for: {error}")))?;
    let code = match standing {
        Standing::Held => status,
        // What it started may go on without it.
        Standing::Lost(at) => {
            group.kill_rest(at).await;
            status.max(1)
        }
        Standing::Killed => status.max(1),
    };
    Ok((code, !matches!(standing, Standing::Held)))
}

async fn killed_at(standing: Standing) {
    match standing {
        Standing::Lost(at) => tokio::time::sleep_until(at).await,
        Standing::Held | Standing::Killed => std::future::pending().await,
    }
}

/// Why the lock was lost, to be put after that it was.
fn why(guard: &Guard) -> &'static str {
    match guard.loss() {
        Some(Loss::MaxHold) => ", since --max-hold is over",
        Some(Loss::Gone) => ", since it was taken away, or Redis has lost it",
        Some(Loss::NotRenewed) => {
            ", since Redis did not answer in time, or this process stood still"
        }
        None => "",
    }
}

/// At once: what the command says comes after it.
fn warn(args: &RunArgs, what: &str) {
    // Not `eprintln!`: whoever read it may be gone, and the command is to be looked after all the same.
    let _ = writeln!(std::io::stderr(), "error: lock {:?} {what}", args.name);
}
