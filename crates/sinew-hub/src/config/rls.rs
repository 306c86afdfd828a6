//! `[[rls]]`: which limit a descriptor of Envoy's is charged to.

use std::collections::BTreeMap;

use sinew::Tenancy;
use sinew::limit::{Limit, Per as _, SECOND};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::layers::File;
use super::read::is_said;
use super::{Fault, Origin};
use crate::limit::rls::rules::{Pattern, Rule, Rules};

/// What the rules look like, for messages.
pub(super) const EXPECTED: &str = "rls: expected a table for each rule, like [[rls]] domain = \"edge\", descriptor = [{ key = \"remote_address\" }], limit = \"per-ip\"";
const DESCRIPTOR: &str = "invalid descriptor: expected all its entries in order, like [{ key = \"generic_key\", value = \"login\" }, { key = \"remote_address\" }]";

/// What a rule cannot do without, and what it looks like.
const NEEDED: [(&str, &str); 3] = [
    ("domain", "domain = \"edge\""),
    ("descriptor", "descriptor = [{ key = \"remote_address\" }]"),
    ("limit", "limit = \"per-ip\""),
];

/// The rules as they were said.
#[derive(Default)]
pub(super) struct RuleList {
    rules: Vec<Said>,
    /// Also of rules that cannot be.
    tenant_keys: Vec<Origin>,
}

struct Said {
    rule: Rule,
    at: Origin,
    descriptor_at: Origin,
    limit_at: Origin,
}

impl RuleList {
    pub(super) fn read(&mut self, file: &File, rules: &DeArray<'_>, faults: &mut Vec<Fault>) {
        for rule in rules {
            let origin = file.at(rule.span().start);
            match rule.get_ref() {
                DeValue::Table(said) => self.read_rule(file, &origin, said, faults),
                _ => faults.push(Fault { origin, message: EXPECTED.to_owned() }),
            }
        }
    }

    fn read_rule(
        &mut self,
        file: &File,
        rule_at: &Origin,
        said: &DeTable<'_>,
        faults: &mut Vec<Fault>,
    ) {
        let (mut domain, mut descriptor, mut limit, mut tenant_key) = (None, None, None, None);
        for (key, value) in said {
            let at = file.at(key.span().start);
            let read = match key.get_ref().as_ref() {
                "domain" => text("domain", value).map(|text| domain = Some(text)),
                "descriptor" => {
                    let patterns = patterns(file, &at, value, faults);
                    descriptor = patterns.map(|patterns| (patterns, at.clone()));
                    Ok(())
                }
                "limit" => limit_name(value).map(|name| limit = Some((name, at.clone()))),
                "tenant_key" => {
                    self.tenant_keys.push(at.clone());
                    text("tenant_key", value).map(|key| tenant_key = Some((key, at.clone())))
                }
                unknown => Err(format!(
                    "unknown key {unknown:?} of a rule: expected domain, descriptor, limit or tenant_key"
                )),
            };
            if let Err(message) = read {
                faults.push(Fault { origin: at, message });
            }
        }
        for (key, like) in NEEDED {
            if !is_said(key, said) {
                let message = format!("a rule has no {key}: expected {like}");
                faults.push(Fault { origin: rule_at.clone(), message });
            }
        }
        if let (Some((key, at)), Some((descriptor, _))) = (&tenant_key, &descriptor) {
            let names_tenant = |entry: &&Pattern| entry.value.is_none() && entry.key == *key;
            if descriptor.iter().filter(names_tenant).count() != 1 {
                let message =
                    "tenant_key: expected the key of one entry of descriptor, which has no value";
                faults.push(Fault { origin: at.clone(), message: message.to_owned() });
            }
        }
        let (Some(domain), Some((descriptor, descriptor_at)), Some((limit, limit_at))) =
            (domain, descriptor, limit)
        else {
            return;
        };
        let tenant_key = tenant_key.map(|(key, _)| key);
        let rule = Rule { domain, descriptor, limit, tenant_key };
        self.rules.push(Said { rule, at: rule_at.clone(), descriptor_at, limit_at });
    }

    /// What is likely a slip, and may not be: limits can be defined while the hub runs.
    pub(super) fn doubts(
        &self,
        limits: &BTreeMap<String, Limit>,
        listening: Option<&Origin>,
    ) -> Vec<Fault> {
        let doubt = |at: &Origin, message: String| Fault { origin: at.clone(), message };
        let mut doubts = Vec::new();
        match (listening, self.rules.first()) {
            (Some(at), None) => doubts.push(doubt(
                at,
                "there is no rule for Envoy, and without one every call passes: expected [[rls]] with domain, descriptor and limit".to_owned(),
            )),
            (None, Some(first)) => doubts.push(doubt(
                &first.at,
                "there are rules for Envoy, and nowhere that it could ask: expected rls_listen = \"127.0.0.1:8081\" at the top of the file, or --rls-listen".to_owned(),
            )),
            _ => {}
        }
        let names: Vec<&str> = limits.keys().map(String::as_str).collect();
        for said in self.rules.iter().filter(|said| !limits.contains_key(&said.rule.limit)) {
            let name = &said.rule.limit;
            let expected = match names.is_empty() {
                true => format!("[limits.{name}]"),
                false => format!("one of {}", names.join(", ")),
            };
            doubts.push(doubt(
                &said.limit_at,
                format!(
                    "limit {name:?} is not defined here, and what it is to decide fails until it is: expected {expected}, or one that is defined while the hub runs"
                ),
            ));
        }
        doubts
    }

    /// Whether they hold together.
    pub(super) fn settle(self, tenancy: Tenancy, faults: &mut Vec<Fault>) -> Rules {
        let mut fault =
            |at: &Origin, message: String| faults.push(Fault { origin: at.clone(), message });
        for (index, Said { rule, descriptor_at, limit_at, .. }) in self.rules.iter().enumerate() {
            let mut before = self.rules[..index].iter().map(|said| &said.rule);
            let is_same = |other: &Rule| {
                (&other.domain, &other.descriptor) == (&rule.domain, &rule.descriptor)
            };
            if before.clone().any(is_same) {
                let message = "a second rule of this domain and descriptor: expected one";
                fault(descriptor_at, message.to_owned());
            }
            if let Some(other) =
                before.find(|other| other.limit == rule.limit && other.parts() != rule.parts())
            {
                fault(
                    limit_at,
                    format!(
                        "limit {:?} has subjects of {} values here, and of {} further up: expected as many, or a limit of its own",
                        rule.limit,
                        rule.parts(),
                        other.parts()
                    ),
                );
            }
        }
        if tenancy == Tenancy::Single {
            for at in &self.tenant_keys {
                let message = "tenant_key: this deployment is single-tenant: expected none";
                fault(at, message.to_owned());
            }
        }
        Rules::new(self.rules.into_iter().map(|said| said.rule).collect())
    }
}

fn text(key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let text = value.get_ref().as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| format!("invalid {key}: expected some text, in quotes"))
}

/// The library's own rule for names, asked of the library.
fn limit_name(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let name = text("limit", value)?;
    let limit = Limit::gcra(name.as_str(), 1.per(SECOND));
    limit.validate().map(|()| name).map_err(|error| error.to_string())
}

fn patterns(
    file: &File,
    at: &Origin,
    value: &Spanned<DeValue<'_>>,
    faults: &mut Vec<Fault>,
) -> Option<Vec<Pattern>> {
    let Some(entries) = value.get_ref().as_array().filter(|entries| !entries.is_empty()) else {
        faults.push(Fault { origin: at.clone(), message: DESCRIPTOR.to_owned() });
        return None;
    };
    // All of them, to tell what is wrong with each.
    let patterns: Vec<_> = entries.iter().map(|entry| pattern(file, entry, faults)).collect();
    patterns.into_iter().collect()
}

fn pattern(file: &File, entry: &Spanned<DeValue<'_>>, faults: &mut Vec<Fault>) -> Option<Pattern> {
    let entry_at = file.at(entry.span().start);
    let Some(said) = entry.get_ref().as_table() else {
        faults.push(Fault { origin: entry_at, message: DESCRIPTOR.to_owned() });
        return None;
    };
    let known = faults.len();
    let (mut key, mut value) = (None, None);
    for (name, given) in said {
        let read = match name.get_ref().as_ref() {
            "key" => text("key", given).map(|text| key = Some(text)),
            "value" => text("value", given).map(|text| value = Some(text)),
            unknown => Err(format!("unknown key {unknown:?} of an entry: expected key or value")),
        };
        if let Err(message) = read {
            let origin = file.at(name.span().start);
            faults.push(Fault { origin, message: format!("descriptor: {message}") });
        }
    }
    if !is_said("key", said) {
        let message =
            "descriptor: an entry has no key: expected one, like { key = \"remote_address\" }";
        faults.push(Fault { origin: entry_at, message: message.to_owned() });
    }
    let key = key.filter(|_| faults.len() == known)?;
    Some(Pattern { key, value })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::super::layers::Layers;

    fn read(text: &str) -> Result<Config, Vec<String>> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("sinew.toml"), text);
        layers.settle().map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn rules_are_read_in_both_ways_that_toml_has_of_writing_them() {
        let config = read(
            "rls_listen = \"127.0.0.1:8081\"\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"per-ip\"\ntenant_key = \"tenant\"\n\
             descriptor = [{ key = \"tenant\" }, { key = \"generic_key\", value = \"login\" }]\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"all\"\n\
             [[rls.descriptor]]\nkey = \"generic_key\"\nvalue = \"all\"\n",
        )
        .unwrap();
        assert_eq!(config.rls_listen.map(|address| address.port()), Some(8081));
        let shown = format!("{:?}", config.rls);
        for told in ["per-ip", "tenant_key: Some(\"tenant\")", "value: Some(\"login\")", "all"] {
            assert!(shown.contains(told), "{told}: {shown}");
        }
        assert_eq!(read("").unwrap().rls_listen, None);
    }

    fn doubts(text: &str) -> Vec<String> {
        read(text).unwrap().doubts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_rules_lack_to_be_of_use_is_told_with_its_line_and_is_no_fault() {
        let limits = "[limits.logins]\nquota = 1\nper = \"1m\"\n";
        let rule = "[[rls]]\ndomain = \"edge\"\ndescriptor = [{ key = \"ip\" }]\nlimit = ";
        let listen = "rls_listen = \"127.0.0.1:8081\"\n";
        assert_eq!(doubts(&format!("{listen}{limits}{rule}\"logins\"\n")), [""; 0]);
        for (text, begins, told) in [
            (
                format!("{listen}{limits}{rule}\"login\"\n"),
                "sinew.toml:8: ",
                "expected one of logins",
            ),
            (format!("{listen}{rule}\"login\"\n"), "sinew.toml:5: ", "expected [limits.login]"),
            (format!("{limits}{rule}\"logins\"\n"), "sinew.toml:4: ", "nowhere that it could ask"),
            (format!("{listen}{limits}"), "sinew.toml:1: ", "every call passes"),
        ] {
            let doubts = doubts(&text);
            assert!(doubts[0].starts_with(begins) && doubts[0].contains(told), "{doubts:?}");
            assert_eq!(doubts.len(), 1, "{doubts:?}");
        }
        assert_eq!(doubts(limits), [""; 0]);
    }

    #[test]
    fn every_fault_of_a_rule_is_told_with_its_line() {
        let entry = "descriptor = [{ key = \"ip\" }]";
        let faults = read(&format!(
            "rls_listen = \"here\"\ntenancy = \"single\"\n\
             [[rls]]\ndomain = \"\"\ndescriptor = []\nlimit = \"a_b\"\ncolour = 1\n\
             [[rls]]\ndomain = \"edge\"\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"a\"\n{entry}\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"b\"\n{entry}\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"a\"\ndescriptor = [{{ key = \"ip\", value = \"0\" }}]\n\
             [[rls]]\ndomain = \"other\"\nlimit = \"c\"\ntenant_key = \"id\"\n{entry}\n\
             [[rls]]\ndomain = \"third\"\nlimit = \"d\"\ntenant_key = \"ip\"\n{entry}\n"
        ))
        .unwrap_err();
        expect(
            &faults,
            &[
                (1, "invalid address"),
                (4, "invalid domain: expected some text"),
                (5, "invalid descriptor: expected all its entries"),
                (6, "expected 1 to 64 of"),
                (7, "unknown key \"colour\" of a rule: expected domain"),
                (8, "a rule has no descriptor: expected descriptor = [{ key"),
                (8, "a rule has no limit: expected limit = "),
                (17, "a second rule of this domain and descriptor"),
                (20, "subjects of 0 values here, and of 1 further up: expected as many"),
                (25, "tenant_key: expected the key of one entry"),
                (25, "this deployment is single-tenant: expected none"),
                (30, "this deployment is single-tenant: expected none"),
            ],
        );
        for wrong in ["rls = 1\n", "rls = [1]\n", "[rls]\ndomain = \"edge\"\n"] {
            let faults = read(wrong).unwrap_err();
            assert!(faults[0].contains("expected a table for each rule"), "{faults:?}");
        }
    }

    #[test]
    fn every_fault_of_a_descriptor_is_told_with_the_key_that_is_wrong() {
        let faults = read(
            "[[rls]]\nlimit = \"a\"\ndescriptor = [\n\
             { key = \"a\", valu = \"b\", walue = \"c\" },\n\
             { value = \"a\" },\n\
             { key = 1, value = \"\" },\n\
             5,\n]\n",
        )
        .unwrap_err();
        expect(
            &faults,
            &[
                (1, "a rule has no domain: expected domain = \"edge\""),
                (4, "descriptor: unknown key \"valu\" of an entry: expected key or value"),
                (4, "descriptor: unknown key \"walue\" of an entry"),
                (5, "descriptor: an entry has no key: expected one"),
                (6, "descriptor: invalid key: expected some text"),
                (6, "descriptor: invalid value: expected some text"),
                (7, "invalid descriptor: expected all its entries"),
            ],
        );
    }

    /// These, and no more.
    fn expect(faults: &[String], expected: &[(usize, &str)]) {
        for (line, told) in expected {
            let at = format!("sinew.toml:{line}: ");
            let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
            assert!(found, "line {line} {told}: {faults:#?}");
        }
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    }
}
