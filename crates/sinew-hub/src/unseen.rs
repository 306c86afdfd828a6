//! Characters that are not for whoever reads a text.

/// Whether a character shows nothing itself: a terminal or a page obeys it, and the text around it reads as
/// another.
pub(crate) fn is_unseen(c: char) -> bool {
    // Zero width and marks of direction; embedded and overridden directions; isolated ones; a byte order mark.
    let is_format = matches!(
        c,
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}'
    );
    is_format || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::is_unseen;

    #[test]
    fn what_shows_nothing_is_told_from_what_does() {
        let unseen = "\0\n\u{1b}\u{9f}\u{200b}\u{200d}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}";
        assert!(unseen.chars().all(is_unseen));
        assert!(!"aÄ 9–\u{2010}\u{202f}\u{2065}\u{206a}\u{FFFD}שע".chars().any(is_unseen));
    }
}
