//! A bar on standard error, where someone looks.

use std::io::{IsTerminal as _, Write as _};

const CELLS: u64 = 24;

/// How far long work is.
pub(crate) struct Progress {
    /// `None` where no one knows how much there is.
    total: Option<u64>,
    is_seen: bool,
}

impl Progress {
    pub(crate) fn of(total: Option<u64>) -> Self {
        Self { total, is_seen: std::io::stderr().is_terminal() }
    }

    pub(crate) fn show(&self, done: u64, note: &str) {
        if self.is_seen {
            self.write(&format!("\r{}{note}\x1b[K", bar(done, self.total)));
        }
    }

    /// Leaves an empty line behind.
    pub(crate) fn end(&self) {
        if self.is_seen {
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        let mut terminal = std::io::stderr().lock();
        // Nothing depends on it.
        let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
    }
}

fn bar(done: u64, total: Option<u64>) -> String {
    let Some(total) = total.filter(|total| *total > 0) else {
        return String::new();
    };
    let done = done.min(total);
    let cells = (1..=CELLS).map(|cell| if cell * total <= done * CELLS { '#' } else { '.' });
    format!("[{}] {:>3} %  ", cells.collect::<String>(), done * 100 / total)
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_bar_fills_up() {
        assert_eq!(bar(0, Some(10)), format!("[{}]   0 %  ", ".".repeat(24)));
        assert_eq!(bar(5, Some(10)), format!("[{}{}]  50 %  ", "#".repeat(12), ".".repeat(12)));
        assert_eq!(bar(11, Some(10)), format!("[{}] 100 %  ", "#".repeat(24)));
        assert_eq!((bar(5, None), bar(0, Some(0))), (String::new(), String::new()));
    }
}
