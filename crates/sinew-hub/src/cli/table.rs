//! Tables for people.

use crate::unseen::is_unseen;

/// What fits a terminal that no one has widened.
const WIDTH: usize = 80;
/// Of the first column, however wide the others are.
const FIRST_MIN: usize = 8;
const GAP: usize = 2;

/// Lines of cells below their titles: the first column to the left and cut where there is no room, the
/// others to the right. Each line has a cell for each title.
pub(crate) fn table<'a, R: AsRef<[String]>>(titles: impl AsRef<[&'a str]>, rows: &[R]) -> String {
    let titles = titles.as_ref();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.as_ref()[column].chars().count());
        cells.max().unwrap_or(0).max(titles[column].chars().count())
    };
    let others: Vec<usize> = (1..titles.len()).map(width).collect();
    let room = WIDTH.saturating_sub(others.iter().map(|width| width + GAP).sum());
    let first = width(0).min(room.max(FIRST_MIN));
    let mut text = String::new();
    let mut add = |cells: &[&str]| {
        text.push_str(&format!("{:<first$}", cut(cells[0], first)));
        for (cell, width) in cells.iter().skip(1).zip(&others) {
            let width = width + GAP;
            text.push_str(&format!("{cell:>width$}"));
        }
        text.push('\n');
    };
    add(titles);
    for row in rows {
        let cells: Vec<&str> = row.as_ref().iter().map(String::as_str).collect();
        add(&cells);
    }
    text
}

/// A terminal obeys some characters: these are not for it.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { '\u{FFFD}' } else { c }).collect()
}

/// The same, and no wider than there is room.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = harmless(text);
    if text.chars().count() <= width {
        return text;
    }
    let mut cut: String = text.chars().take(width - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_80_columns() {
        let rows = [
            ["short".to_owned(), "1".to_owned(), "99.9 %".to_owned()],
            ["ü".repeat(100), "1234567".to_owned(), "–".to_owned()],
            ["\u{1b}[2J\u{202e}x".to_owned(), String::new(), String::new()],
        ];
        let text = table(["KEY", "BYTES", "SHARE"], &rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() == 80), "{text}");
        assert!(lines[0].starts_with("KEY ") && lines[0].ends_with("SHARE"), "{text}");
        assert!(lines[2].contains("ü…  1234567"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        let none: [[String; 1]; 0] = [];
        assert_eq!(table(["A"], &none), "A\n");
    }
}
