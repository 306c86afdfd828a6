//! Paths that rules are for.

use ::http::request::Parts;
use axum::extract::OriginalUri;

use crate::kernel::error::{Error, Result};

/// A path, written as axum's routes are.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
    takes_rest: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Text(Box<str>),
    Any,
    Rest,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let pattern = text.strip_prefix('/').and_then(|path| {
            let mut segments: Vec<_> =
                path.split('/').map(Segment::parse).collect::<Option<_>>()?;
            let takes_rest = segments.pop_if(|last| matches!(last, Segment::Rest)).is_some();
            let is_whole = !segments.iter().any(|segment| matches!(segment, Segment::Rest));
            is_whole.then_some(Self { segments, takes_rest })
        });
        pattern.ok_or_else(|| {
            Error::rejected(format!(
                "invalid path {text:?}: expected / and, between slashes, text as in a URL, {{name}}, or at the end {{*name}}"
            ))
        })
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut given = path.split('/');
        let begins = self.segments.iter().all(|segment| match (segment, given.next()) {
            (Segment::Text(text), Some(given)) => **text == *given,
            (Segment::Any, Some(given)) => !given.is_empty(),
            _ => false,
        });
        begins && (self.takes_rest || given.next().is_none())
    }
}

impl Segment {
    fn parse(text: &str) -> Option<Self> {
        let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            // Beginning with a colon it is what other routers take for a name.
            let is_text = !text.starts_with(':')
                && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}*?#".contains(&byte));
            return is_text.then(|| Self::Text(text.into()));
        };
        let (name, segment) = match name.strip_prefix('*') {
            Some(name) => (name, Self::Rest),
            None => (name, Self::Any),
        };
        (!name.is_empty() && !name.contains(['{', '}', '*'])).then_some(segment)
    }
}

/// The path as the client sent it. In a nested router, the request's own is the end of it; where it is
/// another, someone has rewritten it, and knows why.
pub(super) fn path_of(parts: &Parts) -> &str {
    let own = parts.uri.path();
    let original = parts.extensions.get::<OriginalUri>().map(|OriginalUri(uri)| uri.path());
    // What a nested router is called with where nothing is left is the end of no path.
    original.filter(|original| own == "/" || original.ends_with(own)).unwrap_or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_as_axum_would() {
        for (pattern, matched, others) in [
            ("/", &["/"][..], &["", "*", "/a", "//"][..]),
            ("/users", &["/users"], &["/", "/users/", "/users/7", "/user", "/Users", "users"]),
            ("/users/", &["/users/"], &["/users"]),
            (
                "/users/{id}",
                &["/users/7", "/users/me", "/users/%2F"],
                &["/users", "/users/", "/users/7/", "/users/7/x", "/user/7"],
            ),
            ("/{a}/x/{b}", &["/1/x/2"], &["//x/2", "/1/y/2", "/1/x/"]),
            (
                "/api/{*rest}",
                &["/api", "/api/", "/api/a", "/api/a/b", "/api//"],
                &["/", "/apix", "/ap", "//api/a", "/%61pi/a"],
            ),
            ("/{*rest}", &["/", "/a", "/a/b", "//"], &["", "*"]),
        ] {
            let path = Pattern::parse(pattern).unwrap();
            for matched in matched {
                assert!(path.matches(matched), "{pattern} {matched}");
            }
            for other in others {
                assert!(!path.matches(other), "{pattern} {other}");
            }
        }
    }

    #[test]
    fn what_is_no_path_is_told_what_was_expected() {
        for bad in [
            "",
            "users",
            "/api/*",
            "/*",
            "/:id",
            "/{}",
            "/{*}",
            "/{a}b",
            "/a{b}",
            "/{a",
            "/a}",
            "/{*rest}/x",
            "/{*rest}/{*more}",
            "/{{a}}",
            "/a b",
            "/ä",
            "/a?b",
            "/a#b",
        ] {
            let error = Pattern::parse(bad).unwrap_err().to_string();
            assert!(error.contains("expected / and"), "{bad}: {error}");
        }
    }
}
