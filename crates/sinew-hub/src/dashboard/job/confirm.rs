//! What is changed on pages of jobs: after a second thought, and noted.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use sinew::job::JobId;

use super::extract::Whose;
use crate::auth::Actor;
use crate::dashboard::extract::named;
use crate::dashboard::show::{Fault, render};
use crate::hub::Hub;
use crate::job::audit::{self, Act};

/// On it, the parts of the page are asked for again.
const CHANGED: [(&str, &str); 1] = [("hx-trigger", "job-changed")];

/// The second thought.
#[derive(Template)]
#[template(path = "job_confirm.html")]
pub(super) struct Confirm {
    pub(super) question: String,
    /// What is done, as the button says it.
    pub(super) act: &'static str,
    pub(super) method: &'static str,
    pub(super) to: String,
    pub(super) is_danger: bool,
    /// The id of what the answer is put into.
    pub(super) target: &'static str,
    /// The id of the button that has led here.
    pub(super) from: &'static str,
}

#[derive(Template)]
#[template(path = "job_done.html")]
struct Done {
    said: String,
    /// A job that there is now: its address, and its id.
    job: Option<(String, String)>,
}

/// What has been done, in place of the second thought.
pub(super) fn done(said: impl Into<String>) -> Response {
    (CHANGED, render(&Done { said: said.into(), job: None })).into_response()
}

/// The same of a job, with the way to its page.
pub(super) fn done_with(said: &str, whose: &Whose, id: JobId) -> Response {
    let job = Some((whose.job(&id, ""), id.to_string()));
    (CHANGED, render(&Done { said: said.to_owned(), job })).into_response()
}

/// Notes what is about to be done, as over HTTP, and by which way it came. What cannot be noted is not done.
pub(super) async fn note(
    hub: &Hub,
    tenant: &str,
    actor: &Actor,
    act: Act,
    mut what: Value,
    before: Value,
    after: Value,
) -> Result<(), Fault> {
    what["by"] = json!("dashboard");
    let streams = hub.streams(named(tenant)?.as_ref()).map_err(|what| Fault::part(&what))?;
    audit::note(&streams, act, actor, what, before, after).await.map_err(|_| {
        Fault::part("this cannot be noted in the audit now, and is not done: try again soon")
    })
}
