//! What the frame of every page shows of whoever looks at it.
//!
//! Templates ask here: a page is made in the task of its request, and need not carry this itself.

use super::actor::Actor;
use super::scope::{Role, Verb};

/// For whom a page is made.
#[derive(Clone)]
pub(super) enum Viewer {
    Nobody,
    SignedIn {
        actor: Actor,
        role: Role,
        /// Where a whole page is made.
        csrf: Option<String>,
    },
}

tokio::task_local! {
    /// Not there where nobody has to sign in.
    static VIEWER: Viewer;
}

/// Answers a request for a viewer.
pub(super) async fn seen_by<T>(viewer: Viewer, making: impl Future<Output = T>) -> T {
    VIEWER.scope(viewer, making).await
}

/// The same for what is made at once.
pub(super) fn seen_now_by<T>(viewer: Viewer, make: impl FnOnce() -> T) -> T {
    VIEWER.sync_scope(viewer, make)
}

fn viewer() -> Option<Viewer> {
    VIEWER.try_with(Viewer::clone).ok()
}

/// Whether there are pages to go to.
pub(crate) fn is_in() -> bool {
    !matches!(viewer(), Some(Viewer::Nobody))
}

/// Whether they see what all tenants share.
pub(crate) fn sees_all() -> bool {
    match viewer() {
        None => true,
        Some(Viewer::Nobody) => false,
        Some(Viewer::SignedIn { actor, .. }) => actor.tenant().is_none(),
    }
}

/// Whether what needs a hand's turn is shown to them. Whether they may do it is decided when they do.
pub(crate) fn may_write() -> bool {
    may(Verb::Write)
}

/// The same of what goes over much at once, or sets rules.
pub(crate) fn may_admin() -> bool {
    may(Verb::Admin)
}

fn may(verb: Verb) -> bool {
    match viewer() {
        None => true,
        Some(Viewer::Nobody) => false,
        Some(Viewer::SignedIn { role, .. }) => role.may(verb),
    }
}

/// Who is signed in.
pub(crate) fn name() -> Option<String> {
    match viewer()? {
        Viewer::Nobody => None,
        Viewer::SignedIn { actor, .. } => actor.name().map(str::to_owned),
    }
}

/// What the page sends with each request, to show that it is ours.
pub(crate) fn csrf() -> Option<String> {
    match viewer()? {
        Viewer::Nobody => None,
        Viewer::SignedIn { csrf, .. } => csrf,
    }
}

#[cfg(test)]
mod tests {
    use sinew::Tenant;

    use super::*;

    #[tokio::test]
    async fn a_page_shows_who_looks_at_it_and_nothing_of_the_one_before() {
        assert!(is_in() && sees_all() && may_admin() && name().is_none() && csrf().is_none());
        let tenant = Tenant::new("acme").unwrap();
        let ada = Viewer::SignedIn {
            actor: Actor::named("ada", Some(&tenant)),
            role: Role::Operator,
            csrf: Some("token".to_owned()),
        };
        let seen = async { (is_in(), sees_all(), may_write(), may_admin(), name(), csrf()) };
        let (ada_is, token) = (Some("ada".to_owned()), Some("token".to_owned()));
        let own = (true, false, true, false, ada_is, token);
        assert_eq!(seen_by(ada, seen).await, own);
        assert!(!seen_now_by(Viewer::Nobody, may_write));
        assert!(!seen_now_by(Viewer::Nobody, is_in) && !seen_now_by(Viewer::Nobody, sees_all));
        assert!(name().is_none());
    }
}
