//! Where all take turns.

use std::collections::BTreeMap;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use crate::peer::client;
use crate::world::Cluster;

/// A server, or several.
pub struct Place {
    pub url: String,
    store: Store,
}

enum Store {
    One(MultiplexedConnection),
    Cluster(Cluster),
}

impl Place {
    pub async fn at(port: u16) -> Self {
        let url = format!("redis://127.0.0.1:{port}");
        // To clear a million jobs takes a while.
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        let client = client(&url).expect("a URL");
        let raw = client.get_multiplexed_async_connection_with_config(&patient).await;
        Self { url, store: Store::One(raw.expect("a connection")) }
    }

    pub fn of(cluster: Cluster) -> Self {
        Self { url: cluster.url(), store: Store::Cluster(cluster) }
    }

    /// The same server, by another way, which clients take.
    pub fn by_way_of(self, port: u16) -> Self {
        Self { url: format!("redis://127.0.0.1:{port}"), ..self }
    }

    /// So that each turn begins with nothing, and no turn fills the memory.
    pub async fn clear(&self) {
        match &self.store {
            Store::One(raw) => {
                let cleared = redis::cmd("FLUSHDB").exec_async(&mut raw.clone()).await;
                cleared.expect("an empty server");
            }
            Store::Cluster(cluster) => {
                for node in &cluster.nodes {
                    node.cli(&["FLUSHDB"]);
                }
            }
        }
    }

    /// What all that is stored takes, in bytes.
    pub async fn used_memory(&self) -> f64 {
        let memory = self.info("memory").await;
        memory["used_memory"].parse().expect("a number")
    }

    /// For how long the server was in scripts so far, in microseconds.
    pub async fn in_scripts_us(&self) -> f64 {
        let commands = self.info("commandstats").await;
        let of = |command: &str| {
            let said: &str = commands.get(command).map_or("", String::as_str);
            let us = said.split(',').find_map(|part| part.strip_prefix("usec="));
            us.map_or(0.0, |us| us.parse().expect("a number"))
        };
        of("cmdstat_evalsha") + of("cmdstat_eval")
    }

    async fn info(&self, section: &str) -> BTreeMap<String, String> {
        let Store::One(raw) = &self.store else { panic!("asked of one server") };
        let info = redis::cmd("INFO").arg(section).query_async::<String>(&mut raw.clone()).await;
        let info = info.expect("an answer");
        let pairs = info.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}
