//! Flags: all of them, and one: what it is, who would see what, and who has changed it.

mod differences;
mod editor;
mod extract;
mod form;
mod history;
mod list;
mod page;
mod preview;
mod switch;

use axum::Router;
use axum::routing::{get, post, put};

use crate::hub::Hub;

/// Of one flag's changes, that are looked at.
const CHANGES_MAX: usize = 100;
/// On it, the page fetches the form and the last changes again.
const SAVED: [(&str, &str); 1] = [("hx-trigger", "flag-saved")];
/// On it, the page looks at what has become of the flag, and leaves its form as it is.
const CHANGED: [(&str, &str); 1] = [("hx-trigger", "flags-changed")];
/// On it, the page asks who would see what by the form that has come.
const LOADED: [(&str, &str); 1] = [("hx-trigger-after-settle", "editor-loaded")];

pub(super) fn routes() -> Router<Hub> {
    Router::new()
        .route("/flags", get(list::page))
        // No flag is called that.
        .route("/flags/~events", get(page::events))
        .route("/flags/{flag}", get(page::page))
        .route("/flags/{flag}/news", get(page::news))
        .route("/flags/{flag}/editor", get(editor::form))
        .route("/flags/{flag}/preview", post(preview::preview))
        .route("/flags/{flag}/change", post(editor::confirm))
        .route("/flags/{flag}/definition", put(editor::save))
        .route("/flags/{flag}/kill", get(switch::confirm).put(switch::kill).delete(switch::revive))
        .route("/flags/{flag}/changes", get(history::changes))
        .route("/flags/{flag}/roll-back", get(history::confirm).put(history::roll_back))
}
