//! A primary, two replicas, and three sentinels that watch them.

use super::{Proxy, Server, free_port, redis_cli, start_redis_on, temporary_folder, wait_until};

/// The name that the sentinels know the primary by.
pub const PRIMARY: &str = "mymaster";

pub struct Sentinels {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
    /// One before each server, in the same order; or none.
    pub proxies: Vec<Proxy>,
}

impl Sentinels {
    pub fn start() -> Self {
        let ports = [(); 3].map(|()| free_port());
        Self::start_at(ports, ports, Vec::new())
    }

    /// Everyone, sentinels and replicas too, comes to a server by way of its proxy.
    pub fn start_behind_proxies() -> Self {
        let ports = [(); 3].map(|()| free_port());
        let proxies = ports.map(Proxy::start);
        let known_as = [proxies[0].port, proxies[1].port, proxies[2].port];
        Self::start_at(ports, known_as, proxies.into())
    }

    fn start_at(ports: [u16; 3], known_as: [u16; 3], proxies: Vec<Proxy>) -> Self {
        let server = |at: usize, settings: &[&str]| {
            let announced = known_as[at].to_string();
            let all = ["--repl-diskless-sync-delay", "0", "--replica-announce-port", &announced];
            start_redis_on(ports[at], &[&all[..], settings].concat())
        };
        let primary = server(0, &[]);
        let port = known_as[0].to_string();
        // Two: only once the last of them follows the new primary is a failover over, and until
        // then the sentinels do not all say the same.
        let replicas = [1, 2].map(|at| server(at, &["--replicaof", "127.0.0.1", &port]));
        for replica in &replicas {
            wait_until("the replica follows", || {
                redis_cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
            });
        }
        let sentinels: Vec<Server> = (0..3).map(|_| start_sentinel(known_as[0])).collect();
        for sentinel in &sentinels {
            wait_until("the sentinels know each other and the replica", || {
                let known = redis_cli(sentinel.port, &["SENTINEL", "MASTER", PRIMARY]);
                let field = |name: &str| {
                    let mut lines = known.lines().skip_while(|line| *line != name);
                    lines.nth(1).map(str::to_owned)
                };
                field("num-other-sentinels").as_deref() == Some("2")
                    && field("num-slaves").as_deref() == Some("2")
            });
        }
        let servers = [primary].into_iter().chain(replicas).collect();
        Self { servers, sentinels, proxies }
    }

    /// The port of the primary, as one sentinel says.
    pub fn primary(&self) -> u16 {
        primary_of(self.sentinels[0].port)
    }

    /// The port of the primary, as all sentinels say, once it is another than `old`.
    pub fn wait_primary_after(&self, old: u16) -> u16 {
        let mut new = 0;
        wait_until("the sentinels fail over", || {
            let said: Vec<u16> =
                self.sentinels.iter().map(|sentinel| primary_of(sentinel.port)).collect();
            new = said[0];
            new != 0 && new != old && said.iter().all(|port| *port == new)
        });
        new
    }

    pub fn url(&self) -> String {
        let at: Vec<_> = self.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
        format!("redis-sentinel://{}/{PRIMARY}", at.join(","))
    }
}

/// The port of the primary, as the sentinel at a port says; zero if it says nothing.
pub fn primary_of(sentinel: u16) -> u16 {
    let at = redis_cli(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY]);
    at.lines().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0)
}

fn start_sentinel(primary: u16) -> Server {
    let (port, folder) = (free_port(), temporary_folder("sentinel"));
    let settings = format!(
        "port {port}\nbind 127.0.0.1\n\
         sentinel monitor {PRIMARY} 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds {PRIMARY} 1000\n\
         sentinel failover-timeout {PRIMARY} 5000\n"
    );
    std::fs::write(folder.join("sentinel.conf"), settings).expect("a file in a temporary folder");
    let program = super::find("redis-server", &[]);
    let command = [program, "sentinel.conf".to_owned(), "--sentinel".to_owned()];
    let server = Server::start(&command, port, &folder, "KILL");
    wait_until("a sentinel answers", || redis_cli(port, &["PING"]) == "PONG");
    server
}
