//! Every way in which a Redis will not do, and what has to be said of each.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::{
    Certificates, Cluster, Proxy, Server, free_port, redis_cli, start_redis, start_redis_on,
    wait_until,
};

/// No message may show it.
pub const SECRET: &str = "hunter2";

/// A Redis that will not do. Its servers live as long as this.
pub struct Refusal {
    pub what: &'static str,
    pub url: String,
    /// All of these are in the message.
    pub says: Vec<String>,
    _servers: Vec<Box<dyn Send>>,
}

impl Refusal {
    fn new(what: &'static str, url: String, says: &[&str], servers: Vec<Box<dyn Send>>) -> Self {
        let says = says.iter().map(|text| (*text).to_owned()).collect();
        Self { what, url, says, _servers: servers }
    }
}

/// All of them, started.
pub fn refusals() -> Vec<Refusal> {
    let mut all = Vec::new();
    let locked = start_redis_on(free_port(), &["--requirepass", "correct-horse"]);
    let port = locked.port;
    all.push(Refusal::new(
        "wrong password",
        format!("redis://:{SECRET}@127.0.0.1:{port}"),
        &["refused user or password", &port.to_string()],
        vec![],
    ));
    all.push(Refusal::new(
        "no password",
        format!("redis://127.0.0.1:{port}"),
        &["wants a password"],
        vec![],
    ));
    all.push(Refusal::new(
        "TLS to a port without",
        format!("rediss://:{SECRET}@127.0.0.1:{port}"),
        &["TLS"],
        vec![Box::new(locked)],
    ));
    all.push(Refusal::new(
        "wrong port",
        // Not one that was free a moment ago: another test may have it by now.
        format!("redis://:{SECRET}@127.0.0.1:1"),
        &["cannot reach Redis at 127.0.0.1", "refused"],
        vec![],
    ));
    all.push(other_protocol());
    all.push(silent());
    all.extend(over_tls());
    all.push(protected());
    all.extend(not_permitted());
    all.push(replica());
    all.extend(other_topology());
    all
}

/// What answers every call like a web server.
fn other_protocol() -> Refusal {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for socket in listener.incoming().take(200) {
            let Ok(mut socket) = socket else { continue };
            let mut request = [0; 1024];
            let _ = socket.read(&mut request);
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    Refusal::new(
        "not Redis",
        format!("redis://:{SECRET}@127.0.0.1:{port}"),
        &["does not answer like Redis", &port.to_string()],
        vec![],
    )
}

/// What takes calls and never says a word.
fn silent() -> Refusal {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    Refusal::new(
        "silence",
        format!("redis://:{SECRET}@127.0.0.1:{port}"),
        &["no answer", &port.to_string()],
        vec![Box::new(listener)],
    )
}

fn over_tls() -> Vec<Refusal> {
    let start = |certificates: &Certificates, asks_clients| {
        let port = free_port();
        let settings = certificates.settings(port, asks_clients);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        start_redis_on(port, &settings)
    };
    let (right, wrong) = (Certificates::make(), Certificates::make());
    let (open, closed) = (start(&right, false), start(&right, true));
    let url = |server: &Server, host: &str, certificates: &Certificates| {
        let ca = certificates.file("ca.pem");
        format!("rediss://:{SECRET}@{host}:{}?ca={ca}", server.port)
    };
    let servers: Vec<Refusal> = vec![
        Refusal::new(
            "wrong CA",
            url(&open, "localhost", &wrong),
            &["unknown authority", "?ca="],
            vec![],
        ),
        Refusal::new(
            "wrong name",
            format!("{}&server_name=redis.internal", url(&open, "localhost", &right)),
            &["another name", "server_name"],
            vec![],
        ),
        Refusal::new(
            "no client certificate",
            url(&closed, "localhost", &right),
            &["client certificate", "cert="],
            vec![],
        ),
        Refusal::new(
            "no such CA file",
            format!("rediss://:{SECRET}@localhost:{}?ca=/nowhere/ca.pem", open.port),
            &["/nowhere/ca.pem", "PEM"],
            vec![],
        ),
        Refusal::new(
            "no TLS to a port with",
            format!("redis://:{SECRET}@127.0.0.1:{}", open.port),
            &["closed the connection", "rediss://"],
            vec![Box::new((open, closed, right, wrong))],
        ),
    ];
    servers
}

/// Redis takes only 127.0.0.1 for its own machine.
fn protected() -> Refusal {
    let server = start_redis();
    let stranger = Proxy::start_from("127.0.0.2", server.port);
    Refusal::new(
        "protected mode",
        format!("redis://127.0.0.1:{}", stranger.port),
        &["protected mode"],
        vec![Box::new((server, stranger))],
    )
}

fn not_permitted() -> Vec<Refusal> {
    let server = start_redis();
    let user = |name: &str, rules: &[&str]| {
        let password = format!(">{SECRET}");
        let rules = [&["ACL", "SETUSER", name, "on", &password, "~*", "+@all"], rules].concat();
        assert_eq!(redis_cli(server.port, &rules), "OK");
        format!("redis://{name}:{SECRET}@127.0.0.1:{}", server.port)
    };
    let reader = user("reader", &["-set", "-unlink"]);
    let runner = user("runner", &["-evalsha"]);
    let asker = user("asker", &["-role"]);
    let other = user("other", &["resetkeys", "~elsewhere_*"]);
    vec![
        Refusal::new("may not write", reader, &["\"reader\"", "UNLINK", "SET", "+set"], vec![]),
        Refusal::new("may not run scripts", runner, &["\"runner\"", "EVALSHA"], vec![]),
        Refusal::new("may not ask for the role", asker, &["\"asker\"", "ROLE"], vec![]),
        Refusal::new("other keys", other, &["\"other\"", "GET", "prefix"], vec![Box::new(server)]),
    ]
}

fn replica() -> Refusal {
    let primary = start_redis();
    let of = primary.port.to_string();
    let replica = start_redis_on(free_port(), &["--replicaof", "127.0.0.1", &of]);
    wait_until("the replica follows", || {
        redis_cli(replica.port, &["INFO", "replication"]).contains("master_link_status:up")
    });
    Refusal::new(
        "read-only replica",
        format!("redis://127.0.0.1:{}", replica.port),
        &["read-only replica"],
        vec![Box::new((primary, replica))],
    )
}

fn other_topology() -> Vec<Refusal> {
    let (alone, cluster) = (start_redis(), Cluster::start(0));
    let member = cluster.nodes[0].server.port;
    vec![
        Refusal::new(
            "a node of a cluster",
            format!("redis://127.0.0.1:{member}"),
            &["redis-cluster://"],
            vec![Box::new(cluster)],
        ),
        Refusal::new(
            "no sentinel",
            format!("redis-sentinel://127.0.0.1:{}/mymaster", alone.port),
            &["is not a sentinel"],
            vec![],
        ),
        Refusal::new(
            "no cluster",
            format!("redis-cluster://127.0.0.1:{}", alone.port),
            &["is no node of a cluster", "redis://"],
            vec![Box::new(alone)],
        ),
    ]
}
