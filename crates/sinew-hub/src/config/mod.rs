//! What the hub is told: a file, then `SINEW_*` variables over it, then flags over both.
//!
//! Every fault is found, and each says where it stands and what was expected there.

mod auth;
mod caches;
mod layers;
mod limits;
mod queues;
mod read;
mod rls;
mod sessions;
#[cfg(test)]
mod tests;
mod topics;
mod webhooks;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sinew::limit::Limit;
use sinew::{Sinew, Tenancy};

use crate::auth::settings::AuthSettings;
use crate::cache::settings::CacheTable;
use crate::job::settings::QueueSetting;
use crate::limit::rls::rules::Rules;
use crate::session::settings::SessionSettings;
use crate::stream::settings::TopicSettings;
use crate::webhook::settings::WebhookSettings;
use layers::Layers;

#[cfg(feature = "demo")]
pub(crate) use read::listen as address;

/// Settings that hold together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where data is kept.
    pub store: StoreSetting,
    /// Where the hub listens.
    pub listen: SocketAddr,
    /// How each cache is kept.
    pub caches: CacheTable,
    /// The limits that it defines, by name. A definition in the store comes before these.
    pub limits: BTreeMap<String, Limit>,
    /// Where the rate limit service for Envoy listens, if it does.
    pub rls_listen: Option<SocketAddr>,
    /// The environment whose flags are meant where none is named.
    pub flags_env: String,
    /// Which limit a descriptor of Envoy's is charged to.
    pub(crate) rls: Rules,
    /// How the sessions of users are kept.
    pub(crate) sessions: SessionSettings,
    /// The topics that it declares.
    pub(crate) topics: Vec<TopicSettings>,
    /// The queues of jobs that it declares.
    pub(crate) queues: Vec<QueueSetting>,
    /// Whether this hub delivers webhooks, and where to.
    pub(crate) webhooks: WebhookSettings,
    /// Who may do what.
    pub(crate) auth: AuthSettings,
    /// What is likely a slip, and may not be.
    pub(crate) doubts: Vec<Fault>,
    /// Addresses that others can reach where nobody has to say who they are: `sinew serve` takes them with
    /// `--insecure` only.
    pub(crate) exposed: Vec<Fault>,
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
            Origin::Flag(name) => write!(f, "--{}: ", name.replace('_', "-"))?,
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
    /// What all keys in Redis begin with, like BillingService_
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Whether keys have a tenant part: single or multi
    #[arg(long, value_name = "TENANCY")]
    pub tenancy: Option<String>,
    /// Where the hub listens, or is to be asked [default: 127.0.0.1:7463]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where the rate limit service for Envoy listens. Of few commands, so it is no flag here.
    #[arg(skip)]
    pub rls_listen: Option<String>,
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
        layers.add_flag("rls_listen", flags.rls_listen.as_ref());
        layers.settle()
    }

    /// Whether keys have a tenant part.
    #[must_use]
    pub fn tenancy(&self) -> Tenancy {
        self.tenancy
    }

    /// Whether anything is said of the rate limit service for Envoy.
    #[must_use]
    pub fn speaks_of_envoy(&self) -> bool {
        self.rls_listen.is_some() || !self.rls.is_empty()
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
        match &self.store {
            StoreSetting::Embedded => self.builder().embedded(),
            StoreSetting::Redis(url) => self.builder().connect_lazy(url),
        }
    }

    /// An empty store in this process, under the same names: a key that it refuses, any store would.
    ///
    /// # Errors
    /// As [`sinew::Builder::embedded`].
    pub fn open_empty(&self) -> sinew::Result<Sinew> {
        self.builder().embedded()
    }

    fn builder(&self) -> sinew::Builder {
        let builder = Sinew::builder()
            .prefix(&self.prefix)
            .tenancy(self.tenancy)
            .value_len_max(self.value_len_max);
        match self.deadline {
            Some(deadline) => builder.deadline(deadline),
            None => builder,
        }
    }
}
