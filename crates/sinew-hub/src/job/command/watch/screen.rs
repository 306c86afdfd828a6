//! Where looks are shown: one over the other on a terminal, and otherwise one after the other.

use std::io::{IsTerminal as _, Write as _};

use rustix::termios::tcgetwinsize;

use crate::cli::table::cut;

/// What a terminal that does not tell its size is taken to have.
const ROWS: u16 = 24;
/// Beside the rows of a table: what is said above it, its titles, what is said below it, and where the cursor is.
const OTHERS: usize = 5;
const WIDTH: usize = 80;

/// What a look is shown on.
pub(super) struct Screen {
    is_terminal: bool,
    is_clear: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), is_clear: false }
    }

    /// Of a table, how many rows have room; nothing where it may have any number.
    pub(super) fn rows(&self) -> Option<usize> {
        self.is_terminal.then(|| {
            let size = tcgetwinsize(std::io::stdout()).ok();
            let rows = size.map(|size| size.ws_row).filter(|rows| *rows > 0).unwrap_or(ROWS);
            usize::from(rows).saturating_sub(OTHERS).max(1)
        })
    }

    /// Shows lines: over those before, on a terminal.
    pub(super) fn show(&mut self, text: &str) {
        if !self.is_terminal {
            print!("{text}");
            return;
        }
        print!("{}", drawn(text, self.is_clear));
        self.is_clear = true;
        // Nothing depends on it.
        let _ = std::io::stdout().flush();
    }

    /// Tells why there is nothing new: below what was shown, on a terminal.
    pub(super) fn trouble(&mut self, shown: &str, what: &str) {
        let told = format!("not known now: {what}");
        match self.is_terminal && !shown.is_empty() {
            true => self.show(&format!("{shown}{}\n", line(&told))),
            false => eprintln!("{told}"),
        }
    }
}

/// One line that fits a terminal.
pub(super) fn line(text: &str) -> String {
    cut(&text.replace('\n', " "), WIDTH)
}

/// Each line takes the place of the one that was there: a screen that is wiped first flickers.
fn drawn(text: &str, is_clear: bool) -> String {
    let wiped = if is_clear { "" } else { "\x1b[2J" };
    format!("{wiped}\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_drawn_over_the_one_before() {
        assert_eq!(drawn("a\nb\n", false), "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(drawn("a\n", true), "\x1b[Ha\x1b[K\n\x1b[J");
    }

    #[test]
    fn what_is_said_beside_a_table_fits_as_well() {
        let long = line(&format!("a\n{}\x1b[2J", "é".repeat(100)));
        assert_eq!((long.chars().count(), long.contains('\x1b')), (80, false));
        assert!(long.starts_with("a é") && long.ends_with('…'));
    }
}
