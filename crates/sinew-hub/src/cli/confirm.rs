//! A question before what cannot be undone.

use std::io::IsTerminal as _;

use super::Outcome;

/// Whether to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    Given,
    ToBeAsked,
}

impl Consent {
    /// As the flag `--yes` says.
    pub(crate) fn of(yes: bool) -> Self {
        if yes { Self::Given } else { Self::ToBeAsked }
    }
}

/// Asks whoever sits at the terminal, unless they have consented.
///
/// # Errors
/// Where they do not, or where no one can be asked.
pub(crate) fn consent(given: Consent, question: &str) -> Result<(), Outcome> {
    if given == Consent::Given {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Outcome::BadInput(format!("expected --yes, with no one to ask: {question}")));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    // One that cannot be read is a no.
    let _ = std::io::stdin().read_line(&mut answer);
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Outcome::Failed("nothing was changed".to_owned())),
    }
}
