//! What pages have in common: templates as replies, faults as sentences, numbers as text.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use sinew::{Error, ErrorKind};

use crate::duration::shown;
use crate::unseen::is_unseen;

/// What is not known.
pub(super) const NOT_KNOWN: &str = "–";

pub(crate) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What is wrong, in a sentence.
pub(super) enum Fault {
    /// In place of a part of a page. With 200: the page shows nothing else.
    Part(String),
    /// In place of a page.
    Page(String),
}

#[derive(Template)]
#[template(path = "fault.html")]
struct Part {
    message: String,
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Page {
    message: String,
}

impl Fault {
    pub(super) fn part(what: &str) -> Self {
        Self::Part(sentence(what))
    }

    pub(super) fn page(what: &str) -> Self {
        Self::Page(sentence(what))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Part(in_words(&error))
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        match self {
            Self::Part(message) => render(&Part { message }),
            Self::Page(message) => {
                (StatusCode::BAD_REQUEST, render(&Page { message })).into_response()
            }
        }
    }
}

/// What an error means to whoever looks at a page. What only an operator understands is for the log.
pub(crate) fn in_words(error: &Error) -> String {
    let words = match error.kind() {
        ErrorKind::Rejected => return sentence(&error.to_string()),
        ErrorKind::Unavailable { .. } | ErrorKind::Timeout { .. } => {
            "The store does not answer now. Try again soon."
        }
        ErrorKind::Denied => "The store does not permit this server to do that.",
        _ => "The store cannot do that for this server. Its log says why.",
    };
    let told = format!("{error:#}");
    match error.is_retryable() {
        true => tracing::debug!(error = told, "a page could not be filled"),
        false => tracing::warn!(error = told, "a page could not be filled"),
    }
    words.to_owned()
}

/// What someone else has written, with what cannot be seen as an escape: a page has no NUL.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unseen(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let mut sentence: String = first.chain(letters).collect();
    if !sentence.ends_with(['.', '?', '!']) {
        sentence.push('.');
    }
    sentence
}

pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)]
    let ratio = part as f64 / whole as f64;
    (whole > 0).then_some(ratio)
}

pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

/// How long ago that was.
pub(super) fn ago(at: Option<SystemTime>) -> String {
    at.map_or_else(
        || NOT_KNOWN.to_owned(),
        |at| {
            let ago = SystemTime::now().duration_since(at).unwrap_or(Duration::ZERO);
            format!("{} ago", shown(ago))
        },
    )
}

/// To a second, for people.
pub(super) fn time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.round(jiff::Unit::Second).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::{sentence, visible};

    #[test]
    fn what_cannot_be_seen_is_shown_as_an_escape() {
        assert_eq!(visible("a\0b\n\u{9f}"), "a\\u{0}b\\n\\u{9f}");
        assert_eq!(visible("\u{202e}a\u{200b}"), "\\u{202e}a\\u{200b}");
        assert_eq!(visible("ärger <b> \\u"), "ärger <b> \\u");
    }

    #[test]
    fn a_fault_is_a_sentence() {
        assert_eq!(sentence("invalid key: expected text"), "Invalid key: expected text.");
        assert_eq!(sentence("Done already."), "Done already.");
        assert_eq!(sentence("ärger"), "Ärger.");
    }
}
