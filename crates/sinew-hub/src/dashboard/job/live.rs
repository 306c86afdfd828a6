//! Parts of a page that ask for themselves again. One that has not changed is not sent: what someone reads, selects or is
//! about to press stays as it is.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::dashboard::show::{Fault, render};

/// Where a part is asked for again, how often, and the id of what it is put into.
pub(super) struct Again {
    pub(super) url: String,
    pub(super) every: &'static str,
    pub(super) target: &'static str,
}

/// What of it the page shows: empty at first.
#[derive(Default, Deserialize)]
pub(super) struct Seen {
    #[serde(default)]
    seen: String,
}

#[derive(Template)]
#[template(path = "job_live.html")]
struct Live {
    again: Again,
    seen: String,
    part: String,
}

#[derive(Template)]
#[template(path = "fault.html")]
struct Trouble {
    message: String,
}

/// Also where there is none to show now: the next one may be there.
pub(super) fn live(part: Result<impl Template, Fault>, again: Again, seen: &Seen) -> Response {
    let part = match part {
        Ok(part) => part.render(),
        Err(Fault::Part(message) | Fault::Page(message)) => Trouble { message }.render(),
    };
    let part = match part {
        Ok(part) => part,
        Err(error) => {
            tracing::error!(%error, "a part of a page could not be rendered");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let now = mark(&part);
    match now == seen.seen {
        true => StatusCode::NO_CONTENT.into_response(),
        false => render(&Live { again, seen: now, part }),
    }
}

fn mark(part: &str) -> String {
    let mut hasher = DefaultHasher::new();
    part.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_already_is_not_sent_again() {
        let of = |message: &str, seen: &str| {
            let again = Again { url: "/jobs/mail/now".to_owned(), every: "2s", target: "now" };
            let seen = Seen { seen: seen.to_owned() };
            live(Ok(Trouble { message: message.to_owned() }), again, &seen).status()
        };
        let seen = mark(&Trouble { message: "5".to_owned() }.render().unwrap());
        assert_eq!(of("5", ""), StatusCode::OK);
        assert_eq!(of("5", &seen), StatusCode::NO_CONTENT);
        assert_eq!(of("6", &seen), StatusCode::OK);
    }
}
