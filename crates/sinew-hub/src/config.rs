//! What the hub is told: a file, then `SINEW_*` variables over it, then flags over both.
//!
//! Every fault is found, and each says where it stands and what was expected there.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sinew::{Prefix, Sinew, Tenancy, Ttl};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::duration;

const DEFAULT_LISTEN: &str = "127.0.0.1:7463";
const DEFAULT_TTL: Duration = Duration::from_secs(300);
const DEFAULT_VALUE_LEN: usize = 1 << 20;

/// The settings that are one value each: name in the file, and what it says.
const KEYS: [(&str, &str); 7] = [
    ("store", "embedded, or a URL like redis://[user:password@]host[:port][/database]"),
    ("listen", "an address and port like 127.0.0.1:7463"),
    ("prefix", "what all keys begin with, like BillingService_"),
    ("tenancy", "single or multi"),
    ("default_ttl", "a duration like 10m: the TTL of caches that name none"),
    ("deadline", "a duration like 250ms: how long a call of Redis may take"),
    ("value_len_max", "bytes: the largest value"),
];

/// Settings that hold together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where data is kept.
    pub store: StoreSetting,
    /// Where the hub listens.
    pub listen: SocketAddr,
    /// TTL of caches that name none.
    pub default_ttl: Ttl,
    /// TTLs of caches by name.
    pub caches: BTreeMap<String, Ttl>,
    prefix: String,
    tenancy: Tenancy,
    deadline: Option<Duration>,
    value_len_max: usize,
}

/// Where data is kept. Its text never shows a password.
#[derive(Clone)]
pub enum StoreSetting {
    /// In this process.
    Embedded,
    /// In Redis, at this URL.
    Redis(String),
}

impl fmt::Debug for StoreSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Redis(_) => "redis",
        })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    origin: Origin,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(&'static str),
}

impl Fault {
    fn line(&self) -> usize {
        match self.origin {
            Origin::File { line, .. } => line,
            Origin::Variable(_) | Origin::Flag(_) => usize::MAX,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { path, line } => write!(f, "{}:{line}: ", path.display())?,
            Origin::Variable(name) => write!(f, "{name}: ")?,
            Origin::Flag(name) => write!(f, "--{name}: ")?,
        }
        f.write_str(&self.message)
    }
}

/// What the command line says, to be laid over file and environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Read settings from this file
    #[arg(long, value_name = "FILE", env = "SINEW_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where data is kept: embedded, or redis://user:password@host:6379/0 or another URL
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// What all keys begin with, like BillingService_
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Whether keys have a tenant part: single or multi
    #[arg(long, value_name = "TENANCY")]
    pub tenancy: Option<String>,
    /// Where the hub listens, or is to be asked [default: 127.0.0.1:7463]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    /// Every fault of every layer.
    pub fn read(flags: &Flags) -> Result<Self, Vec<Fault>> {
        let mut layers = Layers::default();
        if let Some(path) = &flags.config {
            layers.add_file(path);
        }
        layers.add_variables(|name| std::env::var(name).ok());
        layers.add_flag("store", flags.store.as_ref());
        layers.add_flag("prefix", flags.prefix.as_ref());
        layers.add_flag("tenancy", flags.tenancy.as_ref());
        layers.add_flag("listen", flags.listen.as_ref());
        layers.settle()
    }

    /// Whether keys have a tenant part.
    #[must_use]
    pub fn tenancy(&self) -> Tenancy {
        self.tenancy
    }

    /// Uses this prefix where none was set.
    #[must_use]
    pub fn or_prefix(mut self, prefix: &str) -> Self {
        if self.prefix.is_empty() {
            prefix.clone_into(&mut self.prefix);
        }
        self
    }

    /// A handle on the store, connecting in the background.
    ///
    /// # Errors
    /// As [`Sinew::connect_lazy`].
    pub fn open(&self) -> sinew::Result<Sinew> {
        let mut builder = Sinew::builder()
            .prefix(&self.prefix)
            .tenancy(self.tenancy)
            .value_len_max(self.value_len_max);
        if let Some(deadline) = self.deadline {
            builder = builder.deadline(deadline);
        }
        match &self.store {
            StoreSetting::Embedded => builder.embedded(),
            StoreSetting::Redis(url) => builder.connect_lazy(url),
        }
    }
}

/// What was said so far, the later over the earlier.
#[derive(Default)]
struct Layers {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// `None` for those that name no TTL.
    caches: BTreeMap<String, Option<Ttl>>,
    faults: Vec<Fault>,
}

impl Layers {
    fn add_flag(&mut self, name: &'static str, value: Option<&String>) {
        if let Some(value) = value {
            self.values.insert(name, (value.clone(), Origin::Flag(name)));
        }
    }

    fn add_variables(&mut self, read: impl Fn(&str) -> Option<String>) {
        for (key, _) in KEYS {
            let name = format!("SINEW_{}", key.to_uppercase());
            if let Some(value) = read(&name) {
                self.values.insert(key, (value, Origin::Variable(name)));
            }
        }
    }

    fn add_file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_text(path, &text),
            Err(error) => self.faults.push(Fault {
                origin: Origin::Flag("config"),
                message: format!("cannot read {}: {error}; expected a TOML file", path.display()),
            }),
        }
    }

    fn add_text(&mut self, path: &Path, text: &str) {
        let file = File { path, text };
        match DeTable::parse(text) {
            Ok(table) => self.add_table(&file, table.get_ref()),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                // Its first line only: the rest quotes the file, which may hold a password.
                let message = error.message().lines().next().unwrap_or_default();
                self.fault(file.at(at), format!("not TOML: {message}"));
            }
        }
    }

    fn add_table(&mut self, file: &File, table: &DeTable<'_>) {
        for (key, value) in table {
            let origin = file.at(key.span().start);
            let known = KEYS.iter().find(|(name, _)| *name == key.get_ref());
            match (key.get_ref().as_ref(), known, value.get_ref()) {
                ("caches", _, DeValue::Table(caches)) => self.add_caches(file, caches),
                ("caches", _, _) => self.fault(
                    origin,
                    "caches: expected a table for each cache, like [caches.user]".to_owned(),
                ),
                (_, Some((name, expected)), value) => match scalar(value) {
                    Some(value) => {
                        self.values.insert(name, (value, origin));
                    }
                    None => self.fault(origin, format!("{name}: expected {expected}")),
                },
                (unknown, None, _) => {
                    let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
                    self.fault(
                        origin,
                        format!(
                            "unknown key {unknown:?}: expected one of {}, caches",
                            names.join(", ")
                        ),
                    );
                }
            }
        }
    }

    fn add_caches(&mut self, file: &File, caches: &DeTable<'_>) {
        for (name, settings) in caches {
            let at = file.at(name.span().start);
            // The library's own rule for names, asked of the library.
            let valid = Sinew::check_cache_name(name.get_ref());
            if let Err(error) = valid {
                self.fault(at, error.to_string());
                continue;
            }
            match settings.get_ref() {
                DeValue::Table(settings) => self.add_cache(file, name.get_ref(), settings),
                _ => self.fault(
                    at,
                    format!(
                        "caches.{}: expected a table, like [caches.user] ttl = \"10m\"",
                        name.get_ref()
                    ),
                ),
            }
        }
    }

    fn add_cache(&mut self, file: &File, name: &str, settings: &DeTable<'_>) {
        self.caches.insert(name.to_owned(), None);
        for (key, value) in settings {
            let at = file.at(key.span().start);
            if key.get_ref() != "ttl" {
                self.fault(
                    at,
                    format!("unknown key {:?} of cache {name:?}: expected ttl", key.get_ref()),
                );
                continue;
            }
            match ttl_of(value) {
                Ok(ttl) => {
                    self.caches.insert(name.to_owned(), Some(ttl));
                }
                Err(message) => self.fault(at, message),
            }
        }
    }

    fn fault(&mut self, origin: Origin, message: String) {
        self.faults.push(Fault { origin, message });
    }

    /// Reads each value as what it is to be, and collects what is wrong.
    fn settle(mut self) -> Result<Config, Vec<Fault>> {
        let store = self.value("store", StoreSetting::Embedded, read_store);
        let listen = self.value("listen", SocketAddr::from(([127, 0, 0, 1], 7463)), read_listen);
        let prefix = self.value("prefix", String::new(), |text| {
            Prefix::new(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
        });
        let tenancy = self.value("tenancy", Tenancy::Multi, read_tenancy);
        let five_minutes = Ttl::new(DEFAULT_TTL).unwrap_or(Ttl::MAX);
        let default_ttl = self.value("default_ttl", five_minutes, duration::parse_ttl);
        let deadline = self.value("deadline", None, |text| read_deadline(text).map(Some));
        let value_len_max = self.value("value_len_max", DEFAULT_VALUE_LEN, read_value_len);
        if !self.faults.is_empty() {
            // As one reads the file.
            self.faults.sort_by_key(Fault::line);
            return Err(self.faults);
        }
        Ok(Config {
            store,
            listen,
            default_ttl,
            caches: self
                .caches
                .into_iter()
                .map(|(n, ttl)| (n, ttl.unwrap_or(default_ttl)))
                .collect(),
            prefix,
            tenancy,
            deadline,
            value_len_max,
        })
    }

    fn value<T>(&mut self, key: &str, default: T, read: impl Fn(&str) -> Result<T, String>) -> T {
        let Some((text, origin)) = self.values.get(key) else {
            return default;
        };
        match read(text) {
            Ok(value) => value,
            Err(message) => {
                let origin = origin.clone();
                self.fault(origin, message);
                default
            }
        }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn at(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Origin::File { path: self.path.to_owned(), line: before.matches('\n').count() + 1 }
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn ttl_of(value: &Spanned<DeValue<'_>>) -> Result<Ttl, String> {
    match value.get_ref() {
        DeValue::String(text) => duration::parse_ttl(text),
        _ => Err(format!("invalid ttl: {}, in quotes", duration::EXPECTED)),
    }
}

fn read_store(text: &str) -> Result<StoreSetting, String> {
    if text == "embedded" {
        return Ok(StoreSetting::Embedded);
    }
    // A bare word would do as a host, and is more often a slip.
    if text.chars().all(char::is_alphanumeric) {
        return Err(format!(
            "invalid store {text:?}: expected embedded, or a URL like redis://host:6379"
        ));
    }
    match Sinew::check_url(text) {
        Ok(()) => Ok(StoreSetting::Redis(text.to_owned())),
        Err(error) => Err(format!("{error}, or embedded")),
    }
}

fn read_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("invalid address {text:?}: expected an IP address and port like {DEFAULT_LISTEN}")
    })
}

fn read_tenancy(text: &str) -> Result<Tenancy, String> {
    [Tenancy::Single, Tenancy::Multi]
        .into_iter()
        .find(|tenancy| tenancy.name() == text)
        .ok_or_else(|| format!("invalid tenancy {text:?}: expected single or multi"))
}

fn read_deadline(text: &str) -> Result<Duration, String> {
    let deadline = duration::parse(text)?;
    let allowed = Duration::from_millis(1)..=Duration::from_secs(60);
    if !allowed.contains(&deadline) {
        return Err(format!("a deadline of {text} is out of bounds: expected 1ms to 60s"));
    }
    Ok(deadline)
}

fn read_value_len(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (1..=512 << 20).contains(bytes));
    bytes.ok_or_else(|| format!("invalid value_len_max {text:?}: expected 1 to 536870912 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Vec<String>> {
        let mut layers = Layers::default();
        layers.add_text(Path::new("sinew.toml"), text);
        let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
        layers.settle().map_err(faults)
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = read(
            "store = \"redis://:secret@cache:7000/2\"\nlisten = \"127.0.0.1:9\"\nprefix = \"App_\"\n\
             tenancy = \"single\"\ndefault_ttl = \"10m\"\ndeadline = \"1s\"\nvalue_len_max = 2048\n\
             [caches.user]\nttl = \"30m\"\n[caches.\"token\"]\n",
        )
        .unwrap();
        assert_eq!(config.listen.port(), 9);
        assert_eq!(config.default_ttl.duration(), Duration::from_secs(600));
        assert_eq!(config.caches["user"].duration(), Duration::from_secs(1800));
        assert_eq!(config.caches["token"], config.default_ttl);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let faults = read(
            "stor = \"embedded\"\nlisten = \"here\"\nprefix = \"App\"\ntenancy = true\n\
             default_ttl = \"0s\"\nvalue_len_max = 0\n[caches.lock]\nttl = \"1h\"\n\
             [caches.user]\nttl = 5\ncolour = \"red\"\n",
        )
        .unwrap_err();
        let told = |line: usize, what: &str| {
            let at = format!("sinew.toml:{line}: ");
            assert!(
                faults
                    .iter()
                    .any(|f| f.starts_with(&at) && f.contains(what) && f.contains("expected")
                        || f.starts_with(&at) && f.contains("choose another")),
                "line {line} {what}: {faults:#?}"
            );
        };
        told(1, "unknown key \"stor\"");
        told(2, "invalid address");
        told(3, "invalid prefix");
        told(4, "tenancy");
        told(5, "1 ms to 10 years");
        told(6, "value_len_max");
        told(7, "lock");
        told(10, "in quotes");
        told(11, "unknown key \"colour\"");
        assert_eq!(faults.len(), 9, "{faults:#?}");
    }

    #[test]
    fn what_is_not_toml_is_told_without_quoting_the_file() {
        let faults = read("store = \"redis://:hunter2@h\"\nlisten = = 1\n").unwrap_err();
        assert!(faults[0].starts_with("sinew.toml:2: not TOML"), "{faults:?}");
        assert!(!faults[0].contains("hunter2"));
        let faults = read("store = \"redis://:hunter2@h:port\"\n").unwrap_err();
        assert!(faults[0].starts_with("sinew.toml:1: "), "{faults:?}");
        assert!(!faults[0].contains("hunter2"), "{faults:?}");
    }

    #[test]
    fn variables_go_over_the_file_and_flags_over_both() {
        let mut layers = Layers::default();
        layers.add_text(
            Path::new("f"),
            "prefix = \"File_\"\ndefault_ttl = \"1m\"\nlisten = \"127.0.0.1:1\"\n",
        );
        layers.add_variables(|name| match name {
            "SINEW_DEFAULT_TTL" => Some("2m".to_owned()),
            "SINEW_LISTEN" => Some("127.0.0.1:2".to_owned()),
            _ => None,
        });
        layers.add_flag("listen", Some(&"127.0.0.1:3".to_owned()));
        let config = layers.settle().unwrap();
        assert_eq!(config.prefix, "File_");
        assert_eq!(config.default_ttl.duration(), Duration::from_secs(120));
        assert_eq!(config.listen.port(), 3);
    }
}
