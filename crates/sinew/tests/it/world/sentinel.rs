//! A primary, a replica, and three sentinels that watch them.

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
        let replica = start_redis_on(free_port(), &["--replicaof", "127.0.0.1", &port]);
        wait_until("the replica follows", || {
            redis_cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
        });
        let sentinels: Vec<Server> = (0..3).map(|_| start_sentinel(primary.port)).collect();
        for sentinel in &sentinels {
            wait_until("the sentinels know each other and the replica", || {
                let known = redis_cli(sentinel.port, &["SENTINEL", "MASTER", PRIMARY]);
                let field = |name: &str| {
                    let mut lines = known.lines().skip_while(|line| *line != name);
                    lines.nth(1).map(str::to_owned)
                };
                field("num-other-sentinels").as_deref() == Some("2")
                    && field("num-slaves").as_deref() == Some("1")
            });
        }
        Self { servers: vec![primary, replica], sentinels }
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
