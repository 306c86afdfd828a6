//! `sinew session revoke`

use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sinew::session::SessionId;

use super::place::{LISTED_MAX, Place, SESSIONS, listed, place};
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

    fn none_of(&self, whose: &str) -> Outcome {
        Outcome::NoSuchSession(match self {
            Self::One(id) => format!("no session {id} of {whose}, or not any more"),
            Self::All => format!("no session of {whose}"),
            Self::AllBut(kept) => format!("no session but {kept} of {whose}"),
        })
    }
}

pub(super) async fn revoke(args: &RevokeArgs) -> Result<(), Outcome> {
    let which = args.which.which()?;
    let place = place(&args.whose).await?;
    let whose = format!("user {:?}{} in {place}", args.user, args.whose.shown());
    if args.dry_run {
        return would(&which, &whose, args, &place).await;
    }
    let what = format!("{} of {whose}", which.shown());
    let ended = match which {
        Which::One(_) => Some(usize::from(end(&place, &args.user, &which).await?)),
        Which::All | Which::AllBut(_) => {
            // Just before: to end them is one step, which counts none, and waits for no list.
            let count = live(&which, args, &place).await.ok().map(|ids| ids.len());
            let now = count.map_or_else(|| "nobody knows how many".to_owned(), counted);
            consent(Consent::of(args.yes), &format!("End {what}, {now} now?"))?;
            // Also where the list has none: one that it has lost is live all the same.
            end(&place, &args.user, &which).await?;
            count
        }
    };
    match ended {
        Some(0) => return Err(which.none_of(&whose)),
        _ if args.json => print_json(&json!({ "revoked": ended }))?,
        Some(count) if !matches!(which, Which::One(_)) => {
            println!("Ended {what}: {}.", counted(count));
        }
        _ => println!("Ended {what}."),
    }
    Ok(())
}

async fn would(
    which: &Which,
    whose: &str,
    args: &RevokeArgs,
    place: &Place,
) -> Result<(), Outcome> {
    let ids = live(which, args, place).await?;
    match ids.len() {
        0 => return Err(which.none_of(whose)),
        _ if args.json => print_json(&json!({ "wouldRevoke": ids }))?,
        count => println!("Would end {} of {whose}: {} now.", which.shown(), counted(count)),
    }
    Ok(())
}

/// The ids of those that are live, as far as a list has them.
async fn live(which: &Which, args: &RevokeArgs, place: &Place) -> Result<Vec<String>, Outcome> {
    let sessions = listed(place, &args.user).await?;
    Ok(sessions.into_iter().map(|session| session.id).filter(|id| which.is_of(id)).collect())
}

fn counted(sessions: usize) -> String {
    match sessions {
        0 => "no session".to_owned(),
        1 => "1 session".to_owned(),
        LISTED_MAX.. => format!("{LISTED_MAX} sessions or more"),
        count => format!("{count} sessions"),
    }
}

/// Whether there was such a session; of many, they have ended.
async fn end(place: &Place, user: &str, which: &Which) -> Result<bool, Outcome> {
    match place {
        Place::Redis(sessions, _) => match which {
            Which::One(id) => sessions.revoke(user, id).await,
            Which::All => sessions.logout_all(user).await.map(|()| true),
            Which::AllBut(kept) => sessions.logout_others(user, kept).await.map(|()| true),
        }
        .map_err(|e| Outcome::of(&e)),
        Place::Hub(hub) => revoke_at_hub(hub, user, which).await,
    }
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
