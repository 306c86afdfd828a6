//! A command in a process group of its own, and the signals of this process.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::Instant;

use crate::cli::Outcome;

/// How often those are looked for that are not our children, whose end nobody tells us.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A command, and what it starts.
pub(super) struct Group {
    leader: Child,
    id: Option<Pid>,
}

impl Group {
    pub(super) const TERMINATE: Signal = Signal::TERM;
    pub(super) const CONTINUE: Signal = Signal::CONT;
    pub(super) const KILL: Signal = Signal::KILL;

    /// # Errors
    /// With 127 or 126, as shells do, where it cannot be run.
    pub(super) fn start<const N: usize>(
        command: &[OsString],
        variables: [(&str, &str); N],
    ) -> Result<Self, Outcome> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| Outcome::BadInput("no command: expected one after --".to_owned()))?;
        // A group that is not the terminal's own is stopped when it reads from that.
        let input = match std::io::stdin().is_terminal() {
            true => Stdio::null(),
            false => Stdio::inherit(),
        };
        let started = Command::new(program)
            .args(arguments)
            .envs(variables)
            .stdin(input)
            .process_group(0)
            .spawn();
        let leader = started.map_err(|error| {
            let code = match error.kind() {
                ErrorKind::NotFound => 127,
                _ => 126,
            };
            let program = program.to_string_lossy();
            Outcome::Ended { code, told: Some(format!("cannot run {program:?}: {error}")) }
        })?;
        let id = leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { leader, id })
    }

    /// Waits for the command itself, and says how it ended, as shells do. Cancel-safe.
    pub(super) async fn ended(&mut self) -> std::io::Result<u8> {
        self.leader.wait().await.map(code)
    }

    pub(super) fn send(&self, signal: Signal) {
        if let Some(id) = self.id {
            // It fails where there is no one left.
            let _ = kill_process_group(id, signal);
        }
    }

    /// Waits for those whom the command left behind, and kills them at this time.
    pub(super) async fn kill_rest(&self, at: Instant) {
        while self.is_there() && Instant::now() < at {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if self.is_there() {
            self.send(Self::KILL);
        }
    }

    fn is_there(&self) -> bool {
        self.id.is_some_and(|id| test_kill_process_group(id).is_ok())
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The exit code of what a signal ended.
pub(super) fn code_of(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(1)
}

/// What this process is sent, heard from the moment this is made.
pub(super) struct Signals {
    /// None where this process was started to go on without its terminal. A handler would also undo that for
    /// the command, which inherits what is ignored, and not what is handled.
    hang_up: Option<unix::Signal>,
    interrupt: unix::Signal,
    quit: unix::Signal,
    suspend: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// # Errors
    /// When the system refuses the handlers.
    pub(super) fn hear() -> Result<Self, Outcome> {
        let hear = |kind| {
            unix::signal(kind)
                .map_err(|e| Outcome::Failed(format!("cannot listen for signals: {e}")))
        };
        Ok(Self {
            hang_up: match ignores_hang_up() {
                true => None,
                false => Some(hear(SignalKind::hangup())?),
            },
            interrupt: hear(SignalKind::interrupt())?,
            quit: hear(SignalKind::quit())?,
            suspend: hear(SignalKind::from_raw(Signal::TSTP.as_raw()))?,
            terminate: hear(SignalKind::terminate())?,
        })
    }

    /// The next that is to be passed on. Cancel-safe.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                () = heard(self.hang_up.as_mut()) => return Signal::HUP,
                _ = self.interrupt.recv() => return Signal::INT,
                _ = self.quit.recv() => return Signal::QUIT,
                _ = self.terminate.recv() => return Signal::TERM,
                // Suspended, this process would lose the lock, and not notice.
                _ = self.suspend.recv() => {}
            }
        }
    }
}

/// Cancel-safe.
async fn heard(signal: Option<&mut unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether this process was started so, as `nohup` does.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (1_u64 << (Signal::HUP.as_raw() - 1)) != 0)
}
