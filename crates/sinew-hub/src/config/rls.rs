//! `[[rls]]`: which limit a descriptor of Envoy's is charged to.

use std::collections::BTreeMap;

use sinew::Tenancy;
use sinew::limit::{Limit, Per as _, SECOND};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::layers::File;
use super::{Fault, Origin};
use crate::limit::rls::rules::{Pattern, Rule, Rules};

/// What the rules look like, for messages.
pub(super) const EXPECTED: &str = "rls: expected a table for each rule, like [[rls]] domain = \"edge\", descriptor = [{ key = \"remote_address\" }], limit = \"per-ip\"";
const DESCRIPTOR: &str = "invalid descriptor: expected all its entries in order, like [{ key = \"generic_key\", value = \"login\" }, { key = \"remote_address\" }]";

/// The rules as they were said.
#[derive(Default)]
pub(super) struct RuleList(Vec<Said>);

struct Said {
    rule: Rule,
    at: Origin,
    limit_at: Origin,
}

impl RuleList {
    pub(super) fn read(&mut self, file: &File, rules: &DeArray<'_>, faults: &mut Vec<Fault>) {
        for rule in rules {
            let origin = file.at(rule.span().start);
            match rule.get_ref() {
                DeValue::Table(said) => {
                    self.0.extend(read_rule(file, &origin, said, faults));
                }
                _ => faults.push(Fault { origin, message: EXPECTED.to_owned() }),
            }
        }
    }

    /// What is likely a slip, and may not be: limits can be defined while the hub runs.
    pub(super) fn doubts(
        &self,
        limits: &BTreeMap<String, Limit>,
        listening: Option<&Origin>,
    ) -> Vec<Fault> {
        let doubt = |at: &Origin, message: String| Fault { origin: at.clone(), message };
        let mut doubts = Vec::new();
        match (listening, self.0.first()) {
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
        for said in self.0.iter().filter(|said| !limits.contains_key(&said.rule.limit)) {
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
        for (index, Said { rule, at, .. }) in self.0.iter().enumerate() {
            let mut before = self.0[..index].iter().map(|said| &said.rule);
            let is_same = |other: &Rule| {
                (&other.domain, &other.descriptor) == (&rule.domain, &rule.descriptor)
            };
            let message = if before.clone().any(is_same) {
                "a second rule of this domain and descriptor: expected one".to_owned()
            } else if let Some(other) =
                before.find(|other| other.limit == rule.limit && other.parts() != rule.parts())
            {
                format!(
                    "limit {:?} has subjects of {} values here, and of {} further up: expected as many, or a limit of its own",
                    rule.limit,
                    rule.parts(),
                    other.parts()
                )
            } else if rule.tenant_key.is_some() && tenancy == Tenancy::Single {
                "tenant_key: this deployment is single-tenant: expected none".to_owned()
            } else {
                continue;
            };
            faults.push(Fault { origin: at.clone(), message });
        }
        Rules::new(self.0.into_iter().map(|said| said.rule).collect())
    }
}

fn read_rule(
    file: &File,
    origin: &Origin,
    said: &DeTable<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Said> {
    let (mut domain, mut descriptor, mut limit, mut tenant_key) = (None, None, None, None);
    let known = faults.len();
    for (key, value) in said {
        let at = file.at(key.span().start);
        let read = match key.get_ref().as_ref() {
            "domain" => text("domain", value).map(|text| domain = Some(text)),
            "descriptor" => patterns(value).map(|patterns| descriptor = Some(patterns)),
            "limit" => limit_name(value).map(|name| limit = Some((name, at.clone()))),
            "tenant_key" => text("tenant_key", value).map(|key| tenant_key = Some(key)),
            unknown => Err(format!(
                "unknown key {unknown:?} of a rule: expected domain, descriptor, limit or tenant_key"
            )),
        };
        if let Err(message) = read {
            faults.push(Fault { origin: at, message });
        }
    }
    if faults.len() > known {
        return None;
    }
    let mut fault = |message: &str| {
        faults.push(Fault { origin: origin.clone(), message: message.to_owned() });
        None
    };
    let (Some(domain), Some(descriptor), Some((limit, limit_at))) = (domain, descriptor, limit)
    else {
        return fault("a rule lacks something: expected domain, descriptor and limit");
    };
    let names_tenant =
        |pattern: &&Pattern| pattern.value.is_none() && Some(&pattern.key) == tenant_key.as_ref();
    if tenant_key.is_some() && descriptor.iter().filter(names_tenant).count() != 1 {
        return fault(
            "tenant_key: expected the key of one entry of descriptor, which has no value",
        );
    }
    let rule = Rule { domain, descriptor, limit, tenant_key };
    Some(Said { rule, at: origin.clone(), limit_at })
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

fn patterns(value: &Spanned<DeValue<'_>>) -> Result<Vec<Pattern>, String> {
    let entries = value.get_ref().as_array().filter(|entries| !entries.is_empty());
    let patterns = entries.and_then(|entries| entries.iter().map(pattern).collect());
    patterns.ok_or_else(|| DESCRIPTOR.to_owned())
}

fn pattern(entry: &Spanned<DeValue<'_>>) -> Option<Pattern> {
    let (mut key, mut value) = (None, None);
    for (name, said) in entry.get_ref().as_table()? {
        let said = text("", said).ok();
        match name.get_ref().as_ref() {
            "key" => key = Some(said?),
            "value" => value = Some(said?),
            _ => return None,
        }
    }
    Some(Pattern { key: key?, value })
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
             [[rls]]\ndomain = \"\"\ndescriptor = [{{ value = \"a\" }}]\nlimit = \"a_b\"\ncolour = 1\n\
             [[rls]]\ndomain = \"edge\"\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"a\"\n{entry}\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"b\"\n{entry}\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"a\"\ndescriptor = [{{ key = \"ip\", value = \"0\" }}]\n\
             [[rls]]\ndomain = \"edge\"\nlimit = \"c\"\ntenant_key = \"id\"\n{entry}\n\
             [[rls]]\ndomain = \"else\"\nlimit = \"c\"\ntenant_key = \"ip\"\n{entry}\n"
        ))
        .unwrap_err();
        for (line, told) in [
            (1, "invalid address"),
            (4, "invalid domain: expected some text"),
            (5, "invalid descriptor: expected all its entries"),
            (6, "expected 1 to 64 of"),
            (7, "unknown key \"colour\" of a rule: expected domain"),
            (8, "a rule lacks something: expected domain, descriptor and limit"),
            (14, "a second rule of this domain and descriptor"),
            (18, "subjects of 0 values here, and of 1 further up: expected as many"),
            (22, "tenant_key: expected the key of one entry"),
            (27, "this deployment is single-tenant: expected none"),
        ] {
            let at = format!("sinew.toml:{line}: ");
            let found = faults.iter().any(|fault| fault.starts_with(&at) && fault.contains(told));
            assert!(found, "line {line} {told}: {faults:#?}");
        }
        assert_eq!(faults.len(), 10, "{faults:#?}");
        for wrong in ["rls = 1\n", "rls = [1]\n", "[rls]\ndomain = \"edge\"\n"] {
            let faults = read(wrong).unwrap_err();
            assert!(faults[0].contains("expected a table for each rule"), "{faults:?}");
        }
    }
}
