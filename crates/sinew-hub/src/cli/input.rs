//! JSON that is typed, or read from standard input.

use std::io::{BufRead as _, ErrorKind, Read as _};

use serde_json::value::RawValue;

use super::Outcome;

/// Of many lines, what is sent at once: so many, and about so many bytes.
const LINES_MAX: usize = 128;
const LEN_MAX: usize = 1 << 20;

/// A line of JSON, and which it is: from 1.
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) data: Box<RawValue>,
}

/// One value, as it was written; `-` reads it. `like` shows what one looks like.
///
/// # Errors
/// `BadInput` for what is none.
pub(crate) fn read(said: &str, like: &str) -> Result<Box<RawValue>, Outcome> {
    let mut text = said.to_owned();
    if said == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).map_err(unread)?;
    }
    json(&text, like).map_err(Outcome::BadInput)
}

/// One value a line: all are read, and those that are empty passed over.
///
/// # Errors
/// `BadInput` for a line that is none, with its number.
pub(crate) fn lines(like: &str) -> Result<Vec<Line>, Outcome> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(std::io::stdin().lock().lines()) {
        let line = line.map_err(|error| at_line(number, unread(error)))?;
        if !line.trim().is_empty() {
            let data = json(&line, like).map_err(Outcome::BadInput);
            let data = data.map_err(|outcome| at_line(number, outcome))?;
            lines.push(Line { number, data });
        }
    }
    Ok(lines)
}

/// What is sent at once.
pub(crate) fn batches(lines: &[Line]) -> Vec<&[Line]> {
    let (mut batches, mut from, mut len) = (Vec::new(), 0, 0);
    for (at, line) in lines.iter().enumerate() {
        let line_len = line.data.get().len();
        if at > from && (at - from == LINES_MAX || len + line_len > LEN_MAX) {
            batches.push(&lines[from..at]);
            (from, len) = (at, 0);
        }
        len += line_len;
    }
    if from < lines.len() {
        batches.push(&lines[from..]);
    }
    batches
}

fn at_line(number: usize, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::BadInput(what) => Outcome::BadInput(format!("line {number}: {what}")),
        other => other,
    }
}

fn unread(error: std::io::Error) -> Outcome {
    match error.kind() {
        ErrorKind::InvalidData => Outcome::BadInput("no text: expected UTF-8".to_owned()),
        _ => Outcome::Failed(format!("cannot read standard input: {error}")),
    }
}

fn json(text: &str, like: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str::<Box<RawValue>>(text.trim())
        .map_err(|error| format!("no JSON: {error}; expected one value, like '{like}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sent_in_parts_that_are_not_too_long() {
        let line = |number, text: String| {
            let data = RawValue::from_string(format!("\"{text}\"")).unwrap();
            Line { number, data }
        };
        let short: Vec<Line> = (1..=200).map(|number| line(number, String::new())).collect();
        let parts: Vec<usize> = batches(&short).into_iter().map(<[Line]>::len).collect();
        assert_eq!(parts, [128, 72]);
        let long: Vec<Line> = (1..=3).map(|number| line(number, "x".repeat(600_000))).collect();
        assert_eq!(batches(&long).len(), 3);
        assert!(batches(&[]).is_empty());
    }
}
