//! Why someone does not see a page, told in a way that what asked for it can show.

use askama::Template;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sinew::http::Problem;

use super::guard::keep_to_oneself;
use super::shell::{Viewer, seen_now_by};
use crate::dashboard::{in_words, render};

/// Of an address to go back to after a sign-in.
const TO_LEN_MAX: usize = 1_024;
const SIGN_IN: &str = "/login";

/// Why someone does not see a page.
pub(super) enum Refusal {
    /// Nobody is signed in.
    SignIn,
    /// The store does not say who is.
    Away(sinew::Error),
    /// They may not, and why.
    Forbidden(String),
    /// Not theirs; this page is.
    Elsewhere(&'static str),
}

/// What asks for a page.
enum Asking {
    /// A browser, for a whole page.
    Browser,
    /// A page of ours, for a part of itself.
    Part,
    /// Whatever reads no page: a stream of events, a program.
    Other,
}

/// What a refusal needs of a request that is gone by then.
pub(super) struct Asked {
    asking: Asking,
    /// Where to go on after a sign-in.
    to: String,
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

impl Asked {
    pub(super) fn by(parts: &Parts) -> Self {
        let asking = match parts.headers.contains_key("hx-request") {
            true => Asking::Part,
            false if is_a_browsers(&parts.headers) => Asking::Browser,
            false => Asking::Other,
        };
        let to = match asking {
            // The page that it is a part of.
            Asking::Part => parts.headers.get("hx-current-url").and_then(|url| {
                let url: Uri = url.to_str().ok()?.parse().ok()?;
                Some(url.path_and_query()?.as_str().to_owned())
            }),
            Asking::Browser if is_read(&parts.method) => {
                parts.uri.path_and_query().map(|path| path.as_str().to_owned())
            }
            // Where something was to be changed, there is no page to go back to.
            Asking::Browser | Asking::Other => None,
        };
        Self { asking, to: to.unwrap_or_default() }
    }

    pub(super) fn is_for_a_part(&self) -> bool {
        matches!(self.asking, Asking::Part)
    }

    pub(super) fn is_for_a_whole_page(&self) -> bool {
        matches!(self.asking, Asking::Browser)
    }

    /// What is answered. Whoever is signed in still sees so.
    pub(super) fn refused(self, refusal: Refusal, viewer: Viewer) -> Response {
        let mut response = match refusal {
            Refusal::SignIn => self.sign_in(),
            Refusal::Elsewhere(path) => Redirect::to(path).into_response(),
            Refusal::Forbidden(message) => self.told(StatusCode::FORBIDDEN, message, viewer),
            Refusal::Away(error) => {
                self.told(StatusCode::SERVICE_UNAVAILABLE, in_words(&error), viewer)
            }
        };
        keep_to_oneself(&mut response);
        response
    }

    fn sign_in(&self) -> Response {
        let path = match local(&self.to) {
            "/" => SIGN_IN.to_owned(),
            to => format!("{SIGN_IN}?to={}", utf8_percent_encode(to, NON_ALPHANUMERIC)),
        };
        let unknown = || {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "nobody is signed in: expected the session of a user, as /login begins one",
            )
        };
        match self.asking {
            Asking::Browser => Redirect::to(&path).into_response(),
            Asking::Part => led_to(unknown().into_response(), &path),
            Asking::Other => unknown().into_response(),
        }
    }

    /// In a way that what has asked can show.
    pub(super) fn told(&self, status: StatusCode, message: String, viewer: Viewer) -> Response {
        match self.asking {
            Asking::Browser => {
                (status, seen_now_by(viewer, || render(&Page { message }))).into_response()
            }
            Asking::Part => part(status, message),
            Asking::Other => Problem::new(status, message).into_response(),
        }
    }
}

/// A sentence in place of a part of a page.
pub(super) fn part(status: StatusCode, message: String) -> Response {
    (status, render(&Part { message })).into_response()
}

/// The page leaves for another one.
pub(super) fn led_to(mut response: Response, path: &str) -> Response {
    if let Ok(path) = HeaderValue::try_from(path) {
        response.headers_mut().insert("hx-redirect", path);
    }
    response
}

/// A path at this hub; its first page for all else.
pub(super) fn local(to: &str) -> &str {
    let is_local = to.starts_with('/')
        && !to.starts_with("//")
        && to.len() <= TO_LEN_MAX
        // A browser takes a backslash for a slash.
        && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { to } else { "/" }
}

pub(super) fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

/// Whether what sends this shows a page to someone.
pub(super) fn is_a_browsers(headers: &HeaderMap) -> bool {
    let mut taken = headers.get_all(header::ACCEPT).iter().filter_map(|kinds| kinds.to_str().ok());
    !headers.contains_key(header::AUTHORIZATION) && taken.any(|kinds| kinds.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn nobody_is_led_to_another_host() {
        for own in ["/", "/caches", "/caches/user?open=a%20b", "/limits/a//b"] {
            assert_eq!(local(own), own);
        }
        let long = format!("/{}", "x".repeat(1_024));
        for other in [
            "",
            "caches",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            "/a\r\nb",
            "/a b",
            "/ä",
            "javascript:alert(1)",
            &long,
        ] {
            assert_eq!(local(other), "/", "{other:?}");
        }
    }
}
