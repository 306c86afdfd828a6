//! A primary, two replicas, and three sentinels that watch them.

use super::{Server, free_port, redis_cli, start_redis_on, temporary_folder, wait_until};

/// The name that the sentinels know the primary by.
pub const PRIMARY: &str = "mymaster";

pub struct Sentinels {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
}

impl Sentinels {
    pub fn start() -> Self {
        let primary = start_redis_on(free_port(), &["--repl-diskless-sync-delay", "0"]);
        let port = primary.port.to_string();
        // Two: only once the last of them follows the new primary is a failover over, and until
        // then the sentinels do not all say the same.
        let replica = || start_redis_on(free_port(), &["--replicaof", "127.0.0.1", &port]);
        let replicas = [replica(), replica()];
        for replica in &replicas {
            wait_until("the replica follows", || {
                redis_cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
            });
        }
        let sentinels: Vec<Server> = (0..3).map(|_| start_sentinel(primary.port)).collect();
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
        Self { servers, sentinels }
    }

    /// The port of the primary, as all sentinels say, once it is another than `old`.
    pub fn wait_primary_after(&self, old: u16) -> u16 {
        let ask = |sentinel: &Server| {
            let at = redis_cli(sentinel.port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY]);
            at.lines().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0)
        };
        let mut new = 0;
        wait_until("the sentinels fail over", || {
            let said: Vec<u16> = self.sentinels.iter().map(ask).collect();
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
