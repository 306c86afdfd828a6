//! Which limit a descriptor is charged to, and whose.

use std::borrow::Cow;

use super::message::Entry;

/// An entry as a rule says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) key: String,
    /// The only value that it takes. Without, it takes any, which is a part of the subject.
    pub(crate) value: Option<String>,
}

/// The limit of descriptors of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) domain: String,
    /// Its entries: all of a descriptor, in order.
    pub(crate) descriptor: Vec<Pattern>,
    pub(crate) limit: String,
    /// The key of the entry that names the tenant. It is no part of the subject.
    pub(crate) tenant_key: Option<String>,
}

impl Rule {
    /// How many values make a subject.
    pub(crate) fn parts(&self) -> usize {
        let open = self.descriptor.iter().filter(|pattern| pattern.value.is_none());
        open.filter(|pattern| !self.names_tenant(&pattern.key)).count()
    }

    /// The values that make the subject; the domain, where the rule says them all.
    pub(super) fn subject(&self, entries: &[Entry]) -> Vec<String> {
        let parts = self.open(entries).filter(|entry| !self.names_tenant(&entry.key));
        let parts: Vec<String> = parts.map(|entry| entry.text().into_owned()).collect();
        if parts.is_empty() { vec![self.domain.clone()] } else { parts }
    }

    pub(super) fn tenant<'a>(&'a self, entries: &'a [Entry]) -> Option<Cow<'a, str>> {
        let entry = self.open(entries).find(|entry| self.names_tenant(&entry.key));
        entry.map(Entry::text)
    }

    fn takes(&self, domain: &str, entries: &[Entry]) -> bool {
        self.domain == domain
            && self.descriptor.len() == entries.len()
            && self.descriptor.iter().zip(entries).all(|(pattern, entry)| {
                pattern.key == entry.key
                    && pattern.value.as_ref().is_none_or(|value| value.as_bytes() == entry.value)
            })
    }

    fn names_tenant(&self, key: &str) -> bool {
        self.tenant_key.as_deref() == Some(key)
    }

    /// The entries of which the rule says no value.
    fn open<'a>(&'a self, entries: &'a [Entry]) -> impl Iterator<Item = &'a Entry> {
        let pairs = self.descriptor.iter().zip(entries);
        pairs.filter(|(pattern, _)| pattern.value.is_none()).map(|(_, entry)| entry)
    }
}

/// All rules, the most specific first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    /// No two of the same domain and descriptor.
    pub(crate) fn new(mut rules: Vec<Rule>) -> Self {
        // From the left, as one reads: where a value is said, before where any is taken.
        rules.sort_by_cached_key(|rule| {
            rule.descriptor.iter().map(|pattern| pattern.value.is_none()).collect::<Vec<_>>()
        });
        Self(rules)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The most specific rule that takes a descriptor, if one does.
    pub(super) fn find(&self, domain: &str, entries: &[Entry]) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.takes(domain, entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `key` and `key=value`.
    fn rule(limit: &str, descriptor: &[&str]) -> Rule {
        let pattern = |text: &&str| match text.split_once('=') {
            Some((key, value)) => Pattern { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Pattern { key: (*text).to_owned(), value: None },
        };
        Rule {
            domain: "edge".to_owned(),
            descriptor: descriptor.iter().map(pattern).collect(),
            limit: limit.to_owned(),
            tenant_key: None,
        }
    }

    fn entries(of: &[(&str, &str)]) -> Vec<Entry> {
        let entry = |(key, value): &(&str, &str)| Entry {
            key: (*key).to_owned(),
            value: value.as_bytes().to_vec(),
        };
        of.iter().map(entry).collect()
    }

    #[test]
    fn the_most_specific_rule_from_the_left_is_found_however_they_are_listed() {
        let mut listed = vec![
            rule("any", &["a", "b"]),
            rule("right", &["a", "b=2"]),
            rule("left", &["a=1", "b"]),
            rule("both", &["a=1", "b=3"]),
            rule("one", &["a"]),
        ];
        for _ in 0..2 {
            let rules = Rules::new(listed.clone());
            for (first, second, limit) in [
                ("1", "2", "left"),
                ("1", "3", "both"),
                ("1", "", "left"),
                ("0", "2", "right"),
                ("0", "3", "any"),
            ] {
                let found = rules.find("edge", &entries(&[("a", first), ("b", second)]));
                assert_eq!(found.map(|rule| rule.limit.as_str()), Some(limit), "{first} {second}");
            }
            let one = rules.find("edge", &entries(&[("a", "1")]));
            assert_eq!(one.map(|rule| rule.limit.as_str()), Some("one"));
            listed.reverse();
        }
    }

    #[test]
    fn a_rule_takes_all_entries_in_order_of_its_own_domain() {
        let rules = Rules::new(vec![rule("any", &["a", "b"])]);
        for none in
            [&[("a", "1")][..], &[("b", "1"), ("a", "1")], &[("a", "1"), ("b", "1"), ("c", "1")]]
        {
            assert!(rules.find("edge", &entries(none)).is_none(), "{none:?}");
        }
        let both = entries(&[("a", "1"), ("b", "1")]);
        assert!(rules.find("edge", &both).is_some() && rules.find("other", &both).is_none());
    }

    #[test]
    fn a_subject_is_what_the_rule_leaves_open_but_the_tenant() {
        let mut rule = rule("any", &["tenant", "a=1", "b", "c"]);
        let of = entries(&[("tenant", "acme"), ("a", "1"), ("b", "2"), ("c", "")]);
        assert_eq!((rule.subject(&of), rule.tenant(&of)), (to_vec(&["acme", "2", ""]), None));
        rule.tenant_key = Some("tenant".to_owned());
        assert_eq!(
            (rule.subject(&of), rule.tenant(&of)),
            (to_vec(&["2", ""]), Some("acme".into()))
        );
        assert_eq!(rule.parts(), 2);
    }

    #[test]
    fn where_a_rule_leaves_nothing_open_the_domain_is_the_subject() {
        let rule = rule("all", &["a=1"]);
        assert_eq!((rule.subject(&entries(&[("a", "1")])), rule.parts()), (to_vec(&["edge"]), 0));
    }

    fn to_vec(parts: &[&str]) -> Vec<String> {
        parts.iter().map(|part| (*part).to_owned()).collect()
    }
}
