//! What a job was given and what it brought, for people.

use serde::de::IgnoredAny;

use crate::dashboard::show::visible;

/// So many characters of it are shown.
const CHARS_MAX: usize = 20_000;
/// Longer than those can be, whatever they are.
const LEN_MAX: usize = 4 * CHARS_MAX + 1;
const INDENT: &str = "  ";

/// JSON on lines of its own, with each number and each text as it was written; what is none, as it is.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(_) => indented(&text),
        Err(_) => text.into_owned(),
    };
    let cut: String = text.chars().take(CHARS_MAX).collect();
    let end = if cut.len() < text.len() { "\n…" } else { "" };
    // A line's end is one; what else cannot be seen is shown.
    let lines: Vec<String> = cut.lines().map(visible).collect();
    format!("{}{end}", lines.join("\n"))
}

/// Of what is JSON: as much as is shown, and a little. What is deep is much longer on lines than it was.
fn indented(json: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    let mut all = json.chars();
    while out.len() < LEN_MAX
        && let Some(c) = all.next()
    {
        if is_text {
            out.push(c);
            (is_text, is_escaped) = (is_escaped || c != '"', !is_escaped && c == '\\');
            continue;
        }
        if c.is_ascii_whitespace() {
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                let is_empty = all.clone().find(|c| !c.is_ascii_whitespace()).is_some_and(closes);
                if !is_empty {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth = depth.saturating_sub(1);
                    new_line(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                is_text = c == '"';
                out.push(c);
            }
        }
    }
    out
}

fn closes(c: char) -> bool {
    matches!(c, '}' | ']')
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&INDENT.repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::{LEN_MAX, indented, shown};

    #[test]
    fn json_is_shown_on_lines_and_as_it_was_written() {
        let json = br#"{"b":[1.50,{}, [ ]],"a\"{":"x, y: {z}","n":12345678901234567890123}"#;
        let expected = "{\n  \"b\": [\n    1.50,\n    {},\n    []\n  ],\n  \"a\\\"{\": \"x, y: {z}\",\n  \"n\": 12345678901234567890123\n}";
        assert_eq!(shown(json), expected);
        assert_eq!(shown(b"\"\\\\\""), "\"\\\\\"");
        assert_eq!(shown(b"null"), "null");
    }

    #[test]
    fn what_is_deep_is_written_as_far_as_it_is_shown() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(indented(&deep).len() < 2 * LEN_MAX);
        assert!(shown(deep.as_bytes()).ends_with("\n…"));
        let wide = format!("[{}1]", "\"ä\",".repeat(30_000));
        assert!(indented(&wide).len() < 2 * LEN_MAX);
        assert!(shown(wide.as_bytes()).ends_with("\n…"));
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is_and_what_cannot_be_seen_too() {
        assert_eq!(shown(b"{to: ada}\n\x07"), "{to: ada}\n\\u{7}");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
        assert!(shown("x".repeat(30_000).as_bytes()).ends_with("x\n…"));
    }
}
