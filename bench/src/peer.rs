//! The least that a job needs: the client that the link itself is built on.

use redis::IntoConnectionInfo;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;

/// With the same socket and protocol as ours: by default the client leaves Nagle's delay on.
pub async fn raw_connection(url: &str) -> MultiplexedConnection {
    let info = format!("{url}?protocol=resp3").into_connection_info().expect("a URL");
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let client = redis::Client::open(info).expect("a client");
    client.get_multiplexed_async_connection().await.expect("a connection")
}
