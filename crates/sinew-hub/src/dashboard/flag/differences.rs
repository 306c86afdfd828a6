//! What differs between two flags, as a page shows it.

use askama::Template;
use serde_json::Value;

use crate::dashboard::show::visible;
use crate::flag::diff::{self, Difference};

/// How many are shown.
const SHOWN_MAX: usize = 50;

/// The parts that differ.
#[derive(Debug, Template)]
#[template(path = "flag_differences.html")]
pub(super) struct Differences {
    pub(super) rows: Vec<Difference>,
    /// How many there are beside those that are shown.
    pub(super) more: usize,
}

impl Differences {
    /// Between two flags as JSON; `None` is one that is not there.
    pub(super) fn between(before: Option<&Value>, after: Option<&Value>) -> Self {
        let mut rows = diff::between(before, after);
        let more = rows.len().saturating_sub(SHOWN_MAX);
        rows.truncate(SHOWN_MAX);
        Self { rows: rows.iter().map(shown).collect(), more }
    }
}

fn shown(difference: &Difference) -> Difference {
    let Difference { part, before, after } = difference.shortened();
    let shown = |text: String| visible(&text);
    Difference { part: visible(&part), before: before.map(shown), after: after.map(shown) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_escaped_and_what_is_told_bounded() {
        let flag = json!({ "owner": "a\u{0}" });
        let page = Differences::between(Some(&flag), None).render().unwrap();
        assert!(page.contains("<strong>owner</strong>: <del>a\\u{0}</del> → not there"), "{page}");

        let users: serde_json::Map<String, Value> =
            (0..60).map(|n| (format!("u{n}"), json!("x".repeat(1_000)))).collect();
        let differences = Differences::between(None, Some(&json!({ "users": users })));
        assert_eq!((differences.rows.len(), differences.more), (SHOWN_MAX, 10));
        let longest = differences.rows[0].after.as_ref().map(|after| after.chars().count());
        assert!(longest.is_some_and(|chars| chars < 400), "{longest:?}");
    }
}
