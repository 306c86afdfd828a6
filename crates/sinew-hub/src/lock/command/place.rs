//! Where locks are.

use sinew::Locks;

use crate::cli::Outcome;
use crate::cli::place::Place;
use crate::cli::whose::Whose;

pub(super) async fn place(whose: &Whose) -> Result<Place<Locks>, Outcome> {
    whose.place(&["v1", "locks"], |sinew, _| Ok(sinew.locks())).await
}

/// Where a process can hold a lock itself.
pub(super) async fn redis(whose: &Whose) -> Result<Locks, Outcome> {
    match place(whose).await? {
        Place::Redis(locks, _) => Ok(locks),
        Place::Hub(_) => Err(Outcome::BadInput(
            "a command runs under a lock that the fleet shares: expected --store redis://…, SINEW_STORE, or a file that names it with --config"
                .to_owned(),
        )),
    }
}
