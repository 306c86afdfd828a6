//! Who makes a page. Stand-ins: they run here, and ask nobody.

/// The seed's flag.
pub(super) const FLAG: &str = "advanced-ai-models";

const SECTIONS_MAX: usize = 4;

/// A model that makes pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    /// A title.
    Simple,
    /// A title, and a section for each of the longest words.
    Advanced,
}

impl Model {
    /// By what [`FLAG`] is.
    pub(super) fn of(is_advanced: bool) -> Self {
        match is_advanced {
            true => Self::Advanced,
            false => Self::Simple,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Simple => "local-simple",
            Self::Advanced => "local-advanced",
        }
    }

    /// A page in Markdown: of the same words, the same one.
    pub(super) fn generate(self, prompt: &str) -> String {
        let words: Vec<&str> = prompt.split_whitespace().collect();
        let mut page = format!("# {}\n", words.join(" "));
        if self == Self::Advanced {
            for word in longest(words) {
                page.push_str(&format!("\n## {word}\n"));
            }
        }
        page.push_str(&format!("\n*Made by {}, a stand-in: no model was asked.*\n", self.name()));
        page
    }
}

/// The longest words, in the order in which they come, each once.
fn longest(words: Vec<&str>) -> Vec<&str> {
    let mut distinct: Vec<(usize, &str)> = Vec::new();
    for word in words {
        if !distinct.iter().any(|(_, other)| *other == word) {
            distinct.push((distinct.len(), word));
        }
    }
    distinct.sort_by_key(|(_, word)| std::cmp::Reverse(word.chars().count()));
    distinct.truncate(SECTIONS_MAX);
    distinct.sort_unstable();
    distinct.into_iter().map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advanced_model_makes_more_of_the_same_words_and_both_say_what_they_are() {
        let prompt = "a page  for a bakery in a small town";
        let simple = Model::of(false).generate(prompt);
        assert_eq!(
            simple,
            "# a page for a bakery in a small town\n\n*Made by local-simple, a stand-in: no model was asked.*\n"
        );
        let advanced = Model::of(true).generate(prompt);
        let sections: Vec<&str> = advanced.lines().filter_map(|l| l.strip_prefix("## ")).collect();
        assert_eq!(sections, ["page", "bakery", "small", "town"]);
        assert!(advanced.contains("Made by local-advanced, a stand-in"), "{advanced}");
    }
}
