//! Where sessions are.

use sinew::session::Sessions;

use crate::cli::Outcome;
use crate::cli::whose::Whose;
use crate::session::body::SessionBody;

pub(super) type Place = crate::cli::place::Place<Sessions>;

/// Of a user's sessions in a hub's paths, after the user.
pub(super) const SESSIONS: &str = "sessions";

pub(super) async fn place(whose: &Whose) -> Result<Place, Outcome> {
    whose.place(&["v1", "users"], |sinew, config| config.sessions.open(sinew)).await
}

/// Of a list, which has the first of them.
pub(super) const LISTED_MAX: usize = 1_000;

/// The sessions of a user, the one used last first.
pub(super) async fn listed(place: &Place, user: &str) -> Result<Vec<SessionBody>, Outcome> {
    match place {
        Place::Redis(sessions, _) => {
            let found = sessions.list(user).await.map_err(|e| Outcome::of(&e))?;
            Ok(found.into_iter().map(SessionBody::from).collect())
        }
        Place::Hub(hub) => hub.request(&[user, SESSIONS])?.get().await,
    }
}
