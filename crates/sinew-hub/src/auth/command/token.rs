//! `sinew token new|hash`

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sinew::Tenant;

use super::secret;
use crate::auth::Digest;
use crate::auth::scope::Granted;
use crate::auth::settings::{NAME_EXPECTED, is_name};
use crate::cli::{Outcome, print_json};
use crate::duration;

/// What tokens begin with: people know one by it, and so does what looks for secrets in repositories.
pub(crate) const TOKEN_PREFIX: &str = "snw_";
/// Of one that was made elsewhere. Its hash is fast: of a shorter one, it would be guessed.
const CHARS_MIN: usize = 32;

/// Make tokens for programs.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and what the hub's configuration says of it
    #[command(after_help = "\
The first line is the token. It is shown this once, and kept nowhere: give it to
the program, as SINEW_TOKEN or in the header Authorization: Bearer. The rest
goes into sinew.toml of every hub, which knows the token by its hash.

Of a scope, admin includes write, and write includes read.

Examples:
  sinew token new billing --scope cache:write --scope lock:write
  sinew token new acme-web --tenant acme --scope session:write --expires-in 90d
  sinew token new prometheus --scope metrics:read
  sinew token new root --scope '*' >> root.txt")]
    New(NewArgs),
    /// Print the hash of a token, as the hub's configuration has it
    #[command(after_help = "\
The token is typed, or at standard input: as an argument, others on this machine
could read it. One that was made elsewhere has to be random and long.

Example:
  sinew token hash < token.txt")]
    Hash,
}

/// Whose token it is, and what for.
#[derive(Args)]
pub(crate) struct NewArgs {
    /// What audits call whoever uses it
    name: String,
    /// What it may do, like cache:read; * for everything. May be said more than once
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<Granted>,
    /// The only tenant that it is for [default: all, and what they share]
    #[arg(long)]
    tenant: Option<String>,
    /// For how long it is good, like 90d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    expires_in: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl TokenCommand {
    /// Runs it.
    pub(crate) fn run(self) -> Outcome {
        let ended = match self {
            Self::New(args) => new(&args),
            Self::Hash => hash(),
        };
        ended.err().unwrap_or(Outcome::Worked)
    }
}

fn new(args: &NewArgs) -> Result<(), Outcome> {
    if !is_name(&args.name) {
        return Err(Outcome::BadInput(format!("invalid name: {NAME_EXPECTED}")));
    }
    if let Some(tenant) = &args.tenant {
        Tenant::new(tenant).map_err(|e| Outcome::of(&e))?;
    }
    let expires_at = match args.expires_in {
        Some(after) => Some(later(after)?),
        None => None,
    };
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|e| Outcome::Failed(format!("the system has nothing random to give: {e}")))?;
    let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let sha256 = Digest::of(&token).to_string();
    let scopes: Vec<String> = args.scopes.iter().map(ToString::to_string).collect();
    let expires_at = expires_at.map(|at| at.to_string());
    if args.json {
        return print_json(&json!({
            "token": token,
            "name": args.name,
            "sha256": sha256,
            "tenant": args.tenant,
            "scopes": scopes,
            "expiresAt": expires_at,
        }));
    }
    println!("{token}\n\n[[tokens]]\nname = {:?}\nsha256 = \"{sha256}\"", args.name);
    println!("scopes = {scopes:?}");
    if let Some(tenant) = &args.tenant {
        println!("tenant = {tenant:?}");
    }
    if let Some(at) = expires_at {
        println!("expires_at = {at:?}");
    }
    Ok(())
}

fn later(after: Duration) -> Result<Timestamp, Outcome> {
    let after = SignedDuration::try_from(after).ok();
    let at = after.and_then(|after| Timestamp::now().checked_add(after).ok());
    // In whole seconds, as people write it.
    let at = at.and_then(|at| Timestamp::from_second(at.as_second()).ok());
    at.ok_or_else(|| {
        Outcome::BadInput("--expires-in: that is too long: expected a duration like 90d".to_owned())
    })
}

fn hash() -> Result<(), Outcome> {
    let token = secret::read("token")?;
    if token.len() < CHARS_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Outcome::BadInput(format!(
            "that is no token: expected at least {CHARS_MIN} random letters, digits and signs without a blank, as `sinew token new` makes them"
        )));
    }
    println!("{}", Digest::of(&token));
    Ok(())
}
