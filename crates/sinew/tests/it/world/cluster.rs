//! Clusters of three masters, with a replica each when a test asks.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::{Proxy, Server, free_port, redis_cli, run, spawn_server, temporary_folder, wait_until};

/// The cluster that laws share, each under a prefix of its own.
pub static SHARED_CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(0));

/// Redis nodes that serve all slots together.
pub struct Cluster {
    pub nodes: Vec<Node>,
}

/// A node, and the proxy that its clients go through where there is one.
pub struct Node {
    pub server: Server,
    pub proxy: Option<Proxy>,
    settings: Vec<String>,
    /// What it knows of its cluster, where it is to outlive a kill.
    memory: Option<PathBuf>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            let _ = std::fs::remove_dir_all(memory);
        }
    }
}

impl Node {
    /// Where clients are told to go.
    pub fn client_port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.server.port, |proxy| proxy.port)
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        redis_cli(self.server.port, arguments)
    }

    pub fn id(&self) -> String {
        self.cli(&["CLUSTER", "MYID"])
    }

    pub fn is_master(&self) -> bool {
        self.cli(&["ROLE"]).starts_with("master")
    }

    /// Starts it again after a kill, with what it knew of its cluster.
    pub fn restart(&mut self) {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        self.server = spawn_server("redis-server", self.server.port, &settings);
    }
}

impl Cluster {
    /// Three masters with so many replicas each.
    pub fn start(replicas: usize) -> Self {
        Self::assemble(replicas, false)
    }

    /// The same, with all clients going through proxies. The nodes' own bus does not.
    pub fn start_behind_proxies(replicas: usize) -> Self {
        Self::assemble(replicas, true)
    }

    fn assemble(replicas: usize, proxied: bool) -> Self {
        let count = 3 * (1 + replicas);
        let nodes: Vec<Node> = (0..count).map(|_| start_node(proxied)).collect();
        for node in &nodes {
            wait_until("a cluster node answers", || node.cli(&["PING"]) == "PONG");
        }
        let mut create: Vec<String> = ["--cluster", "create"].map(str::to_owned).to_vec();
        create.extend(nodes.iter().map(|node| format!("127.0.0.1:{}", node.server.port)));
        create.extend(["--cluster-replicas".to_owned(), replicas.to_string()]);
        create.push("--cluster-yes".to_owned());
        let create: Vec<&str> = create.iter().map(String::as_str).collect();
        run("redis-cli", &create);
        let cluster = Self { nodes };
        cluster.wait_whole(replicas);
        cluster
    }

    /// Waits until every node serves, and every replica follows.
    pub fn wait_whole(&self, replicas: usize) {
        wait_until("the cluster is whole", || {
            let whole = |node: &Node| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                let following = match node.is_master() {
                    true => {
                        node.cli(&["INFO", "replication"]).matches("state=online").count()
                            >= replicas
                    }
                    false => true,
                };
                info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_known_nodes:{}", self.nodes.len()))
                    && following
            };
            self.nodes.iter().all(whole)
        });
    }

    /// Waits until the cluster serves all slots, whoever is master now.
    pub fn wait_whole_as_it_is(&self) {
        wait_until("the cluster serves all slots", || {
            let info = |node: &Node| node.cli(&["CLUSTER", "INFO"]);
            self.nodes.iter().all(|node| info(node).contains("cluster_state:ok"))
        });
    }

    /// What clients connect to.
    pub fn url(&self) -> String {
        let seeds = self.nodes.iter().take(3);
        let seeds: Vec<_> = seeds.map(|n| format!("127.0.0.1:{}", n.client_port())).collect();
        format!("redis-cluster://{}", seeds.join(","))
    }

    /// The place in `nodes` of the master that serves a slot.
    pub fn master_of(&self, slot: u16) -> usize {
        let slots = self.first_alive().cli(&["--json", "CLUSTER", "SLOTS"]);
        let ranges: serde_json::Value = serde_json::from_str(&slots).expect("JSON");
        let number = |value: &serde_json::Value| value.as_u64().expect("a number");
        let range = ranges
            .as_array()
            .expect("ranges")
            .iter()
            .find(|range| (number(&range[0])..=number(&range[1])).contains(&u64::from(slot)));
        let port = number(&range.expect("a range of the slot")[2][1]);
        let place = self.nodes.iter().position(|n| u64::from(n.client_port()) == port);
        place.expect("a node of ours")
    }

    fn first_alive(&self) -> &Node {
        let alive = |node: &&Node| node.cli(&["PING"]) == "PONG";
        self.nodes.iter().find(alive).expect("a node that answers")
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &str) -> u16 {
        let slot = self.first_alive().cli(&["CLUSTER", "KEYSLOT", key]);
        slot.parse().expect("a slot")
    }

    /// Hands a slot from one master to another, key by key, pausing after each batch.
    pub fn migrate_slot(&self, slot: u16, from: usize, to: usize, pause: Duration) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let (slot, ids) = (slot.to_string(), (from.id(), to.id()));
        to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids.0]);
        from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids.1]);
        loop {
            let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "5"]);
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let port = to.server.port.to_string();
            let mut migrate =
                vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE", "KEYS"];
            migrate.extend(keys);
            from.cli(&migrate);
            std::thread::sleep(pause);
        }
        for node in [to, from] {
            node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids.1]);
        }
    }
}

fn start_node(proxied: bool) -> Node {
    let (port, bus) = (free_port(), free_port());
    let proxy = proxied.then(|| Proxy::start(port));
    // The shared cluster is never dropped, and its servers' own folders go with them.
    let memory = proxied.then(|| temporary_folder("cluster"));
    let nodes = memory.clone().unwrap_or_default().join("nodes.conf");
    let mut settings: Vec<String> = [
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        &nodes.to_string_lossy(),
        "--cluster-port",
        &bus.to_string(),
        "--cluster-node-timeout",
        // Long enough for a machine that compiles beside it.
        if proxied { "1500" } else { "3000" },
        "--cluster-replica-validity-factor",
        "0",
        "--repl-diskless-sync-delay",
        "0",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(proxy) = &proxy {
        settings.extend(["--cluster-announce-port".to_owned(), proxy.port.to_string()]);
    }
    let words: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = spawn_server("redis-server", port, &words);
    Node { server, proxy, settings, memory }
}
