//! What a reference in a response means: RFC 3986, 5.2, within the origin of the request.

use super::key::Target;

impl Target {
    /// The target that a `Location` or `Content-Location` names. `None` for one of another
    /// origin: what is stored of others is not this response's to drop (RFC 9111, 4.4).
    pub(super) fn resolve(&self, reference: &str) -> Option<Self> {
        let reference = reference.trim().split('#').next().unwrap_or_default();
        if let Some(rest) = reference.strip_prefix("//").or_else(|| after_scheme(reference)) {
            let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(path_at);
            let is_ours = authority.eq_ignore_ascii_case(&self.authority);
            return is_ours.then(|| self.at(&normal(path)));
        }
        let first_segment = reference.split(['/', '?']).next().unwrap_or_default();
        if first_segment.contains(':') {
            return None;
        }
        let base = self.path_and_query.split('?').next().unwrap_or_default();
        let path = match reference.as_bytes().first() {
            None => self.path_and_query.to_string(),
            Some(b'/') => normal(reference),
            Some(b'?') => format!("{base}{reference}"),
            Some(_) => {
                let folder = base.rfind('/').map_or("/", |last| &base[..=last]);
                normal(&format!("{folder}{reference}"))
            }
        };
        Some(self.at(&path))
    }
}

fn after_scheme(reference: &str) -> Option<&str> {
    let (scheme, rest) = reference.split_once("://")?;
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    is_http.then_some(rest)
}

/// Path and query, the path without `.` and `..`.
fn normal(path_and_query: &str) -> String {
    let query_at = path_and_query.find('?').unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at(query_at);
    let mut kept = Vec::new();
    let mut ends_in_folder = false;
    for segment in path.split('/').skip(1) {
        ends_in_folder = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    if ends_in_folder {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use ::http::{HeaderMap, Uri};
    use proptest::prelude::*;

    use super::*;

    fn target() -> Target {
        let uri: Uri = "http://a.com:80/b/c/d?q=1".parse().unwrap();
        Target::of(&uri, &HeaderMap::new()).unwrap()
    }

    #[test]
    fn references_are_resolved_within_the_origin() {
        for (reference, expected) in [
            ("http://a.com:80/x", Some("/x")),
            ("HTTPS://A.com:80/x?y#z", Some("/x?y")),
            ("http://a.com:80", Some("/")),
            ("http://a.com:80?y", Some("/?y")),
            ("//a.com:80/x", Some("/x")),
            ("/x/./y/../z", Some("/x/z")),
            ("/..", Some("/")),
            ("e", Some("/b/c/e")),
            ("./e?f", Some("/b/c/e?f")),
            ("../e/", Some("/b/e/")),
            ("../../../e", Some("/e")),
            (".", Some("/b/c/")),
            ("?f", Some("/b/c/d?f")),
            ("", Some("/b/c/d?q=1")),
            ("#z", Some("/b/c/d?q=1")),
            ("http://a.com/x", None),
            ("http://b.com/x", None),
            ("//b.com/x", None),
            ("mailto:a@b.com", None),
        ] {
            let found = target().resolve(reference).map(|t| t.path_and_query);
            assert_eq!(found.as_deref(), expected, "{reference}");
        }
    }

    proptest! {
        #[test]
        fn any_reference_is_resolved_or_not(reference in "\\PC{0,30}|[/.?#:a]{0,20}") {
            if let Some(found) = target().resolve(&reference) {
                prop_assert!(found.path_and_query.starts_with('/'));
                prop_assert_eq!(found.authority, target().authority);
            }
        }
    }
}
