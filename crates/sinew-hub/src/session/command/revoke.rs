//! `sinew session revoke`

use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sinew::session::SessionId;

use super::place::{Place, SESSIONS, listed, place};
use crate::cli::confirm::{Consent, consent};
use crate::cli::place::AtHub;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};

/// Which sessions to end, and where.
#[derive(Args)]
pub struct RevokeArgs {
    /// Who is logged in
    user: String,
    #[command(flatten)]
    which: WhichArgs,
    /// Say what would be ended, and end nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// One of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct WhichArgs {
    /// Id of the session, as `sinew session list` shows it
    #[arg(allow_hyphen_values = true)]
    id: Option<String>,
    /// Every session of the user
    #[arg(long)]
    all: bool,
    /// Every session of the user but this one
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    all_but: Option<String>,
}

enum Which {
    One(SessionId),
    All,
    AllBut(SessionId),
}

impl WhichArgs {
    fn which(&self) -> Result<Which, Outcome> {
        match (&self.id, &self.all_but) {
            (Some(id), _) => read(id).map(Which::One),
            (None, Some(kept)) => read(kept).map(Which::AllBut),
            // Without any of them, clap does not come here.
            (None, None) => Ok(Which::All),
        }
    }
}

impl Which {
    fn is_of(&self, id: &str) -> bool {
        match self {
            Self::One(one) => one.to_string() == id,
            Self::All => true,
            Self::AllBut(kept) => kept.to_string() != id,
        }
    }

    /// In words, without whose they are.
    fn shown(&self) -> String {
        match self {
            Self::One(id) => format!("session {id}"),
            Self::All => "every session".to_owned(),
            Self::AllBut(kept) => format!("every session but {kept}"),
        }
    }
}

pub(super) async fn revoke(args: &RevokeArgs) -> Result<(), Outcome> {
    let which = args.which.which()?;
    let place = place(&args.whose).await?;
    let whose = format!("user {:?}{} in {place}", args.user, args.whose.shown());
    let what = format!("{} of {whose}", which.shown());
    if args.dry_run {
        return would(&which, &what, args, &place).await;
    }
    if !matches!(which, Which::One(_)) {
        consent(Consent::of(args.yes), &format!("End {what}?"))?;
    }
    let is_ended = match &place {
        Place::Redis(sessions, _) => match &which {
            Which::One(id) => sessions.revoke(&args.user, id).await,
            Which::All => sessions.logout_all(&args.user).await.map(|()| true),
            Which::AllBut(kept) => sessions.logout_others(&args.user, kept).await.map(|()| true),
        }
        .map_err(|e| Outcome::of(&e))?,
        Place::Hub(hub) => revoke_at_hub(hub, &args.user, &which).await?,
    };
    match is_ended {
        false => {
            let what = which.shown();
            return Err(Outcome::NoSuchSession(format!("no {what} of {whose}, or not any more")));
        }
        true if args.json => print_json(&json!({ "revoked": true }))?,
        true => println!("Ended {what}."),
    }
    Ok(())
}

async fn would(which: &Which, what: &str, args: &RevokeArgs, place: &Place) -> Result<(), Outcome> {
    let sessions = listed(place, &args.user).await?;
    let ids: Vec<&str> =
        sessions.iter().map(|session| session.id.as_str()).filter(|id| which.is_of(id)).collect();
    match ids.len() {
        _ if args.json => print_json(&json!({ "wouldRevoke": ids }))?,
        1 => println!("Would end {what}: 1 session now."),
        count => println!("Would end {what}: {count} sessions now."),
    }
    Ok(())
}

/// Whether there was such a session.
async fn revoke_at_hub(hub: &AtHub, user: &str, which: &Which) -> Result<bool, Outcome> {
    let request = match which {
        Which::One(id) => hub.request(&[user, SESSIONS, &id.to_string()])?,
        Which::All => hub.request(&[user, SESSIONS])?,
        Which::AllBut(kept) => {
            let mut request = hub.request(&[user, SESSIONS])?;
            request.url.query_pairs_mut().append_pair("except", &kept.to_string());
            request
        }
    };
    match request.reply(Method::DELETE, None).await? {
        (StatusCode::NO_CONTENT, _) => Ok(true),
        (StatusCode::NOT_FOUND, text) if matches!(which, Which::One(_)) => {
            // As a hub says it, and not as any server does.
            match request.refused(StatusCode::NOT_FOUND, &text) {
                Outcome::BadInput(_) => Ok(false),
                other => Err(other),
            }
        }
        (status, text) => Err(request.refused(status, &text)),
    }
}

fn read(id: &str) -> Result<SessionId, Outcome> {
    // Without what was given: it may be a token.
    id.parse().map_err(|_| {
        Outcome::BadInput(
            "that is no id of a session: expected one as `sinew session list` shows it".to_owned(),
        )
    })
}
