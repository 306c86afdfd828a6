//! `sinew user hash`

use clap::Subcommand;

use super::secret;
use crate::auth::password::{CHARS_MIN, Hashed, LEN_MAX};
use crate::cli::Outcome;

/// Make what the hub's configuration says of people.
#[derive(Subcommand)]
pub(crate) enum UserCommand {
    /// Print the hash of a password, as the hub's configuration has it
    #[command(after_help = "\
The password is typed, or at standard input: as an argument, others on this
machine could read it. The same one gets another hash each time.

Example:
  sinew user hash

In sinew.toml of every hub:
  [[users]]
  name = \"ada\"
  password = \"$argon2id$v=19$m=19456,t=2,p=1$…\"
  role = \"operator\"")]
    Hash,
}

impl UserCommand {
    /// Runs it.
    pub(crate) fn run(self) -> Outcome {
        let Self::Hash = self;
        hash().err().unwrap_or(Outcome::Worked)
    }
}

fn hash() -> Result<(), Outcome> {
    let password = secret::read("password")?;
    if password.chars().count() < CHARS_MIN || password.len() > LEN_MAX {
        return Err(Outcome::BadInput(format!(
            "the password is too short or too long: expected at least {CHARS_MIN} characters, and at most {LEN_MAX} bytes"
        )));
    }
    println!("{}", Hashed::make(&password).map_err(Outcome::Failed)?.as_str());
    Ok(())
}
