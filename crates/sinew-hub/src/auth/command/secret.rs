//! What is typed and not shown.

use std::io::{IsTerminal as _, Read as _, Stdin};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::cli::Outcome;

/// More is no secret that someone has typed or piped.
const LEN_MAX: u64 = 4 << 10;

/// A line from the terminal, without its echo; or all of standard input.
///
/// # Errors
/// `BadInput` where it is empty, too long or no text.
pub(super) fn read(what: &str) -> Result<String, Outcome> {
    let stdin = std::io::stdin();
    let read = match stdin.is_terminal() {
        true => typed(what, &stdin),
        false => {
            let mut text = String::new();
            stdin.lock().take(LEN_MAX + 1).read_to_string(&mut text).map(|_| text)
        }
    };
    let text =
        read.map_err(|error| Outcome::BadInput(format!("cannot read the {what}: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match (1..=LEN_MAX).contains(&(text.len() as u64)) {
        true => Ok(text.to_owned()),
        false => Err(Outcome::BadInput(format!(
            "there is no {what}: expected one of at most {LEN_MAX} bytes, typed or at standard input"
        ))),
    }
}

fn typed(what: &str, terminal: &Stdin) -> std::io::Result<String> {
    eprint!("The {what}, which is not shown: ");
    let before = tcgetattr(terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(terminal, OptionalActions::Flush, &silent)?;
    let mut line = String::new();
    let read = terminal.read_line(&mut line);
    tcsetattr(terminal, OptionalActions::Flush, &before)?;
    eprintln!();
    read.map(|_| line)
}
