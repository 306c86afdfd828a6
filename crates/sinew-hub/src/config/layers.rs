//! File, variables and flags, laid over each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sinew::limit::Limit;
use sinew::{Keyring, Prefix, Sinew, Tenancy, Ttl};
use toml::de::{DeTable, DeValue};

use super::auth::{self, AuthTables};
use super::caches::Table;
use super::limits;
use super::queues;
use super::read;
use super::rls::{self, RuleList};
use super::sessions;
use super::topics;
use super::webhooks;
use super::{Config, Fault, Origin, StoreSetting};
use crate::cache::settings::{CacheSettings, CacheTable};
use crate::duration;
use crate::flag::env;
use crate::job::settings::QueueSetting;
use crate::session::settings::SessionSettings;
use crate::stream::settings::TopicSettings;
use crate::webhook::settings::WebhookSettings;

const DEFAULT_TTL: Duration = Duration::from_secs(300);
const DEFAULT_VALUE_LEN: usize = 1 << 20;

/// The settings that are one value each: name in the file, and what it says.
const KEYS: [(&str, &str); 10] = [
    ("store", "embedded, or a URL like redis://[user:password@]host[:port][/database]"),
    ("listen", "an IP address and port like 127.0.0.1:7463"),
    ("rls_listen", "an IP address and port like 127.0.0.1:8081, for Envoy"),
    ("flags_env", "the environment whose flags are meant where none is named, like prod"),
    ("prefix", "what all keys begin with, like BillingService_"),
    ("tenancy", "single or multi"),
    ("default_ttl", "a duration like 10m: the TTL of caches that name none"),
    ("deadline", "a duration like 250ms: how long a call of Redis may take"),
    ("value_len_max", "bytes: the largest value"),
    ("keyring", "keys like 1:BASE64 with commas between them, the newest last"),
];

/// What was said so far, the later over the earlier.
#[derive(Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, (String, Origin)>,
    caches: BTreeMap<String, Table>,
    limits: BTreeMap<String, Limit>,
    rules: RuleList,
    sessions: SessionSettings,
    topics: Vec<TopicSettings>,
    queues: Vec<QueueSetting>,
    webhooks: WebhookSettings,
    auth: AuthTables,
    faults: Vec<Fault>,
}

impl Layers {
    pub(super) fn add_flag(&mut self, name: &'static str, value: Option<&String>) {
        if let Some(value) = value {
            self.values.insert(name, (value.clone(), Origin::Flag(name)));
        }
    }

    pub(super) fn add_variables(&mut self, read: impl Fn(&str) -> Option<String>) {
        for (key, _) in KEYS {
            let name = format!("SINEW_{}", key.to_uppercase());
            if let Some(value) = read(&name) {
                self.values.insert(key, (value, Origin::Variable(name)));
            }
        }
    }

    pub(super) fn add_file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_text(path, &text),
            Err(error) => self.faults.push(Fault {
                origin: Origin::Flag("config"),
                message: format!("cannot read {}: {error}; expected a TOML file", path.display()),
            }),
        }
    }

    pub(super) fn add_text(&mut self, path: &Path, text: &str) {
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
                ("limits", _, DeValue::Table(limits)) => self.add_limits(file, limits),
                ("limits", _, _) => self.fault(
                    origin,
                    "limits: expected a table for each limit, like [limits.per-user]".to_owned(),
                ),
                ("sessions", _, DeValue::Table(settings)) => {
                    self.sessions = sessions::read(file, settings, &mut self.faults);
                }
                ("sessions", _, _) => self.fault(
                    origin,
                    "sessions: expected a table, like [sessions] idle = \"30m\"".to_owned(),
                ),
                ("topics", _, DeValue::Array(tables)) => {
                    self.topics = topics::read(file, tables, &mut self.faults);
                }
                ("topics", _, _) => self.fault(origin, topics::EXPECTED.to_owned()),
                ("queues", _, DeValue::Array(tables)) => {
                    self.queues = queues::read(file, tables, &mut self.faults);
                }
                ("queues", _, _) => self.fault(origin, queues::EXPECTED.to_owned()),
                ("webhooks", _, DeValue::Table(said)) => {
                    self.webhooks = webhooks::read(file, said, &mut self.faults);
                }
                ("webhooks", _, _) => self.fault(origin, webhooks::EXPECTED.to_owned()),
                ("rls", _, DeValue::Array(rules)) => {
                    self.rules.read(file, rules, &mut self.faults);
                }
                ("rls", _, _) => self.fault(origin, rls::EXPECTED.to_owned()),
                ("tokens", _, DeValue::Array(tokens)) => {
                    self.auth.read_tokens(file, tokens, &mut self.faults);
                }
                ("tokens", _, _) => self.fault(origin, auth::TOKENS.to_owned()),
                ("users", _, DeValue::Array(users)) => {
                    self.auth.read_users(file, users, &mut self.faults);
                }
                ("users", _, _) => self.fault(origin, auth::USERS.to_owned()),
                ("dashboard", _, DeValue::Table(said)) => {
                    self.auth.read_dashboard(file, said, &mut self.faults);
                }
                ("dashboard", _, _) => self.fault(origin, auth::DASHBOARD.to_owned()),
                (_, Some((name, expected)), value) => match read::scalar(value) {
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
                            "unknown key {unknown:?}: expected one of {}, caches, limits, rls, sessions, topics, queues, webhooks, tokens, users, dashboard",
                            names.join(", ")
                        ),
                    );
                }
            }
        }
    }

    fn add_caches(&mut self, file: &File, caches: &DeTable<'_>) {
        for (key, settings) in caches {
            let origin = file.at(key.span().start);
            let name: &str = key.get_ref();
            // The library's own rule for names, asked of the library.
            if let Err(error) = Sinew::check_cache_name(name) {
                self.fault(origin.clone(), error.to_string());
            }
            match settings.get_ref() {
                DeValue::Table(settings) => {
                    let table = Table::read(file, name, settings, &mut self.faults);
                    self.caches.insert(name.to_owned(), table);
                }
                _ => self.fault(
                    origin,
                    format!("caches.{name}: expected a table, like [caches.user] ttl = \"10m\""),
                ),
            }
        }
    }

    fn add_limits(&mut self, file: &File, limits: &DeTable<'_>) {
        for (key, settings) in limits {
            let origin = file.at(key.span().start);
            let name: &str = key.get_ref();
            match settings.get_ref() {
                DeValue::Table(settings) => {
                    let limit = limits::read(file, name, &origin, settings, &mut self.faults);
                    self.limits.extend(limit.map(|limit| (name.to_owned(), limit)));
                }
                _ => self.fault(
                    origin,
                    format!(
                        "limits.{name}: expected a table, like [limits.per-user] quota = 100, per = \"1m\""
                    ),
                ),
            }
        }
    }

    fn fault(&mut self, origin: Origin, message: String) {
        self.faults.push(Fault { origin, message });
    }

    /// Reads each value as what it is to be, and collects what is wrong.
    pub(super) fn settle(mut self) -> Result<Config, Vec<Fault>> {
        let store = self.value("store", StoreSetting::Embedded, read::store);
        let known = self.faults.len();
        let listen = self.value("listen", SocketAddr::from(([127, 0, 0, 1], 7463)), read::listen);
        let rls_listen = self.value("rls_listen", None, |text| read::listen(text).map(Some));
        if self.faults.len() == known {
            self.check_addresses(listen, rls_listen);
        }
        let flags_env = self.value("flags_env", env::DEFAULT.to_owned(), |text| {
            env::check(text).map(|()| text.to_owned())
        });
        let prefix = self.value("prefix", String::new(), |text| {
            Prefix::new(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
        });
        let tenancy = self.value("tenancy", Tenancy::Multi, read::tenancy);
        let five_minutes = Ttl::new(DEFAULT_TTL).unwrap_or(Ttl::MAX);
        let default_ttl = self.value("default_ttl", five_minutes, duration::parse_ttl);
        let deadline = self.value("deadline", None, |text| read::deadline(text).map(Some));
        let value_len_max = self.value("value_len_max", DEFAULT_VALUE_LEN, read::value_len);
        let caches = self.settle_caches(default_ttl);
        let rules = std::mem::take(&mut self.rules);
        let listening = self.values.get("rls_listen").map(|(_, origin)| origin);
        let mut doubts = rules.doubts(&self.limits, listening);
        let tables = std::mem::take(&mut self.auth);
        doubts.extend(tables.doubts());
        let auth = tables.settle(tenancy, &mut self.faults);
        // Where everyone has to say who they are, others may reach it. Envoy says nothing of that kind.
        let mut exposed = match auth.is_on() {
            true => Vec::new(),
            false => self.exposed("listen", Some(listen)),
        };
        exposed.extend(self.exposed("rls_listen", rls_listen));
        let rls = rules.settle(tenancy, &mut self.faults);
        if !self.faults.is_empty() {
            // As one reads the file.
            self.faults.sort_by_key(Fault::line);
            return Err(self.faults);
        }
        doubts.sort_by_key(Fault::line);
        Ok(Config {
            store,
            listen,
            caches,
            limits: self.limits,
            rls_listen,
            flags_env,
            rls,
            sessions: self.sessions,
            topics: self.topics,
            queues: self.queues,
            webhooks: self.webhooks,
            auth,
            doubts,
            exposed,
            prefix,
            tenancy,
            deadline,
            value_len_max,
        })
    }

    /// No two servers take one address. Port 0 is any that is free.
    fn check_addresses(&mut self, listen: SocketAddr, rls_listen: Option<SocketAddr>) {
        let Some(rls) = rls_listen.filter(|rls| rls.port() != 0 && rls.port() == listen.port())
        else {
            return;
        };
        let takes_all = listen.ip().is_unspecified() || rls.ip().is_unspecified();
        let meet = listen.ip() == rls.ip() || takes_all && listen.is_ipv4() == rls.is_ipv4();
        if let Some((_, origin)) = self.values.get("rls_listen").filter(|_| meet) {
            let origin = origin.clone();
            let message = format!(
                "rls_listen {rls} takes the place of the hub itself, which listens on {listen}: expected another port"
            );
            self.fault(origin, message);
        }
    }

    /// An address that others can reach, and where it was said. That of this machine is the default.
    fn exposed(&self, key: &str, address: Option<SocketAddr>) -> Vec<Fault> {
        let said = address.filter(|address| !address.ip().is_loopback()).zip(self.values.get(key));
        let exposed = said.map(|(address, (_, origin))| Fault {
            origin: origin.clone(),
            message: format!(
                "{key} {address} can be reached by others, and there is no authentication: `sinew serve` takes it with --insecure only"
            ),
        });
        exposed.into_iter().collect()
    }

    fn settle_caches(&mut self, default_ttl: Ttl) -> CacheTable {
        // The library's message has no word of what it could not read.
        let keyring = self.value("keyring", None, |text| {
            Keyring::parse(text).map(Some).map_err(|e| e.to_string())
        });
        // One that cannot be read is told of once.
        let has_keyring = self.values.contains_key("keyring");
        let mut named = BTreeMap::new();
        for (name, table) in std::mem::take(&mut self.caches) {
            if let Some(origin) = table.lacks_keyring(has_keyring) {
                self.fault(
                    origin,
                    format!(
                        "cache {name:?} is to be encrypted, and there is no key: expected keyring = \"1:BASE64\" at the top of the file, or SINEW_KEYRING"
                    ),
                );
            }
            named.insert(name, table.settle(default_ttl, keyring.as_ref()));
        }
        CacheTable::new(CacheSettings::of(default_ttl), named)
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

/// A file that is read: it knows its lines.
pub(super) struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    pub(super) fn at(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Origin::File { path: self.path.to_owned(), line: before.matches('\n').count() + 1 }
    }
}
