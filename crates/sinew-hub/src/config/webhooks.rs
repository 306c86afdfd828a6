//! `[webhooks]`: whether this hub delivers them, and where to.

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layers::File;
use super::{Fault, caches::word};
use crate::webhook::settings::WebhookSettings;

pub(super) const EXPECTED: &str =
    "webhooks: expected a table, like [webhooks] allow = [\"10.1.0.0/16\"]";

pub(super) fn read(
    file: &File,
    settings: &DeTable<'_>,
    faults: &mut Vec<Fault>,
) -> WebhookSettings {
    let mut read = WebhookSettings::default();
    for (key, value) in settings {
        let name: &str = key.get_ref();
        let said = match name {
            "enabled" => flag(name, value).map(|it| read.enabled = it),
            "allow_http" => flag(name, value).map(|it| read.allow_http = it),
            "allow" => networks(value).map(|it| read.allow = it),
            unknown => Err(format!(
                "unknown key {unknown:?} of webhooks: expected allow, allow_http or enabled"
            )),
        };
        if let Err(message) = said {
            faults.push(Fault { origin: file.at(key.span().start), message });
        }
    }
    read
}

fn flag(name: &str, value: &Spanned<DeValue<'_>>) -> Result<bool, String> {
    match value.get_ref() {
        DeValue::Boolean(said) => Ok(*said),
        _ => Err(format!("invalid {name}: expected true or false")),
    }
}

fn networks(value: &Spanned<DeValue<'_>>) -> Result<Vec<IpNet>, String> {
    let wrong =
        || "invalid allow: expected networks like [\"10.1.0.0/16\", \"fd00::/8\"]".to_owned();
    let DeValue::Array(all) = value.get_ref() else { return Err(wrong()) };
    let read = all.iter().map(|value| word(value).and_then(|text| text.parse().ok()));
    read.map(|network| network.ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::layers::Layers;
    use super::*;

    fn settings(text: &str) -> Result<WebhookSettings, Vec<String>> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("sinew.toml"), text);
        let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
        layers.settle().map(|config| config.webhooks).map_err(faults)
    }

    #[test]
    fn a_file_says_where_webhooks_may_go() {
        let said = "[webhooks]\nallow = [\"10.1.0.0/16\", \"::1/128\"]\nallow_http = true\n";
        let read = settings(said).unwrap();
        assert!(read.enabled && read.allow_http);
        assert!(read.addresses().url("http://10.1.2.3/").is_ok());
        assert!(read.addresses().url("http://10.2.2.3/").is_err());
        let unsaid = settings("").unwrap();
        assert!(unsaid.enabled && !unsaid.allow_http && unsaid.allow.is_empty());
        assert!(!settings("[webhooks]\nenabled = false\n").unwrap().enabled);
    }

    #[test]
    fn every_fault_of_webhooks_is_told_with_its_line() {
        for (text, line, told) in [
            ("[webhooks]\nallow = [\"10.1.0.0\"]\n", 2, "invalid allow: expected networks"),
            ("[webhooks]\nallow = \"10.1.0.0/16\"\n", 2, "invalid allow: expected networks"),
            ("[webhooks]\nenabled = \"no\"\n", 2, "invalid enabled: expected true or false"),
            ("[webhooks]\ncolour = 1\n", 2, "unknown key \"colour\" of webhooks"),
            ("webhooks = 5\n", 1, "webhooks: expected a table"),
        ] {
            let faults = settings(text).unwrap_err();
            let at = format!("sinew.toml:{line}: ");
            assert!(faults[0].starts_with(&at) && faults[0].contains(told), "{faults:?}");
            assert_eq!(faults.len(), 1, "{faults:?}");
        }
    }
}
